"""The screen of all parts of the traffic at once: which of them have a column that is not as in training.

The tests are those of `screen`, counted for all parts in one go. Two are simpler, which is enough to say where to look:
the others' word is that of columns which are as in training in all rows together, and the value that grew most is
looked for without a list of usual defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
from scipy.special import betainc, betaincc, chdtrc, kolmogorov, ndtr

from tallystick.parity.columns import Floats, Mask, Role
from tallystick.parity.detect.availability import level_shares
from tallystick.parity.distribution import number_shares, ranks_of
from tallystick.parity.live import Live
from tallystick.parity.profile import Ints, NumberProfile
from tallystick.parity.screen import ALPHA, LEAST_EXPECTED, LOOK_P, LOOK_Z, agreement_of, odd_rates

T = TypeVar("T")

#: Rows of all parts together that one value must be in, for some to be filled with it.
FEWEST_ALIKE = 2


def screen_parts(live: Live, part: Ints, count: int) -> tuple[Floats, Mask]:
    """Return, for each of `count` parts, the least chance of a column that is worth a look, and which columns are.

    The chance is 1 where none is; the columns are columns x parts. `part` is the number of each row's part; rows with a
    number below 0 are in none.
    """
    is_looked_at = np.zeros((len(live.reference.columns), count), dtype=bool)
    columns = [j for j in range(len(is_looked_at)) if j not in live.absent and j not in live.broken]
    if not columns:
        return np.ones(count), is_looked_at
    rows = np.flatnonzero(part >= 0)
    alone = np.array([_alone(live, j, rows, part[rows], count) for j in columns])
    z = np.array([_coherence_z(live, j, rows, part[rows], count) for j in columns])
    is_looked_at[columns] = _flagged(np.minimum(1.0, 4 * alone)) | (z < -LOOK_Z) | (4 * alone < LOOK_P)
    return np.where(is_looked_at[columns], np.minimum(alone, ndtr(z)), 1.0).min(axis=0), is_looked_at


def _flagged(least: Floats) -> Mask:
    """Return where a column differs after Holm's correction (1979): columns x parts."""
    order = np.argsort(least, axis=0)
    bounds = ALPHA / (len(least) - np.arange(len(least)))
    passed = np.logical_and.accumulate(np.take_along_axis(least, order, axis=0) <= bounds[:, None], axis=0)
    flagged = np.zeros(least.shape, dtype=bool)
    np.put_along_axis(flagged, order, passed, axis=0)
    return flagged


def _alone(live: Live, j: int, rows: Ints, part: Ints, count: int) -> Floats:
    """Return the least chance that a column's own values have in each part."""
    profile = live.reference.columns[j]
    known = live.known(j)[rows]
    sizes, all_rows = _sizes(part[known], count), _sizes(part, count)
    expected = (profile.null_share * profile.rows + 0.5) / (profile.rows + 1)
    nulls = all_rows - sizes
    found = [2 * _upper(nulls, all_rows, expected), 2 * _lower(nulls, all_rows, expected)]
    if profile.role is not Role.TEXT:
        found += [_cells_p(live, j, rows, part, count), _grown_p(live, j, rows[known], part[known], sizes)]
    if profile.numbers is not None:
        found.append(_distance_p(live, j, rows[known], part[known], sizes))
    for is_odd, rate in odd_rates(live, j):
        found.append(_upper(_sizes(part[known & is_odd[rows]], count), sizes, rate))
    return np.asarray(np.min(found, axis=0))


def _sizes(part: Ints, count: int) -> Floats:
    return np.bincount(part, minlength=count).astype(np.float64)


def _upper(hits: Floats, rows: Floats, rate: float) -> Floats:
    """Return the chance of so many hits or more, part by part."""
    return np.asarray(np.where(hits > 0, betainc(np.maximum(hits, 1), rows - hits + 1, min(rate, 1.0)), 1.0))


def _lower(hits: Floats, rows: Floats, rate: float) -> Floats:
    return np.asarray(np.where(hits < rows, betaincc(hits + 1, np.maximum(rows - hits, 1), rate), 1.0))


def _of_rows(live: Live, j: int, rows: Ints, what: str, make: Callable[[], T]) -> T:
    """Return what `make` gives of some rows of a column; of all that have a value it is made once."""
    return live.once(j, f"{what} of parts", make) if len(rows) == live.known(j).sum() else make()


class _Ordered(NamedTuple):
    """Values in order: which row each is of, where equal ones start and end, and training's ranks at and below them."""

    order: Ints
    starts: Ints
    ends: Ints
    above: Floats
    below: Floats


def _ordered(numbers: NumberProfile, values: Floats) -> _Ordered:
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    is_last = np.concatenate((ordered[1:] != ordered[:-1], [True]))
    ends = np.flatnonzero(is_last) + 1
    return _Ordered(order, np.concatenate(([0], ends[:-1])), ends, *ranks_of(numbers, ordered[is_last]))


