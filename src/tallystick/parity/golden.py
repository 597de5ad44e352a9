"""Golden rows, and what the model says of rows: scores, labels, the offline metric, constants of fitted scalers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from tallystick.parity.columns import Floats
from tallystick.parity.joint import Values
from tallystick.parity.profile import ColumnProfile, Ints, cells_of

#: 459 rows meet a fault that touches 1 % of rows with 99 % probability.
MOST_ROWS = 512
FEWEST_ROWS = 256
BOOTSTRAPS = 100
#: Classes of which there is a table; and what probabilities may be above one by an error of floats.
FEWEST_CLASSES, MOST_CLASSES, ROUNDING = 3, 20, 1e-6


class Scaler(msgspec.Struct, frozen=True):
    """Constants of one fitted scaler of the model: value -> (value - centre) / scale."""

    column: str
    centre: float
    scale: float


def choose_rows(
    profiles: tuple[ColumnProfile, ...], values: list[Values], random: np.random.Generator, max_bytes: int
) -> Ints:
    """Return row numbers that cover every cell of every column and the extremes, filled up with random rows."""
    rows = len(values[0])
    limit = int(np.clip(0.4 * max_bytes / (8 * max(1, len(profiles))), FEWEST_ROWS, MOST_ROWS))
    must: list[int] = []
    for profile, column in zip(profiles, values, strict=True):
        cells = cells_of(profile, column)
        _, first = np.unique(cells, return_index=True)
        must.extend(first.tolist())
        if profile.numbers is not None:
            numbers = np.asarray(column, dtype=np.float64)
            if np.isfinite(numbers).any():
                must.extend((int(np.nanargmin(numbers)), int(np.nanargmax(numbers))))
    # At least half the rows are random: a metric or a share taken over them must mean something.
    covering = list(dict.fromkeys(must))[: limit // 2]
    rest = np.setdiff1d(np.arange(rows), covering)
    filler = random.choice(rest, min(len(rest), limit - len(covering)), replace=False)
    return np.concatenate((np.array(covering, dtype=np.int64), np.sort(filler))).astype(np.int64)


def scores(model: Any, frame: pd.DataFrame, classes: tuple[str, ...] = ()) -> Floats:
    """Return one number a row: the probability of the last class, the prediction, or a code of its class."""
    return label_numbers(answer(model, frame), classes)


def answer(model: Any, frame: pd.DataFrame) -> Any:
    """Return what a model answers to rows, as an array: probabilities, where it has them."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(frame), dtype=np.float64)
    return np.asarray(model.predict(frame) if hasattr(model, "predict") else model(frame))


def label_numbers(labels: Any, classes: tuple[str, ...] = ()) -> Floats:
    """Return labels as numbers, NaN where there is none; texts get their place among `classes`, or in sorted order.

    A text that is none of `classes` gets the number after the last. Of several numbers a row it is the last one that
    counts, as in `scores`.

    >>> label_numbers(["no", None, "maybe", "yes"], ("no", "yes")).tolist()
    [0.0, nan, 2.0, 1.0]
    """
    array = _one_a_row(labels)
    if array.dtype.kind in "biuf":
        return np.asarray(array, dtype=np.float64)
    is_missing = pd.isna(array)
    if not _has_texts(array):
        try:
            return np.array([np.nan if lacks else float(one) for one, lacks in zip(array, is_missing, strict=True)])
        except (TypeError, ValueError):
            pass
    codes, distinct = pd.factorize(pd.Series(array[~is_missing], dtype=object).map(str))
    order = classes or tuple(sorted(distinct))
    places = {name: place for place, name in enumerate(order)}
    numbers = np.full(len(array), np.nan)
    numbers[~is_missing] = np.array([float(places.get(name, len(order))) for name in distinct] or [0.0])[codes]
    return numbers


def class_names(labels: Any, model: Any = None, frame: pd.DataFrame | None = None) -> tuple[str, ...]:
    """Return the classes that are texts, sorted: those of labels, or without any of the model's answers to `frame`.

    Empty where they are no texts. One order for all of them: a code means the same class in labels, training's
    predictions and live ones.
    """
    values = labels
    if labels is None and model is not None and frame is not None and not hasattr(model, "predict_proba"):
        values = answer(model, frame)
    array = np.zeros(0) if values is None else _one_a_row(values)
    if not _has_texts(array):
        return ()
    return tuple(sorted({str(one) for one in pd.unique(pd.Series(array, dtype=object).dropna())}))


def _one_a_row(labels: Any) -> Any:
    array = np.asarray(labels)
    # Of probabilities the last class's, as `scores` has it.
    return array.reshape(len(array), -1)[:, -1] if len(array) else array.ravel()


def _has_texts(array: Any) -> bool:
    return array.dtype.kind in "US" or (array.dtype == object and any(isinstance(one, str) for one in array))


