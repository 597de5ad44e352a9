"""May requests share a call of this model? Asked at load, of the model itself.

Joining is safe only when the answer for a row does not depend on the rows beside it. The input example's rows are
predicted together, together again, and one at a time; any difference, and any doubt, turns joining off.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from tallystick.protocol.predictions import split_predictions

#: Rows of the example that are tried. Each is one call of the model while it loads.
MAX_ROWS = 6
#: A sum over a row may be ordered differently in a batch; beyond that two answers are two answers.
_RELATIVE = {np.dtype(np.float64): 1e-9, np.dtype(np.float32): 1e-5, np.dtype(np.float16): 1e-2}


def rows_are_independent(predict: Callable[[Any], Any], data: Any) -> tuple[bool, str]:
    """Return whether `predict` treats the rows of `data` (a pandas DataFrame or ndarray) each by itself, and why.

    Calls the model up to 8 times. What it raises comes through.
    """
    rows = _distinct_rows(data)
    if rows is None or len(rows) < 2:
        return False, "the input example has fewer than two different rows to compare"
    singles = [_alone(rows, number) for number in range(len(rows))]
    together = split_predictions(predict(rows), [1] * len(rows))
    if together is None:
        return False, "the output has no row for each row of the input"
    again = split_predictions(predict(rows), [1] * len(rows))
    if again is None or not all(map(same_answer, together, again)):
        return False, "the same rows got different answers in two calls"
    # Backwards, so that a model that counts calls or remembers the last row is found out too.
    alone = [predict(single) for single in reversed(singles)][::-1]
    for number, (a, b) in enumerate(zip(together, alone, strict=True), 1):
        if not same_answer(a, b):
            return False, f"row {number} of the input example got another answer in company than alone"
    return True, f"{len(rows)} rows of the input example got the same answers in company and alone"


def _distinct_rows(data: Any) -> Any:
    """Return up to MAX_ROWS rows, with changed copies of them where the example has too few; None when unknown."""
    if not hasattr(data, "shape") or not len(data.shape) or data.shape[0] == 0:
        return None
    is_frame = hasattr(data, "iloc")
    rows = data.iloc[:MAX_ROWS] if is_frame else data[:MAX_ROWS]
    if len(rows) >= 3:
        return rows.reset_index(drop=True) if is_frame else rows
    if is_frame:
        import pandas as pd

        pieces = [rows, *itertools.islice(map(_nudged, itertools.repeat(rows), (1.25, 0.5)), 2)]
        return pd.concat(pieces, ignore_index=True).astype(rows.dtypes.to_dict())
    if data.dtype.kind not in "fiu":
        return rows
    return np.concatenate([rows, (rows * 1.25).astype(data.dtype), (rows * 0.5).astype(data.dtype)])


def _alone(rows: Any, number: int) -> Any:
    """Return one row as a request of its own would bring it: its index starts at 0."""
    row = rows[number : number + 1]
    return row.reset_index(drop=True) if hasattr(row, "iloc") else row


def _nudged(frame: Any, factor: float) -> Any:
    changed = frame.copy()
    for column in range(changed.shape[1]):
        kind = changed.dtypes.iloc[column].kind
        if kind in "fiu":
            scaled = changed.iloc[:, column] * factor + (1 if kind != "f" else 0)
            changed.isetitem(column, scaled.astype(changed.dtypes.iloc[column]))
    return changed


def same_answer(a: Any, b: Any) -> bool:
    """Whether two outputs of a model are one answer: equal, or floats to their type's tolerance."""
    left, right = np.asarray(_plain(a)), np.asarray(_plain(b))
    if left.shape != right.shape:
        return False
    tolerance = _RELATIVE.get(left.dtype)
    if tolerance is not None and right.dtype == left.dtype:
        return bool(np.allclose(left, right, rtol=tolerance, atol=tolerance * 1e-3, equal_nan=True))
    return bool(np.all(left == right)) if left.dtype != object else left.tolist() == right.tolist()


def _plain(value: Any) -> Any:
    if hasattr(value, "to_numpy"):
        return value.to_numpy()
    return value
