"""Sums where means were due, and the reverse.

Source: a sum is a mean times a count, so that a column that is another column times what it should be gives itself away
in its ratio to that column.
False positives: the factor that the count usually is, which is another unit; and totals that merely go with a count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tallystick.parity.columns import Floats, Mask, Role
from tallystick.parity.density import RATIO_BOUND, fit_share, log_density
from tallystick.parity.detect.finding import Finding, agreement
from tallystick.parity.detect.window import NAMED_COST
from tallystick.parity.joint import paired_z
from tallystick.parity.live import Live
from tallystick.parity.profile import MOST_DECIMALS, ColumnProfile, NumberProfile, cdf, cells_of
from tallystick.parity.yardsticks import (
    CLAIM_NATS,
    binomial_nats,
    ks_bound,
    ks_distance,
    odd_rate,
    odd_rows,
    trusted_nats,
)

#: Nats that one row may say at most by its own value.
MOST_A_ROW = 3.0
#: Part of the bound of a fair sample that a column must be off, as means over one event are their sums; and from which
#: it needs no more evidence.
MOVED, CLEARLY_MOVED = 0.75, 1.5
#: Ranks in training that the median may have with it undone.
MIDDLE = (0.3, 0.7)
KINDS = ("sum for mean", "mean for sum")


def detect_aggregate(live: Live, column: int) -> list[Finding]:
    """Return that a column holds what it should times (or by) another column: a sum for a mean, or the reverse."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    values = live.numbers(column)
    known = np.isfinite(values)
    if numbers is None or profile.role is not Role.NUMBER or known.sum() < 30 or numbers.distinct < 10:
        return []
    bound, before = ks_bound(numbers, int(known.sum())), ks_distance(numbers, values)
    if before < MOVED * bound:
        return []
    best: Finding | None = None
    others = [j for j, rival in enumerate(live.reference.columns) if j != column and _may_count(live, j, rival)]
    if not others:
        return []
    counts = np.stack([live.numbers(other) for other in others])
    undone = [_undone(numbers, kind, values, counts) for kind in KINDS]
    likely = np.column_stack([_is_in_the_middle(numbers, each) for each in undone])
    for k, which in np.argwhere(likely):
        # What the usual count alone would undo: a constant factor, which is the simpler story.
        usual = np.full(len(values), np.nanmedian(counts[k]) if np.isfinite(counts[k]).any() else 1.0)
        plain = _undone(numbers, KINDS[which], values, usual)
        found = _judge_ratio(live, column, others[k], KINDS[which], undone[which][k], plain, before, bound)
        if found is not None and (best is None or found.gain > best.gain):
            best = found
    return [] if best is None else [best]


def _may_count(live: Live, other: int, rival: ColumnProfile) -> bool:
    """Whether a column may be what a sum and a mean differ by: a count."""
    if rival.role is not Role.NUMBER or other in live.absent or rival.numbers is None:
        return False
    return rival.numbers.minimum >= 0 and rival.numbers.distinct >= 3 and rival.numbers.decimals <= 0


def _undone(numbers: NumberProfile, kind: str, values: Floats, counts: Floats) -> Floats:
    """Return values with a sum divided by counts, or a mean multiplied by them; NaN where there is none.

    Counts may be one column's, or columns x rows.
    """
    with np.errstate(all="ignore"):
        undone = np.where(counts > 0, values / counts if kind == "sum for mean" else values * counts, values)
        # A mean that training kept with two digits has them however it is divided. Of whole numbers, fractions tell.
        is_rounded = 1 <= numbers.decimals <= 6 and kind == "sum for mean"
        return _with_decimals(undone, numbers.decimals, is_rounded)


