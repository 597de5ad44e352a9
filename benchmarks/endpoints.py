"""What 1,000 endpoints cost the gateway: by hand, a gateway with a route table, without supervisor and control.

The endpoint that is asked has a real worker; the workers of the others are one process that says hello and is
never asked, so that the gateway holds a connection for each, as it would.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.bench import Bench, Row
from benchmarks.load import Load
from benchmarks.processes import cpu_s, memory_mb, running, wait_for
from benchmarks.servers import Tallystick, idle_worker, until_ok
from tallystick.auth import StoredToken, new_token
from tallystick.entities import CONCURRENCY_PER_WORKER, SLOTS, ReplicaId, WorkerOptions
from tallystick.gateway.invoke import Invoker
from tallystick.protocol.message import MessageReader, render_message
from tallystick.protocol.routes import (
    Applied,
    EndpointRoute,
    EndpointState,
    EntityRoute,
    Publish,
    Replica,
    RouteTable,
    ToControl,
    table_path,
)
from tallystick.protocol.supervise import LISTEN_FD
from tallystick.protocol.worker_spec import WorkerSpec
from tallystick.settings import Settings, write_settings

TOPIC = "endpoints"
COUNTS = (1, 100, 1000)
_SWAPS = 10


def run(bench: Bench) -> None:
    text, token = new_token("bench", is_admin=True, now_ms=int(time.time() * 1000))
    busy, idle = bench.folder / "busy", bench.folder / "idle"
    rounds: dict[int, list[_Measured]] = {count: [] for count in COUNTS}
    used: dict[int, tuple[float, float]] = {}
    with _worker(bench, busy), idle_worker(idle, bench.folder / "idle.log"):
        for _ in range(bench.plan.growth_rounds):
            for count, measured in rounds.items():
                measured.append(_measure(bench, make_table(count, busy, idle, token), text))
        for count in COUNTS:
            used[count] = asyncio.run(_use(make_table(count, busy, idle, token)))
    for count, measured in rounds.items():
        bench.keep_loads(TOPIC, f"{_said(count)} in the route table", [each.load for each in measured])
    for what, unit, get in (
        ("p50", "ms", lambda each: each.load.p50_ms),
        ("throughput", "1/s", lambda each: each.load.per_s),
        ("RSS of the gateway", "MB", lambda each: each.rss_mb),
        ("CPU of the idle gateway", "% of a core", lambda each: each.idle_pct),
        ("one endpoint of the table changed, from publishing to applied", "ms", lambda each: each.swap_ms),
    ):
        medians = {count: statistics.median(map(get, measured)) for count, measured in rounds.items()}
        _add_rows(bench, what, unit, medians)
    _add_rows(bench, "Invoker.use, first table", "ms", {count: first for count, (first, _) in used.items()})
    _add_rows(bench, "Invoker.use, one endpoint changed", "ms", {count: one for count, (_, one) in used.items()})


def _add_rows(bench: Bench, what: str, unit: str, values: dict[int, float]) -> None:
    for count, value in values.items():
        bench.rows.append(Row(TOPIC, f"{what}, {_said(count)}", value, unit, _said(1), values[1]))


def _said(count: int) -> str:
    return f"{count} endpoint{'s' if count > 1 else ''}"


@dataclass(frozen=True)
class _Measured:
    load: Load
    rss_mb: float
    idle_pct: float
    swap_ms: float


def _measure(bench: Bench, table: RouteTable, token: str) -> _Measured:
    with _gateway(bench, table, token) as server:
        # Each worker's connection is a descriptor.
        wait_for(lambda: _descriptors(server.pid) > len(table.endpoints), "the gateway's connections")
        before, seconds = cpu_s(server.pid), bench.plan.growth_s
        time.sleep(seconds)
        idle_pct = (cpu_s(server.pid) - before) / seconds * 100
        request = server.request("e0", bench.models.body())
        bench.warm(request)
        load = bench.load(request, seconds)
        rss_mb, _ = memory_mb(server.pid)
        swap_ms = asyncio.run(_publish(bench.folder / "gateway" / "run" / "link.sock", table))
    return _Measured(load, rss_mb, idle_pct, swap_ms)


def make_table(count: int, busy: Path, idle: Path, token: StoredToken) -> RouteTable:
    """Return a table of `count` endpoints with one worker each: that of the first at `busy`, the others at `idle`."""
    endpoints = {}
    for number in range(count):
        name, path = f"e{number}", str(idle if number else busy)
        entity = EntityRoute(
            id=f"entity-{number}",
            name=f"{name}-1",
            model_name="cancer",
            model_version="1",
            share_slots=SLOTS,
            replicas=(Replica(ReplicaId(f"entity-{number}-0"), path, f"{path}.board"),),
            concurrency=CONCURRENCY_PER_WORKER,
            queue_limit=CONCURRENCY_PER_WORKER * 16,
            timeout_s=60.0,
        )
        endpoints[name] = EndpointRoute(f"endpoint-{number}", name, "bench", EndpointState.SERVING, 1, (entity,))
    return RouteTable(1, endpoints, {token.id: token})


def _changed(table: RouteTable, version: int) -> RouteTable:
    """Return the table with a later version, in which the first endpoint has changed."""
    first = msgspec.structs.replace(table.endpoints["e0"], config_version=version)
    return msgspec.structs.replace(table, version=version, endpoints=table.endpoints | {"e0": first})


@contextlib.contextmanager
def _worker(bench: Bench, path: Path) -> Iterator[None]:
    """Run a worker with the model at the unix socket `path`."""
    spec = WorkerSpec(
        replica_id="entity-0-0",
        socket=str(path),
        board=f"{path}.board",
        model_uri=str(bench.models.cancer),
        model_version="1",
        cache_dir=str(bench.folder / "cache"),
        options=WorkerOptions(),
        threads=CONCURRENCY_PER_WORKER,
    )
    Path(spec.cache_dir).mkdir(exist_ok=True)
    file, log = bench.folder / "worker.json", bench.folder / "worker.log"
    file.write_bytes(msgspec.json.encode(spec))
    with running([sys.executable, "-P", "-m", "tallystick.worker", str(file)], log) as process:
        wait_for(lambda: path.exists() or process.poll() is not None, "the worker")
        if process.poll() is not None:
            raise RuntimeError(f"the worker ended: {log.read_text()[-2000:]}")
        yield


@contextlib.contextmanager
def _gateway(bench: Bench, table: RouteTable, token: str) -> Iterator[Tallystick]:
    """Run a gateway that finds `table` in its data directory."""
    with socket.socket() as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(2048)
        port, descriptor = listener.getsockname()[1], listener.fileno()
        settings = Settings(bench.folder / "gateway", port=port, log_level="warning")
        settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_settings(settings)
        table_path(settings.data_dir).write_bytes(msgspec.msgpack.encode(table))
        argv = [sys.executable, "-m", "tallystick.gateway", str(settings.settings_file), "0"]
        env = {LISTEN_FD: str(descriptor)}
        with running(argv, bench.folder / "gateway.log", env=env, pass_fds=(descriptor,)) as process:
            server = Tallystick(process.pid, port, token)
            until_ok(server.request("e0", bench.models.body()))
            yield server


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


async def _publish(path: Path, table: RouteTable) -> float:
    """Be control: publish changed tables; return the median of milliseconds until the gateway says applied."""
    messages: MessageReader[ToControl] = MessageReader(ToControl)
    took: list[float] = []
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def until(version: int) -> None:
            while data := await reader.read(1 << 16):
                said = messages.feed(data)
                if any(isinstance(each, Applied) and each.version >= version for each in said):
                    return

        try:
            await until(table.version)
            for version in range(table.version + 1, table.version + 1 + _SWAPS):
                data = render_message(Publish(_changed(table, version)))
                began = time.perf_counter()
                writer.write(data)
                await until(version)
                took.append((time.perf_counter() - began) * 1000)
        finally:
            writer.close()
            if not done.done():
                done.set_result(None)

    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(serve, path)
    async with asyncio.timeout(60):
        await done
    server.close()
    path.unlink(missing_ok=True)
    if len(took) < _SWAPS:
        raise RuntimeError("the gateway left before it had applied every table")
    return statistics.median(took)


async def _use(table: RouteTable) -> tuple[float, float]:
    """Return milliseconds of `Invoker.use` for a first table, and (median) for one with one endpoint changed."""
    invoker = Invoker(
        index=0,
        gateways=1,
        max_body_bytes=1 << 24,
        wake_wait_s=20.0,
        wake=lambda _replica: None,
        kill=lambda _replica, _pid, _reason: None,
    )
    new_ms = _timed_use(invoker, table)
    # The links connect, as they have long before a table changes.
    await asyncio.sleep(0.5)
    changed = []
    for version in range(table.version + 1, table.version + 1 + _SWAPS):
        changed.append(_timed_use(invoker, _changed(table, version)))
        await asyncio.sleep(0)
    invoker.use(RouteTable())
    await asyncio.sleep(0.1)
    return new_ms, statistics.median(changed)


def _timed_use(invoker: Invoker, table: RouteTable) -> float:
    began = time.perf_counter()
    invoker.use(table)
    return (time.perf_counter() - began) * 1000
