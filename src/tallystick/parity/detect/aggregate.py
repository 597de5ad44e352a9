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
from tallystick.parity.density import RATIO_BOUND, fit_share, log_density, mixed, posterior
from tallystick.parity.detect.finding import Finding, agreement
from tallystick.parity.detect.rounding import live_step
from tallystick.parity.detect.window import NAMED_COST
from tallystick.parity.distribution import cdf, ranks_of
from tallystick.parity.joint import paired_z
from tallystick.parity.live import Live
from tallystick.parity.profile import MOST_DECIMALS, ColumnProfile, NumberProfile, cells_of
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
#: Rows that a column needs for it, and the share from which it is in all of them.
FEWEST_ROWS, WHOLE = 30, 0.85
KINDS = ("sum for mean", "mean for sum")
#: Counts and ways of them that are all judged; where there are more, how many are, and the rows and rounds that they
#: are chosen by.
ALL_JUDGED, MOST_JUDGED, TRIAL_ROWS, TRIAL_ROUNDS = 12, 6, 200, 15

#: Part of the best one's gain that another pair must have in the trial, and how many are compared at once.
FAR_BEHIND, AT_ONCE = 0.5, 8


def detect_aggregate(live: Live, column: int) -> list[Finding]:
    """Return that a column holds what it should times (or by) another column: a sum for a mean, or the reverse."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    values = live.numbers(column)
    known = np.isfinite(values)
    if numbers is None or profile.role is not Role.NUMBER or known.sum() < FEWEST_ROWS or numbers.distinct < 10:
        return []
    bound, before = ks_bound(numbers, int(known.sum())), ks_distance(numbers, values)
    if before < MOVED * bound:
        return []
    best: Finding | None = None
    for other, kind in _likeliest(live, column):
        counts = live.numbers(other)
        # What the usual count alone would undo: a constant factor, which is the simpler story.
        usual = np.full(len(counts), np.nanmedian(counts) if np.isfinite(counts).any() else 1.0)
        undone, plain = (_undone(kind, values, each) for each in (counts, usual))
        found = _judge_ratio(live, column, other, kind, undone, plain, before, bound)
        if found is not None and (best is None or found.gain > best.gain):
            best = found
    return [] if best is None else [best]


def _likeliest(live: Live, column: int) -> list[tuple[int, str]]:
    """Return the counts, and the ways, that tell some of the rows best by the column's own values: the best first."""
    numbers = live.reference.columns[column].numbers
    assert numbers is not None
    others = [other for other in range(len(live.reference.columns)) if other != column and _may_count(live, other)]
    pairs = [(other, kind) for kind in KINDS for other in others]
    if len(pairs) <= ALL_JUDGED:
        return pairs
    rows = np.flatnonzero(live.known(column))
    rows = rows[:: max(1, len(rows) // TRIAL_ROWS)]
    values, counts = live.numbers(column)[rows], np.stack([live.numbers(other)[rows] for other in others])
    undone = np.concatenate([_undone(kind, values, counts) for kind in KINDS])
    is_rounded = np.repeat([[_is_rounded(numbers, kind)] for kind in KINDS], len(others), axis=0)
    undone = _with_decimals(undone, numbers.decimals, is_rounded, np.zeros(1))
    known = np.isfinite(undone)
    told = _ratio(numbers, values, undone, known)
    told = np.where(known, np.clip(told, -RATIO_BOUND, RATIO_BOUND), 0.0)
    share, gain = fit_share(told, TRIAL_ROUNDS)
    parts = np.where(known & (posterior(told, share[:, None]) > 0.5), undone, values)
    bound = ks_bound(numbers, len(rows)) + ks_bound(numbers, int(live.known(column).sum()))
    picked: list[int] = []
    order = np.argsort(-gain, kind="stable")[: int((gain >= 0).sum())]
    for first in range(0, len(order), AT_ONCE):
        some = order[first : first + AT_ONCE]
        # What leaves the column far from training, undone in all rows or in some, is none.
        wholly = np.where(known[some], undone[some], values)
        is_near = _distances(numbers, np.concatenate((wholly, parts[some]))).reshape(2, -1).min(axis=0) <= bound
        picked += some[is_near].tolist()
        least = FAR_BEHIND * gain[picked[0]] if picked else 0.0
        if len(picked) >= MOST_JUDGED or gain[some[-1]] < least:
            break
    return [pairs[k] for k in picked[:MOST_JUDGED] if gain[k] >= FAR_BEHIND * gain[picked[0]]]


def _distances(numbers: NumberProfile, values: Floats) -> Floats:
    """Return about how far each row of values is from training (Kolmogorov-Smirnov, to half a rank)."""
    ordered = np.sort(values, axis=1)
    upper, lower = ranks_of(numbers, ordered)
    ranks = (np.arange(values.shape[1]) + 0.5) / values.shape[1]
    return np.asarray(np.maximum(np.maximum(lower - ranks, ranks - upper), 0.0).max(axis=1))


def _may_count(live: Live, other: int) -> bool:
    """Whether a column may be what a sum and a mean differ by: a count."""
    rival = live.reference.columns[other]
    if rival.role is not Role.NUMBER or other in live.absent or rival.numbers is None:
        return False
    return rival.numbers.minimum >= 0 and rival.numbers.distinct >= 3 and rival.numbers.decimals <= 0


def _undone(kind: str, values: Floats, counts: Floats) -> Floats:
    """Return values with a sum divided by counts, or a mean multiplied by them; counts may be of several columns."""
    with np.errstate(all="ignore"):
        return np.where(counts > 0, values / counts if kind == "sum for mean" else values * counts, values)


def _is_rounded(numbers: NumberProfile, kind: str) -> bool:
    """Whether undone values have training's digits: a mean that was kept with two has them however it is divided.

    Of whole numbers, fractions tell.
    """
    return 1 <= numbers.decimals <= 6 and kind == "sum for mean"


def _judge_ratio(
    live: Live, column: int, other: int, kind: str, undone: Floats, plain: Floats, before: float, bound: float
) -> Finding | None:
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    values = live.numbers(column)
    is_rounded, room = _is_rounded(numbers, kind), _room(profile, values, undone)
    undone, plain = (_with_decimals(each, numbers.decimals, is_rounded, room) for each in (undone, plain))
    known = np.isfinite(values) & np.isfinite(undone)
    if known.sum() < FEWEST_ROWS:
        return None
    ratio = np.where(known, _ratio(numbers, values, undone, known), 0.0)
    if not _is_central(numbers, undone[known]) and _gain(ratio, known) < CLAIM_NATS:
        # The usual case by far, before the other columns are asked.
        return None
    # With the other column, too: a sum goes with the count, and a mean as it did in training.
    gap = np.where(known, agreement(live, column, undone), 0.0)
    share, affected = _affected(ratio + gap, known)
    undone = np.where(affected, undone, values)
    if affected.sum() < FEWEST_ROWS / 2 or not _is_central(numbers, undone[affected]):
        return None
    after = ks_distance(numbers, undone)
    if after > bound:
        return None
    table, rows = live.table(column), np.arange(live.rows)
    count = int(known.sum())
    odd = binomial_nats(int(odd_rows(profile, values)[known].sum()), count, odd_rate(profile))
    odd -= binomial_nats(int(odd_rows(profile, undone)[known].sum()), count, odd_rate(profile))
    heard = _heard(ratio, gap, known, share)
    cost = float(np.log(2 * len(live.reference.columns))) + NAMED_COST
    nats = odd + heard - cost
    if nats < (CLAIM_NATS if before >= CLEARLY_MOVED * bound and share == 1 else 2 * CLAIM_NATS):
        return None
    over = np.where(affected, table[rows, cells_of(profile, undone)] - table[rows, cells_of(profile, plain)], 0.0)
    gain = _gain(ratio + gap, known)
    is_no_factor = trusted_nats(paired_z(over[known]), float(over.sum())) > CLAIM_NATS
    as_factor = known & np.isfinite(plain)
    told_plain = np.where(as_factor, _ratio(numbers, values, plain, as_factor), 0.0) + agreement(live, column, plain)
    is_no_factor |= gain > CLAIM_NATS + _gain(told_plain, as_factor)
    if share == 1:
        # Nor is it the factor that live values are larger by as a whole.
        size = float(np.median(values[known])) / numbers.median if numbers.median else 0.0
        rivals = [plain, np.round(values / size, min(numbers.decimals, MOST_DECIMALS))] if size > 0 else [plain]
        is_no_factor |= min(_likelier(numbers, undone[known], rival[known]) for rival in rivals) > 2 * CLAIM_NATS
    elif not is_no_factor:
        return None
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
        share,
        nats,
        False,
        tuple(evidence),
        affected,
        {column: undone},
        put,
        gain=gain - cost if is_no_factor else nats + 12.0,
    )


def _is_central(numbers: NumberProfile, undone: Floats) -> bool:
    """Whether the middle of undone values is about training's."""
    return 0.3 < float(cdf(numbers, np.array([np.median(undone)]))[0]) < 0.7


def _room(profile: ColumnProfile, values: Floats, undone: Floats) -> Floats:
    """Return how far off undone values may be for what was sent having been rounded, where that says less than a digit.

    A mean that is sent with two digits, times a count, is off by up to half a digit times the count.
    """
    numbers = profile.numbers
    assert numbers is not None
    with np.errstate(all="ignore"):
        room = 0.5 * live_step(profile, values) * np.abs(undone / values)
    return np.where(np.isfinite(room) & (2 * room < 10.0**-numbers.decimals), room, 0.0)


def _affected(told: Floats, known: Mask) -> tuple[float, Mask]:
    """Return the share of rows that are told better with it undone, and which these are."""
    bounded = np.clip(told, -RATIO_BOUND, RATIO_BOUND)
    share = float(fit_share(bounded[None, known])[0][0])
    affected = known & (posterior(bounded, share) > 0.5)
    # A mean over one event is its sum: such rows tell nothing, and are undone all the same.
    if share > WHOLE or affected[known].mean() > WHOLE:
        return 1.0, known
    return share, affected


def _heard(ratio: Floats, gap: Floats, known: Mask, share: float) -> float:
    """Return what the other columns say for it, in nats."""
    if share == 1:
        return trusted_nats(paired_z(gap[known]), float(gap.sum()))
    told = mixed(posterior(ratio, share), gap)[known]
    return trusted_nats(paired_z(told), float(told.sum()))


def _with_decimals(undone: Floats, decimals: int, is_rounded: bool | Mask, room: Floats) -> Floats:
    """Return values with training's decimals, where they have them but for an error of floats, or are to be rounded."""
    # Products of huge values are infinite, which is none.
    undone = np.where(np.isfinite(undone), undone, np.nan)
    rounded = np.round(undone, decimals) if decimals <= 6 else undone
    near = np.abs(rounded - undone) <= 1e-6 * np.maximum(1.0, np.abs(undone)) + room
    return np.asarray(np.where(near | is_rounded, rounded, undone))


def _ratio(numbers: NumberProfile, values: Floats, undone: Floats, known: Mask) -> Floats:
    """Return how much likelier each row's value is with it undone, in nats, as `numeric` counts it for maps."""
    is_given = np.isfinite(values)
    undone, values = np.where(known, undone, numbers.median), np.where(is_given, values, numbers.median)
    after, before = (log_density(numbers, numbers.decimals, each) for each in (undone, values))
    with np.errstate(all="ignore"):
        slope = np.log(np.abs(undone / values))
    # Densities are stretched by what is divided by; where training has single values there is none to stretch.
    stretched = np.where(np.isfinite(slope), slope, 0.0) if not numbers.is_lattice else np.zeros(np.shape(slope))
    return np.asarray(after + stretched - before)


def _gain(told: Floats, known: Mask) -> float:
    """Return how much better rows are told with it undone in a part of them, in nats."""
    return float(fit_share(np.clip(told[known], -RATIO_BOUND, RATIO_BOUND)[None, :])[1][0])


def _likelier(numbers: NumberProfile, values: Floats, others: Floats) -> float:
    """Return how much likelier values are than others by themselves, in nats; each row says a little at most."""
    after, before = (log_density(numbers, numbers.decimals, each) for each in (values, others))
    return float(np.clip(after - before, -MOST_A_ROW, MOST_A_ROW).sum())
