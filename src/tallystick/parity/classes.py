"""Another mix of the classes: whether it is there, and whether it is all that changed.

Source: prior shift (Saerens, Latinne & Decaestecker 2002; Lipton, Wang & Smola 2018): each class's rows are as ever, so
that any statistic of live rows is a mixture of what training's classes had. Labels give the mix; without them the most
likely one of calibrated scores does (Platt 1999; Alexandari, Kundaje & Shrikumar 2020). A column's live cells must then
be training's, each weighed by what the mix does to the classes of its rows. False positives: another mix of rows moves
the classes too. What weighing by classes leaves over in any column speaks against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtrc, expit

from tallystick.parity import golden
from tallystick.parity.columns import Floats
from tallystick.parity.live import Live
from tallystick.parity.profile import NumberProfile
from tallystick.parity.screen import ColumnScreen
from tallystick.parity.yardsticks import ks_bound

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Golden rows that each class needs, and rows that a cell's classes are shrunk towards training's by.
FEWEST_EACH, PRIOR_ROWS = 20, 2.0
#: Chance at which the classes have another mix, and at which a column is still unlike training's, weighed.
ALPHA, LEFT_ALPHA = 1e-3, 1e-3
#: A column is explained, too, when weighing takes so large a part of its distance away.
EXPLAINED = 0.6
#: Part of all rows that a mix has to move by, to be seen in scores alone, and shares that are tried.
LEAST_MOVE, TRIED_SHARES = 0.1, np.linspace(0.01, 0.99, 99)
#: Steps of the calibration, the weight of its prior, and the least chance of a class.
CALIBRATIONS, HELD, LEAST_CHANCE = 25, 1.0, 1e-4


@dataclass(frozen=True)
class ClassMix:
    """Live shares of the classes, by name, and the ratio of each to training's, by the codes of golden labels."""

    shares: dict[str, float]
    ratios: dict[float, float]


def mix_of_labels(reference: Reference, labels: Any) -> ClassMix | None:
    """Return the mix of live labels, where training's is unlikely to give it; None else."""
    known = np.asarray(labels)
    if not reference.label_shares or not len(known):
        return None
    live = golden.label_shares(known)
    if not set(live) & set(reference.label_shares):
        # Quantities, or classes under other names: they say nothing of the mix.
        return None
    names = sorted(set(reference.label_shares) | set(live))
    expected = np.array([max(reference.label_shares.get(name, 0.0), 1e-3) for name in names]) * len(known)
    observed = np.array([live.get(name, 0.0) for name in names]) * len(known)
    statistic = float(np.sum((observed - expected) ** 2 / expected))
    chance = float(chdtrc(max(1, len(names) - 1), max(0.0, statistic)))
    return _mix(reference, live) if chance < ALPHA else None


def mix_of_scores(reference: Reference, scores: Floats) -> ClassMix | None:
    """Return the mix of two classes that gives live scores; None where there is none, or it is training's.

    Scores are the upper class's probability, or any other number that knows the class.
    """
    score, codes = reference.score, np.unique(reference.labels)
    has_labels = len(reference.labels) == len(reference.predictions) and len(codes) == 2 == len(reference.label_shares)
    if score is None or score.numbers is None or not has_labels or not np.isfinite(scores).all() or not len(scores):
        return None
    lower, upper = (reference.predictions[reference.labels == code] for code in codes)
    if min(len(lower), len(upper)) < FEWEST_EACH or upper.mean() == lower.mean():
        return None
    names = _names(reference)
    before = reference.label_shares[names[float(codes[1])]]
    now, nats = _likeliest(_chances(reference, score.numbers, before, scores), before)
    # Training's mix was seen in as many rows as training had: with few, it is as uncertain as the live one.
    trained = reference.columns[0].rows
    nats *= trained / (trained + len(scores))
    bound = ks_bound(score.numbers, len(scores))
    is_by_chance = bool(chdtrc(1, max(0.0, 2 * nats)) > ALPHA)
    if is_by_chance or abs(now - before) < LEAST_MOVE or _mixture_distance(lower, upper, now, scores) > 1.2 * bound:
        return None
    return _mix(reference, {names[float(codes[0])]: 1 - now, names[float(codes[1])]: now})


def _likeliest(chances: Floats, before: float) -> tuple[float, float]:
    """Return the share of the upper class that its chances are likeliest of, and by how many nats more than before."""
    upper, lower = TRIED_SHARES / before, (1 - TRIED_SHARES) / (1 - before)
    nats = np.log(chances[:, None] * upper + (1 - chances[:, None]) * lower).sum(axis=0)
    return float(TRIED_SHARES[nats.argmax()]), float(nats.max())


def _chances(reference: Reference, numbers: NumberProfile, before: float, scores: Floats) -> Floats:
    """Return the upper class's chance by score: a logistic of golden labels that is right on average in training."""
    trained = np.asarray(numbers.grid, dtype=np.float64)
    known = reference.predictions
    if numbers.minimum >= 0 and numbers.maximum <= 1 and len(np.unique(known)) > 2:
        known, trained, scores = (_log_odds(each) for each in (known, trained, scores))
    middle, spread = float(known.mean()), float(known.std())
    known, trained, scores = ((each - middle) / spread for each in (known, trained, scores))
    is_upper = (reference.labels == reference.labels.max()).astype(np.float64)
    design = np.column_stack([np.ones(len(known)), known])
    weights = np.zeros(2)
    for _ in range(CALIBRATIONS):
        chance = expit(design @ weights)
        bend = (design * (chance * (1 - chance))[:, None]).T @ design + HELD * np.eye(2)
        weights = weights + np.linalg.solve(bend, design.T @ (is_upper - chance) - HELD * weights)
    # Golden rows are chosen for coverage: their classes' shares are not training's.
    start = brentq(lambda at: float(expit(at + weights[1] * trained).mean()) - before, -50.0, 50.0)
    return np.asarray(np.clip(expit(start + weights[1] * scores), LEAST_CHANCE, 1 - LEAST_CHANCE))


