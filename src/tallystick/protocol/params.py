"""Inference parameters: checked against the signature, with its defaults filled in.

The rules are MLflow's (`mlflow.types.schema.ParamSpec`): a whole number is good for a float type, anything that NumPy
reads as a date for a datetime, and nothing else is converted. Params that the signature does not have are ignored
and noted. A model that declares none gets none.
"""

from __future__ import annotations

import copy
import datetime
import warnings
from typing import Any

import numpy as np

from tallystick.entities import Enforcement
from tallystick.errors import DeploymentFailed, InvalidInput
from tallystick.protocol.codec import check_depth, note_names
from tallystick.protocol.ledger import Coercion, Report, describe
from tallystick.protocol.nested import CellCheck
from tallystick.protocol.scalars import Context, Fault, judge
from tallystick.protocol.signature import ObjectType, Param, ScalarType

# Params are read by NumPy, never by pandas.
_CONTEXT = Context(by_frame=False)
_FLOATS = (ScalarType.FLOAT, ScalarType.DOUBLE)
_NATURAL: dict[ScalarType, type] = {
    ScalarType.BOOLEAN: bool,
    ScalarType.INTEGER: int,
    ScalarType.LONG: int,
    ScalarType.FLOAT: float,
    ScalarType.DOUBLE: float,
    ScalarType.STRING: str,
}


class ParamReader:
    """Reads the `params` of requests to one model."""

    def __init__(self, params: tuple[Param, ...] | None) -> None:
        self._params = params
        self._defaults: dict[str, Any] = {}
        for param in params or ():
            report = Report()
            self._defaults[param.name] = _checked(param, param.default, report)
            if report.violations:
                raise DeploymentFailed(
                    f"The model's signature cannot be served: the default of param {param.name!r} does not fit its "
                    f"type: {report.violations[0].problem}."
                )

    def read(self, given: Any, mode: Enforcement, report: Report) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return (params, notes). Raises InvalidInput with every param that does not fit; changes are counted."""
        if given is None or given == {}:
            return self._copy_of_defaults(), ()
        if type(given) is not dict:
            if self._params is None:
                return {}, ("ignored params: not an object",)
            raise InvalidInput(f"params must be an object, got {describe(given)}")
        known = {param.name: param for param in self._params or ()}
        ignored = [name for name in given if name not in known]
        notes = (f"ignored params: {note_names(ignored)}",) if ignored else ()
        out = {name: _checked(known[name], value, report, mode) for name, value in given.items() if name in known}
        if report.violations:
            raise InvalidInput("The params do not fit the model's signature", report.violations)
        for name, value in self._copy_of_defaults().items():
            out.setdefault(name, value)
        return out, notes

    def _copy_of_defaults(self) -> dict[str, Any]:
        # Model code may change what it is given.
        return copy.deepcopy(self._defaults) if self._defaults else {}


def _checked(param: Param, value: Any, report: Report, mode: Enforcement = Enforcement.FLAG) -> Any:
    where = f"params.{param.name[:60]}"
    if param.shape is not None:
        if type(value) is not list or any(type(item) in (list, dict) for item in value):
            report.violate(where, f"got {describe(value)}, expected a list of single values")
            return None
        assert isinstance(param.type, ScalarType)
        return [_single(item, param.type, f"{where}[{n}]", report, mode) for n, item in enumerate(value)]
    if isinstance(param.type, ObjectType):
        check_depth(value, where)
        # MLflow checks objects and hands them on unconverted.
        CellCheck(param.name, Enforcement.FLAG, report, lambda: where).cell(value, param.type, required=True)
        return value
    return _single(value, param.type, where, report, mode)


def _single(value: Any, kind: ScalarType, where: str, report: Report, mode: Enforcement) -> Any:
    if value is None:
        return None
    if kind is ScalarType.DATETIME:
        date = _date(value)
        fault = judge(kind)(value, _CONTEXT)
        if date is not None and fault is not None and fault.kind is Coercion.TIMEZONE_DROPPED:
            _change(fault, where, report, mode)
        if date is None:
            report.violate(where, f"got {describe(value)}, expected a date such as 2024-01-31T13:45:00 (datetime)")
        return date
    if type(value) is _NATURAL[kind]:
        return value
    if kind in _FLOATS and type(value) is int:
        fault = judge(kind)(value, _CONTEXT)
        if fault is None or fault.kind is Coercion.PRECISION_LOST:
            _change(fault, where, report, mode)
            return float(value)
    report.violate(where, f"got {describe(value)}, expected {kind}")
    return None


def _change(fault: Fault | None, where: str, report: Report, mode: Enforcement) -> None:
    if fault is None:
        return
    if mode is Enforcement.STRICT or fault.kind is None:
        report.violate(where, fault.problem)
    else:
        report.count(where, fault.kind)


def _date(value: Any) -> datetime.date | datetime.datetime | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            date = np.datetime64(value).item()
    except (ValueError, TypeError, OverflowError):
        return None
    return date if isinstance(date, datetime.date) else None
