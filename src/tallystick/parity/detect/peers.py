"""Whether values that a map touched, undone, are distributed as the rows that it did not touch.

Source: the two-sample Kolmogorov-Smirnov test (Smirnov 1948), by its tail. The rows that were sent as they are show the
population that live rows are of, which may be another mix than training's: a map of some of them is not to be refuted
because all of them moved. False positives: the tail of a population that moved beyond training's range. Its values
are the more the nearer they are to that, so values that may be a tail say nothing; nor does a map that leaves most of
the rest possible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.detect.maps import NumberMap
from tallystick.parity.profile import ColumnProfile, NumberProfile, has_decimals
from tallystick.parity.yardsticks import ks_bound, ks_distance, odd_rows

#: Rows that were touched, and rows that were not, from which they are compared: fewer look like anything, and maps with
#: a name are many.
FEWEST_TOUCHED, FEWEST_LEFT = 10, 15
#: Part of the touched values that must be impossible, and of the others that the map must make so; and part of all
#: impossible values that must be touched and possible when undone: what explains some of a tail explains none of it.
MOSTLY_ODD, MADE_ODD, EXPLAINED = 0.5, 0.5, 0.8
#: Nats up to which touched rows, undone, are as the rest.
ALIKE_NATS = 5.0
#: Nats that are needed against a tail.
NO_TAIL_NATS = 3.0
#: How much a likelihood tells for each nat of the test: what the test has left is a bound.
LIKELY_TIMES = 4.0


@dataclass(frozen=True)
class Peers:
    """How far rows that a map touched are from the others when undone, in nats; `nan` where it cannot be told.

    `is_moved`: the others are not distributed as in training.
    """

    nats: float = np.nan
    is_moved: bool = False

    @property
    def are_alike(self) -> bool:
        """Whether the map leads back to the population that the other rows are of."""
        return self.is_moved and self.nats <= ALIKE_NATS

    @property
    def misfit(self) -> float | None:
        """What it speaks against the map, in nats, that the rest is another population; None where training tells."""
        return LIKELY_TIMES * self.nats if self.is_moved and np.isfinite(self.nats) else None


NOBODY = Peers()


def peers_of(
    profile: ColumnProfile, each: NumberMap, values: Floats, undone: Floats, affected: Mask, odd: Mask, sent: float
) -> Peers:
    """Return how the undone values compare with those that were not touched; `NOBODY` where few were, or were not."""
    numbers = profile.numbers
    assert numbers is not None
    is_back = ~odd_rows(profile, undone)
    touched, left = affected & odd & is_back, np.isfinite(values) & ~affected & ~odd
    needed = max(FEWEST_TOUCHED, MOSTLY_ODD * affected.sum(), EXPLAINED * odd.sum())
    if touched.sum() < needed or left.sum() < FEWEST_LEFT:
        return NOBODY
    rest = values[left]
    is_moved = ks_distance(numbers, rest) > ks_bound(numbers, len(rest))
    made = each.forward(rest)
    made_odd = odd_rows(profile, np.round(made / sent) * sent if sent > 0 else made)
    is_told = made_odd.mean() >= MADE_ODD and made_odd.sum() >= FEWEST_LEFT
    if not is_told or _is_tail(numbers, values[touched]):
        return Peers(np.inf, is_moved)
    return Peers(_apart_nats(undone[touched], rest[made_odd], 1e-9 * numbers.sd), is_moved)


def _is_tail(numbers: NumberProfile, odd: Floats) -> bool:
    """Whether impossible values may be what goes on beyond training's range: the more of them, the nearer.

    By the logarithm of how far beyond, in which heavy tails are exponential: a falling density has at least as many
    values below each place as an even one (the one-sided test of Kolmogorov and Smirnov). No tail goes past 0, nor has
    one other digits than training's.
    """
    low, high = numbers.minimum, numbers.maximum
    outside = odd[((odd > high) | (odd < low)) & has_decimals(odd, numbers.decimals)]
    bound = np.where(outside > high, high, low)
    is_beside = outside * bound > 0
    beyond = np.sort(np.abs(np.log(outside[is_beside] / bound[is_beside])))
    if len(beyond) < len(odd) / 2:
        return False
    place = beyond / beyond[-1] - np.arange(len(beyond)) / len(beyond)
    return bool(2.0 * len(beyond) * max(0.0, float(place.max())) ** 2 < NO_TAIL_NATS)


def _apart_nats(some: Floats, others: Floats, slack: float) -> float:
    some, others = np.sort(some[np.isfinite(some)]), np.sort(others)
    if not len(some):
        return np.inf
    at = np.concatenate((some, others))
    # Undone values are equal to others but for the last bits.
    distance = 0.0
    for off in (slack, -slack):
        shares = [np.searchsorted(each, at + off, side="right") / len(each) for each in (some, others)]
        distance = max(distance, float(np.abs(shares[0] - shares[1]).max()))
    return 2.0 * len(some) * len(others) / len(at) * distance**2
