"""`tallystick split`: move traffic between the served entities of an endpoint."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tallystick.commands import config_edit
from tallystick.commands.deploy import wait_shown
from tallystick.commands.durations import parse_duration
from tallystick.commands.session import Session, print_table, with_session
from tallystick.errors import InvalidState


@with_session
def split(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Endpoint.", show_default=False)],
    shares: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=PERCENT...", help="Who gets how much.", show_default=False)
    ] = None,
    timeout: Annotated[str, typer.Option(help="How long to wait until it is in force.")] = "60s",
) -> None:
    """Split an endpoint's traffic between its served entities; without shares, show the split.

    KEY is a served entity's name (churn-3), its version (3), or the beginning or last part of its name where that
    means only one. PERCENT has up to 2 decimals, and the sum is 100. Who is not named gets 0; if something is left
    and only one is not named, that one gets it: 'split churn 4=10' gives version 3 the other 90.

    Nothing is loaded or stopped, and no request is lost: it is in force in well under a second.
    """
    from tallystick.client import version_of

    timeout_s = parse_duration(timeout)
    before = session.client.get_endpoint(name)
    config = before.get("config")
    if not config:
        raise InvalidState(f"Endpoint '{name}' serves nothing yet. See: tallystick endpoints get {name}")
    old = config_edit.shares(config)
    if not shares:
        session.table(_document(before), ("served entity", "traffic"), [_row(*each) for each in old.items()], empty="")
        return
    new = config_edit.parse_split(shares, config)
    started = time.monotonic()
    after = session.client.update_config(name, config_edit.with_shares(config, new))
    after = wait_shown(session, name, version_of(after), timeout_s)
    duration_s = time.monotonic() - started
    if session.as_json:
        session.result(_document(after) | {"duration_s": round(duration_s, 3)})
    else:
        rows = [
            (each, f"{config_edit.show(old[each])} %", f"{config_edit.show(percent)} %")
            for each, percent in new.items()
        ]
        print_table(("served entity", "before", "now"), rows)
        session.note(f"In force after {duration_s:.2f} s.")


def _row(name: str, percent: object) -> tuple[str, str]:
    return name, f"{percent} %"


def _document(endpoint: config_edit.Json) -> config_edit.Json:
    config = endpoint["config"]
    return {"name": endpoint["name"], "config_version": config["config_version"], **config["traffic_config"]}
