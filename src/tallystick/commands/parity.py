"""`tallystick parity …`: golden rows on a model, or on each replica of an endpoint, and what must come of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tallystick.commands import config_edit
from tallystick.commands.config_edit import BadUsage, Json
from tallystick.commands.parity_ablation import ablation_lines, ablation_of
from tallystick.commands.parity_profile import profile
from tallystick.commands.parity_words import by_outcome, incident_line, ladder_table, lines_of, live_lines, verdict
from tallystick.commands.session import EXIT_FAILED, Session, print_text, with_session
from tallystick.errors import DeploymentFailed, NotFound
from tallystick.gate.report import Outcome, Policy

#: A model has to be fetched, imported and loaded first.
_TIMEOUT_S = 900

app = typer.Typer(
    help="Does an endpoint, or a model before it is deployed, give training's answers?",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Name = Annotated[str, typer.Argument(metavar="ENDPOINT", help="Endpoint.", show_default=False)]
Entity = Annotated[str | None, typer.Option(metavar="NAME", help="Served entity: its name or version. Default: all.")]
ExitCode = Annotated[
    bool, typer.Option("--exit-code", help="Exit with 1 unless everything passed, as a test in CI wants it.")
]


@app.command("check")
@with_session
def check(
    session: Session,
    what: Annotated[
        str,
        typer.Argument(
            metavar="ENDPOINT|MODEL",
            help="An endpoint; or models:/churn/4, churn/4, runs:/<run id>/model, or a folder, with no server.",
            show_default=False,
        ),
    ],
    entity: Entity = None,
    exit_code: ExitCode = False,
    ablate: Annotated[
        bool,
        typer.Option("--ablate", help="Of a model that fails: rebuild environments with uv, and name the package."),
    ] = False,
) -> None:
    """Hold an endpoint's replicas, or a model, to the golden rows of its training.

    An endpoint's golden rows are sent over HTTP to each of its replicas, past the traffic split. A model is resolved
    and loaded here, as a worker would do it, with this Python; no server is needed.
    """
    if _is_model(what):
        if entity is not None:
            raise BadUsage("--entity is of endpoints; a model is checked whole.")
        found = _check_model(session, what, is_ablated=ablate)
        session.result(found, *(_told_model(what, found) if not session.as_json else ()))
        if not session.as_json:
            ladder_table(found["report"] or {})
            session.result(found, *ablation_lines(found))
        outcome = (found["report"] or {}).get("outcome", "skipped")
        if found.get("ablation", {}).get("outcome") == "failed":
            raise typer.Exit(EXIT_FAILED)
    else:
        if ablate:
            raise BadUsage("--ablate is of models: give the model that the endpoint serves.")
        found = _check_endpoint(session, what, entity)
        session.result(found) if session.as_json else _show(what, found["entities"])
        outcome = found["outcome"]
    if exit_code and outcome != Outcome.PASSED:
        raise typer.Exit(EXIT_FAILED)


@app.command("status")
@with_session
def status(session: Session, name: Name) -> None:
    """Show an endpoint's settings of parity, how each replica came out last, and how live requests stand."""
    found = session.client.parity(name)
    session.result(found, *described(name, found))


@app.command("replay")
@with_session
def replay(session: Session, name: Name, entity: Entity = None) -> None:
    """Replay golden rows on each replica, and show the first row, column and step that differs."""
    found = session.client.parity_check(name, _entity_name(session, name, entity))
    session.result(found, *(line for line in _differences(name, found["entities"])))


app.command("profile")(profile)


@with_session
def settings(
    session: Session,
    name: Name,
    gate: Annotated[
        Policy | None, typer.Option(help="What becomes of a version that does not give training's answers.")
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Where incidents are sent to; 'none' for nowhere.")
    ] = None,
    monitor: Annotated[bool | None, typer.Option("--monitor/--no-monitor", help="Watch live requests.")] = None,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="What says whom a row is about: a column that is sent, or usage_context.NAME; 'none' for nothing.",
        ),
    ] = None,
) -> None:
    """Show what an endpoint has to reproduce before it gets traffic; with options, change it, and show what changed.

    What no option names stays as it is.
    """
    asked = {
        "gate": gate.value if gate is not None else None,
        "webhook": "" if webhook == "none" else webhook,
        "monitor": monitor,
        "key": "" if key == "none" else key,
    }
    changes = {key: value for key, value in asked.items() if value is not None}
    if changes:
        before = session.client.get_endpoint(name).get("parity") or {}
        found = session.client.set_parity(name, before | changes)
        session.result(found, *changed(name, changes, before, found["settings"]))
    else:
        found = session.client.parity(name)
        session.result(found, *described(name, found))


def _check_endpoint(session: Session, name: str, entity: str | None) -> Json:
    try:
        return session.client.parity_check(name, _entity_name(session, name, entity))
    except NotFound as error:
        raise NotFound(f"{error.message} To check a model, name its version: {name}/1, models:/{name}/1.") from error


def _check_model(session: Session, model: str, *, is_ablated: bool) -> Json:
    with tempfile.TemporaryDirectory(prefix="tallystick-check-") as scratch:
        found = offline(session, model, Path(scratch))
        # Of a folder that is gone when anybody reads it.
        folder = Path(found.pop("local_path", ""))
        if is_ablated:
            with session.progress() as say:
                found["ablation"] = ablation_of(folder, found["report"], say)
    return found


