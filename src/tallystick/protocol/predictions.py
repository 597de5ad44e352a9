"""Predictions to bytes, whatever a model returns; and a batch's predictions back to the callers they belong to.

The JSON is what MLflow's server answers (`pyfunc.scoring_server.predictions_to_json`), with three differences: what is
not finite becomes `null` and is counted (MLflow writes `NaN`, which is not JSON), dates in arrays become ISO 8601 text
(MLflow: nanoseconds, or an error), and a missing date becomes `null` (MLflow: the text 'NaT').

pandas is never imported here: a pandas value can only come from a model that imported it.
"""

from __future__ import annotations

import base64
import datetime
import math
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np

from tallystick.errors import BadRequest, ModelFailed

ARROW_STREAM = "application/vnd.apache.arrow.stream"

_ENCODER = msgspec.json.Encoder()


def encode_predictions(value: Any) -> tuple[bytes, int]:
    """Return `{"predictions": ...}` as JSON, and how many numbers in it were not finite and became null.

    Raises ModelFailed for a value that JSON has no form for (a set, a generator, a lone surrogate).
    """
    plain = _Plain()
    try:
        return _ENCODER.encode({"predictions": plain.convert(value)}), plain.lost
    except RecursionError:
        raise ModelFailed("The model's output is nested too deeply, or contains itself.") from None
    except UnicodeEncodeError as error:
        raise ModelFailed("The model's output has text that is not valid Unicode (a lone surrogate).") from error
    except (TypeError, OverflowError, ValueError) as error:
        raise ModelFailed(f"The model's output cannot be written as JSON: {str(error)[:200]}.") from error


def split_predictions(value: Any, row_counts: Sequence[int]) -> list[Any] | None:
    """Return each caller's rows of a batch's predictions, in order; None when they cannot be told apart.

    Taken apart along the first axis: ndarray, DataFrame, Series, list, and a dict of these. The number of rows must be
    the sum of `row_counts`; a model that answers with another number (an aggregate, say) cannot be batched.
    """
    total = sum(row_counts)
    bounds: list[tuple[int, int]] = []
    start = 0
    for count in row_counts:
        bounds.append((start, start + count))
        start += count
    if isinstance(value, dict):
        if not value or not all(_rows(part) == total for part in value.values()):
            return None
        return [{key: _cut(part, a, b) for key, part in value.items()} for a, b in bounds]
    if _rows(value) != total:
        return None
    return [_cut(value, a, b) for a, b in bounds]


def _rows(value: Any) -> int | None:
    if isinstance(value, np.ndarray):
        return value.shape[0] if value.ndim else None
    if isinstance(value, list) or _is_pandas(value):
        return len(value)
    return None


def _cut(value: Any, start: int, stop: int) -> Any:
    return value.iloc[start:stop] if _is_pandas(value) else value[start:stop]


def _is_pandas(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame | pandas.Series)


