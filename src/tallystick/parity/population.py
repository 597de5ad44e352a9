"""When no fault is found: which change of the population it is, and whether that can be told at all."""

from __future__ import annotations

from typing import Any

import numpy as np

from tallystick.parity.columns import Floats
from tallystick.parity.distribution import cdf
from tallystick.parity.live import Live
from tallystick.parity.matched import matched
from tallystick.parity.profile import NumberProfile
from tallystick.parity.screen import ColumnScreen

#: A cell with this share of live rows and at most SLICE_BEFORE of training's makes live rows a slice.
SLICE_NOW, SLICE_BEFORE = 0.97, 0.8
#: Ranks of training between which nearly all live rows lie make live rows a slice too.
SLICE_WIDTH = 0.6
#: A lone column that changed by so much, and says nothing of the others, may be either.
LONE_DISTANCE = 0.25
LEAST_COHERENCE = 0.03


def slice_of(live: Live, screened: tuple[ColumnScreen, ...]) -> dict[str, Any]:
    """Return the column and value, or range, that live rows are a slice of; empty when they are none.

    With `outside`, `above` or `below`, where nearly all of the range is none of training's.
    """
    for part in sorted(screened, key=lambda part: -part.distance):
        j = part.column
        profile = live.reference.columns[j]
        known = live.known(j)
        if not part.is_flagged or known.sum() < 20:
            continue
        counts = np.bincount(live.cells(j), minlength=profile.cell_count + 1)[: profile.cell_count] / live.rows
        top = int(np.argmax(counts)) if len(counts) else 0
        if len(counts) and counts[top] >= SLICE_NOW and profile.cell_shares[top] <= SLICE_BEFORE:
            if profile.levels is not None:
                return {
                    "column": profile.name,
                    "value": profile.levels.levels[top] if top < len(profile.levels.levels) else "",
                }
            return {"column": profile.name, "value": float(np.median(live.numbers(j)[known]))}
        if profile.numbers is not None and profile.numbers.distinct > 5:
            low, high = np.quantile(live.numbers(j)[known], (0.01, 0.99))
            ranks = cdf(profile.numbers, np.array([low, high]))
            if ranks[1] - ranks[0] < SLICE_WIDTH:
                return {"column": profile.name, "from": float(low), "to": float(high)} | _outside(
                    profile.numbers, low, high
                )
    return {}


def _outside(numbers: NumberProfile, low: float, high: float) -> dict[str, str]:
    if low > numbers.maximum:
        return {"outside": "above"}
    return {"outside": "below"} if high < numbers.minimum else {}


def is_undecidable(live: Live, screened: tuple[ColumnScreen, ...]) -> bool:
    """Whether a fault without a name and a change of the population would look the same here.

    So it is when one column alone changed much and the others never knew it, or when columns stopped agreeing though
    each is distributed as it was.
    """
    flagged = [part for part in screened if part.is_flagged]
    lost = [part for part in flagged if part.coherence_z < -4 and min(part.p, part.null_p, part.odd_p) > 1e-3]
    if lost and len(lost) == len(flagged):
        return True
    if len(flagged) != 1 or flagged[0].distance < LONE_DISTANCE:
        return False
    return float(live.reference.joint.coherence[flagged[0].column][0]) < LEAST_COHERENCE


def reweighted_distance(live: Live, column: int) -> float | None:
    """Return the KS distance of a column that is left after weighing training rows to the other columns' live means.

    None where the reference keeps too few rows.
    """
    numbers, mix = live.reference.columns[column].numbers, matched(live, column)
    if mix is None or numbers is None:
        return None
    own = mix.golden.numbers(column)
    order = np.argsort(own)
    return _weighted_ks(own[order], mix.weights[order], live.numbers(column))


def _weighted_ks(points: Floats, weights: Floats, live: Floats) -> float:
    known = np.sort(live[np.isfinite(live)])
    finite = np.isfinite(points)
    points, weights = points[finite], weights[finite] / max(weights[finite].sum(), 1e-12)
    at = np.union1d(points, known)
    trained = np.concatenate(([0.0], np.cumsum(weights)))[np.searchsorted(points, at, side="right")]
    counted = np.searchsorted(known, at, side="right") / max(1, len(known))
    return float(np.abs(trained - counted).max(initial=0.0))
