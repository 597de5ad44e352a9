"""Rows that share one reading: all flights of an hour have its weather, all orders of a day its rate.

Rows of one day repeat few readings, each in several columns at once, where training's rows hardly repeat any. What such
columns show is then known from as many readings, and not from as many rows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tallystick.parity.columns import Mask
from tallystick.parity.live import Live
from tallystick.parity.profile import Ints

#: Different values of a column that may tell readings apart, rows for each, and columns that are tried.
FEWEST_VALUES, ROWS_EACH, MOST_COLUMNS = 5, 2.0, 12
#: How nearly equal values of one column must mean equal values of another, beyond chance (as Cohen's kappa is).
SAME = 0.8
#: Part of different readings in training up to which its rows share readings themselves.
SHARED_TOO = 0.7


def part_apart(live: Live, column: int, rows: Mask) -> float:
    """Return the part of these rows that have a reading of their own, as far as this column goes with readings."""
    ids = live.of_rows("readings", lambda: _readings(live))
    if ids is None or not rows.any():
        return 1.0
    known = live.known(column)
    own = pd.factorize(np.asarray(live.values[column])[known])[0]
    if len(np.unique(own)) > 1 and _means(ids[known], own) < SAME:
        return 1.0
    return len(np.unique(ids[rows])) / int(rows.sum())


def _readings(live: Live) -> Ints | None:
    """Return the number of each row's reading; None where rows share none, or training's rows share them too.

    A reading is told by the column whose equal values mean equal values of the most others, and by those.
    """
    codes: dict[int, Ints] = {}
    for j, profile in enumerate(live.reference.columns):
        if profile.numbers is None or j in live.absent or j in live.broken or len(codes) >= MOST_COLUMNS:
            continue
        code, distinct = pd.factorize(live.numbers(j))
        if FEWEST_VALUES <= len(distinct) <= live.rows / ROWS_EACH:
            codes[j] = np.asarray(code, dtype=np.int64)
    best: set[int] = set()
    pairs = {j: _pairs(code) for j, code in codes.items()}
    for j, code in codes.items():
        tied = {k for k in codes if k != j and _goes_with(code, codes[k], pairs[j], pairs[k])}
        if len(tied) >= 2 and len(tied) >= len(best):
            best = {j, *tied}
    if not best or _is_usual(live, best):
        return None
    ids = np.zeros(live.rows, dtype=np.int64)
    for j in best:
        ids = pd.factorize(ids * (int(codes[j].max()) + 2) + codes[j] + 1)[0].astype(np.int64)
    return ids


def _is_usual(live: Live, columns: set[int]) -> bool:
    golden = live.golden()
    if golden is None:
        return True
    ids = pd.MultiIndex.from_arrays([golden.numbers(j) for j in sorted(columns)])
    return bool(len(ids.unique()) < SHARED_TOO * golden.rows)


def _goes_with(one: Ints, other: Ints, alike: int, others: int) -> bool:
    """Whether equal values of one column mean equal ones of the other; of each, the pairs of equal values are given."""
    # No more pairs are equal in both than in either: mostly that settles it.
    at_most = _kappa(min(alike, others), alike, others, len(one))
    return at_most > SAME and _kappa(_pairs_of_both(one, other), alike, others, len(one)) > SAME


def _means(one: Ints, other: Ints) -> float:
    """Return how nearly equal values of one column mean equal values of the other, 1 for always and 0 for by chance."""
    return _kappa(_pairs_of_both(one, other), _pairs(one), _pairs(other), len(one))


def _kappa(both: int, alike: int, others: int, rows: int) -> float:
    if not alike:
        return 0.0
    chance = others / max(1, rows * (rows - 1))
    return (both / alike - chance) / max(1 - chance, 1e-9)


def _pairs_of_both(one: Ints, other: Ints) -> int:
    return _pairs(one * (int(other.max(initial=0)) + 2) + other)


def _pairs(codes: Ints) -> int:
    """Return the number of pairs of rows, in either order, whose codes are equal."""
    ordered = np.sort(codes)
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    counts = np.diff(ends, prepend=-1)
    return int((counts * (counts - 1)).sum())
