"""Start of the control process: ``python -m tallystick.control SETTINGS.json``."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallystick.auth import new_token
from tallystick.backends.client import SupervisorClient
from tallystick.control.api import create_app
from tallystick.control.api_rules import principal_by_token
from tallystick.control.feedback_api import add_feedback_routes
from tallystick.control.gatekeeper import Gatekeeper
from tallystick.control.journal import STREAM_NAME, EntityRecords, StreamJournal, Tables
from tallystick.control.link_server import GatewayLinks
from tallystick.control.logs import BuildLogs, FileLogs
from tallystick.control.metrics.api import add_metrics_routes
from tallystick.control.metrics.source import MetricsSource
from tallystick.control.metrics.standing import recording
from tallystick.control.monitor_replays import MonitorReplays
from tallystick.control.own_replays import OwnReplays, is_known, parity_of
from tallystick.control.reconciler import Reconciler
from tallystick.control.service import Service, build_service
from tallystick.control.sql_store import open_store
from tallystick.control.worker_launch import WorkerLauncher
from tallystick.errors import TallystickError
from tallystick.journal.writer import Journal
from tallystick.lifeline import Lifeline, die_with_parent, outlive_server_signals
from tallystick.private_file import replace_private
from tallystick.settings import Settings, read_settings

#: The server's own token, for the CLI on this machine.
ADMIN_TOKEN_FILE = "admin.token"  # noqa: S105  a file's name
EXIT_CANNOT_START = 3
_JOURNAL_TICK_S = 0.25


def _now_ms() -> int:
    return int(time.time() * 1000)


class _Wakeup:
    """Passes `on_change` on to the reconciler, which is made after the service that calls it."""

    def __init__(self) -> None:
        self.reconciler: Reconciler | None = None

    def __call__(self) -> None:
        if self.reconciler is not None:
            self.reconciler.wake()


def _look(wakeup: _Wakeup) -> None:
    if wakeup.reconciler is not None:
        wakeup.reconciler.look()


async def serve(settings: Settings, service: Service, wakeup: _Wakeup, lifeline: Lifeline, greeting: str) -> None:
    """Serve the API and reconcile until SIGTERM."""
    supervisor = SupervisorClient(settings.run_dir / "supervisor.sock", lambda: _look(wakeup))
    links = GatewayLinks(settings.data_dir, settings.gateways, lambda: _look(wakeup))
    build_logs = BuildLogs(settings.data_dir)
    launcher = WorkerLauncher(settings, os.environ, service.resolve_environment)
    # The one place where control meets the journal's writer.
    stream = Journal(settings.journal_dir, STREAM_NAME, max_bytes=settings.journal_max_bytes)
    journal = StreamJournal(stream.append)
    tables = Tables(settings.tables_root, settings.inference_tables, lambda: links.recorded, links.flush)
    service = dataclasses.replace(service, tables=tables)
    entity_records = EntityRecords(journal) if settings.inference_tables else None
    gate = OwnReplays(settings, _now_ms())
    gatekeeper = Gatekeeper(
        build_logs,
        gate,
        is_reachable=lambda endpoint, entity: is_known(links.table, endpoint.name, entity.id) and links.is_applied,
        on_change=lambda: _look(wakeup),
    )
    links.monitor.replay = MonitorReplays(service, gatekeeper, gate)
    service = dataclasses.replace(service, parity=parity_of(gatekeeper, service, links.monitor, settings.data_dir))
    reconciler = Reconciler(
        settings, service, supervisor, links, launcher, build_logs, _now_ms, entity_records, gatekeeper, gate.tokens
    )
    wakeup.reconciler = reconciler

    async def status() -> dict[str, Any]:
        views = supervisor.processes or {}
        return {
            "route_table_version": links.table.version,
            "is_applied": links.is_applied,
            "coercions": {key: counts.coercions for key, counts in links.tally.totals.items() if counts.coercions},
            "workers": [
                {
                    "id": view.id,
                    "phase": view.phase,
                    "state": view.report.state if view.report else "",
                    "pid": view.pid,
                    "restarts": view.restarts,
                    "last_exit": view.last_exit,
                }
                for view in views.values()
            ],
            "monitor": links.monitor.standing() if settings.monitors else None,
            **recording(
                links.recorded,
                time.monotonic() - links.recorded_at,
                metrics.journals(),
                is_connected=links.is_recorder_connected,
            ),
        }

    api = create_app(service, FileLogs(settings.data_dir, build_logs), principal_by_token(service), status)
    metrics = MetricsSource(
        links,
        lambda: supervisor.processes or {},
        has_recorder=settings.inference_tables or settings.access_log,
        has_monitor=settings.monitors,
        own_journal=stream.view,
        gate=gatekeeper.tally,
    )
    add_metrics_routes(api, service, metrics)
    add_feedback_routes(api, service, journal)
    app = InForce(api, reconciler)
    path = settings.run_dir / "control.sock"
    path.unlink(missing_ok=True)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            uds=str(path),
            lifespan="off",
            ws="none",
            access_log=False,
            server_header=False,
            log_level="warning",
            timeout_graceful_shutdown=2,
        )
    )
    # Held until the end: a server that nothing refers to is closed.
    link_server = await links.listen(settings.run_dir / "link.sock")
    tasks = [
        asyncio.create_task(supervisor.run()),
        asyncio.create_task(reconciler.run()),
        asyncio.create_task(reconciler.clean_up()),
        asyncio.create_task(_tick(stream)),
        asyncio.create_task(metrics.run()),
        asyncio.create_task(lifeline.end_with_supervisor_on_loop()),
        asyncio.create_task(_report_ready(server, path, lifeline, greeting)),
    ]
    await server.serve()
    link_server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await gatekeeper.close()
    await stream.close()


class InForce:
    """Holds the answer to a change back until the gateways know of it: a new token works at once, a revoked one never.

    The wait is a few milliseconds; with a gateway away it ends after `LIMIT_S`, as the change is stored.
    """

    LIMIT_S = 2.0
    #: What changes nothing that gateways know of.
    _APART = ("/feedback", "/inference-table/flush", "/parity/check", "/parity/diagnose")

    def __init__(self, app: ASGIApp, reconciler: Reconciler) -> None:
        self._app = app
        self._reconciler = reconciler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        changes = (
            scope["type"] == "http"
            and scope["method"] not in ("GET", "HEAD", "OPTIONS")
            and not (scope["method"] == "POST" and scope["path"].endswith(self._APART))
        )

        async def send_in_force(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 300:
                await self._reconciler.in_force(self.LIMIT_S)
            await send(message)

        await self._app(scope, receive, send_in_force if changes else send)


async def _tick(journal: Journal) -> None:
    while True:
        await asyncio.sleep(_JOURNAL_TICK_S)
        journal.tick()


async def _report_ready(server: uvicorn.Server, path: Path, lifeline: Lifeline, greeting: str) -> None:
    while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
        await asyncio.sleep(0.005)
    path.chmod(0o600)
    lifeline.report("ready", greeting)


def ensure_admin_token(service: Service, data_dir: Path) -> bool:
    """Make the server's own admin token where there is none that works. Returns whether it is new."""
    path = data_dir / ADMIN_TOKEN_FILE
    tokens = service.tokens()
    if path.exists() and path.read_text().strip()[4:16] in tokens:
        return False
    text, token = new_token("admin", is_admin=True, now_ms=_now_ms(), comment="made at first start")
    service.store.add_token(token)
    replace_private(path, f"{text}\n".encode())
    return True


def main(arguments: list[str]) -> None:
    """Run control."""
    die_with_parent()
    outlive_server_signals()
    lifeline = Lifeline()
    settings = read_settings(arguments[0])
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    wakeup = _Wakeup()
    try:
        store = open_store(settings.database_url, settings.data_dir)
        service = build_service(
            store, settings.data_dir, now_ms=_now_ms, new_id=lambda: uuid.uuid4().hex, on_change=wakeup
        )
        is_new = ensure_admin_token(service, settings.data_dir)
    except (TallystickError, OSError) as error:
        message = error.message if isinstance(error, TallystickError) else str(error)
        lifeline.report("failed", message)
        sys.exit(EXIT_CANNOT_START)
    run = serve(settings, service, wakeup, lifeline, "new" if is_new else "")
    try:
        import uvloop
    except ImportError:
        asyncio.run(run)
    else:
        uvloop.run(run)
    store.close()


if __name__ == "__main__":
    main(sys.argv[1:])
