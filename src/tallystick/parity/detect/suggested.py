"""Maps that a few of a column's values suggest: the one that nearly all rows have, or those that have lost digits.

False positives: one value fits any map that is nearly right, so that only the scaling counts that gives it to the error
of how a deviation is counted; digits alone prove that something happened to a value, and not what.
"""

from __future__ import annotations

import numpy as np

from tallystick.parity.detect.fitting import fitted_maps
from tallystick.parity.detect.maps import NumberMap
from tallystick.parity.detect.precision import coarse_elsewhere
from tallystick.parity.detect.trial import COUNTED_APART, constant_maps, sent_step
from tallystick.parity.lint import is_standardized
from tallystick.parity.live import Live

#: Share of training that its commonest value must have, and the size below which a scaled value is none.
MOST, LEAST_SIZE = 0.5, 1e-6


def of_one_value(live: Live, column: int) -> list[NumberMap]:
    """Return the scalings that make the one odd value of live rows of the one that most of training's rows had."""
    numbers, sent = live.reference.columns[column].numbers, live.numbers(column)[live.odd(column)]
    if numbers is None or not len(sent) or not numbers.is_lattice:
        return []
    if numbers.counts.max() < MOST * numbers.counts.sum():
        return []
    usual = numbers.lattice[[int(np.argmax(numbers.counts))]]
    points, counts = np.unique(sent, return_counts=True)
    value = float(points[np.argmax(counts)])
    room = COUNTED_APART / numbers.rows * max(abs(value), LEAST_SIZE)
    constant, _ = live.of_training(f"maps of {column}", lambda: constant_maps(live, column))
    return [each for each in constant if each.is_estimated and abs(float(each.forward(usual)[0]) - value) <= room]


def of_coarse_rows(live: Live, column: int) -> list[NumberMap]:
    """Return the maps that rows suggest whose digits alone tell that they went through one."""
    profile, lost = live.reference.columns[column], coarse_elsewhere(live, column)
    if lost is None or lost.has(live.known(column)):
        return []
    values = np.where(lost.rows, live.numbers(column), np.nan)
    return fitted_maps(profile, values, is_standardized(profile), sent_step(live, column))
