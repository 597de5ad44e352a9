"""From journal to tables, with crashes, broken tables and other writers. Real Delta tables, a fake clock."""

import asyncio
from collections import Counter
from datetime import date

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from tallystick.journal.format import Access, Context, Entity, Feedback, Invocation
from tallystick.journal.reader import find_streams
from tallystick.journal.writer import Journal
from tallystick.records import recorder as recorder_module
from tallystick.records.delta import DeltaWriter, TableProblem
from tallystick.records.recorder import COMMIT_AFTER_S, Recorder

TIME_US = 1_790_000_000_000_000


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Crash(BaseException):
    """The process is gone."""


class Fragile:
    """A writer that crashes or fails when it is told to."""

    def __init__(self, inner, plan):
        self.inner, self.plan = inner, plan

    @property
    def version(self):
        return self.inner.version

    def committed(self, stream_id):
        return self.inner.committed(stream_id)

    def append(self, rows, sequences):
        step = self.plan.pop(0) if self.plan else ""
        if step == "crash before":
            raise Crash
        if step == "fail before":
            raise TableProblem("the disk is on fire")
        self.inner.append(rows, sequences)
        if step == "crash after":
            raise Crash
        if step == "fail after":
            raise TableProblem("the answer was lost")


class Kit:
    def __init__(self, folder):
        self.folder, self.clock, self.plans, self.seen = folder, Clock(), {}, []
        self.journals = 0

    def journal(self, **options):
        self.journals += 1
        return Journal(self.folder / "journal", f"gateway-{self.journals}", **options)

    def recorder(self, **options):
        def open_table(table, schema, partition):
            writer = DeltaWriter(str(self.folder / "tables" / table), schema, partition)
            return Fragile(writer, self.plans.setdefault(table, []))

        return Recorder(self.folder / "journal", open_table, lambda context: None, clock=self.clock, **options)

    def rows(self, table="churn_payload"):
        return DeltaTable(str(self.folder / "tables" / table)).to_pyarrow_table().to_pylist()

    def ids(self, table="churn_payload"):
        return Counter(row["databricks_request_id"] for row in self.rows(table))

    def left(self):
        return sum(path.stat().st_size for path in (self.folder / "journal").glob("*/*.journal"))


@pytest.fixture
def kit(tmp_path):
    return Kit(tmp_path)


def context(table="churn_payload", **fields):
    values = {"endpoint_name": table.removesuffix("_payload"), "endpoint_id": "e", "served_entity_id": "s"}
    values |= {"served_entity_name": "churn-1", "model_name": "churn", "model_version": "1", "config_version": 3}
    values |= {"route": "churn-1", "probability": 0.25, "table": table}
    return Context(number=0, **(values | fields))


def put(journal, *request_ids, table="churn_payload", **fields):
    number = journal.number_of(context(table))
    for request_id in request_ids:
        values = {"time_us": TIME_US, "latency_ms": 2.0, "status": 200, "arm": "live", "requester": "me"}
        values |= {
            "user_agent": "curl",
            "content_type": "application/json",
            "response_content_type": "application/json",
        }
        values |= {"attempt": 1, "request_bytes": 2, "response_bytes": 2, "request": b"{}", "response": b"[]"}
        journal.append(Invocation(context=number, request_id=request_id, **(values | fields)))
    journal.flush()


async def test_rows_are_committed_when_they_have_waited_and_the_journal_is_then_empty(kit):
    journal = kit.journal()
    put(journal, "a", "b")
    await journal.close()
    recorder = kit.recorder()
    recorder.step()
    assert kit.rows() == []
    kit.clock.now += COMMIT_AFTER_S
    recorder.step()
    assert kit.ids() == {"a": 1, "b": 1}
    assert kit.left() == 0
    status = recorder.status(1)
    assert (status.rows_total, status.lag_s, status.unread_bytes) == (2, 0.0, 0)


