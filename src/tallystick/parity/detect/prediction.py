"""Predictions themselves: other answers for the same rows, classes exchanged, scores off by a sampling rate.

Source: paired differences where rows can be predicted again; otherwise scores against what golden rows tell of the
model (`answers`), or, where they tell too little, against the distribution of training's.
False positives: a changed population changes scores too, so by their distribution nothing is claimed unless the inputs
are as in training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tallystick.parity.answer_form import differ_in_form
from tallystick.parity.classes import mix_of_scores, preference
from tallystick.parity.columns import Floats
from tallystick.parity.detect.answers import explain
from tallystick.parity.detect.finding import Finding
from tallystick.parity.intervene import SAME, relation
from tallystick.parity.live import Live
from tallystick.parity.profile import NumberProfile
from tallystick.parity.segments import blame
from tallystick.parity.yardsticks import ks_bound, ks_distance

#: Share of live rows that may differ when scored again, for leaves that flip.
TOLERATED = 0.005
#: Rows of a segment that tell of labels that classes are exchanged.
LEAST_INSIDE = 5
#: Shares of exchanged rows that are tried where scores are all there is, and the least constant of log-odds.
SHARES = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8)
LEAST_SHIFT, TRIED = 0.2, 1.5
#: What scores without the model are believed at most: it is a suspicion, however many rows there are.
MOST_NATS = 40.0


def paired_difference(
    predictions: Floats, rescored: Floats, rows_name: str, segments: pd.DataFrame | None = None
) -> Finding | None:
    """Return what tells predictions of the endpoint from those of the model for the same rows, if anything.

    Of labels, only all rows together tell that classes are exchanged: those of the segment that differs, by `segments`.
    """
    apart = np.abs(predictions - rescored)
    scale = SAME * np.maximum(np.abs(rescored), float(np.std(rescored)) or 1.0)
    differs = ~(apart <= np.maximum(scale, 1e-12))
    if differs.mean() <= TOLERATED:
        return None
    kind, shift = relation(rescored, predictions)
    whose = blame(segments, differs) if kind == "prediction_differs" and segments is not None else {}
    if whose and segments is not None:
        inside = (segments[whose["column"]] == whose["value"]).to_numpy()
        kind, shift = relation(rescored[inside], predictions[inside]) if inside.sum() >= LEAST_INSIDE else (kind, shift)
    # Answers that are no numbers are no distance from anything.
    known = apart[np.isfinite(apart) & differs]
    parameters, text = {"largest": float(known.max())} if len(known) else {}, "no simple relation was found"
    if kind == "class_order":
        parameters, text = {}, "each is one minus the other"
    elif shift is not None:
        parameters = {"log_odds": shift, "rate": float(np.exp(shift))}
        text = "log-odds differ by a constant"
    missing = int((differs & ~np.isfinite(predictions) & np.isfinite(rescored)).sum())
    if missing:
        text = f"{missing} are no number, the others: {text}" if len(known) else "they are no number"
    evidence = (f"{int(differs.sum())} of {len(predictions)} {rows_name} predictions differ when scored again: {text}",)
    return Finding(
        kind, (), parameters, float(differs.mean()), 100.0, True, evidence, differs, gain=1e7, at_endpoint=True
    )


def unpaired_difference(live: Live, predictions: Any, inputs_are_as_trained: bool) -> Finding | None:
    """Return what predictions show without the model; it is only a suspicion.

    What golden rows tell of the model is asked first, as it holds for other rows than training's too. That predictions
    differ in no simple way is claimed only where inputs are as in training: elsewhere it may be the extrapolation.
    """
    score = live.reference.score
    if score is None or score.numbers is None:
        return None
    given = live.reference.numbers_of(predictions)
    if differ_in_form(live.reference, np.asarray(score.numbers.grid, dtype=np.float64), given):
        return None
    distance, bound = ks_distance(score.numbers, given), ks_bound(score.numbers, len(given))
    differs = inputs_are_as_trained and distance > 1.5 * bound
    found = explain(live, given, differs)
    if found is None:
        return _by_distribution(live, score.numbers, given) if differs else None
    if not found.kind or (found.kind == "prediction_differs" and not inputs_are_as_trained):
        return None
    parameters = {"log_odds": found.shift, "rate": float(np.exp(found.shift))} if found.shift else {}
    part = "" if found.share == 1 else f" in {found.share:.0%} of the rows"
    text = {
        "class_order": f"one minus the score agrees{part}",
        "sampling_prior": f"with log-odds moved by a constant{part} they agree",
    }.get(found.kind, "no simple relation was found")
    evidence = (f"predictions are not what golden rows tell of training's model for such rows: {text}",)
    rows = np.ones(len(given), dtype=bool) if found.rows is None else found.rows
    nats = min(found.nats, MOST_NATS)
    return Finding(found.kind, (), parameters, found.share, nats, False, evidence, rows, gain=1e6, at_endpoint=True)


def _by_distribution(live: Live, numbers: NumberProfile, given: Floats) -> Finding | None:
    """Return what the distribution of predictions shows when inputs are as in training and it is not.

    Another mix of the classes may hide in columns that hardly know them, and shows in scores.
    """
    mix = mix_of_scores(live.reference, given)
    if mix is not None and preference(live, mix) > 0:
        return None
    before, bound = ks_distance(numbers, given), ks_bound(numbers, len(given))
    kind, text, share = "prediction_differs", "", 1.0
    parameters: dict[str, float] = {}
    if numbers.minimum >= 0 and numbers.maximum <= 1:
        kind, text, parameters, share = _explained(numbers, given, bound) or (kind, text, parameters, share)
    evidence = (
        f"inputs are as in training, predictions are not: KS {before:.2f} "
        f"(a fair sample stays under {bound:.2f}){text}",
    )
    everything = np.ones(len(given), dtype=bool)
    return Finding(kind, (), parameters, share, 20.0, False, evidence, everything, gain=1e6, at_endpoint=True)


def _explained(numbers: NumberProfile, given: Floats, bound: float) -> tuple[str, str, dict[str, float], float] | None:
    """Return kind, text, parameters and share that make training's scores live's: of all rows, else of a part."""
    grid = np.asarray(numbers.grid, dtype=np.float64)
    turned = ks_distance(numbers, 1 - given)
    if turned <= bound:
        return "class_order", f"; as one minus the score {turned:.2f}", {}, 1.0
    middle = float(np.median(_odds(given)) - np.median(_odds(grid)))
    # Medians between two heaps of scores say little: the constants around theirs are tried.
    tried = [middle + step for step in np.linspace(-TRIED, TRIED, 25) if abs(middle + step) >= LEAST_SHIFT]
    left, shift = min((ks_distance(numbers, _moved(given, -each)), each) for each in tried)
    mixed, share = min((_mixture_distance(grid, given, part), part) for part in SHARES)
    if min(left, mixed) > bound:
        return None
    if left <= mixed:
        estimated = {"log_odds": shift, "rate": float(np.exp(shift))}
        return "sampling_prior", "; with log-odds moved by a constant they agree", estimated, 1.0
    return "class_order", f"; as one minus the score in {share:.0%} of the rows {mixed:.2f}", {}, share


def _mixture_distance(grid: Floats, given: Floats, share: float) -> float:
    """Return the KS distance of scores to training's of which a share is exchanged with one minus itself."""
    points = np.concatenate([grid, 1 - grid])
    weights = np.repeat([1 - share, share], len(grid)) / len(grid)
    order, known = np.argsort(points), np.sort(given)
    at = np.union1d(points, known)
    total = np.concatenate(([0.0], np.cumsum(weights[order])))
    expected = total[np.searchsorted(points[order], at, side="right")]
    return float(np.abs(expected - np.searchsorted(known, at, side="right") / len(known)).max())


def _odds(p: Floats) -> Floats:
    q = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(q / (1 - q)))


def _moved(given: Floats, shift: float) -> Floats:
    return np.asarray(1 / (1 + np.exp(-(_odds(given) + shift))))
