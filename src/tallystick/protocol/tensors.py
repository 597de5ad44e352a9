"""Tensor signatures: nested lists to arrays of the declared dtype and shape.

`np.array(data, dtype)` converts text, booleans and fractions without a word, so the innermost values are looked at
first: their types in one pass, each value only when the types do not settle it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from tallystick.entities import Enforcement
from tallystick.errors import BadRequest, InvalidInput, Violation
from tallystick.protocol import lossy, scalars
from tallystick.protocol.codec import check_depth, note_names
from tallystick.protocol.ledger import Coercion, Report, describe
from tallystick.protocol.scalars import Array, Context, Fault, Judge
from tallystick.protocol.signature import Tensor
from tallystick.protocol.table import Table

# NumPy arrays have at most this many axes.
_MAX_AXES = 64
_UNNAMED = "tensor"


class TensorReader:
    """Reads tensors for one signature."""

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        self._tensors = tensors
        self._is_named = tensors[0].name is not None
        self._judges = {tensor.dtype: _judge(tensor.dtype) for tensor in tensors}

    def read(self, key: str, value: Any, mode: Enforcement, report: Report) -> Array | dict[str, Array]:
        """Return the array(s) under `inputs` or `instances`. Raises BadRequest for a wrong form."""
        if not self._is_named:
            if type(value) is dict or (type(value) is list and value and type(value[0]) is dict):
                raise BadRequest(f"{key} must be a list of numbers (or of lists): the model's tensor has no name.")
            return self._array(value, self._tensors[0], key, mode, report)
        if type(value) is not dict:
            value = self._by_name(key, value)
        missing = [tensor.name for tensor in self._tensors if tensor.name not in value]
        if missing:
            raise InvalidInput(
                "The request lacks tensors that the model requires",
                [Violation(f"tensor {str(name)[:60]!r}", "missing, and required") for name in missing],
            )
        names = {tensor.name for tensor in self._tensors}
        extra = [name for name in value if name not in names]
        if extra:
            report.notes.append(f"ignored tensors: {note_names(extra)}")
        out = {
            str(tensor.name): self._array(value[tensor.name], tensor, f"{key}.{tensor.name}", mode, report)
            for tensor in self._tensors
        }
        lengths = {name: array.shape[0] for name, array in out.items() if array.ndim}
        if key == "instances" and len(set(lengths.values())) > 1 and not report.violations:
            raise BadRequest("The tensors of instances must have one length along the first axis.")
        return out

    def _by_name(self, key: str, value: Any) -> dict[str, Any]:
        """Bring rows as objects, or the values of the only tensor, into one nested list for each name."""
        if type(value) is list and value and all(type(row) is dict for row in value):
            names = [tensor.name for tensor in self._tensors]
            for position, row in enumerate(value):
                lacking = [name for name in names if name not in row]
                if lacking:
                    raise InvalidInput(
                        "The request lacks tensors that the model requires",
                        [Violation(f"{key}[{position}].{str(name)[:60]}", "missing") for name in lacking],
                    )
            return {
                name: [row[name] for row in value]
                for name in dict.fromkeys(chain.from_iterable(value))
                if name in names
            }
        if len(self._tensors) == 1 and type(value) is list:
            return {str(self._tensors[0].name): value}
        raise BadRequest(f"{key} must be an object of tensors, or a list of such objects, got {describe(value)}.")

    def read_table(self, table: Table, mode: Enforcement, report: Report) -> Array | dict[str, Array]:
        """Return the array(s) from `dataframe_*`: one column a tensor, or one a place of the only tensor."""
        if table.rows == 0:
            raise InvalidInput("The request has no rows, and the model takes tensors")
        columns = table.by_column()
        if self._is_named:
            return {
                str(tensor.name): self._column(column, tensor, table, name, mode, report)
                for tensor, name, column in zip(self._tensors, table.names, columns, strict=True)
            }
        tensor = self._tensors[0]
        if len(columns) == 1:
            return self._column(columns[0], tensor, table, table.names[0], mode, report)
        if tensor.shape != (-1, len(columns)):
            raise InvalidInput(
                f"The model takes a tensor of shape {tensor.shape}, the table has {len(columns)} columns"
            )
        cells = [
            self._cells(column, tensor, table, name, mode, report)
            for name, column in zip(table.names, columns, strict=True)
        ]
        return np.zeros((0, 0)) if report.violations else np.stack(cells, axis=1)

    def _column(
        self, column: Sequence[Any], tensor: Tensor, table: Table, name: Any, mode: Enforcement, report: Report
    ) -> Array:
        if tensor.shape[:1] != (-1,) or -1 in tensor.shape[1:]:
            raise InvalidInput(
                f"The model takes a tensor of shape {tensor.shape}, which a table's column cannot hold; send inputs"
            )
        if type(column[0]) is list:
            where = table.path(0, name)
            flat = self._array(list(column), tensor, where, mode, report, in_frame=True)
            try:
                return flat.reshape((len(column), *tensor.shape[1:]))
            except ValueError:
                report.violate(where, f"its lists do not fill shape {tensor.shape}")
                return flat
        if tensor.shape not in ((-1,), (-1, 1)):
            raise InvalidInput(
                f"The model takes a tensor of shape {tensor.shape}; column {str(name)[:60]!r} has single values"
            )
        cells = self._cells(column, tensor, table, name, mode, report)
        return cells if report.violations else cells.reshape((len(column), *tensor.shape[1:]))

    def _cells(
        self, column: Sequence[Any], tensor: Tensor, table: Table, name: Any, mode: Enforcement, report: Report
    ) -> Array:
        def where(position: int) -> str:
            return table.path(position, name)

        kinds = set(map(type, column))
        out = _exact(column, kinds, tensor.dtype)
        if out is not None:
            return out
        context = scalars.context_of(column, by_frame=True)
        if not self._may_cast(column, tensor, context, where, mode, report, str(name)):
            return np.zeros(0)
        try:
            return lossy.cast_frame_dtype(column, tensor.dtype)
        except Exception:  # noqa: BLE001  pandas raises anything; the place is told, the text is not passed on
            report.violate(where(0), f"the column cannot be read as {tensor.dtype}")
            return np.zeros(0)

    def _array(
        self, value: Any, tensor: Tensor, where: str, mode: Enforcement, report: Report, *, in_frame: bool = False
    ) -> Array:
        if tensor.dtype == object:
            return self._objects(value, tensor, where, report)
        values, shape, kinds = _leaves(value, where)
        if not in_frame and not _fits(shape, tensor.shape):
            raise InvalidInput(f"{where} has shape {shape}, the model takes {tensor.shape}")
        out = _exact(value, kinds, tensor.dtype)
        if out is not None:
            return out

        def at(position: int) -> str:
            return where + "".join(f"[{n}]" for n in np.unravel_index(position, shape))

        context = scalars.context_of(values, by_frame=False)
        if not self._may_cast(values, tensor, context, at, mode, report, tensor.name or _UNNAMED):
            return np.zeros(0)
        try:
            if in_frame:
                return lossy.stacked(value, tensor.dtype)
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                return np.array(value, dtype=tensor.dtype)
        except (ValueError, TypeError, OverflowError):
            report.violate(where, f"its values cannot be read as {tensor.dtype}")
            return np.zeros(0)

    def _may_cast(
        self,
        values: Sequence[Any],
        tensor: Tensor,
        context: Context,
        where: Any,
        mode: Enforcement,
        report: Report,
        name: str,
    ) -> bool:
        """Look at each value; count or refuse. Return whether NumPy may now convert them all."""
        judge = self._judges[tensor.dtype]
        found: dict[tuple[Coercion | None, str], list[int]] = {}
        faults: dict[tuple[Coercion | None, str], Fault] = {}
        for position, value in enumerate(values):
            fault = judge(value, context)
            if fault is not None:
                place = (fault.kind, type(value).__name__)
                found.setdefault(place, []).append(position)
                faults.setdefault(place, fault)
        refused = [place for place in found if place[0] is None]
        if mode is Enforcement.STRICT:
            refused = list(found)
        for place in refused:
            positions = found[place]
            more = f" (and {len(positions) - 1} more such values)" if len(positions) > 1 else ""
            report.violate(where(positions[0]), faults[place].problem + more)
        if not refused:
            for (kind, _), positions in found.items():
                assert kind is not None
                report.count(name, kind, len(positions))
        return not refused

    def _objects(self, value: Any, tensor: Tensor, where: str, report: Report) -> Array:
        check_depth(value, where)
        try:
            array = np.array(value, dtype=object)
        except ValueError:
            report.violate(where, "its lists have lengths that no array can hold")
            return np.zeros(0)
        is_ragged = array.ndim == 1 and len(tensor.shape) > 1 and -1 in tensor.shape[1:]
        if tensor.shape != (-1,) and not is_ragged and not _fits(array.shape, tensor.shape):
            raise InvalidInput(f"{where} has shape {array.shape}, the model takes {tensor.shape}")
        return array


def _leaves(value: Any, where: str) -> tuple[Sequence[Any], tuple[int, ...], set[type]]:
    """Return the innermost values in C order, the shape, and the values' types. Raises BadRequest when ragged."""
    level: Sequence[Any] = [value]
    shape: list[int] = []
    while True:
        kinds = set(map(type, level))
        if list not in kinds:
            return level, tuple(shape), kinds
        lengths = set(map(len, level)) if kinds == {list} else set()
        if len(lengths) != 1:
            raise BadRequest(f"{where} must be a full array: its lists at depth {len(shape)} differ in length or kind.")
        if len(shape) == _MAX_AXES:
            raise BadRequest(f"{where} is nested more than {_MAX_AXES} levels deep.")
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level))


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return len(shape) == len(expected) and all(b in (-1, a) for a, b in zip(shape, expected, strict=True))


