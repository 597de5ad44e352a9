"""Over which time a column counts its key's events: for each window, the rows whose count is that of the window.

The source is a table of events: a row for each, with a key and a time. A count of n stands in a row of time t for each
window from the age of its key's n-th latest event to that of the next one; such spans, counted over all rows, give the
window (see `parity.spans`), rolling and ending with the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.history import Aligned
from tallystick.parity.lags import DRAWS, FEWEST_OFF, FEWEST_ROWS
from tallystick.parity.profile import Ints
from tallystick.parity.spans import best_fit, roundest

#: Part of the rows that a window must explain, and how much more often than other keys' counts do.
EXPLAINED, BEYOND_CHANCE = 0.9, 0.3
#: An event at the row's own time may be the row itself; with this much less it is not counted, in seconds.
_BEFORE_S = 1e-3


class Window(msgspec.Struct, frozen=True):
    """A window in seconds; those from `low_s` to `high_s` fit equally well. `share` of `rows` have its count.

    `is_before`: what happens at the row's own time is not counted.
    """

    window_s: float
    low_s: float
    high_s: float
    share: float
    rows: int
    is_before: bool = False
    #: Share of rows that have the count of another key's row in that window.
    by_chance: float = 0.0
    looks: int = 1


@dataclass(frozen=True)
class Counted:
    """A column of counts beside the events of the rows' keys. A key without events has none, and counts 0."""

    aligned: Aligned
    served: Floats
    #: When the source's events begin: what came before is not counted.
    first_s: float
    is_before: bool = False

    @property
    def usable(self) -> Mask:
        """Which rows have a count, a key and a time."""
        whole = np.isfinite(self.served) & (self.served >= 0) & (self.served == np.round(self.served))
        return np.asarray(whole & np.isfinite(self.aligned.times))

    def comparable(self, window_s: float) -> Mask:
        """Return the rows whose window the source knows all of."""
        return np.asarray(self.usable & (self.aligned.times - window_s >= self.first_s))

    def at(self, window_s: float, rows: Any = slice(None), codes_of: Any = None) -> Floats:
        """Return how many events the window has."""
        whose = rows if codes_of is None else codes_of
        before = self.aligned.begin[whose] - 1
        now = self.aligned.as_of(_BEFORE_S if self.is_before else 0.0, rows, codes_of)
        then = self.aligned.as_of(window_s, rows, codes_of)
        return np.asarray(np.maximum(now, before) - np.maximum(then, before), dtype=np.float64)

    def spans(self, rows: Ints) -> tuple[Floats, Floats]:
        """Return the windows (low, high] that have the counts of rows; those of which none has are left out."""
        a = self.aligned
        times, begin = a.times[rows], a.begin[rows]
        now = np.maximum(a.as_of(_BEFORE_S if self.is_before else 0.0, rows), begin - 1)
        count = self.served[rows].astype(np.int64)
        oldest, next_one = now - count + 1, now - count
        is_there = (count == 0) | (oldest >= begin)
        low = np.where(count > 0, times - self._start(oldest), 0.0)
        high = np.where(next_one >= begin, times - self._start(next_one), times - self.first_s)
        kept = is_there & (high > low)
        return low[kept], high[kept]

    def _start(self, place: Ints) -> Floats:
        starts = self.aligned.starts
        if not len(starts):
            return np.zeros(len(place))
        return np.asarray(starts[np.clip(place, 0, len(starts) - 1)])


def window_of(column: Counted, among: Mask | None = None) -> Window | None:
    """Return the window that explains most of some rows' counts; None where none explains nearly all of them."""
    chosen = column.usable if among is None else column.usable & among
    rows = np.flatnonzero(chosen)
    if len(rows) < (FEWEST_ROWS if among is None else FEWEST_OFF) or len(np.unique(column.served[rows])) < 2:
        return None
    low, high = column.spans(rows)
    longest = column.aligned.times[rows] - column.first_s
    found = best_fit(low, high, np.zeros(len(rows)), longest, 0.5 * len(rows))
    if found is None or found.share < EXPLAINED:
        return None
    window_s = roundest(found.low, found.high)
    fair = np.flatnonzero(column.comparable(window_s) & chosen)
    random = np.random.default_rng(0)
    drawn = [column.at(window_s, fair, random.permutation(fair)) == column.served[fair] for _ in range(DRAWS)]
    by_chance = float(np.mean(drawn)) if len(fair) else 1.0
    if found.share - by_chance < BEYOND_CHANCE:
        return None
    return Window(window_s, found.low, found.high, found.share, len(fair), column.is_before, by_chance, found.looks)


def trained_window(aligned: Aligned, served: Floats, first_s: float) -> Window | None:
    """Return the window of training's counts, with what happens at the row's own time or without it."""
    found = [window_of(Counted(aligned, served, first_s, is_before)) for is_before in (False, True)]
    return max((each for each in found if each is not None), key=lambda each: each.share, default=None)
