"""Outcomes of feedback, on real Delta tables."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.records import matching
from tallystick.records.matching import Outcomes, count_outcomes
from tallystick.records.schema import FEEDBACK_SCHEMA

DAY = date(2026, 1, 2)


def lines(*given: tuple[str | None, str | None, int, str]) -> pa.Table:
    """Return lines of feedback: id of the server, id of the client, row, name."""
    rows = [
        {
            "feedback_id": f"f{number}",
            "feedback_date": DAY,
            "feedback_time": datetime(2026, 1, 2, tzinfo=UTC),
            "endpoint_name": "churn",
            "databricks_request_id": server,
            "client_request_id": client,
            "row": row,
            "name": name,
            "value": 1.0,
            "text": None,
            "requester": "ann",
        }
        for number, (server, client, row, name) in enumerate(given)
    ]
    return pa.Table.from_pylist(rows, FEEDBACK_SCHEMA)


def payload(*ids: tuple[str, str | None]) -> pads.Dataset:
    server, client = [one for one, _ in ids], [other for _, other in ids]
    columns = {
        "databricks_request_id": pa.array(server, pa.string()),
        "client_request_id": pa.array(client, pa.string()),
    }
    return pads.dataset(pa.table(columns))


def test_a_line_matches_by_the_id_of_either_side() -> None:
    table = payload(("s1", "c1"), ("s2", None))
    asked = lines(
        ("s1", None, 0, "label"), (None, "c1", 0, "label"), ("c1", None, 0, "label"), (None, "s2", 0, "label")
    )
    assert count_outcomes(asked, table, None) == Outcomes(matched=2, unknown=2)


def test_without_a_table_all_is_unknown() -> None:
    assert count_outcomes(lines(("s1", None, 0, "label")), None, None) == Outcomes(unknown=1)
    assert count_outcomes(lines(), payload(("s1", None)), None) == Outcomes()


def test_a_repeated_row_and_name_is_a_duplicate_also_within_the_batch() -> None:
    earlier = pads.dataset(lines(("s1", None, 0, "label"), (None, "c1", 0, "label")))
    asked = lines(
        ("s1", None, 0, "label"),
        ("s1", None, 1, "label"),
        ("s1", None, 0, "outcome"),
        ("s1", None, 1, "label"),
        (None, "c1", 0, "label"),
        ("c1", None, 0, "label"),
    )
    assert count_outcomes(asked, None, earlier) == Outcomes(unknown=6, duplicate=3)


def test_delta_tables_are_read_newest_day_first_and_no_further_than_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (3, 1, 2):
        rows = {
            "request_date": pa.array([date(2026, 1, day)] * 2),
            "databricks_request_id": [f"s{day}0", f"s{day}1"],
            "client_request_id": pa.array([None, f"c{day}"], pa.string()),
        }
        deltalake.write_deltalake(str(tmp_path / "t"), pa.table(rows), partition_by=["request_date"], mode="append")
    table = deltalake.DeltaTable(str(tmp_path / "t")).to_pyarrow_dataset()
    read: list[Any] = []
    scan = matching._scan

    def watched(dataset: pads.Dataset, columns: list[str]) -> Any:
        assert columns == ["databricks_request_id"], "only the columns of ids that are asked for"
        for batch in scan(dataset, columns):
            read.extend(batch.column(0).to_pylist())
            yield batch

    monkeypatch.setattr(matching, "_scan", watched)
    asked = lines(("s31", None, 0, "label"), ("s20", None, 0, "label"))
    assert count_outcomes(asked, table, None) == Outcomes(matched=2)
    assert read == ["s30", "s31", "s20", "s21"]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 1), st.sampled_from(["x", "y"]))),
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 1), st.sampled_from(["x", "y"]))),
    st.sets(st.tuples(st.sampled_from("ab"), st.sampled_from(["a", "c", None]))),
)
def test_outcomes_are_those_of_counting_by_hand(
    earlier: list[tuple[str, bool, int, str]], now: list[tuple[str, bool, int, str]], rows: set[tuple[str, str | None]]
) -> None:
    def table(keys: list[tuple[str, bool, int, str]]) -> pa.Table:
        return lines(
            *((one if by_server else None, None if by_server else one, row, name) for one, by_server, row, name in keys)
        )

    server, client = {one for one, _ in rows}, {other for _, other in rows}
    matched = sum(one in (server if by_server else client) for one, by_server, _, _ in now)
    duplicate = sum(key in earlier or key in now[:at] for at, key in enumerate(now))
    found = count_outcomes(table(now), payload(*sorted(rows, key=str)), pads.dataset(table(earlier)))
    assert found == Outcomes(matched, len(now) - matched, duplicate)
