"""The screen of all parts of the traffic at once: which of them have a column that is not as in training.

The tests are those of `screen`, counted for all parts in one go. Two are simpler, which is enough to say where to look:
the others' word is that of columns which are as in training in all rows together, and the value that grew most is
looked for without a list of usual defaults.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import betainc, betaincc, chdtrc, kolmogorov, ndtr

from tallystick.parity.columns import Floats, Mask, Role
from tallystick.parity.detect.availability import level_shares
from tallystick.parity.distribution import number_shares, ranks_of
from tallystick.parity.live import Live
from tallystick.parity.profile import Ints
from tallystick.parity.screen import ALPHA, LEAST_EXPECTED, LOOK_P, LOOK_Z, agreement_of, odd_rates

#: Rows of all parts together that one value must be in, for some to be filled with it.
FEWEST_ALIKE = 2


@dataclass(frozen=True)
class _Member:
    """Rows and the parts that they are in: a row is there once for each of its parts, and parts have many rows."""

    rows: Ints
    part: Ints
    count: int

    def sizes(self, among: Mask | None = None) -> Floats:
        """Return how many rows each part has, of all or of those in a mask of all rows."""
        part = self.part if among is None else self.part[among[self.rows]]
        return np.bincount(part, minlength=self.count).astype(np.float64)

    def of(self, among: Mask) -> _Member:
        """Return those of the rows that are in a mask of all rows."""
        kept = among[self.rows]
        return self if kept.all() else _Member(self.rows[kept], self.part[kept], self.count)


def screen_parts(live: Live, part: Ints, count: int) -> tuple[Floats, Mask]:
    """Return, for each of `count` parts, the least chance of a column that is worth a look, and which columns are.

    The chance is 1 where none is; the columns are columns x parts. `part` is the number of each row's part; rows with a
    number below 0 are in none. Where rows are divided in several ways it is ways x rows, and no part is of two ways.
    """
    is_looked_at = np.zeros((len(live.reference.columns), count), dtype=bool)
    columns = [j for j in range(len(is_looked_at)) if j not in live.absent and j not in live.broken]
    if not columns:
        return np.ones(count), is_looked_at
    ways = np.atleast_2d(part)
    member = _Member(np.nonzero(ways >= 0)[1], ways[ways >= 0], count)
    alone = np.array([_alone(live, j, member) for j in columns])
    z = np.array([_coherence_z(live, j, member) for j in columns])
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


def _alone(live: Live, j: int, member: _Member) -> Floats:
    """Return the least chance that a column's own values have in each part."""
    profile, known = live.reference.columns[j], live.known(j)
    there, all_rows = member.of(known), member.sizes()
    sizes = there.sizes()
    expected = (profile.null_share * profile.rows + 0.5) / (profile.rows + 1)
    nulls = all_rows - sizes
    found = [2 * _upper(nulls, all_rows, expected), 2 * _lower(nulls, all_rows, expected)]
    if profile.role is not Role.TEXT:
        found += [_cells_p(live, j, member), _grown_p(live, j, there, sizes)]
    if profile.numbers is not None:
        found.append(_distance_p(live, j, there, sizes))
    for is_odd, rate in odd_rates(live, j):
        found.append(_upper(there.sizes(is_odd), sizes, rate))
    return np.asarray(np.min(found, axis=0))


def _upper(hits: Floats, rows: Floats, rate: float) -> Floats:
    """Return the chance of so many hits or more, part by part."""
    found, some = np.ones(len(hits)), hits > 0
    found[some] = betainc(hits[some], rows[some] - hits[some] + 1, min(rate, 1.0))
    return found


def _lower(hits: Floats, rows: Floats, rate: float) -> Floats:
    """Return the chance of so many hits or fewer; 1 where there are as many as are due, as it is a half or more."""
    found, some = np.ones(len(hits)), (hits < rows) & (hits <= rate * rows - 1)
    found[some] = betaincc(hits[some] + 1, rows[some] - hits[some], rate)
    return found


