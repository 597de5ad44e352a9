"""Outcomes of feedback, on real Delta tables."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from feedback_rows import lines, payload

from tallystick.records import matching
from tallystick.records.matching import Outcomes, count_outcomes

DAY = date(2026, 1, 2)


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