class _Plain:
    """Turns a value into what msgspec writes as MLflow would, counting what is lost on the way."""

    # Kinds of NumPy dtype that `tolist` turns into JSON values.
    _numeric: ClassVar[str] = "biuf"

    __slots__ = ("lost",)

    def __init__(self) -> None:
        self.lost = 0

    def convert(self, value: Any) -> Any:
        """Return `value` as dicts, lists, text, numbers, booleans and None."""
        kind = type(value)
        if kind is str or kind is bool or kind is int or value is None:
            return value
        if kind is float:
            return self._number(value)
        if isinstance(value, np.ndarray):
            return self._array(value)
        if kind is list or kind is tuple:
            return self._items(value)
        if isinstance(value, dict):
            return {self._key(key): self.convert(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return self._items(value)
        if _is_pandas(value):
            return self._table(value)
        return self._scalar(value)

    def _number(self, value: float) -> float | None:
        if math.isfinite(value):
            return value
        self.lost += 1
        return None

    def _items(self, items: Sequence[Any]) -> list[Any]:
        if set(map(type, items)) == {float} and all(map(math.isfinite, items)):
            return list(items)
        return [self.convert(item) for item in items]

    def _array(self, array: np.ndarray[Any, Any]) -> Any:
        if array.dtype.kind in self._numeric:
            # float16 and longdouble have no exact `tolist` that JSON takes; the rest do.
            plain = array.tolist()
            if array.dtype.kind != "f" or bool(np.isfinite(array).all()):
                return plain
            return self.convert(plain)
        if array.dtype.kind == "M":
            return self.convert(_iso_dates(array))
        return self.convert(array.tolist())

    def _table(self, table: Any) -> list[dict[str, Any]]:
        """Return rows as objects; a Series is a table of one column that is named 0 unless it has a name."""
        if table.ndim == 1:
            name = self._key(0 if table.name is None else table.name)
            return [{name: item} for item in self._column(table)]
        names = [self._key(name) for name in table.columns]
        columns = [self._column(table.iloc[:, position]) for position in range(len(names))]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def _column(self, series: Any) -> list[Any]:
        values = series.to_numpy() if isinstance(series.dtype, np.dtype) else series.to_numpy(dtype=object)
        converted = self._array(values)
        if not isinstance(series.dtype, np.dtype):
            # pandas' own types write a missing value as NaN or NA: that is null by meaning, nothing is lost.
            self.lost -= sum(1 for item in values if isinstance(item, float) and item != item)
        return list(converted)

    def _key(self, key: Any) -> str:
        if isinstance(key, str):
            return str(key)
        if key is None or isinstance(key, bool | np.bool_):
            return {None: "null", True: "true", False: "false"}[None if key is None else bool(key)]
        return str(key)

    def _scalar(self, value: Any) -> Any:
        match value:
            case str():
                return str.__str__(value)
            case np.datetime64():
                return _iso_dates(np.array([value]))[0]
            case np.generic():
                item = value.item()
                # A longdouble's `item` is itself.
                return self._number(float(item)) if isinstance(item, np.generic) else self.convert(item)
            case bytes() | bytearray():
                # With the line ends that MLflow's clients expect.
                return base64.encodebytes(bytes(value)).decode("ascii")
            case datetime.datetime() | datetime.date() | datetime.time():
                return None if value != value else value.isoformat()
            case int():
                return int(value)
            case float():
                return self._number(float(value))
        if type(value).__name__ in ("NAType", "NaTType"):
            return None
        dump = getattr(value, "model_dump", None)
        if callable(dump):
            return self.convert(dump())
        raise ModelFailed(
            f"The model returned a {type(value).__name__}, which JSON has no form for. Return an ndarray, a DataFrame, "
            "a Series, or lists and dicts of plain values."
        )


def _iso_dates(array: np.ndarray[Any, Any]) -> Any:
    """Return nested lists of ISO 8601 text as pandas' `isoformat` writes it, None for a missing date."""
    text = np.datetime_as_string(array.astype("datetime64[ns]")).astype(object)
    flat = [
        None if date == "NaT" else date.removesuffix("000").removesuffix("000").removesuffix(".000")
        for date in text.ravel()
    ]
    out = np.empty(len(flat), dtype=object)
    out[:] = flat
    return out.reshape(array.shape).tolist()


def encode_predictions_arrow(value: Any) -> bytes:
    """Return predictions as an Arrow IPC stream: a DataFrame's columns, or one column `predictions`.

    A 2-D array has a column for each of its columns, named 0, 1, ... Raises BadRequest where pyarrow is missing, and
    ModelFailed for what has no columns.
    """
    pyarrow = import_pyarrow()
    try:
        table = _arrow_table(pyarrow, value)
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise ModelFailed(f"The model's output cannot be written as Arrow: {str(error)[:200]}.") from error


def _arrow_table(pyarrow: Any, value: Any) -> Any:
    if _is_pandas(value):
        frame = value if value.ndim == 2 else value.to_frame("predictions" if value.name is None else value.name)
        return pyarrow.Table.from_pandas(frame, preserve_index=False)
    if isinstance(value, dict):
        return pyarrow.table({str(key): pyarrow.array(part) for key, part in value.items()})
    if isinstance(value, np.ndarray) and value.ndim == 2:
        return pyarrow.table({str(n): pyarrow.array(value[:, n]) for n in range(value.shape[1])})
    if isinstance(value, np.ndarray) and value.ndim != 1:
        value = value.tolist()
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return pyarrow.Table.from_pylist(value)
    if isinstance(value, list | np.ndarray):
        return pyarrow.table({"predictions": pyarrow.array(value)})
    raise ModelFailed(f"A {type(value).__name__} has no columns and cannot be answered as an Arrow stream.")


def import_pyarrow() -> Any:
    """Return the pyarrow module. Raises BadRequest with what to install when the model's environment lacks it."""
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise BadRequest(
            "Arrow streams need pyarrow in the model's environment (pip install 'tallystick[arrow]'); "
            "send JSON instead."
        ) from error
    return pyarrow
