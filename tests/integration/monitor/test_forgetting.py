"""What the monitor keeps no longer, whoever looks or not; and what a profile that is asked for does, and does not."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from monitor_rows import ENTITY, Line, Table, endpoint, frame

from tallystick.monitor import keeping
from tallystick.monitor.places import WatchedEndpoint
from tallystick.monitor.rings import DAY
from tallystick.monitor.routes import SKETCHES_FILE, Routes
from tallystick.monitor.watch import Watch
from tallystick.monitor.work import Work
from tallystick.protocol.monitoring import AskProfile
from tallystick.settings import Settings

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.fixture
def place(tmp_path: Path) -> WatchedEndpoint:
    return endpoint(tmp_path)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def working(clock: Clock, line: Line | None = None) -> Work:
    return Work(Settings(Path("/nowhere")), line or Line(), clock)  # type: ignore[arg-type]


def days_of(place: WatchedEndpoint) -> list[int]:
    """How many days before noon the days with sketches are, on disk."""
    today = int(NOON.timestamp()) // DAY
    return sorted(today - day for each in keeping.load_sketches(place.folder).values() for day in each.rings[DAY])


def columns_of(place: WatchedEndpoint) -> set[int]:
    """Places of columns that have sketches on disk."""
    rings = [ring for each in keeping.load_sketches(place.folder).values() for ring in each.rings.values()]
    found = [sketches for ring in rings for sketches in ring.values()]
    return {number for sketches in found for number, each in enumerate(sketches) if each is not None}


def test_sketches_that_are_too_old_do_not_come_back_from_memory(place: WatchedEndpoint, clock: Clock) -> None:
    table = Table(place)
    table.add(frame(60, 1), at=NOON)
    work = working(clock)
    work.turn({"churn": place})
    assert days_of(place) == [0]
    table.add(frame(60, 2), at=NOON + timedelta(days=10))
    clock.now += timedelta(days=10)
    work.turn({"churn": place})
    assert days_of(place) == [-10, 0]
    for days, left in ((14, [-10, 0]), (15, [-10]), (25, [])):
        clock.now = NOON + timedelta(days=days)
        work.turn({"churn": place})
        work.close()
        assert days_of(place) == left
    assert not (place.folder / SKETCHES_FILE).exists()


def test_rows_that_are_too_old_when_they_are_read_have_counts_only(place: WatchedEndpoint, clock: Clock) -> None:
    table = Table(place)
    for days in (20, 10):
        table.add(frame(30, days), at=NOON - timedelta(days=days))
    work = working(clock)
    work.turn({"churn": place})
    assert days_of(place) == [10]
    assert work.standing({"churn": place})["churn"].entities["m"].rows == 60


def test_what_grows_too_old_is_work_for_a_monitor_that_has_none(
    place: WatchedEndpoint, clock: Clock, tmp_path: Path
) -> None:
    watched, routes = {"churn": place}, Routes(tmp_path, "", clock.seconds)
    Table(place).add(frame(60, 1), at=NOON)
    working(clock).turn(watched)
    assert not routes.has_work(watched)
    clock.now += timedelta(days=15)
    assert routes.has_work(watched)
    working(clock).turn(watched)
    assert not routes.has_work(watched)
    assert days_of(place) == []


@pytest.mark.parametrize("is_watched", [True, False])
@pytest.mark.parametrize("changes", [{"hidden": frozenset({"temp"})}, {"key": "temp"}])
@pytest.mark.parametrize("is_restarted", [True, False])
def test_columns_that_go_off_the_records_are_forgotten_where_no_rows_come(
    place: WatchedEndpoint,
    clock: Clock,
    tmp_path: Path,
    changes: dict[str, object],
    is_watched: bool,
    is_restarted: bool,
) -> None:
    routes = Routes(tmp_path, "", clock.seconds)
    Table(place).add(frame(60, 1), at=NOON)
    work = working(clock)
    work.turn({"churn": place})
    assert columns_of(place) == {0, 1, 2, 3}
    watched = {"churn": dataclasses.replace(place, is_watched=is_watched, **changes)}  # type: ignore[arg-type]
    assert routes.has_work(watched)
    work = working(clock) if is_restarted else work
    work.turn(watched)
    work.close()
    assert columns_of(place) == {1, 2, 3}
    assert not routes.has_work(watched)


def test_a_column_that_comes_back_is_forgotten_again_when_it_goes(
    place: WatchedEndpoint, clock: Clock, tmp_path: Path
) -> None:
    """Also where only counts were written since, which say what both files are without."""
    table, hidden = Table(place), {"churn": dataclasses.replace(place, hidden=frozenset({"temp"}))}
    work = working(clock)
    for number, watched in enumerate((hidden, {"churn": place}, {"churn": place})):
        table.add(frame(60, number), at=NOON)
        work.turn(watched)
        clock.now += timedelta(seconds=200)
    work.close()
    assert 0 in columns_of(place)
    assert Routes(tmp_path, "", clock.seconds).has_work(hidden)


def test_what_is_served_no_longer_is_forgotten_without_new_rows(place: WatchedEndpoint, clock: Clock) -> None:
    Table(place).add(frame(60, 1), at=NOON)
    work = working(clock)
    work.turn({"churn": place})
    nothing = dataclasses.replace(place, entities=())
    Watch(nothing).keep_to(nothing, NOON)
    assert ENTITY in keeping.load(place.folder).entities, "what is stopped may come back"
    other = dataclasses.replace(place, entities=(dataclasses.replace(place.entities[0], id="f" * 32),))
    work.turn({"churn": other})
    assert keeping.load(place.folder).entities == {}
    assert work.standing({"churn": other})["churn"].entities["m"].rows == 0


# -- a profile that is asked for -------------------------------------------------------------------------------


def told(work: Work, place: WatchedEndpoint) -> tuple[int, list[str]]:
    (found,) = json.loads(work.profile(place, AskProfile(1, "churn")))["profiles"]
    return found["rows"], found["notes"]


def test_a_profile_of_a_table_that_cannot_be_read_says_so(place: WatchedEndpoint, clock: Clock) -> None:
    table, work = Table(place), working(clock)
    table.add(frame(60, 1), at=NOON)
    assert told(work, place) == (60, [])
    before = set(Path(place.table).rglob("*.parquet"))
    table.add(frame(60, 2), at=NOON)
    for file in set(Path(place.table).rglob("*.parquet")) - before:
        file.write_bytes(b"no parquet")
    rows, (note,) = told(work, place)
    assert rows == 60
    assert "what was recorded since is not counted" in note
    assert "'churn_payload' cannot be read" in note


def test_a_profile_counts_and_the_next_turn_diagnoses(place: WatchedEndpoint, clock: Clock) -> None:
    rows = frame(300, 1)
    rows.loc[np.arange(300) % 3 == 0, "temp"] *= 100
    Table(place).add(rows, ["ios/4.2" if number % 3 == 0 else "web/1.0" for number in range(300)], at=NOON)
    line = Line()
    work = working(clock, line)
    assert told(work, place) == (300, [])
    assert line.asked == []
    assert work.standing({"churn": place})["churn"].incidents == ()
    assert list(place.incidents.glob("*.json")) == []
    work.turn({"churn": place})
    (incident,) = work.standing({"churn": place})["churn"].incidents
    assert (incident.kind, incident.features) == ("unit", ("temp",))
