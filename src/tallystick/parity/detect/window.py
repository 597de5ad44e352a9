"""Counts taken over another window.

Source: for counts over a window of length T, the mean is T times the rate and the share of zeros is E e^(-rate T), so
that a thinned or multiplied window shows in both alike: live counts are training's counts thinned binomially by the
ratio of windows (Raikov 1938: thinning a Poisson variable gives one). A longer window cannot be made from training's
counts; then training's are live's counts thinned.
False positives: a busier or a quieter population changes counts too, and its other columns go with it. Those that knew
the count in training must know the window's count too, by rank: an agreement that is kept while the values moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tallystick.parity.columns import Floats, Mask, Role
from tallystick.parity.density import log_density
from tallystick.parity.detect.drawn import MOST_COUNTED, other_window, training_counts
from tallystick.parity.detect.finding import Finding, agreement
from tallystick.parity.distribution import cdf, quantiles_of
from tallystick.parity.joint import paired_z
from tallystick.parity.live import Live
from tallystick.parity.profile import NumberProfile, cells_of, profile_numbers
from tallystick.parity.yardsticks import (
    CLAIM_NATS,
    binomial_nats,
    ks_bound,
    ks_distance,
    odd_rate,
    odd_rows,
    trusted_nats,
)

#: Distance to a whole number that is none, and the part of rows off it that refutes a factor.
WHOLE_ERROR, FRACTIONS = 0.01, 0.2
#: Rank correlation above which an exchange keeps the order of counts.
IN_ORDER = 0.8
#: Maps of numbers whose results clients round.
_MAY_BE_ROUNDED = frozenset({"unit", "affine", "affine_unit", "clipped"})
#: Ratios of windows that people have: days in a week, hours in a day, months in a year, and the like.
WINDOWS = (2, 3, 4, 6, 7, 12, 14, 24, 28, 30, 48, 52, 60, 90, 168, 365)
_WINDOW_NAMES = {
    7: ("week", "day"),
    12: ("year", "month"),
    24: ("day", "hour"),
    30: ("month", "day"),
    60: ("hour", "minute"),
    365: ("year", "day"),
}
#: A count is whole and spread.
FEWEST_VALUES = 5
#: Nats that one row may say at most for a window by its own value, and that the freedom of ranks costs.
MOST_A_ROW, FITTED_MAP_COST = 3.0, 20.0
#: The mean must have moved so much, as a logarithm, for a window to be the reason.
LEAST_MOVE = 0.35
#: Nats that the choice among windows costs, and that a ratio without a name costs more.
NAMED_COST, FITTED_COST = 3.0, 8.0
#: Distance, in bounds of a fair sample, within which a named window passes for the fitted ratio.
AS_GOOD = 1.0
#: A window that leaves this share of the distance is believed with more evidence: hours of a day are not alike.
REST_SHARE = 0.4
#: Part of a count's own variance, which is its mean, or of training's, that a window leaves at least.
EVEN = 0.3
#: Without zeros, counts whose own noise is below a tenth: a window leaves the form of any other number then.
LARGE = 100.0


def detect_window(live: Live, column: int) -> list[Finding]:
    """Return the change of window of a column of counts."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    values = live.numbers(column)
    known = values[np.isfinite(values)]
    if numbers is None or profile.role is not Role.NUMBER or not is_count(numbers) or len(known) < 30:
        return []
    if np.any(known < 0) or np.mean(known == np.round(known)) < 0.99 or known.mean() <= 0:
        return []
    ratio = float(known.mean() / max(numbers.mean, 1e-9))
    bound = ks_bound(numbers, len(known))
    before = ks_distance(numbers, known)
    if abs(np.log(ratio)) < LEAST_MOVE or before < 1.5 * bound or is_too_even(numbers, known):
        return []
    named = [sign for k in WINDOWS for sign in (float(k), 1.0 / k) if abs(np.log(sign / ratio)) < 0.35]
    tried = [(_distance(numbers, known, each), each) for each in named]
    best = min(tried, default=None)
    fitted = _distance(numbers, known, ratio)
    if best is None or best[0] > max(AS_GOOD * bound, fitted + 0.5 * bound):
        best = (fitted, ratio)
    distance, factor = best
    if distance > bound:
        factor = _usual_window(numbers, known, ratio)
        distance = _distance(numbers, known, factor)
    scaled = ks_distance(numbers, known / factor)
    fits = distance <= AS_GOOD * bound
    # A factor stretches the gaps between counts too; a window does not. Zeros tell a window from busier times.
    stretched = scaled < distance and np.mean(odd_rows(profile, known)) > 0.5 and not has_more_values(known, factor)
    # Without zeros only the form is left to tell it, which needs few counts, or a window that people have.
    shows = factor in named or has_zeros(numbers, known)
    is_small = min(numbers.median, float(np.median(known))) < LARGE
    if stretched or not ((fits and (shows or is_small)) or (shows and distance <= REST_SHARE * before)):
        return []
    found = _judge(live, column, factor, factor in named, before, distance, bound)
    return [found] if found is not None and (fits or found.nats > 3 * CLAIM_NATS) else []


