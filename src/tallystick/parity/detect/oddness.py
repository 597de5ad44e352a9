"""Which values a map would have made that training could not give, and whether the odd ones that were sent are these.

Source: the rows that a map touched are a sample of training's, so that as many of them are odd as the map makes of
training's values, and those, undone, are distributed as the training values that it makes odd (Kolmogorov's tail).
False positives: the clients whose rows were mapped may have another population; some distance is allowed for.
"""

from __future__ import annotations

import numpy as np

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.detect.fitting import settled
from tallystick.parity.detect.maps import NumberMap
from tallystick.parity.distribution import training_values
from tallystick.parity.profile import ColumnProfile
from tallystick.parity.yardsticks import binomial_nats, odd_rows

#: Odd rows that have a distribution to speak of, and what sampling adds to its distance, and to a share.
FEWEST_ODD_ROWS, SAMPLED_ERROR = 5, 0.02


def made_odd_by(profile: ColumnProfile, each: NumberMap, sent: float) -> tuple[Floats, Mask]:
    """Return values of training, and which of them a map makes values that training could not give."""
    assert profile.numbers is not None
    trained = training_values(profile.numbers)
    with np.errstate(all="ignore"):
        made = each.forward(trained)
        made = np.round(made / sent) * sent if sent > 0 else made
    return trained, odd_rows(profile, made)


def odd_misfit(
    profile: ColumnProfile,
    each: NumberMap,
    values: Floats,
    trained: Floats,
    made_odd: Mask,
    is_all: bool,
    sent: float,
) -> float:
    """Return what speaks against a map in which of the values it touched are odd, and in what these were.

    As many have to be odd as the map makes of training's. Of some rows, those that it left where training could be are
    not known; those that it did not are, undone, a sample of training too.
    """
    numbers, is_odd = profile.numbers, odd_rows(profile, values)
    assert numbers is not None
    rate = min(1.0, 1.25 * (1 - float(made_odd.mean())) + SAMPLED_ERROR)
    sound = binomial_nats(int((~is_odd).sum()), len(values), rate) if rate < 1 else 0.0
    undone = settled(numbers, each, values[is_odd], sent)
    undone = undone[np.isfinite(undone)]
    trained = np.sort(trained[made_odd])
    if is_all or len(undone) < FEWEST_ODD_ROWS or len(trained) < FEWEST_ODD_ROWS:
        return sound
    points, counts = np.unique(undone, return_counts=True)
    slack = 1e-9 * np.maximum(numbers.sd, np.abs(points))
    upper = np.cumsum(counts) / len(undone)
    above = np.searchsorted(trained, points + slack, side="right") / len(trained)
    below = np.searchsorted(trained, points - slack, side="left") / len(trained)
    distance = float(np.maximum(np.abs(above - upper), np.abs(below - (upper - counts / len(undone)))).max())
    distance = max(0.0, distance - SAMPLED_ERROR - 1 / len(trained))
    return max(sound, 2.0 * len(undone) * distance**2)
