"""The labelled metric over golden rows: computed from what the endpoint answers, held against the offline interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tallystick.gate.golden import Golden
from tallystick.gate.predictions import text_of

#: Two computations of one metric agree to so much; beyond, the offline one was made of something else.
_AGREE = 1e-6


def measure(metric: str, predictions: Sequence[Any], labels: Sequence[float]) -> float | None:
    """Return `auc`, `accuracy` or `rmse` over the rows with a label; None for other metrics, or without rows.

    AUC is the Mann-Whitney statistic with mid-ranks for ties (Hanley & McNeil 1982).
    """
    pairs = [(score, label) for score, label in zip(predictions, labels, strict=True) if not math.isnan(label)]
    if not pairs:
        return None
    if metric == "rmse":
        return math.sqrt(math.fsum((score - label) ** 2 for score, label in pairs) / len(pairs))
    if metric == "accuracy":
        return sum(1 for score, label in pairs if score == label) / len(pairs)
    return _auc(pairs) if metric == "auc" else None


def coded(golden: Golden, cells: Sequence[Any]) -> list[Any]:
    """Return answers as labels are: of classes that are texts their places, for others the number after the last."""
    if not golden.predictions.texts:
        return list(cells)
    places = {name: float(place) for place, name in enumerate(golden.classes)}
    return [places.get(text_of(cell), float(len(places))) for cell in cells]


def agrees(one: float | None, other: float) -> bool:
    """Whether two computations gave the same metric."""
    return one is not None and abs(one - other) <= _AGREE * max(1.0, abs(other))


def _auc(pairs: list[tuple[float, float]]) -> float | None:
    ranked = sorted(pairs)
    positive = max(label for _, label in pairs)
    total, start = 0.0, 0
    while start < len(ranked):
        end = start
        while end < len(ranked) and ranked[end][0] == ranked[start][0]:
            end += 1
        total += (start + end + 1) / 2 * sum(label == positive for _, label in ranked[start:end])
        start = end
    hits = sum(label == positive for _, label in pairs)
    misses = len(pairs) - hits
    return (total - hits * (hits + 1) / 2) / (hits * misses) if hits and misses else None
