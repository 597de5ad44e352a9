"""What rounding of live values leaves known of the training values behind them.

Source: a value that was sent with d decimals stands for an interval of 10^-d; undoing a map makes it as many times as
wide as the map's inverse is steep there, and training's value lies anywhere in it. Clients round what they convert.
False positives: within a wide interval any map leads to training's values, so that hits say nothing then.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tallystick.parity.columns import Floats
from tallystick.parity.detect.maps import NumberMap, slopes_of
from tallystick.parity.distribution import cdf, cdf_below, ranks_of
from tallystick.parity.profile import ColumnProfile, NumberProfile, decimals_of
from tallystick.parity.yardsticks import odd_rows

#: Decimals beyond which values were not rounded, and the share of values that must have as few.
MOST_ROUNDED, SHARE_ROUNDED = 6, 0.95
#: Odd values that are enough to see their decimals; with fewer, those of all are taken.
FEWEST_ODD = 15
#: How far off a whole number of steps a rounded value may be, by the errors of floats.
ON_STEP = 1e-9
#: Parts of training's step within which half of the values are met without rounding, and beyond which they are not.
EXACTLY, NOT_NEARLY = 1e-3, 1e-2


def live_step(profile: ColumnProfile, values: Floats) -> float:
    """Return the step that live values were rounded to, 0 when to none: of those that training could hardly give."""
    numbers = profile.numbers
    if numbers is None or (not numbers.is_lattice and numbers.decimals > MOST_ROUNDED):
        # Training has no steps that rounding could be seen against.
        return 0.0
    known = values[np.isfinite(values)]
    odd = known[odd_rows(profile, known)]
    digits = decimals_of(odd if len(odd) >= FEWEST_ODD else known, SHARE_ROUNDED)
    return float(10.0**-digits) if digits <= MOST_ROUNDED else 0.0


def training_step(numbers: NumberProfile) -> float:
    """Return the usual gap between training's values: of its lattice, or its last digit."""
    if numbers.is_lattice and len(numbers.lattice) > 1:
        return numbers.gap
    return float(10.0**-numbers.decimals)


def room_of(each: NumberMap, values: Floats, step: float) -> Floats:
    """Return how far off values may be, once a map is undone, for having been rounded to `step`."""
    return room_in(slopes_of([each], values)[0], values, step)


def room_in(slope: Floats, values: Floats, step: float) -> Floats:
    """Return the same where a map's inverse is as steep as `slope`, of maps x values or of values.

    A value with more digits than `step` was not rounded to it.
    """
    if step <= 0:
        return np.zeros(np.shape(slope))
    with np.errstate(all="ignore"):
        steps = values / step
        was_rounded = np.abs(steps - np.round(steps)) <= ON_STEP * np.maximum(1.0, np.abs(steps))
        room = 0.5 * step * slope
    return np.where(np.isfinite(room) & was_rounded, room, 0.0)


def hit_nats(numbers: NumberProfile, room: Floats, most: float) -> Floats:
    """Return what it says that an undone value is training's to rounding: the wider the interval, the less."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.log(training_step(numbers) / (2 * room)), 0.0, most))


def rounded_distance(numbers: NumberProfile, undone: Floats, room: Floats, settled: Floats) -> float:
    """Return the Kolmogorov-Smirnov distance of undone values to training, seen where rounding leaves a rank known.

    The rank of a rounded value is that of its interval's ends. An end may be a training value, which was rounded to
    either side.
    """
    known = np.isfinite(undone)
    # Intervals narrower than training's steps hold one training value: the one that was settled on.
    is_wide = 2 * room > training_step(numbers)
    low = np.where(is_wide, undone - room, settled)[known]
    high = np.where(is_wide, undone + room, settled)[known]
    if not len(low):
        return 0.0
    order = np.argsort(undone[known], kind="stable")
    low, high, wide = low[order], high[order], is_wide[known][order]
    _, first, counts = np.unique(np.round(high, 9), return_index=True, return_counts=True)
    upper = np.cumsum(counts) / len(low)
    lower = upper - counts / len(low)
    low, high, wide = low[first], high[first], wide[first]
    (top, under_top), (bottom, under_bottom) = ranks_of(numbers, high), ranks_of(numbers, low)
    above = np.where(wide, np.maximum(np.maximum(under_top - upper, upper - top), 0.0), np.abs(top - upper))
    below = np.where(
        wide, np.maximum(np.maximum(under_bottom - lower, lower - bottom), 0.0), np.abs(under_bottom - lower)
    )
    return float(np.maximum(above, below).max())


def by_itself(
    numbers: NumberProfile, values: Floats, settled: Sequence[Floats], lines: Sequence[tuple[float, float]]
) -> list[bool]:
    """Return which lines are not led to training's values by the room of rounding alone, where another needs none.

    `settled` are training values that each line, a factor and an offset, leads to. Whole knots, made from miles per
    hour, are some value of training within half a knot by any near factor; by the true one they are one to the last
    digit.
    """
    off = [
        float(np.nanmedian(np.abs((values - offset) / factor - each)))
        for (factor, offset), each in zip(lines, settled, strict=True)
    ]
    step = training_step(numbers)
    if not off or min(off) > EXACTLY * step:
        return [True] * len(off)
    return [each <= NOT_NEARLY * step for each in off]


def widest_share(numbers: NumberProfile, undone: Floats, room: Floats) -> float:
    """Return the largest share of training within one interval: so often one undone value may come."""
    known = np.isfinite(undone) & (2 * room > training_step(numbers))
    if not known.any():
        return 0.0
    ends = undone[known] - room[known], undone[known] + room[known]
    return float((cdf(numbers, ends[1]) - cdf_below(numbers, ends[0])).max())
