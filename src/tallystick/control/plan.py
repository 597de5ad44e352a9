"""What to do next, from what is wanted and what is seen. Pure.

The reconciler calls `plan` again and again; each call looks at the whole world and returns actions that may all be
carried out twice without harm. Nothing is remembered between calls that is not in `World`: control can die after
any action and go on from what it finds.

Life of a config change, as rules: every served entity of the pending config gets its workers; when all of them are
ready, and golden rows that the model has came through over HTTP on each, the config is *promoted*: the route table
names it; when every gateway routes by that table it becomes the
active config; and what no table names any more is stopped. Any failure before the promotion leaves the active
config as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tallystick.control.parity import policy_of
from tallystick.entities import (
    ConfigUpdate,
    Deployment,
    Endpoint,
    EndpointConfig,
    EndpointId,
    EntityStatus,
    ReplicaId,
    ResolvedModel,
    ServedEntity,
    ServedEntityId,
)
from tallystick.gate.report import GateReport, Outcome, Policy, Rung
from tallystick.protocol.supervise import Phase, ProcessView

#: The worker says this when its lifeline's last line was its last word.
_FAILED, _NEEDS_ENVIRONMENT, _READY = "failed", "needs_environment", "ready"
_RUNGS = list(Rung)


@dataclass(frozen=True, slots=True)
class Build:
    """How the building of a served entity's environment stands."""

    #: The interpreter of the new environment; None while it is being built or when it failed.
    python: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """How the replay of golden rows over HTTP stands, on the replicas of one served entity."""

    is_done: bool = False
    #: By number of the replica.
    reports: Mapping[str, GateReport] = field(default_factory=dict)
    #: Why it could not be carried out; empty when it was.
    problem: str = ""

    @property
    def failure(self) -> str:
        """What it found against the served entity, in a sentence; empty when nothing."""
        failed = (report for report in self.reports.values() if report.outcome is Outcome.FAILED)
        return self.problem or next((report.summary() for report in failed), "")


@dataclass(frozen=True)
class World:
    """Everything that a plan depends on."""

    endpoints: tuple[Endpoint, ...]
    resolved: Mapping[ServedEntityId, ResolvedModel]
    #: The supervisor's table, by replica id.
    processes: Mapping[str, ProcessView]
    builds: Mapping[ServedEntityId, Build]
    #: Configs that the published table names although they are not active yet.
    promoted: Mapping[EndpointId, int]
    #: Whether every gateway routes by a table that says what `desired_routes` says now.
    is_applied: bool
    #: Seconds since a served entity last had an invocation.
    idle_s: Mapping[ServedEntityId, float]
    scale_to_zero_after_s: float
    now_ms: int
    #: What workers found of their golden rows, by replica id.
    gates: Mapping[str, GateReport] = field(default_factory=dict)
    #: Replays of golden rows over HTTP, begun or done.
    replays: Mapping[ServedEntityId, Replay] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Start:
    """Start a worker."""

    entity: ServedEntity
    number: int
    resolved: ResolvedModel | None
    policy: Policy = Policy.AUTO


@dataclass(frozen=True, slots=True)
class StopReplica:
    """End a worker that nothing routes to."""

    replica_id: str


@dataclass(frozen=True, slots=True)
class ParkReplica:
    """End a worker that has had nothing to do; an invocation wakes it."""

    replica_id: str


@dataclass(frozen=True, slots=True)
class BuildEnvironment:
    """Build the environment that a worker has asked for."""

    entity: ServedEntity
    replica_id: str


@dataclass(frozen=True, slots=True)
class SaveResolved:
    """Keep what a worker has learned of its model."""

    entity: ServedEntity
    replica_id: str


@dataclass(frozen=True, slots=True)
class ReplayGolden:
    """Send golden rows to each replica, over HTTP and past the traffic split."""

    endpoint_id: EndpointId
    entity: ServedEntity


@dataclass(frozen=True, slots=True)
class Promote:
    """Route by the pending config from the next table on."""

    endpoint_id: EndpointId
    config_version: int


@dataclass(frozen=True, slots=True)
class Activate:
    """The pending config serves: make it the active one."""

    endpoint_id: EndpointId
    config_version: int


@dataclass(frozen=True, slots=True)
class Fail:
    """Give up the pending config."""

    endpoint_id: EndpointId
    config_version: int
    statuses: Mapping[str, EntityStatus] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetStatus:
    """Keep how served entities are seen."""

    endpoint_id: EndpointId
    statuses: Mapping[str, EntityStatus]


Action = (
    Start
    | StopReplica
    | ParkReplica
    | BuildEnvironment
    | SaveResolved
    | ReplayGolden
    | Promote
    | Activate
    | Fail
    | SetStatus
)


def replica_id(entity: ServedEntity, number: int) -> ReplicaId:
    """Return the id of a served entity's `number`th worker."""
    return ReplicaId(f"{entity.id}-{number}")


