"""A model behind each table, and what is known of an endpoint that serves it: sound ones, and ones with a fault.

The faults of `faults.py` are in rows. Those here are in answers, replicas and environments: a fact takes fair rows (or
rows of another mix) and gives them with predictions, labels, a way to predict again, an environment or digests, as
whoever asks for a diagnosis has them, and what a verdict should say.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from benchmarks.parity.faults import Truth
from tallystick.parity import Reference

Rows = pd.DataFrame
#: Rows that a fact needs: tables with fewer are left out.
FEWEST_ROWS = 60
#: Classes of a label that is no quantity, and rows that each needs.
MOST_CLASSES, FEWEST_EACH = 8, 20


@dataclass(frozen=True)
class Served:
    """A model of a table's two classes, another version of it, and references with and without the model."""

    ref: Rows
    pool: Rows
    y_pool: pd.Series
    model: Any
    other: Any
    #: Scores are served; the model is at hand.
    reference: Reference
    #: Labels are served.
    of_labels: Reference
    #: A model of three classes or more with its reference, where the label has so many or is a quantity.
    many: tuple[Any, Reference] | None = None

    @property
    def stored(self) -> Reference:
        """Return the reference as it is read from a file: without the model."""
        return msgspec.structs.replace(self.reference, model=None)


@dataclass(frozen=True)
class Known:
    """What a diagnosis is given, and what it should say: nothing wrong without a `truth`."""

    reference: Reference
    live: Rows
    given: Mapping[str, Any] = field(default_factory=dict)
    truth: Truth | None = None


Make = Callable[[Served, Rows, np.random.Generator, float], Known | None]


@dataclass(frozen=True)
class Fact:
    """`mix`: rows may be of another mix than training's; what is compared with training's scores needs fair rows."""

    make: Make
    shares: tuple[float, ...] = (1.0, 0.3, 0.05)
    mix: bool = True


def pipeline(frame: Rows, is_linear: bool) -> Any:
    """Return an unfitted pipeline over raw columns; times are left out."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    taken = [n for n in frame if frame[n].dtype.kind in "iufb"]
    texts = [n for n in frame if frame[n].dtype.kind not in "iufbM" and frame[n].nunique() <= 60]
    number = Pipeline([("fill", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    level = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    last = LogisticRegression(max_iter=300) if is_linear else GradientBoostingClassifier(n_estimators=20)
    prepare = ColumnTransformer([("num", number, taken), ("cat", level, texts)])
    return Pipeline([("prepare", prepare), ("model", last)])


def serve(name: str, ref: Rows, pool: Rows, y_ref: pd.Series, y_pool: pd.Series) -> Served | None:
    """Return models of one table: of its two classes, or of its label made two. None where there is no label to use."""
    made, y_live = _two_classes(y_ref, y_pool), _two_classes(y_ref, y_pool, of_pool=True)
    if len(pool) < FEWEST_ROWS or made.nunique() < 2 or made.value_counts(normalize=True).min() < 0.02:
        return None
    is_linear = zlib.crc32(name.encode()) % 2 == 0
    model, other = (pipeline(ref, is_linear), pipeline(ref, is_linear))
    model.fit(ref, made)
    third = len(ref) // 3
    other.fit(ref.iloc[:third], made.iloc[:third])
    reference = Reference.from_frame(ref, model=model, y=made)
    of_labels = Reference.from_frame(ref, model=model, y=made, predict=model.predict)
    return Served(ref, pool, y_live, model, other, reference, of_labels, _many(pipeline(ref, is_linear), ref, y_ref))


def _many(unfitted: Any, ref: Rows, y: pd.Series) -> tuple[Any, Reference] | None:
    """Return a fitted model of three classes or more with its reference: of thirds, where the label is a quantity."""
    if y.dtype.kind in "iuf" and y.nunique() > 10:
        y = pd.Series(np.searchsorted(y.quantile([1 / 3, 2 / 3]).to_numpy(), y))
    if not 3 <= y.nunique() <= MOST_CLASSES or y.value_counts().min() < FEWEST_EACH:
        return None
    unfitted.fit(ref, y.to_numpy())
    return unfitted, Reference.from_frame(ref, model=unfitted, y=y.to_numpy())


def _two_classes(y_ref: pd.Series, y_pool: pd.Series, of_pool: bool = False) -> pd.Series:
    """Return the label as two classes: above the median, or the most frequent one against the others."""
    y = y_pool if of_pool else y_ref
    if y_ref.nunique() == 2:
        return y
    if y_ref.dtype.kind in "iuf" and y_ref.nunique() > 10:
        return (y > y_ref.median()).astype(int)
    return (y == y_ref.mode()[0]).astype(int)
