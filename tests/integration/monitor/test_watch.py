"""A watch of one endpoint over a table as the recorder writes it: what is read, counted, diagnosed and told."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from monitor_rows import ENTITY, Line, Table, endpoint, frame

from tallystick.errors import DamagedTable, InvalidParameter, NotFound
from tallystick.gate.report import Difference, GateReport, Outcome, Rung, RungReport
from tallystick.monitor import batches, counting, keeping, ondemand
from tallystick.monitor import watch as watching
from tallystick.monitor.entity_watch import EntityWatch
from tallystick.monitor.examples import HIDDEN, shown
from tallystick.monitor.ondemand import Asked, diagnose_endpoint, diagnose_table
from tallystick.monitor.places import WatchedEndpoint, watched_endpoints
from tallystick.monitor.rings import DAY
from tallystick.monitor.screening import Flag
from tallystick.monitor.watch import Watch
from tallystick.monitor.work import Work
from tallystick.parity import Reference
from tallystick.parity.kinds import Family, Status
from tallystick.protocol.monitoring import AskProfile, Diagnose, Replayed, Replaying
from tallystick.protocol.routes import Capture, EndpointRoute, EndpointState, EntityRoute, ParityRoute, RouteTable
from tallystick.settings import Settings


@pytest.fixture
def place(tmp_path: Path) -> WatchedEndpoint:
    return endpoint(tmp_path)


@pytest.fixture
def table(place: WatchedEndpoint) -> Table:
    return Table(place)


def now() -> datetime:
    return datetime.now(UTC)


def two_clients(rows: int, seed: int = 1) -> tuple[Any, list[str]]:
    """Rows of which each third comes from a client that sends another unit."""
    found = frame(rows, seed)
    ios = np.arange(rows) % 3 == 0
    found.loc[ios, "temp"] *= 100
    return found, ["ios/4.2.17" if each else "android/7.0.1" for each in ios]


def diagnosed(place: WatchedEndpoint, entity: str, asked: Asked, line: Any, when: datetime) -> list[tuple[Any, Any]]:
    found = diagnose_endpoint(place, entity, asked, line, when)
    return [(each, explained) for each, looked in found for explained in looked.found]


# -- the reader ------------------------------------------------------------------------------------------------


def test_each_row_is_counted_once_over_restarts_and_commits(place: WatchedEndpoint, table: Table) -> None:
    table.add(frame(50, 1))
    watch = Watch(place)
    watch.advance(place, now())
    table.add(frame(30, 2))
    table.add(frame(20, 3), at=now() - timedelta(minutes=5))
    watch.advance(place, now())
    watch.advance(place, now())
    assert watch.counted(place.entities[0]).rows == 100
    table.add(frame(7, 4))
    again = Watch(place)
    again.advance(place, now())
    assert again.counted(place.entities[0]).rows == 107
    days = again.entities[ENTITY].rings.by_width[DAY].total()
    assert days is not None
    assert days.rows == 107


def test_rows_are_read_where_the_endpoint_keeps_who_asked_off_its_records(place: WatchedEndpoint, table: Table) -> None:
    rows, _ = two_clients(200)
    table.add(rows, user_agent=None, requester=None, usage_context=None)
    watch = Watch(place)
    watch.advance(place, now())
    assert watch.counted(place.entities[0]).rows == 200
    ((_, explained),) = diagnosed(place, "", Asked(), Line(), now())
    assert (explained.verdict.kind, explained.verdict.features) == ("unit", ("temp",))


def test_rows_are_counted_once_though_a_turn_broke_off_in_the_middle(
    place: WatchedEndpoint, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.add(frame(50, 1))
    watch = Watch(place)
    watch.advance(place, now())
    table.add(frame(60, 2))
    monkeypatch.setattr(batches, "BATCH_ROWS", 20)
    counted = watching.count
    calls = itertools.count()

    def breaking(*given: Any) -> None:
        if next(calls) == 2:
            raise ZeroDivisionError
        counted(*given)

    monkeypatch.setattr(watching, "count", breaking)
    with pytest.raises(ZeroDivisionError):
        watch.advance(place, now())
    assert watch.counted(place.entities[0]).rows == 50
    watch.advance(place, now())
    assert watch.counted(place.entities[0]).rows == 110
    days = watch.entities[ENTITY].rings.by_width[DAY].total()
    assert days is not None
    assert days.rows == 110


def test_what_was_due_stays_due_until_a_diagnosis_came_to_an_end(place: WatchedEndpoint, table: Table) -> None:
    table.add(two_clients(200)[0])
    watch = Watch(place)
    assert [each.id for each in watch.advance(place, now())] == [ENTITY]
    assert [each.id for each in watch.advance(place, now())] == [ENTITY]
    watch.diagnosed(ENTITY, is_claimed=True, now=now())
    assert watch.advance(place, now()) == []


def test_rows_that_cannot_be_decoded_were_not_passed_over_for_want_of_time(
    place: WatchedEndpoint, table: Table
) -> None:
    table.add(frame(1, 1), request=None, request_rows=20_000, logging_error_codes=["MAX_REQUEST_SIZE_EXCEEDED"])
    table.add(frame(30, 2))
    watch = Watch(place)
    watch.advance(place, now())
    assert (watch.counted(place.entities[0]).rows, watch.counted(place.entities[0]).passed_over) == (30, 0)


def test_without_a_table_there_is_nothing_to_do_and_one_that_was_made_anew_is_read_whole(
    place: WatchedEndpoint, tmp_path: Path
) -> None:
    watch = Watch(place)
    assert watch.advance(place, now()) == []
    Table(place).add(frame(40, 1))
    watch.advance(place, now())
    Path(place.table).rename(tmp_path / "old")
    assert watch.advance(place, now()) == []
    Table(place).add(frame(5, 2))
    watch.advance(place, now())
    assert watch.counted(place.entities[0]).rows == 45


def test_copies_of_traffic_failed_requests_and_other_entities_do_not_count(
    place: WatchedEndpoint, table: Table
) -> None:
    table.add(frame(10, 1), arm="shadow")
    table.add(frame(10, 1), status_code=400, response='{"error_code": "BAD_REQUEST"}')
    table.add(frame(10, 1), served_entity_id="f" * 32, served_entity_name="other")
    table.add(frame(3, 1), arm="pinned")
    watch = Watch(place)
    watch.advance(place, now())
    assert watch.counted(place.entities[0]).rows == 3


def test_of_more_than_a_turn_has_time_for_a_sample_is_counted_and_the_rest_is_told(
    place: WatchedEndpoint, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "ENOUGH_ROWS", 100)
    seconds = itertools.count(0, 8)
    watch = Watch(place, cpu=lambda: float(next(seconds)))
    watch._random = np.random.default_rng(0)
    table.add(frame(100, 1))
    watch.advance(place, now())
    assert (watch.counted(place.entities[0]).rows, watch.counted(place.entities[0]).passed_over) == (100, 0)
    # They took eight seconds, so four are reckoned for the next hundred, and a tenth of 20 is two.
    table.add(frame(400, 2))
    watch.advance(place, now() + timedelta(seconds=20))
    counted = watch.counted(place.entities[0])
    assert counted.rows + counted.passed_over == 500
    # An eighth, within four standard deviations.
    assert counted.rows - 100 == pytest.approx(50, abs=26)


def test_segments_are_bounded_and_named_by_product_and_version(
    place: WatchedEndpoint, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MAX_SEGMENTS", 6)
    agents = [f"app/{number}.1.{number}" for number in range(40)]
    table.add(frame(40, 1), agents, usage_context=[("region", "eu")])
    watch = Watch(place)
    watch.advance(place, now())
    found = set(watch.entities[ENTITY].segments)
    assert len(found) == 6
    assert {column for column, _ in found} <= {"client", "requester", "usage_context.region"}
    assert all(value.count(".") == 1 for column, value in found if column == "client")


def test_a_big_client_is_watched_though_agents_that_come_once_were_there_first(
    place: WatchedEndpoint, table: Table
) -> None:
    watch = Watch(place)
    for number in range(3):
        table.add(frame(60, number), [f"once{number}-{each}/1.0" for each in range(60)])
        watch.advance(place, now())
    table.add(frame(90, 7), ["ios/4.2" if each % 3 else f"again{each}/1.0" for each in range(90)])
    watch.advance(place, now())
    assert ("client", "ios/4.2") in watch.entities[ENTITY].segments
    assert len(watch.entities[ENTITY].segments) == counting.MAX_SEGMENTS
    again = Watch(place)
    table.add(frame(1, 8), "once/1.0")
    again.advance(place, now())
    assert again.entities[ENTITY].frequent.counts["client", "ios/4.2"] == 60
    assert ("client", "ios/4.2") in again.entities[ENTITY].segments


# -- turns -----------------------------------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path: Path) -> Callable[..., Work]:
    def made(line: Any = None, clock: Callable[[], datetime] = now) -> Work:
        return Work(Settings(tmp_path), line or Line(), clock)  # type: ignore[arg-type]

    return made


def test_a_number_at_the_end_of_floats_prints_nothing(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work], recwarn: pytest.WarningsRecorder
) -> None:
    rows = frame(200, 1)
    rows.loc[[3, 5], "temp"] = 1e308
    table.add(rows)
    turns = work()
    turns.turn({"churn": place})
    turns.profile(place, AskProfile(1, "churn"))
    assert not [str(each.message) for each in recwarn if each.category is RuntimeWarning]


def test_rows_like_training_are_diagnosed_once_and_open_nothing(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work]
) -> None:
    line = Line()
    turns = work(line)
    for seed in range(5):
        table.add(frame(100, 50 + seed))
        turns.turn({"churn": place})
    standing = turns.standing({"churn": place})["churn"]
    assert standing.incidents == ()
    assert [each.status for each in standing.entities.values()] == ["consistent"]
    assert line.asked == [Replaying.CHECK]


def test_a_replica_that_differs_is_found_though_rows_are_like_training(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work]
) -> None:
    difference = Difference(column="output 0", row=0, expected="1.5", got="2.5", share=1.0, largest=1.0)
    rung = RungReport(Rung.PREDICTION, Outcome.FAILED, "Golden row 0: expected 1.5, got 2.5.", difference)
    report = GateReport(Outcome.FAILED, digest="d" * 64, rows=64, rungs=(rung,))
    turns = work(Line(Replayed(1, msgspec.json.encode({"0": report}))))
    table.add(frame(200, 50))
    turns.turn({"churn": place})
    (incident,) = turns.standing({"churn": place})["churn"].incidents
    assert incident.kind == "prediction_differs"


def test_a_table_with_a_damaged_file_does_not_keep_others_from_being_looked_at(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work], tmp_path: Path
) -> None:
    broken = dataclasses.replace(place, id="b" * 32, name="broken", table=str(tmp_path / "broken"))
    Table(broken).add(frame(10, 1))
    for file in Path(broken.table).rglob("*.parquet"):
        if "_delta_log" not in file.parts:
            file.write_bytes(b"no parquet")
    table.add(frame(30, 1))
    turns = work()
    turns.turn({"broken": broken, "churn": place})
    assert turns.standing({"churn": place})["churn"].entities["m"].rows == 30


def test_a_client_that_sends_another_unit_is_an_incident_at_the_next_turn(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work]
) -> None:
    turns = work()
    table.add(frame(100, 1))
    turns.turn({"churn": place})
    rows, agents = two_clients(120)
    table.add(rows, agents)
    turns.turn({"churn": place})
    standing = turns.standing({"churn": place})["churn"]
    (incident,) = standing.incidents
    assert (incident.kind, incident.features, incident.served_entity) == ("unit", ("temp",), "m")
    assert (incident.segment["column"], incident.segment["value"]) == ("client", "ios/4.2")
    assert standing.entities["m"].violations["temp"]["out_of_range"] >= 40
    assert standing.entities["m"].status == Status.CAUSE_FOUND
    kept = json.loads((place.incidents / "1.json").read_bytes())
    assert kept["verdict"]["transformation"]["factor"] == pytest.approx(100)
    # Only what is affected is in the examples: not the other columns of anybody's row.
    assert [set(row["sent"]) for row in kept["rows"]] == [{"temp"}] * 3
    assert all(row["sent"]["temp"] == pytest.approx(100 * row["expected"]["temp"]) for row in kept["rows"])
    # Not once more each minute.
    table.add(*two_clients(60, 2))
    turns.turn({"churn": place})
    assert len(turns.standing({"churn": place})["churn"].incidents) == 1
    # Its successor knows it.
    assert [each.id for each in work().standing({"churn": place})["churn"].incidents] == [1]


REFUSAL = {
    "status_code": 400,
    "error_code": "BAD_REQUEST",
    "response": '{"error_code": "BAD_REQUEST", "message": "Column \'temp\': got \'12,5\', expected a number (double)."}',
    "request_rows": None,
}


def comma(rows: Any) -> Any:
    return rows.assign(temp=rows["temp"].astype(str).str.replace(".", ","))


def test_a_client_whose_requests_are_all_refused_is_an_incident_at_the_next_turn(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work]
) -> None:
    turns = work()
    table.add(frame(100, 1), "web/1.0")
    turns.turn({"churn": place})
    table.add(comma(frame(40, 2)), "ios/4.2.17", **REFUSAL)
    turns.turn({"churn": place})
    standing = turns.standing({"churn": place})["churn"]
    (incident,) = standing.incidents
    assert (incident.kind, incident.features) == ("decimal_comma", ("temp",))
    assert (incident.segment["column"], incident.segment["value"]) == ("client", "ios/4.2")
    assert "client ios/4.2" in incident.title
    assert standing.entities["m"].rows == 100


def test_a_sender_with_hardly_a_row_among_the_newest_ones_is_looked_at_by_itself(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ondemand, "MAX_ROWS", 240)
    moment, seeds = now() - timedelta(hours=1), itertools.count(1, 10)
    turns = work(clock=lambda: moment)

    def minutes_later(minutes: float, factor: float) -> tuple[Any, ...]:
        nonlocal moment
        moment += timedelta(minutes=minutes)
        rows = frame(60, next(seeds))
        table.add(rows.assign(temp=rows.temp * factor), "ios/4.2", at=moment - timedelta(minutes=1))
        table.add(frame(240, next(seeds)), "web/1.0", at=moment)
        turns.turn({"churn": place})
        return turns.standing({"churn": place})["churn"].incidents

    (incident,) = minutes_later(0, 100)
    assert (incident.kind, incident.features, incident.segment["value"]) == ("unit", ("temp",), "ios/4.2")
    assert incident.segment["share_of_rows"] == pytest.approx(60 / 300)
    assert "client ios/4.2 (20 % of requests) sends temp 100 times as large" in incident.title
    # It is mended, and its own rows show that too.
    assert [each.id for each in minutes_later(10, 1)] == [incident.id]
    assert minutes_later(20, 1) == ()


def test_requests_that_are_refused_without_a_fault_in_their_rows_open_nothing_and_are_looked_at_once(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work]
) -> None:
    line = Line()
    turns = work(line)
    for number in range(3):
        table.add(frame(60, number), "web/1.0")
        table.add(frame(30, 9), "curl/8.1", **REFUSAL | {"request": "{"})
        turns.turn({"churn": place})
    assert turns.standing({"churn": place})["churn"].incidents == ()
    assert line.asked == [Replaying.CHECK]


def test_a_sample_of_many_requests_has_as_many_refused_ones_as_there_were(
    place: WatchedEndpoint, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An eighth of 2,000 requests, where a row takes as long as the refusal of one.
    monkeypatch.setattr(batches, "LEAST_CPU_S", 250.0)
    monkeypatch.setattr(batches, "MOST_CPU_S", 250.0)
    monkeypatch.setattr(batches, "_REFUSED_S", 1.0)
    monkeypatch.setattr(watching, "first_row_s", lambda columns: 1.0)
    table.add(frame(1600, 1), "web/1.0")
    table.add(frame(400, 2), "ios/4.2", **REFUSAL)
    watch = Watch(place)
    watch._random = np.random.default_rng(0)
    watch.advance(place, now())
    counted = watch.entities[ENTITY].rings.by_width[DAY].total()
    assert counted is not None
    assert counted.rows == pytest.approx(200, abs=55)
    assert counted.requests == pytest.approx(250, abs=60)
    # A fifth of all, within three standard deviations.
    assert counted.refused / counted.requests == pytest.approx(0.2, abs=0.08)


def test_a_mended_clients_incident_closes_while_another_clients_fault_lasts(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work]
) -> None:
    moment, seeds = now() - timedelta(hours=2), itertools.count(1, 10)
    turns = work(clock=lambda: moment)

    def minutes_later(minutes: float, ios: Any, android: Any) -> set[str]:
        nonlocal moment
        moment += timedelta(minutes=minutes)
        seed = next(seeds)
        table.add(frame(80, seed), "web/1.0", at=moment)
        table.add(ios(frame(60, seed + 1)), "ios/4.2", at=moment)
        table.add(android(frame(60, seed + 2)), "android/7.1", at=moment)
        turns.turn({"churn": place})
        return {str(each.segment["value"]) for each in turns.standing({"churn": place})["churn"].incidents}

    def times(rows: Any) -> Any:
        return rows.assign(temp=rows.temp * 100)

    def upper(rows: Any) -> Any:
        return rows.assign(kind=rows.kind.str.upper())

    def fair(rows: Any) -> Any:
        return rows

    assert minutes_later(0, times, upper) == {"ios/4.2", "android/7.1"}
    assert minutes_later(10, fair, upper) == {"ios/4.2", "android/7.1"}
    assert minutes_later(16, fair, upper) == {"android/7.1"}
    # And one that is mended is looked at until it is closed, however little moves.
    assert [minutes_later(each, fair, fair) for each in (10, 6, 5)] == [{"android/7.1"}] * 3
    assert minutes_later(5, fair, fair) == set()


def test_what_an_incident_was_closed_over_opens_none_again_after_a_restart(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work]
) -> None:
    moment, seeds = now() - timedelta(hours=2), itertools.count(1, 10)

    def turned(minutes: float, turns: Work, ios: float = 1) -> list[int]:
        nonlocal moment
        moment += timedelta(minutes=minutes)
        seed = next(seeds)
        rows = frame(60, seed)
        table.add(rows.assign(temp=rows.temp * ios), "ios/4.2", at=moment)
        table.add(frame(60, seed + 1), "web/1.0", at=moment)
        turns.turn({"churn": place})
        return [each.id for each in turns.standing({"churn": place})["churn"].incidents]

    first = work(clock=lambda: moment)
    assert [turned(each, first, ios) for each, ios in ((0, 100), (10, 1), (16, 1))] == [[1], [1], []]
    # It knows nothing of the turns before, and its rows of the last hour are those of the fault, too.
    second = work(clock=lambda: moment)
    assert turned(10, second) == []
    assert turned(1, second, ios=100) == [2]


def test_two_faults_of_one_client_are_told_together_and_the_second_goes_on_without_a_gap(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work]
) -> None:
    moment, seeds = now() - timedelta(hours=2), itertools.count(1, 10)
    turns = work(clock=lambda: moment)

    def minutes_later(minutes: float, factor: float) -> Any:
        nonlocal moment
        moment += timedelta(minutes=minutes)
        seed = next(seeds)
        table.add(frame(80, seed), "web/1.0", at=moment)
        broken = frame(60, seed + 1)
        broken = broken.assign(temp=broken["temp"] * factor, kind=broken["kind"].str.upper())
        table.add(broken, "ios/4.2", at=moment)
        turns.turn({"churn": place})
        return turns.standing({"churn": place})["churn"].incidents

    (incident,) = minutes_later(0, 100)
    assert len(incident.also) == 1
    assert all(name in incident.title for name in incident.also)
    whole = json.loads((place.incidents / "1.json").read_bytes())
    assert {whole["verdict"]["kind"], *(each["kind"] for each in whole["verdict"]["others"])} == {"unit", "letter_case"}
    assert incident.also[0] in whole["text"]
    # The client mends the unit: what is left is an incident before the first one closes.
    open_kinds = []
    for minutes in (16, 5, 5, 5):
        open_kinds.append([each.kind for each in minutes_later(minutes, 1)])
    assert all("letter_case" in kinds for kinds in open_kinds)
    assert open_kinds[-1] == ["letter_case"]


def test_an_endpoint_that_is_not_to_be_watched_is_left_alone(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work], tmp_path: Path
) -> None:
    off = endpoint(tmp_path, is_watched=False)
    table.add(*two_clients(120))
    turns = work()
    turns.turn({"churn": off})
    assert turns.standing({"churn": off})["churn"].incidents == ()
    assert "off" in turns.standing({"churn": off})["churn"].entities["m"].problem


def test_a_table_that_cannot_be_read_keeps_no_other_from_being_looked_at(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work], tmp_path: Path
) -> None:
    broken = endpoint(tmp_path, id="b" * 32, name="broken", table=str(tmp_path / "broken_payload"))
    log = tmp_path / "broken_payload" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_text("this is no log")
    table.add(*two_clients(120))
    turns = work()
    turns.turn({"broken": broken, "churn": place})
    assert len(turns.standing({"churn": place})["churn"].incidents) == 1


@pytest.mark.parametrize(
    ("flags", "diagnosed", "is_claimed", "age_s", "is_due"),
    [
        ("", "", False, None, False),
        ("a", "", False, None, True),
        ("ab", "a", False, 1, True),
        ("a", "ab", False, 1, False),
        ("a", "a", False, 3599, False),
        ("a", "a", False, 3600, True),
        ("", "a", True, 299, False),
        ("", "a", True, 300, True),
        ("", "a", False, 9999, False),
    ],
)
def test_what_is_new_is_diagnosed_at_once_and_what_is_known_now_and_then(
    flags: str, diagnosed: str, is_claimed: bool, age_s: float | None, is_due: bool
) -> None:
    watch = EntityWatch("d", None)
    watch.flags, watch.diagnosed = frozenset(map(Flag, flags)), frozenset(map(Flag, diagnosed))
    watch.is_claimed = is_claimed
    end = now()
    watch.diagnosed_at = None if age_s is None else end - timedelta(seconds=age_s)
    assert watch.is_due(end, got_rows=True) is is_due
    assert not watch.is_due(end, got_rows=False)


# -- on demand -------------------------------------------------------------------------------------------------


def test_a_diagnosis_on_demand_finds_column_factor_and_client_and_opens_the_incident(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work]
) -> None:
    table.add(*two_clients(300))
    turns = work()
    answer = json.loads(turns.diagnose(place, Diagnose(1, "churn", rows=True)))
    (found,) = answer["verdicts"]
    assert (found["served_entity"], found["incident_id"], len(found["rows"])) == ("m", 1, 3)
    verdict = found["verdict"]
    assert (verdict["status"], verdict["kind"], verdict["features"]) == ("cause_found", "unit", ["temp"])
    assert verdict["segment"]["value"] == "ios/4.2"
    assert "ios/4.2" in found["text"]
    assert any("replicas were not asked" in limit for limit in verdict["degraded"])
    # What happened long ago is told and opens nothing.
    old = json.loads(turns.diagnose(place, Diagnose(2, "churn", since_s=86_400)))
    assert old["verdicts"][0]["incident_id"] == 1
    assert len(turns.standing({"churn": place})["churn"].incidents) == 1


def test_a_profile_counts_what_is_new_first_and_goes_on_after_a_restart(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work]
) -> None:
    # At one time, so that no midnight comes between.
    noon = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)

    def temp(turns: Work, **asked: str) -> tuple[int, float]:
        (found,) = json.loads(turns.profile(place, AskProfile(1, "churn", column="temp", **asked)))["profiles"]  # type: ignore[arg-type]
        return found["rows"], found["columns"][0]["live"]["quantiles"]["p50"]

    table.add(frame(60, 1), "web/1.0", at=noon)
    turns = work(clock=lambda: noon)
    first = temp(turns)
    assert first == (60, pytest.approx(20, abs=3))
    turns.close()
    again = work(clock=lambda: noon)
    assert temp(again) == first
    table.add(frame(40, 2), "ios/4.2.1", at=noon)
    assert temp(again)[0] == 100
    assert temp(again, segment="client=ios/4.2") == (40, pytest.approx(20, abs=4))
    with pytest.raises(NotFound, match="it serves m"):
        temp(again, served_entity="x")


def test_a_served_entity_whose_reference_cannot_be_read_keeps_the_others_place(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work]
) -> None:
    (place.entities[0].reference / "reference.msgpack").write_bytes(b"damaged")  # type: ignore[operator]
    table.add(frame(20, 1))
    watch = Watch(place)
    watch.advance(place, now())
    assert keeping.load(place.folder).version >= 0
    with pytest.raises(InvalidParameter, match="its reference cannot be read"):
        work().profile(place, AskProfile(1, "churn"))


def test_why_a_diagnosis_sees_nothing_is_said_with_what_to_do(place: WatchedEndpoint, tmp_path: Path) -> None:
    def said(where: WatchedEndpoint, entity: str = "") -> str:
        with pytest.raises((InvalidParameter, NotFound)) as caught:
            diagnose_endpoint(where, entity, Asked(), None, now())
        return caught.value.message

    assert "inference-table churn --on" in said(endpoint(tmp_path, table=""))
    assert "it serves m" in said(place, "x")
    routes = RouteTable(1, {"churn": EndpointRoute("i", "churn", "root", EndpointState.SERVING, 1, ())})
    nothing = watched_endpoints(routes, tmp_path, str(tmp_path))["churn"]
    assert "not recorded" in said(nothing)
    ((_, explained),) = diagnosed(place, "", Asked(), None, now())
    assert explained.verdict.status is Status.CANNOT_TELL
    assert any("no invocation of m was recorded since it was deployed" in limit for limit in explained.verdict.degraded)


def test_an_entity_without_a_reference_is_told_how_to_get_one(tmp_path: Path) -> None:
    route = EntityRoute("e", "m", "churn", "1", 10_000, (), 4, 64, 60.0, digest="0" * 64)
    routes = RouteTable(
        1,
        {
            "churn": EndpointRoute(
                "i", "churn", "root", EndpointState.SERVING, 1, (route,),
                capture=Capture("churn_payload"), parity=ParityRoute(False, "https://example.org/hook"),
            )
        },
    )  # fmt: skip
    found = watched_endpoints(routes, tmp_path, "/tables")["churn"]
    assert (found.table, found.webhook, found.is_watched) == (
        "/tables/churn_payload",
        "https://example.org/hook",
        False,
    )
    assert found.entities[0].reference is None
    assert "tallystick reference add" in found.entities[0].problem
    assert "tallystick deploy churn MODEL" in found.entities[0].problem


def test_rows_of_long_ago_are_judged_when_the_last_hour_has_few_and_that_is_said(
    place: WatchedEndpoint, table: Table
) -> None:
    table.add(frame(100, 1), at=now() - timedelta(days=3))
    table.add(frame(10, 2))
    ((_, explained),) = diagnosed(place, "", Asked(), None, now())
    assert explained.verdict.rows == 110
    assert any("3 days" in limit for limit in explained.verdict.degraded)
    ((_, recent),) = diagnosed(place, "", Asked(timedelta(hours=1)), None, now())
    assert recent.verdict.rows == 10


def test_a_table_alone_is_diagnosed_against_a_models_folder(place: WatchedEndpoint, table: Table) -> None:
    table.add(*two_clients(200))
    reference = place.entities[0].reference
    assert reference is not None
    for folder in (reference, reference.parent):
        ((name, explained),) = diagnose_table(place.table, str(folder), Asked())
        assert (name, explained.verdict.kind) == ("m", "unit")
    with pytest.raises(InvalidParameter, match=r"tallystick\.log_model"):
        diagnose_table(place.table, str(reference.parent.parent), Asked())


def test_the_ledger_convicts_what_the_decoded_rows_do_not_show(place: WatchedEndpoint, table: Table) -> None:
    coerced = [{"column": "wind", "kind": "fraction_dropped", "count": 1}]
    table.add(frame(100, 1), coercions=coerced)
    ((_, explained),) = diagnosed(place, "", Asked(), None, now())
    verdict = explained.verdict
    assert (verdict.status, verdict.kind, verdict.features) == (Status.CAUSE_FOUND, "lossy_cast", ("wind",))


def cut(column: str) -> dict[str, Any]:
    return {"coercions": [{"column": column, "kind": "fraction_dropped", "count": 1}]}


def test_what_the_ledger_says_of_one_client_is_told_with_the_client(place: WatchedEndpoint, table: Table) -> None:
    table.add(frame(100, 1), "web/1.0")
    table.add(frame(50, 2), "ios/4.2", **cut("wind"))
    ((_, explained),) = diagnosed(place, "", Asked(), None, now())
    assert (explained.verdict.kind, explained.verdict.segment["value"]) == ("lossy_cast", "ios/4.2")


@pytest.mark.parametrize("strength", ["unit", "standardized"])
def test_the_ledger_is_another_cause_beside_a_claim_in_other_columns(
    place: WatchedEndpoint, table: Table, strength: str
) -> None:
    broken = frame(80, 2)
    temp = broken["temp"] * 100 if strength == "unit" else (broken["temp"] - 20) / 6
    table.add(frame(120, 1), "web/1.0")
    table.add(broken.assign(temp=temp), "ios/4.2", **cut("wind"))
    ((_, explained),) = diagnosed(place, "", Asked(), None, now())
    verdict = explained.verdict
    assert (verdict.features, verdict.segment["value"]) == (("temp",), "ios/4.2")
    assert [(other.kind, other.features) for other in verdict.others] == [("lossy_cast", ("wind",))]
    assert "lossy_cast" in verdict.also[-1]


def test_the_ledger_of_the_same_columns_is_evidence_and_blames_nobody_else(
    place: WatchedEndpoint, table: Table
) -> None:
    table.add(frame(120, 1), "web/1.0")
    table.add(frame(80, 2).assign(temp=lambda rows: rows["temp"] * 100), "ios/4.2", **cut("temp"))
    ((_, explained),) = diagnosed(place, "", Asked(), None, now())
    verdict = explained.verdict
    assert (verdict.kind, verdict.others) == ("unit", ())
    assert [piece.number for piece in verdict.evidence] == list(range(1, len(verdict.evidence) + 1))
    assert any("coercion ledger" in piece.text and "temp: 80 values" in piece.text for piece in verdict.evidence)


def test_the_ledger_of_another_client_is_that_clients_verdict(place: WatchedEndpoint, table: Table) -> None:
    table.add(frame(120, 1), "web/1.0")
    table.add(frame(80, 2).assign(temp=lambda rows: rows["temp"] * 100), "ios/4.2")
    table.add(frame(60, 3), "android/7.1", **cut("wind"))
    (_, first), (_, second) = diagnosed(place, "", Asked(), None, now())
    assert (first.verdict.kind, first.verdict.segment["value"], first.verdict.others) == ("unit", "ios/4.2", ())
    assert "lossy_cast in other rows: wind" in first.verdict.also
    assert (second.verdict.kind, second.verdict.segment["value"]) == ("lossy_cast", "android/7.1")


def test_examples_show_nothing_that_the_reference_keeps_to_itself() -> None:
    hidden = Reference.from_frame(
        frame(800).assign(kind=["rare" if n < 3 else "warm" for n in range(800)]),
        privacy={"temp": "bucketed"},
        k_anonymity=5,
    )
    assert shown(hidden, "temp", 20.5) == HIDDEN
    assert shown(hidden, "kind", "rare") == shown(hidden, "kind", "never seen") == HIDDEN
    assert shown(hidden, "kind", "warm") == "warm"
    assert shown(hidden, "not in training", 1) == HIDDEN
    assert (shown(hidden, "wind", float("nan")), shown(hidden, "wind", 1.5)) == (None, 1.5)


def first_file(location: Path) -> Path:
    return next(path for path in location.rglob("*.parquet") if "_delta_log" not in path.parts)


@pytest.mark.parametrize(
    ("hurt", "said"),
    [
        (
            lambda at: first_file(at).write_bytes(b"no parquet"),
            r"data file part-\S+ of [\d-]+ is damaged: it is no whole",
        ),
        (lambda at: first_file(at).write_bytes(first_file(at).read_bytes()[:-40]), r"data file \S+ of \S+ is damaged"),
        (lambda at: first_file(at).unlink(), r"data file part-\S+ of [\d-]+ is missing. Put back a copy of this file"),
        (
            lambda at: (at / "_delta_log" / f"{2:020}.json").write_text("?"),
            r"entry 2 of its log \(_delta_log\) is damaged",
        ),
        (lambda at: (at / "_delta_log" / f"{0:020}.json").unlink(), r"entry 0 of its log \(_delta_log\) is missing"),
        (lambda at: shutil.rmtree(at / "_delta_log"), r"its log \(_delta_log\) is gone, while data files are there"),
    ],
    ids=["garbage", "cut off", "missing", "log", "entry missing", "log missing"],
)
def test_a_damaged_table_is_named_with_what_is_wrong_and_no_path(
    place: WatchedEndpoint, table: Table, work: Callable[..., Work], tmp_path: Path, hurt: Any, said: str
) -> None:
    table.add(frame(50, 1))
    table.add(frame(50, 2))
    hurt(Path(place.table))
    asked: list[Callable[[], Any]] = [
        lambda: work().diagnose(place, Diagnose(1, "churn")),
        lambda: diagnose_table(place.table, str(place.entities[0].reference), Asked()),
        lambda: Watch(place).advance(place, now()),
    ]
    for each in asked:
        with pytest.raises(DamagedTable, match=said) as caught:
            each()
        assert caught.value.message.startswith("The table 'churn_payload' cannot be read: ")
        assert "a new table begins" in caught.value.message
        assert str(tmp_path) not in caught.value.message


# -- identity first --------------------------------------------------------------------------------------------


def checked(**digests: str) -> Replayed:
    passed = (RungReport(Rung.ENVIRONMENT, Outcome.PASSED), RungReport(Rung.PREDICTION, Outcome.PASSED))
    reports = {name: GateReport(Outcome.PASSED, digest=each, rows=64, rungs=passed) for name, each in digests.items()}
    return Replayed(1, msgspec.json.encode(reports))


def test_a_replica_with_another_model_is_routing_and_nothing_else_is_looked_at(
    place: WatchedEndpoint, table: Table
) -> None:
    table.add(*two_clients(300))
    line = Line(checked(one="d" * 64, two="0" * 64, three="d" * 64))
    ((_, explained),) = diagnosed(place, "", Asked(), line, now())
    verdict = explained.verdict
    assert (verdict.status, verdict.family, verdict.kind) == (Status.CAUSE_FOUND, Family.ROUTING, "wrong_version")
    assert (verdict.segment["column"], verdict.segment["value"], verdict.strength) == ("replica", "two", "proof")
    assert line.asked == [Replaying.CHECK]


def test_replicas_that_hold_the_right_model_rule_routing_out(place: WatchedEndpoint, table: Table) -> None:
    table.add(*two_clients(300))
    line = Line(checked(one="d" * 64, two="d" * 64))
    ((_, explained),) = diagnosed(place, "", Asked(), line, now())
    verdict = explained.verdict
    assert verdict.kind == "unit"
    assert "routing (2/2 replicas serve the digest that was asked for)" in verdict.ruled_out
    assert "environment (no relevant difference)" in verdict.ruled_out
    assert any("golden rows: 64/64 equal" in piece.text for piece in verdict.evidence)
    assert verdict.stage == "client request"


def test_a_changed_population_asks_for_labels_and_for_nothing_that_replicas_answered(
    place: WatchedEndpoint, table: Table
) -> None:
    rows = frame(1500, 3)
    table.add(rows[rows.temp > 24].reset_index(drop=True))
    ((_, explained),) = diagnosed(place, "", Asked(), Line(checked(one="d" * 64)), now())
    assert explained.verdict.status is Status.POPULATION_CHANGED
    (asked,) = explained.verdict.settle
    assert asked.startswith("labels of some of these rows")


def test_golden_rows_that_differ_convict_the_endpoint(place: WatchedEndpoint, table: Table) -> None:
    table.add(frame(100, 1))
    steps = RungReport(Rung.STEPS, Outcome.FAILED, "prep/num/sc differs", Difference(step="prep/num/sc", column="temp"))
    rungs = (RungReport(Rung.IDENTITY, Outcome.PASSED), steps)
    report = GateReport(Outcome.FAILED, digest="d" * 64, rows=64, rungs=rungs)
    line = Line(Replayed(1, msgspec.json.encode({"one": report})))
    ((_, explained),) = diagnosed(place, "", Asked(), line, now())
    assert (explained.verdict.kind, explained.verdict.stage) == ("step_differs", "endpoint")
    assert explained.verdict.features == ("temp",)
    assert "prep/num/sc" in explained.verdict.evidence[0].text


def test_a_replica_that_does_not_answer_is_declared_and_convicts_nobody(place: WatchedEndpoint, table: Table) -> None:
    table.add(frame(200, 1))
    silent = GateReport(Outcome.FAILED, rungs=(RungReport(Rung.WIRE, Outcome.FAILED, "Replica 1 did not answer."),))
    line = Line(Replayed(1, msgspec.json.encode({"0": GateReport(Outcome.PASSED, digest="d" * 64), "1": silent})))
    ((_, explained),) = diagnosed(place, "", Asked(), line, now())
    assert explained.verdict.status is Status.CONSISTENT
    assert any("replica 1 was not checked" in limit for limit in explained.verdict.degraded)