async def test_a_row_says_how_its_invocation_was_routed_and_how_long_it_took(kit):
    journal = kit.journal()
    put(journal, "a", latency_ms=7.0, waited_ms=1.5)
    put(journal, "p", arm="pinned")
    put(journal, "x", status=404, attempt=0, response=b'{"error_code":"NOPE"}', request=b'{"client_request_id":"c"}')
    put(journal, "big", request=None, request_bytes=5_000_000)
    put(journal, "bin", request=b"\xff\x00")
    kit.recorder().drain(kit.clock.now + 1)
    rows = {row["databricks_request_id"]: row for row in kit.rows()}
    assert rows["a"]["assignment_probability"] == 0.25
    assert rows["a"]["config_version"] == 3
    assert (rows["a"]["latency_ms"], rows["a"]["queue_ms"], rows["a"]["gateway_ms"]) == (7.0, 1.5, 5.5)
    assert rows["a"]["request_date"] == date(2026, 9, 21)
    assert rows["p"]["assignment_probability"] is None
    assert (rows["x"]["error_code"], rows["x"]["client_request_id"], rows["x"]["attempt"]) == ("NOPE", "c", 0)
    assert rows["x"]["execution_duration_ms"] is None
    assert (rows["big"]["request"], rows["big"]["logging_error_codes"]) == (None, ["MAX_REQUEST_SIZE_EXCEEDED"])
    assert (rows["bin"]["request"], rows["bin"]["logging_error_codes"]) == ("/wA=", ["REQUEST_AS_BASE64"])


async def test_columns_are_those_of_the_schema_and_duckdb_and_polars_read_them_without_us(kit):
    import duckdb
    import polars

    journal = kit.journal()
    put(journal, "a", "b", "c")
    kit.recorder().drain(kit.clock.now + 1)
    uri = str(kit.folder / "tables" / "churn_payload")
    frame = polars.scan_delta(uri).select("databricks_request_id", "status_code", "request_time").collect()
    assert sorted(frame["databricks_request_id"]) == ["a", "b", "c"]
    dataset = DeltaTable(uri).to_pyarrow_dataset()  # noqa: F841  named in the query
    assert duckdb.sql("select count(*), sum(status_code) from dataset where status_code = 200").fetchall() == [(3, 600)]
    files = DeltaTable(uri).file_uris()
    assert duckdb.sql(f"select count(*) from read_parquet({files})").fetchall() == [(3,)]


@pytest.mark.parametrize("step", ["crash before", "crash after"])
@pytest.mark.parametrize("place", range(3))
async def test_a_recorder_that_is_killed_around_any_commit_loses_and_doubles_nothing(kit, step, place, monkeypatch):
    monkeypatch.setattr(recorder_module, "COMMIT_ROWS", 10)
    monkeypatch.setattr(recorder_module, "_ADD_RECORDS", 5)
    journal = kit.journal(segment_bytes=2000)
    put(journal, *(f"r{number}" for number in range(35)))
    kit.plans["churn_payload"] = [""] * place + [step]
    recorder = kit.recorder()
    with pytest.raises(Crash):
        recorder.drain(kit.clock.now + 1)
    put(journal, "later")
    kit.recorder().drain(kit.clock.now + 1)
    expected = [*(f"r{number}" for number in range(35)), "later"]
    assert kit.ids() == Counter(expected)


@pytest.mark.parametrize("step", ["fail before", "fail after"])
async def test_a_commit_whose_outcome_is_unknown_is_not_repeated_blindly(kit, step):
    journal = kit.journal()
    put(journal, "a", "b")
    kit.plans["churn_payload"] = [step]
    recorder = kit.recorder()
    recorder.drain(kit.clock.now + 1)
    assert recorder.problems
    put(journal, "c")
    recorder.step(flush=True)
    kit.clock.now += 60
    recorder.step(flush=True)
    assert not recorder.problems
    recorder.drain(kit.clock.now + 1)
    assert kit.ids() == {"a": 1, "b": 1, "c": 1}


