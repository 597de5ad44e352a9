"""Since when a cause is there, where it began before the rows that are judged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from monitor_rows import Table, endpoint, frame

from tallystick.monitor import ondemand, rows
from tallystick.monitor.lookback import TooManyRows
from tallystick.monitor.ondemand import Asked, diagnose_endpoint
from tallystick.monitor.places import WatchedEndpoint
from tallystick.parity.verdict import Verdict
from tallystick.records.reading import InferenceTable

# Times are told to the second, so what is before it depends on where in a second rows are.
NOW = (datetime.now(UTC) - timedelta(seconds=1)).replace(microsecond=500_000)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WatchedEndpoint:
    # As on a busy endpoint, where the newest rows are of some seconds.
    monkeypatch.setattr(ondemand, "MAX_ROWS", 200)
    # However slow the machine is.
    monkeypatch.setattr(ondemand, "DATING_S", float("inf"))
    return endpoint(tmp_path)


def told(place: WatchedEndpoint, **asked: object) -> Verdict:
    ((_, looked),) = diagnose_endpoint(place, "", Asked(**asked), None, datetime.now(UTC))  # type: ignore[arg-type]
    return looked.found[0].verdict


def ago(verdict: Verdict) -> timedelta:
    return NOW - datetime.fromisoformat(verdict.first_seen.replace("Z", "+00:00"))


def hours_of(place: WatchedEndpoint, sick_from: int, clients: bool = False, hours: int = 6) -> None:
    """A commit of rows for each of some hours, the last ones with another unit, of all clients or of one."""
    table = Table(place)
    for hour in range(hours, -1, -1):
        found = frame(220, hour)
        ios = np.arange(len(found)) % 3 == 0
        if hour <= sick_from:
            found.loc[ios if clients else slice(None), "temp"] *= 100
        agents = ["ios/4.2" if each else "web/1.0" for each in ios] if clients else "web/1.0"
        table.add(found, agents, at=NOW - timedelta(hours=hour))


def test_the_beginning_is_told_where_the_judged_rows_are_all_broken(place: WatchedEndpoint) -> None:
    hours_of(place, sick_from=3)
    found = told(place)
    assert found.kind == "unit"
    assert abs(ago(found) - timedelta(hours=3)) < timedelta(seconds=10)
    assert not found.is_older


def test_the_beginning_of_one_clients_fault_is_told(place: WatchedEndpoint) -> None:
    hours_of(place, sick_from=2, clients=True, hours=4)
    found = told(place)
    assert (found.kind, found.segment["value"]) == ("unit", "ios/4.2")
    assert abs(ago(found) - timedelta(hours=2)) < timedelta(seconds=10)


def test_a_cause_of_all_recorded_rows_began_with_the_first_of_them(place: WatchedEndpoint) -> None:
    hours_of(place, sick_from=6)
    found = told(place)
    assert abs(ago(found) - timedelta(hours=6)) < timedelta(seconds=10)


def test_a_cause_that_is_known_already_is_not_looked_for_again(place: WatchedEndpoint) -> None:
    hours_of(place, sick_from=2, hours=2)
    assert ago(told(place, looks_back=lambda _entity, _explained: False)) < timedelta(minutes=1)


def test_a_beginning_that_cannot_be_read_costs_no_verdict(place: WatchedEndpoint) -> None:
    hours_of(place, sick_from=2, hours=2)
    # The oldest rows are of a file that no judged row is in.
    oldest = min(Path(place.table).rglob("*.parquet"), key=lambda each: each.stat().st_mtime_ns)
    oldest.write_bytes(b"no parquet")
    found = told(place, since=timedelta(minutes=30))
    assert found.kind == "unit"
    assert found.is_older


def test_few_rows_of_long_ago_leave_the_beginning_open(place: WatchedEndpoint) -> None:
    table = Table(place)
    # All of the newer ones are judged, so nothing but the few is before them.
    for count, hours in ((20, 72), (200, 0)):
        found = frame(count, count)
        table.add(found.assign(temp=found.temp * 100), at=NOW - timedelta(hours=hours))
    found = told(place)
    assert (found.kind, found.is_older) == ("unit", True)


@pytest.mark.parametrize("most", [50, 400])
def test_newest_rows_are_found_across_a_pause_however_many_are_before_it(
    place: WatchedEndpoint, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """However long the span that is read, no more requests of it are than may be."""
    monkeypatch.setattr(rows, "_MOST_REQUESTS", most)
    Table(place).add(frame(600, 1), at=NOW - timedelta(hours=14))
    table = InferenceTable(place.table, name="churn")
    found = rows.newest_before(table, place.entities[0].id, NOW, NOW - timedelta(days=30), 40)
    assert len(found) == 40
    assert NOW - timedelta(hours=14) - found["at"].min() <= timedelta(milliseconds=10 * 41)


def test_rows_of_a_sender_who_is_too_rare_to_be_found_are_not_looked_for_without_end(
    place: WatchedEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours_of(place, sick_from=2, hours=2)
    monkeypatch.setattr(rows, "_MOST_REQUESTS", 100)
    table = InferenceTable(place.table, name="churn")
    with pytest.raises(TooManyRows):
        rows.newest_before(table, place.entities[0].id, NOW, NOW - timedelta(days=1), 50, ("client", "ios/9.9"))