def _distance_p(live: Live, j: int, rows: Ints, part: Ints, sizes: Floats) -> Floats:
    """Return the chance of each part's Kolmogorov-Smirnov distance to training."""
    numbers = live.reference.columns[j].numbers
    assert numbers is not None
    if numbers.is_coarse or not len(rows):
        return np.ones(len(sizes))
    order, starts, ends, above, below = _of_rows(
        live, j, rows, "order", lambda: _ordered(numbers, live.numbers(j)[rows])
    )
    member = part[order][:, None] == np.arange(len(sizes))
    upto = np.concatenate((np.zeros((1, len(sizes))), np.cumsum(member, axis=0))) / np.maximum(sizes, 1)
    gap = np.maximum(np.abs(above[:, None] - upto[ends]), np.abs(below[:, None] - upto[starts])).max(axis=0)
    size = sizes * numbers.rows / (sizes + numbers.rows)
    found = kolmogorov(np.maximum(0.0, gap - 1 / len(numbers.grid)) * np.sqrt(size))
    return np.asarray(np.where(sizes > 0, found, 1.0))


def _cells_p(live: Live, j: int, rows: Ints, part: Ints, count: int) -> Floats:
    """Return the chance of each part's G-test over cells, rare ones pooled."""
    profile = live.reference.columns[j]
    cells = profile.cell_count
    if cells < 2:
        return np.ones(count)
    flat = part * (cells + 1) + live.cells(j)[rows]
    observed = np.bincount(flat, minlength=count * (cells + 1)).reshape(count, cells + 1)[:, :cells].astype(np.float64)
    sizes = observed.sum(axis=1)
    expected = profile.cell_shares * sizes[:, None]
    is_rare = expected < LEAST_EXPECTED
    # The rare ones as one more cell.
    observed = np.column_stack((np.where(is_rare, 0.0, observed), np.where(is_rare, observed, 0.0).sum(axis=1)))
    expected = np.column_stack((np.where(is_rare, 0.0, expected), np.where(is_rare, expected, 0.0).sum(axis=1)))
    kept = expected > 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        g = 2 * np.where(kept & (observed > 0), observed * np.log(observed / expected), 0.0).sum(axis=1)
    g = np.maximum(g * profile.rows / (profile.rows + sizes), 0.0)
    freedom = kept.sum(axis=1) - 1
    return np.asarray(np.where((freedom > 0) & (sizes >= 5), chdtrc(np.maximum(freedom, 1), g), 1.0))


def _grown_p(live: Live, j: int, rows: Ints, part: Ints, sizes: Floats) -> Floats:
    """Return the chance, in each part, that any value is as much more frequent than in training as one is."""
    count = len(sizes)
    place, distinct, often, trained, before = _of_rows(live, j, rows, "values", lambda: _repeated(live, j, rows))
    if not len(often):
        return np.ones(count)
    counted = np.bincount(place * count + part, minlength=distinct * count).reshape(distinct, count)
    tries, held = np.maximum((counted > 0).sum(axis=0), 1), counted[often].astype(np.float64)
    pooled = (held + before) / (sizes + trained)
    nats = _divergence(held, sizes, pooled) + _divergence(before, trained, pooled)
    grown = np.where(held > pooled * sizes, nats, 0.0).max(axis=0)
    return np.asarray(np.minimum(1.0, np.exp(np.log(tries) - grown)))


def _repeated(live: Live, j: int, rows: Ints) -> tuple[Ints, int, Ints, int, Floats]:
    """Return the value of each row as a number, how many there are, those of several rows, and of these in training.

    These are the rows of training, and how many of them had each value: values x 1.
    """
    profile = live.reference.columns[j]
    place, distinct = pd.factorize(live.values[j][rows])
    # Most values of a fine column come once.
    often = np.flatnonzero(np.bincount(place, minlength=1) >= FEWEST_ALIKE)
    if profile.numbers is not None:
        share, trained = number_shares(profile, np.asarray(distinct, dtype=np.float64)[often]), profile.numbers.rows
    else:
        assert profile.levels is not None
        share, trained = level_shares(profile, [distinct[k] for k in often]), profile.levels.rows
    return place, len(distinct), often, trained, (share * trained)[:, None]


def _divergence(hits: Floats, rows: Floats | int, rate: Floats) -> Floats:
    """Return rows * KL(hits / rows, rate)."""
    seen = np.clip(hits / np.maximum(rows, 1), 1e-12, 1 - 1e-12)
    rate = np.clip(rate, 1e-12, 1 - 1e-12)
    return np.asarray(rows * (seen * np.log(seen / rate) + (1 - seen) * np.log((1 - seen) / (1 - rate))))


def _coherence_z(live: Live, j: int, rows: Ints, part: Ints, count: int) -> Floats:
    """Return how much less than in training a column agrees with the others in each part, as z-statistics."""
    mean, spread = agreement_of(live, j)
    if spread <= 0:
        return np.zeros(count)
    cells = live.cells(j)[rows]
    inside = cells < live.reference.columns[j].cell_count
    given, part = live.table(j)[rows[inside], cells[inside]], part[inside]
    sizes = _sizes(part, count)
    safe = np.maximum(sizes, 1)
    means = np.bincount(part, given, count) / safe
    own = np.sqrt(np.maximum(np.bincount(part, given**2, count) / safe - means**2, 0.0))
    error = np.maximum(spread, own) * np.sqrt(1 / safe + 2 / max(20, live.reference.joint.rows))
    return np.asarray(np.where(sizes >= 20, (means - mean) / error, 0.0))
