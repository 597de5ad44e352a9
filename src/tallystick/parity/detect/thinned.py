"""Counts over another window in all rows or in a part of them, by the likelihood of drawn counts.

Source: for each window that people have, training's counts are drawn over it (`detect.drawn`), which gives how likely a
live count is, and which of training's counts it stands for: a mixture, in which the other columns are heard. The share
of rows is fitted by EM, as for maps (`detect.numeric`), and gains are on the same scale.
False positives: selecting rows by a count alone can give the same counts as another window (of negative binomial ones
exactly), so that counts themselves are no evidence, only the other columns, counts beyond training's, and counts that
exceed others which they never exceeded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tallystick.parity.columns import Floats, Role
from tallystick.parity.density import fit_share, log_density, mixed, mixture_z, posterior
from tallystick.parity.detect.drawn import Drawn, counts_over, draw, training_counts, trial_ratios
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.window import (
    FITTED_COST,
    NAMED_COST,
    WINDOWS,
    has_more_values,
    has_zeros,
    is_count,
    is_too_even,
    is_usual,
    window_evidence,
    window_finding,
    window_name,
)
from tallystick.parity.distribution import cdf, cdf_below
from tallystick.parity.live import Live
from tallystick.parity.profile import ColumnProfile, Ints, NumberProfile, cells_of
from tallystick.parity.yardsticks import CLAIM_NATS, binomial_nats, ks_bound, odd_rate, odd_rows, trusted_nats

#: Rows that are enough to see a window in, and the gain that one must have over none.
FEWEST_ROWS, LEAST_GAIN = 30, 10.0
#: Gain that counts by themselves must have: a window leaves no column distributed as it was.
LEAST_MOVED = 2.0
#: Rows that all windows are tried on, and how many of these are fitted on all rows with the other columns.
TRIAL_ROWS, TRIED_FULLY = 160, 4
#: Part of the best one's gain that another of these must have there.
FAR_BEHIND = 0.5
#: Share from which a window is in all rows, and below which it is noise.
WHOLE, LEAST_SHARE = 0.8, 0.05
#: Steps around the best named window that are tried for one without a name.
STEPS = (-0.35, -0.18, 0.18, 0.35)
#: The mean, in training's deviations over the root of rows, that must have moved for a direction to be left out.
CLEAR_MOVE = 4.0
#: Bound of one row's log-likelihood ratio, for the sake of floating point.
MOST_NATS = 40.0
#: Part of the best window's gain that the one which the mean tells must have.
MOSTLY = 0.7
#: Part of affected rows with one count from which it is a default.
ONE_VALUE = 0.9
#: Part of the distance that a window may leave with more evidence.
REST_SHARE = 0.5


@dataclass(frozen=True)
class _Fit:
    """One window on all rows: what counts say (`alone`), what the others say of the sent and the undone count."""

    drawn: Drawn
    alone: Floats
    here: Floats
    back: Floats
    share: float
    gain: float
    is_named: bool


def detect_thinned(live: Live, column: int) -> list[Finding]:
    """Return the window that a column's counts are over, in all rows or some."""
    if not _may_be_counts(live, column):
        return []
    profile, known = live.reference.columns[column], live.known(column)
    numbers, counts = profile.numbers, live.numbers(column)[known]
    assert numbers is not None
    likeliest = live.once(column, "windows", lambda: _likeliest(numbers, counts))
    if not likeliest:
        return []
    fits = [_fit(live, column, factor, True) for factor in likeliest]
    best = max(fits, key=lambda each: each.gain)
    if best.gain < 0:
        return []
    near = live.once(column, f"near {best.drawn.factor}", lambda: _near(numbers, counts, best.drawn.factor))
    best = max([best, _fit(live, column, near, False)], key=lambda each: each.gain)
    if best.gain < LEAST_GAIN:
        return []
    best = _settled(live, column, counts, best)
    found = _judge(live, column, best)
    return [] if found is None else [found]


def detect_window_like(live: Live, column: int, found: Finding) -> list[Finding]:
    """Return that a column's counts are over the window that was found in another column."""
    numbers = live.reference.columns[column].numbers
    if numbers is None or not _may_be_counts(live, column):
        return []
    factor, counts = float(found.transformation["factor"]), live.numbers(column)[live.known(column)]
    if _trial_gains(numbers, counts, np.array([factor]))[0] <= LEAST_MOVED / 2:
        return []
    fit = _fit(live, column, factor, found.transformation["name"] != "unnamed")
    judged = _judge(live, column, fit) if fit.gain > LEAST_GAIN else None
    return [] if judged is None else [judged]