def label_shares(labels: Any) -> dict[str, float]:
    """Return the share of each class; empty for labels with many values, which are quantities."""
    shares = pd.Series(np.asarray(labels).reshape(len(labels), -1)[:, 0]).value_counts(normalize=True)
    return {str(name): float(share) for name, share in shares.items()} if len(shares) <= 20 else {}


def metric(truth: Floats, score: Floats, classes: int = 0) -> tuple[str, float]:
    """Return name and value: accuracy of class labels, AUC of scores for two classes, else root mean square error.

    With `classes`, as many as there are of texts, truth is their codes; scores that are none have a metric for two
    classes only, and the name is empty where there is none.
    """
    known = np.unique(truth)
    if classes:
        if np.isin(score, np.arange(classes + 1)).all():
            return "accuracy", float(np.mean(truth == score))
        return ("auc", auc(truth, score)) if classes == 2 and len(known) == 2 else ("", np.nan)
    if len(known) <= 20 and set(np.unique(score)) <= set(known):
        return "accuracy", float(np.mean(truth == score))
    if len(known) == 2:
        return "auc", auc(truth, score)
    return "rmse", float(np.sqrt(np.mean((truth - score) ** 2)))


def auc(truth: Floats, score: Floats) -> float:
    """Return how often a row of the upper class scores higher than one of the lower (Hanley & McNeil 1982)."""
    positive = truth == truth.max()
    ranks = pd.Series(score).rank().to_numpy()
    pairs = positive.sum() * (~positive).sum()
    return float((ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2) / max(1, pairs))


def metric_with_interval(
    truth: Floats, score: Floats, random: np.random.Generator, classes: int = 0
) -> tuple[str, float, float, float]:
    """Return name, value and the 2.5 % and 97.5 % points over bootstrap samples of rows.

    `classes` as for `metric`. The name is empty where there is no metric.
    """
    name, value = metric(truth, score, classes)
    draws = []
    for _ in range(BOOTSTRAPS if name else 0):
        picked = random.integers(0, len(truth), len(truth))
        if len(np.unique(truth[picked])) > 1:
            draws.append(metric(truth[picked], score[picked], classes)[1])
    low, high = np.quantile(draws, (0.025, 0.975)) if draws else (value, value)
    return name, value, float(low), float(high)


def fitted_scalers(model: Any, profiles: tuple[ColumnProfile, ...]) -> tuple[Scaler, ...]:
    """Return constants of scalers inside a fitted pipeline, by the attributes that scikit-learn gives them."""
    found: dict[str, Scaler] = {}
    for step, columns in _steps(model, [profile.name for profile in profiles], depth=0):
        scale = getattr(step, "scale_", None)
        if scale is None:
            continue
        centre = getattr(step, "mean_", getattr(step, "center_", None))
        scales = np.asarray(scale, dtype=np.float64).ravel()
        centres = np.zeros(len(scales)) if centre is None else np.asarray(centre, dtype=np.float64).ravel()
        if len(columns) == len(scales) == len(centres):
            for column, middle, width in zip(columns, centres, scales, strict=True):
                found.setdefault(column, Scaler(column, float(middle), float(width)))
    return tuple(found.values())


def holds_scaler(model: Any) -> bool:
    """Whether any step of a model scales, on whatever columns."""
    return any(getattr(step, "scale_", None) is not None for step, _ in _steps(model, [], depth=0))


def _steps(model: Any, names: list[str], depth: int) -> Iterator[tuple[Any, list[str]]]:
    """Yield each step with the names of the columns that it gets, as far as they are known."""
    if model is None or depth > 6 or isinstance(model, str):
        return
    given = getattr(model, "feature_names_in_", None)
    names = names if given is None else [str(name) for name in given]
    yield model, names
    for name in ("steps", "transformers_", "transformer_list"):
        entries = getattr(model, name, None)
        for entry in entries if isinstance(entries, (list, tuple)) else ():
            if isinstance(entry, tuple) and len(entry) >= 2:
                chosen = [str(column) for column in entry[2]] if len(entry) > 2 and _are_names(entry[2]) else names
                yield from _steps(entry[1], chosen, depth + 1)
    for name in ("regressor_", "transformer_", "estimator_", "best_estimator_"):
        if hasattr(model, name):
            yield from _steps(getattr(model, name), names, depth + 1)


def _are_names(columns: Any) -> bool:
    return isinstance(columns, (list, tuple, np.ndarray, pd.Index)) and all(isinstance(name, str) for name in columns)


def table_of(answers: Any, classes: int = 0) -> Floats | None:
    """Return answers as rows x classes; None where they are no numbers of three classes or more (or of `classes`)."""
    try:
        table = np.asarray(answers, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if table.ndim != 2 or not FEWEST_CLASSES <= table.shape[1] <= MOST_CLASSES or not np.isfinite(table).all():
        return None
    are_probabilities = bool(len(table)) and table.min() >= 0 and table.max() <= 1 + ROUNDING
    return table if are_probabilities and classes in (0, table.shape[1]) else None
