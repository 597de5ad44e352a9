"""What every command that talks to the server shares: its options, its output, its errors and exit codes."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tallystick import errors
from tallystick.commands.config_edit import BadUsage
from tallystick.discovery import BadAddress, ServerUnreachable, find_server
from tallystick.errors import TallystickError
from tallystick.printable import printable, printable_json

if TYPE_CHECKING:
    from rich.console import Console

    from tallystick.client import Client

EXIT_FAILED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_NOT_AUTHORISED, EXIT_NOT_FOUND, EXIT_TIMEOUT = range(1, 7)

#: A column of prose is wrapped to no less; and what a drawn column takes beside its text.
_NARROWEST, _PADDING = 12, 3
_PANEL = "Server and output"
HostOption = Annotated[
    str, typer.Option("--host", help="Address of the server. Default: the one that runs here.", rich_help_panel=_PANEL)
]
TokenOption = Annotated[
    str, typer.Option("--token", help="Token. Others on this machine can read options; prefer TALLYSTICK_TOKEN.",
                      rich_help_panel=_PANEL)
]  # fmt: skip
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Data directory of the server that runs here.", rich_help_panel=_PANEL),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document, and nothing else.", rich_help_panel=_PANEL)
]


def exit_code(error: TallystickError) -> int:
    """Return the exit code for an error, as docs/cli.md lists them."""
    match error:
        case BadUsage() | BadAddress():
            return EXIT_USAGE
        case ServerUnreachable():
            return EXIT_UNREACHABLE
        case errors.Unauthenticated() | errors.PermissionDenied():
            return EXIT_NOT_AUTHORISED
        case errors.NotFound():
            return EXIT_NOT_FOUND
        case _ if error.status == 504:
            return EXIT_TIMEOUT
    return EXIT_FAILED


@dataclass
class Session:
    """One run of a command: the server that it talks to, and how it prints."""

    environ: Mapping[str, str]
    as_json: bool
    host: str = ""
    token: str = ""
    data_dir: Path | None = None
    _client: Client | None = None

    @property
    def client(self) -> Client:
        """The server, found on first use."""
        if self._client is None:
            from tallystick.client import Client

            server = find_server(self.environ, host=self.host, token=self.token, data_dir=self.data_dir)
            self._client = Client(server)
        return self._client

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    def result(self, document: Any, *lines: str) -> None:
        """Print the result: the document with --json, else the lines."""
        if self.as_json:
            print(printable_json(json.dumps(document, indent=2, ensure_ascii=False)))
        else:
            for line in lines:
                print_text(line)

    def table(self, document: Any, columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
        """Print a result that is a list: the document with --json, else a table, or `empty` when it has no rows."""
        if self.as_json:
            self.result(document)
        elif not rows:
            print(empty)
        else:
            print_table(columns, rows)

    def note(self, text: str) -> None:
        """Tell the person something that is not the result."""
        print(printable(text, kept="\n\t"), file=sys.stderr)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Callable[[str], None]]:
        """Show how something goes on: one line that changes on a terminal, plain lines elsewhere. On stderr."""
        if sys.stderr.isatty():
            from rich.markup import escape

            status, started = _console(stderr=True).status(""), time.monotonic()

            def show(text: str) -> None:
                status.update(f"{escape(text)} [dim]{time.monotonic() - started:.0f} s[/dim]")
                # Started by the first word, so that what is over at once shows nothing.
                status.start()

            try:
                yield show
            finally:
                status.stop()
            return
        said: list[str] = []

        def say(text: str) -> None:
            if said[-1:] != [text]:
                said.append(text)
                self.note(text)

        yield say


def print_text(text: str) -> None:
    """Print lines; what a terminal would obey in them is shown escaped."""
    print(printable(text, kept="\n\t"))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, drawn: bool | None = None) -> None:
    """Print a table: drawn on a terminal (or if `drawn`), separated by tabs elsewhere so that scripts can cut it.

    On a terminal that it does not fit, each row is a block with a line for each of its cells: cells would be cut off.
    """
    if not (sys.stdout.isatty() if drawn is None else drawn):
        for row in (columns, *rows):
            print("\t".join(printable(" ".join(cell.split())) for cell in row))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = _console()
    if not _fits(columns, rows, console.width):
        print_text("\n\n".join(_block(columns, row) for row in rows))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        # Names are to be copied, so they stay in one piece; the last column has the prose.
        table.add_column(column, overflow="fold", no_wrap=column != columns[-1])
    for row in rows:
        table.add_row(*(Text(printable(cell, kept="\n")) for cell in row))
    console.print(table)


def _fits(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether a drawn table shows all of its cells: those of the last column are wrapped, the others are not."""
    from rich.cells import cell_len

    widths = [
        max(cell_len(line) for cell in cells for line in (cell.splitlines() or [""]))
        for cells in zip(columns, *rows, strict=False)
    ]
    return sum(widths[:-1]) + min(widths[-1], _NARROWEST) + _PADDING * len(widths) <= width


def _block(columns: Sequence[str], row: Sequence[str]) -> str:
    """Return a row as lines.

    >>> print(_block(("name", "state"), ("churn", "ready")))
    name   churn
    state  ready
    """
    indent = max(map(len, columns))
    return "\n".join(f"{name:<{indent}}  {' '.join(cell.split())}" for name, cell in zip(columns, row, strict=False))


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def reflowed(docstring: str | None) -> str:
    """Return a docstring with one line a paragraph, as help is wrapped where it is shown.

    >>> reflowed("One.\\n\\n    Two\\n    lines.")
    'One.\\n\\nTwo lines.'
    """
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(docstring or "").split("\n\n"))


def with_session(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options --host, --token, --data-dir and --json, and a Session as its first argument."""

    @wraps(function)
    def command(**values: Any) -> None:
        session = Session(
            environ=values.pop("context").obj,
            host=values.pop("host"),
            token=values.pop("token"),
            data_dir=values.pop("data_dir"),
            as_json=values.pop("as_json"),
        )
        try:
            function(session, **values)
        except TallystickError as error:
            if session.as_json:
                session.result(error.to_body())
            if isinstance(error, errors.NotFound) and error.message.startswith("Endpoint with name"):
                error.add_note("'tallystick endpoints list' shows those that this token may see.")
            raise
        finally:
            session.close()

    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter("context", keyword, annotation=typer.Context),
        inspect.Parameter("host", keyword, annotation=HostOption, default=""),
        inspect.Parameter("token", keyword, annotation=TokenOption, default=""),
        inspect.Parameter("data_dir", keyword, annotation=DataDirOption, default=None),
        inspect.Parameter("as_json", keyword, annotation=JsonOption, default=False),
    ]
    signature = inspect.signature(function, eval_str=True)
    own = [parameter.replace(kind=keyword) for parameter in list(signature.parameters.values())[1:]]
    parameters = [*own, *shared]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = reflowed(function.__doc__)
    del command.__wrapped__  # else its signature would be read
    return command
