"""How far rows lag behind the source: for each lag, the rows that carry the source's value of that long ago.

A value that the source had from a to b stands in a row of time t for each lag from t - b to t - a. Such spans, counted
over all rows, give the share that matches at every lag at once, to the data's own resolution; no grid can miss it.
Rows whose value did not change in between match at both ends of a lag and tell nothing, so a lag is judged by the rows
that do *not* match without it (McNemar 1947): by chance they match at any lag as often as with other keys' values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from tallystick.parity.columns import Floats, Mask, Texts
from tallystick.parity.history import Aligned, History, align
from tallystick.parity.profile import Ints, has_decimals
from tallystick.parity.spans import SLACK, Fit, best_fit, covering, roundest, run
from tallystick.parity.yardsticks import CLAIM_NATS, binomial_nats

DAY = 86_400.0
#: How far back, and how far ahead, the source is looked at.
MOST_BACK_S, MOST_AHEAD_S = 60 * DAY, 30 * DAY
#: Values of the source that are compared at most; of more, rows are drawn.
MOST_CELLS = 400_000
FEWEST_DRAWN = 200
#: Rows that a lag needs: compared, and not matching without it; and the part of the rows that must not.
FEWEST_ROWS, FEWEST_OFF, OFF_SHARE = 30, 10, 0.03
#: Part of these rows that the lag must explain.
EXPLAINED = 0.7
#: Times that other keys are drawn, for the rate of chance.
DRAWS = 8
#: Part of all rows that match, from which all of them are late, not some of them later.
WHOLE = 0.95
#: A match is equality, to what 32-bit floats keep.
RELATIVE = 1e-6
#: An edge of what can be compared, in seconds: time zero itself can.
_EDGE_S = 1e-3


class Lag(msgspec.Struct, frozen=True):
    """A column's lag behind the source: positive is older, negative from the future.

    Lags from `low_s` to `high_s` fit the rows equally well. `share` of the rows match with it, and `share_without` at
    lag 0 (or the lag that it is judged against); `rows` were compared. `nats` is the evidence for it against that one,
    0 where they are not told apart.
    """

    lag_s: float
    low_s: float
    high_s: float
    share: float
    share_without: float
    rows: int
    nats: float = 0.0

    @property
    def is_told(self) -> bool:
        """Whether the rows tell it from the lag that it was judged against."""
        return self.nats >= CLAIM_NATS


@dataclass(frozen=True)
class Compared:
    """One column of rows beside the source's: numbers on both sides (texts as codes), NaN where there is none."""

    aligned: Aligned
    source: Floats
    served: Floats
    slack: float = 0.0

    def at(self, lag_s: float, rows: Any = slice(None), codes_of: Any = None) -> Floats:
        """Return the source's value as of `lag_s` before each row; NaN where it had none."""
        place = self.aligned.as_of(lag_s, rows, codes_of)
        return np.where(place >= 0, self.source[np.maximum(place, 0)] if len(self.source) else np.nan, np.nan)

    def near(self, one: Floats, other: Floats) -> Mask:
        """Return which values are equal, as far as digits go."""
        with np.errstate(invalid="ignore"):
            size = np.maximum(np.abs(one), np.abs(other))
            return np.asarray(np.abs(one - other) <= np.maximum(self.slack, RELATIVE * size))

    def matches(self, lag_s: float) -> Mask:
        """Return which rows carry the source's value of that lag."""
        return self.near(self.at(lag_s), self.served)

    def comparable(self, lag_s: float) -> Mask:
        """Return which rows have a value whose like the source had that long before."""
        a = self.aligned
        place = a.as_of(lag_s)
        is_past = a.times - lag_s <= max(a.last_s, -np.inf)
        return np.asarray((place >= 0) & np.isfinite(self.served) & (is_past if lag_s < 0 else True))


