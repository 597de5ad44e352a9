"""Several requests become one input; a model that changes its input does not reach the next call."""

import json
from typing import Any

import numpy as np
import pandas as pd
from pandas.testing import assert_frame_equal

from tallystick.entities import Enforcement
from tallystick.protocol.enforce import Decoded, Decoder, compile_decoder
from tallystick.protocol.signature import parse_signature
from tallystick.worker.frame import _build_slowly, _index, _names, _values, assemble


def decoder(**columns: str) -> Decoder:
    inputs = [{"name": name, "type": kind, "required": True} for name, kind in columns.items()]
    return compile_decoder(parse_signature({"inputs": json.dumps(inputs)}))


def decode(on: Decoder, key: str, value: Any) -> Decoded:
    return on.decode(json.dumps({key: value}).encode(), "application/json", Enforcement.FLAG)


MIXED = decoder(a="double", n="long", s="string", d="datetime", b="boolean", x="binary", y="long")


def row(number: int) -> dict[str, Any]:
    date = f"2024-01-{number + 1:02d}"
    return {"a": number / 2, "n": number, "s": f"s{number}", "d": date, "b": number > 1, "x": "aGk=", "y": -number}


def test_joined_requests_equal_one_request_with_all_rows() -> None:
    whole = assemble([decode(MIXED, "dataframe_records", [row(n) for n in range(4)])])
    parts = [decode(MIXED, "dataframe_records", [row(n) for n in rows]) for rows in ((0,), (1, 2), (3,))]
    assert len({part.form for part in parts}) == 1
    assert_frame_equal(assemble(parts), whole)
    assert whole["s"].dtype == pd.Series(["a"]).dtype
    assert isinstance(whole.index, pd.RangeIndex)


def test_blocks_are_joined() -> None:
    on = decoder(a="double", b="double")
    parts = [decode(on, "dataframe_split", {"columns": ["a", "b"], "data": [[n, n + 0.5]]}) for n in range(3)]
    frame = assemble(parts)
    assert frame.to_numpy().tolist() == [[0, 0.5], [1, 1.5], [2, 2.5]]
    assert list(frame.columns) == ["a", "b"]


def test_own_index_is_kept() -> None:
    frame = assemble([decode(decoder(a="long"), "dataframe_split", {"columns": ["a"], "data": [[1]], "index": ["k"]})])
    assert frame.index.tolist() == ["k"]


def test_renaming_in_a_model_does_not_stay() -> None:
    on = decoder(a="double")
    first = assemble([decode(on, "dataframe_records", [{"a": 1.0}])])
    first.columns.name = "changed"
    first["new"] = 1
    second = assemble([decode(on, "dataframe_records", [{"a": 1.0}])])
    assert second.columns.name is None
    assert list(second.columns) == ["a"]


def test_older_pandas_builds_the_same_frame() -> None:
    decoded = decode(MIXED, "dataframe_records", [row(0), row(1)])
    data: Any = decoded.data
    slow = _build_slowly(_names(data.names), _index(data, 2), [_values(column) for column in data.columns])
    assert_frame_equal(slow, assemble([decoded]))


def test_arrays_and_lists() -> None:
    entry = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}
    unnamed = compile_decoder(parse_signature({"inputs": json.dumps([entry])}))
    parts = [decode(unnamed, "inputs", [[n, n]]) for n in range(2)]
    assert parts[0].form == parts[1].form
    np.testing.assert_array_equal(assemble(parts), np.array([[0, 0], [1, 1]], dtype=np.float32))
    named = compile_decoder(parse_signature({"inputs": json.dumps([{**entry, "name": "t"}])}))
    joined = assemble([decode(named, "inputs", {"t": [[n, n]]}) for n in range(2)])
    assert joined["t"].shape == (2, 2)
    hints = compile_decoder(parse_signature(None), type_hints=True)
    assert assemble([decode(hints, "inputs", ["a"]), decode(hints, "inputs", ["b", "c"])]) == ["a", "b", "c"]


def test_a_frame_without_a_signature_is_what_pandas_makes_of_it() -> None:
    on = compile_decoder(parse_signature(None))
    rows = [{"a": 1, "b": "x"}, {"a": None}]
    assert_frame_equal(assemble([decode(on, "dataframe_records", rows)]), pd.DataFrame(rows))
