"""What is read of tables as the recorder writes them: with ranges of a few columns only, one file after the other."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from tallystick.records import added as added_module
from tallystick.records import schema
from tallystick.records.delta import DeltaWriter
from tallystick.records.reading import InferenceTable

START = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)


def rows(*numbers: int, **values: Any) -> pa.Table:
    found = []
    for number in numbers:
        moment = START + timedelta(seconds=number)
        row = {
            "databricks_request_id": f"r{number}",
            "request_date": moment.date(),
            "request_time": moment,
            "status_code": 200,
            "request": json.dumps({"dataframe_records": [{"x": float(number)}]}),
            "response": json.dumps({"predictions": [1.0]}),
            "served_entity_id": "e1",
            "served_entity_name": "churn-1",
            "arm": "live",
            "request_rows": 1,
        } | values
        found.append({name: row.get(name) for name in schema.INFERENCE_SCHEMA.names})
    return pa.Table.from_pylist(found, schema=schema.INFERENCE_SCHEMA)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "churn_payload"


def writer(folder: Path) -> DeltaWriter:
    return DeltaWriter(str(folder), schema.INFERENCE_SCHEMA, "request_date")


def ids(table: InferenceTable, **options: Any) -> list[str]:
    return sorted(table.invocations(columns=["databricks_request_id"], **options).read_all().column(0).to_pylist())


def test_conditions_on_columns_without_statistics_find_their_rows(folder: Path) -> None:
    write = writer(folder)
    write.append(rows(1, 2), {"s": 1})
    write.append(rows(3, arm="shadow", served_entity_name="churn-2"), {"s": 2})
    table = InferenceTable(str(folder))
    assert ids(table, where=ds.field("arm") == "live") == ["r1", "r2"]
    assert table.to_arrow(served_entity="churn-2").num_rows == 1
    assert ids(table, since=START + timedelta(seconds=3)) == ["r3"]


def test_only_new_rows_are_read_and_each_once(folder: Path) -> None:
    write = writer(folder)
    write.append(rows(1), {"s": 1})
    table = InferenceTable(str(folder))
    first = table.added(-1)
    assert ids(table, added=first) == ["r1"]
    # Over midnight, so in another partition; and with a time before that of what was read.
    write.append(rows(0, 120), {"s": 2})
    second = table.added(first.version, first.table_id)
    assert ids(table, added=second) == ["r0", "r120"]
    assert second.is_whole
    read = table.to_arrow(added=second, beside=("usage_context",))
    assert sorted(read.column("x").to_pylist()) == [0.0, 120.0]
    assert "_usage_context" in read.column_names
    assert table.added(second.version, second.table_id).files == ()


def test_what_compaction_rewrites_is_not_new(folder: Path) -> None:
    write = writer(folder)
    for number in range(4):
        write.append(rows(number), {"s": number})
    table = InferenceTable(str(folder))
    place = table.added(-1)
    write.append(rows(10), {"s": 10})
    write.maintain(date(2026, 2, 1), 0)
    assert table.added(-1).version > place.version + 1
    # The file of the new row was replaced meanwhile, and is read all the same.
    assert ids(table, added=table.added(place.version, place.table_id)) == ["r10"]


def test_a_table_that_was_made_anew_is_read_from_its_beginning(folder: Path, tmp_path: Path) -> None:
    write = writer(folder)
    for number in range(3):
        write.append(rows(number), {"s": number})
    place = InferenceTable(str(folder)).added(-1)
    folder.rename(tmp_path / "old_payload")
    writer(folder).append(rows(7), {"s": 1})
    table = InferenceTable(str(folder))
    assert ids(table, added=table.added(place.version, place.table_id)) == ["r7"]


def test_a_reader_far_behind_passes_over_the_oldest_and_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(added_module, "MAX_COMMITS", 2)
    write = writer(folder)
    for number in range(5):
        write.append(rows(number), {"s": number})
    table = InferenceTable(str(folder))
    found = table.added(-1)
    assert ids(table, added=found) == ["r3", "r4"]
    assert not found.is_whole


def test_a_log_entry_that_was_cleaned_up_is_passed_over(folder: Path) -> None:
    write = writer(folder)
    for number in range(3):
        write.append(rows(number), {"s": number})
    table = InferenceTable(str(folder))
    entries = sorted((folder / "_delta_log").glob("*.json"))
    table._open(str(folder))[0].create_checkpoint()
    entries[1].unlink()
    found = table.added(-1)
    assert not found.is_whole
    assert len(ids(table, added=found)) == 2
