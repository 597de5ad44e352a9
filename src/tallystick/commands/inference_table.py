"""`tallystick endpoints inference-table`: what is recorded of an endpoint's invocations, shown and changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tallystick.commands.config_edit import BadUsage, Json
from tallystick.commands.durations import parse_duration
from tallystick.commands.session import Session, with_session
from tallystick.printable import count
from tallystick.protocol.routes import Durability

_DAY_S = 86_400
_NONE = "none"
_SURVIVES: Mapping[str, str] = {
    Durability.NONE: "written soon after the answer; a process that dies may lose some",
    Durability.PROCESS_CRASH: "written before the answer; survives the death of any process",
    Durability.POWER_LOSS: "synced to disk before the answer; survives a power cut",
}


@with_session
def inference_table(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Endpoint.", show_default=False)],
    on: Annotated[bool | None, typer.Option("--on/--off", help="Whether invocations are recorded.")] = None,
    sampling: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Share of the invocations that get a row, 0 to 1.", min=0, max=1),
    ] = None,
    durability: Annotated[
        Durability | None, typer.Option(help="What a row survives once its invocation was answered.")
    ] = None,
    required: Annotated[
        bool | None,
        typer.Option("--required/--not-required", help="Whether an invocation that cannot be recorded fails."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Leave out this column, as in request.ssn; repeatable; 'none' ends it."),
    ] = None,
    hash_: Annotated[
        list[str] | None,
        typer.Option("--hash", metavar="COLUMN", help="Hash this column, as in requester; repeatable; 'none' ends it."),
    ] = None,
    retention: Annotated[
        str | None, typer.Option(metavar="DAYS", help="Delete rows after so many days, as in 90d; 0 keeps them.")
    ] = None,
    max_payload_kb: Annotated[
        int | None, typer.Option(metavar="KIB", help="Leave out bodies larger than this, in KiB.", min=0)
    ] = None,
) -> None:
    """Show what is recorded of an endpoint's invocations, and where; with options, change it, and show what changed.

    What no option names stays as it is.
    """
    asked = {
        "enabled": on,
        "sampling_fraction": sampling,
        "durability": durability.value if durability is not None else None,
        "required": required,
        "drop_columns": _columns(drop),
        "hash_columns": _columns(hash_),
        "retention_days": None if retention is None else parse_days(retention),
        "max_payload_bytes": None if max_payload_kb is None else max_payload_kb << 10,
    }
    changes = {key: value for key, value in asked.items() if value is not None}
    if changes:
        own = session.client.get_endpoint(name).get("inference_table") or {}
        before = session.client.inference_table(name)
        found = session.client.put_inference_table(name, own | changes)
        session.result(found, *changed(name, changes, before, found))
    else:
        found = session.client.inference_table(name)
        session.result(found, *described(name, found))


def parse_days(text: str) -> int:
    """Return a time of retention in days; a number without a unit is days. Raises BadUsage.

    >>> parse_days("90d"), parse_days("48h"), parse_days("30")
    (90, 2, 30)
    """
    days = float(text) if text.strip().isdecimal() else parse_duration(text) / _DAY_S
    if not days.is_integer():
        raise BadUsage(f"'{text}' is not a number of whole days, as in 90d.")
    return int(days)


def changed(name: str, changes: Json, before: Json, after: Json) -> list[str]:
    """Return a line for each setting that was asked for, what it was where that is another, and how to see the rest.

    >>> after = {"enabled": True, "retention_days": 7}
    >>> changed("churn", {"retention_days": 7}, {"retention_days": 0}, after)[0]
    'churn: rows are kept 7 days (was: for ever)'
    """
    lines = []
    for key in changes:
        thing, value = _in_words(key, after[key])
        was = "" if before[key] == after[key] else f" (was: {_in_words(key, before[key])[1]})"
        lines.append(f"{name}: {thing} {value}{was}")
    if not after["enabled"] and changes.get("enabled") is not False:
        # A server without inference tables records none, whatever an endpoint wants.
        why = " all the same: this server was started without inference tables" if changes.get("enabled") else ""
        lines.append(f"Nothing is recorded{why}.")
    return [*lines, f"All settings: tallystick endpoints inference-table {name}"]


def _in_words(key: str, value: Any) -> tuple[str, str]:
    """Return what a setting is of, and its value."""
    match key:
        case "enabled":
            return "recording is", "on" if value else "off"
        case "sampling_fraction":
            return "the share of the invocations that is recorded is", f"{value:.4g}"
        case "durability":
            return "durability is", value
        case "required":
            return "an invocation that cannot be recorded is", "answered 503" if value else "answered all the same"
        case "max_payload_bytes":
            return "bodies are kept up to", f"{value / 1024:.6g} KiB"
        case "retention_days":
            return "rows are kept", count(value, "day") if value else "for ever"
    return f"columns {'left out' if key == 'drop_columns' else 'hashed'}:", ", ".join(value) or "none"


def described(name: str, found: Json) -> list[str]:
    """Return the settings and the state of an inference table in words."""
    share = found["sampling_fraction"]
    what = "every invocation is recorded" if share == 1 else f"{share:.4g} of the invocations are recorded"
    lines = [
        f"{name}: {what if found['enabled'] else 'nothing is recorded'}",
        f"  table       {found['location']}",
        f"  feedback    {found['feedback_location']}",
        f"  durability  {found['durability']}: {_SURVIVES.get(found['durability'], '')}",
    ]
    if found["required"]:
        lines.append("  required    an invocation that cannot be recorded is answered 503")
    lines.append(f"  bodies      up to {found['max_payload_bytes'] / 1024:.6g} KiB")
    for key, word in (("drop_columns", "left out"), ("hash_columns", "hashed")):
        if found[key]:
            lines.append(f"  {word:<11} {', '.join(found[key])}")
    days = found["retention_days"]
    lines.append(f"  kept        {count(days, 'day') if days else 'for ever'}")
    return [*lines, *_state(found)]


def _state(found: Mapping[str, Any]) -> list[str]:
    lines = []
    if state := found.get("state"):
        waiting = f", {state['waiting_rows']} more within {state['lag_s']:.1f} s" if state["waiting_rows"] else ""
        lines.append(f"  rows        {state['rows']} since the recorder started{waiting}; version {state['version']}")
        if state["problem"]:
            lines.append(f"  problem     {state['problem']}")
    if counts := found.get("feedback"):
        lines.append("  outcomes    " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    return lines


def _columns(given: list[str] | None) -> list[str] | None:
    if not given:
        return None
    return [] if given == [_NONE] else given
