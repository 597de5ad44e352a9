"""Predictions themselves: other answers for the same rows, classes exchanged, scores off by a sampling rate.

Source: paired differences where rows can be predicted again; otherwise the distribution of scores against training's.
False positives: a changed population changes scores too, so without a paired comparison nothing is claimed unless the
inputs are as in training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tallystick.parity.columns import Floats
from tallystick.parity.detect.finding import Finding, ks_bound, ks_distance
from tallystick.parity.intervene import SAME, logit_shift

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Share of live rows that may differ when scored again, for leaves that flip.
TOLERATED = 0.005


def paired_difference(predictions: Floats, rescored: Floats, rows_name: str) -> Finding | None:
    """Return what tells predictions of the endpoint from those of the model for the same rows, if anything."""
    apart = np.abs(predictions - rescored)
    scale = SAME * np.maximum(np.abs(rescored), float(np.std(rescored)) or 1.0)
    differs = ~(apart <= np.maximum(scale, 1e-12))
    if differs.mean() <= TOLERATED:
        return None
    kind, parameters, text = "prediction_differs", {"largest": float(np.nanmax(apart))}, "no simple relation was found"
    shift = logit_shift(rescored, predictions)
    if np.mean(np.abs(predictions - (1 - rescored)) <= 1e-6) > 0.99:
        kind, parameters, text = "class_order", {}, "each is one minus the other"
    elif shift is not None:
        kind, parameters, text = (
            "sampling_prior",
            {"log_odds": shift, "rate": float(np.exp(shift))},
            "log-odds differ by a constant",
        )
    evidence = (f"{int(differs.sum())} of {len(predictions)} {rows_name} predictions differ when scored again: {text}",)
    return Finding(
        kind, (), parameters, float(differs.mean()), 100.0, True, evidence, differs, gain=1e7, at_endpoint=True
    )


def unpaired_difference(reference: Reference, predictions: Any, inputs_are_as_trained: bool) -> Finding | None:
    """Return what the distribution of predictions shows when inputs are as in training; it is only a suspicion."""
    score = reference.score
    if score is None or score.numbers is None or not inputs_are_as_trained:
        return None
    given = reference.numbers_of(predictions)
    before, bound = ks_distance(score.numbers, given), ks_bound(score.numbers, len(given))
    if before <= 1.5 * bound:
        return None
    kind, text = "prediction_differs", ""
    if score.numbers.minimum >= 0 and score.numbers.maximum <= 1:
        turned = ks_distance(score.numbers, 1 - given)
        if turned <= bound:
            kind, text = "class_order", f"; as one minus the score {turned:.2f}"
        else:
            shifted = _shifted(score.numbers.grid, given)
            if shifted is not None and ks_distance(score.numbers, shifted) <= bound:
                kind, text = "sampling_prior", "; with log-odds moved by a constant they agree"
    evidence = (
        f"inputs are as in training, predictions are not: KS {before:.2f} "
        f"(a fair sample stays under {bound:.2f}){text}",
    )
    everything = np.ones(len(given), dtype=bool)
    return Finding(kind, (), {}, 1.0, 20.0, False, evidence, everything, gain=1e6, at_endpoint=True)


def _shifted(grid: Floats, given: Floats) -> Floats | None:
    def odds(p: Floats) -> Floats:
        q = np.clip(p, 1e-6, 1 - 1e-6)
        return np.asarray(np.log(q / (1 - q)))

    shift = float(np.median(odds(given)) - np.median(odds(grid)))
    return None if abs(shift) < 0.2 else np.asarray(1 / (1 + np.exp(-(odds(given) - shift))))
