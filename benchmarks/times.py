"""How long a server takes to start, and a model to be deployed."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from benchmarks.bench import Bench, Row, Target
from benchmarks.load import Request
from benchmarks.processes import free_port, running, stop, wait_for
from benchmarks.servers import Tallystick, bare_load, serve_argv, tallystick, until_ok

TOPIC = "times"
_START_TARGET = Target("value", 3)


def run(bench: Bench) -> None:
    folder = bench.folder / "times"
    _run_deploys(bench, folder)
    fresh = [_start(bench, bench.folder / f"fresh-{n}") for n in range(bench.plan.repeats)]
    existing = [_start(bench, folder, ask="cancer") for _ in range(bench.plan.repeats)]
    for what, starts in (("fresh data directory", fresh), ("existing data directory", existing)):
        health, ready, *first = (statistics.median(each) for each in zip(*starts, strict=True))
        bench.rows.append(Row(TOPIC, f"start, {what}: GET /health answers", health, "s", target=_START_TARGET))
        bench.rows.append(Row(TOPIC, f"start, {what}: gateway and control are ready", ready, "s"))
        bench.rows += [Row(TOPIC, f"start, {what}: first invocation answered", s, "s") for s in first]


def _start(bench: Bench, data_dir: Path, ask: str = "") -> tuple[float, ...]:
    """Start a server; return seconds until /health, until all is ready, and until it answers endpoint `ask`."""
    port, ready = free_port(), data_dir / "server.json"
    token_file = data_dir / "admin.token"
    began, began_at = time.perf_counter(), time.time()
    with running(serve_argv(data_dir, port, bench.models.uri), bench.folder / f"{data_dir.name}.log") as process:
        health_s = until_ok(Request(port, "/health", b""), "GET") - began
        first: tuple[float, ...] = ()
        if ask:
            server = Tallystick(process.pid, port, token_file.read_text().strip())
            first = (until_ok(server.request(ask, bench.models.body())) - began,)
        wait_for(ready.exists, "the server is ready", every_s=0.002)
        return health_s, ready.stat().st_mtime - began_at, *first


def _run_deploys(bench: Bench, data_dir: Path) -> None:
    """Deploy what is there already, in turn with loading the model bare."""
    by_registry = {"entity_name": "cancer", "entity_version": "1"}
    both = {"folder": {"entity_name": str(bench.models.cancer)}, "registry version": by_registry}
    ways = dict(list(both.items())[: bench.plan.ways])
    sources = {"folder": str(bench.models.cancer), "registry version": "models:/cancer/1"}
    took: dict[str, list[float]] = {way: [] for way in ways}
    bare: dict[str, list[float]] = {way: [] for way in ways}
    with tallystick(data_dir, bench.models.uri) as server:
        server.deploy("cancer", by_registry)
        for turn in range(bench.plan.repeats):
            for number, (way, entity) in enumerate(ways.items()):
                began = time.perf_counter()
                server.deploy(f"again-{turn}-{number}", entity)
                took[way].append(time.perf_counter() - began)
                bare[way].append(_bare_load_s(bench, sources[way]))
                # The start of the server on this folder is measured next, with one endpoint.
                server.api("DELETE", f"/again-{turn}-{number}")
    for way in ways:
        mine, peer = statistics.median(took[way]), statistics.median(bare[way])
        what, beside = f"deploy of a {way} that is there", f"python that loads the {way} with mlflow.pyfunc"
        bench.rows.append(Row(TOPIC, what, mine, "s", beside, peer, Target("ratio", 1.3)))


def _bare_load_s(bench: Bench, model_uri: str) -> float:
    """Return seconds from the start of a process until it has loaded the model; its end is not counted."""
    began = time.perf_counter()
    process = bare_load(model_uri, bench.models.uri, bench.folder / "bare-load.log")
    took = time.perf_counter() - began
    stop(process)
    return took
