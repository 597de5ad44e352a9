"""What `/metrics` shows, read from a view of the server. Pure.

A caller gets the series of the endpoints that it may view, and those of the server itself. Series of an endpoint
follow its configs: with an endpoint, or with a served entity that is in no config any more, its series go away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tallystick.control.capture import feedback_table, tables_of
from tallystick.control.metrics import names
from tallystick.control.metrics.gate import Checked, Place
from tallystick.control.metrics.processes import Usage
from tallystick.control.metrics.tally import GatewayNow
from tallystick.control.metrics.text import Sample
from tallystick.entities import SLOTS, ConfigUpdate, Endpoint, EndpointConfig, Ready, ServedEntity
from tallystick.gate.report import Outcome
from tallystick.protocol.counts import EntityCounts
from tallystick.protocol.monitoring import EndpointParity, Watching
from tallystick.protocol.routes import EntityRoute, JournalView, Load, Recorded, RouteTable
from tallystick.protocol.supervise import Phase, ProcessView

#: The recorder reports every second; without a report for this long the time since counts as lag.
_SILENT_AFTER_S = 3.0


@dataclass(frozen=True, slots=True)
class View:
    """The server at one moment, as far as the caller may see it. Nothing in it changes any more."""

    #: Those that the caller may view.
    endpoints: Sequence[Endpoint]
    #: Whether the caller may see every endpoint, those that were deleted included.
    sees_all: bool
    table: RouteTable = field(default_factory=RouteTable)
    #: By served entity id.
    totals: Mapping[str, EntityCounts] = field(default_factory=dict)
    refusals: Mapping[tuple[int, str], int] = field(default_factory=dict)
    #: By index.
    gateways: Mapping[int, GatewayNow] = field(default_factory=dict)
    #: By process.
    journals: Mapping[str, JournalView] = field(default_factory=dict)
    #: The supervisor's table: worker id -> process.
    workers: Mapping[str, ProcessView] = field(default_factory=dict)
    #: Worker id, or name of a process of the server.
    usage: Mapping[str, Usage] = field(default_factory=dict)
    recorded: Recorded | None = None
    #: Since `recorded` came, seconds.
    recorded_age_s: float = 0.0
    is_recorder_connected: bool = False
    #: Whether this server records invocations at all.
    has_recorder: bool = True
    #: Checks of the parity gate, by served entity id and place.
    checked: Mapping[tuple[str, Place], Checked] = field(default_factory=dict)
    watching: Watching | None = None
    is_monitor_connected: bool = False
    has_monitor: bool = False
    version: str = ""
    python: str = ""


def samples(view: View) -> Iterator[Sample]:
    """Return everything that the caller may see, endpoint by endpoint, then the server."""
    load = _load(view.gateways.values())
    for endpoint in view.endpoints:
        yield from _endpoint(endpoint)
        for entity in _entities(endpoint.active, endpoint.pending):
            labels = (endpoint.name, entity.name, entity.entity_version or "")
            yield from _invocations(entity, labels, view, load)
            yield from _workers(entity, labels, view)
            yield from _parity(entity, labels, view.watching)
        yield from _gate(endpoint, view.checked)
        route = view.table.endpoints.get(endpoint.name)
        for routed in route.entities if route is not None else ():
            yield from _routed(endpoint, routed)
    yield from _server(view)
    yield from _journals(view.journals)
    yield from _recorder(view)
    if view.has_monitor:
        yield names.MONITOR_UP, (), float(view.is_monitor_connected)


def _endpoint(endpoint: Endpoint) -> Iterator[Sample]:
    labels = (endpoint.name,)
    yield names.READY, labels, float(endpoint.ready is Ready.READY)
    yield names.CONFIG_VERSION, labels, endpoint.active.version if endpoint.active is not None else 0
    for state in ConfigUpdate:
        yield names.CONFIG_UPDATE, (*labels, state.value), float(endpoint.config_update is state)


def _entities(*configs: EndpointConfig | None) -> list[ServedEntity]:
    """Return the served entities of configs, each once, though it may be in several."""
    entities = (entity for config in configs if config is not None for entity in config.served_entities)
    return list({entity.id: entity for entity in entities}.values())


def _invocations(
    entity: ServedEntity, labels: tuple[str, ...], view: View, load: Mapping[str, Load]
) -> Iterator[Sample]:
    now = load.get(entity.id, Load(0, 0))
    yield names.IN_FLIGHT, labels, now.in_flight
    yield names.WAITING, labels, now.waiting
    # From nothing on: what appears with its first invocation hides it from rate().
    yield names.INVOCATIONS, (*labels, "200"), 0
    counts = view.totals.get(entity.id)
    if counts is None:
        return
    for status, count in counts.statuses.items():
        yield names.INVOCATIONS, (*labels, str(status)), count
    yield names.DURATION, labels, counts.duration
    yield names.QUEUE, labels, counts.queue
    yield names.MODEL, labels, counts.model
    yield names.GATEWAY, labels, counts.gateway
    yield names.BATCH, labels, counts.batch
    yield names.ROWS, labels, counts.rows
    for column, kinds in counts.coercions.items():
        for kind, count in kinds.items():
            yield names.COERCIONS, (*labels, column, kind), count


def _workers(entity: ServedEntity, labels: tuple[str, ...], view: View) -> Iterator[Sample]:
    for number in range(entity.workers):
        worker_id = f"{entity.id}-{number}"
        process = view.workers.get(worker_id)
        if process is None:
            continue
        worker = (*labels, worker_id)
        is_up = process.phase is Phase.RUNNING
        is_ready = is_up and process.report is not None and process.report.state == "ready"
        yield names.WORKER_UP, worker, float(is_up)
        yield names.WORKER_READY, worker, float(is_ready)
        yield names.WORKER_RESTARTS, worker, process.restarts
        usage = view.usage.get(worker_id)
        if usage is not None and usage.pid == process.pid:
            yield names.WORKER_CPU, worker, usage.cpu_seconds
            yield names.WORKER_MEMORY, worker, usage.resident_bytes


def _routed(endpoint: Endpoint, entity: EntityRoute) -> Iterator[Sample]:
    labels = (endpoint.name, entity.name, entity.model_version)
    yield names.SHARE, labels, entity.share_slots / SLOTS
    yield names.CONCURRENCY, labels, entity.concurrency


def _parity(entity: ServedEntity, labels: tuple[str, ...], watching: Watching | None) -> Iterator[Sample]:
    watched = watching.endpoints.get(labels[0], EndpointParity("")) if watching is not None else EndpointParity("")
    found = watched.entities.get(entity.name)
    if found is None or found.problem:
        return
    # Also where there is none: an alert on what is not there would never come.
    yield names.PARITY_INCIDENTS, (*labels, ""), 0
    for incident in watched.incidents:
        if incident.served_entity == entity.name:
            yield names.PARITY_INCIDENTS, (*labels, incident.kind), 1
    if found.status:
        yield names.PARITY_STATUS, (*labels, found.status), 1
    yield names.PARITY_ROWS, labels, found.rows
    yield names.PARITY_PASSED_OVER, labels, found.passed_over
    for column, kinds in found.violations.items():
        for kind, count in kinds.items():
            yield names.PARITY_VIOLATIONS, (*labels, column, kind), count


def _gate(endpoint: Endpoint, checked: Mapping[tuple[str, Place], Checked]) -> Iterator[Sample]:
    """Return checks of what serves, of what is to, and of what the gate stopped."""
    latest: dict[tuple[str, ...], Checked] = {}
    for entity in _entities(endpoint.active, endpoint.pending, endpoint.failed):
        for place in Place:
            found = checked.get((entity.id, place))
            if found is None:
                continue
            labels = (endpoint.name, entity.name, entity.entity_version or "", place.value)
            # Each outcome from nothing on: what appears with its first failure hides it from increase().
            for outcome in Outcome:
                yield names.GATE_CHECKS, (*labels, outcome.value), found.outcomes.get(outcome, 0)
            if labels not in latest or latest[labels].order < found.order:
                latest[labels] = found
    for where, last in latest.items():
        yield names.GATE_SECONDS, where, last.seconds


def _server(view: View) -> Iterator[Sample]:
    yield names.BUILD_INFO, (view.version, view.python), 1
    yield names.TABLE_VERSION, (), view.table.version
    yield names.GATEWAYS_UP, (), len(view.gateways)
    for (status, code), count in view.refusals.items():
        yield names.REFUSALS, (str(status), code), count
    for index, gateway in view.gateways.items():
        process = (f"gateway-{index}",)
        yield names.GATEWAY_TABLE_VERSION, process, gateway.table_version
        yield names.CONNECTIONS, process, gateway.open_connections
    for name, usage in view.usage.items():
        if name not in view.workers and is_own_process(name):
            yield names.PROCESS_CPU, (name,), usage.cpu_seconds
            yield names.PROCESS_MEMORY, (name,), usage.resident_bytes


def is_own_process(name: str) -> bool:
    """Whether a process is the server's own, and no worker; a worker's id starts with 32 hex digits.

    >>> is_own_process("gateway-0"), is_own_process("0123456789abcdef0123456789abcdef-0")
    (True, False)
    """
    return name in ("supervisor", "control", "recorder", "monitor") or name.startswith("gateway-")


def _journals(journals: Mapping[str, JournalView]) -> Iterator[Sample]:
    for name, journal in journals.items():
        yield names.JOURNAL_BYTES, (name,), journal.bytes
        yield names.JOURNAL_SYNC_FAILURES, (name,), journal.sync_failures
        yield names.JOURNAL_PROBLEM, (name,), float(bool(journal.problem))
        for reason, count in journal.dropped.items():
            yield names.JOURNAL_DROPS, (name, reason), count


def _recorder(view: View) -> Iterator[Sample]:
    recorded = view.recorded
    if view.has_recorder or recorded is not None:
        yield names.RECORDER_UP, (), float(view.is_recorder_connected)
    if recorded is None:
        return
    silent_s = view.recorded_age_s if view.recorded_age_s > _SILENT_AFTER_S else 0.0
    yield names.RECORDER_LAG, (), recorded.lag_s + silent_s
    yield names.RECORDER_JOURNAL, (), recorded.journal_bytes
    yield names.RECORDER_UNREAD, (), recorded.unread_bytes
    yield names.RECORDER_ROWS, (), recorded.rows_total
    yield names.RECORDER_COMMITS, (), recorded.commits_total
    yield names.RECORDER_LEFT_OUT, (), recorded.left_out_total
    yield names.RECORDER_TORN, (), recorded.torn_bytes_total
    yield names.RECORDER_DAMAGED, (), recorded.damaged_bytes_total
    shown = None if view.sees_all else _tables(view)
    for table, status in recorded.tables.items():
        if shown is None or table in shown:
            yield names.TABLE_WAITING, (table,), status.waiting_rows
            yield names.TABLE_LAG, (table,), status.lag_s
            yield names.TABLE_PROBLEM, (table,), float(bool(status.problem))
    visible = {endpoint.name for endpoint in view.endpoints}
    for name, outcomes in recorded.feedback.items():
        if name in visible:
            for outcome, count in outcomes.items():
                yield names.FEEDBACK, (name, outcome), count


def _tables(view: View) -> set[str]:
    """Return the tables of the endpoints that the caller may view."""
    tables = {"served_entities"}
    for endpoint in view.endpoints:
        own = tables_of(endpoint)
        tables |= own | {feedback_table(table) for table in own}
    return tables


def _load(gateways: Iterable[GatewayNow]) -> dict[str, Load]:
    """Return what all gateways together have under way, by served entity id."""
    loads: dict[str, Load] = {}
    for gateway in gateways:
        for entity_id, load in gateway.load.items():
            known = loads.get(entity_id, Load(0, 0))
            loads[entity_id] = Load(known.in_flight + load.in_flight, known.waiting + load.waiting)
    return loads