def _distance_p(live: Live, j: int, member: _Member, sizes: Floats) -> Floats:
    """Return the chance of each part's Kolmogorov-Smirnov distance to training."""
    numbers = live.reference.columns[j].numbers
    assert numbers is not None
    found = np.ones(len(sizes))
    if numbers.is_coarse or not len(member.rows):
        return found
    sample = live.sample(j)
    place = np.searchsorted(sample.points, live.numbers(j)[member.rows])
    above, below = ranks_of(numbers, sample.points)
    # By part, and by value within it: a part's share of rows up to each of its values, and below it.
    key = member.part * len(sample.points) + place
    key.sort()
    part, place = np.divmod(key, len(sample.points))
    ends = np.cumsum(sizes)
    within, size = np.arange(len(key)) - (ends - sizes)[part], sizes[part]
    differs = key[1:] != key[:-1]
    over = np.abs(above[place] - (within + 1) / size) * np.append(differs, True)
    under = np.abs(below[place] - within / size) * np.append(True, differs)
    there = sizes > 0
    gap = np.maximum.reduceat(np.maximum(over, under), (ends - sizes)[there].astype(np.int64))
    among = sizes[there] * numbers.rows / (sizes[there] + numbers.rows)
    found[there] = kolmogorov(np.maximum(0.0, gap - 1 / len(numbers.grid)) * np.sqrt(among))
    return found


def _cells_p(live: Live, j: int, member: _Member) -> Floats:
    """Return the chance of each part's G-test over cells, rare ones pooled."""
    profile, count = live.reference.columns[j], member.count
    cells = profile.cell_count
    if cells < 2:
        return np.ones(count)
    flat = member.part * (cells + 1) + live.cells(j)[member.rows]
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


def _grown_p(live: Live, j: int, member: _Member, sizes: Floats) -> Floats:
    """Return the chance, in each part, that any value is as much more frequent than in training as one is."""
    count = member.count
    place, distinct, often, trained, before = _repeated(live, j)
    if not len(often):
        return np.ones(count)
    place = place[member.rows]
    is_there = np.zeros(count * distinct, dtype=bool)
    is_there[member.part * distinct + place] = True
    tries = np.maximum(is_there.reshape(count, distinct).sum(axis=1), 1)
    # Each of the frequent values as its number among them.
    number = np.full(distinct, -1)
    number[often] = np.arange(len(often))
    number = number[place]
    some = number >= 0
    flat = number[some] * count + member.part[some]
    held = np.bincount(flat, minlength=len(often) * count).reshape(len(often), count).astype(np.float64)
    pooled = (held + before) / (sizes + trained)
    nats = _divergence(held, sizes, pooled) + _divergence(before, trained, pooled)
    grown = np.where(held > pooled * sizes, nats, 0.0).max(axis=0)
    return np.asarray(np.minimum(1.0, np.exp(np.log(tries) - grown)))


def _repeated(live: Live, j: int) -> tuple[Ints, int, Ints, int, Floats]:
    """Return the value of each row as a number, how many there are, those of several rows, and of these in training.

    These are the rows of training, and how many of them had each value: values x 1. Missing values have number -1.
    """
    profile, known = live.reference.columns[j], live.known(j)
    place, distinct = np.full(live.rows, -1), np.zeros(0, dtype=object)
    place[known], distinct = pd.factorize(live.values[j][known])
    # Most values of a fine column come once.
    often = np.flatnonzero(np.bincount(place[known], minlength=1) >= FEWEST_ALIKE)
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


def _coherence_z(live: Live, j: int, member: _Member) -> Floats:
    """Return how much less than in training a column agrees with the others in each part, as z-statistics."""
    mean, spread = agreement_of(live, j)
    if spread <= 0:
        return np.zeros(member.count)
    cells = live.cells(j)
    inside = cells < live.reference.columns[j].cell_count
    told = np.zeros(live.rows)
    told[inside] = live.table(j)[np.flatnonzero(inside), cells[inside]]
    there = member.of(inside)
    given, sizes = told[there.rows], there.sizes()
    safe = np.maximum(sizes, 1)
    means = np.bincount(there.part, given, member.count) / safe
    own = np.sqrt(np.maximum(np.bincount(there.part, given**2, member.count) / safe - means**2, 0.0))
    error = np.maximum(spread, own) * np.sqrt(1 / safe + 2 / max(20, live.reference.joint.rows))
    return np.asarray(np.where(sizes >= 20, (means - mean) / error, 0.0))
