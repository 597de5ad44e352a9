"""Microseconds from a request's bytes to the model's frame: ours beside MLflow's own path, in the same run.

    python benchmarks/decode.py

MLflow's path is its scoring server's parsing and its schema enforcement, without HTTP and without a model.
"""

from __future__ import annotations

import functools
import json
import logging
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np
from mlflow.models.signature import ModelSignature
from mlflow.pyfunc import _validate_prediction_input
from mlflow.pyfunc.scoring_server import _split_data_and_params, infer_and_parse_data

from tallystick.entities import Enforcement
from tallystick.protocol.codec import encode_predictions
from tallystick.protocol.enforce import compile_decoder
from tallystick.protocol.signature import parse_signature
from tallystick.worker.frame import assemble

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


def measure(columns: dict[str, str], form: str, rows: int) -> tuple[float, float, float]:
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

    return us(decode), us(lambda: assemble([decode()])), us(mlflow)


def main() -> None:
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    print("microseconds a request; ours/row with the frame")
    print("  columns  rows               form   decode   +frame    MLflow  ours/row  faster")
    for title, columns in (("6 mixed", MIXED), ("30 double", DOUBLES)):
        for rows in (1, 10, 100, 1000):
            for form in ("dataframe_split", "dataframe_records"):
                ours, whole, peer = measure(columns, form, rows)
                print(
                    f"{title:>9} {rows:>5} {form:>18} {ours:8.1f} {whole:8.1f} {peer:9.1f}"
                    f" {whole / rows:9.2f} {peer / whole:6.0f}x"
                )
    for count in (1, 1000):
        answer = np.random.default_rng(0).normal(size=count)
        print(f"encode {count} predictions: {us(functools.partial(encode_predictions, answer)):.1f}")


if __name__ == "__main__":
    main()