async def test_a_table_that_cannot_be_written_holds_up_no_other_and_loses_nothing(kit):
    journal = kit.journal(segment_bytes=500)
    recorder = kit.recorder()
    kit.plans["churn_payload"] = ["fail before"] * 3
    for number in range(5):
        put(journal, f"c{number}")
        put(journal, f"o{number}", table="other_payload")
        recorder.step(flush=True)
        recorder.step(flush=True)
    assert kit.ids("other_payload") == Counter(f"o{number}" for number in range(5))
    assert recorder.status(1).tables["churn_payload"].problem == "the disk is on fire"
    assert kit.left() > 0
    for _ in range(10):
        kit.clock.now += 60
        recorder.step(flush=True)
    await journal.close()
    recorder.drain(kit.clock.now + 1)
    assert kit.ids() == Counter(f"c{number}" for number in range(5))
    assert kit.ids("other_payload") == Counter(f"o{number}" for number in range(5))
    assert kit.left() == 0


async def test_streams_of_several_gateways_are_kept_apart(kit):
    first, second = kit.journal(), kit.journal()
    put(first, "a", "b")
    put(second, "c")
    recorder = kit.recorder()
    recorder.step(flush=True)
    put(second, "d")
    recorder.step(flush=True)
    kit.recorder().drain(kit.clock.now + 1)
    assert kit.ids() == {"a": 1, "b": 1, "c": 1, "d": 1}


async def test_what_is_not_captured_gets_no_row(kit):
    journal = kit.journal()
    put(journal, "a", is_captured=False)
    journal.append(Access("r", TIME_US, 1.0, "GET", "/api", 200, "me", "curl"))
    journal.append(Entity("s", "churn", "e", "churn-1", "churn", "1", 1, TIME_US, "{}", "d", "run", "me"))
    journal.flush()
    kit.recorder().drain(kit.clock.now + 1)
    assert not (kit.folder / "tables" / "churn_payload").exists()
    assert [row["digest"] for row in kit.rows("served_entities")] == ["d"]


async def test_a_table_that_somebody_deleted_is_made_anew_and_goes_on(kit, caplog):
    import shutil

    journal = kit.journal()
    recorder = kit.recorder()
    put(journal, "a")
    recorder.step(flush=True)
    shutil.rmtree(kit.folder / "tables" / "churn_payload")
    put(journal, "b")
    recorder.step(flush=True)
    assert kit.ids() == {"b": 1}
    assert "made anew" in caplog.text
    kit.recorder().drain(kit.clock.now + 1)
    assert kit.ids()["b"] == 1


async def test_a_table_of_an_older_version_gets_the_new_columns_and_keeps_its_files(kit):
    uri = str(kit.folder / "tables" / "churn_payload")
    (kit.folder / "tables").mkdir()
    old = pa.table(
        {
            "databricks_request_id": ["old"],
            "request_date": [date(2026, 1, 1)],
            "status_code": pa.array([200], pa.int32()),
        }
    )
    write_deltalake(uri, old, partition_by=["request_date"])
    before = set(DeltaTable(uri).file_uris())
    journal = kit.journal()
    put(journal, "new")
    recorder = kit.recorder()
    recorder.step(flush=True)
    put(journal, "newer")
    recorder.step(flush=True)
    assert kit.ids() == {"old": 1, "new": 1, "newer": 1}
    assert before < set(DeltaTable(uri).file_uris())
    assert {row["route"] for row in kit.rows()} == {None, "churn-1"}


