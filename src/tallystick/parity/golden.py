"""Golden rows, and what the model says of rows: scores, labels, the offline metric, constants of fitted scalers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from tallystick.parity.columns import Floats
from tallystick.parity.joint import Values
from tallystick.parity.profile import ColumnProfile, Ints, cells_of

if TYPE_CHECKING:
    from tallystick.parity.reference import Scaler

#: 459 rows meet a fault that touches 1 % of rows with 99 % probability.
MOST_ROWS = 512
FEWEST_ROWS = 256
BOOTSTRAPS = 100


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


def scores(model: Any, frame: pd.DataFrame) -> Floats:
    """Return one number a row: the probability of the last class, the prediction, or a code of its class."""
    if hasattr(model, "predict_proba"):
        answer = np.asarray(model.predict_proba(frame), dtype=np.float64)
        return np.asarray(answer[:, -1] if answer.ndim == 2 else answer)
    answer = np.asarray(model.predict(frame) if hasattr(model, "predict") else model(frame))
    if answer.ndim == 2:
        answer = answer[:, -1]
    return label_numbers(answer)


def label_numbers(labels: Any) -> Floats:
    """Return labels as numbers; text labels get codes in sorted order."""
    array = np.asarray(labels).reshape(len(labels), -1)[:, 0]
    if array.dtype == bool or np.issubdtype(array.dtype, np.number):
        return np.asarray(array, dtype=np.float64)
    return np.asarray(pd.factorize(pd.Series(array).astype(str), sort=True)[0], dtype=np.float64)


def label_shares(labels: Any) -> dict[str, float]:
    """Return the share of each class; empty for labels with many values, which are quantities."""
    shares = pd.Series(np.asarray(labels).reshape(len(labels), -1)[:, 0]).value_counts(normalize=True)
    return {str(name): float(share) for name, share in shares.items()} if len(shares) <= 20 else {}


def metric(truth: Floats, score: Floats) -> tuple[str, float]:
    """Return name and value: AUC for two classes, accuracy for a few, root mean square error otherwise."""
    classes = np.unique(truth)
    if len(classes) == 2:
        positive = truth == classes[1]
        ranks = rankdata(score)
        pairs = positive.sum() * (~positive).sum()
        return "auc", float((ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2) / max(1, pairs))
    if len(classes) <= 20 and set(np.unique(score)) <= set(classes):
        return "accuracy", float(np.mean(truth == score))
    return "rmse", float(np.sqrt(np.mean((truth - score) ** 2)))


def metric_with_interval(truth: Floats, score: Floats, random: np.random.Generator) -> tuple[str, float, float, float]:
    """Return name, value and the 2.5 % and 97.5 % points over bootstrap samples of rows."""
    name, value = metric(truth, score)
    draws = []
    for _ in range(BOOTSTRAPS):
        picked = random.integers(0, len(truth), len(truth))
        if len(np.unique(truth[picked])) > 1:
            draws.append(metric(truth[picked], score[picked])[1])
    low, high = np.quantile(draws, (0.025, 0.975)) if draws else (value, value)
    return name, value, float(low), float(high)


def fitted_scalers(model: Any, profiles: tuple[ColumnProfile, ...]) -> tuple[Scaler, ...]:
    """Return constants of scalers inside a fitted pipeline, by the attributes that scikit-learn gives them."""
    from tallystick.parity.reference import Scaler

    names = [profile.name for profile in profiles]
    found: dict[str, Scaler] = {}
    for step in _steps(model, depth=0):
        scale = getattr(step, "scale_", None)
        if scale is None:
            continue
        centre = getattr(step, "mean_", getattr(step, "center_", None))
        scales = np.asarray(scale, dtype=np.float64).ravel()
        centres = np.zeros(len(scales)) if centre is None else np.asarray(centre, dtype=np.float64).ravel()
        given = getattr(step, "feature_names_in_", None)
        columns = [str(name) for name in given] if given is not None else names
        if len(columns) == len(scales) == len(centres):
            for column, middle, width in zip(columns, centres, scales, strict=True):
                found.setdefault(column, Scaler(column, float(middle), float(width)))
    return tuple(found.values())


def _steps(model: Any, depth: int) -> Iterator[Any]:
    if model is None or depth > 6 or isinstance(model, str):
        return
    yield model
    for name in ("steps", "transformers_", "transformer_list"):
        for entry in getattr(model, name, None) or ():
            if isinstance(entry, tuple) and len(entry) >= 2:
                yield from _steps(entry[1], depth + 1)
    for name in ("regressor_", "transformer_", "estimator_", "best_estimator_"):
        if hasattr(model, name):
            yield from _steps(getattr(model, name), depth + 1)
