"""What it costs to have every invocation on record: servers with and without, and the recorder's pace and memory.

Both servers run all the time and are loaded in turn, so that what disturbs the machine for a while disturbs both.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import Bench, Row, Target
from benchmarks.load import Load, Request
from benchmarks.processes import children, cpu_s, environment, memory_mb, stop
from benchmarks.servers import Tallystick, checked, tallystick
from tallystick.backends.supervisor import RECORDER_ENVIRONMENT
from tallystick.journal.format import Context, Invocation
from tallystick.journal.writer import Journal
from tallystick.protocol.frame import Answer
from tallystick.settings import Settings, write_settings

TOPIC = "recording"
_OFF = ("--no-inference-tables", "--no-access-log")
_PEER = "journal, recorder and access log off"
#: Rows of backlog, and bytes of the body of each.
_BACKLOG, _BODY_BYTES = 1_000_000, 1000


def run(bench: Bench) -> None:
    on, off = (
        bench.stack.enter_context(tallystick(bench.folder / f"recording-{name}", bench.models.uri, *options))
        for name, options in (("on", ()), ("off", _OFF))
    )
    for server in (on, off):
        server.deploy("cancer", {"entity_name": "cancer", "entity_version": "1"})
        server.deploy(
            "constant",
            {
                "name": "constant",
                "entity_name": str(bench.models.constant),
                "environment_vars": {"TALLYSTICK_BATCHING": "on"},
            },
        )
    one_row = tuple(server.request("cancer", bench.models.body()) for server in (on, off))
    mine, peer = _compare(bench, "one row, scikit-learn", one_row)
    bench.rows += [
        Row(TOPIC, "throughput", mine.per_s, "1/s", _PEER, peer.per_s, Target("ratio", 0.9, is_least=True)),
        Row(TOPIC, "p50", mine.p50_ms, "ms", _PEER, peer.p50_ms),
        Row(TOPIC, "p99", mine.p99_ms, "ms", _PEER, peer.p99_ms, Target("ratio", 1.1)),
    ]
    body = b'{"inputs":["' + b"x" * (_BODY_BYTES - 15) + b'"]}'
    _keep_up(bench, on, on.request("constant", body))
    _drain_backlog(bench, mine.per_s)


def _compare(bench: Bench, what: str, requests: tuple[Request, ...]) -> tuple[Load, Load]:
    bench.warm(*requests)
    rounds = [[bench.load(request, bench.plan.load_s) for request in requests] for _ in range(bench.plan.rounds)]
    mine = bench.keep_loads(TOPIC, f"Tallystick, on record, {what}", [each[0] for each in rounds])
    peer = bench.keep_loads(TOPIC, f"Tallystick, not on record, {what}", [each[1] for each in rounds])
    return mine, peer


def _keep_up(bench: Bench, server: Tallystick, request: Request) -> None:
    """Load the gateway as far as it goes with a model that is nothing, and see how far behind the recorder is."""
    recorder = children(server.pid)["records"]
    checked(request)
    lags = []
    used = cpu_s(recorder)
    rounds = []
    for _ in range(max(2, bench.plan.rounds)):
        rounds.append(bench.load(request, bench.plan.load_s))
        lags.append(_flush_s(server, "constant"))
    used = cpu_s(recorder) - used
    load = bench.keep_loads(TOPIC, "Tallystick, constant model, 1 kB bodies, on record", rounds)
    bench.rows += [
        Row(TOPIC, "throughput of a model that is nothing, 1 kB bodies", load.per_s, "1/s"),
        Row(TOPIC, "after each load, until all of it is in the table, median", statistics.median(lags), "s"),
        Row(TOPIC, "CPU of the recorder a row", used / load.requests * 1e6, "µs"),
    ]


def _flush_s(server: Tallystick, endpoint: str) -> float:
    """Return how long it takes until all that was answered is in the table."""
    began = time.monotonic()
    while not server.api("POST", f"/{endpoint}/inference-table/flush")["flushed"]:
        time.sleep(0.01)
    return time.monotonic() - began


def _drain_backlog(bench: Bench, per_s: float) -> None:
    """Let a recorder that starts alone work off a million rows."""
    rows = _BACKLOG if bench.plan.name == "full" else _BACKLOG // 20
    folder = bench.folder / "backlog"
    settings = Settings(data_dir=folder)
    settings.run_dir.mkdir(parents=True)
    (folder / "logs").mkdir()
    asyncio.run(_write_backlog(settings.journal_dir, rows))
    write_settings(replace(settings))
    log = (bench.folder / "backlog.log").open("wb")
    argv = [sys.executable, "-m", "tallystick.records", str(settings.settings_file)]
    began = time.monotonic()
    process = subprocess.Popen(argv, stdout=log, stderr=log, env=RECORDER_ENVIRONMENT | environment())
    most_mb = 0.0
    try:
        while any(path.stat().st_size for path in settings.journal_dir.glob("*/*.journal")):
            if process.poll() is not None:
                raise RuntimeError(f"the recorder ended: {(bench.folder / 'backlog.log').read_text()[-2000:]}")
            most_mb = max(most_mb, memory_mb(process.pid)[0])
            time.sleep(0.02)
        took_s = time.monotonic() - began
        used = cpu_s(process.pid)
    finally:
        stop(process)
    bench.rows += [
        Row(
            TOPIC,
            f"backlog of {rows:,} rows of 1 kB, worked off",
            rows / took_s,
            "rows/s",
            "the endpoint's throughput above",
            per_s,
            Target("ratio", 1, is_least=True),
        ),
        Row(TOPIC, "CPU of the recorder a row of it", used / rows * 1e6, "µs"),
        Row(TOPIC, "most memory of the recorder (RSS) meanwhile", most_mb, "MB", target=Target("value", 200)),
    ]


async def _write_backlog(folder: Path, rows: int) -> None:
    journal = Journal(folder, "gateway-0")
    context = Context(0, "churn", "e", "s", "churn-1", "churn", "1", 1, "churn-1", 1.0, "churn_payload")
    answer = Answer(200, "application/json", 1, 1, 0.1, 0.2)
    for number in range(rows):
        body = b'{"dataframe_split":{"columns":["a"],"data":[["%08d' % number + b"x" * (_BODY_BYTES - 58) + b'"]]}}'
        record = Invocation(
            journal.number_of(context), f"{'ab12' * 5}{number:012x}", time.time_ns() // 1000, 1.5, 200, "live", "me",
            "curl/8", "application/json", "application/json", 1, len(body), 22, body, b'{"predictions":[0.123]}',
            answer=answer,
        )  # fmt: skip
        journal.append(record)
        if number % 64 == 0:
            await asyncio.sleep(0)
    await journal.close()
