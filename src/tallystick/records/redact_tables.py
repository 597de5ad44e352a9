"""Redaction of tables that are not JSON: CSV and Arrow streams."""

from __future__ import annotations

import base64
import csv
import datetime
import io
import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tallystick.records.redact_names import Withheld

if TYPE_CHECKING:
    from tallystick.records.redact import Redaction

#: Larger tables are not inflated: a body of a megabyte could fill the memory.
_MAX_TABLE_BYTES = 64 << 20
_MAX_TABLE_ROWS, _MAX_TABLE_BATCHES = 1_000_000, 1000
#: A number as JSON writes it; other text is text, as "007" is.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def redact_csv(redaction: Redaction, body: bytes) -> bytes:
    """Return the CSV text without what is redacted; as it was where that is nothing. Raises when in doubt."""
    text = body.decode("utf-8")
    if text.startswith("\ufeff") or "\0" in text:
        raise Withheld("not plain text")
    # Empty lines are no rows; the worker's parser skips them too.
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    if not rows:
        raise Withheld("no header line")
    names, *rows = rows
    found = redaction.names.among(names)
    if len(set(names)) != len(names) or not found <= redaction.inputs:
        raise Withheld("a name that stands twice, or is no column's")
    redaction.names.check_cells([name for name in names if name not in found])
    kept = [n for n, name in enumerate(names) if name not in redaction.dropped_inputs]
    if not kept or any(len(row) != len(names) for row in rows):
        raise Withheld("rows of another length than the header, or of nothing")
    for row in rows:
        redaction.names.check_cells(row)
    if not found:
        return body
    hashed = {n for n, name in enumerate(names) if name in redaction.hashed_inputs}
    out = io.StringIO()
    # A lone value in quotes, or an empty one would be an empty line, which is no row.
    writer = csv.writer(out, quoting=csv.QUOTE_ALL if len(kept) == 1 else csv.QUOTE_MINIMAL)
    writer.writerow([names[n] for n in kept])
    for row in rows:
        writer.writerow([_hash_csv(redaction, row[n]) if n in hashed else row[n] for n in kept])
    return out.getvalue().encode("utf-8")


def _hash_csv(redaction: Redaction, text: str) -> str:
    """Return the hash of a cell, the same as that of the number in JSON; an empty cell stays empty."""
    if not text:
        return ""
    number = json.loads(text) if _NUMBER.fullmatch(text) else None
    return redaction.hash(text if number is None or not math.isfinite(number) else number)


# What each compressed buffer begins with, after its inflated length: Zstandard, LZ4, and frames that both skip.
_FRAME = re.compile(rb"[\x1e\x22-\x28]\xb5\x2f\xfd|\x04\x22\x4d\x18|[\x50-\x5f]\x2a\x4d\x18")
_LENGTH_BYTES = 8


def _check_inflated(body: bytes) -> None:
    """Raise when the buffers of an Arrow stream are larger than a table may be. Bytes that look like one count too."""
    total = len(body)
    for frame in _FRAME.finditer(body):
        start = frame.start()
        total += max(0, int.from_bytes(body[max(0, start - _LENGTH_BYTES) : start], "little", signed=True))
    if total > _MAX_TABLE_BYTES:
        raise Withheld("larger than a table may be")


def redact_arrow(redaction: Redaction, body: bytes) -> bytes:
    """Return the stream, always written anew: metadata and what follows the table are not kept.

    Raises when in doubt.
    """
    _check_inflated(body)
    table = _read_arrow(body)
    names, inputs = table.column_names, redaction.inputs
    found = redaction.names.among(names)
    kept = [name for name in names if name not in redaction.dropped_inputs]
    if len(set(names)) != len(names) or not found <= inputs or not kept:
        raise Withheld("a name that stands twice, or is no column's; or nothing is left")
    for column in table.schema:
        if column.name not in inputs and (_has_map(column.type) or redaction.names.among(_inner_names(column.type))):
            raise Withheld("a name within a column")
    # One array a column, and one dictionary: work does not grow with the number of batches.
    table = table.select(kept).unify_dictionaries().combine_chunks()
    arrays = [_redact_array(redaction, name, _single(table.column(name))) for name in kept]
    fields = [
        pa.field(column.name, array.type, column.nullable) for column, array in zip(table.schema, arrays, strict=True)
    ]
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, pa.schema(fields)) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields)))
    return bytes(out.getvalue())


def _read_arrow(body: bytes) -> Any:
    """Return the table in a stream. Raises for one that is larger than its few bytes let expect."""
    batches: list[Any] = []
    rows = size = 0
    with pa.ipc.open_stream(body) as reader:
        for batch in reader:
            rows, size = rows + batch.num_rows, size + batch.nbytes
            # Columns of nulls, and of runs, have rows that take no bytes.
            if rows > _MAX_TABLE_ROWS or size > _MAX_TABLE_BYTES or len(batches) >= _MAX_TABLE_BATCHES:
                raise Withheld("larger than a table may be")
            batch.validate(full=True)
            batches.append(batch)
        return pa.Table.from_batches(batches, schema=reader.schema)


def _single(column: Any) -> Any:
    """Return the one array of a column of which there is at most one."""
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _inner_names(kind: pa.DataType) -> Iterator[str]:
    """Yield the names of objects within values of this type."""
    if pa.types.is_dictionary(kind):
        yield from _inner_names(kind.value_type)
    for n in range(kind.num_fields):
        inner = kind.field(n)
        # Of lists and the like the names are Arrow's own.
        if pa.types.is_struct(kind) or pa.types.is_union(kind):
            yield inner.name
        yield from _inner_names(inner.type)


def _has_map(kind: pa.DataType) -> bool:
    """Whether values hold maps, whose keys are names that only the values tell."""
    if pa.types.is_dictionary(kind):
        return _has_map(kind.value_type)
    return pa.types.is_map(kind) or any(_has_map(kind.field(n).type) for n in range(kind.num_fields))


def _redact_array(redaction: Redaction, name: str, array: Any) -> Any:
    types = pa.types
    if name not in redaction.hashed_inputs:
        for text in _texts(array):
            redaction.names.check_text(text)
        return array
    if types.is_null(array.type):
        return array.cast(pa.string())
    encoded = array if types.is_dictionary(array.type) else array.dictionary_encode()
    values = encoded.dictionary
    # Nested values, and views that share bytes, can be far more than their buffers.
    if not any(is_kind(values.type) for is_kind in _HASHABLE):
        raise Withheld("values of a type that is not hashed")
    hashes = [None if value is None else redaction.hash(value) for value in map(_json_value, values.to_pylist())]
    return pa.array(hashes, pa.string()).take(encoded.indices)


def _texts(array: Any) -> list[str]:
    """Return the different texts of a column of text."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return []
    return [text for text in array.unique().to_pylist() if text]


_HASHABLE = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_date,
    pa.types.is_timestamp,
)


def _json_value(value: Any) -> Any:
    """Return a value of Arrow as JSON would have it; None for what is missing."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value
