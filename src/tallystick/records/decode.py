"""Rows of input from the bodies of an inference table, as the model saw them.

The norm is `protocol.enforce`: what its decoder gives for a body is what the model was given. `bodies` reads what it
can of a batch faster, with the same result; the rest comes here, one by one. Reads no table, and knows no answers.

Two things are not as when the model was asked. Params are not looked at, as no column comes of them. No column is
required: a column may have been dropped from the recorded bodies, and is null then. A column that was hashed on its way
there holds texts whatever its type was (`as_recorded`).
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallystick.entities import Enforcement
from tallystick.errors import TallystickError
from tallystick.protocol.codec import JSON, parse_content_type
from tallystick.protocol.decoded import Decoded
from tallystick.protocol.enforce import Decoder, compile_decoder
from tallystick.protocol.signature import AnyType, ScalarType, Signature
from tallystick.records import schema
from tallystick.records.bodies import BodyReader, Ints
from tallystick.records.values import (
    inferred_type,
    rows_by_column,
    signature_fields,
    tensor_column,
    to_column,
    to_type,
)

#: Why rows of input are not in the view.
TOO_LARGE, WITHHELD, MISSING = "request over the payload limit", "request withheld", "request not recorded"
UNREADABLE = "request cannot be decoded"
#: Why a value of a row that is there is null.
MISFIT = "value of another type than its column"

_REASONS = {schema.REQUEST_TOO_LARGE: TOO_LARGE, schema.REQUEST_WITHHELD: WITHHELD}


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests of a batch, as an inference table has them."""

    bodies: pa.Array
    content_types: pa.Array
    error_codes: pa.Array
    #: Rows that each had, null where nobody knows.
    rows: pa.Array


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of input. For each, `requests` has the position of its request in the batch, and `row` its place in it."""

    requests: Ints
    row: Ints
    columns: dict[str, pa.Array]
    #: Rows that are left out, and values that are null for it, by reason.
    undecoded: Counter[str] = field(default_factory=Counter)


class InputDecoder:
    """Decodes the requests to one model.

    `fields` are the columns of a model without a signature, as `infer_fields` finds them.
    """

    def __init__(
        self,
        signature: Signature,
        connection: duckdb.DuckDBPyConnection,
        fields: Mapping[str, pa.DataType] | None = None,
    ) -> None:
        relaxed = dataclasses.replace(
            signature,
            params=None,
            columns=tuple(dataclasses.replace(column, required=False) for column in signature.columns),
        )
        self._signature = relaxed
        self._decoder: Decoder = compile_decoder(relaxed)
        self._fast = BodyReader(relaxed, connection)
        self.fields: dict[str, pa.DataType] = signature_fields(signature) or dict(fields or {})

    def decode(self, requests: Requests) -> Rows:
        """Return the rows of these requests, in their order. What cannot be decoded is left out and counted."""
        undecoded: Counter[str] = Counter()
        plain = _is_plain_json(requests)
        if plain.all():
            taken, left = self._fast.read(requests.bodies)
            parts = taken
        else:
            places = np.flatnonzero(plain)
            taken, left = self._fast.read(requests.bodies.filter(pa.array(plain)))
            parts = [dataclasses.replace(part, requests=places[part.requests]) for part in taken]
            left = np.sort(np.concatenate([places[left], np.flatnonzero(~plain)]))
        pieces = [(part.requests, part.rows, part.columns) for part in parts]
        if len(left) or not pieces:
            pieces.append(self._decode_slowly(requests, left, undecoded))
        return self._join(pieces, undecoded)

    def _decode_slowly(
        self, requests: Requests, places: Ints, undecoded: Counter[str]
    ) -> tuple[Ints, Ints, dict[str, pa.Array]]:
        some = pa.array(places)
        bodies = requests.bodies.take(some).to_pylist()
        types = requests.content_types.take(some).to_pylist()
        codes = requests.error_codes.take(some).to_pylist()
        known = requests.rows.take(some).to_pylist()
        kept: list[int] = []
        decoded: list[Decoded] = []
        for place, body, content_type, code, rows in zip(places.tolist(), bodies, types, codes, known, strict=True):
            found = decode_body(self._decoder, body, content_type, code or ())
            if isinstance(found, Decoded):
                kept.append(place)
                decoded.append(found)
            else:
                undecoded[found] += 1 if rows is None else rows
        columns, counts = self._columns(decoded, undecoded)
        return np.array(kept, dtype=np.int64), counts, columns

    def _columns(self, decoded: Sequence[Decoded], undecoded: Counter[str]) -> tuple[dict[str, pa.Array], Ints]:
        tables = [rows_by_column(entry.data, entry.rows) for entry in decoded]
        rows = [entry.rows for entry in decoded]
        columns: dict[str, pa.Array] = {}
        for name, kind in self.fields.items():
            pieces = [_piece(table, name, count) for table, count in zip(tables, rows, strict=True)]
            if self._signature.tensors and all(isinstance(piece, np.ndarray) for piece in pieces) and pieces:
                columns[name], lost = tensor_column(pieces, kind)
            else:
                columns[name], lost = to_column(pieces, rows, kind)
            undecoded[MISFIT] += lost
        return columns, np.array(rows, dtype=np.int64)

    def _join(self, pieces: Sequence[tuple[Ints, Ints, dict[str, pa.Array]]], undecoded: Counter[str]) -> Rows:
        requests = np.concatenate([np.repeat(places, rows) for places, rows, _ in pieces])
        row = np.concatenate([_places(rows) for _, rows, _ in pieces])
        columns = {
            name: pa.concat_arrays([to_type(columns[name], kind) for _, _, columns in pieces])
            if len(pieces) > 1
            else pieces[0][2][name]
            for name, kind in self.fields.items()
        }
        if len(pieces) > 1:
            order = np.argsort(requests, kind="stable")
            picked = pa.array(order)
            requests, row = requests[order], row[order]
            columns = {name: column.take(picked) for name, column in columns.items()}
        return Rows(requests, row, columns, +undecoded)


def _piece(table: dict[str, Any], name: str, rows: int) -> Any:
    piece = table.get(name)
    # A column that counts its columns only: the request may name them as it likes.
    if piece is None and name.isdecimal() and name not in table and int(name) < len(table):
        piece = list(table.values())[int(name)]
    return piece if piece is not None and len(piece) == rows else None


def _places(rows: Ints) -> Ints:
    """Return 0, 1, ... for the rows of each request."""
    if (rows == 1).all():
        return np.zeros(len(rows), dtype=np.int64)
    ends = np.cumsum(rows)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total, dtype=np.int64) - np.repeat(ends - rows, rows)


def _is_plain_json(requests: Requests) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether each body is there, as the JSON that was sent."""
    types = [kind for kind in pc.unique(requests.content_types).to_pylist() if is_json(kind)]
    is_typed = pc.is_in(requests.content_types, pa.array(types, pa.string()))
    plain = pc.and_(is_typed, requests.bodies.is_valid())
    odd = pc.greater(pc.list_value_length(requests.error_codes).fill_null(0), 0)
    if pc.any(odd).as_py():
        codes = requests.error_codes.to_pylist()
        is_odd = [schema.REQUEST_BASE64 in (entry or ()) for entry in codes]
        plain = pc.and_not(plain, pa.array(is_odd))
    return np.array(plain.to_numpy(zero_copy_only=False), dtype=np.bool_)