def _may_be_counts(live: Live, column: int) -> bool:
    profile = live.reference.columns[column]
    numbers, values = profile.numbers, live.numbers(column)
    known = np.isfinite(values)
    if numbers is None or profile.role is not Role.NUMBER or not is_count(numbers) or known.sum() < FEWEST_ROWS:
        return False
    counts = values[known]
    if np.any(counts < 0) or np.mean(counts == np.round(counts)) < 0.99 or counts.mean() <= 0 or np.ptp(counts) == 0:
        return False
    return not is_too_even(numbers, counts)


def _factors(numbers: NumberProfile, counts: Floats) -> list[float]:
    """Return windows that people have, in the direction in which the mean moved; in both where it hardly did."""
    moved = (counts.mean() - numbers.mean) / max(numbers.sd, 1e-9) * np.sqrt(len(counts))
    longer = [float(each) for each in WINDOWS] if moved > -CLEAR_MOVE else []
    shorter = [1.0 / each for each in WINDOWS] if moved < CLEAR_MOVE else []
    return [*longer, *shorter]


def _settled(live: Live, column: int, counts: Floats, best: _Fit) -> _Fit:
    """Return the window that the mean tells of those that fit about as well: it holds where events come in bunches."""
    numbers = live.reference.columns[column].numbers
    assert numbers is not None
    ratio = float(counts.mean() / max(numbers.mean, 1e-9))
    error = float(np.hypot(counts.std() / counts.mean(), 0.05) / np.sqrt(len(counts))) + 0.02
    off = {sign: abs(float(np.log(sign / ratio))) / error for k in WINDOWS for sign in (float(k), 1.0 / k)}
    # The usual one of those that the mean does not tell apart.
    near = [sign for sign in off if off[sign] < 1 and is_usual(sign)] or [sign for sign in off if off[sign] < 2.5]
    if not near:
        return best
    told = _fit(live, column, min(near, key=off.__getitem__), True)
    return told if told.share > WHOLE and told.gain > MOSTLY * best.gain else best


def _likeliest(numbers: NumberProfile, counts: Floats) -> list[float]:
    """Return the windows that tell some of the counts by themselves best, compared with training's, if any does."""
    factors = _factors(numbers, counts)
    gains = _trial_gains(numbers, counts, np.array(factors))
    least = max(LEAST_MOVED / 2, FAR_BEHIND * float(gains.max()))
    return [factors[k] for k in np.argsort(-gains, kind="stable")[:TRIED_FULLY] if gains[k] > least]


def _near(numbers: NumberProfile, counts: Floats, factor: float) -> float:
    """Return the window near one with a name that tells some of the counts by themselves best."""
    factors = factor * np.exp(STEPS)
    return float(factors[int(np.argmax(_trial_gains(numbers, counts, factors)))])


