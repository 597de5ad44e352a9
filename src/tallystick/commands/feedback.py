"""`tallystick feedback`: labels and outcomes for earlier invocations, from a file or by hand."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tallystick.commands.config_edit import BadUsage, Json
from tallystick.commands.session import Session, with_session
from tallystick.errors import TallystickError

if TYPE_CHECKING:
    from tallystick.control.feedback import Line

#: Below what any part of the server takes in one request of the control API.
_CHUNK_BYTES = 900_000
_CHUNK_LINES = 50_000
#: The server is asked in chunks, so the file as a whole may be larger than one request.
_ANY_NUMBER = sys.maxsize


@with_session
def feedback(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Endpoint.", show_default=False)],
    file: Annotated[
        str,
        typer.Argument(metavar="[FILE.csv|FILE.json|-]", help="File with feedback; - is stdin.", show_default=False),
    ] = "",
    request_id: Annotated[str, typer.Option(metavar="ID", help="Without a file: the x-request-id of the answer.")] = "",
    client_request_id: Annotated[
        str, typer.Option(metavar="ID", help="Without a file: the client_request_id of the request.")
    ] = "",
    row: Annotated[int, typer.Option(help="Row of the request's input, from 0.", min=0)] = 0,
    label: Annotated[str, typer.Option(help="What was right: a number, true, false or a text.")] = "",
    outcome: Annotated[str, typer.Option(help="What came of it: a number, true, false or a text.")] = "",
) -> None:
    """Tell what was right, or what came of it, for rows of earlier invocations.

    A CSV file has a column request_id or client_request_id, may have a column row, and every other column is a value:
    label, outcome, or any name. The file is checked whole before anything is sent. The same row and name may be sent
    again; the last value counts.
    """
    by_hand = {
        "request_id": request_id or None,
        "client_request_id": client_request_id or None,
        "row": row,
        "values": {key: value for key, value in (("label", label), ("outcome", outcome)) if value},
    }
    is_by_hand = any(by_hand.values())
    if bool(file) == is_by_hand:
        raise BadUsage("Give a file, or --request-id with --label or --outcome: one of the two.")
    lines = _read(file) if file else _one(by_hand)
    accepted = _send(session, name, lines)
    session.result(
        {"accepted": accepted},
        f"{accepted} value{'s' if accepted != 1 else ''} accepted for {name}.",
        f"See them beside what they are about: tallystick table {name} --decoded",
    )


def chunks(lines: Iterable[Json], max_bytes: int, max_lines: int) -> Iterator[list[Json]]:
    """Yield the lines in lists that are below both limits when they are sent.

    >>> list(chunks([{"a": 1}, {"a": 2}, {"a": 3}], max_bytes=1000, max_lines=2))
    [[{'a': 1}, {'a': 2}], [{'a': 3}]]
    """
    chunk: list[Json] = []
    size = 0
    for line in lines:
        line_bytes = len(json.dumps(line)) + 2
        if chunk and (size + line_bytes > max_bytes or len(chunk) >= max_lines):
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += line_bytes
    if chunk:
        yield chunk


def _read(file: str) -> list[Line]:
    from tallystick.control.feedback import parse_feedback

    if file == "-":
        body = sys.stdin.buffer.read()
    else:
        try:
            body = Path(file).read_bytes()
        except OSError as error:
            raise BadUsage(f"'{file}' cannot be read: {error.strerror}.") from error
    first = body.lstrip()[:1]
    is_json = file.lower().endswith(".json") or (not file.lower().endswith(".csv") and first in (b"{", b"["))
    if not is_json:
        return parse_feedback("text/csv", body, _ANY_NUMBER)
    if first == b"[":
        body = b'{"feedback": ' + body + b"}"
    return parse_feedback("application/json", body, _ANY_NUMBER)


def _one(given: Json) -> list[Line]:
    from tallystick.control.feedback import parse_cell, parse_feedback

    values = {key: parse_cell(text) for key, text in given["values"].items()}
    if not values:
        raise BadUsage("Give --label or --outcome.")
    return parse_feedback("application/json", json.dumps(given | {"values": values}).encode())


def _send(session: Session, name: str, lines: list[Line]) -> int:
    accepted = 0
    with _bar(len(lines)) as advance:
        for chunk in chunks((_as_json(line) for line in lines), _CHUNK_BYTES, _CHUNK_LINES):
            try:
                accepted += session.client.send_feedback(name, chunk)
            except TallystickError as error:
                if accepted:
                    error.add_note(
                        f"{accepted} of {len(lines)} values are stored. Send the file again: what is stored twice "
                        "counts once."
                    )
                raise
            advance(len(chunk))
    return accepted


def _as_json(line: Line) -> Json:
    ids = (("request_id", line.request_id), ("client_request_id", line.client_request_id))
    given = {key: value for key, value in ids if value is not None}
    return {**given, "row": line.row, "name": line.name, "value": line.value}


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal where there is more than one request to wait for."""
    if not sys.stderr.isatty() or total <= _CHUNK_LINES // 10:
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("sending", total=total)
        yield lambda count: progress.advance(task, count)