def _log_odds(p: Floats) -> Floats:
    inner = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inner / (1 - inner)))


def explains(live: Live, screened: tuple[ColumnScreen, ...], mix: ClassMix) -> bool:
    """Whether the mix is all that changed: columns that differ are training's, weighed by the classes of their rows."""
    weights = _cell_weights(live, mix)
    flagged = [part.column for part in screened if part.is_flagged]
    if weights is None:
        return not flagged
    return all(_is_explained(live, column, *weights[column]) for column in flagged)


def preference(live: Live, mix: ClassMix) -> float:
    """Return how much more a row's columns speak for the mix than for training's, in nats; 0 where they cannot."""
    weights = _cell_weights(live, mix)
    if weights is None:
        return 0.0
    rows = np.zeros(live.rows)
    for column, (weight, _) in weights.items():
        cells = live.cells(column)
        inside = cells < len(weight)
        rows[inside] += np.log(weight[cells[inside]])
    return float(rows.mean())


def _mix(reference: Reference, live: dict[str, float]) -> ClassMix:
    names = _names(reference)
    ratios = {
        code: max(live.get(name, 0.0), 1e-3) / max(reference.label_shares.get(name, 0.0), 1e-3)
        for code, name in names.items()
    }
    return ClassMix(live, ratios)


def _names(reference: Reference) -> dict[float, str]:
    """Return the name of each code of golden labels: numbers are their own codes, texts have their place."""
    names = sorted(reference.label_shares)
    if reference.classes:
        return {float(code): name for code, name in enumerate(reference.classes) if name in reference.label_shares}
    known = {"True": "1", "False": "0"}
    try:
        return {float(known.get(name, name)): name for name in names}
    except ValueError:
        return {float(code): name for code, name in enumerate(names)}


def _cell_weights(live: Live, mix: ClassMix) -> dict[int, tuple[Floats, Floats]] | None:
    """Return, for each column, how much more frequent each cell is under the mix, and the standard error of that.

    None without labelled golden rows.
    """
    reference, control = live.reference, live.golden()
    labels = reference.labels
    if control is None or len(labels) != control.rows:
        return None
    codes = [code for code in mix.ratios if np.sum(labels == code) >= FEWEST_EACH]
    if len(codes) < 2:
        return None
    names = _names(reference)
    prior = np.array([reference.label_shares[names[code]] for code in codes])
    ratios = np.array([mix.ratios[code] for code in codes])
    found = {}
    for column, profile in enumerate(reference.columns):
        if column in live.absent or column in live.broken or profile.cell_count < 2:
            continue
        cells = control.cells(column)
        counts = np.array([np.bincount(cells[labels == c], minlength=profile.cell_count + 1) for c in codes], float)
        each = (counts + PRIOR_ROWS * prior[:, None]) / (counts.sum(axis=0) + PRIOR_ROWS)
        weight = (ratios @ each)[: profile.cell_count]
        spread = ((ratios**2 @ each)[: profile.cell_count] - weight**2).clip(min=0.0)
        error = np.sqrt(spread / (counts.sum(axis=0)[: profile.cell_count] + PRIOR_ROWS))
        total = float(weight @ profile.cell_shares)
        if total > 0:
            found[column] = (np.maximum(weight / total, 1e-3), error / total)
        else:
            found[column] = (np.ones(profile.cell_count), np.zeros(profile.cell_count))
    return found


def _is_explained(live: Live, column: int, weight: Floats, error: Floats) -> bool:
    profile = live.reference.columns[column]
    cells = live.cells(column)
    counted = np.bincount(cells[cells < profile.cell_count], minlength=profile.cell_count).astype(np.float64)
    rows = counted.sum()
    shares = profile.cell_shares * weight
    total = shares.sum() / rows
    before, _ = _distance(counted, profile.cell_shares * rows, np.zeros(len(counted)))
    # How frequent a class is in a cell is known from few golden rows only.
    after, freedom = _distance(counted, shares / total, profile.cell_shares * error / total)
    return bool(chdtrc(freedom, max(0.0, after)) > LEFT_ALPHA or after - freedom < (1 - EXPLAINED) * (before - freedom))


def _distance(observed: Floats, expected: Floats, error: Floats) -> tuple[float, int]:
    """Return Pearson's statistic over cells of which three rows are expected, the others pooled, and its freedom.

    `error` is the standard error of what is expected.
    """
    rare = expected < 3
    observed = np.append(observed[~rare], observed[rare].sum())
    variance = np.append((expected + error**2)[~rare], (expected + error**2)[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    kept = expected > 0.5
    statistic = float(np.sum((observed[kept] - expected[kept]) ** 2 / variance[kept]))
    return statistic, max(1, int(kept.sum()) - 1)


def _mixture_distance(lower: Floats, upper: Floats, now: float, scores: Floats) -> float:
    """Return the KS distance of scores to a mixture of two classes' scores."""
    at = np.sort(np.concatenate([lower, upper, scores]))
    low, high, live = (np.searchsorted(np.sort(each), at, side="right") / len(each) for each in (lower, upper, scores))
    return float(np.abs((1 - now) * low + now * high - live).max())
