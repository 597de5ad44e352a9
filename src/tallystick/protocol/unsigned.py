"""Requests to models that have no signature, or whose signature comes from type hints: nothing is enforced.

As MLflow: a frame for `dataframe_*`, arrays for `inputs` and `instances`, and for type hints the list under `inputs`
as it came. Only the form is checked, so that what builds the frame later cannot fail.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np

from tallystick.entities import Enforcement
from tallystick.errors import BadRequest
from tallystick.protocol.codec import check_depth
from tallystick.protocol.decoded import Alone, Data, Raw, RawFrame
from tallystick.protocol.ledger import Coercion, Report, describe
from tallystick.protocol.table import TableReader

#: Checks the form of `dataframe_split` and `dataframe_records` without looking for any column.
_ANY_TABLE = TableReader((), frozenset(), 0, one_row_inputs=False)


def read_unsigned(key: str, value: Any, mode: Enforcement, report: Report) -> tuple[Data, int, Any]:
    """Return (data, rows, form). Raises BadRequest for what makes no frame or array."""
    check_depth(value, key)
    if key.startswith("dataframe_"):
        table = _ANY_TABLE.read(key, value)
        if key == "dataframe_records":
            return RawFrame(value), table.rows, Alone()
        return RawFrame(value.get("data", []), value.get("columns"), value.get("index")), table.rows, Alone()
    if type(value) is dict:
        arrays = {name: _array(item, f"{key}.{name[:60]}", mode, report) for name, item in value.items()}
        _check_lengths(key, arrays)
        return arrays, _length(next(iter(arrays.values()), None)), Alone()
    if type(value) is list and value and type(value[0]) is dict:
        return _rows(key, value, mode, report)
    array = _array(value, key, mode, report)
    return array, _length(array), array_form(array)


def read_type_hints(key: str, value: Any) -> tuple[Data, int, Any]:
    """Return the list under `inputs`, as it came. Raises BadRequest for any other key."""
    if key != "inputs":
        raise BadRequest(f"This model takes its input under 'inputs' (its signature comes from type hints), not {key}.")
    if type(value) is not list:
        raise BadRequest(f"inputs must be a list, one item for each row, got {describe(value)}.")
    check_depth(value, key)
    return Raw(value), len(value), "list"


def array_form(array: np.ndarray[Any, Any]) -> Any:
    """Return what must be equal of arrays that are joined along their first axis."""
    return (
        (array.dtype.kind, array.dtype.itemsize * (array.dtype.kind not in "US"), array.shape[1:])
        if array.ndim
        else Alone()
    )


def _rows(key: str, value: list[Any], mode: Enforcement, report: Report) -> tuple[Data, int, Any]:
    if any(type(row) is not dict for row in value):
        raise BadRequest(f"{key} must be a list of objects only, or of none.")
    if key == "inputs":
        cells = [
            {name: _array(item, f"{key}[{n}].{name[:60]}", mode, report) for name, item in row.items()}
            for n, row in enumerate(value)
        ]
        return Raw(cells), len(cells), Alone()
    names = dict.fromkeys(chain.from_iterable(value))
    arrays = {
        name: _array([row[name] for row in value if name in row], f"{key}[].{name[:60]}", mode, report)
        for name in names
    }
    _check_lengths(key, arrays)
    return arrays, len(value), Alone()


def _array(value: Any, where: str, mode: Enforcement, report: Report) -> np.ndarray[Any, Any]:
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        raise BadRequest(f"{where} must be a full array: its lists differ in length or kind.") from None
    if array.dtype.kind == "U" and array.ndim:
        _report_numbers(value, where, mode, report)
    return array


def _report_numbers(value: Any, where: str, mode: Enforcement, report: Report) -> None:
    """NumPy makes text of numbers that stand beside text."""
    level = [value]
    while level and type(level[0]) is list:
        level = list(chain.from_iterable(level))
    changed = sum(1 for item in level if type(item) is not str)
    if changed and mode is Enforcement.STRICT:
        report.violate(where, "mixes text with numbers, which an array would turn to text; send dataframe_split")
    elif changed:
        report.count(where, Coercion.TEXT_FROM_VALUE, changed)


def _check_lengths(key: str, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    if key == "instances" and len({_length(array) for array in arrays.values()}) > 1:
        raise BadRequest("The values of instances must have one length for all names.")


def _length(array: np.ndarray[Any, Any] | None) -> int:
    return int(array.shape[0]) if array is not None and array.ndim else 1
