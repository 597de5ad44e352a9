"""Recorded bodies and answers become rows: what the model saw, what it said, and a count of what cannot be told."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tallystick.entities import Enforcement
from tallystick.errors import TallystickError
from tallystick.protocol.enforce import compile_decoder
from tallystick.protocol.signature import Signature, parse_signature
from tallystick.records import bodies
from tallystick.records.decode import MISSING, TOO_LARGE, UNREADABLE, InputDecoder, Requests, infer_fields
from tallystick.records.predictions import Answers, PredictionReader, declared_type, prediction_type
from tallystick.records.values import rows_by_column

CONNECTION = bodies.connect()
MANY = bodies._WORTH + 8
ODD_TEXTS = ["1", "2.0", "1e3", "1.5", " 1", "nan"]
ODD_NUMBERS = [1.9, -0.0, 2**24 + 1, 2**31, 2**53 + 1, 2**63, 10**30, 1e-320, 1e300]


def signature(outputs: Any = None, **inputs: str) -> Signature:
    entries = [{"name": name, "type": kind, "required": True} for name, kind in inputs.items()]
    return parse_signature(
        {
            "inputs": json.dumps(entries) if entries else None,
            "outputs": None if outputs is None else json.dumps(outputs),
        }
    )


def requests(some: list[str | None], kind: str | None = None, codes: list[str] | None = None) -> Requests:
    count = len(some)
    return Requests(
        pa.array(some, pa.string()),
        pa.array([kind] * count, pa.string()),
        pa.array([codes] * count, pa.list_(pa.string())),
        pa.nulls(count, pa.int64()),
    )


def answers(some: list[Any], kind: str | None = None) -> Answers:
    texts = [None if each is None else json.dumps({"predictions": each}) for each in some]
    return Answers(
        pa.array(texts, pa.string()),
        pa.array([kind] * len(some), pa.string()),
        pa.nulls(len(some), pa.list_(pa.string())),
    )


def decode(model: Signature, *some: str | None, kind: str | None = None, codes: list[str] | None = None) -> Any:
    return InputDecoder(model, CONNECTION).decode(requests(list(some), kind, codes))


def body(form: str, rows: list[dict[str, Any]]) -> str:
    if form == "dataframe_split":
        return json.dumps({form: {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}})
    return json.dumps({form: rows})


@pytest.mark.parametrize("form", ["dataframe_records", "dataframe_split", "inputs", "instances"])
@pytest.mark.parametrize("kind", ["double", "float", "long", "integer"])
@pytest.mark.parametrize(
    "odd",
    [None, True, False, *ODD_TEXTS, *ODD_NUMBERS, [], [1], {}, {"a": 1}],
    ids=str,
)
def test_one_odd_value_among_many_numbers_is_read_as_the_decoder_reads_it(form: str, kind: str, odd: Any) -> None:
    model = signature(full=kind, null=kind)
    plain, strange = (
        body(form, [{"full": 1, "null": 2}]),
        body(form, [{"full": 1, "null": odd}, {"full": 3, "null": 4}]),
    )
    rows = decode(model, *[plain] * MANY, strange)
    try:
        decoded = compile_decoder(model).decode(strange.encode(), "application/json", Enforcement.FLAG)
    except TallystickError:
        assert len(rows.row) == MANY
        assert rows.undecoded == {UNREADABLE: 1}
        return
    expected = rows_by_column(decoded.data, decoded.rows)
    for name in ("full", "null"):
        shown = rows.columns[name].slice(MANY).to_pylist()
        assert [np.nan if value is None else value for value in shown] == pytest.approx(
            list(expected[name]), rel=0, abs=0, nan_ok=True
        )
    assert rows.row[MANY:].tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["double", "string"])
def test_columns_in_another_order_keep_their_values(kind: str) -> None:
    one = {"a": 1.5, "b": 2.5} if kind == "double" else {"a": "x", "b": "y"}
    other = dict(reversed(one.items()))
    some = [body("dataframe_split", [one])] * MANY + [body("dataframe_split", [other])] * MANY
    rows = decode(signature(a=kind, b=kind), *some)
    assert rows.columns["a"].to_pylist() == [one["a"]] * (2 * MANY)
    assert rows.columns["b"].to_pylist() == [one["b"]] * (2 * MANY)
    assert rows.requests.tolist() == list(range(2 * MANY))


def test_a_key_that_stands_twice_counts_as_it_stands_last() -> None:
    rows = decode(signature(a="double"), *['{"dataframe_records": [{"a": 1, "a": 2}]}'] * MANY)
    assert rows.columns["a"].to_pylist() == [2.0] * MANY


def test_a_body_without_a_column_is_not_taken_for_one_with_it() -> None:
    without, with_it = '{"dataframe_records": [{"a": 1}]}', '{"dataframe_records": [{"a": 1, "b": 7}]}'
    rows = decode(signature(a="double", b="double"), *[without] * MANY, *[with_it] * MANY)
    assert rows.columns["b"].to_pylist() == [None] * MANY + [7.0] * MANY


def test_bodies_that_the_server_kept_otherwise_are_decoded_or_counted() -> None:
    model = signature(a="long")
    text = '{"dataframe_records": [{"a": 7}]}'
    hidden = base64.b64encode(text.encode()).decode()
    assert decode(model, hidden, codes=["REQUEST_AS_BASE64"]).columns["a"].to_pylist() == [7]
    assert decode(model, None, codes=["MAX_REQUEST_SIZE_EXCEEDED"]).undecoded == {TOO_LARGE: 1}
    assert decode(model, None).undecoded == {MISSING: 1}
    assert decode(model, "\ufeffnope", text).undecoded == {UNREADABLE: 1}
    assert decode(model, "a\n1\n2\n", kind="text/csv").columns["a"].to_pylist() == [1, 2]
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, pa.schema([("a", pa.int64())])) as stream:
        stream.write_table(pa.table({"a": [5]}))
    arrow = base64.b64encode(sink.getvalue()).decode()
    rows = decode(model, arrow, kind="application/vnd.apache.arrow.stream", codes=["REQUEST_AS_BASE64"])
    assert rows.columns["a"].to_pylist() == [5]


def test_left_out_rows_are_counted_as_many_as_they_were() -> None:
    known = Requests(
        pa.array([None], pa.string()), pa.nulls(1, pa.string()), pa.nulls(1, pa.list_(pa.string())), pa.array([100])
    )
    assert InputDecoder(signature(a="long"), CONNECTION).decode(known).undecoded == {MISSING: 100}


def test_types_are_those_of_the_signature() -> None:
    nested = parse_signature(
        {
            "inputs": json.dumps(
                [
                    {"name": "when", "type": "datetime"},
                    {"name": "raw", "type": "binary"},
                    {"name": "vector", "type": "array", "items": {"type": "double"}},
                    {"name": "any", "type": "any"},
                ]
            )
        }
    )
    row = {"when": "2024-01-31T10:00:00", "raw": "aGk=", "vector": [1.5, 2], "any": {"x": [1]}}
    rows = decode(nested, body("dataframe_records", [row]))
    assert {name: column.type for name, column in rows.columns.items()} == {
        "when": pa.timestamp("ns"),
        "raw": pa.binary(),
        "vector": pa.list_(pa.float64()),
        "any": pa.string(),
    }
    assert rows.columns["raw"].to_pylist() == [b"hi"]
    assert rows.columns["vector"].to_pylist() == [[1.5, 2.0]]
    assert rows.columns["any"].to_pylist() == ['{"x":[1]}']


def test_a_tensor_is_a_column_of_lists() -> None:
    spec = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2, 2]}}]
    model = parse_signature({"inputs": json.dumps(spec)})
    rows = decode(model, json.dumps({"inputs": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]}))
    assert rows.columns["input"].type == pa.list_(pa.list_(pa.float32()))
    assert rows.columns["input"].to_pylist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert rows.row.tolist() == [0, 1]


def test_without_a_signature_columns_are_inferred_and_an_odd_value_is_null() -> None:
    fields = infer_fields(requests(['{"dataframe_records": [{"n": 1, "t": "x"}]}', "broken"]))
    assert fields == {"n": pa.float64(), "t": pa.string()}
    decoder = InputDecoder(Signature(), CONNECTION, fields)
    rows = decoder.decode(requests(['{"dataframe_records": [{"n": "odd", "t": 5}]}']))
    assert rows.columns["n"].to_pylist() == [None]
    assert rows.columns["t"].to_pylist() == ["5"]
    assert sum(rows.undecoded.values()) == 1


def read(kind: pa.DataType, some: list[Any], rows: list[int]) -> tuple[list[Any], Counter[str]]:
    undecoded: Counter[str] = Counter()
    found = PredictionReader(kind, CONNECTION).read(
        answers(some), np.arange(len(some)), np.array(rows, np.int64), undecoded
    )
    return found.to_pylist(), +undecoded


@pytest.mark.parametrize("odd", [None, "1", True, [1], {"a": 2.5}, 3], ids=str)
def test_one_odd_prediction_among_many_numbers_is_no_number(odd: Any) -> None:
    found, undecoded = read(pa.float64(), [[1.5]] * 3 + [[odd]], [1] * 4)
    expected = {3: 3.0, None: None}.get(odd) if isinstance(odd, int | None) and odd is not True else None
    expected = 2.5 if isinstance(odd, dict) else expected
    assert found == [1.5, 1.5, 1.5, expected]
    assert sum(undecoded.values()) == (expected is None and odd is not None)


def test_predictions_go_to_their_rows() -> None:
    found, undecoded = read(pa.float64(), [[1, 2], [3], 4, [5, 6, 7]], [2, 1, 1, 2])
    assert found == [1.0, 2.0, 3.0, 4.0, None, None]
    assert undecoded == {"predictions are not one a row": 2}
    assert read(pa.string(), [["a", 'b"'], ["c"]], [2, 1])[0] == ["a", 'b"', "c"]
    assert read(pa.bool_(), [[True, False]], [2])[0] == [True, False]
    assert read(pa.list_(pa.float64()), [[[0.1, 0.9]], [[1, None]]], [1, 1])[0] == [[0.1, 0.9], [1.0, None]]


def test_the_type_of_a_prediction_is_declared_unless_the_answers_say_otherwise() -> None:
    long = declared_type(signature([{"type": "long"}]))
    assert long == pa.int64()
    assert prediction_type(long, answers([[1, 0]]), [2]) == pa.int64()
    assert prediction_type(long, answers([[0.5]]), [1]) == pa.float64()
    assert prediction_type(None, answers([["yes"]]), [1]) == pa.string()
    assert prediction_type(None, answers([[[0.1, 0.9]]]), [1]) == pa.list_(pa.float64())
    two = declared_type(signature([{"name": "p", "type": "double"}, {"name": "c", "type": "string"}]))
    assert two == pa.struct([("p", pa.float64()), ("c", pa.string())])
    assert read(two, [[{"p": 1, "c": "x"}], {"p": [2], "c": ["y"]}], [1, 1])[0] == [
        {"p": 1.0, "c": "x"},
        {"p": 2.0, "c": "y"},
    ]
