"""Resident memory after 1,000 requests, on a server of its own."""

from __future__ import annotations

from benchmarks.bench import Bench, Row, Target
from benchmarks.processes import children, memory_mb, stop
from benchmarks.servers import bare_load, call_loaded, tallystick

TOPIC = "memory"
_REQUESTS = 1000
_PEER = "python that has loaded it with mlflow.pyfunc"


def run(bench: Bench) -> None:
    with tallystick(bench.folder / "memory", bench.models.uri) as server:
        server.deploy("cancer", {"entity_name": "cancer", "entity_version": "1"})
        request, sent = server.request("cancer", bench.models.body()), 0
        while sent < _REQUESTS:
            load = bench.load(request, 1)
            sent += load.requests
            bench.keep_loads(TOPIC, "before memory is read", [load])
        pids = children(server.pid)
        found = {name: memory_mb(pids[name]) for name in ("control", "gateway", "worker")}
        found["supervisor"] = memory_mb(server.pid)
    loaded, called = _bare(bench)
    both = [found["control"][n] + found["gateway"][n] for n in (0, 1)]
    worker_rss, worker_pss = found["worker"]
    bench.rows += [
        Row(TOPIC, "control + gateway, RSS", both[0], "MB", target=Target("value", 150)),
        Row(TOPIC, "control + gateway, PSS", both[1], "MB", target=Target("value", 150)),
        Row(TOPIC, "worker, RSS", worker_rss, "MB", _PEER, loaded[0], Target("ratio", 1.3)),
        Row(TOPIC, "worker, PSS", worker_pss, "MB", _PEER, loaded[1]),
        Row(TOPIC, "worker, RSS", worker_rss, "MB", f"the same after {_REQUESTS} calls", called[0]),
    ]
    for name in ("control", "gateway", "supervisor"):
        bench.rows.append(Row(TOPIC, f"{name}, RSS", found[name][0], "MB"))


def _bare(bench: Bench) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return (RSS, PSS) of a bare process that has loaded the model, and after calling it as often as the server."""
    log = bench.folder / "bare-load.log"
    process = bare_load(str(bench.models.cancer), bench.models.uri, log, calls=_REQUESTS)
    try:
        loaded = memory_mb(process.pid)
        call_loaded(process, log)
        return loaded, memory_mb(process.pid)
    finally:
        stop(process)
