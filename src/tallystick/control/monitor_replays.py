"""What the monitor may have done with replicas, by control's own replays: golden rows on each, or rows on one."""

from __future__ import annotations

import asyncio

import msgspec

from tallystick.control.gatekeeper import Gatekeeper
from tallystick.control.own_replays import OwnReplays
from tallystick.control.plan import replica_id
from tallystick.control.service import Service
from tallystick.entities import Endpoint, ServedEntity
from tallystick.errors import NotFound
from tallystick.gate.report import GateReport, Rung
from tallystick.protocol.monitoring import AskReplay, Replaying


class MonitorReplays:
    """Does what is asked for. Called on the event loop."""

    def __init__(self, service: Service, gatekeeper: Gatekeeper, own: OwnReplays) -> None:
        self._service, self._gatekeeper, self._own = service, gatekeeper, own

    async def __call__(self, asked: AskReplay) -> bytes:
        """Return the answer's body as JSON. Raises NotFound, InvalidState, InvalidParameter."""
        endpoint, entity = await asyncio.to_thread(self._find, asked)
        match asked.what:
            case Replaying.CHECK:
                return msgspec.json.encode(await self._check(endpoint, entity))
            case Replaying.PREDICT:
                return await self._own.predict(endpoint.name, entity, asked.body)

    async def _check(self, endpoint: Endpoint, entity: ServedEntity) -> dict[str, GateReport]:
        resolved = await asyncio.to_thread(self._service.resolved)
        found = await self._gatekeeper.check(endpoint, entity.name, resolved)
        reports: dict[str, GateReport] = found["entities"].get(entity.name, {})
        return {number: self._with_environment(entity, number, report) for number, report in reports.items()}

    def _with_environment(self, entity: ServedEntity, number: str, report: GateReport) -> GateReport:
        """Return a replay's report with what the worker said of its libraries when it came up: HTTP does not tell."""
        own = self._gatekeeper.reports.get(replica_id(entity, int(number)))
        if own is None or any(rung.rung is Rung.ENVIRONMENT for rung in report.rungs):
            return report
        told = tuple(rung for rung in own.rungs if rung.rung is Rung.ENVIRONMENT)
        return msgspec.structs.replace(report, rungs=(*report.rungs, *told))

    def _find(self, asked: AskReplay) -> tuple[Endpoint, ServedEntity]:
        endpoint = self._service.store.endpoint_named(asked.endpoint)
        config = endpoint.active if endpoint is not None else None
        entity = config.entity_named(asked.served_entity) if config is not None else None
        if endpoint is None or entity is None:
            raise NotFound(f"'{asked.served_entity[:80]}' is not served by '{asked.endpoint[:80]}'")
        return endpoint, entity
