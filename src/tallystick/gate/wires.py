"""Whether rows survive transport: a stored body through the real decoder, against the frame that training had."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tallystick.gate.golden import Column, Golden
from tallystick.gate.report import Difference
from tallystick.gate.tolerance import shown
from tallystick.printable import count


def frame_of(golden: Golden) -> pd.DataFrame:
    """Return the golden rows as the model's frame had them, dtypes included as far as this pandas knows them."""
    columns = {}
    for column in golden.columns:
        values: Any = pd.Series(list(column.values), dtype=object)
        try:
            if column.dtype.startswith("datetime64"):
                values = pd.to_datetime(values)
            elif column.dtype not in ("object", ""):
                values = values.astype(column.dtype)
        except (TypeError, ValueError):
            # A type of another pandas, or nulls that it has no room for: left as it is.
            values = values.infer_objects()
        columns[column.name] = values
    return pd.DataFrame(columns)


def as_frame(data: Any, golden: Golden) -> pd.DataFrame | None:
    """Return what a decoder gave as a frame with names; None for inputs that have no columns."""
    if isinstance(data, pd.DataFrame):
        return data
    names = [column.name for column in golden.columns]
    if isinstance(data, np.ndarray) and data.ndim == 2 and data.shape[1] == len(names):
        return pd.DataFrame(data, columns=names)
    if isinstance(data, dict) and all(isinstance(value, np.ndarray) and value.ndim == 1 for value in data.values()):
        return pd.DataFrame(data)
    return None


def like(decoded: Any, frame: pd.DataFrame) -> Any:
    """Return rows of a frame in the form that the decoder gives: its dtypes, or an array, or a dict of arrays.

    A body holds the first golden rows only; the others go to the model as they would have come.
    """
    if isinstance(decoded, np.ndarray):
        return frame.to_numpy().astype(decoded.dtype)
    if isinstance(decoded, dict):
        return {name: frame[name].to_numpy().astype(part.dtype) for name, part in decoded.items()}
    if not isinstance(decoded, pd.DataFrame):
        return frame
    columns = {}
    for name, dtype in zip(decoded.columns, decoded.dtypes, strict=True):
        try:
            columns[name] = frame[str(name)].astype(dtype)
        except (TypeError, ValueError):
            # Nulls that the type has no room for: they would have come as another one.
            columns[name] = frame[str(name)]
    return pd.DataFrame(columns, index=frame.index)


def lost_in_transport(golden: Golden, encoding: str, rows: int, frame: pd.DataFrame) -> Difference | None:
    """Return where a decoded frame first differs from the golden rows: names, order, rows, then values.

    Whole numbers may have become floats of the same value: see `retyped`.
    """
    wanted, names = [column.name for column in golden.columns], [str(name) for name in frame.columns]
    for name in wanted:
        if name not in names:
            return Difference(encoding, column=name, expected="a column", got="no column", share=1.0)
    for name in names:
        if name not in wanted:
            return Difference(encoding, column=name, expected="no column", got="a column", share=1.0)
    for place, (name, got) in enumerate(zip(wanted, names, strict=True)):
        if name != got:
            expected = f"column {name} in place {place + 1}"
            return Difference(encoding, column=name, expected=expected, got=f"column {got}", share=1.0)
    if len(frame) != rows:
        return Difference(encoding, expected=count(rows, "row"), got=count(len(frame), "row"), share=1.0)
    for place, column in enumerate(golden.columns):
        found = _first_changed(column.values[:rows], frame.iloc[:, place])
        if found is not None:
            row, expected, got, share = found
            return Difference(encoding, column=column.name, row=row, expected=expected, got=got, share=share)
    return None


def retyped(golden: Golden, frame: pd.DataFrame) -> list[str]:
    """Return the columns whose type is another one though their values are the same, in words."""
    found = []
    for column, got in zip(golden.columns, frame.dtypes, strict=True):
        then, now = _family(column), _family(Column(column.name, str(got), ()))
        if then != now:
            found.append(f"{column.name}: {column.dtype} in training, {got} here")
    return found


def cells_of(series: pd.Series[Any]) -> list[Any]:
    """Return a column's values as golden files hold them: null, true/false, numbers, or texts (times as ISO 8601)."""
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "biuf":
        return series.to_numpy().tolist()
    values = series.astype(object).tolist()
    return [None if _is_missing(value) else _cell(value) for value in values]


def _first_changed(wanted: Sequence[Any], series: pd.Series[Any]) -> tuple[int, str, str, float] | None:
    got = cells_of(series)
    if list(wanted) == got:
        return None
    changed = [row for row, (a, b) in enumerate(zip(wanted, got, strict=True)) if not _is_same(a, b)]
    if not changed:
        return None
    row = changed[0]
    return row, shown(wanted[row]), shown(got[row]), len(changed) / len(got)


def _is_same(wanted: Any, got: Any) -> bool:
    if _is_missing(wanted) or _is_missing(got):
        return _is_missing(wanted) and _is_missing(got)
    if isinstance(wanted, str) != isinstance(got, str):
        return False
    if wanted == got:
        return True
    return isinstance(wanted, str) and _is_same_time(wanted, got)


def _is_same_time(wanted: str, got: str) -> bool:
    # Nanoseconds may be written or not; only what looks like a time is read as one.
    if wanted[:10] != got[:10] or len(wanted) < 10 or wanted[4:5] != "-":
        return False
    try:
        return bool(pd.Timestamp(wanted) == pd.Timestamp(got))
    except (ValueError, TypeError):
        return False


def _cell(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, pd.Timestamp | datetime.datetime | datetime.date):
        return value.isoformat()
    return value if isinstance(value, bool | int | float | str) else str(value)


def _is_missing(value: Any) -> bool:
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, float) and value != value


def _family(column: Column) -> str:
    dtype = column.dtype.lower()
    if dtype.startswith(("datetime", "date")):
        return "time"
    if dtype in ("object", "str", "string", "category") or dtype.startswith(("string", "category")):
        return "category" if dtype.startswith("category") else "text"
    return dtype