def _is_in_the_middle(numbers: NumberProfile, undone: Floats) -> Mask:
    """Return, per row of `undone`, whether its median is about training's: what most of them can be left out by."""
    known = np.isfinite(undone).sum(axis=1)
    ordered, rows = np.sort(undone, axis=1), np.arange(len(undone))
    low, high = ordered[rows, np.maximum(known - 1, 0) // 2], ordered[rows, np.minimum(known // 2, undone.shape[1] - 1)]
    rank = cdf(numbers, np.where(known > 0, (low + high) / 2, numbers.minimum))
    return np.asarray((known > 0) & (rank > MIDDLE[0]) & (rank < MIDDLE[1]))


def _judge_ratio(
    live: Live, column: int, other: int, kind: str, undone: Floats, plain: Floats, before: float, bound: float
) -> Finding | None:
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    after = ks_distance(numbers, undone)
    values = live.numbers(column)
    known = np.isfinite(values) & np.isfinite(undone)
    if after > bound or known.sum() < 30:
        return None
    # With the other column, too: a sum goes with the count, and a mean as it did in training.
    table, rows = live.table(column), np.arange(live.rows)
    gap = np.where(known, agreement(live, column, undone), 0.0)
    count = int(known.sum())
    odd = binomial_nats(int(odd_rows(profile, values)[known].sum()), count, odd_rate(profile))
    odd -= binomial_nats(int(odd_rows(profile, undone)[known].sum()), count, odd_rate(profile))
    heard = trusted_nats(paired_z(gap[known]), float(gap.sum()))
    cost = float(np.log(2 * len(live.reference.columns))) + NAMED_COST
    nats = odd + heard - cost
    if nats < (CLAIM_NATS if before >= CLEARLY_MOVED * bound else 2 * CLAIM_NATS):
        return None
    over = np.where(known, table[rows, cells_of(profile, undone)] - table[rows, cells_of(profile, plain)], 0.0)
    gain = _gain(numbers, values, undone, gap, known)
    is_no_factor = trusted_nats(paired_z(over[known]), float(over.sum())) > CLAIM_NATS
    is_no_factor |= gain > CLAIM_NATS + _gain(numbers, values, plain, gap - over, known & np.isfinite(plain))
    # Nor is it the factor that live values are larger by as a whole.
    size = float(np.median(values[known])) / numbers.median if numbers.median else 0.0
    rivals = [plain, np.round(values / size, min(numbers.decimals, MOST_DECIMALS))] if size > 0 else [plain]
    is_no_factor |= min(_likelier(numbers, undone[known], rival[known]) for rival in rivals) > 2 * CLAIM_NATS
    by = live.reference.names[other]
    evidence = [
        f"KS to training {before:.2f}; {'divided' if kind == 'sum for mean' else 'multiplied'} by {by} {after:.2f} "
        f"(a fair sample stays under {bound:.2f})",
    ]
    if heard > 1:
        evidence.append(f"the other columns agree ({heard:.0f} nats)")

    def put(columns: Mapping[str, Any]) -> dict[str, Any]:
        given, count_of = (np.asarray(columns[name], dtype=np.float64) for name in (profile.name, by))
        with np.errstate(all="ignore"):
            return {profile.name: given * count_of if kind == "sum for mean" else given / np.maximum(count_of, 1)}

    return Finding(
        "aggregate_changed",
        (profile.name,),
        {"sent": kind, "by": by},
        1.0,
        nats,
        False,
        tuple(evidence),
        known,
        {column: undone},
        put,
        gain=gain - cost if is_no_factor else nats + 12.0,
    )


def _with_decimals(undone: Floats, decimals: int, is_rounded: bool) -> Floats:
    """Return values with training's decimals, where they have them but for an error of floats, or are to be rounded."""
    # Products of huge values are infinite, which is none.
    undone = np.where(np.isfinite(undone), undone, np.nan)
    rounded = np.round(undone, decimals) if decimals <= 6 else undone
    near = np.abs(rounded - undone) < 1e-6 * np.maximum(1.0, np.abs(undone))
    return np.asarray(np.where(near | is_rounded, rounded, undone))


def _gain(numbers: NumberProfile, values: Floats, undone: Floats, heard: Floats, known: Mask) -> float:
    """Return how much better rows are told with it undone, in nats, as `numeric` counts it for maps."""
    after, before = (log_density(numbers, numbers.decimals, each[known]) for each in (undone, values))
    with np.errstate(all="ignore"):
        slope = np.log(np.abs(undone[known] / values[known]))
    # Densities are stretched by what is divided by; where training has single values there is none to stretch.
    stretched = np.where(np.isfinite(slope), slope, 0.0) if not numbers.is_lattice else np.zeros(len(slope))
    ratio = np.clip(after + stretched - before + heard[known], -RATIO_BOUND, RATIO_BOUND)
    return float(fit_share(ratio[None, :])[1][0])


def _likelier(numbers: NumberProfile, values: Floats, others: Floats) -> float:
    """Return how much likelier values are than others by themselves, in nats; each row says a little at most."""
    after, before = (log_density(numbers, numbers.decimals, each) for each in (values, others))
    return float(np.clip(after - before, -MOST_A_ROW, MOST_A_ROW).sum())
