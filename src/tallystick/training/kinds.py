"""What columns hold that no request can bring, or that is not looked at: said before anything is logged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tallystick.errors import InvalidParameter
from tallystick.parity.columns import with_columns

#: What is in a column, by pandas' name for it, and what to give in its place.
_NO_REQUEST_BRINGS = {
    "sparse": "sparse values; X.sparse.to_dense() makes plain ones of them",
    "complex": "complex numbers; give two columns",
    "timedelta": "durations; give their seconds",
    "timedelta64": "durations; give their seconds",
    "period": "periods; give their start, or text",
    "interval": "intervals; give their text, or a bound",
    "decimal": "Decimal; give floats, as a request brings them",
    "time": "times of a day; give seconds, or text",
}
_MIXED = frozenset({"mixed", "mixed-integer"})
#: Rows that are looked at for what objects are.
_LOOKED_AT = 1000


def check_kinds(frame: pd.DataFrame, *, is_signed: bool = True) -> None:
    """Raise InvalidParameter, with every fault, when columns hold what no request can bring.

    Where no signature says how (`is_signed`), values of several types are such a fault as well.
    """
    faults = []
    for name in frame.columns:
        kind = _kind(frame[name])
        if kind in _NO_REQUEST_BRINGS:
            faults.append(f"column {name!r} holds {_NO_REQUEST_BRINGS[kind]}")
        elif not is_signed and kind in _MIXED and not is_nested(frame[name]):
            faults.append(f"column {name!r} holds values of several types; give one type, or a signature")
    if faults:
        raise InvalidParameter("X: " + "; ".join(faults))


def _kind(series: pd.Series[Any]) -> str:
    dtype = series.dtype
    if isinstance(dtype, pd.SparseDtype):
        return "sparse"
    if isinstance(dtype, pd.CategoricalDtype):
        return "interval" if isinstance(dtype.categories.dtype, pd.IntervalDtype) else "categorical"
    if isinstance(dtype, (pd.PeriodDtype, pd.IntervalDtype)):
        return "period" if isinstance(dtype, pd.PeriodDtype) else "interval"
    if isinstance(dtype, np.dtype) and dtype.kind in "cm":
        return "complex" if dtype.kind == "c" else "timedelta"
    return pd.api.types.infer_dtype(series, skipna=True) if pd.api.types.is_object_dtype(dtype) else ""


def is_nested(series: pd.Series[Any]) -> bool:
    """Whether cells hold lists, arrays, objects or bytes, which are neither numbers nor levels."""
    if series.dtype != object:
        return False
    known = series.dropna().iloc[:_LOOKED_AT]
    return any(isinstance(value, (list, tuple, set, dict, bytes, bytearray, np.ndarray)) for value in known)


def is_truth(series: pd.Series[Any]) -> bool:
    """Whether a column holds truth values, with nulls or without; one of nulls alone does not."""
    if series.dtype == object:
        return pd.api.types.infer_dtype(series, skipna=True) == "boolean"
    return pd.api.types.is_bool_dtype(series.dtype)


def for_signature(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame as a signature should have it: whole numbers and truth values with nulls are doubles.

    MLflow's `long` refuses a null, and its `boolean` reads one as False.
    """
    changed = {
        name: as_numbers(frame[name])
        for name in frame.columns
        if (is_truth(frame[name]) or _is_nullable_whole(frame[name])) and bool(frame[name].isna().any())
    }
    return with_columns(frame, changed)


def as_numbers(series: pd.Series[Any]) -> pd.Series[Any]:
    """Return whole numbers or truth values as doubles, nulls as NaN."""
    if series.dtype == object:
        series = series.astype("boolean")
    return series.astype("float64")


def _is_nullable_whole(series: pd.Series[Any]) -> bool:
    return pd.api.types.is_extension_array_dtype(series.dtype) and pd.api.types.is_integer_dtype(series.dtype)