def running_configs(endpoint: Endpoint) -> tuple[EndpointConfig, ...]:
    """Return the configs whose served entities should have workers, the pending one first."""
    if endpoint.is_stopped:
        return ()
    pending = endpoint.pending if endpoint.config_update is ConfigUpdate.IN_PROGRESS else None
    return tuple(config for config in (pending, endpoint.active) if config is not None)


def wanted_entities(endpoint: Endpoint) -> dict[ServedEntityId, ServedEntity]:
    """Return the served entities that should have workers.

    One that both configs have keeps the larger number of workers until the change is through.
    """
    wanted: dict[ServedEntityId, ServedEntity] = {}
    for config in running_configs(endpoint):
        for entity in config.served_entities:
            known = wanted.get(entity.id)
            if known is None or entity.workers > known.workers:
                wanted[entity.id] = entity
    return wanted


def plan(world: World) -> list[Action]:
    """Return what to do now, in order."""
    actions: list[Action] = []
    wanted_replicas: set[str] = set()
    for endpoint in world.endpoints:
        entities = wanted_entities(endpoint)
        for entity in entities.values():
            wanted_replicas.update(replica_id(entity, number) for number in range(entity.workers))
            actions += _for_entity(world, entity, policy_of(endpoint))
        failure = _failure(world, endpoint)
        if failure is not None:
            actions.append(failure)
            continue
        actions += _for_change(world, endpoint)
        actions += _for_status(world, endpoint, entities.values())
    # Workers are let go only when no gateway can send them anything any more.
    if world.is_applied:
        for view in world.processes.values():
            if view.id not in wanted_replicas and view.phase is not Phase.STOPPING:
                actions.append(StopReplica(view.id))
    return actions


def _for_entity(world: World, entity: ServedEntity, policy: Policy) -> Iterator[Action]:
    resolved = world.resolved.get(entity.id)
    first = world.processes.get(replica_id(entity, 0))
    if resolved is None and first is not None and _state(first) == _READY:
        yield SaveResolved(entity, first.id)
        return
    if first is not None and first.phase is Phase.ENDED and _state(first) == _NEEDS_ENVIRONMENT:
        build = world.builds.get(entity.id)
        if build is None:
            yield BuildEnvironment(entity, first.id)
        elif build.python is not None:
            # Stopped here, started again by a later plan, with the new interpreter.
            yield StopReplica(first.id)
        return
    # One worker resolves the model for all; the others start from its copy.
    for number in range(entity.workers if resolved is not None else 1):
        view = world.processes.get(replica_id(entity, number))
        if view is None:
            yield Start(entity, number, resolved, policy)
    if entity.scale_to_zero_enabled and world.idle_s.get(entity.id, 0.0) > world.scale_to_zero_after_s:
        for number in range(entity.workers):
            view = world.processes.get(replica_id(entity, number))
            if view is not None and view.phase is Phase.RUNNING and _state(view) == _READY:
                yield ParkReplica(view.id)


def _failure(world: World, endpoint: Endpoint) -> Fail | None:
    """Return the failure of the config change under way, if there is one."""
    pending = endpoint.pending
    if pending is None or not endpoint.is_updating or endpoint.id in world.promoted:
        return None
    serving = {entity.id for entity in endpoint.active.served_entities} if endpoint.active else set()
    statuses = {}
    for entity in pending.served_entities:
        if entity.id in serving and entity.workers <= _active_workers(endpoint, entity):
            # Its workers serve the active config; that they may be restarting is not this change's fault.
            continue
        reason = _why_failed(world, entity, pending) or _why_refused(world, endpoint, entity)
        if reason is not None:
            statuses[str(entity.id)] = EntityStatus(Deployment.FAILED, reason)
    return Fail(endpoint.id, pending.version, statuses) if statuses else None


def _active_workers(endpoint: Endpoint, entity: ServedEntity) -> int:
    assert endpoint.active is not None
    return next(known.workers for known in endpoint.active.served_entities if known.id == entity.id)


def _why_failed(world: World, entity: ServedEntity, pending: EndpointConfig) -> str | None:
    build = world.builds.get(entity.id)
    if build is not None and build.error is not None:
        return build.error
    for number in range(entity.workers):
        view = world.processes.get(replica_id(entity, number))
        if view is None:
            continue
        if _state(view) == _FAILED:
            return view.report.message if view.report else "the worker failed"
        # Died without a word: a segmentation fault or os._exit while the model loads.
        if view.phase is Phase.BACKOFF and _state(view) != _READY:
            return f"The worker ended while it was {_state(view) or 'starting'}: {view.last_exit}."
    waited_s = (world.now_ms - pending.start_time_ms) / 1000
    if waited_s > entity.options.load_timeout_s and not is_ready(world, entity) and build is None:
        return f"The model was not loaded within {entity.options.load_timeout_s:g} s."
    return None