async def test_a_column_of_another_type_is_told_of_and_the_rows_wait(kit):
    uri = str(kit.folder / "tables" / "churn_payload")
    (kit.folder / "tables").mkdir()
    write_deltalake(
        uri,
        pa.table({"request_date": [date(2026, 1, 1)], "status_code": [["two", "hundred"]]}),
        partition_by=["request_date"],
    )
    journal = kit.journal()
    put(journal, "a")
    recorder = kit.recorder()
    recorder.step(flush=True)
    problem = recorder.status(1).tables["churn_payload"].problem
    assert problem.startswith("column 'status_code' has type list<")
    assert kit.left() > 0


async def test_a_second_writer_and_compaction_lose_and_double_nothing(kit):
    uri = str(kit.folder / "tables" / "churn_payload")
    journal = kit.journal()
    recorder = kit.recorder()
    for number in range(6):
        put(journal, f"r{number}")
        recorder.step(flush=True)
        other = DeltaTable(uri)
        write_deltalake(other, other.to_pyarrow_table().slice(0, 1), mode="append")
        if number == 3:
            DeltaWriter(uri, recorder_module.INFERENCE_SCHEMA, "request_date").maintain(date(2026, 9, 22), 0)
    recorder.drain(kit.clock.now + 1)
    found = kit.ids()
    assert found["r0"] == 7 or sum(found.values()) == 12
    assert all(found[f"r{number}"] >= 1 for number in range(6))
    assert sum(found.values()) == 12
    assert len(DeltaTable(uri).file_uris()) < 12


async def test_compaction_keeps_every_row_and_retention_deletes_old_days_only(kit):
    journal = kit.journal()
    recorder = kit.recorder()
    day_us = 86_400_000_000
    today_us = TIME_US
    for number in range(5):
        put(journal, f"new{number}", time_us=today_us)
        put(journal, f"old{number}", time_us=today_us - 40 * day_us)
        recorder.step(flush=True)
    writer = DeltaWriter(str(kit.folder / "tables" / "churn_payload"), recorder_module.INFERENCE_SCHEMA, "request_date")
    writer.maintain(date(2026, 9, 22), 0)
    assert sum(kit.ids().values()) == 10
    assert len(DeltaTable(writer.uri).file_uris()) == 2
    writer.maintain(date(2026, 9, 22), 30)
    assert kit.ids() == Counter(f"new{number}" for number in range(5))
    put(journal, "after")
    recorder.step(flush=True)
    assert kit.ids()["after"] == 1


async def test_feedback_is_looked_up_when_what_came_before_it_is_in_its_table(kit):
    seen = []
    recorder = kit.recorder(
        on_feedback=lambda lines: seen.append((lines.payload_table, lines.rows.num_rows, kit.ids()))
    )
    control, gateway = kit.journal(), kit.journal()
    control.append(
        Feedback("f", "churn", "churn_feedback", TIME_US, "a", None, 0, "label", 1.0, None, "me", "churn_payload")
    )
    control.flush()
    put(gateway, "a")
    recorder.step(flush=True)
    assert seen == [("churn_payload", 1, {"a": 1})]
    assert kit.rows("churn_feedback")[0]["value"] == 1.0


async def test_a_record_that_cannot_be_converted_keeps_its_row_and_holds_up_no_other(kit, monkeypatch):
    original = recorder_module.invocation_rows
    calls = []

    def convert(entries, redactions):
        calls.append(len(entries))
        if any(record.request == b"poison" for record, _ in entries):
            raise pa.ArrowInvalid("poison")
        return original(entries, redactions)

    monkeypatch.setattr(recorder_module, "invocation_rows", convert)
    journal = kit.journal()
    put(journal, *(f"a{number}" for number in range(500)))
    put(journal, "odd", request=b"poison")
    put(journal, *(f"b{number}" for number in range(500)))
    recorder = kit.recorder()
    recorder.drain(kit.clock.now + 1)
    assert sum(kit.ids().values()) == 1001
    (row,) = [row for row in kit.rows() if row["databricks_request_id"] == "odd"]
    assert (row["request"], row["status_code"]) == (None, 200)
    assert recorder.status(1).left_out_total == 1
    assert len(calls) < 50


