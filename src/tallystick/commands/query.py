"""`tallystick query`: one invocation by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tallystick.commands.config_edit import BadUsage, find_entity
from tallystick.commands.session import Session, print_table, with_session

if TYPE_CHECKING:
    from tallystick.client import Answer

_JSON, _CSV = "application/json", "text/csv"
_INPUT_KEYS = ("dataframe_split", "dataframe_records", "instances", "inputs")
#: Keys of a request; an object with one of them is a request that lacks its input, not a row.
_OTHER_KEYS = ("params", "client_request_id", "usage_context", "stream", "databricks_options")
#: Predictions that are shown; --json has them all.
_SHOWN = 20


@with_session
def query(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Endpoint.", show_default=False)],
    body: Annotated[
        str,
        typer.Argument(
            metavar="[JSON|@FILE|-]", help="The request, or a row, or a list of rows; - is stdin.", show_default=False
        ),
    ] = "",
    records: Annotated[
        Path | None, typer.Option(help="File with a JSON list of rows, or one row a line (JSONL).")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="CSV file with a header.")] = None,
    entity: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Ask this served entity (its name or version), whatever the traffic split."),
    ] = None,
) -> None:
    """Ask an endpoint, and show the predictions, who gave them, and what had to be changed for them.

    JSON is a whole request, as in '{"dataframe_records": [{"age": 41}]}', or just a row ('{"age": 41}'), a list of
    rows, or a list of lists. With --json the server's answer is printed as it came.
    """
    content, content_type = read_request(body, records, csv)
    if entity is not None and entity.removeprefix("v").isdecimal():
        # A version, as in `split`; names need no look.
        entity = find_entity(session.client.get_endpoint(name).get("config", {}), entity)
    if content_type == _JSON and _wants_stream(content):
        for event in session.client.query_stream(name, content, entity=entity):
            print(event, flush=True)
        return
    answer = session.client.query(name, content, content_type=content_type, entity=entity)
    from tallystick.commands.words import describe_coercions

    if session.as_json:
        print(answer.body.decode())
    else:
        _show(answer)
    for line in describe_coercions(answer.coercions):
        session.note(f"Changed to fit the model's signature: {line}.")
    if answer.ignored:
        session.note(f"Not given to the model: {'; '.join(answer.ignored)}.")


def read_request(body: str, records: Path | None, csv: Path | None) -> tuple[bytes, str]:
    """Return the bytes of a request and their content type, from what was given. Raises BadUsage."""
    if (bool(body), records is not None, csv is not None).count(True) != 1:
        raise BadUsage("Give the request once: as JSON, @file or -, or with --records or --csv.")
    if csv is not None:
        return _read(csv), _CSV
    if records is not None:
        return _wrapped(_rows(_read(records), str(records)), str(records)), _JSON
    if body == "-":
        return as_request(sys.stdin.buffer.read(), "stdin"), _JSON
    if body.startswith("@"):
        return as_request(_read(Path(body[1:])), body[1:]), _JSON
    return as_request(body.encode(), "the request"), _JSON


def as_request(data: bytes, where: str) -> bytes:
    """Return JSON as a request: a request unchanged, byte for byte, and rows under the key that fits them."""
    value = _parsed(data, where)
    if isinstance(value, dict) and any(key in value for key in (*_INPUT_KEYS, *_OTHER_KEYS)):
        return data
    return _wrapped(value, where)


def _wrapped(value: Any, where: str) -> bytes:
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise BadUsage(f"{where}: expected a JSON object or list, got {type(value).__name__}.")
    key = "dataframe_records" if value and all(isinstance(row, dict) for row in value) else "instances"
    return json.dumps({key: value}).encode()


def _rows(data: bytes, where: str) -> Any:
    lines = [line for line in data.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].lstrip().startswith(b"{") and lines[0].rstrip().endswith(b"}"):
        return [_parsed(line, f"{where}, row {number}") for number, line in enumerate(lines, 1)]
    return _parsed(data, where)


def _parsed(data: bytes, where: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        hint = " A file is written with @, as in @rows.json." if where == "the request" else ""
        raise BadUsage(f"{where} is not JSON: {error}.{hint}") from error


def _read(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise BadUsage(f"{path} cannot be read: {error.strerror}.") from error


def _wants_stream(content: bytes) -> bool:
    if b'"stream"' not in content:
        return False
    value = json.loads(content)
    return isinstance(value, dict) and value.get("stream") is True


def _show(answer: Answer) -> None:
    try:
        document = json.loads(answer.body)
    except ValueError:
        print(answer.body.decode(errors="replace"))
        document = None
    if document is not None:
        show_predictions(document)
    print(f"\nserved by {answer.served_by or '?'}, {answer.duration_ms:.0f} ms, request id {answer.request_id or '?'}")


def show_predictions(document: Any) -> None:
    """Print an answer's predictions: a table where they are rows, one a line where they are a list."""
    predictions = document.get("predictions", document) if isinstance(document, dict) else document
    if not isinstance(predictions, list):
        print(json.dumps(predictions, indent=2, ensure_ascii=False))
        return
    shown = predictions[:_SHOWN]
    if shown and all(isinstance(row, dict) for row in shown):
        columns = list(dict.fromkeys(key for row in shown for key in row))
        print_table(("row", *columns), [(str(n), *(_cell(row.get(c)) for c in columns)) for n, row in enumerate(shown)])
    else:
        print_table(("row", "prediction"), [(str(number), _cell(value)) for number, value in enumerate(shown)])
    if len(predictions) > len(shown):
        print(f"and {len(predictions) - len(shown)} more; --json prints all")


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
