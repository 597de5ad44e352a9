"""What was wrong for some seconds of the last hour, and is not in the newest rows."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from monitor_rows import ENTITY, Line, Table, endpoint, frame

from tallystick.monitor import ondemand
from tallystick.monitor.places import WatchedEndpoint
from tallystick.monitor.rows import sampled_between, spread_over
from tallystick.monitor.watch import Watch
from tallystick.monitor.work import Work
from tallystick.protocol.monitoring import Diagnose, IncidentSummary
from tallystick.records.reading import InferenceTable
from tallystick.settings import Settings

#: In the middle of an hour and of a day, so that neither ends on the way.
NOON = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
#: Rows of a minute, 10 ms apart: they come in its last six seconds.
BUSY = 600


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WatchedEndpoint:
    # As on a busy endpoint, where the newest rows are of some seconds.
    monkeypatch.setattr(ondemand, "MAX_ROWS", 200)
    return endpoint(tmp_path)


@pytest.fixture
def table(place: WatchedEndpoint) -> Table:
    return Table(place)


def minute(number: int, sick: slice = slice(0)) -> pd.DataFrame:
    rows = frame(BUSY, seed=number)
    rows.loc[rows.index[sick], "temp"] *= 100
    return rows


def minutes(table: Table, sick: Mapping[int, slice], count: int = 6) -> None:
    """A commit for each minute before noon; some rows of some have another unit."""
    for ago in range(count - 1, -1, -1):
        table.add(minute(ago, sick.get(ago, slice(0))), at=NOON - timedelta(minutes=ago))


def working(clock: Clock) -> Work:
    return Work(Settings(Path("/nowhere")), Line(), clock)  # type: ignore[arg-type]


def asked(work: Work, place: WatchedEndpoint, since_s: float = 0.0) -> dict[str, Any]:
    answer = msgspec.json.decode(work.diagnose(place, Diagnose(1, place.name, since_s=since_s)))
    found: dict[str, Any] = answer["verdicts"][0]["verdict"]
    return found


def open_incidents(work: Work, place: WatchedEndpoint) -> tuple[IncidentSummary, ...]:
    return work.standing({place.name: place})[place.name].incidents


def test_what_was_wrong_for_two_seconds_is_found_with_both_its_ends(
    place: WatchedEndpoint, table: Table, clock: Clock
) -> None:
    minutes(table, {2: slice(100, 300)})
    found = asked(working(clock), place)
    assert (found["status"], found["kind"], found["features"]) == ("cause_found", "unit", ["temp"])
    end = NOON - timedelta(minutes=2)
    first, last = end - timedelta(milliseconds=10 * 500), end - timedelta(milliseconds=10 * 301)
    assert (found["first_seen"], found["last_seen"]) == (f"{first:%F %T}Z", f"{last:%F %T}Z")
    assert (
        "judged by 600 rows of 12:27 UTC, as this minute moved; the newest rows of all do not show it"
        in found["degraded"]
    )


def test_what_is_over_opens_no_incident_when_somebody_asks(place: WatchedEndpoint, table: Table, clock: Clock) -> None:
    minutes(table, {2: slice(100, 300)})
    work = working(clock)
    assert asked(work, place)["status"] == "cause_found"
    assert open_incidents(work, place) == ()


def test_how_an_endpoint_stands_is_what_the_latest_diagnosis_said_whoever_asked_for_it(
    place: WatchedEndpoint, table: Table, clock: Clock
) -> None:
    minutes(table, {})
    work = working(clock)
    assert asked(work, place)["status"] == "consistent"
    clock.now += timedelta(seconds=30)
    asked(work, place, since_s=60)
    standing = work.standing({place.name: place})[place.name].entities["m"]
    assert (standing.status, standing.diagnosed_at) == ("consistent", "2026-01-31T12:30:00Z")
    assert standing.rows == 6 * BUSY
    # Also after a restart, before a row comes.
    work.close()
    again = working(clock)
    again.turn({place.name: place})
    assert again.standing({place.name: place})[place.name].entities["m"] == standing


def test_the_newest_of_several_is_told(place: WatchedEndpoint, table: Table, clock: Clock) -> None:
    minutes(table, {4: slice(0, 600), 2: slice(100, 200)})
    found = asked(working(clock), place)
    assert found["last_seen"] == f"{NOON - timedelta(minutes=2, milliseconds=10 * 401):%F %T}Z"


def test_what_was_before_the_time_that_was_asked_for_is_not_told(
    place: WatchedEndpoint, table: Table, clock: Clock
) -> None:
    minutes(table, {4: slice(0, 600)})
    assert asked(working(clock), place, since_s=180)["status"] == "consistent"


def test_of_a_minute_only_what_came_in_the_time_that_was_asked_for_is_judged(
    place: WatchedEndpoint, table: Table, clock: Clock
) -> None:
    # Its first 200 rows are sick: they came from six to four seconds ago.
    minutes(table, {0: slice(0, 200)})
    work = working(clock)
    found = asked(work, place, since_s=6)
    assert (found["status"], found["kind"]) == ("cause_found", "unit")
    for since_s in (1, 3):
        found = asked(work, place, since_s=since_s)
        assert (found["status"], found["kind"]) == ("consistent", "")
        assert not any("moved" in each for each in found["degraded"])


def test_rows_like_training_have_no_moment(place: WatchedEndpoint, table: Table, clock: Clock) -> None:
    minutes(table, {}, count=12)
    watch = Watch(place)
    watch.count_new(place, clock())
    assert watch.moments(ENTITY, 0) == []


def test_a_column_that_the_newest_rows_show_to_differ_is_judged_by_these(
    place: WatchedEndpoint, table: Table, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ago in range(4, -1, -1):
        rows = minute(ago)
        rows["wind"] = np.random.default_rng(ago).gamma(9.0, 3.0, len(rows)).round(2)
        table.add(rows, at=NOON - timedelta(minutes=ago))
    read: list[Any] = []
    monkeypatch.setattr("tallystick.monitor.earlier.sampled_between", lambda *given: read.append(given))
    found = asked(working(clock), place)
    assert (found["status"], found["features"]) == ("cannot_tell", ["wind"])
    assert read == []


def test_by_itself_a_fault_that_is_over_opens_an_incident_which_closes_when_it_does_not_come_again(
    place: WatchedEndpoint, table: Table, clock: Clock
) -> None:
    work = working(clock)
    seen: dict[int, list[str]] = {}
    for after in (0, 1, 6, 11, 16, 21):
        # It is over some seconds before it is looked at.
        table.add(minute(after, slice(0, 300) if after == 1 else slice(0)), at=NOON + timedelta(minutes=after))
        clock.now = NOON + timedelta(minutes=after, seconds=1)
        work.turn({place.name: place})
        seen[after] = [each.kind for each in open_incidents(work, place)]
    assert seen == {0: [], 1: ["unit"], 6: ["unit"], 11: ["unit"], 16: [], 21: []}


def test_by_itself_it_does_not_look_for_what_moved_no_more_than_a_minute_of_the_hour(
    place: WatchedEndpoint, table: Table, clock: Clock
) -> None:
    minutes(table, {10: slice(0, 30)}, count=20)
    watch = Watch(place)
    watch.advance(place, clock())
    assert [each.columns for each in watch.moments(ENTITY, 0)] == [("temp",)]
    assert watch.news(ENTITY, clock()) == []


def test_a_sample_of_a_time_is_fair_and_the_same_each_time(place: WatchedEndpoint, table: Table) -> None:
    minutes(table, {}, count=2)
    read = InferenceTable(place.table)
    begin, end = NOON - timedelta(minutes=3), NOON - timedelta(seconds=30)
    chosen = sampled_between(read, ENTITY, begin, end, 300, 10_000)
    assert len(chosen) == 300
    assert chosen["at"].max() <= end
    # Half of all, spread over the six seconds that they came in.
    halves = (chosen["at"] < NOON - timedelta(minutes=1, seconds=3)).sum()
    assert halves == pytest.approx(150, abs=40)
    assert list(sampled_between(read, ENTITY, begin, end, 300, 10_000)["id"]) == list(chosen["id"])


def test_a_fault_across_the_end_of_a_minute_is_told_whole(place: WatchedEndpoint, table: Table, clock: Clock) -> None:
    for ago in range(5, -1, -1):
        # Rows of 12 seconds around the end of each minute, the middle ones of one of them broken.
        rows = pd.concat([minute(2 * ago), minute(2 * ago + 1)], ignore_index=True)
        if ago == 3:
            rows.loc[350:749, "temp"] *= 100
        table.add(rows, at=NOON - timedelta(minutes=ago, seconds=-6))
    clock.now += timedelta(seconds=6)
    found = asked(working(clock), place)
    begin = NOON - timedelta(minutes=3, seconds=-6) - timedelta(milliseconds=10 * 850)
    assert found["kind"] == "unit"
    assert found["first_seen"] == f"{begin:%F %T}Z"
    assert found["last_seen"] == f"{begin + timedelta(milliseconds=10 * 399):%F %T}Z"
    assert any("of 12:26 and 12:27 UTC, as these minutes moved" in each for each in found["degraded"])


def test_rows_are_taken_from_all_requests_alike() -> None:
    ids = pd.Series(["a"] * 50 + ["b"] * 2 + ["c"] * 50)
    picked = spread_over(ids, 22)
    assert list(picked) == sorted(picked)
    assert ids.iloc[picked].value_counts().to_dict() == {"a": 10, "c": 10, "b": 2}
    assert len(spread_over(ids, 500)) == 102


def hours(table: Table, sick: Mapping[int, slice], count: int = 5) -> None:
    """A commit for each hour before noon; some rows of some have another unit."""
    for ago in range(count - 1, -1, -1):
        table.add(minute(ago, sick.get(ago, slice(0))), at=NOON - timedelta(hours=ago))


def test_what_was_wrong_hours_ago_is_found_in_the_requests_that_were_held_of_them(
    place: WatchedEndpoint, table: Table, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours(table, {3: slice(100, 300)})
    read: list[str] = []

    def remembered(given: InferenceTable, *rest: Any) -> Any:
        read.extend(given.invocations(columns=["databricks_request_id"]).read_all()[0].to_pylist())
        return sampled_between(given, *rest)

    monkeypatch.setattr("tallystick.monitor.earlier.sampled_between", remembered)
    found = asked(working(clock), place, since_s=6 * 3600)
    assert (found["status"], found["kind"], found["features"]) == ("cause_found", "unit", ["temp"])
    end = NOON - timedelta(hours=3)
    first, last = end - timedelta(milliseconds=10 * 500), end - timedelta(milliseconds=10 * 301)
    # To the request that is in the sample.
    assert pd.Timestamp(found["first_seen"]) == pytest.approx(pd.Timestamp(first), abs=pd.Timedelta("1s"))
    assert pd.Timestamp(found["last_seen"]) == pytest.approx(pd.Timestamp(last), abs=pd.Timedelta("1s"))
    assert any("2026-01-31 09:00 to 10:00 UTC, as this hour moved" in each for each in found["degraded"])
    assert len(read) == 500


def test_hours_before_the_time_that_was_asked_for_are_not_looked_at(
    place: WatchedEndpoint, table: Table, clock: Clock
) -> None:
    hours(table, {3: slice(0, 600)})
    work = working(clock)
    assert asked(work, place)["status"] == "consistent"
    assert asked(work, place, since_s=2 * 3600)["status"] == "consistent"
    assert asked(work, place, since_s=3 * 3600 - 1800)["status"] == "consistent"


def test_after_a_restart_hours_are_read_from_the_table(place: WatchedEndpoint, table: Table, clock: Clock) -> None:
    hours(table, {3: slice(100, 300)})
    first = working(clock)
    first.turn({place.name: place})
    first.close()
    found = asked(working(clock), place, since_s=6 * 3600)
    assert (found["status"], found["kind"]) == ("cause_found", "unit")


def test_an_hour_that_a_restart_fell_into_is_read_from_the_table_whole(
    place: WatchedEndpoint, table: Table, clock: Clock
) -> None:
    table.add(minute(3, slice(100, 300)), at=NOON - timedelta(hours=3))
    first = working(clock)
    first.turn({place.name: place})
    first.close()
    # What the second one holds of the hour is sound.
    table.add(minute(4), at=NOON - timedelta(hours=3, minutes=-10))
    hours(table, {}, count=2)
    found = asked(working(clock), place, since_s=6 * 3600)
    assert (found["status"], found["kind"]) == ("cause_found", "unit")


def test_an_hour_that_is_too_long_to_read_and_not_held_is_said_to_be_so(
    place: WatchedEndpoint, table: Table, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallystick.monitor.moments.MOST_REQUESTS", 500)
    hours(table, {3: slice(100, 300)})
    first = working(clock)
    first.turn({place.name: place})
    first.close()
    found = asked(working(clock), place, since_s=6 * 3600)
    assert found["status"] == "consistent"
    note = "2026-01-31 09:00 to 10:00 UTC, as this hour moved, was not looked at: no sample of its 600 requests is held"
    assert note in found["degraded"]


def test_requests_that_are_held_are_those_that_the_table_would_be_asked_for(
    place: WatchedEndpoint, table: Table, clock: Clock
) -> None:
    hours(table, {}, count=2)
    table.add(minute(9), at=NOON - timedelta(minutes=5), status_code=500)
    watch = Watch(place)
    watch.count_new(place, clock())
    begin = NOON - timedelta(minutes=30)
    held = watch.entities[ENTITY].reservoir.between(begin, begin + timedelta(hours=1))
    chosen = sampled_between(InferenceTable(place.table), ENTITY, begin, begin + timedelta(hours=1), 500, 10_000)
    assert held is not None
    assert held.requests["databricks_request_id"].to_pylist() == list(chosen["id"])


def test_no_request_is_held_of_a_column_that_is_kept_off_the_records_from_now_on(
    place: WatchedEndpoint, table: Table, clock: Clock
) -> None:
    hours(table, {}, count=2)
    watch = Watch(place)
    watch.count_new(place, clock())
    assert watch.entities[ENTITY].reservoir.hours
    watch.count_new(dataclasses.replace(place, hidden=frozenset({"wind"})), clock())
    assert not watch.entities[ENTITY].reservoir.hours


def test_no_request_is_held_when_recording_was_turned_off_or_the_table_deleted(
    place: WatchedEndpoint, table: Table, clock: Clock
) -> None:
    hours(table, {}, count=2)
    watch = Watch(place)
    watch.count_new(place, clock())
    shutil.rmtree(place.table)
    Table(place).add(minute(7), at=NOON)
    watch.count_new(place, clock())
    assert list(watch.entities[ENTITY].reservoir.hours) == [int(NOON.timestamp()) // 3600]
    watch.keep_to(dataclasses.replace(place, table=""), clock())
    assert not watch.entities[ENTITY].reservoir.hours


def test_no_request_is_held_for_longer_than_a_day_whether_others_come_or_not(
    place: WatchedEndpoint, table: Table, clock: Clock
) -> None:
    hours(table, {}, count=14)
    watch = Watch(place)
    watch.count_new(place, clock())
    assert len(watch.entities[ENTITY].reservoir.hours) == 14
    watch.keep_to(place, clock() + timedelta(hours=12))
    assert len(watch.entities[ENTITY].reservoir.hours) == 12
