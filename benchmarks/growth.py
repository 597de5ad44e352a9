"""What more rows a request and more columns a row cost."""

from __future__ import annotations

import random

from benchmarks.bench import Bench, Row
from benchmarks.models import split_body
from benchmarks.servers import checked

TOPIC = "growth"
ROWS = (1, 10, 100, 1000)


def run(bench: Bench) -> None:
    first_ms = 0.0
    for rows in ROWS:
        what = f"{rows} rows of 30 columns" if rows > 1 else "1 row of 30 columns"
        p50_ms = _load(bench, "cancer", bench.models.body(rows), what)
        first_ms = first_ms or p50_ms
        bench.rows.append(Row(TOPIC, f"p50, {what}", p50_ms, "ms", "1 row", first_ms))
    draw, narrow_ms = random.Random(0), 0.0
    for count, folder in bench.models.columns.items():
        name = f"columns-{count}"
        bench.server.deploy(name, {"name": name, "entity_name": str(folder)})
        what = f"1 row of {count} columns (LinearRegression)"
        body = split_body([f"x{n}" for n in range(count)], [[draw.gauss(0, 1) for _ in range(count)]])
        p50_ms = _load(bench, name, body, what)
        narrow_ms = narrow_ms or p50_ms
        bench.rows.append(Row(TOPIC, f"p50, {what}", p50_ms, "ms", "3 columns", narrow_ms))


def _load(bench: Bench, endpoint: str, body: bytes, what: str) -> float:
    request = bench.server.request(endpoint, body)
    checked(request)
    return bench.keep_load(TOPIC, what, [bench.load(request)]).p50_ms
