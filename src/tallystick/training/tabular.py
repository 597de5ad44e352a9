"""Rows of training that are held for a capture: as many as it takes, and not changed by who gave them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: Rows that are captured; of more, so many are drawn. A profile of them is as good, and it is done in two seconds.
MOST_ROWS = 100_000
#: Memory of rows that are held for a model: wide frames are held with fewer rows.
MOST_BYTES = 256 << 20


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
