"""Spans of a parameter at which rows match, counted over all rows: the parameter that most match at, and its interval.

Each row matches in one or more half-open spans (low, high]; between two ends of spans the count does not change, so
all values of the parameter are tried at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.profile import Ints

#: Part of the matches that a value of the parameter may lose and still be the same.
SLACK = 0.01
_DAY = 86_400.0
#: Times that people set, finest last; of several that fit equally, the roundest is told.
_ROUND_S = (7 * _DAY, _DAY, _DAY / 2, _DAY / 4, 3600.0, 1800.0, 900.0, 300.0, 60.0, 30.0, 15.0, 10.0, 5.0, 1.0)


@dataclass(frozen=True)
class Fit:
    """An interval (low, high] that fits equally well, the share of rows that match in it, and what was told apart."""

    low: float
    high: float
    share: float
    looks: int


def best_fit(low: Floats, high: Floats, first: Floats, last: Floats, fewest: float) -> Fit | None:
    """Return where most rows match; of several places the one nearest to 0. None where none match.

    `low` and `high` are spans of matches, `first` and `last` the span in which each row can be compared at all; a
    place counts that `fewest` rows can be compared at.
    """
    if not len(low):
        return None
    edges = np.unique(np.concatenate([low, high]))
    rows = covering(first, np.maximum(first, last), edges)
    share = np.where(rows >= max(1.0, fewest), covering(low, high, edges) / np.maximum(rows, 1), 0.0)
    top = float(share.max())
    if top <= 0:
        return None
    best = np.flatnonzero(share >= top - 1e-12)
    place = int(best[np.argmin(np.abs(edges[best]))])
    start, end = run(share >= top * (1 - SLACK), place)
    return Fit(float(edges[start - 1]) if start else float(low.min()), float(edges[end]), top, len(edges))


def run(fits: Mask, place: int) -> tuple[int, int]:
    """Return the first and the last place of the unbroken run that a place is in."""
    gaps = np.flatnonzero(~fits)
    after = int(np.searchsorted(gaps, place))
    start = int(gaps[after - 1]) + 1 if after else 0
    return start, (int(gaps[after]) - 1 if after < len(gaps) else len(fits) - 1)


def covering(low: Floats, high: Floats, points: Floats) -> Ints:
    """Return how many spans (low, high] each point lies in.

    >>> covering(np.array([0.0, 1.0]), np.array([2.0, 3.0]), np.array([0.0, 1.0, 2.0, 3.0])).tolist()
    [0, 1, 2, 1]
    """
    return np.asarray(
        np.searchsorted(np.sort(low), points, side="left") - np.searchsorted(np.sort(high), points, side="left")
    )


def roundest(low: float, high: float) -> float:
    """Return the roundest time in (low, high], in seconds; the middle where none is round.

    >>> roundest(86_000.0, 90_000.0), roundest(-90_000.0, -80_000.0), roundest(10.2, 10.4)
    (86400.0, -86400.0, 10.3)
    """
    middle = (low + high) / 2
    for unit in _ROUND_S:
        first, last = np.floor(low / unit) + 1, np.floor(high / unit)
        if first <= last:
            whole = float(np.clip(np.round(middle / unit), first, last))
            if whole or first == last == 0:
                return whole * unit
    return round(middle, 3)
