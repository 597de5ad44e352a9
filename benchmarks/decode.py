"""Microseconds from a request's bytes to the model's frame: ours beside MLflow's own path, in the same run.

    python benchmarks/decode.py        (or as part of `python -m benchmarks`)

MLflow's path is its scoring server's parsing and its schema enforcement, without HTTP and without a model.
"""

from __future__ import annotations

import functools
import json
import logging
import timeit
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.models.signature import ModelSignature
from mlflow.pyfunc import _validate_prediction_input
from mlflow.pyfunc.scoring_server import _split_data_and_params, infer_and_parse_data

from tallystick.entities import Enforcement
from tallystick.protocol.codec import encode_predictions
from tallystick.protocol.enforce import compile_decoder
from tallystick.protocol.signature import parse_signature
from tallystick.worker.frame import assemble

if TYPE_CHECKING:
    from benchmarks.bench import Bench

MIXED = {"age": "long", "fare": "double", "seen": "datetime", "name": "string", "is_new": "boolean", "score": "float"}
DOUBLES = {f"feature_{n}": "double" for n in range(30)}


def value_of(kind: str, random: np.random.Generator) -> Any:
    match kind:
        case "long":
            return int(random.integers(0, 100))
        case "datetime":
            return f"2024-01-{random.integers(1, 28):02d}T10:00:00"
        case "string":
            return f"name {random.integers(0, 1000)}"
        case "boolean":
            return bool(random.integers(0, 2))
    return float(np.float32(random.normal())) if kind == "float" else float(random.normal())


def us(call: Callable[[], object], budget_s: float = 0.4) -> float:
    once = timeit.timeit(call, number=1)
    number = max(1, min(5000, int(budget_s / 3 / max(once, 1e-6))))
    return min(timeit.repeat(call, number=number, repeat=3)) / number * 1e6


def measure(columns: dict[str, str], form: str, rows: int, budget_s: float = 0.4) -> tuple[float, float, float]:
    """Return (decode, decode and frame, MLflow) in microseconds a request."""
    inputs = [{"name": name, "type": kind, "required": True} for name, kind in columns.items()]
    raw = {"inputs": json.dumps(inputs)}
    theirs = ModelSignature.from_dict(raw)
    decoder = compile_decoder(parse_signature(raw))
    random = np.random.default_rng(0)
    table = [[value_of(kind, random) for kind in columns.values()] for _ in range(rows)]
    value: Any = {"columns": list(columns), "data": table}
    if form == "dataframe_records":
        value = [dict(zip(columns, row, strict=True)) for row in table]
    body = json.dumps({form: value}).encode()

    def mlflow() -> Any:
        data, params = _split_data_and_params(body)
        return _validate_prediction_input(infer_and_parse_data(data, theirs.inputs), params, theirs.inputs, None)

    def decode() -> Any:
        return decoder.decode(body, "application/json", Enforcement.FLAG)

    return us(decode, budget_s), us(lambda: assemble([decode()]), budget_s), us(mlflow, budget_s)


@dataclass(frozen=True)
class Line:
    """One line of the table: microseconds a request."""

    columns: str
    rows: int
    form: str
    decode_us: float
    frame_us: float
    mlflow_us: float


def table(budget_s: float = 0.4) -> Iterator[Line]:
    """Measure line by line, each part of a line for about `budget_s`."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="mlflow")
    for title, columns in (("6 mixed", MIXED), ("30 double", DOUBLES)):
        for rows in (1, 10, 100, 1000):
            for form in ("dataframe_split", "dataframe_records"):
                yield Line(title, rows, form, *measure(columns, form, rows, budget_s))


def encode_us(rows: int, budget_s: float = 0.4) -> float:
    """Return microseconds of rendering so many predictions."""
    answer = np.random.default_rng(0).normal(size=rows)
    return us(functools.partial(encode_predictions, answer), budget_s)


def ledger_us(changed: int, columns: int = 50, budget_s: float = 0.4) -> tuple[float, float]:
    """Return microseconds to decode a row of whole numbers: all as the signature has them, and `changed` of them not.

    What these take longer is the coercion ledger's: to look at the values, change them as MLflow does, and count.
    """
    names = [f"feature_{n}" for n in range(columns)]
    raw = {"inputs": json.dumps([{"name": name, "type": "long", "required": True} for name in names])}
    decoder = compile_decoder(parse_signature(raw))

    def decoding(row: list[float]) -> Callable[[], object]:
        body = json.dumps({"dataframe_split": {"columns": names, "data": [row]}}).encode()
        return lambda: decoder.decode(body, "application/json", Enforcement.FLAG)

    exact: list[float] = list(range(columns))
    return us(decoding(exact), budget_s), us(
        decoding([each + 0.7 for each in exact[:changed]] + exact[changed:]), budget_s
    )


def run(bench: Bench) -> None:
    bench.decode += [asdict(line) for line in table(bench.plan.budget_s)]


def main() -> None:
    print("microseconds a request; ours/row with the frame")
    print("  columns  rows               form   decode   +frame    MLflow  ours/row  faster")
    for line in table():
        print(
            f"{line.columns:>9} {line.rows:>5} {line.form:>18} {line.decode_us:8.1f} {line.frame_us:8.1f}"
            f" {line.mlflow_us:9.1f} {line.frame_us / line.rows:9.2f} {line.mlflow_us / line.frame_us:6.0f}x"
        )
    for count in (1, 1000):
        print(f"encode {count} predictions: {encode_us(count):.1f}")
    for changed in (0, 1, 10, 50):
        exact, counted = ledger_us(changed)
        print(f"a row of 50 columns, {changed} changed and counted: {counted:.1f} ({counted - exact:+.1f})")


if __name__ == "__main__":
    main()