def _why_refused(world: World, endpoint: Endpoint, entity: ServedEntity) -> str | None:
    """Return what a replay found against a served entity, where that is a reason to give it no traffic."""
    replay = world.replays.get(entity.id)
    # There are golden rows, or there were no replay: `auto` blocks.
    is_binding = policy_of(endpoint) in (Policy.AUTO, Policy.BLOCK)
    if replay is None or not is_binding or not _is_replay_due(world, endpoint, entity):
        return None
    return replay.failure or None


def _for_change(world: World, endpoint: Endpoint) -> Iterator[Action]:
    pending = endpoint.pending
    if pending is None or not endpoint.is_updating:
        return
    if world.promoted.get(endpoint.id) != pending.version:
        if not all(is_ready(world, entity) for entity in pending.served_entities):
            return
        due = [entity for entity in pending.served_entities if _is_replay_due(world, endpoint, entity)]
        for entity in due:
            if entity.id not in world.replays:
                yield ReplayGolden(endpoint.id, entity)
        if all((replay := world.replays.get(entity.id)) is not None and replay.is_done for entity in due):
            yield Promote(endpoint.id, pending.version)
    elif world.is_applied:
        yield Activate(endpoint.id, pending.version)


def _is_replay_due(world: World, endpoint: Endpoint, entity: ServedEntity) -> bool:
    """Whether golden rows have to come through over HTTP before this served entity gets traffic."""
    if policy_of(endpoint) is Policy.OFF or _is_active(endpoint, entity):
        return False
    return any(gate.rows for number in range(entity.workers) if (gate := world.gates.get(replica_id(entity, number))))


def _is_active(endpoint: Endpoint, entity: ServedEntity) -> bool:
    return endpoint.active is not None and any(known.id == entity.id for known in endpoint.active.served_entities)


def is_ready(world: World, entity: ServedEntity) -> bool:
    """Whether every worker of the entity is there, or was and sleeps."""
    return world.resolved.get(entity.id) is not None and all(
        view is not None and (view.phase is Phase.PARKED or (view.phase is Phase.RUNNING and _state(view) == _READY))
        for view in (world.processes.get(replica_id(entity, number)) for number in range(entity.workers))
    )


def _for_status(world: World, endpoint: Endpoint, entities: Iterable[ServedEntity]) -> Iterator[Action]:
    seen = {str(entity.id): _status(world, endpoint, entity) for entity in entities}
    changed = {key: status for key, status in seen.items() if endpoint.entity_status.get(key) != status}
    if changed:
        yield SetStatus(endpoint.id, changed)


def _status(world: World, endpoint: Endpoint, entity: ServedEntity) -> EntityStatus:
    views = [world.processes.get(replica_id(entity, number)) for number in range(entity.workers)]
    ready = sum(1 for view in views if view is not None and view.phase is Phase.RUNNING and _state(view) == _READY)
    if ready == len(views):
        return EntityStatus(Deployment.READY, _gate_message(world, endpoint, entity))
    if ready == 0 and views and all(view is not None and view.phase is Phase.PARKED for view in views):
        return EntityStatus(Deployment.READY, "Scaled to zero; an invocation wakes it.")
    was_ready = _is_active(endpoint, entity)
    message = _progress(world, entity, views)
    if ready:
        return EntityStatus(Deployment.READY, f"{ready} of {len(views)} workers are ready. {message}")
    return EntityStatus(Deployment.RECOVERING if was_ready else Deployment.CREATING, message)


def _gate_message(world: World, endpoint: Endpoint, entity: ServedEntity) -> str:
    """Return what the parity gate says of a served entity that is ready: the lowest rung that failed, if one did."""
    if policy_of(endpoint) is Policy.OFF:
        return ""
    keys = [replica_id(entity, number) for number in range(entity.workers)]
    gates = [world.gates[key] for key in keys if key in world.gates]
    replay = world.replays.get(entity.id, Replay())
    failed = [gate for gate in (*replay.reports.values(), *gates) if gate.first_failure is not None]
    worst = min(failed, key=_rung_of, default=None)
    if worst is None and replay.problem:
        return replay.problem
    return next((gate.summary() for gate in (worst, *gates) if gate is not None), "")


def _rung_of(gate: GateReport) -> int:
    return _RUNGS.index(gate.first_failure.rung) if gate.first_failure is not None else len(_RUNGS)


def _progress(world: World, entity: ServedEntity, views: list[ProcessView | None]) -> str:
    build = world.builds.get(entity.id)
    if build is not None and build.python is None and build.error is None:
        return "Building the model's environment; see its build log."
    for view in views:
        if view is None:
            continue
        if view.phase is Phase.BACKOFF:
            said = f" {view.report.message}" if view.report is not None and _state(view) == _FAILED else ""
            return f"The worker ended ({view.last_exit}) and starts again.{said}"
        if view.report is not None and _state(view) != _READY:
            return view.report.message
    return "Starting."


def _state(view: ProcessView) -> str:
    return view.report.state if view.report is not None else ""
