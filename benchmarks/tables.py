"""Seconds to read an inference table: a million rows of ten numbers, decoded; and SQL over the invocations.

    python -m benchmarks.tables [--rows N]

One row a request is the hard case: each row brings a body of its own, and an id. Beside it stand the bodies alone, as
they are read from the files without a look at them: what no decoding can be faster than.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from benchmarks.bench import Bench, Row, Target
from tallystick.records import schema
from tallystick.records.reading import InferenceTable

ROWS = 1_000_000
TARGET_S = 2.0
_COLUMNS = [f"feature_{n}" for n in range(10)]
_SIGNATURE = {
    "inputs": json.dumps([{"name": name, "type": "double", "required": True} for name in _COLUMNS]),
    "outputs": json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}]),
}
#: Rows that are made; a table has them over and over, as to make JSON takes longer than to read it.
_MADE = 100_000
_SQL = "SELECT served_entity_name, count(*), avg(latency_ms) FROM churn GROUP BY 1"


@dataclass(frozen=True)
class Found:
    """What one table took: wall clock and CPU seconds, best of three."""

    decoded_s: float
    decoded_cpu_s: float
    bodies_s: float
    sql_s: float


def bodies(form: str, table: list[list[float]]) -> str:
    if form == "dataframe_split":
        return json.dumps({form: {"columns": _COLUMNS, "data": table}})
    return json.dumps({form: [dict(zip(_COLUMNS, row, strict=True)) for row in table]})


def make_table(folder: Path, rows: int, rows_each: int, form: str) -> InferenceTable:
    """Write a table of `rows` rows of input, `rows_each` a request."""
    values = np.random.default_rng(0).normal(size=(min(rows, _MADE), len(_COLUMNS))).tolist()
    parts = [values[start : start + rows_each] for start in range(0, len(values), rows_each)]
    began = datetime(2026, 1, 31, tzinfo=UTC)
    location = folder / f"{form}_{rows_each}" / "churn_payload"
    constant: dict[str, Any] = {
        "request_date": began.date(),
        "status_code": 200,
        "served_entity_id": "e1",
        "served_entity_name": "churn-1",
        "model_version": "1",
        "requester": "admin",
        "arm": "live",
        "latency_ms": 1.5,
        "request_rows": rows_each,
    }
    full = {
        field.name: pa.array([constant.get(field.name)] * len(parts), field.type) for field in schema.INFERENCE_FIELDS
    }
    full["request"] = pa.array([bodies(form, part) for part in parts])
    full["response"] = pa.array([json.dumps({"predictions": [row[0] for row in part]}) for part in parts])
    for file in range(-(-rows // len(values))):
        numbers = range(file * len(parts), (file + 1) * len(parts))
        full["databricks_request_id"] = pa.array([f"{number:032x}" for number in numbers])
        times = [began + timedelta(milliseconds=number) for number in numbers]
        full["request_time"] = pa.array(times, schema.TIMESTAMP)
        table = pa.table(full, schema=schema.INFERENCE_SCHEMA)
        write_deltalake(str(location), table, mode="append", partition_by=["request_date"])
    entity = {"served_entity_id": "e1", "signature": json.dumps(_SIGNATURE), "change_time": began}
    lines = pa.Table.from_pylist(
        [{name: entity.get(name) for name in schema.ENTITY_SCHEMA.names}], schema.ENTITY_SCHEMA
    )
    write_deltalake(str(location.parent / schema.ENTITY_TABLE), lines)
    return InferenceTable(str(location))


def best_of(call: Callable[[], object], repeats: int = 3) -> tuple[float, float]:
    """Return the least (wall clock, CPU) seconds."""
    found = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        found.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(wall for wall, _ in found), min(cpu for _, cpu in found)


def count(batches: Iterable[pa.RecordBatch]) -> int:
    return sum(batch.num_rows for batch in batches)


def measure(table: InferenceTable, rows: int) -> Found:
    """Read a table whole, each batch dropped when the next one comes."""

    def decode() -> None:
        assert count(table.decoded()) == rows
        assert not table.undecoded, table.undecoded

    decoded_s, cpu_s = best_of(decode)
    bodies_s, _ = best_of(lambda: count(table.invocations(columns=["request", "response"])))
    sql_s, _ = best_of(lambda: table.sql(_SQL))
    return Found(decoded_s, cpu_s, bodies_s, sql_s)


CASES = (("dataframe_records", 1), ("dataframe_split", 1), ("dataframe_split", 100))


def run(bench: Bench) -> None:
    rows = ROWS if bench.plan.name == "full" else ROWS // 10
    for form, each in CASES:
        found = measure(make_table(bench.folder / "tables", rows, each, form), rows)
        target = Target("value", TARGET_S) if rows == ROWS else None
        what = f"{rows:,} decoded rows of 10 doubles, {form}, {each} a request"
        bench.rows += [
            Row("tables", what, found.decoded_s, "s", "their bodies alone", found.bodies_s, target=target),
            Row("tables", f"SQL over the invocations, {form}, {each} a request", found.sql_s, "s"),
        ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    rows = parser.parse_args().rows
    print("            form  rows each   decoded   CPU  bodies alone    SQL   (seconds)")
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as folder:
        for form, each in CASES:
            found = measure(make_table(Path(folder), rows, each, form), rows)
            print(
                f"{form:>17} {each:>9} {found.decoded_s:9.2f} {found.decoded_cpu_s:5.2f} {found.bodies_s:13.2f}"
                f" {found.sql_s:6.3f}",
                flush=True,
            )
    print(f"largest resident size: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
