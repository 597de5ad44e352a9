"""Start of a gateway process: ``python -m tallystick.gateway SETTINGS.json INDEX``."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import socket
import sys

import uvicorn

from tallystick.gateway.app import App
from tallystick.gateway.http import GuardedProtocol, HttpLimits, check_clocks, guarded
from tallystick.gateway.invoke import Invoker
from tallystick.gateway.link import ControlLink, SupervisorLink, read_last_table
from tallystick.gateway.proxy import ControlProxy
from tallystick.journal.writer import Journal
from tallystick.lifeline import Lifeline, die_with_parent, outlive_server_signals
from tallystick.protocol.supervise import LISTEN_FD
from tallystick.settings import Settings, read_settings

#: How often deadlines are looked at: an invocation is cut at most this much late.
_TICK_S = 0.05
#: Descriptors kept for workers, control, logs.
_RESERVED_FDS = 128


async def serve(settings: Settings, index: int, listener: socket.socket, lifeline: Lifeline) -> None:
    """Serve until SIGTERM, then drain."""
    supervisor = SupervisorLink(settings.run_dir / "supervisor.sock")
    journal = None
    if settings.keeps_journal:
        journal = Journal(settings.journal_dir, f"gateway-{index}", max_bytes=settings.journal_max_bytes)
    invoker = Invoker(
        index=index,
        gateways=settings.gateways,
        max_body_bytes=settings.max_body_bytes,
        wake_wait_s=settings.wake_wait_s,
        wake=supervisor.wake,
        kill=supervisor.kill,
        journal=journal,
        access_log=settings.logs_requests,
    )
    table = read_last_table(settings.data_dir)
    if table is not None:
        invoker.use(table)
    proxy = ControlProxy(settings.run_dir / "control.sock")
    control = ControlLink(settings.run_dir / "link.sock", index, invoker)
    app = App(invoker, proxy, frozenset(name.lower() for name in (*settings.allowed_hosts, settings.host)))
    limits = HttpLimits(settings.max_body_bytes, settings.max_connections or _connection_cap())
    protocol = guarded(
        limits,
        lambda connection, cycle: app.take(connection, cycle),
        journal.before_sending if journal is not None else lambda: None,
        app.note_refused,
    )
    invoker.meters.count_connections = lambda: len(protocol.open_connections)
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        server_header=False,
        # The peer's address is not asked for, so nobody need be believed about it.
        proxy_headers=False,
        log_level=settings.log_level,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.drain_s),
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
    )
    server = uvicorn.Server(config)
    tasks = [
        asyncio.create_task(supervisor.run()),
        asyncio.create_task(control.run()),
        asyncio.create_task(_keep_time(invoker, protocol.open_connections)),
        # Without the supervisor nobody would start this process again, and the port would stay taken.
        asyncio.create_task(lifeline.end_with_supervisor_on_loop()),
        asyncio.create_task(_report_ready(server, lifeline)),
    ]
    for task in tasks:
        task.add_done_callback(_end_if_failed)
    await server.serve(sockets=[listener])
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await proxy.close()
    if journal is not None:
        await journal.close()


def _end_if_failed(task: asyncio.Task[None]) -> None:
    """A gateway without its clocks or its lines must not linger: the supervisor starts a sound one."""
    if not task.cancelled() and task.exception() is not None:
        logging.getLogger("tallystick.gateway").critical("a task failed", exc_info=task.exception())
        os._exit(1)


async def _keep_time(invoker: Invoker, connections: set[GuardedProtocol]) -> None:
    loop = asyncio.get_running_loop()
    next_connections = loop.time()
    while True:
        await asyncio.sleep(_TICK_S)
        now = loop.time()
        try:
            invoker.tick(now)
            if invoker.journal is not None:
                invoker.journal.tick()
            if now >= next_connections:
                next_connections = now + 1.0
                check_clocks(connections, now)
        except Exception:
            # The clocks of all other invocations hang on this loop.
            logging.getLogger("tallystick.gateway").exception("a clock failed")


async def _report_ready(server: uvicorn.Server, lifeline: Lifeline) -> None:
    while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
        await asyncio.sleep(0.005)
    # What is there now stays; full collections then look at invocations only.
    gc.collect()
    gc.freeze()
    lifeline.report("ready")


def _connection_cap() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return max(16, soft - _RESERVED_FDS)


def main(arguments: list[str]) -> None:
    """Run one gateway."""
    die_with_parent()
    outlive_server_signals()
    settings = read_settings(arguments[0])
    listener = socket.socket(fileno=int(os.environ.pop(LISTEN_FD)))
    listener.setblocking(False)
    run = serve(settings, int(arguments[1]), listener, Lifeline())
    try:
        import uvloop
    except ImportError:
        asyncio.run(run)
    else:
        uvloop.run(run)


if __name__ == "__main__":
    main(sys.argv[1:])
