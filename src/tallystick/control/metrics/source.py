"""Answers requests for metrics: takes a view of the server on the event loop, renders it on a thread.

A view is a handful of copied dictionaries of values that nobody changes, so a scrape of a thousand endpoints costs
the loop less than a millisecond. One is rendered at a time; others wait for their turn.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata

from tallystick.control.link_server import GatewayLinks
from tallystick.control.metrics.export import Served, Shares, export
from tallystick.control.metrics.gate import GateTally
from tallystick.control.metrics.processes import Processes, memory_bytes
from tallystick.control.metrics.samples import View, samples
from tallystick.control.metrics.text import render
from tallystick.entities import Endpoint
from tallystick.protocol.routes import JournalView
from tallystick.protocol.supervise import Phase, ProcessView


class MetricsSource:
    """The metrics of this server. All methods are called on the event loop."""

    def __init__(
        self,
        links: GatewayLinks,
        workers: Callable[[], Mapping[str, ProcessView]],
        *,
        has_recorder: bool,
        has_monitor: bool = False,
        own_journal: Callable[[], JournalView] | None = None,
        gate: GateTally | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._links, self._workers = links, workers
        self._has_recorder, self._own_journal = has_recorder, own_journal
        self._has_monitor = has_monitor
        self._gate = gate if gate is not None else GateTally()
        self._clock, self._wall_clock = clock, wall_clock
        self.processes = Processes(self._pids)
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Look at processes until cancelled."""
        await self.processes.run()

    async def scrape(self, endpoints: Sequence[Endpoint], *, sees_all: bool) -> bytes:
        """Return the text of `/metrics` for a caller who may view these endpoints."""
        async with self._turn:
            view = self._view(endpoints, sees_all=sees_all)
            return await asyncio.to_thread(lambda: render(samples(view)))

    async def export(self, endpoint: Endpoint) -> bytes:
        """Return the text of an endpoint's own metrics, under the names of the Databricks contract."""
        entities = endpoint.active.served_entities if endpoint.active is not None else ()
        running = {
            entity.id: [
                worker_id
                for worker_id in (f"{entity.id}-{number}" for number in range(entity.workers))
                if (process := self._workers().get(worker_id)) is not None and process.phase is Phase.RUNNING
            ]
            for entity in entities
        }
        served = [
            Served(entity.id, entity.name, entity.max_concurrency if running[entity.id] else 0) for entity in entities
        ]
        memory, usage = memory_bytes(), self.processes.usage
        workers = [
            Shares(
                self.processes.cpu_share(worker_id),
                usage[worker_id].resident_bytes / memory if worker_id in usage else None,
            )
            for worker_ids in running.values()
            for worker_id in worker_ids
        ]
        last_minute = self._links.tally.last_minute(running, self._clock())
        return export(endpoint.name, served, last_minute, workers, self._wall_clock())

    def journals(self) -> dict[str, JournalView]:
        """Return how the journals stand, by the process that writes them: every gateway's, and control's own."""
        journals = dict(self._links.tally.journals)
        if self._own_journal is not None:
            journals["control"] = self._own_journal()
        return journals

    def _view(self, endpoints: Sequence[Endpoint], *, sees_all: bool) -> View:
        links, tally = self._links, self._links.tally
        return View(
            endpoints=endpoints,
            sees_all=sees_all,
            table=links.table,
            totals=dict(tally.totals),
            refusals=dict(tally.refusals),
            gateways=dict(tally.gateways),
            journals=self.journals(),
            workers=dict(self._workers()),
            usage=self.processes.usage,
            recorded=links.recorded,
            recorded_age_s=self._clock() - links.recorded_at,
            is_recorder_connected=links.is_recorder_connected,
            has_recorder=self._has_recorder,
            checked=dict(self._gate.checked),
            watching=links.monitor.watching,
            is_monitor_connected=links.monitor.is_connected,
            has_monitor=self._has_monitor,
            version=metadata.version("tallystick"),
            python=platform.python_version(),
        )

    def _pids(self) -> dict[str, int]:
        """Return what runs on this machine, by name."""
        pids = {worker_id: process.pid for worker_id, process in self._workers().items()}
        pids |= {f"gateway-{index}": gateway.pid for index, gateway in self._links.tally.gateways.items()}
        if self._links.recorded is not None and self._links.is_recorder_connected:
            pids["recorder"] = self._links.recorded.pid
        if self._links.monitor.watching is not None and self._links.monitor.is_connected:
            pids["monitor"] = self._links.monitor.watching.pid
        return pids | {"control": os.getpid(), "supervisor": os.getppid()}
