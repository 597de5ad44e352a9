"""Tables that are not JSON: CSV and Arrow streams.

CSV is read by pandas with the signature's dtypes, as MLflow does it, which is stricter than JSON: 1.9 for a long is an
error. What pandas refuses is read again as text, to name every cell, and is let in where it fits after all (1.0 for a
long; dates, which MLflow cannot read from CSV). Arrow columns are matched by name and cast where the cast is exact; a
column for which it is not goes the way of JSON values.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tallystick.entities import Enforcement
from tallystick.errors import BadRequest
from tallystick.protocol.ledger import Coercion, Report, further_rows
from tallystick.protocol.predictions import import_pyarrow
from tallystick.protocol.scalars import NUMPY_DTYPES, Values, object_array
from tallystick.protocol.signature import Column, MapType, ScalarType


@dataclass(frozen=True, slots=True)
class Source:
    """A table as it was read, with the columns that are converted already."""

    names: list[Any]
    rows: int
    columns: list[Sequence[Any]]
    path: Callable[[int, str | int], str]
    #: By name. The raw values of these in `columns` are not used.
    ready: dict[Any, Values] = field(default_factory=dict)
    #: Lossy changes are refused whatever the mode (CSV, where MLflow refuses them).
    is_strict: bool = False


#: Columns that a CSV may have besides those of the model. pandas takes time in the square of them.
_MAX_EXTRA_COLUMNS = 1000


def _check_width(text: str, width: int) -> None:
    limit = width + _MAX_EXTRA_COLUMNS
    if all(line.count(",") < limit for line in text.replace("\r", "\n").split("\n")):
        return
    # Commas within quotes are text. Rows are looked at only in a body that has a line of so many.
    try:
        widest = max(map(len, csv.reader(io.StringIO(text, newline=""))))
    except csv.Error as error:
        raise BadRequest(f"The body is not CSV with a header line: {error}.") from None
    if widest > limit:
        raise BadRequest(f"The CSV has a row of {widest} values; the model takes {width}.")


def read_csv(body: bytes, columns: Sequence[Column], mode: Enforcement, report: Report) -> Source:
    """Return the table in a CSV text with a header line. Raises BadRequest when it is none."""
    import pandas as pd

    if not all(isinstance(column.type, ScalarType) for column in columns):
        raise BadRequest("This model takes arrays, objects or maps, which CSV cannot hold; send application/json.")
    text = _csv_text(body)
    _check_width(text, len(columns))
    try:
        cells = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, na_filter=False)
    except Exception as error:  # noqa: BLE001  pandas raises anything for what is no CSV
        raise BadRequest(f"The body is not CSV with a header line: {str(error)[:200]}.") from None
    if not isinstance(cells.index, pd.RangeIndex):
        raise BadRequest("The rows of the CSV have more values than its header line has names.")
    dtypes = {
        column.name if column.name is not None else position: _csv_dtype(column)
        for position, column in enumerate(columns)
        if column.type is not ScalarType.DATETIME
    }
    names = list(cells.columns)
    kinds = (
        {name: column.type for name, column in zip(names, columns, strict=False)}
        if columns[0].name is None
        else {column.name: column.type for column in columns}
    )
    try:
        # Long enough to see all of a column at once: by chunks, pandas guesses types for each chunk.
        with np.errstate(all="ignore"):
            frame = pd.read_csv(io.StringIO(text), dtype=dtypes, low_memory=False)
    except Exception:  # noqa: BLE001  pandas raises anything; the cells are looked at one by one instead
        frame = None
    raw: list[Sequence[Any]] = []
    ready: dict[Any, Values] = {}
    for position, name in enumerate(names):
        kind, texts = kinds.get(name), list(cells.iloc[:, position])
        if kind in (ScalarType.STRING, ScalarType.BINARY):
            ready[name] = _csv_text_column(texts, name, kind, mode, report)
        elif frame is not None and kind is not None and kind is not ScalarType.DATETIME:
            ready[name] = np.asarray(frame[name].to_numpy())
            _report_infinite(ready[name], texts, name, mode, report)
        raw.append([_csv_value(value, kind) for value in texts])

    def path(row: int, name: str | int) -> str:
        return f"row {row}, column {str(name)[:60]!r}"

    return Source(names, len(cells), raw, path, ready, is_strict=frame is None)


def _csv_text(body: bytes) -> str:
    if body[:3] == b"\xef\xbb\xbf":
        raise BadRequest("The CSV begins with a byte order mark; send UTF-8 without one.")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8 (byte {error.start}).") from None


def _csv_dtype(column: Column) -> Any:
    if column.type in (ScalarType.STRING, ScalarType.BINARY):
        return object
    assert isinstance(column.type, ScalarType)
    return NUMPY_DTYPES[column.type]


# What pandas reads as a missing value (`pandas.read_csv`, `na_values`); "" aside these can be meant as text.
_NO_VALUE = frozenset(
    {"", "NA", "N/A", "n/a", "NULL", "null", "NaN", "nan", "-NaN", "-nan", "None", "<NA>", "#N/A", "#N/A N/A", "#NA"}
    | {"-1.#IND", "1.#IND", "-1.#QNAN", "1.#QNAN"}
)


def _csv_text_column(texts: list[str], name: Any, kind: Any, mode: Enforcement, report: Report) -> Values:
    """Return text as an object column, NaN for what reads as missing. "NA" may be a country: it is counted."""
    lost = [row for row, text in enumerate(texts) if text and text in _NO_VALUE]
    if lost and mode is Enforcement.STRICT:
        report.violate(
            f"row {lost[0]}, column {str(name)[:60]!r}",
            f"got text {texts[lost[0]]!r}, which CSV reads as no value; send application/json" + further_rows(lost),
        )
    elif lost:
        report.count(str(name), Coercion.TEXT_TO_NULL, len(lost))
    if kind is ScalarType.BINARY and texts:
        if mode is Enforcement.STRICT:
            report.violate(f"column {str(name)[:60]!r}", "binary is not decoded from CSV; send dataframe_records")
        else:
            report.count(str(name), Coercion.BASE64_KEPT, len(texts))
    return object_array([float("nan") if text in _NO_VALUE else text for text in texts])


def _report_infinite(values: Any, texts: list[str], name: Any, mode: Enforcement, report: Report) -> None:
    if values.dtype.kind != "f" or not np.isinf(values).any():
        return
    rows = [int(row) for row in np.flatnonzero(np.isinf(values)) if "inf" not in texts[int(row)].lower()]
    if rows and mode is Enforcement.STRICT:
        report.violate(f"row {rows[0]}, column {str(name)[:60]!r}", "the number is out of range" + further_rows(rows))
    elif rows:
        report.count(str(name), Coercion.FLOAT_OVERFLOW, len(rows))


def _csv_value(text: str, kind: Any) -> Any:
    """Return a cell as JSON would have held it."""
    if text in _NO_VALUE:
        return None
    if kind is ScalarType.BOOLEAN and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind in (ScalarType.STRING, ScalarType.DATETIME, ScalarType.BINARY, None):
        return text
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


#: An Arrow body may be compressed; beyond this it is refused.
_ARROW_BYTES = 1 << 30


def read_arrow(body: bytes, columns: Sequence[Column], mode: Enforcement, report: Report) -> Source:
    """Return the table in an Arrow IPC stream. Raises BadRequest when it is none, or pyarrow is missing."""
    pyarrow = import_pyarrow()
    try:
        with pyarrow.ipc.open_stream(body) as reader:
            batches, total = [], 0
            for batch in reader:
                batch.validate(full=True)
                total += batch.nbytes
                if total > _ARROW_BYTES:
                    raise BadRequest(f"The Arrow stream holds more than {_ARROW_BYTES} bytes.")
                batches.append(batch)
            table = pyarrow.Table.from_batches(batches, schema=reader.schema)
    except (pyarrow.ArrowException, OSError, ValueError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not an Arrow stream: {str(error)[:200]}.") from None
    names = table.column_names
    if len(set(names)) != len(names):
        raise BadRequest("The Arrow stream has a column name twice.")
    positions = {name: n for n, name in enumerate(names)}
    wanted = {
        (column.name if column.name is not None else names[n]): column
        for n, column in enumerate(columns)
        if column.name in positions or (column.name is None and n < len(names))
    }
    raw: list[Sequence[Any]] = []
    ready: dict[Any, Values] = {}
    for position, name in enumerate(names):
        column = wanted.get(name)
        if column is None:
            raw.append(())
            continue
        chunked = table.column(position)
        if column.type is ScalarType.DATETIME and getattr(chunked.type, "tz", None) is not None:
            chunked = _without_zone(pyarrow, chunked, name, mode, report)
        done = _arrow_exact(pyarrow, chunked, column.type)
        if done is not None:
            ready[name] = done
        raw.append(chunked.to_pylist() if done is None else [None] * table.num_rows)
        if isinstance(column.type, MapType):
            raw[-1] = [dict(cell) if isinstance(cell, list) else cell for cell in raw[-1]]
    return Source(names, table.num_rows, raw, lambda r, c: f"row {r}, column {str(c)[:60]!r}", ready)


def _without_zone(pyarrow: Any, times: Any, name: Any, mode: Enforcement, report: Report) -> Any:
    """Return times of a zone in UTC, without it. No MLflow model is given a zone, and JSON's offsets end so too."""
    known = len(times) - times.null_count
    if known and mode is Enforcement.STRICT:
        problem = f"got times of the zone {times.type.tz[:40]!r}, expected times in UTC without a zone (datetime)"
        report.violate(f"column {str(name)[:60]!r}", problem)
    elif known:
        report.count(str(name), Coercion.TIMEZONE_DROPPED, known)
    # Arrow holds the instant, so that only the zone's name goes.
    return times.cast(pyarrow.timestamp(times.type.unit))