def compared(aligned: Aligned, source: Any, served: Any, decimals: int | None = None) -> Compared:
    """Return a column ready to be compared: floats, or texts. `source` is in the source's own order of rows.

    `decimals` are those that training's numbers have: a source that keeps more is rounded to them.
    """
    values = np.asarray(source)[aligned.order]
    if np.asarray(served).dtype == object or values.dtype == object:
        codes, _ = pd.factorize(np.concatenate([values.astype(object), np.asarray(served, dtype=object)]))
        numbers = np.where(codes < 0, np.nan, codes.astype(np.float64))
        return Compared(aligned, numbers[: len(values)], numbers[len(values) :])
    values = np.asarray(values, dtype=np.float64)
    known = values[np.isfinite(values)]
    is_finer = decimals is not None and decimals <= 6 and not has_decimals(known, decimals).all()
    slack = 0.5001 * 10.0**-decimals if is_finer and decimals is not None else 0.0
    return Compared(aligned, values, np.asarray(served, dtype=np.float64), slack)


def lags(
    history: History, values: Mapping[str, Any], keys: Texts, times: Floats, base_s: float = 0.0
) -> dict[str, Lag | None]:
    """Return each column's lag behind the source; None where the rows match it at no lag.

    `values` are columns as floats or texts, `times` seconds since 1970.

    >>> table = pd.DataFrame({"who": ["a"] * 99, "at": np.arange(99.0) * 3600, "x": np.arange(99.0)})
    >>> late = np.arange(50.0, 90.0)
    >>> found = lags(History(table, "who", "at"), {"x": late - 3}, np.full(40, "a", object), late * 3600 + 60)
    >>> found["x"].lag_s, found["x"].share
    (10800.0, 1.0)
    """
    aligned = align(history, keys, times)
    return {
        name: lag_of(compared(aligned, history.frame[name].to_numpy(), served), base_s)
        for name, served in values.items()
    }


def lag_of(column: Compared, base_s: float = 0.0) -> Lag | None:
    """Return the lag that explains the rows which lag `base_s` does not; that one itself where it explains them.

    None where too few rows can be compared, or they match at no lag.
    """
    fair = column.comparable(base_s)
    count = int(fair.sum())
    if count < FEWEST_ROWS:
        return None
    at_base = column.matches(base_s) & fair
    off = fair & ~at_base
    share = float(at_base.sum() / count)
    stays = Lag(base_s, base_s, base_s, share, share, count) if share > 0.5 else None
    if not is_off(off, count):
        return stays
    found = _best(column, off)
    if found is None or found.share < EXPLAINED:
        return stays
    low, high = _narrowed(column, fair, found)
    lag_s = roundest(low, high)
    nats = _evidence(column, off, lag_s, found.looks)
    if nats < CLAIM_NATS:
        return stays
    whole = column.comparable(lag_s)
    with_it = float((column.matches(lag_s) & whole).sum() / max(1, whole.sum()))
    return Lag(lag_s, low, high, with_it, share, int(whole.sum()), nats)


def is_off(off: Mask, count: int) -> bool:
    """Whether so many rows of `count` are not the source's value that it is worth asking when they were."""
    return bool(off.sum() >= max(FEWEST_OFF, OFF_SHARE * count))


@dataclass(frozen=True)
class Snapshot:
    """One time whose values all rows carry, in seconds since 1970, its interval, and the evidence for it."""

    at_s: float
    low_s: float
    high_s: float
    nats: float
    #: Which rows carry them.
    rows: Mask


def snapshot_of(column: Compared, base_s: float = 0.0) -> Snapshot | None:
    """Return the time that the rows which lag `base_s` does not explain were copied at; None where there is none.

    What was copied once and never again lags by another time in each row.
    """
    fair = column.comparable(base_s)
    off = fair & ~column.matches(base_s)
    known = column.aligned.times[fair]
    if int(fair.sum()) < FEWEST_ROWS or not is_off(off, int(fair.sum())):
        return None
    newest = float(known.max())
    times = np.where(column.aligned.codes >= 0, newest, np.nan)
    still = Compared(replace(column.aligned, times=times), column.source, column.served, column.slack)
    found = _best(still, off)
    if found is None or found.share < EXPLAINED:
        return None
    lag_s = roundest(found.low, found.high)
    nats = _evidence(still, off, lag_s, found.looks)
    low_s, high_s = newest - found.high, newest - found.low
    return Snapshot(roundest(low_s - _EDGE_S, high_s - _EDGE_S), low_s, high_s, nats, still.matches(lag_s))


