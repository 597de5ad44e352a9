"""A model's signature as values, parsed once when the worker starts.

MLflow stores a signature as three JSON texts under `signature:` in the MLmodel file (source: MLflow docs, "Model
Signature and Input Example"; `mlflow.types.schema`). This module reads them without MLflow and says what cannot be
served; it looks at no request.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np

from tallystick.errors import DeploymentFailed


class ScalarType(StrEnum):
    """MLflow's names for types of one value; `integer` has 32 bits and `long` 64, `float` 32 and `double` 64."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    LONG = "long"
    FLOAT = "float"
    DOUBLE = "double"
    STRING = "string"
    BINARY = "binary"
    DATETIME = "datetime"


@dataclass(frozen=True, slots=True)
class ArrayType:
    """A list whose items have one type."""

    items: InputType


@dataclass(frozen=True, slots=True)
class Property:
    """One named value of an object."""

    name: str
    type: InputType
    required: bool = True


@dataclass(frozen=True, slots=True)
class ObjectType:
    """An object with exactly these properties, less the optional ones."""

    properties: tuple[Property, ...]


@dataclass(frozen=True, slots=True)
class MapType:
    """An object with any keys, whose values have one type."""

    values: InputType


@dataclass(frozen=True, slots=True)
class AnyType:
    """Any JSON value, null included."""


InputType: TypeAlias = ScalarType | ArrayType | ObjectType | MapType | AnyType


@dataclass(frozen=True, slots=True)
class Column:
    """One input of a column signature; `name` is None where the signature counts its columns only."""

    name: str | None
    type: InputType
    required: bool = True


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input of a tensor signature; -1 in `shape` is any length."""

    name: str | None
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Param:
    """One inference parameter. `shape` is None for a single value and (-1,) for a list of them."""

    name: str
    type: ScalarType | ObjectType
    default: Any
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes. Exactly one of `columns` and `tensors` is filled, or neither: then nothing is enforced.

    `params` is None where the model declares none: what a caller sends is ignored then.
    """

    columns: tuple[Column, ...] = ()
    tensors: tuple[Tensor, ...] = ()
    outputs: tuple[Column, ...] | tuple[Tensor, ...] = ()
    params: tuple[Param, ...] | None = None

    @property
    def is_named(self) -> bool:
        """Whether inputs are matched by name rather than by position."""
        inputs = self.columns or self.tensors
        return bool(inputs) and inputs[0].name is not None


def parse_signature(raw: Mapping[str, Any] | None) -> Signature:
    """Return the signature that an MLmodel file's `signature:` mapping holds; an empty one for None.

    Raises DeploymentFailed when it cannot be read, or has a type that no JSON request can carry.
    """
    if raw is None:
        return Signature()
    columns, tensors = _inputs(raw.get("inputs"), "inputs")
    out_columns, out_tensors = _inputs(raw.get("outputs"), "outputs")
    params = _entries(raw.get("params"), "params")
    return Signature(
        columns=columns,
        tensors=tensors,
        outputs=out_columns or out_tensors,
        params=None if params is None else tuple(_param(entry) for entry in params),
    )


def _entries(text: Any, part: str) -> list[dict[str, Any]] | None:
    if text is None or text == "":
        return None
    try:
        entries = json.loads(text) if isinstance(text, str) else text
    except ValueError as error:
        raise _unreadable(part, "it is not JSON") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _unreadable(part, "it is not a list of objects")
    return entries


def _inputs(text: Any, part: str) -> tuple[tuple[Column, ...], tuple[Tensor, ...]]:
    entries = _entries(text, part) or []
    tensors = tuple(_tensor(entry, part) for entry in entries if entry.get("type") == "tensor")
    columns = tuple(_column(entry, part) for entry in entries if entry.get("type") != "tensor")
    if tensors and columns:
        raise _unreadable(part, "it mixes tensors and columns")
    names = [entry.name for entry in columns or tensors]
    given = [name for name in names if name is not None]
    if given and len(given) != len(names):
        raise _unreadable(part, "some of its entries have names and some have not")
    if len(set(given)) != len(given):
        raise _unreadable(part, "a name stands there twice")
    if tensors and len(tensors) > 1 and not given:
        raise _unreadable(part, "it has several tensors without names")
    return columns, tensors


def _column(entry: Mapping[str, Any], part: str) -> Column:
    name = entry.get("name")
    kind = _type(entry, f"{part}, column {name!r}")
    # MLflow reads a missing `required` as true for scalars and as false for the other types.
    required = entry.get("required", isinstance(kind, ScalarType))
    return Column(None if name is None else str(name), kind, bool(required))


def _tensor(entry: Mapping[str, Any], part: str) -> Tensor:
    name = entry.get("name")
    try:
        spec = entry["tensor-spec"]
        dtype, shape = np.dtype(spec["dtype"]), tuple(int(length) for length in spec["shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(part, f"tensor {name!r} has no dtype and shape that NumPy knows") from error
    return Tensor(None if name is None else str(name), dtype, shape)


def _param(entry: Mapping[str, Any]) -> Param:
    name = str(entry.get("name"))
    # Old files say `dtype`.
    kind = _type({**entry, "type": entry.get("type") or entry.get("dtype")}, f"params, {name!r}")
    if not isinstance(kind, ScalarType | ObjectType) or kind is ScalarType.BINARY:
        raise _unreadable("params", f"param {name!r} has a type that MLflow does not allow for params")
    shape = entry.get("shape")
    if shape is not None and tuple(shape) != (-1,):
        raise _unreadable("params", f"param {name!r} has shape {tuple(shape)}, expected none or (-1,)")
    return Param(name, kind, entry.get("default"), None if shape is None else (-1,))


def _type(entry: Mapping[str, Any], where: str) -> InputType:
    kind = entry.get("type")
    if isinstance(kind, str) and kind in _NESTED:
        return _NESTED[kind](entry, where)
    try:
        return ScalarType(str(kind))
    except ValueError as error:
        raise _unreadable(where, f"type {str(kind)[:40]!r} is not known") from error


def _array(entry: Mapping[str, Any], where: str) -> ArrayType:
    return ArrayType(_type(_mapping(entry, "items", where), where))


def _map(entry: Mapping[str, Any], where: str) -> MapType:
    return MapType(_type(_mapping(entry, "values", where), where))


def _object(entry: Mapping[str, Any], where: str) -> ObjectType:
    properties = _mapping(entry, "properties", where)
    return ObjectType(
        tuple(
            Property(name, _type(_mapping(properties, name, where), where), bool(value.get("required", True)))
            for name, value in sorted(properties.items())
        )
    )


def _any(entry: Mapping[str, Any], where: str) -> AnyType:
    return AnyType()


def _spark_vector(entry: Mapping[str, Any], where: str) -> InputType:
    raise _unreadable(where, "Spark ML vectors are not served; log the model with an array or tensor input")


_NESTED: dict[str, Callable[[Mapping[str, Any], str], InputType]] = {
    "array": _array,
    "map": _map,
    "object": _object,
    "any": _any,
    "sparkml_vector": _spark_vector,
}


def _mapping(entry: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = entry.get(key)
    if not isinstance(value, Mapping):
        raise _unreadable(where, f"'{key}' is missing or not an object")
    return value


def _unreadable(part: str, why: str) -> DeploymentFailed:
    return DeploymentFailed(f"The model's signature ({part}) cannot be served: {why}.")


def input_names(inputs: Sequence[Column] | Sequence[Tensor]) -> tuple[str, ...]:
    """Return the names of named inputs, in order; empty for unnamed ones."""
    return tuple(entry.name for entry in inputs if entry.name is not None)