def offline(session: Session, model: str, scratch: Path) -> Json:
    """Return what became of a model's golden rows in a process of its own. Raises DeploymentFailed.

    A copy of the model is left in `scratch`.
    """
    import msgspec

    from tallystick.commands.deploy import absolute_path, is_model_here
    from tallystick.entities import ServedEntityId
    from tallystick.entities import entity as served
    from tallystick.protocol.worker_spec import WorkerSpec

    wanted = config_edit.parse_model(model, is_model=is_model_here, absolute=absolute_path)
    entity = served(wanted.entity_name, wanted.entity_version, id=ServedEntityId("check"))
    with session.progress() as say:
        say(f"Loading {entity.model_uri}")
        spec = WorkerSpec(
            replica_id="check",
            socket="",
            board="",
            model_uri=entity.model_uri,
            model_version=entity.entity_version or "",
            cache_dir=str(scratch / "models"),
            # As `serve` and `reference` take them; MLflow reads its own names.
            tracking_uri=session.environ.get("TALLYSTICK_TRACKING_URI", ""),
            registry_uri=session.environ.get("TALLYSTICK_REGISTRY_URI", ""),
            options=entity.options,
            threads=1,
        )
        path = scratch / "spec.json"
        path.write_bytes(msgspec.json.encode(spec))
        argv = [sys.executable, "-P", "-m", "tallystick.worker.offline", str(path)]
        try:
            done = subprocess.run(  # noqa: S603  our own module, with this interpreter
                argv, capture_output=True, text=True, timeout=_TIMEOUT_S, env=dict(session.environ), check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DeploymentFailed(f"{model} was not loaded and checked within {_TIMEOUT_S} s.") from error
    try:
        found: Json = json.loads(done.stdout)
    except ValueError as error:
        last = " ".join(done.stderr.split()[-40:])
        raise DeploymentFailed(
            f"The process that loaded {model} ended with status {done.returncode}: {last}"
        ) from error
    if found["problem"]:
        raise DeploymentFailed(found["problem"])
    return found


def described(name: str, found: Json) -> Iterator[str]:
    """Yield settings and state of an endpoint's parity in words."""
    wanted = found["settings"]
    yield f"{name}: {_POLICIES[wanted['gate']]}"
    yield f"  gate      {wanted['gate']}"
    yield f"  monitor   {'on' if wanted['monitor'] else 'off'}"
    yield f"  webhook   {wanted['webhook'] or 'none'}"
    if wanted.get("key"):
        yield f"  key       {wanted['key']}"
    for entity, known in found["gate"].items():
        for where, reports in (("", known["replicas"]), (" over HTTP", known["http"])):
            for who, report in by_outcome(reports):
                yield f"  {entity}, {who}{where}: {verdict(report)}"
    if not any(known["replicas"] for known in found["gate"].values()):
        yield "  No replica was checked yet."
    yield from live_lines(found.get("live") or {})
    for incident in found.get("incidents") or []:
        yield f"  {incident_line(incident, name)}"


def changed(name: str, changes: Json, before: Json, after: Json) -> Iterator[str]:
    """Yield a line for each setting that was asked for: what it is, and what it was where that is known and another.

    >>> list(changed("churn", {"monitor": True, "webhook": ""}, {"monitor": False}, {"monitor": True, "webhook": ""}))
    ['churn: monitor is on (was off)', 'churn: webhook is none']
    """
    for key in changes:
        was = f" (was {_setting(before[key])})" if before.get(key, after[key]) != after[key] else ""
        means = f": {_POLICIES[after[key]]}" if key == "gate" else ""
        yield f"{name}: {key} is {_setting(after[key])}{was}{means}"


def _setting(value: Any) -> str:
    return ("off", "on")[value] if isinstance(value, bool) else value or "none"


_POLICIES: Mapping[str, str] = {
    "auto": "a version with golden rows has to give training's answers before it gets traffic",
    "block": "a version has to give training's answers for golden rows before it gets traffic",
    "warn": "a version that does not give training's answers gets traffic, with a warning",
    "off": "no version is checked",
}


def _is_model(text: str) -> bool:
    from tallystick.commands.deploy import is_model_here

    # No endpoint's name has such a sign in it.
    return "/" in text or "@" in text or text.startswith((".", "~")) or is_model_here(text)


def _entity_name(session: Session, name: str, entity: str | None) -> str | None:
    if entity is None:
        return None
    return config_edit.find_entity(session.client.get_endpoint(name).get("config") or {}, entity)


def _told_model(what: str, found: Json) -> Iterator[str]:
    if what != found["resolved_uri"]:
        yield f"{what} is {found['resolved_uri']}"
    for reason in found["environment"]:
        yield f"This Python is not the one that the model asks for: {reason}"
    if found["report"]:
        yield verdict(found["report"])


def _show(name: str, entities: Mapping[str, Mapping[str, Any]]) -> None:
    for entity, reports in entities.items():
        for number, report in reports.items():
            print_text(f"{name}/{entity}, replica {number}: {verdict(report)}")
            ladder_table(report)


def _differences(name: str, entities: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for entity, reports in entities.items():
        for who, report in by_outcome(reports):
            yield f"{name}/{entity}, {who} ({report.get('digest', '')[:12]}): {verdict(report)}"
            yield from lines_of(report)
