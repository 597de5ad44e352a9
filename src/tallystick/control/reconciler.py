"""Drives what runs towards what is wanted: looks, plans, acts, again after every change and once a second."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

import msgspec

from tallystick.auth import StoredToken
from tallystick.backends.client import SupervisorClient
from tallystick.control import plan as planning
from tallystick.control.environments import build_environment
from tallystick.control.gatekeeper import Gatekeeper
from tallystick.control.housekeeping import remove_unused
from tallystick.control.journal import EntityRecords
from tallystick.control.link_server import GatewayLinks
from tallystick.control.logs import BuildLogs
from tallystick.control.parity import policy_of
from tallystick.control.plan import Build, World
from tallystick.control.route_table import desired_routes
from tallystick.control.service import Service
from tallystick.control.store import entity_ids_of
from tallystick.control.worker_launch import WorkerLauncher
from tallystick.entities import Endpoint, EndpointId, ResolvedModel, ServedEntity, ServedEntityId
from tallystick.errors import Conflict, NotFound, TallystickError
from tallystick.gate.report import Policy
from tallystick.protocol.routes import RouteTable
from tallystick.protocol.supervise import Ensure, Park, Phase, ProcessView, Stop
from tallystick.protocol.worker_spec import NeedsEnvironment, ReadyDetail
from tallystick.settings import Settings

#: Looked at again at least so often: idle times and load deadlines pass without an event.
_LOOK_EVERY_S = 1.0
_CLEAN_UP_EVERY_S = 3600.0
_log = logging.getLogger("tallystick.control")
T = TypeVar("T")


class Reconciler:
    """Owns the loop. `wake` may be called from any thread."""

    def __init__(
        self,
        settings: Settings,
        service: Service,
        supervisor: SupervisorClient,
        links: GatewayLinks,
        launcher: WorkerLauncher,
        build_logs: BuildLogs,
        now_ms: Callable[[], int],
        entity_records: EntityRecords | None = None,
        gatekeeper: Gatekeeper | None = None,
        own_tokens: Mapping[str, StoredToken] = MappingProxyType({}),
    ) -> None:
        self._settings = settings
        self._service = service
        self._supervisor = supervisor
        self._links = links
        self._launcher = launcher
        self._build_logs = build_logs
        self._now_ms = now_ms
        self._entity_records = entity_records
        self._gatekeeper = gatekeeper
        #: Tokens that gateways take and the control API does not, for control's own requests.
        self._own_tokens = dict(own_tokens)
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._is_stale = True
        #: Changes of what is wanted that were announced, and how many of them the published table holds.
        self._announced = self._published = 0
        self._endpoints: tuple[Endpoint, ...] = ()
        self._resolved: dict[ServedEntityId, ResolvedModel] = {}
        self._tokens: dict[str, StoredToken] = {}
        self._promoted: dict[EndpointId, int] = {}
        self._builds: dict[ServedEntityId, Build] = {}
        self._building: dict[ServedEntityId, asyncio.Task[None]] = {}
        self._reported: dict[str, tuple[str, str]] = {}
        self._build_lock = asyncio.Lock()
        #: How long a worker may take to finish what it holds, by served entity id.
        self._grace_s: dict[str, float] = {}
        self._is_clean = False
        #: Monotonic seconds, by replica id.
        self._ready_since: dict[str, float] = {}

    def wake(self) -> None:
        """Something that is wanted has changed."""

        def mark() -> None:
            self._is_stale = True
            self._announced += 1
            self._changed.set()

        self._loop.call_soon_threadsafe(mark)

    def look(self) -> None:
        """Something that is seen has changed. Called on the loop."""
        self._changed.set()

    async def in_force(self, timeout_s: float) -> None:
        """Wait until every gateway knows of the changes announced so far, or `timeout_s` have passed."""
        announced, end = self._announced, self._loop.time() + timeout_s
        while (self._published < announced or not self._links.is_applied) and self._loop.time() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.002)

    async def run(self) -> None:
        """Reconcile until cancelled. A step that fails is logged and tried again; it stops no other."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self._reconcile()
            except Exception:  # noqa: BLE001  the loop of all endpoints; logged
                _log.exception("reconciling failed; trying again")
                self._is_stale = True
                await asyncio.sleep(0.5)

    async def _reconcile(self) -> None:
        if self._supervisor.processes is None:
            return
        announced = self._announced
        if self._is_stale:
            self._is_stale = False
            await self._read_desired()
        wanted = desired_routes(
            self._endpoints,
            self._tokens | self._own_tokens,
            self._promoted,
            place=self._launcher.place,
            timeout_s=self._settings.request_timeout_s,
            queue_per_concurrency=self._settings.queue_per_concurrency,
            inference_tables=self._settings.inference_tables,
            resolved=self._resolved,
            reachable=self._gatekeeper.reachable if self._gatekeeper is not None else (),
        )
        await self._publish(wanted)
        self._published = announced
        if self._entity_records is not None:
            self._entity_records.update(self._endpoints, self._resolved)
        self._note_progress(self._supervisor.processes)
        if self._gatekeeper is not None:
            self._gatekeeper.note(self._supervisor.processes)
        for action in planning.plan(self._world()):
            try:
                await self._do(action)
            except Exception:  # noqa: BLE001  one served entity's trouble; the others have theirs done
                _log.exception("%s failed; trying again", type(action).__name__)
                self._is_stale = True

    async def clean_up(self) -> None:
        """Remove what deleted endpoints left behind, now and every hour, until cancelled."""
        while True:
            await asyncio.sleep(_CLEAN_UP_EVERY_S if self._is_clean else 1.0)
            if self._supervisor.processes is None or self._is_stale:
                continue
            self._is_clean = True
            await asyncio.to_thread(self._service.prune_resolved)
            self._is_stale = True
            named = {str(entity_id) for e in self._endpoints for entity_id in entity_ids_of(e)}
            digests = {model.digest for model in self._resolved.values()}
            settings = self._settings
            endpoints = {str(endpoint.id) for endpoint in self._endpoints}
            await asyncio.to_thread(remove_unused, settings.data_dir, settings.run_dir, named, digests, endpoints)
            for known in (self._links.tally.totals, self._links.used_at, self._grace_s):
                for gone in known.keys() - named:
                    del known[gone]

    async def _read_desired(self) -> None:
        endpoints, resolved, tokens = await asyncio.to_thread(
            lambda: (self._service.endpoints(), dict(self._service.resolved()), self._service.tokens())
        )
        self._endpoints, self._resolved = endpoints, resolved
        self._tokens = tokens
        pending = {e.id: e.pending.version for e in endpoints if e.pending is not None and e.is_updating}
        self._promoted = {key: version for key, version in self._promoted.items() if pending.get(key) == version}
        known = {entity_id for e in endpoints for entity_id in planning.wanted_entities(e)}
        self._builds = {key: build for key, build in self._builds.items() if key in known}
        if self._gatekeeper is not None:
            self._gatekeeper.forget({str(entity_id) for e in endpoints for entity_id in entity_ids_of(e)})
        await asyncio.to_thread(self._hand_down_policies, endpoints)

    def _hand_down_policies(self, endpoints: Iterable[Endpoint]) -> None:
        """Have workers that are started again by the supervisor go by the policy of today."""
        for endpoint in endpoints:
            policy = policy_of(endpoint)
            for entity in planning.wanted_entities(endpoint).values():
                for number in range(entity.workers):
                    self._launcher.set_policy(planning.replica_id(entity, number), policy)

    async def _publish(self, wanted: RouteTable) -> None:
        current = self._links.table
        if current.version and (current.endpoints, current.tokens) == (wanted.endpoints, wanted.tokens):
            return
        version = await asyncio.to_thread(self._service.next_table_version)
        while version <= self._links.last_published_version():
            # The store is older than the table on disk: it was restored from a copy.
            version = await asyncio.to_thread(self._service.next_table_version)
        await self._links.publish(msgspec.structs.replace(wanted, version=version))

    def _world(self) -> World:
        now = time.monotonic()
        processes = self._supervisor.processes or {}
        ready_since = self._note_ready(processes, now)
        used_at = self._links.used_at
        idle = {ServedEntityId(key): now - max(used_at.get(key, 0.0), at) for key, at in ready_since.items()}
        return World(
            endpoints=self._endpoints,
            resolved=self._resolved,
            processes=processes,
            builds=self._builds,
            promoted=self._promoted,
            is_applied=self._links.is_applied,
            idle_s=idle,
            scale_to_zero_after_s=self._settings.scale_to_zero_after_s,
            now_ms=self._now_ms(),
            gates=self._gatekeeper.reports if self._gatekeeper is not None else {},
            replays=self._gatekeeper.replays if self._gatekeeper is not None else {},
        )

    def _note_ready(self, processes: Mapping[str, ProcessView], now: float) -> dict[str, float]:
        """Return since when each served entity has had a ready worker: loading is not idleness."""
        seen: dict[str, float] = {}
        for view in processes.values():
            if view.phase is Phase.RUNNING and view.report is not None and view.report.state == "ready":
                seen[view.id] = self._ready_since.get(view.id, now)
        self._ready_since = seen
        by_entity: dict[str, float] = {}
        for replica_id, since in seen.items():
            entity_id = replica_id.rpartition("-")[0]
            by_entity[entity_id] = max(since, by_entity.get(entity_id, 0.0))
        return by_entity

    async def _do(self, action: planning.Action) -> None:
        match action:
            case planning.Start(entity, number, resolved, policy):
                await self._start(entity, number, resolved, policy)
            case planning.StopReplica(replica_id):
                # It ends by itself when its last answer is out, which its callers wait this long for.
                longest_s = max(self._settings.request_timeout_s, self._settings.drain_s)
                grace_s = self._grace_s.get(replica_id.rpartition("-")[0], longest_s)
                self._supervisor.send(Stop(replica_id, grace_s))
            case planning.ParkReplica(replica_id):
                self._supervisor.send(Park(replica_id, self._settings.drain_s))
            case planning.SaveResolved(entity, replica_id):
                detail = self._detail(replica_id, ReadyDetail)
                model = detail.resolved
                run = f", run {model.run_id}" if model.run_id else ""
                self._build_logs.say(
                    entity.id, f"{entity.model_uri} is {model.resolved_uri}{run}, content {model.digest[:12]}\n"
                )
                await self._save_resolved(entity.id, detail.resolved)
            case planning.BuildEnvironment(entity, replica_id):
                self._builds[entity.id] = Build()
                needs = self._detail(replica_id, NeedsEnvironment)
                self._building[entity.id] = asyncio.create_task(self._build(entity.id, needs))
            case planning.ReplayGolden(endpoint_id, entity):
                self._replay(endpoint_id, entity)
            case planning.Promote(endpoint_id, version):
                self._promoted[endpoint_id] = version
                self.look()
            case planning.Activate(endpoint_id, version):
                await self._write(lambda: self._service.activate(endpoint_id, version, self._now_ms()))
            case planning.Fail(endpoint_id, version, statuses):
                _log.warning(
                    "endpoint %s: config %d failed: %s",
                    next((each.name for each in self._endpoints if each.id == endpoint_id), endpoint_id),
                    version,
                    "; ".join(status.message for status in statuses.values()),
                )
                for entity_id, status in statuses.items():
                    self._build_logs.say(entity_id, f"failed: {status.message}\n")
                await self._write(lambda: self._service.fail(endpoint_id, version, statuses))
            case planning.SetStatus(endpoint_id, statuses):
                await self._write(lambda: self._service.set_entity_status(endpoint_id, statuses))

    async def _start(self, entity: ServedEntity, number: int, resolved: ResolvedModel | None, policy: Policy) -> None:
        try:
            spec = await asyncio.to_thread(self._launcher.spec, entity, number, resolved, policy)
        except TallystickError as error:
            self._builds[entity.id] = Build(error=error.message)
            self._build_logs.say(entity.id, error.message + "\n")
            self.look()
            return
        timeout_s = entity.options.request_timeout_s or self._settings.request_timeout_s
        self._grace_s[entity.id] = max(timeout_s, self._settings.drain_s)
        self._supervisor.send(Ensure(spec))

    def _replay(self, endpoint_id: EndpointId, entity: ServedEntity) -> None:
        if self._gatekeeper is not None:
            endpoint = next(each for each in self._endpoints if each.id == endpoint_id)
            self._gatekeeper.replay(endpoint, entity, self._resolved[entity.id])

    async def _write(self, work: Callable[[], Endpoint]) -> None:
        # Deleted or changed meanwhile: the next look sees it.
        with contextlib.suppress(NotFound, Conflict):
            await asyncio.to_thread(work)
        self._is_stale = True
        self._changed.set()

    async def _save_resolved(self, entity_id: ServedEntityId, resolved: ResolvedModel) -> None:
        build = self._builds.get(entity_id)
        if build is not None and build.python is not None:
            resolved = dataclasses.replace(resolved, python=build.python)
        await asyncio.to_thread(self._service.save_resolved, entity_id, resolved)
        self._is_stale = True
        self._changed.set()

    async def _build(self, entity_id: ServedEntityId, needs: NeedsEnvironment) -> None:
        try:
            # One at a time: two served entities often need the same environment.
            async with self._build_lock:
                python = await build_environment(
                    needs, self._settings.data_dir / "envs", lambda text: self._build_logs.say(entity_id, text)
                )
            self._builds[entity_id] = Build(python=python)
            self._launcher.use_environment(entity_id, python, needs.resolved)
        except TallystickError as error:
            self._builds[entity_id] = Build(error=error.message)
        except Exception as error:  # noqa: BLE001  whatever a build does, it ends as one of its two outcomes
            _log.exception("building an environment failed")
            self._builds[entity_id] = Build(error=f"The environment could not be built: {type(error).__name__}.")
        finally:
            self._building.pop(entity_id, None)
            self.look()

    def _detail(self, replica_id: str, kind: type[T]) -> T:
        view = (self._supervisor.processes or {})[replica_id]
        assert view.report is not None
        return msgspec.json.decode(view.report.detail, type=kind)

    def _note_progress(self, processes: dict[str, ProcessView]) -> None:
        """Write what workers say while they come up into the build log of their served entity."""
        for view in processes.values():
            said = (view.report.state, view.report.message) if view.report is not None else ("", "")
            if said[0] and self._reported.get(view.id) != said:
                self._reported[view.id] = said
                entity_id, _, number = view.id.rpartition("-")
                self._build_logs.say(entity_id, f"worker {number}: {said[0]}{': ' + said[1] if said[1] else ''}\n")
        for gone in self._reported.keys() - processes.keys():
            del self._reported[gone]
