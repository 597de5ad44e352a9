"""Columns of arrays, objects and maps. Each cell is checked down to its last value.

MLflow applies its strict rules here, not the casts it makes for plain columns: text is no number, a fraction no whole
number. What it lets through changed (null or text among booleans, numbers among text) is counted here too. Friendlier
than MLflow: a whole number is good for a double or float, and any number that fits a 32-bit type is good for it (MLflow
refuses every array of integer or float that comes as JSON).

Dates inside arrays and objects are refused, as MLflow with pandas 3 does: JSON has no dates, only columns are read so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tallystick.entities import Enforcement
from tallystick.protocol import lossy
from tallystick.protocol.codec import check_depth
from tallystick.protocol.ledger import Coercion, Report, describe
from tallystick.protocol.scalars import (
    NUMPY_DTYPES,
    Context,
    binary_fault,
    exact,
    fitting,
    judge,
)
from tallystick.protocol.signature import (
    AnyType,
    ArrayType,
    InputType,
    MapType,
    ObjectType,
    Property,
    ScalarType,
)

_CONTEXT = Context(by_frame=True)
#: Values of these types alone make a typed pandas column, which MLflow's strict rules refuse for booleans.
_PLAIN = (frozenset({int, float, type(None)}), frozenset({str, type(None)}))


@dataclass(frozen=True, slots=True)
class CellCheck:
    """Checks the cells of one column."""

    column: str
    mode: Enforcement
    report: Report
    where: Callable[[], str]
    #: With `instances` and `inputs`, MLflow hands arrays on as ndarray, not as list.
    as_ndarray: bool = False

    def cell(self, value: Any, kind: InputType, required: bool) -> Any:
        """Return the cell as the model gets it; None after a violation, which is in the report."""
        out = self._value(value, kind, required, "")
        if self.as_ndarray and isinstance(kind, ArrayType) and isinstance(out, list):
            try:
                return np.array(out)
            except ValueError:
                self._refuse("", "its lists have different lengths, expected a full array")
        return out

    def _value(self, value: Any, kind: InputType, required: bool, path: str) -> Any:
        match kind:
            case ScalarType():
                return self._scalar(value, kind, required, path)
            case ArrayType():
                return self._array(value, kind, required, path)
            case ObjectType():
                return self._object(value, kind, required, path)
            case MapType():
                return self._map(value, kind, required, path)
            case AnyType():
                check_depth(value, self.where() + path)
                return value

    def _array(self, value: Any, kind: ArrayType, required: bool, path: str) -> Any:
        if (not required or isinstance(kind.items, AnyType)) and (value is None or value == []):
            return value
        if type(value) is not list:
            return self._refuse(path, f"got {describe(value)}, expected a list")
        if not isinstance(kind.items, ScalarType):
            return [self._value(item, kind.items, required, f"{path}[{n}]") for n, item in enumerate(value)]
        if not value:
            return value
        if kind.items not in (ScalarType.BINARY, ScalarType.DATETIME) and (
            kind.items is not ScalarType.STRING or None not in value
        ):
            out = exact(value, kind.items)
            if out is not None:
                return out.tolist() if isinstance(out, np.ndarray) else out
        return self._odd_array(value, kind.items, path)

    def _odd_array(self, value: list[Any], kind: ScalarType, path: str) -> Any:
        """Look at each item of an array of single values that does not fit as a whole."""
        converted = self._loose_items(value, kind)
        before = len(self.report.violations)
        for position, item in enumerate(value):
            fault = _item_fault(item, kind)
            if fault is None:
                continue
            coercion, problem = fault
            if converted is None and coercion is not Coercion.PRECISION_LOST:
                coercion = None
            if coercion is None or self.mode is Enforcement.STRICT:
                self._refuse(f"{path}[{position}]", problem)
            else:
                self.report.count(self.column, coercion)
        if len(self.report.violations) > before:
            return None
        if converted is not None:
            return converted
        if kind in (ScalarType.DOUBLE, ScalarType.FLOAT):
            return np.array(value, dtype=NUMPY_DTYPES[kind]).tolist()
        fits = fitting(value, kind)
        return fits.tolist() if isinstance(fits, np.ndarray) else fits

    def _loose_items(self, value: list[Any], kind: ScalarType) -> list[Any] | None:
        """Return what NumPy makes of items of several types, where MLflow leaves it to NumPy; else None."""
        types = set(map(type, value))
        if kind is ScalarType.BOOLEAN:
            mixed = types == {type(None)} or not any(types <= plain for plain in _PLAIN)
            return [bool(item) for item in value] if mixed else None
        if kind is ScalarType.DOUBLE and len(types) > 1 and not any(types <= plain for plain in _PLAIN):
            return lossy.mixed_doubles(value)
        is_text = str in types or types == {type(None)} or (bool in types and len(types) > 1)
        if kind in (ScalarType.STRING, ScalarType.BINARY) and is_text:
            return lossy.mixed_text(value, NUMPY_DTYPES[kind])
        return None

    def _scalar(self, value: Any, kind: ScalarType, required: bool, path: str) -> Any:
        if not required and value is None:
            return None
        if kind is ScalarType.BINARY and isinstance(value, str):
            if self.mode is Enforcement.STRICT:
                return self._refuse(path, "binary is not decoded inside of objects and maps; declare a string")
            self.report.count(self.column, Coercion.BASE64_KEPT)
            return value
        if kind is ScalarType.DATETIME:
            return self._refuse(path, f"got {describe(value)}; dates are read in columns only, not inside of cells")
        if value is None:
            return self._refuse(path, f"got null, expected a value ({kind})")
        fault = _item_fault(value, kind)
        if fault is not None:
            coercion, problem = fault
            if coercion is not Coercion.PRECISION_LOST or self.mode is Enforcement.STRICT:
                return self._refuse(path, problem)
            self.report.count(self.column, coercion)
        if kind is ScalarType.STRING:
            return value
        # NumPy's scalars, as MLflow gives them to the model.
        return NUMPY_DTYPES[kind].type(value)

    def _object(self, value: Any, kind: ObjectType, required: bool, path: str) -> Any:
        if not required and (value is None or value == {}):
            return value
        if type(value) is not dict:
            return self._refuse(path, f"got {describe(value)}, expected an object")
        known: dict[str, Property] = {entry.name: entry for entry in kind.properties}
        for name in known:
            if known[name].required and name not in value:
                self._refuse(f"{path}.{name[:60]}", "missing, and required")
        out: dict[str, Any] = {}
        for name, item in value.items():
            entry = known.get(name)
            if entry is None:
                self._refuse(f"{path}.{name[:60]}", "not a property of this object; leave it out")
            else:
                out[name] = self._value(item, entry.type, entry.required, f"{path}.{name[:60]}")
        return out

    def _map(self, value: Any, kind: MapType, required: bool, path: str) -> Any:
        if (not required or isinstance(kind.values, AnyType)) and (value is None or value == {}):
            return value
        if type(value) is not dict:
            return self._refuse(path, f"got {describe(value)}, expected an object")
        return {name: self._value(item, kind.values, required, f"{path}.{name[:60]}") for name, item in value.items()}

    def _refuse(self, path: str, problem: str) -> None:
        # A path is as long as the schema is deep; a map's keys are the caller's, so it is cut.
        self.report.violate(self.where() + path[-200:], problem)


def _item_fault(item: Any, kind: ScalarType) -> tuple[Coercion | None, str] | None:
    """Return what would be made of the item, and the problem; None when it fits."""
    if kind is ScalarType.DATETIME:
        return None, f"got {describe(item)}; dates are read in columns only, not inside of cells"
    if kind is ScalarType.BINARY:
        fault = binary_fault(item, Context(by_frame=False))
        return None if fault is None else (fault.kind, fault.problem)
    if kind is ScalarType.STRING and item is None:
        return Coercion.NULL_TO_TEXT, "got null, expected text (string)"
    if kind is ScalarType.STRING and not isinstance(item, str | list | dict):
        return Coercion.TEXT_FROM_VALUE, f"got {describe(item)}, expected text (string)"
    fault = judge(kind)(item, _CONTEXT)
    return None if fault is None else (fault.kind, fault.problem)
