"""Values that belong to other rows: stuck in a cache, joined by a wrong key, or lagging behind.

Source: cross-correlation over lags, with the other columns' verdict in place of a correlation. Each value is one that
training knows, in its usual share; only it no longer goes with the rest of its row. False positives: a concept may
change so that columns no longer go together. That is rare for one column against all others, and the finding is never
more than suspected unless a lag restores the agreement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import gammaln

from tallystick.parity.columns import Role
from tallystick.parity.detect.finding import Finding
from tallystick.parity.joint import paired_z
from tallystick.parity.live import Live
from tallystick.parity.profile import Ints, cells_of
from tallystick.parity.screen import ColumnScreen
from tallystick.parity.yardsticks import BROKEN_P, CLAIM_NATS, z_nats

LAGS = (*range(1, 25), 48, 96, 168)
#: Agreement with the others that a column must have had in training, in nats a row, for its loss to mean something.
LEAST_COHERENCE = 0.08
#: Loss of agreement, as a z-statistic, and the part of it that must be gone.
LOST_Z = -5.0
LOST_PART = 0.6
#: Nats by which a cause must tell a column better than values of other rows do: fitted to these, two levels look half
#: exchanged, and that gains one or two.
OVER_OTHER_ROWS, WELL_BELOW_HALF = 3.0, 0.4
#: Kinds that values of other rows do not look like: nulls are seen, an exchange is told by two columns.
SEEN = frozenset({"nulls", "columns_swapped"})
#: Chance of a column's own distribution below which it is not training's.
CHANGED_P = 1e-3
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


def or_stale(
    live: Live,
    screened: Sequence[ColumnScreen],
    found: list[Finding],
    by_role: Callable[[Live, int, Role], list[Finding]],
) -> list[Finding]:
    """Return the stale column instead of what was found, where that is what values of other rows look like.

    Values of other rows make each partner of the column look changed in some rows, and a part of the rows fits any map.
    """
    stale = detect_stale(live, screened)
    if not stale or not found:
        return found or stale
    names = live.reference.names
    column = names.index(stale[0].features[0])
    rest = live.with_broken(frozenset({column}))
    for finding in found:
        other = names.index(finding.features[0])
        if finding.kind in SEEN:
            is_told = True
        elif other == column:
            least = OVER_OTHER_ROWS if finding.share > WELL_BELOW_HALF else 0.0
            is_told = finding.kind == "time_zone" or _over_other_rows(live, column, finding) > least
        else:
            again = by_role(rest, other, live.reference.columns[other].role)
            is_told = any(each.kind == finding.kind for each in again)
            # What changed the column's own distribution is more than what its partner makes of it.
            is_told |= min(screened[other].p, screened[other].odd_p) < CHANGED_P
        if is_told:
            return found
    return stale


def _over_other_rows(live: Live, column: int, finding: Finding) -> float:
    """Return how much better a cause in a share of the rows tells a column than values of other rows would, in nats.

    Of these the other columns know nothing: they agree as with any value of training's.
    """
    table, rows, cells = live.table(column), np.arange(live.rows), live.cells(column)
    here = table[rows, cells]
    share = float(np.clip(finding.share, 1e-3, 1 - 1e-3))
    back = _undone(live, column, finding)
    if back is None:
        # Values that were replaced leave nothing to be told of their rows.
        return float(here[~finding.rows].sum())
    there, cost = table[rows, back], 0.0
    if finding.kind == "category_relabelled":
        # The best exchange of many; one of two levels is the only one.
        cost = float(gammaln(len(finding.transformation["map"]) + 1) - np.log(2))
        shares = np.log(
            np.append(live.reference.columns[column].cell_shares, 0.0) + 0.5 / live.reference.columns[column].rows
        )
        there = there + shares[back] - shares[cells]
    return float(np.logaddexp(np.log1p(-share) + here, np.log(share) + there).sum()) - cost


def _undone(live: Live, column: int, finding: Finding) -> Ints | None:
    """Return the cells that all rows have when a cause is undone in each; None where it left nothing to undo."""
    profile, given = live.reference.columns[column], finding.transformation
    if finding.kind == "category_relabelled":
        meant = {sent: true for true, sent in given["map"].items()}
        values = [meant.get(_text(value), value) for value in live.values[column]]
        return cells_of(profile, np.array(values, dtype=np.asarray(live.values[column]).dtype))
    if profile.numbers is not None and "factor" in given:
        undone = (live.numbers(column) - float(given.get("offset", 0.0))) / float(given["factor"])
        return cells_of(profile, undone)
    return None


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


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
