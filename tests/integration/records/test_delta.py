"""What a power cut can leave of a table, and what the writer makes of it."""

import json
from datetime import date

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from tallystick.records import delta
from tallystick.records.delta import SET_ASIDE, DeltaWriter, TableProblem, added_files, mend

SCHEMA = pa.schema([("id", pa.string()), ("request_date", pa.date32())])


def rows(*ids):
    return pa.table({"id": list(ids), "request_date": [date(2026, 9, 21)] * len(ids)}, schema=SCHEMA)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "churn_payload"


@pytest.fixture
def writer(folder):
    writer = DeltaWriter(str(folder), SCHEMA, "request_date")
    for number in range(1, 4):
        writer.append(rows(f"r{number}"), {"s": number})
    return writer


def ids(folder):
    return sorted(DeltaTable(str(folder)).to_pyarrow_table()["id"].to_pylist())


def log(folder, version):
    return folder / "_delta_log" / f"{version:020}.json"


def data_file(folder, version):
    ((path, _),) = added_files(log(folder, version).read_bytes())
    return folder / path


def reopened(folder):
    """A writer of a process that starts after the cut, which does again what its table does not know."""
    writer = DeltaWriter(str(folder), SCHEMA, "request_date")
    for number in range(writer.committed("s") + 1, 5):
        writer.append(rows(f"r{number}"), {"s": number})
    return writer


def test_a_table_that_is_whole_is_left_alone(writer, folder):
    assert mend(folder) == []
    reopened(folder)
    assert ids(folder) == ["r1", "r2", "r3", "r4"]
    assert not (folder / SET_ASIDE).exists()


@pytest.mark.parametrize(
    "tear",
    [
        lambda folder: log(folder, 3).write_bytes(b""),
        lambda folder: log(folder, 3).write_bytes(log(folder, 3).read_bytes()[:-20]),
        lambda folder: log(folder, 3).write_bytes(bytes(300)),
        lambda folder: data_file(folder, 3).unlink(),
        lambda folder: data_file(folder, 3).write_bytes(b""),
        lambda folder: data_file(folder, 3).write_bytes(bytes(data_file(folder, 3).stat().st_size)),
        lambda folder: (log(folder, 2).write_bytes(b""), log(folder, 3).write_bytes(b"")),
    ],
    ids=["empty entry", "cut entry", "zero entry", "no file", "empty file", "zero file", "two entries"],
)
def test_a_torn_end_is_set_aside_and_its_rows_come_again_from_the_journal(writer, folder, tear):
    tear(folder)
    reopened(folder)
    assert ids(folder) == ["r1", "r2", "r3", "r4"]
    assert list((folder / SET_ASIDE).iterdir())


def test_a_torn_checkpoint_and_a_pointer_to_none_do_not_keep_the_table_from_opening(writer, folder, monkeypatch):
    monkeypatch.setattr(delta, "CHECKPOINT_EVERY", 2)
    writer.append(rows("r4"), {"s": 4})
    (checkpoint,) = (folder / "_delta_log").glob("*.checkpoint.parquet")
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    reopened(folder)
    assert ids(folder) == ["r1", "r2", "r3", "r4"]
    last = folder / "_delta_log" / "_last_checkpoint"
    last.write_text(json.dumps({"version": 999, "size": 1}))
    reopened(folder)
    assert ids(folder) == ["r1", "r2", "r3", "r4"]


def test_checkpoints_are_made_and_the_table_opens_by_them(writer, folder, monkeypatch):
    monkeypatch.setattr(delta, "CHECKPOINT_EVERY", 5)
    for number in range(4, 20):
        writer.append(rows(f"r{number}"), {"s": number})
    assert len(list((folder / "_delta_log").glob("*.checkpoint.parquet"))) == 3
    again = DeltaWriter(str(folder), SCHEMA, "request_date")
    assert again.committed("s") == 19
    assert len(ids(folder)) == 19


def test_everything_a_commit_made_is_synced_before_append_returns(folder, monkeypatch):
    synced = []
    original = delta._sync
    monkeypatch.setattr(delta, "_sync", lambda path: (synced.append(path), original(path)))
    writer = DeltaWriter(str(folder), SCHEMA, "request_date")
    writer.append(rows("r1"), {"s": 1})
    assert {log(folder, 0), log(folder, 1), data_file(folder, 1), folder, folder / "_delta_log", folder.parent} <= set(
        synced
    )
    assert synced.index(data_file(folder, 1)) < synced.index(log(folder, 1))


def test_a_table_with_features_that_we_do_not_write_is_written_by_delta_rs(writer, folder):
    DeltaTable(str(folder)).alter.add_constraint({"has_id": "id <> ''"})
    writer.append(rows("r4"), {"s": 4})
    assert ids(folder) == ["r1", "r2", "r3", "r4"]
    with pytest.raises(TableProblem):
        writer.append(rows(""), {"s": 5})
    assert writer.committed("s") == 4


def test_a_column_that_somebody_added_stays_and_is_null_in_our_rows(writer, folder):
    from deltalake import Field
    from deltalake.schema import PrimitiveType

    DeltaTable(str(folder)).alter.add_columns([Field("note", PrimitiveType("string"))])
    writer.append(rows("r4"), {"s": 4})
    assert ids(folder) == ["r1", "r2", "r3", "r4"]


def test_readers_may_skip_files_by_what_they_hold(writer, folder):
    actions = pa.table(DeltaTable(str(folder)).get_add_actions(flatten=True)).to_pylist()
    assert {action["num_records"] for action in actions} == {1}


def test_a_full_disk_is_a_problem_that_passes(writer, folder, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(delta.pq, "write_table", full)
        with pytest.raises(TableProblem, match="No space left"):
            writer.append(rows("r4"), {"s": 4})
    writer.append(rows("r4"), {"s": 4})
    assert ids(folder) == ["r1", "r2", "r3", "r4"]