def is_too_even(numbers: NumberProfile, known: Floats) -> bool:
    """Whether values vary less than counts of events do, and less than training's: two months are no counts."""
    usual = numbers.sd**2 / max(numbers.mean, 1e-9)
    return bool(known.var() / known.mean() < EVEN * min(1.0, usual))


def has_zeros(numbers: NumberProfile, known: Floats) -> bool:
    """Whether there are zeros on either side, which tell a window from busier times."""
    return bool(np.any(known == 0)) or numbers.minimum == 0


def _usual_window(numbers: NumberProfile, known: Floats, ratio: float) -> float:
    """Return the window that people have whose mean could be live's, the most usual first; the ratio where none is.

    Where hours are unlike each other the form of the distribution does not tell, and the mean still does.
    """
    error = float(np.hypot(np.std(known) / known.mean(), 0.05) / np.sqrt(len(known)) + 0.02)
    near = [sign for k in WINDOWS for sign in (float(k), 1.0 / k) if abs(np.log(sign / ratio)) < 2.5 * error]
    usual = [sign for sign in near if is_usual(sign)] or near
    return min(usual, key=lambda sign: abs(np.log(sign / ratio)), default=ratio)


def _judge(
    live: Live, column: int, factor: float, is_named: bool, before: float, after: float, bound: float
) -> Finding | None:
    profile = live.reference.columns[column]
    numbers = profile.numbers
    assert numbers is not None
    values = live.numbers(column)
    known = np.isfinite(values)
    # By rank: what a count of this window would have been in training's.
    undone = np.where(known, _by_rank(numbers, values), values)
    table, rows = live.table(column), np.arange(live.rows)
    gap = np.where(known, agreement(live, column, undone), 0.0)
    kept = np.where(known, table[rows, cells_of(profile, undone)], 0.0)
    count = int(known.sum())
    odd = binomial_nats(int(odd_rows(profile, values).sum()), count, odd_rate(profile))
    heard = trusted_nats(paired_z(gap[known]), float(gap.sum()))
    nats = odd + heard - (NAMED_COST if is_named else FITTED_COST)
    # Others that know the count know the window's too, unless each window is a new draw: then most values are odd.
    if nats < CLAIM_NATS or (float(kept.sum()) < -1.0 and max(odd, heard) < 3 * CLAIM_NATS):
        return None
    name = window_name(factor) if is_named else "unnamed"
    evidence = window_evidence(numbers, values[known], factor, before, after, bound)
    if heard > 1:
        evidence.append(f"the other columns agree with the count's rank, not with its size ({heard:.0f} nats)")
    gain = nats + 10.0 + _own_gain(numbers, values[known], undone[known])
    return window_finding(live, column, factor, name, known, undone, nats, evidence, gain=gain)


def window_finding(
    live: Live,
    column: int,
    factor: float,
    name: str,
    rows: Mask,
    undone: Floats,
    nats: float,
    evidence: Sequence[str],
    *,
    share: float = 1.0,
    gain: float,
) -> Finding:
    """Return that a column counts over a window `factor` times as long, in these rows; `undone` are all its values."""
    counted = live.reference.names[column]

    def put(columns: Mapping[str, Any]) -> dict[str, Any]:
        return {counted: other_window(np.asarray(columns[counted], dtype=np.float64), factor)}

    return Finding(
        "window_changed",
        (counted,),
        {"factor": factor, "name": name},
        share,
        nats,
        False,
        tuple(evidence),
        rows,
        {column: undone},
        put,
        gain=gain,
    )


def window_evidence(
    numbers: NumberProfile, counts: Floats, factor: float, before: float, after: float, bound: float
) -> list[str]:
    """Return what a window shows in counts themselves, in words."""
    zeros, usual = float(np.mean(counts == 0)), float(cdf(numbers, np.zeros(1))[0])
    shown = f"; the share of zeros went from {usual:.0%} to {zeros:.0%}, as a window of that length has"
    return [
        f"counts are {factor:.3g} times as large{shown if usual > 0 or zeros > 0 else ''}",
        f"KS to training {before:.2f}, to training's counts over that window {after:.2f} "
        f"(a fair sample stays under {bound:.2f})",
    ]


def _own_gain(numbers: NumberProfile, values: Floats, undone: Floats) -> float:
    """Return how much likelier the column's own values are undone, less what a fitted map costs."""
    after, before = (log_density(numbers, numbers.decimals, each) for each in (undone, values))
    return max(0.0, float(np.clip(after - before, -MOST_A_ROW, MOST_A_ROW).sum()) - FITTED_MAP_COST)


