"""The yardsticks that all detectors share.

The rival of each proposal is "other rows of the same population": a population may re-weight the values that training
had in any way, so a changed distribution alone is never evidence of a fault. What counts against it, in nats: values
that training could not give (off its range, lattice or resolution), and other columns that fit the undone value better
than the one sent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.distribution import ranks_of
from tallystick.parity.profile import BUCKETS, MOST_DECIMALS, ColumnProfile, Ints, LevelProfile, NumberProfile

#: Evidence against "another mix of the same population" that a claim needs, in nats (e^6 = 400 : 1).
CLAIM_NATS = 6.0
#: Chance of a column's own distribution below which it is not training's, and spoils the agreement of others.
BROKEN_P = 1e-6
#: Share of rows beyond what training showed that any population may have.
ODD_ALLOWANCE = 0.01
#: Part of the training range that a value may lie beyond it without being odd.
MARGIN = 0.02
#: The same for a value that no population gives, by the distance of the bound to the median; and the decimals up to
#: which training's resolution is exact.
FAR_MARGIN = 0.5
EXACT_DECIMALS = 3
#: Part of training's minimum below which values are of another order of magnitude.
LOWER = 0.1
#: Part of a log-likelihood beyond what its z-statistic is worth that is believed, and the z from which any is.
SUM_TRUST, LEAST_Z = 0.5, 1.5
_DEVIATIONS = 3.0


def far_rows(profile: ColumnProfile, values: Floats) -> Mask:
    """Return which numbers no population gives: well beyond its range, or off its exact resolution."""
    numbers = profile.numbers
    assert numbers is not None
    values = numbers.seen(values)
    known = np.isfinite(values)
    low, high = numbers.minimum, numbers.maximum
    # Each side by its own spread: a long tail above says nothing of what may lie below.
    below, above = low - FAR_MARGIN * (numbers.median - low), high + FAR_MARGIN * (high - numbers.median)
    below = max(below, 0.0) if low >= 0 else below
    slack = 1e-9 * max(1.0, abs(low), abs(high))
    far = known & ((values < below - slack) | (values > above + slack))
    if numbers.decimals <= EXACT_DECIMALS:
        far |= known & ~_near_decimals(values, numbers.decimals)
    return np.asarray(far)


def impossible_nats(profile: ColumnProfile, values: Floats) -> float:
    """Return how much values that training could not give speak against another mix of its rows."""
    return impossible_of(profile, values, odd_rows(profile, values))


def impossible_of(profile: ColumnProfile, values: Floats, odd: Mask) -> float:
    """Return the same of values of which it is known which are odd."""
    nats = binomial_nats(int(odd.sum()), int(np.isfinite(values).sum()), odd_rate(profile))
    return max(nats, far_nats(profile, values))


def far_nats(profile: ColumnProfile, values: Floats) -> float:
    """Return how much values that no population gives speak against one."""
    count = int(np.isfinite(values).sum())
    return binomial_nats(int(far_rows(profile, values).sum()), count, far_rate(profile))


def far_rate(profile: ColumnProfile) -> float:
    """Return the share of rows that may be far off all the same."""
    return 0.003 + 1.0 / max(2, profile.rows)


def odd_rows(profile: ColumnProfile, values: Floats) -> Mask:
    """Return which numbers training could hardly give: out of range, off its lattice, of finer resolution."""
    numbers = profile.numbers
    assert numbers is not None
    values = numbers.seen(values)
    known = np.isfinite(values)
    margin = MARGIN * (numbers.maximum - numbers.minimum)
    odd = known & ((values < numbers.minimum - margin) | (values > numbers.maximum + margin))
    if numbers.is_lattice:
        odd |= known & ~on_lattice(numbers, values)
    elif numbers.decimals <= min(6, MOST_DECIMALS):
        odd |= known & ~_near_decimals(values, numbers.decimals)
    else:
        # Digits tell nothing here, and the margin of a range that begins near 0 goes past it.
        odd |= _magnitudes_below(numbers, values)
    return np.asarray(odd)


def _magnitudes_below(numbers: NumberProfile, values: Floats) -> Mask:
    """Return which values are of a lower order of magnitude than any of training's, which are all above 0.

    0 itself is what a thing has that has none of it. The margin is as that of the range, in logarithms.
    """
    if numbers.minimum <= 0:
        return np.zeros(len(values), dtype=bool)
    spread = (numbers.minimum / numbers.median) ** FAR_MARGIN
    with np.errstate(invalid="ignore"):
        return np.asarray((values > 0) & (values < numbers.minimum * min(spread, LOWER)))


def _near_decimals(values: Floats, digits: int) -> Mask:
    scaled = values * 10.0**digits
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(scaled - np.round(scaled)) <= 1e-6 * np.maximum(1.0, np.abs(scaled) * 1e-3))


def on_lattice(numbers: NumberProfile, values: Floats) -> Mask:
    """Return which values are training values, to a millionth of the usual gap between them."""
    lattice = numbers.lattice
    gap = numbers.gap if len(lattice) > 1 else max(1.0, abs(float(lattice[0])))
    place = np.minimum(np.maximum(np.searchsorted(lattice, values), 1), max(1, len(lattice) - 1))
    nearest = np.minimum(
        np.abs(values - lattice[place - 1]), np.abs(values - lattice[np.minimum(place, len(lattice) - 1)])
    )
    return np.asarray(nearest <= 1e-6 * gap)


def odd_rate(profile: ColumnProfile) -> float:
    """Return the share of odd values that a fair sample may have: unseen mass after Good and Turing, with room."""
    numbers = profile.numbers
    assert numbers is not None
    singles = float(numbers.singles) if numbers.is_lattice else 2.0
    return min(0.5, ODD_ALLOWANCE + 2.0 * singles / max(1, numbers.rows))


def binomial_nats(hits: int, rows: int, rate: float) -> float:
    """Return how much `hits` of `rows` speak against a rate of at most `rate`: n KL(observed, rate), 0 below it."""
    if not rows or hits <= rate * rows:
        return 0.0
    seen = hits / rows
    rest = (1 - seen) * np.log((1 - seen) / (1 - rate)) if seen < 1 else 0.0
    return float(rows * (seen * np.log(seen / rate) + rest))


def upper_share(share: float, rows: float) -> float:
    """Return what a share that so many rows showed may be at most: Wilson's bound (1927) at three deviations.

    >>> [round(upper_share(share, 300), 3) for share in (0.0, 0.5, 1.0)]
    [0.029, 0.585, 1.0]
    """
    rows = max(1.0, rows)
    centre = share + _DEVIATIONS**2 / (2 * rows)
    spread = _DEVIATIONS * np.sqrt(share * (1 - share) / rows + _DEVIATIONS**2 / (4 * rows**2))
    return float(min(1.0, (centre + spread) / (1 + _DEVIATIONS**2 / rows)))


def unseen_bound(levels: LevelProfile) -> float:
    """Return the share that levels which training never had may have: after Good (1953), two deviations above.

    The deviation is that of the estimate: the root of levels seen once and twice those seen twice, over rows.
    """
    once, twice = float(np.sum(levels.counts == 1)), float(np.sum(levels.counts == 2))
    return float(max(levels.unseen_rate, (once + 2 * np.sqrt(once + 2 * twice + 1)) / max(1, levels.rows)))


def own_part(numbers: NumberProfile, rows: int) -> float:
    """Return the part of a live count's surprise that is its own: training's shares are of a sample, too."""
    return numbers.rows / (numbers.rows + rows)


def z_nats(z: float) -> float:
    """Return z²/2 with the sign of z: the log-likelihood ratio that a z-statistic is worth."""
    return float(np.sign(z) * z * z / 2)


def trusted_nats(z: float, total: float) -> float:
    """Return what a log-likelihood ratio of `total` nats over rows is worth whose mean is z standard errors from 0.

    The z-statistic needs no model, and is weak where few rows decide (a small share is changed). The sum is as good as
    the model of the other columns. Where they differ, half of the rest is believed.
    """
    safe = z_nats(z)
    return safe + SUM_TRUST * max(0.0, total - safe) if z > LEAST_Z else safe


class Sample(NamedTuple):
    """Distinct values, ascending, how often each is there, and the shares of the sample up to each, and below it."""

    points: Floats
    counts: Ints
    upper: Floats
    lower: Floats
    rows: int


def sample_of(values: Floats) -> Sample:
    """Return values as a sample to be compared with several columns of training; NaN is left out."""
    points, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    rows = int(counts.sum())
    upper = np.cumsum(counts) / max(1, rows)
    return Sample(points, counts, upper, upper - counts / max(1, rows), rows)


def ks_distance(numbers: NumberProfile, values: Floats) -> float:
    """Return the Kolmogorov-Smirnov distance of values to training; 0 for no values."""
    return ks_of(numbers, sample_of(values))


def ks_of(numbers: NumberProfile, sample: Sample) -> float:
    """Return the Kolmogorov-Smirnov distance of a sample to training; 0 for an empty one."""
    if numbers.is_coarse:
        return _distance_at_bounds(numbers, sample)
    upper, lower = ranks_of(numbers, sample.points)
    gap = np.maximum(np.abs(upper - sample.upper), np.abs(lower - sample.lower))
    return float(gap.max(initial=0.0))


def _distance_at_bounds(numbers: NumberProfile, sample: Sample) -> float:
    """Return the distance at the bounds of a coarse profile's ranges: between them nothing is known of training."""
    if not sample.rows:
        return 0.0
    # Rounding keeps the order.
    points, shares = numbers.seen(sample.points), np.append(0.0, sample.upper)
    bounds = numbers.grid[:: (len(numbers.grid) - 1) // BUCKETS]
    ranks = np.linspace(0, 1, BUCKETS + 1)
    # Rounded alike, equal values are equal but for the last bit.
    slack = 1e-3 * numbers.unit
    upper = shares[np.searchsorted(points, bounds + slack, side="right")]
    lower = shares[np.searchsorted(points, bounds - slack, side="left")]
    return float(np.maximum(ranks - upper, lower - ranks).max(initial=0.0))


def ks_bound(numbers: NumberProfile, rows: int, alpha: float = 0.001) -> float:
    """Return the distance that a fair sample stays under with probability 1 - alpha (Smirnov 1948, two samples)."""
    factor = np.sqrt(-0.5 * np.log(alpha / 2))
    return float(factor * np.sqrt(1 / max(1, rows) + 1 / max(1, numbers.rows)) + 1 / len(numbers.grid))
