"""Columns that an endpoint does not want on record: left out of bodies, or replaced by a keyed hash.

Fails closed. A body is given back only when it was read whole, in a form that is known, and no name to be redacted
occurs anywhere but where a column's name stands; of every other body nothing is given back. What is not redacted
keeps its order and meaning. Names are matched, not values: the same value under another name is not found.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import datetime
import hashlib
import hmac
import io
import json
import math
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from tallystick.errors import InternalError
from tallystick.protocol.codec import CSV, INPUT_KEYS, JSON, parse_content_type
from tallystick.records.schema import INFERENCE_FIELDS

KEY_FILE = "hash.key"
_KEY_BYTES = 32
#: Hex digits of a hash that are kept: 64 bits tell apart billions of values.
_HASH_DIGITS = 16
#: A name with this prefix is a column of the model's input, else of the inference table.
INPUT_PREFIX = "request."

_TABLE_COLUMNS = frozenset(entry.name for entry in INFERENCE_FIELDS)
#: Columns of the table that repeat a top-level key of the body.
_BODY_KEYS = frozenset({"client_request_id", "usage_context"})


#: Larger tables are not inflated: a body of a megabyte could fill the memory.
_MAX_TABLE_BYTES = 64 << 20
_MAX_TABLE_ROWS, _MAX_TABLE_BATCHES = 1_000_000, 1000


@dataclass(frozen=True, slots=True)
class Redaction:
    """What to leave out and what to hash, for one endpoint config. Make it with `compile_redaction`."""

    #: Columns of the inference table.
    dropped_columns: frozenset[str]
    hashed_columns: frozenset[str]
    #: Columns of the model's input.
    dropped_inputs: frozenset[str]
    hashed_inputs: frozenset[str]
    #: False when a name is neither of these; then no body is given back, as nobody knows what was meant.
    is_understood: bool
    key: bytes = field(repr=False)
    names: _Names = field(repr=False, compare=False)

    @property
    def inputs(self) -> frozenset[str]:
        """Columns of the input that are dropped or hashed."""
        return self.dropped_inputs | self.hashed_inputs

    @property
    def body_keys(self) -> frozenset[str]:
        """Top-level keys of a JSON body that are dropped or hashed, because columns of the table repeat them."""
        return _BODY_KEYS & (self.dropped_columns | self.hashed_columns)

    @property
    def keeps_error_answers(self) -> bool:
        """Whether bodies of answers with status 400 and above may be recorded; they repeat pieces of a request."""
        return self.is_understood and not self.inputs and not self.body_keys

    def column(self, name: str, value: Any) -> Any:
        """Return the value of a column of the inference table as it may be recorded; None where it is dropped.

        A text is hashed whole, of the pairs of a map each value. What is neither has no hash, and is left out.
        """
        if value is None or name in self.dropped_columns:
            return None
        if name not in self.hashed_columns:
            return value
        if isinstance(value, str):
            return self.hash(value)
        if name == "usage_context":
            return [(key, None if item is None else self.hash(item)) for key, item in value]
        return None

    def body(self, body: bytes, content_type: str) -> bytes | None:
        """Return a request's body without the values to be redacted; None when that cannot be done for certain.

        An empty `content_type` means JSON. Never raises. O(body).
        """
        if not self.is_understood:
            return None
        if not self.inputs and not self.body_keys:
            return body
        try:
            media = parse_content_type(content_type) if content_type else JSON
            if media == JSON:
                return _JsonBody(self).redact(body)
            if not self.inputs:
                return body
            return _redact_csv(self, body) if media == CSV else _redact_arrow(self, body)
        except Exception:  # noqa: BLE001  whatever a body does to a parser, it is not recorded, and ends no recorder
            return None

    def hash(self, value: Any) -> str:
        """Return the pseudonym of a JSON value: keyed, so that guesses cannot be tried out without the key.

        HMAC-SHA256 (RFC 2104) of the canonical JSON text, cut to 16 hex digits: keys sorted, no spaces, whole numbers
        without a fraction, so that 42 and 42.0 are one value.
        """
        text = json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        # Half of a surrogate pair is a value like any other.
        return hmac.new(self.key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:_HASH_DIGITS]


def compile_redaction(drop: Iterable[str], hash: Iterable[str], key: bytes) -> Redaction:
    """Return what the names of a `Context` ask for. A column that is in both is dropped. Pure.

    >>> redaction = compile_redaction(["request.ssn"], [], b"k" * 32)
    >>> redaction.body(b'{"dataframe_records": [{"ssn": "123-45", "age": 7}]}', "application/json")
    b'{"dataframe_records":[{"age":7}]}'
    """
    dropped = frozenset(drop)
    hashed = frozenset(hash) - dropped
    parts = dropped & _TABLE_COLUMNS, hashed & _TABLE_COLUMNS, _input_names(dropped), _input_names(hashed)
    is_understood = sum(map(len, parts)) == len(dropped) + len(hashed)
    body_keys = _BODY_KEYS & (parts[0] | parts[1])
    return Redaction(*parts, is_understood, key, _Names(parts[2] | parts[3] | body_keys))


def _input_names(names: Iterable[str]) -> frozenset[str]:
    inputs = (name.removeprefix(INPUT_PREFIX) for name in names if name.startswith(INPUT_PREFIX))
    return frozenset(name for name in inputs if _fold(name))


def _canonical(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return int(value) if value.is_integer() else value
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, dict):
        return {name: _canonical(item) for name, item in value.items()}
    return value


# -- where names stand -------------------------------------------------------------------------------------


class _Withheld(Exception):
    """The body cannot be redacted for certain."""


def _fold(name: str) -> str:
    """Return `name` without what slips of the keyboard change: case, spaces, what does not print, other widths."""
    if name.isascii() and name.isidentifier():
        return name.lower()
    kept = (c for c in unicodedata.normalize("NFKC", name) if c.isprintable() and not c.isspace())
    return "".join(kept).casefold()


class _Names:
    """The names to be redacted, and what can be taken for one of them."""

    def __init__(self, names: frozenset[str]) -> None:
        self._folded = frozenset(map(_fold, names))
        # A name in quotes within a text: JSON in a value. As JSON writes the text, its quotes have backslashes.
        any_name = "|".join(map(re.escape, sorted(names)))
        self._quoted = re.compile(rf'"\s*(?:{any_name})\s*\\*"', re.IGNORECASE)
        self._escaped = re.compile(rf'\\"\s*(?:{any_name})\s*\\*"', re.IGNORECASE)

    def among(self, names: Iterable[str]) -> frozenset[str]:
        """Return those of `names` that are one to be redacted, or are spelled so nearly like one that it was meant.

        The latter are no column's names; who finds one where a column is, gives nothing back.
        """
        return frozenset(name for name in names if _fold(name) in self._folded)

    def check_text(self, text: str) -> None:
        """Raise when a value holds a name as an object in it would: JSON in a text."""
        if '"' in text and self._quoted.search(_unescape(text)):
            raise _Withheld("a name in a value")

    def check_rendered(self, text: str) -> None:
        """Raise when a value in a JSON text does."""
        if "\\" in text and self._escaped.search(_unescape(text)):
            raise _Withheld("a name in a value")

    def check_cells(self, cells: list[str]) -> None:
        """Raise when cells of a CSV hold a name as a header line would: one further down, or of other separators."""
        line = "\n".join(cells)
        self.check_text(line)
        folded = _fold(line)
        # The first question is quick, and its answer nearly always no.
        if any(name in folded for name in self._folded) and not self._folded.isdisjoint(
            map(_fold, _SEPARATORS.split(line))
        ):
            raise _Withheld("a name in a cell")


_ESCAPE = re.compile(r"\\+u([0-9a-fA-F]{4})")
#: JSON in JSON in JSON; nobody writes more.
_MAX_LEVELS = 3


def _unescape(text: str) -> str:
    """Return `text` with JSON's escapes by number replaced, also those of JSON in it. For matching only."""
    for _ in range(_MAX_LEVELS):
        if "\\u" not in text:
            break
        text = _ESCAPE.sub(_escaped_character, text)
    return text


