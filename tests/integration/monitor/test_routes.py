"""What the monitor knows before it imports anything large: whether there is work, and how endpoints stood last."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from monitor_rows import Line, Table, endpoint, frame

from tallystick.monitor.places import WatchedEndpoint
from tallystick.monitor.routes import Routes, has_new_rows
from tallystick.monitor.work import Work
from tallystick.protocol.monitoring import EndpointParity, EntityParity, IncidentState, IncidentSummary
from tallystick.protocol.routes import (
    Capture,
    EndpointRoute,
    EndpointState,
    EntityRoute,
    ParityRoute,
    RouteTable,
    table_path,
)
from tallystick.settings import Settings

OPEN = IncidentSummary(
    1, "m", IncidentState.OPEN, "cause_found", "preprocessing", "unit", (), {}, "proof", 1, 9, "", ""
)


@pytest.fixture
def place(tmp_path: Path) -> WatchedEndpoint:
    return endpoint(tmp_path)


def test_the_route_table_on_disk_says_what_there_is(tmp_path: Path) -> None:
    routes = Routes(tmp_path, "/tables")
    assert routes.read() == {}
    entity = EntityRoute("e" * 32, "m", "churn", "1", 10_000, (), 4, 64, 60.0, digest="d" * 64)
    route = EndpointRoute(
        "i", "churn", "root", EndpointState.SERVING, 1, (entity,),
        capture=Capture("churn_payload"), parity=ParityRoute(webhook="http://hook"),
    )  # fmt: skip
    table_path(tmp_path).write_bytes(msgspec.msgpack.encode(RouteTable(1, {"churn": route})))
    (found,) = routes.read().values()
    assert (found.table, found.webhook, found.entities[0].digest) == ("/tables/churn_payload", "http://hook", "d" * 64)


def test_there_is_work_when_a_table_has_rows_that_were_not_read(tmp_path: Path, place: WatchedEndpoint) -> None:
    routes, watched = Routes(tmp_path, ""), {"churn": place}
    assert not routes.has_work(watched)
    table = Table(place)
    table.add(frame(20, 1))
    assert routes.has_work(watched)
    assert not routes.has_work({"churn": endpoint(tmp_path, is_watched=False)})
    work = Work(Settings(tmp_path), Line())  # type: ignore[arg-type]
    work.turn(watched)
    assert not routes.has_work(watched)
    table.add(frame(5, 2), arm="shadow")
    assert routes.has_work(watched)
    work.turn(watched)
    assert not routes.has_work(watched), "rows that do not count were read as well"
    for number in range(3):
        table.add(frame(5, number))
    work.turn(watched)
    table._writer.maintain(datetime.now(UTC).date(), 0)
    assert has_new_rows(place)
    work.turn(watched)
    assert not has_new_rows(place), "what compaction rewrote was looked at"


def test_an_open_incident_is_work_until_it_is_over(tmp_path: Path, place: WatchedEndpoint) -> None:
    watched = {"churn": place}
    routes = Routes(tmp_path, "")
    routes.keep({"churn": EndpointParity(place.id, {}, (OPEN,))})
    assert routes.has_work(watched)
    routes.keep({"churn": EndpointParity(place.id)})
    assert not routes.has_work(watched)


def test_a_successor_tells_what_was_known_last(tmp_path: Path, place: WatchedEndpoint) -> None:
    known = EntityParity(rows=120, status="consistent", violations={"temp": {"null": 3}})
    Routes(tmp_path, "").keep({"churn": EndpointParity(place.id, {"m": known, "gone": known}, (OPEN,))})
    standing = Routes(tmp_path, "").standing({"churn": place})["churn"]
    assert (standing.entities, standing.incidents) == ({"m": known}, (OPEN,))
    other = endpoint(tmp_path, id="j" * 32)
    assert Routes(tmp_path, "").standing({"churn": other})["churn"].incidents == ()
    (tmp_path / "parity" / "standing.msgpack").write_bytes(b"damaged")
    assert Routes(tmp_path, "").standing({"churn": place})["churn"].incidents == ()


def test_what_is_imported_before_there_is_work_is_small() -> None:
    """A process, since this one has imported everything."""
    code = "import sys, tallystick.monitor.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    large = {"numpy", "pandas", "scipy", "pyarrow", "deltalake", "duckdb", "httpx", "mlflow"}
    assert large & set(done.stdout.split()) == set()
