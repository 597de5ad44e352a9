"""Values that belong to other rows: stuck in a cache, joined by a wrong key, or lagging behind.

Source: cross-correlation over lags, with the other columns' verdict in place of a correlation. Each value is one that
training knows, in its usual share; only it no longer goes with the rest of its row. False positives: a concept may
change so that columns no longer go together. That is rare for one column against all others, and the finding is never
more than suspected unless a lag restores the agreement.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tallystick.parity.columns import Role
from tallystick.parity.detect.finding import Finding
from tallystick.parity.joint import paired_z
from tallystick.parity.live import Live
from tallystick.parity.screen import ColumnScreen
from tallystick.parity.yardsticks import BROKEN_P, CLAIM_NATS, z_nats

LAGS = (*range(1, 25), 48, 96, 168)
#: Agreement with the others that a column must have had in training, in nats a row, for its loss to mean something.
LEAST_COHERENCE = 0.08
#: Loss of agreement, as a z-statistic, and the part of it that must be gone.
LOST_Z = -5.0
LOST_PART = 0.6
#: Columns, the worst first, that are each taken away to see the others heal: each of them asks all others again.
MOST_CANDIDATES = 8


def detect_stale(live: Live, screened: Sequence[ColumnScreen]) -> list[Finding]:
    """Return the column that lost its agreement with the others most, while its own distribution is training's."""
    lost = [part for part in screened if part.coherence_z < LOST_Z and part.p > 0.001 and part.odd_p > 0.001]
    lost = [part for part in lost if live.reference.columns[part.column].role in (Role.NUMBER, Role.LEVEL)]
    if not lost:
        return []
    # A broken column spoils its partners' agreement too; the one whose removal heals the others is the cause.
    worst = min(lost, key=lambda part: part.coherence_z)
    candidates = [part for part in lost if part.coherence_z < 0.4 * worst.coherence_z]
    candidates = sorted(candidates, key=lambda part: part.coherence_z)[:MOST_CANDIDATES]
    best = min(
        candidates, key=lambda part: _left_when_removed(live, part.column, [other.column for other in candidates])
    )
    if _is_of_broken_ones(live, best.column, screened):
        return []
    return [finding for finding in [_judge(live, best)] if finding is not None]


def _is_of_broken_ones(live: Live, column: int, screened: Sequence[ColumnScreen]) -> bool:
    """Whether a column goes with the others as in training but for those that are not distributed as there."""
    from tallystick.parity.screen import coherence_z

    broken = frozenset(part.column for part in screened if min(part.p, part.odd_p) < BROKEN_P)
    if any(live.reference.columns[j].privacy != "raw" for j in broken):
        # Golden rows lack them, so that nobody knows how well the others went with each other.
        return True
    return bool(broken) and coherence_z(live.with_broken(broken), column) > LOST_Z


def _left_when_removed(live: Live, column: int, others: list[int]) -> float:
    from tallystick.parity.screen import coherence_z

    rest = live.with_broken(frozenset({column}))
    return float(
        sum(min(0.0, coherence_z(rest, j)) ** 2 for j in others if j != column)
        + 1e-3 * live.reference.joint.coherence[column][0]
    )


def _judge(live: Live, part: ColumnScreen) -> Finding | None:
    j = part.column
    mean, _ = live.reference.joint.coherence[j]
    table, cells = live.table(j), live.cells(j)
    rows = np.arange(live.rows)
    here = table[rows, np.minimum(cells, table.shape[1] - 1)]
    if mean < LEAST_COHERENCE:
        return None
    name = live.reference.names[j]
    lag, z = _best_lag(here, table, cells)
    everything = np.ones(live.rows, dtype=bool)
    if lag and z_nats(z) > 2 * CLAIM_NATS:
        values = live.values[j]
        undone = values[np.minimum(np.arange(len(values)) + lag, len(values) - 1)]
        evidence = (f"each row's value fits the row {lag} before it (z = {z:.1f}, best of {len(LAGS)} lags)",)
        return Finding(
            "stale",
            (name,),
            {"lag_rows": lag},
            1.0,
            z_nats(z),
            False,
            evidence,
            everything,
            {j: undone},
            gain=z_nats(z),
        )
    share = float(np.clip(1 - here.mean() / mean, 0.0, 1.0))
    if share < LOST_PART:
        return None
    evidence = (
        f"values are distributed as in training (p = {part.p:.2f}) but no longer go with the other columns "
        f"(z = {part.coherence_z:.1f}): they belong to other rows",
    )
    nats = min(z_nats(-part.coherence_z), 40.0)
    return Finding(
        "stale", (name,), {}, 1.0 if share > 0.8 else share, nats, False, evidence, everything, {}, gain=nats / 2
    )


def _best_lag(here: np.ndarray, table: np.ndarray, cells: np.ndarray) -> tuple[int, float]:
    best, best_z = 0, 0.0
    for lag in LAGS:
        count = len(cells) - lag
        if count < 40:
            break
        shifted = table[np.arange(count), cells[lag:]]
        z = paired_z(shifted - here[:count])
        if z > best_z:
            best, best_z = lag, z
    return best, best_z