def is_usual(factor: float) -> bool:
    """Whether a ratio of windows has a name: weeks of days, and the like."""
    return round(max(factor, 1 / factor)) in _WINDOW_NAMES


def is_count(numbers: NumberProfile) -> bool:
    """Whether values may be counts: whole, none below zero, and spread. Most start low; counts of a day need not."""
    is_spread = numbers.distinct >= FEWEST_VALUES and numbers.maximum <= MOST_COUNTED
    return numbers.decimals == 0 and numbers.minimum >= 0 and is_spread


def has_more_values(known: Floats, factor: float) -> bool:
    """Whether counts are no multiples of a whole factor, which those in another unit would be."""
    times = max(factor, 1 / factor)
    scaled = known / times if factor > 1 else known
    return factor < 1 or bool(np.mean(np.abs(scaled - np.round(scaled)) > WHOLE_ERROR) > FRACTIONS)


def is_rounded_off(live: Live, column: int, found: Finding) -> bool:
    """Whether a scaling or a curve would have left fractions, and whole numbers were sent.

    Who converts a unit may round what comes of it; nobody rounds a standardized count to a whole number.
    """
    numbers = live.reference.columns[column].numbers
    if numbers is None or numbers.decimals > 0 or found.kind in _MAY_BE_ROUNDED or found.forward is None:
        return False
    sent = live.numbers(column)[found.rows]
    if not len(sent) or np.mean(np.abs(sent - np.round(sent)) > WHOLE_ERROR) > 0.01:
        return False
    with np.errstate(all="ignore"):
        made = np.asarray(found.forward({found.features[0]: training_counts(numbers)})[found.features[0]])
    made = made[np.isfinite(made)]
    return bool(len(made) and np.mean(np.abs(made - np.round(made)) > WHOLE_ERROR) > FRACTIONS)


def keeps_order(live: Live, column: int, found: Finding) -> bool:
    """Whether an exchange of counts leaves nearly all of them in order: then it moves counts, and exchanges nothing."""
    sent, undone = live.numbers(column)[found.rows], np.asarray(found.undo[column], dtype=np.float64)[found.rows]
    if len(sent) < 3 or np.ptp(sent) == 0 or np.ptp(undone) == 0:
        return False
    ranks = [pd.Series(each).rank().to_numpy() for each in (sent, undone)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) > IN_ORDER


def stays_whole(live: Live, column: int, found: Finding) -> bool:
    """Whether a map leaves counts what they are. Hours in days have fractions, and days in hours are multiples of 24.

    A window has neither: its counts are whole, and any whole number may be one.
    """
    numbers = live.reference.columns[column].numbers
    if numbers is None or numbers.decimals > 0 or column not in found.undo:
        return True
    undone, sent = np.asarray(found.undo[column], dtype=np.float64)[found.rows], live.numbers(column)[found.rows]
    if not len(undone) or np.mean(np.abs(sent - np.round(sent)) > WHOLE_ERROR) > 0.01:
        return True
    if np.mean(np.abs(undone - np.round(undone)) > WHOLE_ERROR) > FRACTIONS:
        return False
    factor = found.transformation.get("factor")
    times = 1.0 / factor if isinstance(factor, float) and 0 < factor < 1 else 1.0
    if times < 1.5:
        return True
    trained = training_counts(numbers)
    return bool(np.mean(np.abs(trained / times - np.round(trained / times)) < WHOLE_ERROR) > 1 - FRACTIONS)


def _distance(numbers: NumberProfile, known: Floats, factor: float) -> float:
    """Return the KS distance of live counts to training's over a window `factor` times as long."""
    if factor < 1:
        return ks_distance(profile_numbers(other_window(training_counts(numbers), factor)), known)
    # Training's are live's thinned.
    return ks_distance(numbers, other_window(np.repeat(known, 10), 1 / factor))


def _by_rank(numbers: NumberProfile, values: Floats) -> Floats:
    """Return training values at the live ranks of values: the middle of the ranks of equal ones."""
    known = np.sort(values[np.isfinite(values)])
    low = np.searchsorted(known, values, side="left")
    high = np.searchsorted(known, values, side="right")
    ranks = (low + high) / (2 * max(1, len(known)))
    back = np.round(quantiles_of(numbers, np.clip(ranks, 0.0, 1.0)))
    return np.asarray(back, dtype=np.float64)


def window_name(factor: float) -> str:
    """Return the two windows of a ratio in words, the one that was sent first."""
    size = round(factor if factor >= 1 else 1 / factor)
    longer, shorter = _WINDOW_NAMES.get(size, (f"{size}", "1"))
    return f"{longer} for {shorter}" if factor >= 1 else f"{shorter} for {longer}"
