"""What it costs to have live rows compared with training: servers with and without the monitor, and its own use.

Both servers run all the time and are loaded in turn. Turns of the monitor are ten seconds apart, not sixty, so that
each load has one; its processor time is also given for a turn and for a row.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.bench import Bench, Row, Target
from benchmarks.processes import children, cpu_s, environment, memory_mb
from benchmarks.servers import Tallystick, tallystick

TOPIC = "monitoring"
_EVERY_S = 10
_PEER = "--no-monitor"

_CAPTURE = """
import json, sys
import mlflow, pandas
from tallystick.parity import Reference
frame = pandas.DataFrame(**json.load(open(sys.argv[1])))
model = mlflow.pyfunc.load_model(sys.argv[2])
Reference.from_frame(frame, model=model.predict).save(sys.argv[2] + "/parity")
"""


def run(bench: Bench) -> None:
    model = _with_reference(bench)
    on, off = (
        bench.stack.enter_context(tallystick(bench.folder / f"monitoring-{name}", bench.models.uri, *options))
        for name, options in (("on", ("--monitor-every", f"{_EVERY_S}s")), ("off", ("--no-monitor",)))
    )
    idle_mb = memory_mb(children(on.pid)["monitor"])[0]
    for server in (on, off):
        server.deploy(
            "cancer",
            {
                "name": "cancer",
                "entity_name": str(model),
                "environment_vars": {"TALLYSTICK_ENVIRONMENT": "running"},
            },
        )
    requests = tuple(server.request("cancer", bench.models.body()) for server in (on, off))
    bench.warm(*requests)
    monitor = children(on.pid)["monitor"]
    used, began = cpu_s(monitor), time.monotonic()
    rounds = [[bench.load(request, bench.plan.load_s) for request in requests] for _ in range(bench.plan.rounds)]
    used, took_s = cpu_s(monitor) - used, time.monotonic() - began
    mine = bench.keep_loads(TOPIC, "Tallystick, monitored, one row, scikit-learn", [each[0] for each in rounds])
    peer = bench.keep_loads(TOPIC, "Tallystick, not monitored, one row, scikit-learn", [each[1] for each in rounds])
    bench.rows += [
        Row(TOPIC, "throughput", mine.per_s, "1/s", _PEER, peer.per_s, Target("ratio", 0.95, is_least=True)),
        Row(TOPIC, "p50", mine.p50_ms, "ms", _PEER, peer.p50_ms),
        Row(TOPIC, "p99", mine.p99_ms, "ms", _PEER, peer.p99_ms),
        Row(TOPIC, f"CPU of the monitor in one turn of {_EVERY_S} s", used / max(1.0, took_s / _EVERY_S), "s"),
        Row(TOPIC, "CPU of the monitor, share of one processor", 100 * used / took_s, "%"),
        Row(
            TOPIC,
            "memory of the monitor (RSS) before a model has a reference",
            idle_mb,
            "MB",
            target=Target("value", 40),
        ),
        Row(TOPIC, "memory of the monitor (RSS) at the end", memory_mb(monitor)[0], "MB"),
        Row(TOPIC, "a diagnosis of 2,000 rows of 30 columns, replays included", _diagnose_s(on), "s"),
    ]


def _with_reference(bench: Bench) -> Path:
    """Return a copy of the model with a reference of the data that it was trained on, made by another process."""
    folder = bench.folder / "monitored"
    shutil.copytree(bench.models.cancer, folder)
    argv = [sys.executable, "-c", _CAPTURE, str(bench.models.frame), str(folder)]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the reference could not be made: {done.stderr[-2000:]}")
    return folder


def _diagnose_s(server: Tallystick) -> float:
    """Return how long a diagnosis on demand takes, the second time: the first one may load libraries."""
    for _ in range(2):
        began = time.monotonic()
        server.api("POST", "/cancer/parity/diagnose", {})
    return time.monotonic() - began
