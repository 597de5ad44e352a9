"""Probabilities of three classes or more: a row of them is one answer, and the order of its classes may be another.

Two classes have one number that says it all, and are in `detect.prediction`. Here rows are tables, rows x classes, in
training's order of classes. An order is told by the columns of answers that fit training's columns best, all at once
(Kuhn 1955); it is claimed where nothing else is left to tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.detect.answers import CLAIM, likelihoods
from tallystick.parity.detect.finding import Finding
from tallystick.parity.golden import answer, table_of
from tallystick.parity.live import Live

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Difference up to which probabilities are the same; share of the rows that may differ (leaves that flip), and of those
#: that differ, the share that an order has to explain.
SAME, TOLERATED, EXPLAINED = 1e-6, 0.005, 0.99


def predicted_table(model: Any, frame: pd.DataFrame, classes: int = 0) -> Floats | None:
    """Return what a model answers to rows, where that is a table."""
    return table_of(answer(model, frame), classes)


def paired_tables(reference: Reference, given: Floats, expected: Floats, what: str) -> Finding | None:
    """Return what tells answers from those that were expected of the same rows, if anything."""
    apart = np.abs(given - expected).max(axis=1)
    differs = apart > SAME
    if differs.mean() <= TOLERATED:
        return None
    order = order_of(expected[differs], given[differs])
    kind = "prediction_differs" if order is None else "class_order"
    parameters = {"largest": float(apart.max())} if order is None else {"map": moved_classes(reference, order)}
    told = "no order of the classes explains it" if order is None else "each class's probability stands at another's"
    evidence = (f"{int(differs.sum())} of {len(given)} {what} predictions differ when scored again: {told}",)
    share = float(differs.mean())
    return Finding(kind, (), parameters, share, 100.0, True, evidence, differs, gain=1e7, at_endpoint=True)


def order_of(expected: Floats, given: Floats) -> tuple[int, ...] | None:
    """Return which class's probability stands at each place; None where none explains it, or classes are alike.

    >>> order_of(np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]]), np.array([[0.2, 0.7, 0.1], [0.6, 0.1, 0.3]]))
    (1, 0, 2)
    """
    cost = np.abs(given[:, :, None] - expected[:, None, :]).mean(axis=0)
    order = linear_sum_assignment(cost)[1]
    explained = np.abs(given - expected[:, order]).max(axis=1) <= SAME
    if (order == np.arange(len(order))).all() or explained.mean() < EXPLAINED:
        return None
    return tuple(int(place) for place in order)


def unpaired_tables(live: Live, given: Floats) -> Finding | None:
    """Return the order that golden rows expect classes in, where it is another one, or None.

    For each place and class: how likely the place's log-odds are as that class's. The best order of all has to be
    likelier than training's.
    """
    known = live.reference.golden_probabilities
    if known is None or known.shape[1] != given.shape[1]:
        return None
    fits = [likelihoods(live, known[:, k], given) for k in range(known.shape[1])]
    if any(fit is None for fit in fits):
        return None
    nats = np.column_stack([fit for fit in fits if fit is not None])
    order = linear_sum_assignment(-nats)[1]
    gain = float(nats[np.arange(len(order)), order].sum() - np.trace(nats))
    if gain <= CLAIM:
        return None
    everything: Mask = np.ones(len(given), dtype=bool)
    parameters = {"map": moved_classes(live.reference, tuple(int(place) for place in order))}
    evidence = ("predictions are what golden rows tell of training's model for such rows, in another order of classes",)
    nats_told = min(gain, 40.0)
    return Finding(
        "class_order", (), parameters, 1.0, nats_told, False, evidence, everything, gain=1e6, at_endpoint=True
    )


def moved_classes(reference: Reference, order: tuple[int, ...]) -> dict[str, str]:
    """Return class -> the class in whose place its probability stands, of those that are not in their own."""
    names = _names(reference, len(order))
    return {names[sent]: names[place] for place, sent in enumerate(order) if place != sent}


def _names(reference: Reference, count: int) -> list[str]:
    """Return the classes in the order of probabilities: sorted, as scikit-learn has them; places where unknown."""
    if len(reference.classes) == count:
        return list(reference.classes)
    names = list(reference.label_shares)
    if len(names) != count:
        return [str(place) for place in range(count)]
    try:
        return sorted(names, key=float)
    except ValueError:
        return sorted(names)
