"""Microseconds from a request's bytes to the model's frame: ours beside MLflow's own path, in the same run.

    python benchmarks/decode.py        (or as part of `python -m benchmarks`)

MLflow's path is its scoring server's parsing and its schema enforcement, without HTTP and without a model.
"""

from __future__ import annotations

import base64
import functools
import json
import logging
import timeit
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from unittest import mock

import numpy as np
from mlflow.models.signature import ModelSignature
from mlflow.pyfunc import _validate_prediction_input
from mlflow.pyfunc.scoring_server import _split_data_and_params, infer_and_parse_data

from tallystick.entities import Enforcement
from tallystick.protocol import lossy
from tallystick.protocol.codec import encode_predictions
from tallystick.protocol.enforce import Decoder, compile_decoder
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


#: Title, type of the columns, and what is sent in place of a value that fits.
Change: TypeAlias = tuple[str, str, Callable[[Any], Any]]
CHANGES: tuple[Change, ...] = (
    ("fraction for long", "long", lambda value: value + 0.7),
    ("text for long", "long", str),
    ("true for long", "long", lambda value: True),
    ("64 bits for integer", "integer", lambda value: value + 2**31),
    ("3e9 for integer", "integer", lambda value: 3e9),
    ("1e39 for float", "float", lambda value: 1e39),
    ("text for double", "double", str),
    ("2^53 + 1 for double", "double", lambda value: 2**53 + 1),
    ("null for boolean", "boolean", lambda value: None),
    ("text for boolean", "boolean", lambda value: "false"),
    ("number for string", "string", len),
    ("whole for datetime", "datetime", lambda value: 1_700_000_000),
    ("fraction for datetime", "datetime", lambda value: 1.7e9 + 0.5),
    ("bad base64 for binary", "binary", lambda value: value[:4] + "!" + value[4:]),
    ("odd date for datetime", "datetime", lambda value: "Jan 5, 2024"),
)
_FITS: dict[str, Callable[[int], Any]] = {
    "double": lambda n: n + 0.5,
    "float": lambda n: n + 0.5,
    "boolean": lambda n: n % 2 == 0,
    "string": lambda n: f"name {n}",
    "datetime": lambda n: f"2024-01-{n % 28 + 1:02d}T10:00:00",
    "binary": lambda n: base64.b64encode(f"bytes {n}".encode()).decode(),
}


@dataclass(frozen=True)
class LedgerLine:
    """Microseconds a request of which every row has `changed` of its 50 values changed and counted."""

    change: str
    rows: int
    changed: int
    exact_us: float
    #: With the changes, where pandas's answers are at hand; what it takes longer is the ledger's.
    own_us: float
    #: And where pandas is asked. The same, if it never is.
    decode_us: float
    mlflow_us: float


def ledger_table(columns: int = 50, budget_s: float = 0.4) -> Iterator[LedgerLine]:
    """Measure decoding rows as the signature has them and with changes, in turns, and MLflow on the latter.

    The last lines have columns of all types in turns, with one kind of change each.
    """
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="mlflow|pandas")
    names = [f"feature_{n}" for n in range(columns)]
    # Without the odd dates, whose time is that of pandas.
    each = list({change[1]: change for change in CHANGES[:-1]}.values())
    for title, changes in [(change[0], [change]) for change in CHANGES] + [(f"{len(each)} types in turns", each)]:
        of = [changes[n % len(changes)] for n in range(columns)]
        entries = [{"name": name, "type": kind, "required": True} for name, (_, kind, _) in zip(names, of, strict=True)]
        raw = {"inputs": json.dumps(entries)}
        decoder, theirs = compile_decoder(parse_signature(raw)), ModelSignature.from_dict(raw).inputs
        exact = [_FITS.get(kind, int)(n) for n, (_, kind, _) in enumerate(of)]
        for rows in (1, 100):
            for changed in (1, 10, 50):
                sent = [change(value) for value, (_, _, change) in zip(exact[:changed], of, strict=False)]
                sent += exact[changed:]
                yield LedgerLine(title, rows, changed, *_ledger_us(decoder, theirs, names, exact, sent, rows, budget_s))


class _Remembered:
    """Stands in the place of pandas: asks it once for each column, and says the same from then on."""

    def __init__(self) -> None:
        self.answers: dict[Any, Any] = {}
        self._ask = lossy.cast_by_pandas

    def __call__(self, values: Any, *how: Any) -> Any:
        key = (tuple(values), *how)
        if key not in self.answers:
            self.answers[key] = self._ask(values, *how)
        return self.answers[key]


def _ledger_us(
    decoder: Decoder, theirs: Any, names: list[str], exact: list[Any], sent: list[Any], rows: int, budget_s: float
) -> tuple[float, float, float, float]:
    fit, odd = (
        json.dumps({"dataframe_split": {"columns": names, "data": [row] * rows}}).encode() for row in (exact, sent)
    )

    def decode(body: bytes) -> Any:
        return decoder.decode(body, "application/json", Enforcement.FLAG)

    def mlflow() -> Any:
        data, params = _split_data_and_params(odd)
        return _validate_prediction_input(infer_and_parse_data(data, theirs), params, theirs, None)

    assert decode(odd).ledger
    assert not decode(fit).ledger
    # Many short turns: what else runs on the machine is out of the way in some of them.
    pandas = _Remembered()
    with mock.patch.object(lossy, "cast_by_pandas", pandas):
        turns = [(us(lambda: decode(fit), budget_s / 20), us(lambda: decode(odd), budget_s / 20)) for _ in range(20)]
    best_fit, best_odd = (min(turn) for turn in zip(*turns, strict=True))
    asking = min(us(lambda: decode(odd), budget_s / 4) for _ in range(8)) if pandas.answers else best_odd
    return best_fit, best_odd, asking, us(mlflow, budget_s)


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
    print("microseconds of 50 columns whose values are changed and counted, above those of a request that fits")
    print("               change  rows  changed   exact   decode   above    pandas    MLflow")
    for each in ledger_table():
        print(
            f"{each.change:>21} {each.rows:>5} {each.changed:>8} {each.exact_us:7.1f} {each.decode_us:8.1f}"
            f" {each.own_us - each.exact_us:+7.1f} {each.decode_us - each.own_us:9.1f} {each.mlflow_us:9.1f}"
        )


if __name__ == "__main__":
    main()