@pytest.mark.parametrize(
    "body", [b'{"client_request_id":"\xff"}', b'{"usage_context":{"\xff":"a"}}', b'{"client_request_id":7}']
)
async def test_no_body_keeps_its_invocation_out_of_the_table(kit, body):
    journal = kit.journal()
    put(journal, "a", status=400, request=body, request_bytes=len(body), response=b'{"error_code":"\xff"}')
    recorder = kit.recorder()
    recorder.drain(kit.clock.now + 1)
    assert kit.ids() == {"a": 1}
    assert recorder.status(1).left_out_total == 0


async def test_what_is_stuck_is_seen_in_lag_and_rows_until_it_is_through(kit):
    journal = kit.journal()
    kit.plans["churn_payload"] = ["fail before"] * 2
    recorder = kit.recorder(wall=lambda: TIME_US / 1e6 + 30)
    put(journal, "a", "b")
    recorder.step(flush=True)
    put(journal, "c")
    recorder.step(flush=True)
    kit.clock.now += 0.5
    status = recorder.status(1)
    assert status.lag_s == 30
    assert (status.tables["churn_payload"].waiting_rows, status.tables["churn_payload"].lag_s) == (3, 0.5)
    for _ in range(4):
        kit.clock.now += 60
        recorder.step(flush=True)
    status = recorder.status(1)
    assert (status.lag_s, status.tables["churn_payload"].waiting_rows) == (0, 0)
    assert kit.ids() == {"a": 1, "b": 1, "c": 1}


async def test_feedback_is_counted_though_invocations_never_cease(kit):
    seen = []
    recorder = kit.recorder(on_feedback=lambda lines: seen.append(lines.rows.num_rows))
    control, gateway = kit.journal(), kit.journal()
    for number in range(20):
        put(gateway, f"r{number}")
        if number % 5 == 0:
            control.append(
                Feedback(
                    f"f{number}",
                    "churn",
                    "churn_feedback",
                    TIME_US,
                    f"r{number}",
                    None,
                    0,
                    "label",
                    1.0,
                    None,
                    "me",
                    "churn_payload",
                )
            )
            control.flush()
        kit.clock.now += 1.0
        recorder.step()
    assert sum(seen) >= 3


async def test_a_segment_that_cannot_be_read_stops_its_stream_only_and_loses_nothing(kit):
    first, second = kit.journal(segment_bytes=100), kit.journal()
    put(first, "a")
    put(first, "b")
    (folder,) = {path.parent for path in (kit.folder / "journal").glob("gateway-1-*/*.journal")}
    odd = folder / "00000001.journal"
    kept = odd.read_bytes()
    odd.unlink()
    odd.mkdir()
    put(second, "c")
    recorder = kit.recorder()
    recorder.step(flush=True)
    assert kit.ids() == {"c": 1}
    odd.rmdir()
    odd.write_bytes(kept)
    recorder.step(flush=True)
    recorder.drain(kit.clock.now + 1)
    assert kit.ids() == {"a": 1, "b": 1, "c": 1}


async def test_many_records_of_backlog_are_read_in_pieces(kit, monkeypatch):
    monkeypatch.setattr(recorder_module, "COMMIT_BYTES", 100_000)
    monkeypatch.setattr(recorder_module, "_READ_BYTES", 50_000)
    monkeypatch.setattr(recorder_module, "_ADD_RECORDS", 20)
    journal = kit.journal()
    put(journal, *(f"r{number}" for number in range(1000)), request=b"x" * 900, request_bytes=900)
    recorder = kit.recorder()
    most = 0
    while recorder.step(flush=True):
        most = max(most, sum(status.waiting_rows for status in recorder.status(1).tables.values()))
    assert most < 200
    assert kit.ids() == Counter(f"r{number}" for number in range(1000))
    await asyncio.sleep(0)
    assert len(list(find_streams(kit.folder / "journal"))) == 1
