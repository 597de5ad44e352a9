"""What workers and replays found of golden rows: kept while they serve, told in build logs, asked again on demand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from tallystick.control.logs import BuildLogs
from tallystick.control.metrics.gate import GateTally, Place
from tallystick.control.parity import policy_of
from tallystick.control.plan import Replay, replica_id
from tallystick.entities import Endpoint, EndpointConfig, ResolvedModel, ServedEntity, ServedEntityId
from tallystick.errors import Conflict, InvalidState, NotFound
from tallystick.gate.report import GateReport, Outcome, Policy
from tallystick.gate.wording import ladder
from tallystick.protocol.supervise import ProcessView

#: Waited for the gateways to know of served entities that are to be replayed.
_KNOWN_WITHIN_S = 5.0
_log = logging.getLogger("tallystick.control")


class Replayer(Protocol):
    """Sends golden rows to each replica of a served entity."""

    async def __call__(
        self, endpoint: Endpoint, entity: ServedEntity, resolved: ResolvedModel, policy: Policy
    ) -> dict[str, GateReport]:
        """Return a report for each replica, by its number. Ends by itself."""


class _Detail(msgspec.Struct, frozen=True):
    """Of what a worker reports, the part that is read here; of `ready` and of `failed` alike."""

    gate: GateReport | None = None


class Gatekeeper:
    """Knows each replica's latest report. Belongs to the reconciler's loop."""

    def __init__(
        self,
        build_logs: BuildLogs,
        replayer: Replayer,
        *,
        is_reachable: Callable[[Endpoint, ServedEntity], bool],
        on_change: Callable[[], None],
    ) -> None:
        self._build_logs = build_logs
        self._replayer = replayer
        self._is_reachable = is_reachable
        self._on_change = on_change
        #: By replica id: of the worker that is there, or was last.
        self.reports: dict[str, GateReport] = {}
        #: By served entity id.
        self.replays: dict[ServedEntityId, Replay] = {}
        self.tally = GateTally()
        self._details: dict[str, str] = {}
        self._tasks: dict[ServedEntityId, asyncio.Task[None]] = {}
        #: Endpoints that somebody has checked now.
        self._checking: set[str] = set()

    @property
    def reachable(self) -> frozenset[ServedEntityId]:
        """Served entities that replays have to reach, routed or not."""
        return frozenset(self.replays)

    def note(self, processes: Mapping[str, ProcessView]) -> None:
        """Take over what workers found, and write it into their build logs, rung by rung."""
        for view in processes.values():
            detail = view.report.detail if view.report is not None else "null"
            if detail == "null" or self._details.get(view.id) == detail:
                continue
            self._details[view.id] = detail
            try:
                report = msgspec.json.decode(detail, type=_Detail).gate
            except msgspec.MsgspecError:  # of another kind of report
                continue
            if report is not None:
                self.reports[view.id] = report
                entity_id, _, number = view.id.rpartition("-")
                self.tally.add(entity_id, Place.WORKER, report)
                self._outdate(ServedEntityId(entity_id), number)
                self._tell(entity_id, f"worker {number}", report)

    def _outdate(self, entity_id: ServedEntityId, number: str) -> None:
        """Drop what a replay found of a worker that is another one by now."""
        replay = self.replays.get(entity_id)
        if replay is not None and number in replay.reports:
            kept = {key: report for key, report in replay.reports.items() if key != number}
            self.replays[entity_id] = Replay(replay.is_done, kept, replay.problem)

    def forget(self, known: Collection[str]) -> None:
        """Drop what is known of served entities that no config names any more."""
        for entity_id in [each for each in self.replays if each not in known]:
            del self.replays[entity_id]
            if (task := self._tasks.pop(entity_id, None)) is not None:
                task.cancel()
        for replica in [each for each in self._details if each.rpartition("-")[0] not in known]:
            self._details.pop(replica, None)
            self.reports.pop(replica, None)
        self.tally.forget(known)

    def replay(self, endpoint: Endpoint, entity: ServedEntity, resolved: ResolvedModel) -> None:
        """Begin to replay golden rows on the replicas of a served entity."""
        if entity.id in self._tasks:
            return
        self.replays[entity.id] = Replay()
        self._tasks[entity.id] = asyncio.create_task(self._replay(endpoint, entity, resolved))
        self._on_change()

    async def close(self) -> None:
        """End the replays that are under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    async def check(
        self, endpoint: Endpoint, entity_name: str | None, resolved: Mapping[ServedEntityId, ResolvedModel]
    ) -> dict[str, Any]:
        """Replay golden rows on each replica that serves now; return the reports, by served entity and replica."""
        config = endpoint.active
        if config is None:
            raise InvalidState(
                f"Endpoint '{endpoint.name}' serves nothing, so there is nothing to check. "
                f"Why that is, says tallystick endpoints get {endpoint.name}"
            )
        if endpoint.is_stopped:
            raise InvalidState(
                f"Endpoint '{endpoint.name}' is stopped, so there is nothing to check. "
                f"'tallystick endpoints start {endpoint.name}' starts it."
            )
        entities = [entity for entity in config.served_entities if entity_name in (None, entity.name)]
        if not entities:
            raise NotFound(f"Endpoint '{endpoint.name}' has no served entity named '{str(entity_name)[:80]}'.")
        if endpoint.id in self._checking:
            raise Conflict(f"A check of endpoint '{endpoint.name}' is under way; wait, then send this again.")
        found: dict[str, dict[str, GateReport]] = {}
        self._checking.add(endpoint.id)
        try:
            for entity in entities:
                if (model := resolved.get(entity.id)) is not None:
                    reports = await self._replayed(endpoint, entity, model)
                    found[entity.name] = reports
                    self.replays[entity.id] = Replay(True, reports)
        finally:
            self._checking.discard(endpoint.id)
        # What it found against a served entity is in its state at once.
        self._on_change()
        outcomes = {report.outcome for reports in found.values() for report in reports.values()}
        return {"outcome": _worst(outcomes).value, "entities": found}

    def described(self, endpoint: Endpoint) -> dict[str, Any]:
        """Return the latest reports of an endpoint's served entities: of their workers, and of replays over HTTP."""
        body: dict[str, Any] = {}
        for entity in _entities(endpoint.active, endpoint.pending, endpoint.failed):
            numbers = {str(number): replica_id(entity, number) for number in range(entity.workers)}
            replay = self.replays.get(entity.id)
            body[entity.name] = {
                "replicas": {number: self.reports[key] for number, key in numbers.items() if key in self.reports},
                "http": replay.reports if replay is not None else {},
            }
        return body

    async def _replay(self, endpoint: Endpoint, entity: ServedEntity, resolved: ResolvedModel) -> None:
        try:
            await self._known(endpoint, entity)
            reports = await self._replayed(endpoint, entity, resolved)
            for number, report in reports.items():
                self._tell(entity.id, f"worker {number} over HTTP", report)
            self.replays[entity.id] = Replay(True, reports)
        except Exception as error:  # noqa: BLE001  whatever a replay does, it ends; a config must not wait for ever
            _log.exception("replaying golden rows failed")
            text = f"Parity gate: golden rows could not be replayed: {type(error).__name__}."
            self.replays[entity.id] = Replay(True, {}, text)
        finally:
            self._tasks.pop(entity.id, None)
            self._on_change()

    async def _replayed(
        self, endpoint: Endpoint, entity: ServedEntity, resolved: ResolvedModel
    ) -> dict[str, GateReport]:
        reports = await self._replayer(endpoint, entity, resolved, policy_of(endpoint))
        for report in reports.values():
            self.tally.add(entity.id, Place.HTTP, report)
        return reports

    async def _known(self, endpoint: Endpoint, entity: ServedEntity) -> None:
        """Wait until the gateways know of the served entity. After a while go on: what then fails says why."""
        end = asyncio.get_running_loop().time() + _KNOWN_WITHIN_S
        while not self._is_reachable(endpoint, entity) and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def _tell(self, entity_id: str, who: str, report: GateReport) -> None:
        lines = "\n".join([f"{who}: {report.summary()}", *ladder(report)])
        self._build_logs.say(entity_id, lines + "\n")


def _worst(outcomes: Collection[Outcome]) -> Outcome:
    for outcome in (Outcome.FAILED, Outcome.PASSED):
        if outcome in outcomes:
            return outcome
    return Outcome.SKIPPED


def _entities(*configs: EndpointConfig | None) -> Iterable[ServedEntity]:
    found: dict[str, ServedEntity] = {}
    for config in configs:
        for entity in config.served_entities if config is not None else ():
            found.setdefault(entity.name, entity)
    return found.values()