def is_json(content_type: str | None) -> bool:
    """Whether a body of this content type is JSON; without one it is."""
    try:
        return not content_type or parse_content_type(content_type) == JSON
    except TallystickError:
        return False


def decode_body(
    decoder: Decoder, body: str | None, content_type: str | None, error_codes: Sequence[str]
) -> Decoded | str:
    """Return what one recorded body holds, or why that cannot be told."""
    if body is None:
        return next((_REASONS[code] for code in error_codes if code in _REASONS), MISSING)
    try:
        is_base64 = schema.REQUEST_BASE64 in error_codes
        data = base64.b64decode(body, validate=True) if is_base64 else body.encode()
        return decoder.decode(data, content_type or JSON, Enforcement.FLAG)
    except (TallystickError, binascii.Error, UnicodeEncodeError):
        return UNREADABLE


#: What stands in a body for a value that was hashed; digits alone could be a number that came as text.
_HASH = re.compile(r"(?=.*[a-f])[0-9a-f]{16}")


def as_recorded(signature: Signature, requests: Requests) -> Signature:
    """Return the signature that recorded bodies fit: text for each column that is hashed in one of `requests`."""
    loose = tuple(dataclasses.replace(column, type=AnyType(), required=False) for column in signature.columns)
    decoder = compile_decoder(dataclasses.replace(signature, columns=loose, params=None))
    hashed: set[str] = set()
    for decoded in _decoded(decoder, requests) if loose else ():
        for name, values in rows_by_column(decoded.data, decoded.rows).items():
            texts = [value for value in values if isinstance(value, str)]
            if texts and any(map(_HASH.fullmatch, texts)):
                hashed.add(name)
    columns = tuple(
        dataclasses.replace(column, type=ScalarType.STRING) if column.name in hashed else column
        for column in signature.columns
    )
    return dataclasses.replace(signature, columns=columns)


def infer_fields(requests: Requests) -> dict[str, pa.DataType]:
    """Return the columns that requests to a model without a signature have: numbers, else text."""
    found: dict[str, list[Any]] = {}
    for decoded in _decoded(compile_decoder(Signature()), requests):
        for name, values in rows_by_column(decoded.data, decoded.rows).items():
            listed = values.tolist() if isinstance(values, np.ndarray) else values
            found.setdefault(name, []).extend(listed or ())
    return {name: inferred_type(values) for name, values in found.items()}


def _decoded(decoder: Decoder, requests: Requests) -> Iterator[Decoded]:
    parts = (requests.bodies, requests.content_types, requests.error_codes)
    for body, content_type, codes in zip(*(part.to_pylist() for part in parts), strict=True):
        found = decode_body(decoder, body, content_type, codes or ())
        if isinstance(found, Decoded):
            yield found
