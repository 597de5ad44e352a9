"""What the gateway costs: a model that is nothing, beside bare uvicorn that answers the same bytes.

An invocation passes two processes, the gateway and a worker; the bare server is one. On two cores the three that
compete (with the load) say less of the gateway than its CPU time a request, so that is measured too.
"""

from __future__ import annotations

import statistics

from benchmarks.bench import Bench, Row, Target
from benchmarks.load import Load, Request
from benchmarks.processes import children, cpu_s
from benchmarks.servers import bare_uvicorn, checked

TOPIC = "gateway"
_PEER = "bare uvicorn, constant answer"


def run(bench: Bench) -> None:
    entity = {
        "name": "constant",
        "entity_name": str(bench.models.constant),
        "environment_vars": {"TALLYSTICK_BATCHING": "on"},
    }
    bench.server.deploy("constant", entity)
    ours = bench.server.request("constant", b'{"inputs":[1]}')
    answer = checked(ours)
    gateway = children(bench.server.pid)["gateway"]
    with bare_uvicorn(answer, bench.folder / "bare.log") as (port, pid):
        theirs = Request(port, "/invocations", ours.body)
        if checked(theirs) != answer:
            raise RuntimeError("the bare server answers something else")
        bench.warm(ours, theirs)
        rounds = [
            (_loaded(bench, ours, gateway), _loaded(bench, theirs, pid)) for _ in range(max(2, bench.plan.rounds))
        ]
    mine = bench.keep_loads(TOPIC, "Tallystick, constant model", [each[0] for each, _ in rounds])
    peer = bench.keep_loads(TOPIC, _PEER, [each[0] for _, each in rounds])
    mine_us, peer_us = (statistics.median(each[side][1] for each in rounds) for side in (0, 1))
    bench.rows += [
        Row(TOPIC, "throughput", mine.per_s, "1/s", _PEER, peer.per_s, Target("ratio", 0.5, is_least=True)),
        Row(TOPIC, "p50", mine.p50_ms, "ms", _PEER, peer.p50_ms),
        Row(TOPIC, "p99", mine.p99_ms, "ms", _PEER, peer.p99_ms),
        Row(TOPIC, "CPU of the gateway process a request", mine_us, "µs", _PEER, peer_us),
    ]


def _loaded(bench: Bench, request: Request, pid: int) -> tuple[Load, float]:
    """Return one load, and the CPU time of process `pid` in microseconds a request."""
    before = cpu_s(pid)
    load = bench.load(request, bench.plan.load_s)
    return load, (cpu_s(pid) - before) / load.requests * 1e6
