"""`tallystick deploy`: bring a model up behind an endpoint, beside what is there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tallystick.commands import config_edit
from tallystick.commands.config_edit import BadUsage, Json, Model
from tallystick.commands.durations import parse_duration
from tallystick.commands.session import Session, with_session
from tallystick.errors import DeploymentFailed, InvalidState
from tallystick.gate.report import Policy

if TYPE_CHECKING:
    from decimal import Decimal

_SIZES = ("Small", "Medium", "Large")
_RESOURCES, _TRAFFIC = "The model and its resources", "Traffic and waiting"
#: Lines of a failed model's logs that are shown at once.
_TAIL_LINES = 15


@with_session
def deploy(
    session: Session,
    name: Annotated[
        str, typer.Argument(metavar="ENDPOINT", help="Endpoint: the name that clients call.", show_default=False)
    ],
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="models:/churn/3, churn/3, models:/churn@champion, runs:/<run id>/model, a folder or a .py file.",
            show_default=False,
        ),
    ],
    version: Annotated[
        str | None,
        typer.Option(help="Version, when MODEL is the bare name of a registered model.", rich_help_panel=_RESOURCES),
    ] = None,
    entity_name: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NAME",
            help="Name of the served entity. Default: model and version, as in churn-3.",
            rich_help_panel=_RESOURCES,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="Small|Medium|Large",
            help="How many requests at once: 4, 16 or 64. Default: Small.",
            rich_help_panel=_RESOURCES,
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(help="The same as a number; one worker process for every 4.", min=1, rich_help_panel=_RESOURCES),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Environment variable of the model. Repeatable.", rich_help_panel=_RESOURCES
        ),
    ] = None,
    secret_env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=SCOPE/KEY",
            help="Environment variable out of 'tallystick secret put'. Repeatable.",
            rich_help_panel=_RESOURCES,
        ),
    ] = None,
    scale_to_zero: Annotated[
        bool,
        typer.Option("--scale-to-zero", help="Stop its workers while nobody asks.", rich_help_panel=_RESOURCES),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse values that fit the signature only by being changed; else they are counted.",
            rich_help_panel=_RESOURCES,
        ),
    ] = False,
    traffic: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT",
            help="Share it gets at once; the others keep their proportions in the rest.",
            rich_help_panel=_TRAFFIC,
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Move all traffic to it, and drop the others.", rich_help_panel=_TRAFFIC),
    ] = False,
    parity_gate: Annotated[
        Policy | None,
        typer.Option(
            help="What becomes of a version that does not give training's answers for its golden rows.",
            rich_help_panel=_TRAFFIC,
        ),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it serves.", rich_help_panel=_TRAFFIC)] = True,
    timeout: Annotated[
        str, typer.Option(help="How long to wait. The server goes on after it.", rich_help_panel=_TRAFFIC)
    ] = "20m",
) -> None:
    """Serve a model behind an endpoint.

    The first model of an endpoint gets all its traffic. A further one is added beside those that are there and
    gets none, until 'tallystick split' says so (or --traffic does); requests go on being answered all the while.
    A model whose served entity has the same name is replaced by it and keeps its share: that is how settings of a
    version are changed, and how one is deployed again whose alias, files or reference changed.

    Settings are what this command says: nothing is taken over from other versions.

    Example: tallystick deploy churn models:/churn/3, later tallystick deploy churn models:/churn/4, then
    tallystick split churn 3=90 4=10.
    """
    timeout_s = parse_duration(timeout)
    wanted = config_edit.parse_model(model, version, is_model=is_model_here, absolute=absolute_path)
    entity = served_entity(wanted, entity_name, size, concurrency, env or (), secret_env or (), scale_to_zero, strict)
    share = None if traffic is None else config_edit.parse_percent(traffic)
    if replace and share is not None:
        raise BadUsage("--replace gives it 100 %; leave --traffic out.")
    started = time.monotonic()
    before = session.client.find_endpoint(name)
    if parity_gate is not None and before is not None:
        # It is the endpoint's, so it holds for the versions that are there as well.
        session.client.set_parity(name, (before.get("parity") or {}) | {"gate": parity_gate.value})
    after = _send(session, name, before, wanted, entity, share, replace, parity_gate)
    from tallystick.client import version_of

    if wait:
        after = _wait(session, after, version_of(after), timeout_s)
    duration_s = time.monotonic() - started
    session.result(after, *_told(before, after, entity, wait, duration_s))


def served_entity(
    model: Model,
    name: str | None,
    size: str | None,
    concurrency: int | None,
    env: Sequence[str],
    secret_env: Sequence[str],
    scale_to_zero: bool,
    strict: bool,
) -> Json:
    """Return a served entity as input of a config. Raises BadUsage."""
    entity: Json = {"name": name or model.default_name, "entity_name": model.entity_name}
    if model.entity_version is not None:
        entity["entity_version"] = model.entity_version
    if size is not None and concurrency is not None:
        raise BadUsage("--size and --concurrency say the same; give one of the two.")
    if concurrency is not None:
        entity["min_provisioned_concurrency"] = 0 if scale_to_zero else concurrency
        entity["max_provisioned_concurrency"] = concurrency
    else:
        entity["workload_size"] = _size(size or "Small")
    entity["scale_to_zero_enabled"] = scale_to_zero
    variables = {"TALLYSTICK_ENFORCEMENT": "strict"} if strict else {}
    for word in env:
        key, value = _pair(word, "--env")
        variables[key] = value
    for word in secret_env:
        key, value = _pair(word, "--secret-env")
        scope, slash, secret = value.partition("/")
        if not (scope and slash and secret):
            raise BadUsage(f"--secret-env {word}: expected KEY=SCOPE/KEY, as in DB_PASSWORD=prod/db.")
        variables[key] = f"{{{{secrets/{scope}/{secret}}}}}"
    if variables:
        entity["environment_vars"] = variables
    return entity


def is_model_here(path: str) -> bool:
    """Whether a path is a model folder or a Python file on this machine."""
    found = Path(path).expanduser()
    return (found / "MLmodel").is_file() or (found.suffix == ".py" and found.is_file())


def absolute_path(path: str) -> str:
    """Return a path of this machine in full. Raises BadUsage where there is nothing."""
    found = Path(path).expanduser()
    if not found.is_absolute() and not found.exists():
        raise BadUsage(f"There is no file or folder {found.absolute()}.")
    return str(found.absolute() if found.is_absolute() else found.resolve())


def _send(
    session: Session,
    name: str,
    before: Json | None,
    model: Model,
    entity: Json,
    share: Decimal | None,
    replace: bool,
    parity_gate: Policy | None,
) -> Json:
    if before is None:
        body: Json = {"name": name, "config": config_edit.with_model({}, entity, share=share)}
        if parity_gate is not None:
            body["parity"] = {"gate": parity_gate.value}
        return session.client.create_endpoint(body)
    if before["state"].get("suspend") == "STOPPED":
        raise InvalidState(f"Endpoint '{name}' is stopped. Start it first: tallystick endpoints start {name}")
    config = before.get("config", {})
    # To say it again is to have it again: what is in the artifact may be new, as a reference is that was added.
    wanted = entity | {"fetch_anew": True}
    return session.client.update_config(name, config_edit.with_model(config, wanted, share=share, replace=replace))


def _wait(session: Session, endpoint: Json, version: int, timeout_s: float) -> Json:
    from tallystick.client import failed_entities

    name = endpoint["name"]
    try:
        return wait_shown(session, name, version, timeout_s)
    except DeploymentFailed:
        for entity in failed_entities(session.client.get_endpoint(name)):
            _show_tail(session, name, entity)
        raise


def wait_shown(session: Session, name: str, version: int, timeout_s: float) -> Json:
    """Wait until a config version serves, showing what each served entity that comes up says of itself."""
    with session.progress() as say:

        def look(endpoint: Json) -> None:
            coming = [
                f"{entity['name']}: {state.get('deployment_state_message') or 'starting'}"
                for entity in (endpoint.get("pending_config") or {}).get("served_entities", [])
                if (state := entity.get("state", {})).get("deployment") == "DEPLOYMENT_CREATING"
            ]
            if coming:
                say("; ".join(coming))

        try:
            return session.client.wait(name, version, timeout_s=timeout_s, on_look=look)
        except KeyboardInterrupt:
            session.note(f"\nNo longer waiting; the server goes on. See: tallystick endpoints get {name}")
            raise


def _show_tail(session: Session, name: str, entity: Json) -> None:
    """Show the end of both logs of a served entity that failed, without what its message says anyway."""
    client, served = session.client, entity["name"]
    message = entity["state"].get("deployment_state_message", "")
    # A gate that fails is in both logs.
    shown: set[str] = set()
    for what, text in (("build log", client.build_logs(name, served)), ("log", client.logs(name, served))):
        lines = [
            line
            for line in text.splitlines()
            if line.strip() and not line.startswith("[tallystick ") and not (message and message in line)
        ]
        lines = [line for line in lines if line not in shown]
        shown.update(lines)
        if lines:
            session.note("\n".join([f"--- end of the {what} of {served} ---", *lines[-_TAIL_LINES:], "---"]))


def _told(before: Json | None, after: Json, entity: Json, waited: bool, duration_s: float) -> list[str]:
    name, served = after["name"], entity["name"]
    if not waited:
        return [f"{name}: {served} is being deployed. See how it stands: tallystick endpoints get {name}"]
    config: dict[str, Any] = after.get("config", {})
    now = config_edit.shares(config)
    share = now.get(served)
    lines = [f"{name}: {served} is up after {duration_s:.1f} s."]
    if _id_of(before, served) == _id_of(after, served):
        lines = [
            f"{name}: {served} was served already; its workers go on, under the new settings. "
            "Say it once more to have the model fetched anew."
        ]
    # What the gate found: of a policy that only warns, this is the warning.
    states = (each.get("state", {}) for each in config.get("served_entities", []) if each["name"] == served)
    lines += [message for state in states if (message := state.get("deployment_state_message"))]
    lines += [f"  {each:<24} {config_edit.show(percent):>6} %" for each, percent in now.items()]
    if share == 0 and (others := [each for each, percent in now.items() if percent]):
        old = max(others, key=lambda each: now[each])
        rest = "".join(f" {each}={config_edit.show(now[each])}" for each in others if each != old)
        keep = config_edit.show(now[old] - 10) if now[old] > 10 else "0"
        given = config_edit.show(min(now[old], type(now[old])(10)))
        lines += [
            "",
            f"{served} gets no traffic yet. Ask it alone, then give it some:",
            f"  tallystick query {name} --entity {_short(config, served)} @rows.json",
            f"  tallystick split {name} {_short(config, old)}={keep} {_short(config, served)}={given}{rest}",
        ]
    elif before is None:
        lines += ["", f"Ask it: tallystick query {name} @rows.json"]
    return lines


def _id_of(endpoint: Json | None, served: str) -> str | None:
    entities = (endpoint or {}).get("config", {}).get("served_entities", [])
    return next((each.get("id", "") for each in entities if each["name"] == served), None)


def _short(config: Json, name: str) -> str:
    """Return the shortest key that means a served entity: its version where that is enough."""
    for entity in config.get("served_entities", []):
        version = entity.get("entity_version")
        if entity["name"] == name and version:
            try:
                return str(version) if config_edit.find_entity(config, str(version)) == name else name
            except BadUsage:
                return name
    return name


def _size(text: str) -> str:
    for size in _SIZES:
        if text.lower() == size.lower():
            return size
    raise BadUsage(f"--size is one of {', '.join(_SIZES)}; got '{text}'. For a number: --concurrency.")


def _pair(word: str, option: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not key or not equals:
        raise BadUsage(f"{option} {word}: expected KEY=VALUE.")
    return key, value
