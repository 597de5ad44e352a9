"""`tallystick reference …`: what training looked like, for models that are there already."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from tallystick.commands.config_edit import BadUsage, parse_model
from tallystick.commands.parity_profile import percent
from tallystick.commands.session import JsonOption, Session, print_table
from tallystick.errors import TallystickError

app = typer.Typer(
    help="Add and show what training looked like: the reference in a model's artifact.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="models:/churn/3, churn/3, models:/churn@champion, models:/m-…, runs:/<run id>/model, or a folder.",
        show_default=False,
    ),
]
_Tracking = Annotated[str, typer.Option(help="MLflow store with runs and models. Default: MLflow's own.")]
_Registry = Annotated[str, typer.Option(help="MLflow model registry. Default: the tracking store.")]


@app.command("add")
def add(
    context: typer.Context,
    model: _Model,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The rows given to fit: .parquet or .csv. Without: the input example."),
    ] = None,
    label: Annotated[str, typer.Option(metavar="COLUMN", help="Column of the file that holds what was right.")] = "",
    eval_data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Rows with labels that were not given to fit.")
    ] = None,
    privacy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[COLUMN=]OPTION", help="raw, hashed, bucketed or none: for all columns, or for one. Repeatable."
        ),
    ] = None,
    k_anonymity: Annotated[
        int, typer.Option(min=1, help="Levels of fewer rows than this are kept as digests only.")
    ] = 1,
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Column of the file that says whom a row is about. Repeatable."),
    ] = None,
    time: Annotated[str, typer.Option(metavar="COLUMN", help="Column of the file that says when a row was.")] = "",
    history: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The features' source: keys, a time, features; .parquet or .csv."),
    ] = None,
    history_time: Annotated[
        str, typer.Option("--history-time", metavar="COLUMN", help="Its column of times, if not that of --time.")
    ] = "",
    no_model: Annotated[
        bool, typer.Option("--no-model", help="Do not load the model: profile the data alone.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the reference that is there.")] = False,
    tracking_uri: _Tracking = "",
    registry_uri: _Registry = "",
    as_json: JsonOption = False,
) -> None:
    """Capture a reference for a model that is there, and put it into the model's artifact.

    The model's code runs here, on the rows of the file; its packages must be installed. Give the rows that fit got:
    a reference of other rows finds differences that are none.
    """
    from tallystick.training import existing, show

    session = Session(environ=context.obj, as_json=as_json)
    chosen = existing.Data(
        data, eval_data, label, _privacy(privacy or []), k_anonymity, tuple(key or ()), time, history, history_time
    )
    with tempfile.TemporaryDirectory(prefix="tallystick-") as scratch, _told(session):
        place = _locate(session, model, Path(scratch) / "model", tracking_uri, registry_uri)
        existing.add(place, chosen, replace=force, without_model=no_model)
        existing.check_arrived(place, Path(scratch) / "again")
        found = show.document(*existing.read(place))
    session.result(found, f"Added a reference to {model}.", *show.lines(found))
    session.note(
        "Endpoints that serve this model go on as they are. They take the reference when it is deployed again, as it "
        f"was: tallystick deploy ENDPOINT {model}"
    )


@app.command("show")
def show_reference(
    context: typer.Context,
    model: _Model,
    columns: Annotated[bool, typer.Option("--columns", help="List the columns too.")] = False,
    tracking_uri: _Tracking = "",
    registry_uri: _Registry = "",
    as_json: JsonOption = False,
) -> None:
    """Show what is in a model's reference, what it lacks, and what it warns of."""
    from tallystick.training import existing, show

    session = Session(environ=context.obj, as_json=as_json)
    with tempfile.TemporaryDirectory(prefix="tallystick-") as scratch, _told(session):
        found = show.document(*existing.read(_locate(session, model, Path(scratch), tracking_uri, registry_uri)))
    session.result(found, *show.lines(found))
    if columns and not as_json:
        rows = [
            (entry["name"], entry["role"], entry["dtype"], percent(entry["null_share"]), entry["values"])
            for entry in found["columns"]
        ]
        print_table(("column", "role", "dtype", "null", "values"), rows)


def _locate(session: Session, model: str, scratch: Path, tracking_uri: str, registry_uri: str) -> Any:
    from tallystick.training import existing

    environ = session.environ
    existing.use_stores(
        tracking_uri or environ.get("TALLYSTICK_TRACKING_URI", ""),
        registry_uri or environ.get("TALLYSTICK_REGISTRY_URI", ""),
    )
    if Path(model).expanduser().is_dir():
        return existing.locate(model, scratch)
    parsed = parse_model(model, is_model=lambda _: False, absolute=lambda text: text)
    uri = f"models:/{parsed.entity_name}/{parsed.entity_version}" if parsed.entity_version else parsed.entity_name
    return existing.locate(uri, scratch)


def _privacy(given: list[str]) -> str | dict[str, str]:
    by_column = dict(entry.rsplit("=", 1) for entry in given if "=" in entry)
    general = [entry for entry in given if "=" not in entry]
    if len(general) > 1 or (general and by_column):
        raise BadUsage("--privacy: one option for all columns, or COLUMN=OPTION for some; not both.")
    return general[0] if general else by_column or "raw"


@contextlib.contextmanager
def _told(session: Session) -> Iterator[None]:
    """Print an error as JSON where JSON was asked for; the command line does the rest."""
    try:
        yield
    except TallystickError as error:
        if session.as_json:
            session.result(error.to_body())
        raise