def _exact(value: Any, kinds: set[type], dtype: np.dtype[Any]) -> Array | None:
    """Return the array when the types of its values settle that nothing is lost."""
    try:
        match dtype.kind:
            case "f" if dtype.itemsize == 8:
                return scalars.exact_doubles(value, kinds)
            case "f" if kinds <= {float, type(None)}:
                return _narrow(np.array(value, dtype=np.float64), dtype)
            case "i" | "u" if kinds <= {int}:
                return np.array(value, dtype=dtype)
            case "b" if kinds <= {bool}:
                return np.array(value, dtype=dtype)
            case "U" if kinds <= {str}:
                return np.array(value, dtype=dtype)
    except OverflowError:
        pass
    return None


def _narrow(wide: Array, dtype: np.dtype[Any]) -> Array | None:
    with np.errstate(all="ignore"):
        out = wide.astype(dtype)
    return None if np.isinf(out).any() or np.count_nonzero(out) != np.count_nonzero(wide) else out


def _judge(dtype: np.dtype[Any]) -> Judge:
    match dtype.kind:
        case "i" | "u":
            limits = np.iinfo(dtype)
            return scalars.whole_number_judge(int(limits.min), int(limits.max), dtype.name)
        case "f":
            info = np.finfo(dtype)
            smallest = float(info.smallest_subnormal) / 2
            return scalars.float_judge(2.0 ** (info.nmant + 1), float(info.max), smallest, dtype.name)
        case "b":
            return scalars.boolean_fault
        case "U":
            return scalars.string_fault
        case "S":
            return scalars.binary_fault
        case "M":
            return scalars.datetime_fault

    def unknown(value: Any, context: Context) -> Fault | None:
        return None

    return unknown
