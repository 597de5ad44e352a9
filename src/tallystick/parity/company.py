"""What another column says of one: the picture of an hour shift or of levels exchanged, which no distribution shows.

In training each value of a column goes with typical values of its partners. Where live rows keep to that, the value is
in its right place; where they follow the same line some places off, it is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from tallystick.parity.columns import Floats, Role
from tallystick.parity.live import Live
from tallystick.parity.parameters import number
from tallystick.parity.profile import ColumnProfile

#: Deviations of the partner's score that its means over the column's values must have, to be worth a picture.
LEAST_SPREAD = 0.2
#: Live rows that a mean needs, and values that fit on an axis.
FEWEST_ROWS = 3
MOST_VALUES = 24


@dataclass(frozen=True)
class Company:
    """The typical rank of `partner` (0 to 1, by training's ranks) for each value of a column; NaN where unknown."""

    partner: str
    labels: tuple[str, ...]
    trained: Floats
    live: tuple[Floats, ...]


def company(column: int, states: tuple[Live, ...]) -> Company | None:
    """Return the company of a column's values in training and in each state; None where no partner is telling."""
    reference = states[0].reference
    profile, joint = reference.columns[column], reference.joint
    labels = _labels(profile)
    found = _partner(column, states[0]) if labels else None
    if found is None:
        return None
    score, partner = found
    count = len(labels)
    live = []
    for state in states:
        cells, scores = state.cells(column), state.scores()[:, score]
        sizes = np.bincount(cells, minlength=count)[:count]
        sums = np.bincount(cells, weights=scores, minlength=count)[:count]
        means = np.where(sizes >= FEWEST_ROWS, sums / np.maximum(sizes, 1), np.nan)
        live.append(np.asarray(ndtr(means)))
    return Company(partner, labels, np.asarray(ndtr(joint.means[column][:count, score])), tuple(live))


def _labels(profile: ColumnProfile) -> tuple[str, ...]:
    """Return the names of a column's first cells, where they are single values; none where they may not be shown."""
    if profile.privacy != "raw":
        return ()
    if profile.role is Role.TIME:
        return tuple(str(hour) for hour in range(24))
    if profile.levels is not None:
        if profile.levels.hidden:
            return ()
        return profile.levels.levels[: min(MOST_VALUES, profile.cell_count - 2)]
    if len(profile.edges) or not 0 < len(profile.points) <= MOST_VALUES:
        return ()
    return tuple(number(float(point)) for point in profile.points)


def _partner(column: int, live: Live) -> tuple[int, str] | None:
    """Return the score, and the column that owns it, whose mean differs most between the column's values."""
    reference = live.reference
    joint = reference.joint
    shares = joint.shares[column][:, None]
    means = joint.means[column]
    spread = np.sqrt(np.sum(shares * (means - np.sum(shares * means, axis=0)) ** 2, axis=0))
    best: tuple[float, int, str] | None = None
    seen: set[int] = set()
    for score, owner in enumerate(joint.owners.tolist()):
        is_first = owner not in seen
        seen.add(owner)
        profile = reference.columns[owner]
        # The first score of a number is its rank; the second is folded, and levels have no order to show.
        usable = is_first and owner != column and owner not in live.absent and profile.role is Role.NUMBER
        if usable and spread[score] > (best[0] if best else LEAST_SPREAD):
            best = float(spread[score]), score, profile.name
    return None if best is None else (best[1], best[2])