def _narrowed(column: Compared, fair: Mask, found: Fit) -> tuple[float, float]:
    """Return the part of an interval of lags at which nearly all rows match; all of it where there is none.

    Rows whose source changed between a short lag and a long one tell these apart, though they match without any.
    """
    rows, low, high = _spans(column, fair)
    edges = np.unique(np.concatenate([low, high, [found.high]]))
    edges = edges[(edges > found.low) & (edges <= found.high)]
    share = covering(low, high, edges) / max(1, len(rows))
    place = int(np.argmax(share))
    if share[place] < WHOLE:
        return found.low, found.high
    fits = share >= share[place] * (1 - SLACK)
    start, end = run(fits, place)
    return (float(edges[start - 1]) if start else found.low), float(edges[end])


def _best(column: Compared, off: Mask) -> Fit | None:
    """Return the lags that most of some rows match at; None where they match at none.

    Where values come back with the day or the week, the lag nearest to none is meant.
    """
    chosen, low, high = _spans(column, off)
    a = column.aligned
    # A row can be compared from the first that the source knows of its key to the last that it knows of any.
    first, last = a.times[chosen] - a.starts[a.begin[chosen]], np.minimum(a.times[chosen] - a.last_s, 0.0) - _EDGE_S
    return best_fit(low, high, last, first, max(FEWEST_OFF, 0.5 * len(chosen)))


def _spans(column: Compared, off: Mask) -> tuple[Ints, Floats, Floats]:
    """Return the rows that were looked at, and the spans of lags (low, high] at which a row matches."""
    a = column.aligned
    rows = np.flatnonzero(off)
    begin = np.maximum(a.as_of(MOST_BACK_S, rows), a.begin[rows])
    end = a.as_of(-MOST_AHEAD_S, rows) + 1
    sizes = np.maximum(end - begin, 0)
    if sizes.sum() > MOST_CELLS:
        keep = max(FEWEST_DRAWN, int(len(rows) * MOST_CELLS / sizes.sum()))
        picked = np.sort(np.random.default_rng(0).permutation(len(rows))[:keep])
        rows, begin, sizes = rows[picked], begin[picked], sizes[picked]
    whose = np.repeat(np.arange(len(rows)), sizes)
    place = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(begin, sizes)
    same = column.near(column.source[place], column.served[rows][whose])
    whose, place = whose[same], place[same]
    times = a.times[rows][whose]
    is_last = place + 1 >= a.end[rows][whose]
    until = a.starts[np.minimum(place + 1, len(a.starts) - 1)]
    low = np.where(is_last, np.minimum(times - a.last_s, 0.0) - _EDGE_S, times - until)
    high = times - a.starts[place]
    return rows, low, np.maximum(high, low)


def _evidence(column: Compared, off: Mask, lag_s: float, looks: int) -> float:
    """Return nats for a lag: how much better it explains rows than other keys' values of the same time do."""
    rows = np.flatnonzero(off & column.comparable(lag_s))
    a = column.aligned
    hits = column.near(column.at(lag_s, rows), column.served[rows])
    # Rows of one key in one state of it are one observation.
    distinct = len(np.unique(np.column_stack([a.codes[rows], a.as_of(0.0, rows), a.as_of(lag_s, rows)]), axis=0))
    chance = min(0.95, max(_chance(column, rows, lag_s), 1e-3))
    return max(0.0, binomial_nats(round(hits.mean() * distinct), distinct, chance) - float(np.log(max(1, looks))))


def _chance(column: Compared, rows: Ints, lag_s: float) -> float:
    """Return how often rows carry another key's value of that lag; of one key only, its own values of other lags."""
    a, random = column.aligned, np.random.default_rng(0)
    got = tried = 0
    for _ in range(DRAWS):
        others = random.permutation(rows)
        strange = a.codes[others] != a.codes[rows]
        at = column.at(lag_s, rows[strange], others[strange])
        got += int(column.near(at, column.served[rows[strange]]).sum())
        tried += int(strange.sum())
    if tried < FEWEST_OFF:
        step = lag_s or DAY
        for part in (0.25, 0.5, 2, 3, 5):
            got += int(column.near(column.at(step * part, rows), column.served[rows]).sum())
            tried += len(rows)
    return (got + 0.5) / (tried + 1)
