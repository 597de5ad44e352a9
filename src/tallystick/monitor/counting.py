"""What becomes of live rows once they are read: counts and sketches of a served entity and of its segments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from tallystick.monitor.counters import Counters, Violation, nothing, observe, tally
from tallystick.monitor.entity_watch import EntityWatch
from tallystick.monitor.frequent import Segment
from tallystick.monitor.rings import DAY, HOUR, MINUTE, Rings
from tallystick.monitor.rows import CLIENT, NOBODY, USAGE, LiveRows, Senders
from tallystick.monitor.sketches import Batch
from tallystick.parity.reference import Reference
from tallystick.protocol.monitoring import MAX_COUNTED_COLUMNS, OTHER_COLUMNS

#: Segments of one served entity that are told apart, the most frequent ones; one that was not seen for two days is not.
MAX_SEGMENTS = 24
#: Of these, clients: they are what differs as a rule, and values of a context can be many.
CLIENT_SEGMENTS = 12
#: A row more than this in the future is one with a clock that is wrong; it counts as of now.
_AHEAD_S = 60
#: Characters of a segment's value that are kept.
MAX_NAME = 128


@dataclass(frozen=True)
class _Part:
    """Some of what is counted, who sent it and when; `tally` counts those picked."""

    segments: pd.DataFrame
    at_s: np.ndarray
    tally: Callable[[np.ndarray], Counters]
    #: The rows' values, where there are any.
    batch: Batch | None = None


def count(
    watch: EntityWatch, reference: Reference, rows: LiveRows, now: datetime, withheld: Collection[str] = ()
) -> None:
    """Add rows to the profiles of a served entity and its segments, each to the minute that it came in.

    Of columns that are `withheld`, no value is kept in a sketch.
    """
    observed = replace(observe(reference, rows.frame), begins=rows.begins)
    batch = Batch(reference, observed, withheld)
    part = _Part(rows.segments, _at_s(rows.times, now), partial(tally, observed), batch)
    _count(watch, part, now)
    coerced = _coerced(reference, rows.coercions)
    if coerced is not None:
        watch.rings.add(int(part.at_s.max()), coerced)
        watch.total = coerced if watch.total is None else watch.total + coerced
    watch.rows += len(rows)


def count_refused(watch: EntityWatch, reference: Reference, refused: Senders, now: datetime) -> None:
    """Add requests that were refused, of which nothing but their senders counts."""
    _count(
        watch,
        _Part(refused.segments, _at_s(refused.times, now), lambda some: nothing(reference, int(some.sum()))),
        now,
    )


def _count(watch: EntityWatch, part: _Part, now: datetime) -> None:
    every = np.ones(len(part.at_s), dtype=bool)
    _add(watch.rings, part, every, MINUTE)
    whole = part.tally(every)
    watch.total = whole if watch.total is None else watch.total + whole
    for key, members in _segments(watch, part, seconds_of(now)).items():
        _add(watch.segments[key], part, members, HOUR, is_segment=True)


def _add(rings: Rings, part: _Part, members: np.ndarray, width_s: int, *, is_segment: bool = False) -> None:
    windows = part.at_s // width_s
    for window in np.unique(windows[members]):
        rings.add(int(window) * width_s, part.tally(members & (windows == window)))
    if part.batch is None or not rings.sketched_width_s:
        return
    windows = part.at_s // rings.sketched_width_s
    for window in np.unique(windows[members]):
        sketches = part.batch.sketched(members & (windows == window), is_segment=is_segment)
        rings.sketch(int(window) * rings.sketched_width_s, sketches)


def _at_s(times: pd.Series[Any], now: datetime) -> np.ndarray:
    seconds = pd.to_datetime(times, utc=True).astype("datetime64[s, UTC]").astype("int64").to_numpy()
    return np.asarray(np.minimum(seconds, seconds_of(now) + _AHEAD_S))


def _segments(watch: EntityWatch, part: _Part, now_s: int) -> dict[Segment, np.ndarray]:
    """Return which segments are told apart, with their members; see to it that these have rings."""
    for stale in [key for key, rings in watch.segments.items() if 0 < rings.newest_s < now_s - 2 * DAY]:
        watch.frequent.forget(stale)
        del watch.segments[stale]
    if watch.day < now_s // DAY:
        watch.frequent.halve()
        watch.day = now_s // DAY
    coded = {str(name): pd.factorize(part.segments[name]) for name in part.segments}
    names = {column: [str(value)[:MAX_NAME] for value in values] for column, (_, values) in coded.items()}
    for column, (codes, _) in coded.items():
        sizes: Counter[Segment] = Counter()
        for name, rows in zip(names[column], np.bincount(codes, minlength=len(names[column])).tolist(), strict=True):
            # Whoever sends no such key is not one sender.
            if name != NOBODY or not column.startswith(USAGE):
                sizes[column, name] += rows
        watch.frequent.add(sizes)
    slots = sorted(watch.frequent.most_frequent(MAX_SEGMENTS, watch.segments, {CLIENT: CLIENT_SEGMENTS}))
    watch.segments = {key: watch.segments.get(key) or Rings.of_segment() for key in slots}
    nobody = np.zeros(len(part.at_s), dtype=bool)
    return {
        (column, value): np.array([name == value for name in names[column]], dtype=bool)[coded[column][0]]
        if column in names
        else nobody
        for column, value in slots
    }


def _coerced(reference: Reference, coercions: Mapping[str, Mapping[str, int]]) -> Counters | None:
    """Return counters of no rows, with the values that the ledger counted; None when it has none."""
    counters = nothing(reference)
    for j, name in enumerate(reference.names):
        counters.contract[j, Violation.COERCED] = sum((coercions.get(name) or {}).values())
    return counters if counters.contract.any() else None


def violations_of(reference: Reference, total: Counters) -> dict[str, dict[str, int]]:
    """Return column -> kind of violation -> values; of many columns, those with the most."""
    found = {
        name: {kind.name.lower(): int(total.contract[j, kind]) for kind in Violation if total.contract[j, kind]}
        for j, name in enumerate(reference.names)
    }
    found = {name: kinds for name, kinds in found.items() if kinds}
    if len(found) <= MAX_COUNTED_COLUMNS:
        return found
    order = sorted(found, key=lambda name: -sum(found[name].values()))
    rest: Counter[str] = Counter()
    for name in order[MAX_COUNTED_COLUMNS:]:
        rest.update(found[name])
    return {name: found[name] for name in order[:MAX_COUNTED_COLUMNS]} | {OTHER_COLUMNS: dict(rest)}


def seconds_of(when: datetime) -> int:
    """Return a time in whole seconds since 1970."""
    return int(when.timestamp())
