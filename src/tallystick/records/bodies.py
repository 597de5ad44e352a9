"""Many JSON bodies at once: what the decoder would make of each, for the bodies where that is certain.

The decoder takes about 10 us a request; a table has millions. Here DuckDB's JSON parser, which uses all cores, reads a
whole batch by the layout (`Layout`) of one of its bodies, strictly: a body that lacks a key or has one twice is not
taken. Two ways, by what can be proved of the types:

* *numbers*: all columns are numbers. DuckDB turns text and booleans into numbers without a word, so the bytes are
  counted: a text would add two quotes to those of the keys, `true` a `u` and `false` an `l`. Nothing that could be
  there takes any away, so equal sums for the batch prove that there is none.
* *cells*: each value is read as the JSON text that it is, which tells its type.

What is not taken is left to the decoder, which is the norm (`protocol.enforce`). Only bodies that were answered come
here: what the decoder refuses as a whole (a second input key, a trailing comma) is not looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallystick.protocol import scalars
from tallystick.protocol.codec import INPUT_KEYS
from tallystick.protocol.scalars import EXACT_IN_DOUBLE, EXACT_IN_FLOAT
from tallystick.protocol.signature import ScalarType, Signature
from tallystick.records.values import SCALAR_TYPES

Bools = np.ndarray[Any, np.dtype[np.bool_]]
Ints = np.ndarray[Any, np.dtype[np.int64]]

_NUMBERS = (ScalarType.DOUBLE, ScalarType.FLOAT, ScalarType.LONG, ScalarType.INTEGER)
#: Fewer bodies than this are not worth a query.
_WORTH = 32
#: Layouts that are tried on one batch; a caller that invents keys could otherwise make as many as bodies.
_MAX_LAYOUTS = 8
#: DuckDB shares the work out by record batches, so there are some for each core.
_PIECES = 16
_FIRST_KEY = re.compile(r'\s*\{\s*"[^"\\]*"')
_ISO = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?$"
_RECORDS = ("dataframe_records", "instances", "inputs")
_PLAIN_NAME = re.compile(r'[^"\\\x00-\x1f]+')


@dataclass(frozen=True, slots=True)
class Layout:
    """How one client writes its bodies."""

    #: The body up to and with its first key.
    prefix: str
    #: The input key.
    key: str
    #: Columns as they stand in `dataframe_split`; of records those of the signature that are there.
    columns: tuple[str, ...]
    #: Columns of the signature that are not there, and must not be in bodies of this layout.
    lacking: tuple[str, ...]

    @property
    def by_frame(self) -> bool:
        """Whether pandas' rules apply (see `protocol.table`)."""
        return self.key.startswith("dataframe_")


