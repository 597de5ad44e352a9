"""Predictions from the answers of an inference table, one for each row of input.

An answer is `{"predictions": ...}`, as MLflow's server gives it: a list with an item for each row as a rule. Lists of
numbers and texts are read a batch at a time (see `bodies`), all else one by one. Reads no table.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallystick.protocol.signature import Column, ScalarType, Signature, Tensor
from tallystick.records import schema
from tallystick.records.bodies import (
    NULL_MARKS,
    Bools,
    Ints,
    count_bytes,
    marks,
    one_chunk,
    run_query,
    text_bytes,
    typed_cells,
)
from tallystick.records.decode import is_json
from tallystick.records.values import (
    SCALAR_TYPES,
    arrow_type,
    column_name,
    inferred_type,
    plain,
    tensor_type,
    to_type,
)

_KEY = "predictions"
_ARROW = "application/vnd.apache.arrow.stream"
_NOTHING = object()
#: Why the prediction of a row is null.
NO_ANSWER, NOT_BY_ROW = "answer cannot be decoded", "predictions are not one a row"
MISFIT = "prediction of another type than the others"


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of a batch, as an inference table has them."""

    bodies: pa.Array
    content_types: pa.Array
    error_codes: pa.Array


def declared_type(signature: Signature) -> pa.DataType | None:
    """Return the type of one row's prediction by the signature; None when it does not say."""
    outputs: tuple[Column | Tensor, ...] = signature.outputs
    if not outputs:
        return None
    kinds = [tensor_type(each) if isinstance(each, Tensor) else arrow_type(each.type) for each in outputs]
    # JSON has neither: base64 text and ISO 8601 text it is.
    kinds = [pa.string() if pa.types.is_binary(kind) or pa.types.is_timestamp(kind) else kind for kind in kinds]
    if len(kinds) == 1:
        return kinds[0]
    names = [column_name(each, n) for n, each in enumerate(outputs)]
    return pa.struct(list(zip(names, kinds, strict=True)))


def prediction_type(declared: pa.DataType | None, answers: Answers, rows: Sequence[int]) -> pa.DataType:
    """Return the type of a row's prediction: as declared, when the first answers bear that out, else as they are."""
    items: list[Any] = []
    parts = (answers.bodies, answers.content_types, answers.error_codes)
    for body, content_type, codes, count in zip(*(part.to_pylist() for part in parts), rows, strict=True):
        found = _items(body, content_type, codes or (), count)
        items.extend(found if isinstance(found, list) else ())
    given = [item for item in items if item is not None]
    if declared is not None and all(_unwrapped(item, declared) is not None for item in given):
        return declared
    if given and all(isinstance(item, dict) for item in given):
        names = dict.fromkeys(name for item in given for name in item)
        return pa.struct([(name, inferred_type([item.get(name) for item in given])) for name in names])
    return inferred_type(given) if given else (declared or pa.float64())


class PredictionReader:
    """Reads the answers of one model."""

    def __init__(self, kind: pa.DataType, connection: duckdb.DuckDBPyConnection) -> None:
        self.kind = kind
        self._connection = connection
        self._scalar = next((each for each, arrow in SCALAR_TYPES.items() if arrow.equals(kind)), None)
        self._is_list = pa.types.is_list(kind) and pa.types.is_floating(kind.value_type)

    def read(self, answers: Answers, requests: Ints, rows: Ints, undecoded: Counter[str]) -> pa.Array:
        """Return a prediction for each row of these requests, which are `rows` long; null where there is none.

        `requests` are positions in the batch, ascending.
        """
        is_whole = len(requests) == len(answers.bodies)
        some = None if is_whole else pa.array(requests)
        picked = answers if some is None else _take(answers, some)
        fast, done = self._read_fast(picked, rows)
        if done.all():
            return fast
        slow = self._read_slowly(_take(picked, pa.array(np.flatnonzero(~done))), rows[~done], undecoded)
        owner = np.repeat(done, rows)
        # Where each row's prediction is in `fast` and `slow`, one behind the other.
        place = np.where(owner, np.cumsum(owner) - 1, len(fast) + np.cumsum(~owner) - 1)
        return pa.concat_arrays([fast, slow]).take(pa.array(place))

    def _read_fast(self, answers: Answers, rows: Ints) -> tuple[pa.Array, Bools]:
        """Return the predictions of those answers that could be read at once, and which ones these are."""
        nothing = pa.array([], self.kind), np.zeros(len(rows), np.bool_)
        kinds = (*_FAST_NUMBERS, ScalarType.STRING, ScalarType.BOOLEAN)
        if not self._is_list and self._scalar not in kinds:
            return nothing
        is_number = self._is_list or self._scalar in _FAST_NUMBERS
        cell: Any = "DOUBLE" if is_number else "JSON"
        parsed = run_query(
            self._connection, answers.bodies, f"parsed.{_KEY} AS found", {_KEY: [[cell] if self._is_list else cell]}
        )
        found = one_chunk(parsed.column(0))
        if is_number and not _proves_numbers(answers.bodies.filter(found.is_valid()), found.drop_null()):
            return nothing
        done: Bools = pc.equal(pc.list_value_length(found), pa.array(rows)).fill_null(False).to_numpy(False)
        if not done.any():
            return nothing
        values = (found if done.all() else found.filter(pa.array(done))).flatten()
        if self._is_list:
            leaves = values.flatten()
            is_finite = not np.isinf(leaves.to_numpy(zero_copy_only=False)).any()
            return (to_type(values, self.kind), done) if is_finite and not leaves.null_count else nothing
        assert self._scalar is not None
        typed, bad = typed_cells(values, self._scalar, by_frame=True)
        return (typed, done) if bad is None else nothing

    def _read_slowly(self, answers: Answers, rows: Ints, undecoded: Counter[str]) -> pa.Array:
        out: list[Any] = []
        parts = (answers.bodies, answers.content_types, answers.error_codes)
        for body, content_type, codes, count in zip(*(part.to_pylist() for part in parts), rows.tolist(), strict=True):
            items = _items(body, content_type, codes or (), count)
            if isinstance(items, str):
                undecoded[items] += count
                items = [None] * count
            made = [_unwrapped(item, self.kind) for item in items]
            misfits = sum(1 for item, value in zip(items, made, strict=True) if value is None and item is not None)
            if misfits:
                undecoded[MISFIT] += misfits
            out.extend(made)
        return pa.array(out, self.kind)


