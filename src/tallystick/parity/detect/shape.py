"""What a column's shape says for a map: undone, values are distributed as training's, part by part.

Source: the Bayes factor of training's shares of equal parts against any shares, by Schwarz's approximation (1978).
False positives: a part of the population looks like the whole only where a column is alike on all scales, and few are.
So this is asked of all rows, far from training, and of maps that leave a narrow part of its range or that have
training's own constants; and what it gives by itself is a suspicion.
"""

from __future__ import annotations

import numpy as np

from tallystick.parity.columns import Floats
from tallystick.parity.detect.maps import NumberMap
from tallystick.parity.profile import NumberProfile

#: Parts of training with as many rows each, rows that are needed, and the distance to training that is far.
PARTS, FEWEST_ROWS, FAR = 14, 60, 0.3
#: Factors beyond which a unit leaves a narrow part, or goes far out.
NARROW = 20.0
#: Maps that are tried: one of so many fits as well by chance.
TRIED = 60.0
_OWN_CONSTANTS = frozenset({"standardized", "standardized_twice", "minmax_scaled"})


def shape_nats(numbers: NumberProfile, each: NumberMap, undone: Floats, before: float) -> float:
    """Return how much the shape of undone values speaks for a map of all rows, in nats; 0 where it says nothing.

    `before` is the distance of the values as they were sent.
    """
    known = undone[np.isfinite(undone)]
    if numbers.is_lattice or len(numbers.atoms) or before < FAR or len(known) < FEWEST_ROWS or not _is_telling(each):
        return 0.0
    bounds = numbers.grid[np.linspace(0, len(numbers.grid) - 1, PARTS + 1).round().astype(int)]
    shares = np.diff(np.linspace(0, len(numbers.grid) - 1, PARTS + 1).round()) / (len(numbers.grid) - 1)
    counts = np.bincount(np.searchsorted(bounds[1:-1], known, side="left"), minlength=PARTS)
    expected = shares * len(known)
    surprise = (
        2 * np.sum(counts * np.log(np.maximum(counts, 1) / expected)) * numbers.rows / (numbers.rows + len(known))
    )
    freedom = (PARTS - 1) / 2 * np.log(len(known) / (2 * np.pi))
    return float(max(0.0, freedom - surprise / 2 - np.log(TRIED)))


def _is_telling(each: NumberMap) -> bool:
    if each.kind in _OWN_CONSTANTS:
        return True
    factor = abs(float(each.parameters.get("factor", 1.0)))
    is_far = factor > 0 and abs(np.log(factor)) > np.log(NARROW)
    return each.kind == "unit" and each.parameters.get("name") != "unnamed" and bool(is_far)
