"""`tallystick table`: an endpoint's invocations, as they were, as SQL sees them, or as rows of input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from tallystick.commands.config_edit import BadUsage
from tallystick.commands.durations import parse_duration
from tallystick.commands.session import Session, print_table, with_session
from tallystick.tables import find_table

if TYPE_CHECKING:
    import pyarrow as pa

    from tallystick.records.reading import InferenceTable

#: Rows of a table on a terminal, and what is shown of one value.
_SHOWN, _CELL_CHARS = 20, 48
#: Without --columns, invocations are shown by these.
_COLUMNS = (
    "request_time",
    "served_entity_name",
    "status_code",
    "latency_ms",
    "request_rows",
    "requester",
    "databricks_request_id",
    "request",
    "response",
)
_BATCH_ROWS = 8192
_SINCE_FORMS = "an age with s, m, h or d (90s, 30m, 2h, 7d), or a date or time in UTC (2026-01-31, 2026-01-31T12:00)"


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    ARROW = "arrow"


@with_session
def table(
    session: Session,
    name: Annotated[
        str, typer.Argument(metavar="ENDPOINT|PATH", help="Endpoint, or a table's path or URL.", show_default=False)
    ],
    sql: Annotated[
        str | None,
        typer.Option(
            metavar="QUERY",
            help="DuckDB query. The table has its endpoint's name; beside it are decoded, feedback, served_entities.",
        ),
    ] = None,
    decoded: Annotated[bool, typer.Option("--decoded", help="One line for each row of input.")] = False,
    limit: Annotated[
        int | None, typer.Option(help=f"Rows. Default: {_SHOWN} as a table, all in other formats.", min=1)
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="2h|DATE", help="Not older: 2h, 7d, or 2026-01-31T12:00.")
    ] = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B", help="Columns, with commas between.")] = None,
    output_format: Annotated[Format | None, typer.Option("--format", help="Default: table, or by --output.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to this file.")] = None,
    flush: Annotated[bool, typer.Option(help="First have the server write what it has recorded.")] = True,
) -> None:
    """Show an endpoint's invocations, the newest first; the answer to a query; or rows of input, decoded.

    --decoded gives the model's input columns as the model saw them, its prediction, and what feedback said of it.

    --format csv, json (a line for each row), parquet and arrow write all rows, to --output or to stdout.
    """
    from tallystick.records.reading import InferenceTable

    if sql is not None and (decoded or since or columns or limit):
        raise BadUsage("--sql says all of that itself: SELECT … FROM decoded WHERE … LIMIT … . Give it alone.")
    as_what = choose_format(output_format, output)
    earliest = None if since is None else parse_since(since, datetime.now(UTC))
    place = find_table(
        name,
        environ=session.environ,
        flush=flush,
        host=session.host,
        token=session.token,
        data_dir=session.data_dir,
    )
    found = InferenceTable(place.location, name=place.name)
    reader = _read(found, sql, decoded, limit, earliest, columns, as_what, session.as_json)
    if session.as_json:
        session.result({"rows": [_plain(row) for batch in reader for row in batch.to_pylist()], **_left_out(found)})
    elif as_what is Format.TABLE:
        _show(reader, is_all=sql is not None)
    else:
        _write(reader, as_what, output)
    for reason, count in found.undecoded.most_common():
        session.note(f"Not shown: {count:,} ({reason}).")


def parse_since(text: str, now: datetime) -> datetime:
    """Return the moment that `--since` names: an age, or a date with or without time, in UTC. Raises BadUsage.

    >>> parse_since("2h", datetime(2026, 1, 1, 12, tzinfo=UTC)).isoformat()
    '2026-01-01T10:00:00+00:00'
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            if age_s := parse_duration(text):
                return now - timedelta(seconds=age_s)
        except (BadUsage, OverflowError):
            pass
        raise BadUsage(f"--since '{text}' is no time in the past: give {_SINCE_FORMS}.") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    if moment > now:
        raise BadUsage(f"--since '{text}' is in the future, as it is {now:%Y-%m-%dT%H:%M} in UTC: give {_SINCE_FORMS}.")
    return moment


def choose_format(given: Format | None, output: Path | None) -> Format:
    """Return the format to write: as given, or by the file's ending. Raises BadUsage when neither says."""
    if given is not None:
        if given is Format.TABLE and output is not None:
            raise BadUsage("A table is for the terminal; a file is written with --format csv, json, parquet or arrow.")
        return given
    if output is None:
        return Format.TABLE
    endings = {"jsonl": "json", "ndjson": "json", "pq": "parquet", "arrows": "arrow"}
    ending = output.suffix.lstrip(".").lower()
    try:
        return Format(endings.get(ending, ending))
    except ValueError:
        raise BadUsage(f"'{output}' does not say its format by its name; give --format.") from None


