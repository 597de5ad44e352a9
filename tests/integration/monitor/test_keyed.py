"""Whom live rows are about: a column that was sent, or a key of the usage context, and that it is never shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from history_rows import DAY, START, history_of, served, source_of
from monitor_rows import Table, endpoint

from tallystick.errors import InvalidParameter
from tallystick.monitor import keeping
from tallystick.monitor.keyed import with_keys
from tallystick.monitor.ondemand import Asked, diagnose_endpoint, diagnose_table
from tallystick.monitor.places import WatchedEndpoint
from tallystick.monitor.rows import LiveRows
from tallystick.monitor.sent import as_decoded
from tallystick.monitor.watch import Watch
from tallystick.parity import History, Reference

NOW = datetime.fromtimestamp(START + 38 * DAY, UTC)
ROWS = 200


@pytest.fixture(scope="module")
def source() -> pd.DataFrame:
    return source_of(customers=250)


@pytest.fixture
def place(tmp_path: Path, source: pd.DataFrame) -> WatchedEndpoint:
    rows, whose, times = served(source, 2000, 1)
    folder = tmp_path / "models" / ("d" * 64) / "parity"
    Reference.from_frame(rows, keys=whose, timestamps=times, history=history_of(source)).save(folder)
    return endpoint(tmp_path)


def record(place: WatchedEndpoint, source: pd.DataFrame, lags: dict[str, float]) -> pd.DataFrame:
    """Record rows of the last seconds, and return the source at their time; `Table` spaces them by 10 ms."""
    rows, whose, _ = served(source, ROWS, 7, lags, days=(38, 38.0001))
    rows = rows.assign(customer=[f"c-{number}" for number in whose]).drop_duplicates("customer")
    Table(place).add(rows, at=NOW)
    return source.assign(customer=[f"c-{number}" for number in source.customer])


def live_rows(contexts: list[str | None]) -> LiveRows:
    frame = pd.DataFrame({"x": np.arange(len(contexts), dtype=float), "customer": "c-1"})
    segments = pd.DataFrame({"client": "web", "usage_context.device": [each or "(none)" for each in contexts]})
    return LiveRows(frame, segments, pd.Series(pd.date_range("2026-01-01", periods=len(contexts))), frame["customer"])


def test_a_key_of_the_usage_context_goes_beside_the_rows_and_out_of_the_segments() -> None:
    made, notes = with_keys(as_decoded(live_rows(["a", None, "b"])), ("usage_context.device",), ("x",))
    assert made.rows.keys[0].isna().tolist() == [False, True, False]
    assert list(made.rows.segments) == ["client"]
    assert notes == ("1 of 3 rows have no key: send 'device' in usage_context with each request",)
    assert made.rows.taken([2]).keys[0].tolist() == ["b"]


def test_a_key_column_is_taken_out_of_the_rows_unless_it_is_trainings() -> None:
    sent = replace(as_decoded(live_rows(["a", "b"])), extra={"customer": np.array([True, True])})
    made, _ = with_keys(sent, ("customer",), ("x",))
    assert list(made.rows.frame) == ["x"]
    assert made.extra == {}
    trained, _ = with_keys(sent, ("customer",), ("x", "customer"))
    assert list(trained.rows.frame) == ["x", "customer"]


def test_where_some_rows_have_no_key_column_it_is_said_to_send_it() -> None:
    rows = live_rows(["a", "b"])
    sent = as_decoded(replace(rows, frame=rows.frame.assign(customer=["c-1", None])))
    _, notes = with_keys(sent, ("customer",), ("x",))
    assert notes == ("1 of 2 rows have no key: send the column 'customer' with each request",)


def test_a_key_that_no_row_carries_is_said() -> None:
    made, notes = with_keys(as_decoded(live_rows(["a"])), ("shop",), ("x",))
    assert made.rows.keys is None
    assert notes == ("rows were not told apart by key: none of them carries 'shop' as it was sent",)


def test_an_endpoints_key_is_used_and_is_no_extra_column(place: WatchedEndpoint, source: pd.DataFrame) -> None:
    record(place, source, {})
    ((_, without),) = diagnose_endpoint(place, "", Asked(timedelta(hours=1)), None, NOW)
    assert without.found[0].verdict.kind == "extra_column"
    for chosen, asked in ((replace(place, key="customer"), ()), (place, ("customer",))):
        ((_, found),) = diagnose_endpoint(chosen, "", Asked(timedelta(hours=1), key=asked), None, NOW)
        assert [each.verdict.kind for each in found.found] == [""]
        assert b"c-1" not in found.found[0].verdict.to_json()


def test_an_endpoint_that_serves_nothing_says_so(place: WatchedEndpoint) -> None:
    with pytest.raises(InvalidParameter, match=r"serves nothing.* tallystick endpoints get "):
        diagnose_endpoint(replace(place, entities=()), "", Asked(timedelta(hours=1)), None, NOW)


def test_a_table_is_compared_with_the_features_source(place: WatchedEndpoint, source: pd.DataFrame) -> None:
    table = record(place, source, {"balance": DAY})
    history = History(table, "customer", "at")
    reference = str(place.entities[0].reference)
    asked = Asked(timedelta(hours=1), rows=True, key=("customer",), history=history)
    ((_, found),) = diagnose_table(place.table, reference, asked, NOW)
    verdict = found.verdict
    assert (verdict.kind, verdict.strength, verdict.features) == ("stale", "proof", ("balance",))
    low, high = verdict.transformation["interval"]
    assert low < DAY <= high
    assert found.examples
    assert set(found.examples[0].sent) == {"balance"}
    assert b"c-10" not in verdict.to_json()


def test_keys_are_not_counted_as_segments(place: WatchedEndpoint, source: pd.DataFrame) -> None:
    rows, _, _ = served(source, 6, 7)
    for number, status in enumerate((200, 200, 200, 200, 400, 400)):
        at = NOW + timedelta(seconds=number)
        Table(place).add(rows.iloc[[number]], at=at, usage_context=[("device", f"d-{number}")], status_code=status)
    for key, expected in (("", {"client", "requester", "usage_context.device"}), ("usage_context.device", None)):
        watched = replace(place, key=key, folder=place.folder / (key or "none"))
        watch = Watch(watched)
        watch.advance(watched, NOW)
        (entity,) = watch.entities.values()
        assert {column for column, _ in entity.segments} == (expected or {"client", "requester"})


@pytest.mark.parametrize("is_restarted", [False, True])
def test_values_that_came_before_they_were_keys_are_kept_no_longer(
    place: WatchedEndpoint, source: pd.DataFrame, is_restarted: bool
) -> None:
    rows, _, _ = served(source, 4, 7)
    for number in range(4):
        context = [("patient", f"p-{number}"), ("shop", f"s-{number}")]
        Table(place).add(rows.iloc[[number]], at=NOW + timedelta(seconds=number), usage_context=context)
    watch = Watch(place)
    watch.advance(place, NOW)
    profile = place.folder / keeping.FILE
    assert b"p-1" in profile.read_bytes()
    keyed = replace(place, key="usage_context.patient")
    if is_restarted:
        watch = Watch(keyed)
    watch.advance(keyed, NOW)
    kept = profile.read_bytes()
    assert b"p-1" not in kept
    # Its name is there, as that of a column without values.
    entities = keeping.load(place.folder).entities
    assert b"usage_context.patient" not in msgspec.msgpack.encode(entities)
    assert b"s-1" in kept
    for each in watch.entities.values():
        assert not [key for key in {*each.segments, *each.frequent.counts} if key[0] == "usage_context.patient"]
