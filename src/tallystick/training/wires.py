"""Golden rows as the bytes that clients send, in each encoding that can carry them.

Each body is read back with the decoder that the worker has. What an encoding cannot carry is left out, and told; what
not even a JSON table can is a fault of model and signature, and stays in to be found. An encoding that becomes what the
saved model does not take is left out, too: without a signature `inputs` becomes a dict of arrays.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from tallystick.entities import Enforcement
from tallystick.errors import TallystickError
from tallystick.gate.forms import refusals
from tallystick.gate.golden import Column, Wire
from tallystick.parity.columns import with_columns
from tallystick.protocol.codec import ARROW_STREAM, CSV, JSON
from tallystick.protocol.enforce import compile_decoder
from tallystick.protocol.signature import ScalarType, parse_signature
from tallystick.training.kinds import as_numbers, is_truth
from tallystick.worker.frame import assemble

#: Rows of one body: enough for every level and null of a column to be in one of them, small enough for five bodies.
WIRE_ROWS = 128
#: Encodings that can carry every value of a signature. What these lose, model and signature do not agree on; the others
#: have limits of their own (`inputs` makes text of a missing text, CSV reads the text NA as missing).
_FULL = ("dataframe_records", "dataframe_split")
_NUMBERS = frozenset({ScalarType.INTEGER, ScalarType.LONG, ScalarType.FLOAT, ScalarType.DOUBLE})


@dataclass
class Bodies:
    """Bodies, and what was found while they were read back."""

    wires: list[Wire] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    #: The frame that a worker makes of the records.
    parsed: Any = None


def column_of(series: pd.Series[Any], name: str) -> Column:
    """Return a column as golden files hold it: null, true/false, numbers and texts; times as ISO 8601, in UTC."""
    dtype = str(series.dtype)
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        # A request carries no time zone into a model (MLflow refuses one): what arrives is the time in UTC.
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "biu":
        return Column(name, dtype, tuple(series.tolist()))
    return Column(name, dtype, tuple(_cell(value) for value in series.astype(object).tolist()))


def _cell(value: Any) -> bool | int | float | str | None:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def render_bodies(
    columns: Sequence[Column],
    frame: pd.DataFrame,
    signature: dict[str, Any] | None,
    *,
    is_array: bool,
    predict: Callable[[Any], Any] | None = None,
) -> Bodies:
    """Return the first rows in every encoding, each read back by the decoder for `signature`.

    `predict` is asked which of them it takes, where they become different things.
    """
    rows = min(WIRE_ROWS, len(frame))
    found, read = Bodies(), list[tuple[str, Any]]()
    sent, frame = _as_signed(columns, frame, signature)
    bodies = _array_bodies(sent, rows) if is_array else _frame_bodies(sent, frame, rows)
    decoder = compile_decoder(parse_signature(signature))
    for encoding, media, body in bodies:
        try:
            decoded = decoder.decode(body, media, Enforcement.FLAG)
            parsed = assemble([decoded])
            problem = _first_lost(columns, parsed, rows)
        except TallystickError as error:
            parsed, problem = None, f"is refused: {_short(error.message)}"
        if problem and encoding not in _FULL:
            found.degraded.append(f"golden rows are not kept as {encoding}: {problem}")
            continue
        if problem:
            found.faults.append(f"rows of training, sent as {encoding}: {problem}")
        if found.parsed is None:
            found.parsed = parsed
        found.wires.append(Wire(encoding, media, rows, body))
        if parsed is not None:
            read.append((encoding, parsed))
    refused = {} if predict is None else refusals(read, predict)
    found.wires = [wire for wire in found.wires if wire.encoding not in refused]
    found.degraded += [
        f"golden rows are not kept as {encoding}: the model has no signature and raises {error} for rows in this form"
        for encoding, error in refused.items()
    ]
    return found


def truths_as_numbers(frame: pd.DataFrame, signature: dict[str, Any] | None) -> list[str]:
    """Return the columns of truth values that are numbers in the signature: clients send 1 and 0 for them."""
    types = {column.name: column.type for column in parse_signature(signature).columns}
    return [name for name in frame.columns if types.get(name) in _NUMBERS and is_truth(frame[name])]


def _as_signed(
    columns: Sequence[Column], frame: pd.DataFrame, signature: dict[str, Any] | None
) -> tuple[Sequence[Column], pd.DataFrame]:
    """Return rows as a client of this signature sends them, which `strict` takes as well.

    Truth values are 1 and 0 where the signature has numbers, and times are in UTC, without a zone.
    """
    numbers = truths_as_numbers(frame, signature)
    zoned = [name for name in frame.columns if isinstance(frame[name].dtype, pd.DatetimeTZDtype)]
    changed = {name: as_numbers(frame[name]) for name in numbers}
    changed |= {name: frame[name].dt.tz_convert("UTC").dt.tz_localize(None) for name in zoned}
    sent = [
        Column(column.name, column.dtype, tuple(None if value is None else int(value) for value in column.values))
        if column.name in numbers
        else column
        for column in columns
    ]
    return sent, with_columns(frame, changed)


def cutter(
    columns: Sequence[Column], frame: pd.DataFrame, signature: dict[str, Any] | None, *, is_array: bool
) -> Callable[[Wire, int], Wire]:
    """Return a function that gives the same encoding of fewer rows."""
    sent, frame = _as_signed(columns, frame, signature)

    @functools.cache
    def bodies(rows: int) -> dict[str, tuple[str, bytes]]:
        made = _array_bodies(sent, rows) if is_array else _frame_bodies(sent, frame, rows)
        return {name: (media, body) for name, media, body in made}

    def cut(wire: Wire, rows: int) -> Wire:
        media, body = bodies(rows)[wire.encoding]
        return Wire(wire.encoding, media, rows, body)

    return cut


def _array_bodies(columns: Sequence[Column], rows: int) -> list[tuple[str, str, bytes]]:
    table = [list(row) for row in zip(*(column.values[:rows] for column in columns), strict=True)]
    return [(key, JSON, msgspec.json.encode({key: table})) for key in ("inputs", "instances")]


def _frame_bodies(columns: Sequence[Column], frame: pd.DataFrame, rows: int) -> list[tuple[str, str, bytes]]:
    names = [column.name for column in columns]
    by_column = {column.name: column.values[:rows] for column in columns}
    table = list(zip(*by_column.values(), strict=True))
    records = [dict(zip(names, row, strict=True)) for row in table]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(table)
    bodies = [
        ("dataframe_records", JSON, msgspec.json.encode({"dataframe_records": records})),
        ("dataframe_split", JSON, msgspec.json.encode({"dataframe_split": {"columns": names, "data": table}})),
        ("inputs", JSON, msgspec.json.encode({"inputs": by_column})),
        ("csv", CSV, text.getvalue().encode()),
    ]
    arrow = _arrow(frame.head(rows))
    return [*bodies, ("arrow", ARROW_STREAM, arrow)] if arrow else bodies


def _arrow(frame: pd.DataFrame) -> bytes:
    try:
        import pyarrow as pa
    except ImportError:
        return b""
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        # Columns of mixed objects have no type in Arrow; no client could send them so.
        return b""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _short(text: str) -> str:
    """Return the first of the things that a refusal lists."""
    first = text.removeprefix("The input does not fit the model's signature: ").split(" (the same in rows")[0]
    return first if len(first) <= 200 else first[:199] + "…"


def _first_lost(columns: Sequence[Column], parsed: Any, rows: int) -> str:
    """Return where the first value is another one, in words; empty when all are there."""
    if isinstance(parsed, np.ndarray) and parsed.ndim == 2:
        parsed = pd.DataFrame(parsed, columns=[column.name for column in columns])
    if isinstance(parsed, dict):
        parsed = pd.DataFrame(parsed)
    if not isinstance(parsed, pd.DataFrame):
        return ""
    for column in columns:
        if column.name not in parsed:
            return f"column {column.name!r} does not arrive: it is not in the signature"
        got = column_of(parsed[column.name], column.name).values
        if len(got) != rows:
            return f"{len(got)} of {rows} rows arrive"
        for row, (sent, read) in enumerate(zip(column.values[:rows], got, strict=True)):
            if sent != read and not _is_same_time(sent, read):
                return f"column {column.name!r}, row {row}: {sent!r} arrives as {read!r}"
    return ""


def _is_same_time(sent: Any, read: Any) -> bool:
    if not (isinstance(sent, str) and isinstance(read, str) and sent[:10] == read[:10] and sent[4:5] == "-"):
        return False
    try:
        return bool(pd.Timestamp(sent) == pd.Timestamp(read))
    except (ValueError, TypeError):
        return False
