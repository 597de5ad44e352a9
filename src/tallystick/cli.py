"""The command line: which commands there are, and what becomes of errors. The environment is read here.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage or settings, 3 no server, 4 not authorised, 5 not found,
6 not in time.
"""

from __future__ import annotations

import os
import sys
from importlib import metadata
from typing import Annotated

import typer

from tallystick.commands import (
    access,
    deploy,
    diagnose,
    endpoints,
    feedback,
    parity,
    query,
    reference,
    serve,
    split,
    status,
    table,
)
from tallystick.commands.session import EXIT_FAILED, exit_code, reflowed
from tallystick.errors import TallystickError

app = typer.Typer(
    name="tallystick",
    help="Serve MLflow models, and split live traffic between their versions.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(metadata.version("tallystick"))
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    context.obj = os.environ


def _demo(
    once: Annotated[bool, typer.Option("--once", help="End by itself, and leave nothing behind.")] = False,
    port: Annotated[int, typer.Option(help="Port; default 8080 if it is free.", min=0, max=65535)] = 0,
    data_dir: Annotated[str, typer.Option(help="Folder for models and server. With --once: a temporary one.")] = "",
) -> None:
    """Train two models, serve them 90/10 behind one endpoint, and query it with databricks-sdk."""
    from tallystick.demo import run

    run(once=once, port=port, data_dir=data_dir, environ=os.environ)


_SERVER, _MODELS, _ACCESS = "Server", "Models", "Access"
app.command("serve", rich_help_panel=_SERVER, help=reflowed(serve.serve.__doc__))(serve.serve)
app.command("demo", rich_help_panel=_SERVER)(_demo)
app.command("status", rich_help_panel=_SERVER)(status.status)
app.command("deploy", rich_help_panel=_MODELS)(deploy.deploy)
app.command("split", rich_help_panel=_MODELS)(split.split)
app.command("query", rich_help_panel=_MODELS)(query.query)
app.command("table", rich_help_panel=_MODELS)(table.table)
app.command("diagnose", rich_help_panel=_MODELS)(diagnose.diagnose)
app.command("feedback", rich_help_panel=_MODELS)(feedback.feedback)
app.add_typer(reference.app, name="reference", rich_help_panel=_MODELS)
app.command("logs", rich_help_panel=_MODELS)(endpoints.logs)
app.add_typer(parity.app, name="parity", rich_help_panel=_MODELS)
app.add_typer(endpoints.app, name="endpoints", rich_help_panel=_MODELS)
app.add_typer(access.token_app, name="token", rich_help_panel=_ACCESS)
app.add_typer(access.secret_app, name="secret", rich_help_panel=_ACCESS)


def main() -> None:
    """Run one command; an error is a line on stderr and an exit code."""
    try:
        app()
    except TallystickError as error:
        print(f"Error: {error.message}", file=sys.stderr)
        for note in getattr(error, "__notes__", ()):
            print(f"       {note}", file=sys.stderr)
        sys.exit(exit_code(error))
    except Exception as error:  # the boundary of the process
        if os.environ.get("TALLYSTICK_DEBUG"):
            raise
        print(f"Error: {type(error).__name__}: {error}", file=sys.stderr)
        print("       This is a fault of ours. With TALLYSTICK_DEBUG=1 the same command shows where.", file=sys.stderr)
        sys.exit(EXIT_FAILED)