def _read(
    found: InferenceTable,
    sql: str | None,
    decoded: bool,
    limit: int | None,
    since: datetime | None,
    columns: str | None,
    as_what: Format,
    as_json: bool,
) -> Any:
    """Return a stream of what was asked for."""
    if sql is not None:
        return found.sql(sql).to_reader()
    names = None if columns is None else [name.strip() for name in columns.split(",") if name.strip()]
    if limit is None and (as_what is Format.TABLE or as_json):
        limit = _SHOWN
    if decoded:
        reader = found.decoded(columns=names, since=since, batch_rows=min(_BATCH_ROWS, limit or _BATCH_ROWS))
        return reader if limit is None else _first(reader, limit)
    if limit is None:
        return found.invocations(columns=names, since=since)
    newest = found.newest(limit, since=since)
    if names is None and as_what is Format.TABLE and not as_json:
        names = list(_COLUMNS)
    return (newest if names is None else _picked(newest, names)).to_reader()


def _picked(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    unknown = [name for name in names if name not in rows.column_names]
    if unknown:
        raise BadUsage(f"The inference table has no column '{unknown[0]}'; it has {', '.join(rows.column_names)}.")
    return rows.select(names)


def _first(reader: pa.RecordBatchReader, limit: int) -> pa.RecordBatchReader:
    import pyarrow as pa

    def some() -> Iterable[pa.RecordBatch]:
        left = limit
        for batch in reader:
            yield batch.slice(0, left)
            left -= batch.num_rows
            if left <= 0:
                return

    return pa.RecordBatchReader.from_batches(reader.schema, some())


def _left_out(found: InferenceTable) -> Mapping[str, Any]:
    return {"undecoded": dict(found.undecoded)} if found.undecoded else {}


def _show(reader: Any, *, is_all: bool) -> None:
    names = reader.schema.names
    rows = [[cell(row[name]) for name in names] for batch in reader for row in batch.to_pylist()]
    if not rows:
        print("No rows." if is_all else "No invocations yet, or none since then.")
        return
    print_table(names, rows)


def cell(value: Any) -> str:
    """Return a value as a person reads it in a table: times to the second, numbers short, long text cut.

    >>> cell(0.123456789), cell(None), cell(datetime(2026, 1, 31, 3, 4, 5, 678, tzinfo=UTC))
    ('0.123457', '', '2026-01-31 03:04:05Z')
    """
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.6g}"
        case datetime():
            shown = f"{value:%Y-%m-%d %H:%M:%S}"
            return f"{shown}Z" if value.tzinfo is not None else shown
        case str():
            text = value
        case _:
            text = json.dumps(_plain(value), ensure_ascii=False)
    return text if len(text) <= _CELL_CHARS else text[: _CELL_CHARS - 1] + "…"


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: times as ISO 8601, bytes as base64; a decimal that no double is stays text.

    >>> from decimal import Decimal
    >>> _plain([Decimal(41086), Decimal("0.25"), Decimal("0.10000000000000000000001")])
    [41086, 0.25, '0.10000000000000000000001']
    """
    import base64
    from decimal import Decimal

    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case None | str() | bool() | int():
            return value
        case float():
            return value if value == value and abs(value) != float("inf") else None
        case Decimal() if value == value.to_integral_value():
            # A sum of whole numbers, as DuckDB gives it.
            return int(value)
        case Decimal() if Decimal(repr(float(value))) == value:
            return float(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _write(reader: Any, as_what: Format, output: Path | None) -> None:
    if output is None and as_what in (Format.PARQUET, Format.ARROW) and sys.stdout.isatty():
        raise BadUsage(f"{as_what} is not for a terminal; give --output FILE.")
    if output is None:
        _write_to(reader, as_what, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    try:
        with output.expanduser().open("wb") as file:
            _write_to(reader, as_what, file)
    except OSError as error:
        raise BadUsage(f"{output} cannot be written: {error.strerror}.") from error


def _write_to(reader: Any, as_what: Format, file: BinaryIO) -> None:
    match as_what:
        case Format.CSV:
            _write_csv(reader, file)
        case Format.PARQUET:
            import pyarrow.parquet as pq

            with pq.ParquetWriter(file, reader.schema) as writer:
                for batch in reader:
                    writer.write_batch(batch)
        case Format.ARROW:
            import pyarrow as pa

            with pa.ipc.new_stream(file, reader.schema) as stream:
                for batch in reader:
                    stream.write_batch(batch)
        case _:
            for batch in reader:
                for row in batch.to_pylist():
                    file.write(json.dumps(_plain(row), ensure_ascii=False).encode() + b"\n")


def _write_csv(reader: Any, file: BinaryIO) -> None:
    """Write CSV. It has no lists and objects, so these become JSON texts."""
    import pyarrow as pa
    import pyarrow.csv

    nested = [pa.types.is_nested(field.type) or pa.types.is_binary(field.type) for field in reader.schema]
    columns = pa.schema(
        [pa.field(field.name, pa.string()) if is_nested else field
         for field, is_nested in zip(reader.schema, nested, strict=True)]
    )  # fmt: skip
    with pyarrow.csv.CSVWriter(file, columns) as writer:
        for batch in reader:
            arrays = [
                pa.array([None if v is None else json.dumps(_plain(v), ensure_ascii=False) for v in column.to_pylist()])
                .cast(pa.string()) if is_nested else column
                for column, is_nested in zip(batch.columns, nested, strict=True)
            ]  # fmt: skip
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=columns))