_FAST_NUMBERS = (ScalarType.DOUBLE, ScalarType.FLOAT, ScalarType.LONG, ScalarType.INTEGER)


def _take(answers: Answers, places: pa.Array) -> Answers:
    return Answers(*(part.take(places) for part in (answers.bodies, answers.content_types, answers.error_codes)))


def _proves_numbers(bodies: pa.Array, found: pa.Array) -> bool:
    """Whether answers hold numbers and nulls only, as in `bodies`."""
    values = found.flatten()
    values = values.flatten() if pa.types.is_list(values.type) else values
    quotes, letters = marks((_KEY,))
    data = text_bytes(bodies)
    expected = len(bodies) * letters + NULL_MARKS * values.null_count
    return count_bytes(data, b'"') == len(bodies) * quotes and count_bytes(data, b"ul") == expected


def _unwrapped(item: Any, kind: pa.DataType) -> Any:
    """Return a prediction as a value of `kind`. A frame of one column answers with objects of one name."""
    if isinstance(item, dict) and len(item) == 1 and not pa.types.is_nested(kind):
        item = next(iter(item.values()))
    if pa.types.is_list(kind) and not (isinstance(item, list) and _has_depth_of(item, kind)):
        return None
    return plain(item, kind)


def _has_depth_of(item: Any, kind: pa.DataType) -> bool:
    if not pa.types.is_list(kind):
        return not isinstance(item, list)
    return isinstance(item, list) and all(_has_depth_of(each, kind.value_type) for each in item)


def _items(body: str | None, content_type: str | None, codes: Sequence[str], rows: int) -> list[Any] | str:
    """Return an answer's prediction for each row, or why there are none."""
    value = _parsed(body, content_type, codes)
    if value is _NOTHING:
        return NO_ANSWER
    if isinstance(value, list) and len(value) == rows:
        return value
    if isinstance(value, dict) and value and all(isinstance(v, list) and len(v) == rows for v in value.values()):
        return [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]
    return [value] if rows == 1 and not isinstance(value, list) else NOT_BY_ROW


def _parsed(body: str | None, content_type: str | None, codes: Sequence[str]) -> Any:
    if body is None:
        return _NOTHING
    try:
        data = base64.b64decode(body, validate=True) if schema.RESPONSE_BASE64 in codes else body.encode()
        if content_type == _ARROW:
            return _from_arrow(data)
        value = msgspec.json.decode(data) if is_json(content_type) else _NOTHING
    except (msgspec.MsgspecError, binascii.Error, pa.ArrowException, ValueError, RecursionError):
        return _NOTHING
    return value.get(_KEY, value) if isinstance(value, dict) else value


def _from_arrow(data: bytes) -> list[Any]:
    with pa.ipc.open_stream(data) as reader:
        table = reader.read_all()
    if table.num_columns == 1:
        return list(table.column(0).to_pylist())
    return list(table.to_pylist())