def _arrow_exact(pyarrow: Any, chunked: Any, kind: Any) -> Values | None:
    """Return the column where Arrow's own checked cast loses nothing, else None."""
    target = {
        ScalarType.BOOLEAN: pyarrow.bool_(),
        ScalarType.INTEGER: pyarrow.int32(),
        ScalarType.LONG: pyarrow.int64(),
        # Arrow does not check the narrowing; 32-bit floats go the way of JSON values unless they are that already.
        ScalarType.DOUBLE: pyarrow.float64(),
        ScalarType.FLOAT: pyarrow.float32() if pyarrow.types.is_float32(chunked.type) else None,
        ScalarType.DATETIME: pyarrow.timestamp("ns"),
        ScalarType.BINARY: pyarrow.binary() if pyarrow.types.is_binary(chunked.type) else None,
    }.get(kind)
    numeric = (ScalarType.INTEGER, ScalarType.LONG, ScalarType.FLOAT, ScalarType.DOUBLE)
    types = pyarrow.types
    is_number = types.is_integer(chunked.type) or types.is_floating(chunked.type) or types.is_decimal(chunked.type)
    if target is None or (kind in numeric and not is_number):
        return None
    if kind is ScalarType.BOOLEAN and not types.is_boolean(chunked.type):
        return None
    if kind is ScalarType.DATETIME and not (
        types.is_date(chunked.type) or (types.is_timestamp(chunked.type) and chunked.type.tz is None)
    ):
        return None
    if chunked.null_count and kind not in (ScalarType.FLOAT, ScalarType.DOUBLE, ScalarType.DATETIME):
        return None
    try:
        cast = chunked.cast(target)
    except pyarrow.ArrowException:
        return None
    if kind is ScalarType.BINARY:
        return object_array(cast.to_pylist())
    return np.array(cast.to_numpy())
