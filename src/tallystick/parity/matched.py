"""Training rows weighed so that they are like live rows in all columns but one: what a mix of them would show.

A part of the population that is picked by one column is another in columns that go with it, in ways that a joint of
pairs does not hold: long flights have other carriers, rain has readings with fewer digits. What weighed training rows
show as well is no fault.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tallystick.parity.columns import Floats, Mask, Role
from tallystick.parity.live import Live
from tallystick.parity.profile import Ints
from tallystick.parity.yardsticks import trusted_nats, z_nats

#: Steps, damping and ridge of Newton's method, and the bound of each slope.
STEPS, DAMPING, RIDGE, SLOPE_PRIOR, MOST_SLOPE = 20, 0.7, 0.05, 0.02, 4.0

#: Rows of equal weight that are left to compare with, columns that are moved, and deviations that are near enough.
FEWEST, MOST_COLUMNS, NEAR = 15.0, 8, 0.1
#: Part of training's golden rows that like live rows must be for their sum to be trusted.
FEW_ALIKE = 0.5
#: Part of live rows that are of other levels than training's, from which the levels of that column are weighed first.
OTHER_LEVELS = 0.25
YEAR_S = 365.2425 * 86400.0


@dataclass(frozen=True)
class Matched:
    """Golden rows, and a weight for each; the weights sum to 1."""

    golden: Live
    weights: Floats

    @property
    def size(self) -> float:
        """How many rows of equal weight say as much (Kish 1965)."""
        return float(1.0 / np.sum(self.weights**2))

    def mean(self, told: Floats, rows: Mask) -> tuple[float, float]:
        """Return the weighed mean over some golden rows, and its standard error; zeros where none has weight."""
        weights = np.where(rows, self.weights, 0.0)
        if not weights.sum() > 0:
            return 0.0, 0.0
        weights = weights / weights.sum()
        mean = float(weights @ np.where(rows, told, 0.0))
        return mean, float(np.sqrt(weights**2 @ np.where(rows, (told - mean) ** 2, 0.0)))


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
    target = live.scores()[:, kept].mean(axis=0)
    return Matched(golden, _towards(trained[:, kept], target, owners[kept], _by_level(live, golden, column)))


def matched_in_time(live: Live, column: int) -> Matched | None:
    """Return training rows weighed to live rows by all columns and by the time of the year; None where few are kept.

    The column takes part itself: weights leave how it goes with others as it was in training.
    """
    golden = live.golden()
    if golden is None:
        return None
    left_out = (live.absent | live.broken | live.suspects) - {column}
    kept = np.flatnonzero(~np.isin(live.reference.joint.owners, list(left_out)))
    seasons = [j for j, each in enumerate(live.reference.columns) if each.role is Role.TIME and j not in left_out]
    owners = np.append(live.reference.joint.owners[kept], np.repeat(seasons, 2) + len(live.values))
    trained, sent = (
        np.hstack((rows.scores()[:, kept], *(_season(rows.numbers(j)) for j in seasons))) for rows in (golden, live)
    )
    first = _by_level(live, golden, column)
    return Matched(golden, _towards(trained, sent.mean(axis=0), owners, first)) if len(owners) else None


def _season(seconds: Floats) -> Floats:
    """Return the time of the year on a circle of the normal deviates' size: rows x 2, 0 for no time."""
    angle = np.where(np.isfinite(seconds), seconds, 0.0) * (2 * np.pi / YEAR_S)
    circle = np.sqrt(2.0) * np.column_stack((np.cos(angle), np.sin(angle)))
    return np.asarray(np.where(np.isfinite(seconds)[:, None], circle, 0.0))


def over_mix(mix: Matched, rows: Mask, usual: Floats, apart: Floats) -> float:
    """Return what live rows say (`apart`, in nats each) beyond what weighed golden rows say of the same (`usual`)."""
    mean, error = mix.mean(usual, rows)
    spread = float(apart.std(ddof=1)) if len(apart) > 1 else 0.0
    share = np.where(rows, mix.weights, 0.0)
    least = spread**2 * float(np.sum(share**2)) / max(float(share.sum()) ** 2, 1e-12)
    z = (float(apart.mean()) - mean) / max(float(np.sqrt(spread**2 / max(1, len(apart)) + max(error**2, least))), 1e-3)
    if mix.size < FEW_ALIKE * mix.golden.rows:
        # Live rows are of a small part: what is usual there is known from few, whose sum is not to be trusted.
        return z_nats(z)
    return trusted_nats(z, float(apart.sum()) - mean * len(apart))


def _by_level(live: Live, golden: Live, column: int) -> Floats:
    """Return weights that give golden rows the live levels of the column that differs most, where one differs much.

    Scores of levels tell them apart by what goes with them only, as pairs of columns show it. As many levels as there
    are golden rows of: the rest of the live rows is as training's.
    """
    even = np.full(golden.rows, 1 / golden.rows)
    left_out = {column, *live.absent, *live.broken, *live.suspects}
    best, most = even, OTHER_LEVELS
    for j, profile in enumerate(live.reference.columns):
        if profile.role is not Role.LEVEL or j in left_out:
            continue
        count = profile.cell_count + 1
        own, sent = (np.bincount(rows.cells(j), minlength=count) / max(1, rows.rows) for rows in (golden, live))
        apart = 0.5 * float(np.abs(own - sent).sum())
        weights = (sent / np.maximum(own, 1e-12))[golden.cells(j)]
        if apart > most and weights.sum() > 0 and np.sum(weights) ** 2 >= FEWEST * np.sum(weights**2):
            best, most = weights / weights.sum(), apart
    return best


def _towards(rows: Floats, target: Floats, owners: Ints, first: Floats | None = None) -> Floats:
    """Return weights of rows that move them from their `first` ones to the target means, what is farthest off first.

    As many columns as leave FEWEST rows: a part that one column picked is found by that column, and what goes with it
    comes along. All at once would leave one row or two.
    """
    spread = np.maximum(rows.std(axis=0), 1e-6)
    first = np.full(len(rows), 1 / len(rows)) if first is None else first
    weights, chosen = first, np.zeros(len(owners), dtype=bool)
    for _ in range(MOST_COLUMNS):
        off = np.where(chosen, 0.0, np.abs(target - weights @ rows) / spread)
        if not len(off) or off.max() < NEAR:
            break
        chosen |= owners == owners[int(np.argmax(off))]
        nearer = _tilt(rows[:, chosen], target[chosen], first)
        if np.sum(nearer**2) > 1 / FEWEST:
            break
        weights = nearer
    return weights


def _tilt(rows: Floats, target: Floats, first: Floats) -> Floats:
    """Return weights of rows by exponential tilting to first moments (Kullback 1959)."""
    slope = np.zeros(rows.shape[1])
    weights = first
    for _ in range(STEPS):
        mean = weights @ rows
        centred = rows - mean
        hessian = (centred * weights[:, None]).T @ centred + RIDGE * np.eye(rows.shape[1])
        step = np.linalg.solve(hessian, target - mean - SLOPE_PRIOR * slope)
        slope = np.clip(slope + DAMPING * step, -MOST_SLOPE, MOST_SLOPE)
        weights = _weights(rows @ slope, first)
    return weights


def _weights(exponent: Floats, first: Floats) -> Floats:
    weights = first * np.exp(exponent - exponent[first > 0].max())
    return np.asarray(weights / weights.sum())
