"""Training rows weighed so that they are like live rows in all columns but one: what a mix of them would show.

A part of the population that is picked by one column is another in columns that go with it, in ways that a joint of
pairs does not hold: long flights have other carriers, rain has readings with fewer digits. What weighed training rows
show as well is no fault.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tallystick.parity.columns import Floats
from tallystick.parity.live import Live
from tallystick.parity.profile import Ints

#: Steps, damping and ridge of Newton's method, and the bound of each slope.
STEPS, DAMPING, RIDGE, SLOPE_PRIOR, MOST_SLOPE = 20, 0.7, 0.05, 0.02, 4.0

#: Rows of equal weight that are left to compare with, columns that are moved, and deviations that are near enough.
FEWEST, MOST_COLUMNS, NEAR = 15.0, 8, 0.1


@dataclass(frozen=True)
class Matched:
    """Golden rows, and a weight for each; the weights sum to 1."""

    golden: Live
    weights: Floats

    @property
    def size(self) -> float:
        """How many rows of equal weight say as much (Kish 1965)."""
        return float(1.0 / np.sum(self.weights**2))


def matched(live: Live, column: int) -> Matched | None:
    """Return training rows weighed to the live means of all other columns' scores; None where few are kept.

    Columns that are absent, broken or suspects take no part.
    """
    golden = live.golden()
    if golden is None:
        return None
    owners, trained = live.reference.joint.owners, golden.scores()
    kept = np.flatnonzero(~np.isin(owners, [column, *live.absent, *live.broken, *live.suspects]))
    if not len(kept):
        return None
    return Matched(golden, _towards(trained[:, kept], live.scores()[:, kept].mean(axis=0), owners[kept]))


def _towards(rows: Floats, target: Floats, owners: Ints) -> Floats:
    """Return weights of rows that move them to the target means, the column that is farthest off first.

    As many columns as leave FEWEST rows: a part that one column picked is found by that column, and what goes with it
    comes along. All at once would leave one row or two.
    """
    spread = np.maximum(rows.std(axis=0), 1e-6)
    weights, chosen = np.full(len(rows), 1 / len(rows)), np.zeros(len(owners), dtype=bool)
    for _ in range(MOST_COLUMNS):
        off = np.where(chosen, 0.0, np.abs(target - weights @ rows) / spread)
        if not len(off) or off.max() < NEAR:
            break
        chosen |= owners == owners[int(np.argmax(off))]
        nearer = _tilt(rows[:, chosen], target[chosen])
        if np.sum(nearer**2) > 1 / FEWEST:
            break
        weights = nearer
    return weights


def _tilt(rows: Floats, target: Floats) -> Floats:
    """Return weights of rows by exponential tilting to first moments (Kullback 1959)."""
    slope = np.zeros(rows.shape[1])
    weights = np.full(len(rows), 1 / len(rows))
    for _ in range(STEPS):
        mean = weights @ rows
        centred = rows - mean
        hessian = (centred * weights[:, None]).T @ centred + RIDGE * np.eye(rows.shape[1])
        step = np.linalg.solve(hessian, target - mean - SLOPE_PRIOR * slope)
        slope = np.clip(slope + DAMPING * step, -MOST_SLOPE, MOST_SLOPE)
        weights = _weights(rows @ slope)
    return weights


def _weights(exponent: Floats) -> Floats:
    weights = np.exp(exponent - exponent.max())
    return np.asarray(weights / weights.sum())