@dataclass(frozen=True, slots=True)
class Taken:
    """The bodies of a batch that were decoded together."""

    #: Positions in the batch, ascending, and how many rows each has.
    requests: Ints
    rows: Ints
    columns: dict[str, pa.Array]


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What DuckDB made of bodies: `cells` has, for each column of the signature, one value a row."""

    rows: Ints
    refused: Bools
    cells: dict[str, pa.Array]


def connect() -> duckdb.DuckDBPyConnection:
    """Return a connection that keeps nothing and reads no file."""
    return duckdb.connect(config={"enable_external_access": "false", "autoload_known_extensions": "false"})


def read_layout(body: str, names: Sequence[str]) -> Layout | None:
    """Return how a body is written; None when bodies like it are left to the decoder."""
    first = _FIRST_KEY.match(body)
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    given = [key for key in INPUT_KEYS if isinstance(fields, dict) and key in fields]
    if first is None or len(given) != 1:
        return None
    key = given[0]
    columns = _split_columns(fields[key]) if key == "dataframe_split" else _record_columns(fields[key], names)
    if not columns or len(set(columns)) != len(columns) or not set(columns) & set(names):
        return None
    return Layout(first[0], key, columns, tuple(name for name in names if name not in columns))


def _split_columns(value: Any) -> tuple[str, ...]:
    columns = value.get("columns") if isinstance(value, dict) else None
    is_plain = isinstance(columns, list) and all(type(name) is str and _is_plain(name) for name in columns)
    return tuple(columns) if is_plain and columns else ()


def _record_columns(value: Any, names: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return ()
    return tuple(name for name in names if name in value[0])


def _is_plain(name: str) -> bool:
    return _PLAIN_NAME.fullmatch(name) is not None


class BodyReader:
    """Reads the bodies that one model was sent. Remembers the layouts that it met."""

    def __init__(self, signature: Signature, connection: duckdb.DuckDBPyConnection) -> None:
        names = [column.name or "" for column in signature.columns]
        self._kinds: dict[str, ScalarType] = {
            str(column.name): column.type for column in signature.columns if isinstance(column.type, ScalarType)
        }
        #: DuckDB folds the case of names.
        is_distinct = len({name.lower() for name in names}) == len(names)
        self.can_read = (
            bool(names) and len(self._kinds) == len(names) and is_distinct and all(_is_plain(name) for name in names)
        )
        self._names = names
        self._connection = connection
        self._layouts: list[Layout] = []

    def read(self, bodies: pa.Array) -> tuple[list[Taken], Ints]:
        """Return what was decoded, and the positions of the bodies that are left to the decoder."""
        remaining: Ints = np.arange(len(bodies), dtype=np.int64)
        left: list[Ints] = []
        taken: list[Taken] = []
        if not self.can_read:
            return taken, remaining
        tried: set[Layout] = set()
        for _ in range(_MAX_LAYOUTS):
            if len(remaining) < _WORTH:
                break
            layout = self._next_layout(bodies, remaining, tried)
            if layout is None:
                left.append(remaining[:1])
                remaining = remaining[1:]
                continue
            tried.add(layout)
            found, remaining = self._read_layout(bodies, remaining, layout)
            if found is not None:
                taken.append(found)
        return taken, np.sort(np.concatenate([*left, remaining]))

    def _next_layout(self, bodies: pa.Array, remaining: Ints, tried: set[Layout]) -> Layout | None:
        for layout in self._layouts:
            if layout not in tried:
                return layout
        found = read_layout(bodies[int(remaining[0])].as_py(), self._names)
        if found is None or found in tried:
            return None
        if len(self._layouts) < _MAX_LAYOUTS:
            self._layouts.append(found)
        return found

    def _read_layout(self, bodies: pa.Array, remaining: Ints, layout: Layout) -> tuple[Taken | None, Ints]:
        some = bodies if len(remaining) == len(bodies) else bodies.take(pa.array(remaining))
        alike: Bools = pc.starts_with(some, layout.prefix).to_numpy(zero_copy_only=False)
        if int(alike.sum()) < _WORTH:
            return None, remaining
        candidates, others = remaining, remaining[:0]
        if not alike.all():
            candidates, others = remaining[alike], remaining[~alike]
            some = some.filter(pa.array(alike))
        parsed = self._parse(some, layout)
        if parsed is None:
            return None, remaining
        columns, refused = self._typed(parsed, layout)
        rows = parsed.rows
        if refused.any():
            keep = ~refused[np.repeat(np.arange(len(rows)), rows)]
            columns = {name: column.filter(pa.array(keep)) for name, column in columns.items()}
            others = np.sort(np.concatenate([others, candidates[refused]]))
            candidates, rows = candidates[~refused], rows[~refused]
        return Taken(candidates, rows, columns), others

    def _parse(self, bodies: pa.Array, layout: Layout) -> _Parsed | None:
        """Return the values as doubles where that is proved to be exact, else as JSON text."""
        names = [name for name in layout.columns if name in self._kinds]
        has_numbers_only = len(names) == len(layout.columns) and all(self._kinds[name] in _NUMBERS for name in names)
        if has_numbers_only:
            parsed = _query(self._connection, bodies, layout, names, "DOUBLE")
            if parsed is not None and not parsed.refused.any() and _proves_numbers(bodies, layout, parsed):
                return parsed
        return _query(self._connection, bodies, layout, names, "JSON")

    def _typed(self, parsed: _Parsed, layout: Layout) -> tuple[dict[str, pa.Array], Bools]:
        refused = parsed.refused.copy()
        owner: Ints = np.repeat(np.arange(len(parsed.rows)), parsed.rows)
        columns: dict[str, pa.Array] = {}
        for name, cells in parsed.cells.items():
            columns[name], bad = typed_cells(cells, self._kinds[name], by_frame=layout.by_frame)
            if bad is not None:
                refused[owner[bad]] = True
        for name in layout.lacking:
            columns[name] = pa.nulls(len(owner), SCALAR_TYPES[self._kinds[name]])
        return columns, refused


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def json_query(expression: str) -> str:
    """Return the query of one strictly parsed expression over `bodies`, null where a body does not parse."""
    return f"SELECT {expression} FROM (SELECT body, TRY(from_json_strict(body, $spec)) AS parsed FROM bodies)"  # noqa: S608


def run_query(connection: duckdb.DuckDBPyConnection, bodies: pa.Array, expressions: str, spec: Any) -> pa.Table:
    """Return one row a body, in order. `spec` is DuckDB's JSON structure, `parsed` the value that it gives."""
    whole = pa.table({"body": bodies})
    table = pa.Table.from_batches(whole.to_batches(max_chunksize=max(64, len(bodies) // _PIECES + 1)), whole.schema)
    text = json_query(expressions).replace("$spec", _literal(msgspec.json.encode(spec).decode()))
    connection.register("bodies", table)
    try:
        return connection.sql(text).to_arrow_table()
    finally:
        connection.unregister("bodies")


def _query(
    connection: duckdb.DuckDBPyConnection, bodies: pa.Array, layout: Layout, names: Sequence[str], cell: str
) -> _Parsed | None:
    doubts = [f"contains(body, {_literal(msgspec.json.encode(name).decode())})" for name in layout.lacking]
    if doubts and layout.key != "dataframe_split":
        # A key may be written with escapes.
        doubts.append("contains(body, '\\')")
    else:
        doubts = []
    if layout.key == "dataframe_split":
        spec: Any = {layout.key: {"columns": "JSON", "data": [[cell]]}}
        columns = _literal(msgspec.json.encode(layout.columns).decode())
        values = f"parsed.dataframe_split.data AS found, coalesce(parsed.dataframe_split.columns <> {columns}, true)"
    else:
        spec = {layout.key: [dict.fromkeys(names, cell)]}
        values = f"parsed.{layout.key} AS found, {' OR '.join(doubts) or 'false'}"
    table = run_query(connection, bodies, values + " AS doubtful", spec)
    found, doubtful = (one_chunk(column) for column in table.columns)
    refused: Bools = doubtful.to_numpy(zero_copy_only=False) | found.is_null().to_numpy(zero_copy_only=False)
    if refused.all():
        return None
    rows: Ints = pc.list_value_length(found).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    values_of_rows = found.flatten()
    owner = np.repeat(np.arange(len(rows)), rows)
    if layout.key == "dataframe_split":
        return _from_matrix(values_of_rows, layout, names, rows, refused, owner)
    if values_of_rows.null_count:
        refused[owner[values_of_rows.is_null().to_numpy(zero_copy_only=False)]] = True
    return _Parsed(rows, refused, {name: pc.struct_field(values_of_rows, [n]) for n, name in enumerate(names)})


def _from_matrix(
    matrix: pa.Array, layout: Layout, names: Sequence[str], rows: Ints, refused: Bools, owner: Ints
) -> _Parsed:
    width = len(layout.columns)
    widths = pc.list_value_length(matrix).fill_null(-1).to_numpy(zero_copy_only=False)
    odd = widths != width
    if odd.any():
        refused = refused.copy()
        refused[owner[odd]] = True
        # Their rows stay, filled with nulls, so that the others keep their places.
        filler = pa.array([None], pa.list_(matrix.type.value_type))
        blank = pa.array([[None] * width], filler.type)
        matrix = pc.if_else(pa.array(odd), blank[0], matrix)
    cells = matrix.flatten()
    if pa.types.is_floating(cells.type) and not cells.null_count:
        block = cells.to_numpy().reshape(-1, width)
        columns = {name: pa.array(np.ascontiguousarray(block[:, layout.columns.index(name)])) for name in names}
    else:
        places = np.arange(len(matrix), dtype=np.int64) * width
        columns = {name: cells.take(pa.array(places + layout.columns.index(name))) for name in names}
    return _Parsed(rows, refused, columns)


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def text_bytes(texts: pa.Array) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the bytes of all texts, one behind the other. Null texts have none."""
    texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return np.zeros(0, np.uint8)
    places = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, np.uint8)[places[0] : places[-1]]


#: Bytes that are counted at a time; they and what is made of them stay in the processor's cache.
_COUNTED = 1 << 17


def count_bytes(data: np.ndarray[Any, np.dtype[np.uint8]], values: bytes) -> int:
    """Return how often any of these bytes stands in `data`."""
    total = 0
    for start in range(0, len(data), _COUNTED):
        piece = data[start : start + _COUNTED]
        for value in values:
            total += int(np.count_nonzero(piece == value))
    return total


def marks(words: Iterable[str]) -> tuple[int, int]:
    """Return (quotes, `u` and `l`) that these words have as JSON keys or texts.

    >>> marks(["data", "full"])
    (4, 3)
    """
    listed = list(words)
    return 2 * len(listed), sum(word.count("u") + word.count("l") for word in listed)


#: Those of `null`: one `u`, two `l`.
NULL_MARKS = 3


def _proves_numbers(bodies: pa.Array, layout: Layout, parsed: _Parsed) -> bool:
    requests, rows = len(parsed.rows), int(parsed.rows.sum())
    nulls = sum(cells.null_count for cells in parsed.cells.values())
    quotes, letters = marks(layout.columns)
    if layout.key == "dataframe_split":
        more_quotes, more_letters = marks((layout.key, "columns", "data"))
        expected = requests * (quotes + more_quotes), requests * (letters + more_letters)
    else:
        more_quotes, more_letters = marks((layout.key,))
        expected = rows * quotes + requests * more_quotes, rows * letters + requests * more_letters
    data = text_bytes(bodies)
    return count_bytes(data, b'"') == expected[0] and count_bytes(data, b"ul") == expected[1] + NULL_MARKS * nulls


def typed_cells(cells: pa.Array, kind: ScalarType, *, by_frame: bool) -> tuple[pa.Array, Bools | None]:
    """Return a column of values, and which of them are left to the decoder (None: no value is).

    `cells` is JSON text (null for null), or double where all are known to be numbers.
    """
    if kind in _NUMBERS:
        return _numbers(cells, kind)
    if kind is ScalarType.BOOLEAN:
        bad = ~_bools(pc.is_in(cells, pa.array(["true", "false"])))
        return pc.equal(cells, "true"), _if_any(bad)
    texts, bad = json_texts(cells)
    if kind is not ScalarType.DATETIME and (kind is ScalarType.BINARY or not by_frame):
        bad |= _bools(cells.is_null())
    if kind is ScalarType.STRING:
        return texts, _if_any(bad)
    if kind is ScalarType.DATETIME:
        bad |= ~_bools(pc.match_substring_regex(texts, _ISO).fill_null(True))
    elif not by_frame:
        bad[:] = True
    good = pc.if_else(pa.array(bad), pa.scalar("" if kind is ScalarType.BINARY else None, pa.string()), texts)
    made = scalars.exact(good.to_pylist(), kind)
    if made is None:
        return pa.nulls(len(cells), SCALAR_TYPES[kind]), np.ones(len(cells), np.bool_)
    return pa.array(made, SCALAR_TYPES[kind], from_pandas=True), _if_any(bad)


def json_texts(cells: pa.Array) -> tuple[pa.Array, Bools]:
    """Return the texts that JSON texts hold, and which of them are none, or have escapes."""
    bad = ~_bools(pc.starts_with(cells, '"').fill_null(True))
    bad |= _bools(pc.match_substring(cells, "\\").fill_null(False))
    return pc.utf8_slice_codeunits(cells, 1, -1), bad


def _bools(array: pa.Array) -> Bools:
    out: Bools = array.to_numpy(zero_copy_only=False).astype(np.bool_)
    return out if out.flags.writeable else out.copy()


def _if_any(bad: Bools) -> Bools | None:
    return bad if bad.any() else None


def _as_doubles(cells: pa.Array) -> tuple[pa.Array, Bools | None]:
    if pa.types.is_floating(cells.type):
        return cells, None
    try:
        return cells.cast(pa.float64()), None
    except pa.ArrowInvalid:
        # Some are true, text, lists: they are looked at one by one.
        is_number = pc.match_substring_regex(cells, r"^-?[0-9]")
        bad = ~_bools(is_number.fill_null(True))
        return pc.if_else(is_number, cells, pa.scalar(None, cells.type)).cast(pa.float64()), bad


def _numbers(cells: pa.Array, kind: ScalarType) -> tuple[pa.Array, Bools | None]:
    doubles, bad = _as_doubles(cells)
    values = doubles.to_numpy(zero_copy_only=False)
    # From there on a whole number may have been rounded, to the limit itself too. A huge fraction is rare enough to go
    # the long way with them.
    limit = EXACT_IN_FLOAT if kind is ScalarType.FLOAT else EXACT_IN_DOUBLE
    missing: Bools = np.isnan(values)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        odd: Bools = np.abs(values) >= limit
        if int(np.count_nonzero(missing)) != doubles.null_count:
            odd |= missing & ~_bools(doubles.is_null())
        if kind is ScalarType.DOUBLE:
            return doubles, _either(bad, odd)
        if kind is ScalarType.FLOAT:
            narrow = values.astype(np.float32)
            odd |= (narrow == 0) & (values != 0)
            return pa.array(narrow, from_pandas=True), _either(bad, odd)
        limits = np.iinfo(np.int32 if kind is ScalarType.INTEGER else np.int64)
        odd |= missing | (values != np.floor(values)) | (values < limits.min) | (values > limits.max)
        whole = np.where(odd, 0, values).astype(limits.dtype)
    return pa.array(whole), _either(bad, odd)


def _either(one: Bools | None, other: Bools) -> Bools | None:
    return _if_any(other if one is None else one | other)
