"""`tallystick endpoints …` and `tallystick logs`."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from tallystick.commands import config_edit
from tallystick.commands.config_edit import BadUsage, Json
from tallystick.commands.deploy import wait_shown
from tallystick.commands.durations import parse_duration
from tallystick.commands.inference_table import inference_table
from tallystick.commands.parity import settings
from tallystick.commands.session import Session, print_table, with_session
from tallystick.commands.status import condition, entity_rows, messages, model_of
from tallystick.errors import InvalidState

_FOLLOW_S = 1.0
#: So much of the end of what was printed is looked for in the next answer.
_OVERLAP_CHARS = 2000

app = typer.Typer(
    help="List, look at, stop, start and delete endpoints; say what is recorded of them, and what they must reproduce.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Name = Annotated[str, typer.Argument(metavar="ENDPOINT", help="Endpoint.", show_default=False)]
app.command("inference-table")(inference_table)
app.command("parity")(settings)


@app.command("list")
@with_session
def list_endpoints(session: Session) -> None:
    """List the endpoints that you may see."""
    found = session.client.list_endpoints()
    rows = [
        (
            endpoint["name"],
            condition(endpoint),
            ", ".join(model_of(entity) for entity in endpoint.get("config", {}).get("served_entities", [])),
            endpoint["permission_level"],
            f"{datetime.fromtimestamp(endpoint['last_updated_timestamp'] / 1000, UTC):%Y-%m-%d %H:%M}Z",
        )
        for endpoint in found
    ]
    empty = "No endpoints yet. Make one: tallystick deploy NAME models:/MODEL/VERSION"
    session.table({"endpoints": found}, ("name", "state", "serves", "you may", "changed"), rows, empty=empty)


@app.command("get")
@with_session
def get(session: Session, name: Name) -> None:
    """Show an endpoint: how it stands, what it serves, who gets which traffic."""
    endpoint = session.client.get_endpoint(name)
    if session.as_json:
        session.result(endpoint)
        return
    print(f"{name}: {condition(endpoint)}")
    print(f"  url      {endpoint.get('endpoint_url', '')}")
    print(f"  creator  {endpoint['creator']}")
    if endpoint.get("tags"):
        print(f"  tags     {', '.join(_tag(tag) for tag in endpoint['tags'])}")
    rows = [row[1:-1] for row in entity_rows(endpoint, {})]
    if rows:
        print()
        print_table(("served entity", "model", "traffic", "state"), rows)
    for line in messages(endpoint):
        print(line)


def _tag(tag: Json) -> str:
    return f"{tag['key']}={tag['value']}" if tag.get("value") is not None else str(tag["key"])


@app.command("delete")
@with_session
def delete(
    session: Session,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete an endpoint with its config, grants and logs. Models in MLflow stay."""
    if not yes:
        if not sys.stdin.isatty():
            raise BadUsage("This deletes the endpoint for good; without a terminal to ask on, give --yes.")
        typer.confirm(f"Delete endpoint '{name}'? Clients that call it get 404 from then on.", abort=True, err=True)
    session.client.delete_endpoint(name)
    session.result({"name": name, "deleted": True}, f"{name} is deleted.")


@app.command("stop")
@with_session
def stop(session: Session, name: Name) -> None:
    """Stop an endpoint: its workers end, its config stays, clients get 400 until it is started."""
    endpoint = session.client.stop_endpoint(name)
    session.result(endpoint, f"{name} is stopped. Start it again: tallystick endpoints start {name}")


@app.command("start")
@with_session
def start(
    session: Session,
    name: Name,
    wait: Annotated[bool, typer.Option(help="Wait until it serves.")] = True,
    timeout: Annotated[str, typer.Option(help="How long to wait.")] = "20m",
) -> None:
    """Start a stopped endpoint with the config that it had."""
    from tallystick.client import version_of

    timeout_s, started = parse_duration(timeout), time.monotonic()
    endpoint = session.client.start_endpoint(name)
    if wait:
        endpoint = wait_shown(session, name, version_of(endpoint), timeout_s)
        told = f"{name} serves again after {time.monotonic() - started:.1f} s."
    else:
        told = f"{name} is being started. See how it stands: tallystick endpoints get {name}"
    session.result(endpoint, told)


@with_session
def logs(
    session: Session,
    name: Name,
    entity: Annotated[
        str | None, typer.Option(metavar="NAME", help="Served entity: its name or version. Default: all.")
    ] = None,
    build: Annotated[bool, typer.Option("--build", help="How it was brought up, not what it printed.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
) -> None:
    """Show what the workers of an endpoint printed last, or with --build how they were brought up."""
    if follow and session.as_json:
        raise BadUsage("--follow never ends, and --json prints one document; give one of the two.")
    read = session.client.build_logs if build else session.client.logs
    names = _entities(session.client.get_endpoint(name), entity)
    texts = {each: read(name, each) for each in names}
    if session.as_json:
        session.result({"logs": texts})
        return
    for each, text in texts.items():
        if len(texts) > 1:
            print(f"== {each} ==")
        print(text.rstrip() or "(nothing yet)", flush=True)
    while follow:
        time.sleep(_FOLLOW_S)
        for each in names:
            text = read(name, each)
            fresh = added(texts[each], text)
            texts[each] = text
            for line in fresh.rstrip().splitlines():
                print(f"{each}: {line}" if len(names) > 1 else line, flush=True)


def added(before: str, after: str) -> str:
    """Return what came to a log since it was last read; both are its newest part.

    >>> added("one two ", "two three ")
    'three '
    """
    if after.startswith(before):
        return after[len(before) :]
    # The beginning was cut off: the old end is somewhere inside.
    for size in (_OVERLAP_CHARS, 200, 40, 4):
        end = before[-size:]
        at = after.rfind(end) if end else -1
        if at >= 0:
            return after[at + len(end) :]
    return after


def _entities(endpoint: Json, key: str | None) -> list[str]:
    configs = [config for config in (endpoint.get("pending_config"), endpoint.get("config")) if config]
    if not configs:
        raise InvalidState(f"Endpoint '{endpoint['name']}' has no config yet, so it has no logs.")
    entities = {entity["name"]: entity for config in reversed(configs) for entity in config["served_entities"]}
    if key is None:
        return list(entities)
    return [config_edit.find_entity({"served_entities": list(entities.values())}, key)]
