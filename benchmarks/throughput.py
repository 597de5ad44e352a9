"""One row a request, 8 connections: Tallystick beside `mlflow models serve` on the same model."""

from __future__ import annotations

import json

from benchmarks.bench import Bench, Row, Target
from benchmarks.load import Request
from benchmarks.servers import checked, mlflow_serve

TOPIC = "throughput"
_PEER = "mlflow models serve -w 1"


def run(bench: Bench) -> None:
    body = bench.models.body()
    ours = bench.server.request("cancer", body)
    with mlflow_serve(bench.models.cancer, bench.folder / "mlflow.log") as port:
        theirs = Request(port, "/invocations", body)
        said = [json.loads(checked(request)) for request in (ours, theirs)]
        if said[0] != said[1]:
            raise RuntimeError(f"the two servers do not answer the same: {said}")
        bench.warm(ours, theirs)
        seconds = bench.plan.load_s
        rounds = [(bench.load(ours, seconds), bench.load(theirs, seconds)) for _ in range(bench.plan.rounds)]
    mine = bench.keep_loads(TOPIC, "Tallystick, 1 gateway, 1 worker", [each for each, _ in rounds])
    peer = bench.keep_loads(TOPIC, _PEER, [each for _, each in rounds])
    bench.rows += [
        Row(TOPIC, "throughput", mine.per_s, "1/s", _PEER, peer.per_s, Target("ratio", 50, is_least=True)),
        Row(TOPIC, "p50", mine.p50_ms, "ms", _PEER, peer.p50_ms),
        Row(TOPIC, "p99", mine.p99_ms, "ms", _PEER, peer.p99_ms, Target("ratio", 0.1)),
    ]
