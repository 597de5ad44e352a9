"""What a request becomes: values that fit the model, ready to be joined with those of others."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from tallystick.protocol.ledger import Ledger
from tallystick.protocol.scalars import Array, Values


@dataclass(frozen=True, slots=True)
class Inferred:
    """Values of an any-typed column: pandas names their type."""

    values: list[Any]


@dataclass(frozen=True, slots=True)
class Columns:
    """A frame to be. Either `block` (rows x columns, one dtype) or `columns` holds the values."""

    names: tuple[str | int, ...]
    block: Array | None = None
    columns: tuple[Values | Inferred, ...] = ()
    index: list[Any] | None = None


@dataclass(frozen=True, slots=True)
class RawFrame:
    """A frame for a model without a signature: what pandas makes of `data`, unchanged."""

    data: list[Any]
    columns: list[Any] | None = None
    index: list[Any] | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """Values that go to the model as they came."""

    value: Any


#: An ndarray is one unnamed tensor, a dict of them are named ones.
Data: TypeAlias = Columns | RawFrame | Raw | np.ndarray[Any, Any] | dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Decoded:
    """One request's input, checked. Hand only Decoded of equal `form` and `params` to `assemble` together."""

    data: Data
    #: Rows of the batch axis, which `split_predictions` gives back.
    rows: int
    #: Equal for inputs that can be rows of one call without changing each other's types.
    form: Hashable
    params: dict[str, Any]
    ledger: Ledger = field(default_factory=dict)
    #: What was ignored: top-level keys, columns, params.
    notes: tuple[str, ...] = ()
    client_request_id: str | None = None
    usage_context: dict[str, str] | None = None
    stream: bool = False


class Alone:
    """The form of an input that joins with no other; equal to itself only."""

    __slots__ = ()
