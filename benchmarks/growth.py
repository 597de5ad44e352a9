"""What more rows a request and more columns a row cost."""

from __future__ import annotations

import random

from benchmarks.bench import Bench, Row
from benchmarks.load import Load, Request
from benchmarks.models import split_body
from benchmarks.servers import checked

TOPIC = "growth"
ROWS = (1, 10, 100, 1000)


def run(bench: Bench) -> None:
    by_rows = {_rows(rows): bench.server.request("cancer", bench.models.body(rows)) for rows in ROWS}
    _measure(bench, by_rows, "1 row")
    by_columns = {}
    draw = random.Random(0)
    for count, folder in bench.models.columns.items():
        name = f"columns-{count}"
        bench.server.create(name, {"name": name, "entity_name": str(folder)})
        body = split_body([f"x{n}" for n in range(count)], [[draw.gauss(0, 1) for _ in range(count)]])
        by_columns[f"1 row of {count} columns (LinearRegression)"] = bench.server.request(name, body)
    for count in bench.models.columns:
        bench.server.wait_ready(f"columns-{count}")
    _measure(bench, by_columns, "3 columns")


def _rows(rows: int) -> str:
    return f"{rows} row{'s' if rows > 1 else ''} of 30 columns"


def _measure(bench: Bench, requests: dict[str, Request], first: str) -> None:
    """Load each request in turn; rows of the table compare them with the first."""
    for request in requests.values():
        checked(request)
    bench.warm(*requests.values())
    rounds: dict[str, list[Load]] = {what: [] for what in requests}
    for _ in range(bench.plan.growth_rounds):
        for what, request in requests.items():
            rounds[what].append(bench.load(request, bench.plan.growth_s))
    loads = {what: bench.keep_loads(TOPIC, what, each) for what, each in rounds.items()}
    one = next(iter(loads.values()))
    bench.rows += [Row(TOPIC, f"p50, {what}", load.p50_ms, "ms", first, one.p50_ms) for what, load in loads.items()]
    bench.rows += [
        Row(TOPIC, f"throughput, {what}", load.per_s, "1/s", first, one.per_s) for what, load in loads.items()
    ]
