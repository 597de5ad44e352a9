"""What a profile tells of a distribution: shares below and at values, ranks, quantiles. Pure."""

from __future__ import annotations

import numpy as np

from tallystick.parity.columns import Floats, Mask, Role
from tallystick.parity.profile import (
    BUCKETS,
    MOST_DECIMALS,
    ColumnProfile,
    NumberProfile,
    cells_of,
    has_decimals,
    slack_of,
)

#: Values that stand for all of a lattice.
DRAWN_VALUES = 2000


def training_values(numbers: NumberProfile) -> Floats:
    """Return values that are distributed as training's: of a lattice a few thousand at most, else the grid."""
    if not numbers.is_lattice:
        return numbers.grid
    times = np.maximum(1, np.round(numbers.counts * min(1.0, DRAWN_VALUES / numbers.counts.sum())))
    return np.repeat(numbers.lattice, times.astype(np.int64))


def cdf(numbers: NumberProfile, values: Floats) -> Floats:
    """Return the share of training at or below each value."""
    return ranks_of(numbers, values)[0]


def cdf_below(numbers: NumberProfile, values: Floats) -> Floats:
    """Return the share of training below each value; it differs from `cdf` at atoms."""
    return ranks_of(numbers, values)[1]


def ranks_of(numbers: NumberProfile, values: Floats) -> tuple[Floats, Floats]:
    """Return P(x <= value) and P(x < value): even between points of the grid, with jumps at repeated points."""
    values = numbers.seen(values)
    slack = slack_of(numbers, values)
    if numbers.is_lattice:
        total = numbers.totals
        upper = total[np.searchsorted(numbers.lattice, values + slack, side="right")]
        return np.asarray(upper), np.asarray(total[np.searchsorted(numbers.lattice, values - slack, side="left")])
    points, first, last = numbers.steps
    after = np.minimum(np.searchsorted(points, values, side="left"), len(points) - 1)
    before = np.maximum(after - 1, 0)
    right, left, begin, end = points[after], points[before], last[before], first[after]
    width = np.where(right > left, right - left, 1.0)
    with np.errstate(invalid="ignore", over="ignore"):
        between = begin + (end - begin) * np.minimum(np.maximum((values - left) / width, 0.0), 1.0)
    hit = np.abs(right - values) <= slack
    outside, under = values > points[-1] + slack, values < points[0] - slack
    upper, lower = np.where(hit, last[after], between), np.where(hit, end, between)
    upper, lower = np.where(outside, 1.0, upper), np.where(outside, 1.0, lower)
    return np.asarray(np.where(under, 0.0, upper)), np.asarray(np.where(under, 0.0, lower))


def quantiles_of(numbers: NumberProfile, ranks: Floats) -> Floats:
    """Return training values at ranks in [0, 1]."""
    return np.asarray(np.interp(ranks, np.linspace(0, 1, len(numbers.grid)), numbers.grid))


def quantiles_among(ordered: Floats, ranks: Floats) -> Floats:
    """Return the quantiles of values in order: those of `np.quantile`, which takes ten times as long for a few."""
    place = ranks * (len(ordered) - 1)
    before = np.floor(place).astype(np.int64)
    part, low, high = place - before, ordered[before], ordered[np.minimum(before + 1, len(ordered) - 1)]
    run = high - low
    return np.asarray(np.where(part < 0.5, low + run * part, high - run * (1 - part)))


def number_shares(profile: ColumnProfile, values: Floats) -> Floats:
    """Return the share of each value in training; for continuous columns at least what one more repeat would be."""
    numbers = profile.numbers
    assert numbers is not None
    if numbers.is_coarse:
        # All of its range's, as far as anybody knows.
        upper, lower = ranks_of(numbers, values)
        ranges = np.maximum(upper - lower, 1 / BUCKETS)
        cells = np.append(profile.cell_shares, 0.0)[cells_of(profile, values)] + usual_share(numbers)
        return np.asarray(ranges if profile.role is Role.TIME else cells)
    if numbers.is_lattice:
        last = len(numbers.lattice) - 1
        right = np.minimum(np.searchsorted(numbers.lattice, values), last)
        left = np.maximum(right - 1, 0)
        place = np.where(values - numbers.lattice[left] < numbers.lattice[right] - values, left, right)
        hit = np.isclose(numbers.lattice[place], values, rtol=1e-9, atol=0)
        # A value of no lattice point has half a row's share; one beyond the range a tenth of that.
        outside = (values < numbers.minimum) | (values > numbers.maximum)
        none = np.where(outside, 0.05, 0.5) / (numbers.rows + 1)
        return np.asarray(np.where(hit, (numbers.counts[place] + 0.5) / (numbers.rows + 1), none))
    # Of a grid of quantiles: equal neighbours show an atom; otherwise a value has less than one step of mass, or what
    # lies within half of the last decimal, where values have few.
    slack = slack_of(numbers, values)
    after, before = (np.searchsorted(numbers.grid, values + side * slack) for side in (1, -1))
    shares = np.where(after - before > 1, (after - before) / len(numbers.grid), _rounded_mass(numbers, values))
    for atom, share in zip(numbers.atoms, numbers.atom_shares, strict=True):
        shares = np.where(np.abs(values - atom) <= slack, share, shares)
    heaped = numbers.heap_share_of(values)
    return np.asarray(np.maximum(np.where(heaped > 0, heaped, shares), usual_share(numbers)))


def as_round_as(value: float, values: Floats) -> Mask:
    """Return which values are multiples of the power of ten that `value` is one of: numbers of people who round so.

    >>> as_round_as(1500.0, np.array([200.0, 1550.0])).tolist(), as_round_as(9.5, np.array([7.0, 7.25])).tolist()
    ([True, False], [True, False])
    """
    digits = next((each for each in range(-6, 7) if has_decimals(np.array([value]), each)[0]), 6)
    return np.asarray(has_decimals(values, digits))


def _rounded_mass(numbers: NumberProfile, values: Floats) -> Floats:
    """Return training's mass within half of the last decimal of values, as that rounds to them; 0 of fine ones."""
    if numbers.decimals > MOST_DECIMALS:
        return np.zeros(np.shape(values))
    half = 0.5 * 10.0**-numbers.decimals
    at = np.linspace(0, 1, len(numbers.grid))
    # Across equal neighbours the mass is that of an atom, which is counted by itself.
    points, first = np.unique(numbers.grid, return_index=True)
    high, low = (np.interp(values + side * half, points, at[first], left=0.0, right=1.0) for side in (1, -1))
    return np.asarray(np.minimum(high - low, 1.5 / len(numbers.grid)))


def usual_share(numbers: NumberProfile) -> float:
    """Return the share of a value that was no atom of training, at most."""
    return min(0.5 / len(numbers.grid), 3.0 / max(1.0, numbers.distinct)) + 1e-12
