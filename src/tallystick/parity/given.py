"""What a diagnosis is given: live rows and what stands beside each of them, checked and in one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from tallystick.errors import InvalidParameter
from tallystick.parity.tables import as_table
from tallystick.printable import listed_names


@dataclass(frozen=True)
class Beside:
    """What is known of each live row, with an entry a row, or None."""

    labels: Any = None
    segments: Any = None
    timestamps: Any = None
    predictions: Any = None


def read_given(names: Sequence[str], live: Any, beside: Beside) -> tuple[pd.DataFrame, Beside]:
    """Return live rows as a frame, and what stands beside them.

    An array has the columns `names`, in their order. What is given as a column's name is that column; it is no
    feature unless it is one of `names`. Raises InvalidParameter for other forms and other lengths.
    """
    table = as_table(live, "live rows")
    if isinstance(table, np.ndarray):
        is_known = table.shape[1] == len(names)
        frame = pd.DataFrame(table, columns=list(names) if is_known else [str(k) for k in range(table.shape[1])])
    else:
        frame = table
    _check_names(frame)
    found = {field.name: _values(frame, field.name, getattr(beside, field.name)) for field in fields(beside)}
    found["predictions"] = _answers(found["predictions"])
    faults = [f"{name}{fault}" for name, values in found.items() if (fault := _fault(name, values, len(frame)))]
    if faults:
        raise InvalidParameter("live rows: " + "; ".join(faults))
    columns = {given for field in fields(beside) if isinstance(given := getattr(beside, field.name), str)}
    return frame.drop(columns=[name for name in columns if name not in names]), Beside(**found)


def _check_names(frame: pd.DataFrame) -> None:
    names = [str(name) for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidParameter(f"live rows: column names stand twice: {listed_names(twice)}")


def _values(frame: pd.DataFrame, what: str, given: Any) -> Any:
    """Return the column of this name, a dict of columns as a frame, and anything else as it is."""
    if isinstance(given, str):
        if given not in frame.columns:
            raise InvalidParameter(
                f"{what}: the live rows have no column {given!r}, and it is no list with an entry for each row"
            )
        return frame[given]
    if what != "segments" or not isinstance(given, Mapping):
        return given
    try:
        return pd.DataFrame({str(name): np.asarray(values) for name, values in given.items()})
    except ValueError as error:
        told = "expected a frame, or a dict of columns with an entry for each row"
        raise InvalidParameter(f"live rows: segments: {told}") from error


def _answers(given: Any) -> Any:
    """Return predictions as they are, or as rows x numbers where each entry of a column or a list is a list of them."""
    if isinstance(given, pd.Series | list | tuple) or (isinstance(given, np.ndarray) and given.dtype == object):
        rows = list(given)
        widths = {len(row) for row in rows if isinstance(row, list | tuple | np.ndarray)}
        if not widths:
            return given
        if len(widths) > 1:
            raise InvalidParameter("live rows: predictions: some rows have more numbers than others")
        none = [None] * max(widths)
        given = [list(row) if isinstance(row, list | tuple | np.ndarray) else none for row in rows]
        try:
            # Without objects a row that has no prediction is NaN.
            given = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError):
            given = np.asarray(pd.DataFrame(given))
    shape: tuple[int, ...] = getattr(given, "shape", ())
    if len(shape) > 1 and shape[0] and not shape[1]:
        raise InvalidParameter("live rows: predictions: no number in any row")
    return given


def _fault(name: str, values: Any, rows: int) -> str:
    if values is None:
        return ""
    if not hasattr(values, "__len__") or isinstance(values, Mapping):
        return f": expected an entry for each row, or the name of a column, got {type(values).__name__}"
    if len(values) != rows:
        return f" has {len(values)} entries, expected {rows}"
    if isinstance(values, pd.DataFrame):
        twice = values.columns[values.columns.duplicated()]
        return f": column {str(twice[0])!r} stands twice" if len(twice) else ""
    if name != "predictions" and np.asarray(values, dtype=object).ndim > 1:
        return ": expected one value for each row"
    return ""
