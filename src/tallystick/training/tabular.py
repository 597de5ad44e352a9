"""Training rows in whatever form they were given, as a frame; and the frame's rows in that form again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tallystick.errors import InvalidParameter
from tallystick.parity.reference import checked_frame

#: Rows that are captured; of more, so many are drawn. A profile of them is as good, and it is done in two seconds.
MOST_ROWS = 100_000
#: Memory of rows that are held for a model: wide frames are held with fewer rows.
MOST_BYTES = 256 << 20


#: What makes a table of something that has such a method.
_HINTS = {"toarray": "X.toarray() makes an array of sparse rows", "collect": "X.collect() makes a frame of it"}


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows with text names. `restore` gives rows of `frame` in the form that the model was fitted on."""

    frame: pd.DataFrame
    restore: Callable[[pd.DataFrame], Any]
    #: Whether the model takes an array without names.
    is_array: bool = False


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
        return Rows(frame, lambda rows: rows)
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


def sampled(given: Any, labels: Any, seed: int = 0) -> tuple[Any, Any]:
    """Return rows and labels; where there are more than are captured, so many of them, drawn at random.

    What comes back does not change when the caller changes what was given.
    """
    picked = drawn(given, seed)
    return taken(given, picked), taken(labels, picked)


def drawn(given: Any, seed: int = 0) -> NDArray[np.int64] | None:
    """Return the rows that are captured, in order, the same ones each time; None where all of them are."""
    rows = int(given.shape[0])
    limit = max(1, min(MOST_ROWS, MOST_BYTES * rows // max(1, bytes_of(given))))
    return None if rows <= limit else np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))


def taken(values: Any, picked: Any) -> Any:
    """Return picked rows of a frame, an array or labels, or all; they do not change with what was given."""
    if picked is None:
        if isinstance(values, (pd.DataFrame, pd.Series)):
            # From pandas 3 on a shallow copy is one: whoever writes to one of the two gets a copy then.
            return values.copy(deep=int(pd.__version__.split(".")[0]) < 3)
        return values.copy() if hasattr(values, "copy") else values
    if values is None or hasattr(values, "iloc"):
        return None if values is None else values.iloc[picked]
    return np.asarray(values)[picked]


def bytes_of(given: Any) -> int:
    """Return the memory that rows take, nearly."""
    if isinstance(given, pd.DataFrame):
        # Texts are more than their references; a hundred bytes each is near enough for a limit.
        texts = sum(1 for dtype in given.dtypes if dtype.kind == "O")
        return int(given.memory_usage(index=False).sum()) + 100 * texts * len(given)
    return int(getattr(given, "nbytes", 0))
