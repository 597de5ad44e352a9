"""`tallystick status`: the server, its endpoints and their worker processes at a glance."""

from __future__ import annotations

from collections.abc import Mapping

from tallystick.commands import config_edit
from tallystick.commands.config_edit import Json
from tallystick.commands.session import Session, print_table, with_session
from tallystick.errors import PermissionDenied
from tallystick.printable import count

#: A recorder that is as far behind is worth a line; it commits every few seconds.
LATE_S = 60.0
#: In the message of a served entity that serves although it does not give training's answers.
_DIFFERS = "differs from training"


@with_session
def status(session: Session) -> None:
    """Show the server, its endpoints, who gets which traffic, and the workers behind."""
    client = session.client
    endpoints = [client.get_endpoint(each["name"]) for each in client.list_endpoints()]
    try:
        server = client.status()
    except PermissionDenied:
        # Processes are for admins to see; endpoints are for everybody who may see them.
        server = {}
    document = {"url": client.server.url, **server, "endpoints": endpoints}
    if session.as_json:
        session.result(document)
        return
    print(f"Server     {client.server.url}")
    if server:
        applied = "in force at every gateway" if server["is_applied"] else "not yet in force at every gateway"
        print(f"Routes     version {server['route_table_version']}, {applied}")
    for line in recording(server):
        print(f"Recording  {line}")
    if not endpoints:
        print("Endpoints  none yet. Make one: tallystick deploy NAME models:/MODEL/VERSION")
        return
    workers: dict[str, list[Json]] = {}
    for worker in server.get("workers", []):
        workers.setdefault(worker["id"].rpartition("-")[0], []).append(worker)
    print()
    for endpoint in endpoints:
        print(f"{endpoint['name']}: {condition(endpoint)}")
    print()
    rows = [row for endpoint in endpoints for row in entity_rows(endpoint, workers)]
    print_table(("endpoint", "served entity", "model", "traffic", "state", "workers"), rows)
    for line in (line for endpoint in endpoints for line in messages(endpoint)):
        print(line)


def recording(server: Json) -> list[str]:
    """Return what is wrong with the recording of invocations; nothing when all is well, or is for admins to see.

    >>> recording({"journals": {"gateway-0": {"dropped": {"disk_full": 2}, "sync_failures": 0, "problem": ""}}})
    ['gateway-0 dropped 2 records (disk_full)']
    """
    lines = []
    for process, journal in (server.get("journals") or {}).items():
        if journal["problem"]:
            lines.append(f"{process} cannot write its journal: {journal['problem']}")
        lines.extend(
            f"{process} dropped {count(dropped, 'record')} ({reason})" for reason, dropped in journal["dropped"].items()
        )
        if journal["sync_failures"]:
            lines.append(f"{process}: {count(journal['sync_failures'], 'sync')} of the journal failed")
    recorder = server.get("recorder")
    if recorder is None:
        return lines
    if not recorder["is_connected"]:
        lines.append(f"the recorder is away since {recorder['age_s']:.0f} s; rows wait in the journal")
    elif recorder["lag_s"] >= LATE_S:
        unread = count(recorder["unread_bytes"], "byte")
        lines.append(f"the recorder is {recorder['lag_s']:.0f} s behind, {unread} unread")
    if recorder["damaged_bytes"]:
        lines.append(f"{recorder['damaged_bytes']} bytes of journal were damaged and are set aside")
    lines.extend(
        f"table {table}: {found['problem']} ({count(found['waiting_rows'], 'row', 'waits', 'wait')})"
        for table, found in recorder["tables"].items()
        if found["problem"]
    )
    return lines


def condition(endpoint: Json) -> str:
    """Return how an endpoint stands, in words.

    >>> condition({"state": {"ready": "READY", "config_update": "UPDATE_FAILED"}})
    'ready; the last update failed'
    """
    state = endpoint["state"]
    if state.get("suspend") == "STOPPED":
        return "stopped"
    ready = "ready" if state["ready"] == "READY" else "not ready"
    match state["config_update"]:
        case "IN_PROGRESS":
            return f"{ready}; updating"
        case "UPDATE_FAILED":
            return f"{ready}; the last update failed"
        case "UPDATE_CANCELED":
            return f"{ready}; the last update was cancelled"
    return ready


def entity_rows(endpoint: Json, workers: Mapping[str, list[Json]]) -> list[tuple[str, ...]]:
    """Return a table row for each served entity: those that serve, then those that are to."""
    rows: list[tuple[str, ...]] = []
    active = endpoint.get("config") or {}
    pending = endpoint.get("pending_config") or {}
    shares = {name: f"{config_edit.show(share)} %" for name, share in config_edit.shares(active).items()}
    seen = set()
    for config, is_active in ((active, True), (pending, False)):
        for entity in config.get("served_entities", []):
            if entity["id"] in seen:
                continue
            seen.add(entity["id"])
            rows.append(
                (
                    endpoint["name"],
                    entity["name"],
                    model_of(entity),
                    shares.get(entity["name"], "0 %") if is_active else "-",
                    state_of(entity),
                    ", ".join(worker_of(worker) for worker in workers.get(entity["id"], [])),
                )
            )
    return rows


def messages(endpoint: Json) -> list[str]:
    """Return what served entities that are not ready, or serve with a warning, say; nothing where all is stopped."""
    if endpoint["state"].get("suspend") == "STOPPED":
        return []
    configs = [endpoint.get("config") or {}, endpoint.get("pending_config") or {}]
    entities = {entity["id"]: entity for config in configs for entity in config.get("served_entities", [])}
    return [
        f"{endpoint['name']}/{entity['name']} {state_of(entity)}: {message}"
        for entity in entities.values()
        if (message := entity.get("state", {}).get("deployment_state_message"))
        and (state_of(entity) != "ready" or _DIFFERS in message)
    ]


def model_of(entity: Json) -> str:
    """Return a served entity's model in short."""
    version = entity.get("entity_version")
    return f"{entity['entity_name']}/{version}" if version else str(entity["entity_name"])


def state_of(entity: Json) -> str:
    """Return how a served entity stands: its state without the prefix."""
    return str(entity.get("state", {}).get("deployment", "")).removeprefix("DEPLOYMENT_").lower()


def worker_of(worker: Json) -> str:
    """Return a worker process in short: pid, what it does, how often it was started anew."""
    parts = [f"pid {worker['pid']}" if worker["pid"] else str(worker["phase"])]
    if worker["state"] not in ("", "ready"):
        parts.append(worker["state"])
    if worker["restarts"]:
        parts.append(f"{count(worker['restarts'], 'restart')}, last: {worker['last_exit']}")
    return " ".join(parts)