def _trial_gains(numbers: NumberProfile, counts: Floats, factors: Floats) -> Floats:
    """Return how much better each window tells some of the counts by themselves than none does, for all counts."""
    some = np.sort(counts)[:: max(1, len(counts) // TRIAL_ROWS)]
    _, gains = fit_share(trial_ratios(numbers, factors, some), 15)
    return np.asarray(gains * (len(counts) / len(some)))


@dataclass(frozen=True)
class _Told:
    """What a column's own counts say of one window: how likely they are, and which cells each stands for."""

    drawn: Drawn
    alone: Floats
    shares: Floats
    places: Ints


def _told(live: Live, column: int, factor: float) -> _Told:
    profile, known = live.reference.columns[column], live.known(column)
    numbers, values = profile.numbers, live.numbers(column)
    assert numbers is not None
    trained, cells = live.of_training(f"counts of {column}", lambda: _trained(profile, numbers))
    over = live.of_training(f"{column} over {factor}", lambda: counts_over(numbers, factor, trained))
    drawn, safe = draw(numbers, factor, values[known], trained, over), np.where(known, values, numbers.median)
    # Of a lattice each count's own probability is known, whatever the bins are.
    usual = live.once(column, "usual", lambda: log_density(numbers, None, safe)) if numbers.is_lattice else None
    alone = np.where(known, drawn.log_ratio(numbers, safe, usual), 0.0)
    return _Told(drawn, alone, drawn.cells(profile, cells), drawn.places(safe))


def _trained(profile: ColumnProfile, numbers: NumberProfile) -> tuple[Floats, Ints]:
    """Return counts as training had them, and the cell of each."""
    counts = training_counts(numbers)
    return counts, cells_of(profile, counts)


def _fit(live: Live, column: int, factor: float, is_named: bool) -> _Fit:
    told = live.once(column, f"window {factor}", lambda: _told(live, column, factor))
    known, table = live.known(column), live.table(column)
    here = np.where(known, table[np.arange(live.rows), live.cells(column)], 0.0)
    # As cells x rows: sums over so few cells are slow where they are side by side.
    odds = np.exp(table.T[:-1])
    odds *= told.shares.T[:, told.places]
    back = np.where(known, np.log(odds.sum(axis=0) + 1e-300), 0.0)
    share, gain = fit_share((told.alone + back - here)[None, known])
    cost = NAMED_COST if is_named else FITTED_COST
    return _Fit(told.drawn, told.alone, here, back, float(share[0]), float(gain[0]) - cost, is_named)


def _judge(live: Live, column: int, fit: _Fit) -> Finding | None:
    profile = live.reference.columns[column]
    numbers, values = profile.numbers, live.numbers(column)
    assert numbers is not None
    known, factor, share = np.isfinite(values), fit.drawn.factor, fit.share
    weight_alone, weight = posterior(fit.alone, share), posterior(fit.alone + fit.back - fit.here, share)
    affected = known & (weight > 0.5)
    if share > WHOLE:
        share, affected = 1.0, known
    # Multiples of a whole factor are another unit; a window's counts may be any whole numbers.
    if share < LEAST_SHARE or affected.sum() < 5 or not has_more_values(values[affected], factor):
        return None
    # Some rows that all have one count, mostly 0, were filled.
    if share < 1 and np.unique(values[affected], return_counts=True)[1].max() > ONE_VALUE * affected.sum():
        return None
    z = mixture_z(weight_alone[known], fit.here[known], fit.back[known])
    said = trusted_nats(z, float(mixed(weight_alone, fit.back - fit.here)[known].sum()))
    count = int(known.sum())
    beyond, rate = odd_rows(profile, values), odd_rate(profile)
    odd = binomial_nats(int(beyond.sum()), count, rate)
    nats = odd + said - (NAMED_COST if fit.is_named else FITTED_COST)
    before, after, bound = *_distances(numbers, values[known], fit.drawn, share), ks_bound(numbers, count)
    # Without zeros the form alone tells a window from years, pressures and other whole numbers.
    rest = has_zeros(numbers, values[known]) and after <= REST_SHARE * before
    fits = after <= bound or (rest and nats > 3 * CLAIM_NATS)
    moved = float(np.log1p(share * np.expm1(np.minimum(fit.alone, MOST_NATS)))[known].sum())
    if not fits or nats < CLAIM_NATS or moved < LEAST_MOVED:
        return None
    undone = np.where(affected, fit.drawn.undone(values), values)
    evidence = window_evidence(numbers, values[affected], factor, before, after, bound)
    if said > 1:
        evidence.append(f"the other columns agree with the counts that these stand for ({said:.0f} nats)")
    name = window_name(factor) if fit.is_named else "unnamed"
    return window_finding(live, column, factor, name, affected, undone, nats, evidence, share=share, gain=fit.gain)


def _distances(numbers: NumberProfile, counts: Floats, drawn: Drawn, share: float) -> tuple[float, float]:
    """Return the KS distances of live counts to training, and to training with a share of drawn counts."""
    points, seen = np.unique(counts, return_counts=True)
    upper = np.cumsum(seen) / len(counts)
    lower = upper - seen / len(counts)
    usual, under = cdf(numbers, points), cdf_below(numbers, points)
    sent = [np.searchsorted(drawn.sent, points, side=side) / len(drawn.sent) for side in ("right", "left")]
    found = []
    for part in (0.0, share):
        above = np.abs((1 - part) * usual + part * sent[0] - upper)
        below = np.abs((1 - part) * under + part * sent[1] - lower)
        found.append(float(np.maximum(above, below).max()))
    return found[0], found[1]
