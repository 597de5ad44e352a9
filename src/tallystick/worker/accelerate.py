"""A faster way to the same answers, taken only while it gives the same answers.

scikit-learn takes an array in a quarter of the time that it takes a DataFrame of the same values: most of a
one-row call is reading column names and dtypes that the decoder has already made right. So an estimator whose
columns are all doubles is called with the array, if it answers alike on the input example and on edge rows when it
is loaded, and on a sample of live calls ever after. The first difference puts the Python model back for good.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tallystick.worker.check import same_answer

#: One live call in so many is also answered the slow way, and compared.
COMPARE_EVERY = 512
_EDGES = (0.0, -0.0, 1.0, -1e308, 1e308, 5e-324, np.nan, np.inf, -np.inf)


class ArrayPredict:
    """Calls an estimator with arrays; the model's own predict where the input is not all doubles."""

    def __init__(
        self,
        slow: Callable[[Any, dict[str, Any]], Any],
        fast: Callable[[Any], Any],
        compare_every: int = COMPARE_EVERY,
    ) -> None:
        self._slow = slow
        self._fast = fast
        self._compare_every = compare_every
        self._calls = 0
        self.is_fast = True

    def __call__(self, data: Any, params: dict[str, Any]) -> Any:
        """Predict, as the model would."""
        array = _as_array(data) if self.is_fast else None
        if array is None:
            return self._slow(data, params)
        self._calls += 1
        if self._calls % self._compare_every:
            return self._fast(array)
        answer = self._slow(data, params)
        if not same_answer(answer, self._fast(array)):
            self.is_fast = False
            print(
                "An array got another answer than the DataFrame of the same values; arrays are no longer used.",
                file=sys.stderr,
                flush=True,
            )
        return answer


def accelerated(
    predict: Callable[[Any, dict[str, Any]], Any], estimator: Any, method: str, example: Any
) -> ArrayPredict | None:
    """Return a faster `predict`, or None where there is none or it does not answer alike.

    `example` is a frame as callers send it. Calls the model some twenty times.
    """
    if _as_array(example) is None or len(example) == 0:
        return None
    try:
        fast = getattr(_without_names(estimator), method)
    except AttributeError:
        return None
    with np.errstate(all="ignore"):
        for frame in [example, *_edge_frames(example)]:
            expected, got = _outcome(lambda data: predict(data, {}), frame), _outcome(fast, _as_array(frame))
            if not _are_alike(expected, got):
                return None
    return ArrayPredict(predict, fast)


def _as_array(data: Any) -> Any:
    """Return the values of a frame of doubles (rows x columns) without a copy; None for any other input."""
    if not isinstance(data, pd.DataFrame):
        return None
    array = data.to_numpy()
    return array if array.dtype == np.float64 else None


def _edge_frames(example: pd.DataFrame) -> list[pd.DataFrame]:
    """Return frames of one row: each edge value everywhere, and in each of the first columns alone."""
    first = example.iloc[:1]
    whole = [pd.DataFrame(np.full(first.shape, edge), columns=example.columns) for edge in _EDGES]
    single = []
    for column in range(min(4, first.shape[1])):
        changed = first.to_numpy().copy()
        changed[0, column] = _EDGES[column % len(_EDGES)]
        single.append(pd.DataFrame(changed, columns=example.columns))
    return whole + single


def _are_alike(expected: Any, got: Any) -> bool:
    if isinstance(expected, Exception) or isinstance(got, Exception):
        return type(expected) is type(got)
    return same_answer(expected, got)


def _outcome(call: Callable[[Any], Any], data: Any) -> Any:
    try:
        return call(data)
    except Exception as error:  # noqa: BLE001  an edge row may be refused; alike is what counts
        return error


def _without_names(estimator: Any) -> Any:
    """Return a shallow copy that does not expect column names; the fitted arrays are shared.

    With them scikit-learn would warn on every call. What a `ColumnTransformer` picks by name fails then, which
    `accelerated` finds out.
    """
    twin = copy.copy(estimator)
    vars(twin).pop("feature_names_in_", None)
    steps = getattr(twin, "steps", None)
    if isinstance(steps, list):
        twin.steps = [(name, _without_names(step) if hasattr(step, "__dict__") else step) for name, step in steps]
    return twin