def _escaped_character(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return '\\"' if character == '"' else character


_SEPARATORS = re.compile(r"[;|\t,\r\n]")


# -- JSON --------------------------------------------------------------------------------------------------

#: Keys with a meaning of their own; a column may have the same name.
_BESIDE = frozenset((*INPUT_KEYS, "params", "client_request_id", "usage_context", "stream", "databricks_options"))
_SPLIT_KEYS = frozenset({"columns", "data", "index"})
_render = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False).encode


class _JsonBody:
    """Redacts one body.

    Places where a name is the key of an object are counted, and so are those that were dealt with: when the two
    differ, a name stands where no column is.
    """

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._inputs, self._dropped, self._hashed = redaction.inputs, redaction.dropped_inputs, redaction.hashed_inputs
        self._body_keys = redaction.body_keys
        self._names = redaction.names
        self._seen: set[str] = set()
        #: Names that were met, and how often they were met and dealt with.
        self._met: frozenset[str] = frozenset()
        self._places = self._settled = 0
        self._has_changed = False

    def redact(self, body: bytes) -> bytes:
        """Return the body without what is redacted; as it was where that is nothing. Raises when in doubt."""
        fields = json.loads(body.decode("utf-8"), object_pairs_hook=self._object, parse_constant=_refuse)
        given = [key for key in INPUT_KEYS if key in fields] if type(fields) is dict else []
        if len(given) != 1:
            raise _Withheld("not a request")
        self._settled += len(self._met & fields.keys() & _BESIDE)
        if self._inputs:
            fields[given[0]] = self._input(given[0], fields[given[0]])
        for key in self._body_keys & fields.keys():
            self._has_changed = True
            if key in self._redaction.dropped_columns:
                del fields[key]
            else:
                fields[key] = self._hash_context(fields[key]) if key == "usage_context" else self._hash(fields[key])
        if self._places != self._settled:
            raise _Withheld("a name where no column is")
        text = _render(fields)
        self._names.check_rendered(text)
        return text.encode("utf-8") if self._has_changed else body

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Make an object, when it has no key twice, and count the names in it."""
        made = dict(pairs)
        if len(made) != len(pairs):
            raise _Withheld("a key that stands twice")
        new = made.keys() - self._seen
        if new:
            self._met |= self._names.among(new)
            self._seen |= new
        if self._met:
            self._places += len(self._met & made.keys())
        return made

    def _input(self, key: str, value: Any) -> Any:
        if key == "dataframe_split":
            return self._split(value)
        if type(value) is dict and key != "dataframe_records":
            return self._redact(value, self._hash_column)
        if type(value) is list and all(type(row) is dict for row in value):
            return [self._redact(row, self._hash) for row in value]
        raise _Withheld("values without names")

    def _redact(self, row: dict[str, Any], hash_value: Callable[[Any], Any]) -> dict[str, Any]:
        """Return an object of columns without those to be redacted."""
        found = self._inputs & row.keys()
        if not found:
            return row
        self._settled += len(found)
        self._has_changed = True
        kept = {name: value for name, value in row.items() if name not in self._dropped}
        return kept | {name: hash_value(row[name]) for name in found & self._hashed}

    def _split(self, value: Any) -> Any:
        if type(value) is not dict or not value.keys() <= _SPLIT_KEYS:
            raise _Withheld("not a split table")
        self._settled += len(self._met & value.keys())
        columns, data = value.get("columns"), value.get("data", [])
        if type(columns) is not list or type(data) is not list or not {type(name) for name in columns} <= {str, int}:
            raise _Withheld("a table without names")
        names = [str(name) for name in columns]
        found = self._names.among(names)
        if len(set(names)) != len(names) or not found <= self._inputs:
            raise _Withheld("a name that stands twice, or is no column's")
        # A table of one column may have single values for rows.
        is_single = len(names) == 1 and not any(type(row) is list or type(row) is dict for row in data)
        rows = [[row] for row in data] if is_single else data
        if any(type(row) is not list or len(row) != len(names) for row in rows):
            raise _Withheld("rows of another length than the header")
        if not found:
            return value
        self._has_changed = True
        kept = [n for n, name in enumerate(names) if name not in self._dropped]
        hashed = {n for n, name in enumerate(names) if name in self._hashed}
        redacted = [[self._hash(row[n]) if n in hashed else row[n] for n in kept] for row in rows]
        changed = {"columns": [columns[n] for n in kept], "data": redacted}
        return value | {key: item for key, item in changed.items() if key in value}

    def _hash(self, value: Any) -> Any:
        """Return the hash of a cell; a missing value stays missing."""
        return None if value is None else self._redaction.hash(value)

    def _hash_column(self, value: Any) -> Any:
        return [self._hash(item) for item in value] if type(value) is list else self._hash(value)

    def _hash_context(self, value: Any) -> Any:
        if value is None:
            return None
        if type(value) is not dict:
            raise _Withheld("a usage_context that is no object")
        return {name: self._hash(item) for name, item in value.items()}


def _refuse(constant: str) -> None:
    raise _Withheld("NaN or Infinity, which is not JSON")


# -- CSV ---------------------------------------------------------------------------------------------------

#: A number as JSON writes it; other text is text, as "007" is.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def _redact_csv(redaction: Redaction, body: bytes) -> bytes:
    text = body.decode("utf-8")
    if text.startswith("\ufeff") or "\0" in text:
        raise _Withheld("not plain text")
    # Empty lines are no rows; the worker's parser skips them too.
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    if not rows:
        raise _Withheld("no header line")
    names, *rows = rows
    found = redaction.names.among(names)
    if len(set(names)) != len(names) or not found <= redaction.inputs:
        raise _Withheld("a name that stands twice, or is no column's")
    redaction.names.check_cells([name for name in names if name not in found])
    kept = [n for n, name in enumerate(names) if name not in redaction.dropped_inputs]
    if not kept or any(len(row) != len(names) for row in rows):
        raise _Withheld("rows of another length than the header, or of nothing")
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


# -- Arrow -------------------------------------------------------------------------------------------------

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
        raise _Withheld("larger than a table may be")


def _redact_arrow(redaction: Redaction, body: bytes) -> bytes:
    """Return the stream, always written anew: metadata and what follows the table are not kept."""
    _check_inflated(body)
    table = _read_arrow(body)
    names, inputs = table.column_names, redaction.inputs
    found = redaction.names.among(names)
    kept = [name for name in names if name not in redaction.dropped_inputs]
    if len(set(names)) != len(names) or not found <= inputs or not kept:
        raise _Withheld("a name that stands twice, or is no column's; or nothing is left")
    for column in table.schema:
        if column.name not in inputs and (_has_map(column.type) or redaction.names.among(_inner_names(column.type))):
            raise _Withheld("a name within a column")
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
                raise _Withheld("larger than a table may be")
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
        raise _Withheld("values of a type that is not hashed")
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


# -- the key -----------------------------------------------------------------------------------------------


def load_hash_key(data_dir: Path) -> bytes:
    """Return the key of all hashes of a server: 32 random bytes in the data directory, made at the first call.

    Of two processes that make it, both use the first one's. Raises InternalError when the file cannot be read or
    holds something else: with another key, equal values would no longer have equal hashes.
    """
    path = data_dir / KEY_FILE
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes()
    except OSError as error:
        raise InternalError(f"The key file {KEY_FILE} of the data directory cannot be read or made.") from error
    if len(key) != _KEY_BYTES:
        raise InternalError(f"The key file {KEY_FILE} of the data directory is damaged; restore it from a backup.")
    return key


def _make_key(path: Path) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=KEY_FILE, dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # A link fails where a rename would replace.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
