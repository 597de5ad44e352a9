"""When which table is looked after, and that the process which does it works."""

import subprocess
import sys
from datetime import date, timedelta

import msgspec
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from tallystick.protocol.routes import Capture, EndpointRoute, EndpointState, RouteTable, table_path
from tallystick.records.delta import DeltaWriter
from tallystick.records.schema import INFERENCE_FIELDS, INFERENCE_SCHEMA
from tallystick.records.upkeep import COMMITS, EVERY_S, FIRST_S, Upkeep


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Child:
    status = None

    def poll(self):
        return self.status


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def started():
    return []


@pytest.fixture
def upkeep(tmp_path, clock, started):
    def start(argv):
        started.append((argv[-3:], Child()))
        return started[-1][1]

    return lambda: Upkeep("/tables", tmp_path / "tables.json", clock=clock, start=start)


def test_a_table_is_due_after_a_while_and_then_every_hour(upkeep, clock, started):
    keeper = upkeep()
    keeper.note_commit("churn_payload", "request_date", 30)
    keeper.tick()
    assert started == []
    for at in (FIRST_S, FIRST_S + EVERY_S):
        clock.now = at
        keeper.tick()
        keeper.tick()
        assert started[-1][0] == ["/tables/churn_payload", "request_date", "30"]
        started[-1][1].status = 0
    assert len(started) == 2


def test_many_commits_make_it_due_sooner_and_one_is_in_work_at_a_time(upkeep, started):
    keeper = upkeep()
    for table in ("a", "b"):
        for _ in range(COMMITS):
            keeper.note_commit(table, "request_date", 0)
    keeper.tick()
    keeper.tick()
    assert [argv[0] for argv, _ in started] == ["/tables/a"]
    started[0][1].status = 1
    keeper.tick()
    assert [argv[0] for argv, _ in started] == ["/tables/a", "/tables/b"]


def test_tables_that_nothing_is_written_to_any_more_are_remembered(upkeep, clock, started):
    upkeep().note_commit("churn_payload", "request_date", 30)
    again = upkeep()
    clock.now = FIRST_S
    again.tick()
    assert started[0][0] == ["/tables/churn_payload", "request_date", "30"]


def test_a_changed_retention_is_learned_without_a_new_row(upkeep, clock, started, tmp_path):
    keeper = upkeep()
    for table, column in (("churn_payload", "request_date"), ("churn_feedback", "feedback_date")):
        keeper.note_commit(table, column, 0)
    route = EndpointRoute(
        "e", "churn", "me", EndpointState.SERVING, 1, (), capture=Capture("churn_payload", retention_days=7)
    )
    table_path(tmp_path).write_bytes(msgspec.msgpack.encode(RouteTable(1, {"churn": route})))
    keeper.learn(tmp_path)
    keeper.tick()
    started[0][1].status = 0
    keeper.tick()
    assert [argv for argv, _ in started] == [
        ["/tables/churn_payload", "request_date", "7"],
        ["/tables/churn_feedback", "feedback_date", "7"],
    ]


def test_a_table_that_was_removed_is_not_made_anew(tmp_path):
    DeltaWriter(str(tmp_path / "ghost_payload"), INFERENCE_SCHEMA, "request_date").maintain(date.today(), 7)
    assert not (tmp_path / "ghost_payload").exists()


def test_the_process_deletes_what_is_old_and_joins_files(tmp_path):
    """A process: its arguments and imports are what is tested."""
    uri = str(tmp_path / "churn_payload")
    writer = DeltaWriter(uri, INFERENCE_SCHEMA, "request_date")
    today = date.today()
    for number, day in enumerate([today, today, today - timedelta(days=40)], 1):
        columns = {field.name: pa.array([None], field.type) for field in INFERENCE_FIELDS}
        columns |= {"databricks_request_id": pa.array([f"r{number}"]), "request_date": pa.array([day])}
        writer.append(pa.table(columns, schema=INFERENCE_SCHEMA), {"s": number})
    subprocess.run([sys.executable, "-m", "tallystick.records.upkeep", uri, "request_date", "30"], check=True)
    table = DeltaTable(uri)
    assert sorted(table.to_pyarrow_table()["databricks_request_id"].to_pylist()) == ["r1", "r2"]
    assert len(table.file_uris()) == 1
    assert writer.committed("s") == 3
