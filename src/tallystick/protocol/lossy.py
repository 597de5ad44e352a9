"""What MLflow would make of values that do not fit: pandas and NumPy themselves are asked.

Reached only by a request with such values, in the mode that lets them pass. pandas is imported on first use, not
before: models that get exact values, and models without frames, never wait for it here.
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tallystick.protocol.scalars import NUMPY_DTYPES, Array, Values, object_array
from tallystick.protocol.signature import ScalarType


def cast(values: Sequence[Any], kind: ScalarType, by_frame: bool) -> Values:
    """Return the column as MLflow's server would hand it to the model. Raises whatever pandas or NumPy raise."""
    column = _column_of(values, kind) if by_frame else None
    return cast_by_pandas(values, kind, by_frame) if column is None else column


def _column_of(values: Sequence[Any], kind: ScalarType) -> Array | None:
    """Return a frame's column without a frame; None where pandas is to be asked."""
    if kind is ScalarType.STRING and _is_kept(values):
        return object_array(values)
    if kind is ScalarType.BINARY:
        return _decoded(values)
    column = held(values)
    if column is None:
        return None
    if kind in _CAST_BY_NUMPY:
        return _narrowed(column, NUMPY_DTYPES[kind])
    if kind is ScalarType.STRING:
        return object_array(column.tolist())
    if kind is ScalarType.DATETIME and column.dtype.kind in "if":
        # pandas takes numbers for nanoseconds since 1970 (`core/arrays/datetimes.py`, `maybe_convert_dtype`).
        with np.errstate(invalid="ignore"):
            return column.astype(NUMPY_DTYPES[kind])
    return None


def cast_by_pandas(values: Sequence[Any], kind: ScalarType, by_frame: bool) -> Values:
    """Return the same, of pandas and NumPy themselves whatever the values are."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return _by_frame(values, kind) if by_frame else _by_array(values, kind)


def cast_frame_dtype(values: Sequence[Any], dtype: np.dtype[Any]) -> Array:
    """Return single values as a frame's column that was cast to `dtype` (tensor signatures)."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        column = _column(values)
        if dtype.kind in "SU":
            return np.array(list(column), dtype=dtype)
        return np.array(column.astype(dtype), dtype=dtype)


def mixed_doubles(values: Sequence[Any]) -> list[Any] | None:
    """Return the numbers that pandas makes of numbers, booleans and text side by side; None when it makes none.

    MLflow takes every such array for one of decimals, which are converted by `to_numeric`.
    """
    import pandas as pd

    try:
        numbers = pd.to_numeric(pd.Series(list(values), dtype=object), errors="raise")
        return [float(number) for number in numbers]
    except (ValueError, TypeError, OverflowError):
        return None


def mixed_text(values: Sequence[Any], dtype: np.dtype[Any]) -> list[Any] | None:
    """Return the text (or bytes) that NumPy makes of text, nulls and numbers side by side (a null may be cut: 'n')."""
    import pandas as pd

    try:
        return list(pd.Series(list(values)).to_numpy(dtype=dtype).tolist())
    except (ValueError, TypeError):
        return None


def stacked(rows: Sequence[Any], dtype: np.dtype[Any]) -> Array:
    """Return lists in a frame's cells as one array: NumPy finds a common type first, then casts it."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return np.vstack(rows).astype(dtype)


#: pandas hands these casts to NumPy, once it has chosen a type to hold the values in.
_CAST_BY_NUMPY = frozenset(
    {ScalarType.BOOLEAN, ScalarType.INTEGER, ScalarType.LONG, ScalarType.FLOAT, ScalarType.DOUBLE}
)
_NULL = type(None)


def held(values: Sequence[Any]) -> Array | None:
    """Return numbers, truth values and nulls in the array that pandas would hold them in; None when it is to be asked.

    Source: pandas `_libs/lib.pyx`, `maybe_convert_objects`. Making the frame to see it takes 70 us.
    """
    kinds = set(map(type, values))
    if not kinds <= {int, float, bool, _NULL} or not kinds:
        return None
    if int in kinds and not all(-(2**63) <= value < 2**63 for value in values if type(value) is int):
        return None
    if kinds == {int}:
        return np.array(values, dtype=np.int64)
    if kinds == {bool}:
        return np.array(values, dtype=bool)
    if bool in kinds or kinds == {_NULL}:
        return np.array(values, dtype=object)
    return np.array(values, dtype=np.float64)


def _decoded(values: Sequence[Any]) -> Array:
    """Return the bytes as MLflow decodes them; what is no text raises TypeError, whatever pandas holds it in."""
    return object_array([base64.decodebytes(bytes(value, "utf8")) for value in values])


def _is_kept(values: Sequence[Any]) -> bool:
    """Whether pandas holds values as they are: text beside whole numbers or truth values has no type of its own."""
    kinds = set(map(type, values))
    return kinds <= {str, int, bool, _NULL} and str in kinds and bool(kinds & {int, bool})


def _narrowed(column: Array, dtype: np.dtype[Any]) -> Array:
    """Cast as pandas does (`core/dtypes/astype.py`)."""
    if column.dtype.kind == "f" and dtype.kind == "i" and not np.isfinite(column).all():
        raise ValueError("missing or infinite, where a whole number is expected")
    with np.errstate(all="ignore"):
        return column.astype(dtype)


def _column(values: Sequence[Any]) -> Any:
    import pandas as pd

    # As a frame of one column: that is how the type of a column of JSON values is guessed for both frame formats.
    return pd.DataFrame([[value] for value in values])[0]


def _by_frame(values: Sequence[Any], kind: ScalarType) -> Values:
    import pandas as pd

    column = _column(values)
    match kind:
        case ScalarType.STRING:
            if isinstance(column.dtype, pd.StringDtype):
                return [None if value != value else value for value in column]
            return object_array(list(column.astype(object)))
        case ScalarType.BINARY:
            return _decoded(column)
        case ScalarType.DATETIME:
            dates = pd.to_datetime(column)
            if dates.dtype.kind != "M" or getattr(dates.dtype, "tz", None) is not None:
                raise ValueError("the dates have offsets")
            return np.asarray(dates.dt.as_unit("ns").to_numpy())
    return np.asarray(column.astype(NUMPY_DTYPES[kind]).to_numpy())


def _by_array(values: Sequence[Any], kind: ScalarType) -> Values:
    array = np.array(list(values), dtype=NUMPY_DTYPES[kind])
    match kind:
        case ScalarType.STRING:
            # Lists of text stand in a column of text as they are.
            return list(array.tolist()) if array.ndim == 1 else object_array(array.tolist())
        case ScalarType.BINARY if array.ndim == 1:
            return object_array(array.tolist())
    if array.ndim != 1:
        raise ValueError("lists where single values are expected")
    return array
