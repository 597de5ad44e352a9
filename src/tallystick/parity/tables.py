"""Rows in whatever form they were given, as a frame; and the frame's rows in that form again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tallystick.errors import InvalidParameter
from tallystick.printable import listed_names

#: What makes a table of something that has such a method.
_HINTS = {"toarray": "X.toarray() makes an array of sparse rows", "collect": "X.collect() makes a frame of it"}


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows with text names. `restore` gives rows of `frame` in the form that the model was fitted on."""

    frame: pd.DataFrame
    restore: Callable[[pd.DataFrame], Any]
    #: Whether the model takes an array without names.
    is_array: bool = False

    def asked(self, model: Any) -> Any:
        """Return the model as one that is asked with rows of `frame`."""
        return model if self.restore is _unchanged else _AskedWithFrames(model, self.restore)


def read_rows(given: Any, what: str = "X") -> Rows:
    """Return rows given as a DataFrame, a 2-D array, a Series, or something with `to_pandas`.

    Raises InvalidParameter for anything else: sparse matrices, lists of texts, images.
    """
    given = as_table(given, what)
    if isinstance(given, np.ndarray):
        frame = pd.DataFrame(given, columns=[str(place) for place in range(given.shape[1])])
        kind = given.dtype
        return Rows(checked_frame(frame), lambda rows: np.ascontiguousarray(rows.to_numpy(), dtype=kind), is_array=True)
    names = list(given.columns)
    frame = checked_frame(given)
    if all(isinstance(name, str) for name in names):
        return Rows(frame, _unchanged)
    # Python's numbers: an Index of NumPy's has names that MLflow cannot write as JSON.
    plain = [name.item() if isinstance(name, np.generic) else name for name in names]
    return Rows(frame, lambda rows: rows.set_axis(pd.Index(plain, dtype=object), axis=1))


def as_table(given: Any, what: str = "X") -> Any:
    """Return rows given as a DataFrame, a 2-D array, a Series, or something with `to_pandas`, as one of the first two.

    Raises InvalidParameter for anything else.
    """
    if hasattr(given, "to_pandas"):
        given = given.to_pandas()
    if isinstance(given, pd.Series):
        given = given.to_frame()
    is_array = isinstance(given, np.ndarray) and given.ndim == 2 and given.dtype.names is None
    if not is_array and not isinstance(given, pd.DataFrame):
        shape = getattr(given, "shape", None)
        form = f"{type(given).__name__}{f' of shape {shape}' if shape is not None else ''}"
        hint = next((f"; {text}" for method, text in _HINTS.items() if hasattr(given, method)), "")
        raise InvalidParameter(
            f"{what}: expected a pandas DataFrame or a 2-D NumPy array of features, got {form}{hint}"
        )
    return given


def checked_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with text column names; raises InvalidParameter when it is empty or a name stands twice."""
    if not isinstance(frame, pd.DataFrame):
        raise InvalidParameter(f"expected a pandas DataFrame of features, got {type(frame).__name__}")
    if not len(frame) or not len(frame.columns):
        raise InvalidParameter("the frame has no rows or no columns")
    if frame.columns.nlevels > 1:
        raise InvalidParameter("the frame's column names have several levels; give each column one name")
    named = frame.set_axis([str(name) for name in frame.columns], axis=1)
    if named.columns.has_duplicates:
        twice = sorted(set(named.columns[named.columns.duplicated()]))
        raise InvalidParameter(f"column names stand twice: {listed_names(twice, 5)}")
    return named.reset_index(drop=True)


def _unchanged(rows: pd.DataFrame) -> pd.DataFrame:
    return rows


@dataclass(frozen=True, slots=True)
class _AskedWithFrames:
    model: Any
    restore: Callable[[pd.DataFrame], Any]

    def __call__(self, frame: pd.DataFrame) -> Any:
        return self.model(self.restore(frame))

    def __getattr__(self, name: str) -> Any:
        """Return what the model has of this name: it may have `predict`, `predict_proba`, both or neither."""
        found = getattr(self.model, name)
        return (lambda frame: found(self.restore(frame))) if name in ("predict", "predict_proba") else found
