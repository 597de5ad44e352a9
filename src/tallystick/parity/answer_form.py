"""Answers of a classifier in two forms: labels, and the probability of a class.

An endpoint may answer with labels where the reference keeps probabilities, or the other way round. That is another
form, and no other prediction: both sides are brought to labels before they are compared, or are not compared at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tallystick.parity import golden
from tallystick.parity.columns import Floats

if TYPE_CHECKING:
    import pandas as pd

    from tallystick.parity.reference import Reference

#: More distinct whole numbers than this are a quantity.
MOST_LABELS = 20


def comparable(
    reference: Reference, expected: Floats, got: Floats, rows: pd.DataFrame | None = None
) -> tuple[Floats, Floats] | None:
    """Return training's answers and the endpoint's in one form, or None where they have none in common.

    `rows` are those that were predicted: a model in this process says their labels. Without one, a probability decides
    between two labels, and nothing between more.
    """
    if not differ_in_form(reference, expected, got):
        return expected, got
    chances, labels = (expected, got) if _are_labels(got) else (got, expected)
    told = _told_labels(reference, rows) if chances is expected else None
    if told is None:
        told = _decided(chances, labels)
    if told is None:
        return None
    return (told, got) if chances is expected else (expected, told)


def as_stored(reference: Reference, model: Any, frames: Sequence[pd.DataFrame]) -> list[Floats] | None:
    """Return what a model answers to each of `frames`, in the form of training's predictions; None where it cannot.

    A classifier of scikit-learn is asked for probabilities where it has them, and may be served with labels. Answers
    are looked at together: of rows with a fault all chances may be exactly 1. Raises what the model raises.
    """
    answers = [golden.scores(model, frame, reference.classes) for frame in frames]
    stored, score = reference.predictions, reference.score
    if not len(stored) and score is not None and score.numbers is not None:
        stored = score.numbers.grid
    if _has_both(model):
        if not _are_labels(stored):
            return answers
        labels = [golden.label_numbers(model.predict(frame), reference.classes) for frame in frames]
        return answers if _are_certain(stored, labels) else labels
    if not answers or not differ_in_form(reference, stored, np.concatenate(answers)):
        return answers
    decided = [_decided(each, stored) if _are_labels(stored) else None for each in answers]
    told = [each for each in decided if each is not None]
    return told if len(told) == len(answers) else None


def _are_certain(stored: Floats, labels: Sequence[Floats]) -> bool:
    """Whether whole numbers are chances of 0 and 1, and no labels: the model has others."""
    return bool(np.isin(stored, (0.0, 1.0)).all() and not all(np.isin(each, (0.0, 1.0)).all() for each in labels))


def differ_in_form(reference: Reference, expected: Floats, got: Floats) -> bool:
    """Whether one side is labels and the other probabilities."""
    if not _classifies(reference) or _are_labels(expected) == _are_labels(got):
        return False
    return _are_chances(expected if _are_labels(got) else got)


def _classifies(reference: Reference) -> bool:
    return bool(reference.label_shares or reference.classes) or hasattr(reference.model, "predict_proba")


def _are_labels(numbers: Floats) -> bool:
    known = numbers[np.isfinite(numbers)]
    return bool(len(known)) and bool(np.all(known == np.floor(known))) and len(np.unique(known)) <= MOST_LABELS


def _are_chances(numbers: Floats) -> bool:
    known = numbers[np.isfinite(numbers)]
    return bool(len(known)) and bool(known.min() >= 0.0 and known.max() <= 1.0)


def _told_labels(reference: Reference, rows: pd.DataFrame | None) -> Floats | None:
    model: Any = reference.model
    if rows is None or not _has_both(model):
        return None
    try:
        return golden.label_numbers(model.predict(rows), reference.classes)
    except Exception:  # noqa: BLE001  the model's code: it cannot take these rows as they were sent
        return None


def _has_both(model: Any) -> bool:
    return hasattr(model, "predict") and hasattr(model, "predict_proba")


def _decided(chances: Floats, labels: Floats) -> Floats | None:
    values = np.unique(labels[np.isfinite(labels)])
    if len(values) != 2:
        return None
    return np.asarray(np.where(chances > 0.5, values[1], values[0]), dtype=np.float64)
