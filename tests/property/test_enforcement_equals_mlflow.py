"""What the model gets is what MLflow's own path gives it: MLflow parses and enforces the same bytes here.

Two claims, for each generated signature and payload:

* exact payloads: where MLflow takes the payload, so do we, with equal values, dtypes, order and index; nothing is
  counted and strict mode takes it as well. Where MLflow refuses an exact payload we may be friendlier, as documented;
* odd payloads (any JSON value anywhere): where MLflow takes it, flag mode gives the same values; where MLflow
  refuses it, so do we, unless strict mode finds nothing lossy in it (the documented friendlier cases).
"""

from __future__ import annotations

import json
import logging
import warnings
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.models.signature import ModelSignature
from mlflow.pyfunc import _validate_prediction_input
from mlflow.pyfunc.scoring_server import (
    _split_data_and_params,
    infer_and_parse_data,
    parse_csv_input,
)
from pandas.testing import assert_frame_equal

from tallystick.entities import Enforcement
from tallystick.errors import BadRequest, InvalidInput
from tallystick.protocol.enforce import compile_decoder
from tallystick.protocol.signature import parse_signature
from tallystick.worker.frame import assemble

logging.getLogger("mlflow").setLevel(logging.ERROR)
REFUSED = object()
SETTINGS = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
JSON = "application/json"

SCALARS = ["boolean", "integer", "long", "float", "double", "string", "binary", "datetime"]
TEXT = st.text(st.characters(codec="ascii", exclude_characters="\x00"), max_size=6)
EXACT: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-(2**24), 2**24),
    "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53) | st.none(),
    "string": TEXT,
    "binary": st.sampled_from(["", "aGVsbG8=", "AAEC", "/+8="]),
    "datetime": st.dates(pd.Timestamp.min.date(), pd.Timestamp.max.date())
    .filter(lambda day: 1678 <= day.year <= 2261)
    .map(lambda day: day.isoformat()),
}
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.integers(-3, 3),
    st.sampled_from([1.5, -0.25, 2.0, 1e300, 1e-300, 1e20, 2.0**31, 2**31, 2**53 + 1, 2**63]),
    st.sampled_from(["", "1", "1.5", "x", "true", "false", "nan", "a=", "####", "aGk=", "é"]),
    st.sampled_from(["02/01/2024", "13/01/2024", "2024-01-01T10:00:00Z", "2024-02-30", "20240101", "3000-01-01"]),
)
# What most number types take, and change.
NUMBER_LIKE = st.one_of(
    st.booleans(), st.integers(-3, 3), st.floats(-9, 9), st.sampled_from(["1", "0", "-7", 2**24 + 1, 2**31])
)
# What a date takes as well, and binary does not.
NUMBERS = st.integers(-3, 3) | st.floats(-9, 9) | st.sampled_from([3e9, 1.7e18, 1e19, 2**31, 2**53 + 1])


def column(kind: str, name: str | None, required: bool = True) -> dict[str, Any]:
    return {"type": kind, "required": required, **({} if name is None else {"name": name})}


def raw_signature(inputs: list[dict[str, Any]], params: Any = None) -> dict[str, Any]:
    return {"inputs": json.dumps(inputs), "params": None if params is None else json.dumps(params)}


def by_mlflow(raw: dict[str, Any], body: bytes, *, csv: bool = False) -> Any:
    """Return (model input, params) of MLflow's path, or REFUSED."""
    signature = ModelSignature.from_dict(raw)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if csv:
                from io import StringIO

                data, params = parse_csv_input(StringIO(body.decode()), schema=signature.inputs), None
            else:
                parsed, params = _split_data_and_params(body)
                data = infer_and_parse_data(parsed, signature.inputs)
            return _validate_prediction_input(data, params, signature.inputs, signature.params)
    except Exception:
        return REFUSED


def by_us(raw: dict[str, Any], body: bytes, mode: Enforcement, content_type: str = JSON) -> Any:
    """Return (model input, decoded), or REFUSED."""
    try:
        decoded = compile_decoder(parse_signature(raw)).decode(body, content_type, mode)
    except (BadRequest, InvalidInput):
        return REFUSED
    return assemble([decoded]), decoded


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, pd.DataFrame):
        ours, theirs = cells_as_text(ours), cells_as_text(theirs)
        assert_frame_equal(ours, theirs, check_exact=True)
        for ours_cell, theirs_cell in zip(ours.to_numpy().ravel(), theirs.to_numpy().ravel(), strict=True):
            # NumPy's own text and bytes, in rows under `inputs`, are text and bytes here.
            assert type(ours_cell) is type(theirs_cell) or isinstance(theirs_cell, np.str_ | np.bytes_)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for name in theirs:
            assert_same(ours[name], theirs[name])
    else:
        assert ours.dtype.kind == theirs.dtype.kind
        assert ours.dtype == theirs.dtype or ours.dtype.kind in "US"
        assert ours.shape == theirs.shape
        np.testing.assert_array_equal(ours, theirs)


def cells_as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Write lists and objects as text, which tells 1 from 1.0 and takes NaN for equal."""
    return frame.map(lambda cell: repr(cell) if isinstance(cell, list | dict | np.ndarray) else cell)


def body_of(form: str, names: list[str], rows: list[list[Any]]) -> bytes:
    records = [dict(zip(names, row, strict=True)) for row in rows]
    value: Any
    if form == "dataframe_split":
        value = {"columns": names, "data": rows}
    elif form == "inputs":
        value = {name: [row[n] for row in rows] for n, name in enumerate(names)}
    else:
        value = records
    key = "inputs" if form == "inputs_rows" else form
    return json.dumps({key: value}).encode()


FORMS = st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs", "inputs_rows"])


@st.composite
def tables(draw: st.DrawFn, values: Any) -> tuple[dict[str, Any], bytes]:
    kinds = draw(st.lists(st.sampled_from(SCALARS), min_size=1, max_size=4))
    names = [f"c{n}" for n in range(len(kinds))]
    required = [draw(st.integers(0, 4)) > 0 for _ in kinds]
    raw = raw_signature([column(k, n, r) for k, n, r in zip(kinds, names, required, strict=True)])
    sent = [n for n, r in zip(names, required, strict=True) if r or draw(st.booleans())]
    if draw(st.booleans()):
        sent = draw(st.permutations(sent)) + (["extra"] if draw(st.booleans()) else [])
    by_name = dict(zip(names, kinds, strict=True))
    count = draw(st.integers(0, 3))
    rows = [[draw(values(by_name.get(name, "long"))) for name in sent] for _ in range(count)]
    return raw, body_of(draw(FORMS), sent, rows)


def check_exact(raw: dict[str, Any], body: bytes) -> None:
    theirs, ours, strict = (
        by_mlflow(raw, body),
        by_us(raw, body, Enforcement.FLAG),
        by_us(raw, body, Enforcement.STRICT),
    )
    if theirs is REFUSED:
        return
    assert ours is not REFUSED
    assert strict is not REFUSED
    assert ours[1].ledger == {}
    assert_same(ours[0], theirs[0])
    assert_same(strict[0], theirs[0])


def check_odd(raw: dict[str, Any], body: bytes, *, friendlier: bool = False) -> None:
    theirs, ours, strict = (
        by_mlflow(raw, body),
        by_us(raw, body, Enforcement.FLAG),
        by_us(raw, body, Enforcement.STRICT),
    )
    if theirs is REFUSED:
        assert friendlier or ours is REFUSED or ours[1].ledger == {}
        return
    assert ours is not REFUSED
    assert_same(ours[0], theirs[0])
    assert (strict is REFUSED) == (ours[1].ledger != {})


@SETTINGS
@given(tables(lambda kind: EXACT[kind] if kind != "binary" else st.just("AAEC")))
def test_exact_tables(case: tuple[dict[str, Any], bytes]) -> None:
    raw, body = case
    if b'"binary"' in raw["inputs"].encode() and b"dataframe_" not in body:
        return
    check_exact(raw, body)


@SETTINGS
@given(tables(lambda kind: EXACT[kind] | ODD))
def test_odd_tables(case: tuple[dict[str, Any], bytes]) -> None:
    check_odd(*case)


@st.composite
def wide_tables(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """Tables with many columns of a type, which are converted together."""
    kinds = [draw(st.sampled_from(SCALARS))] * draw(st.integers(4, 6))
    kinds += draw(st.lists(st.sampled_from(SCALARS), max_size=2))
    names = [f"c{n}" for n in range(len(kinds))]
    raw = raw_signature([column(kind, name) for kind, name in zip(kinds, names, strict=True)])
    odd = draw(st.sampled_from([NUMBER_LIKE, NUMBER_LIKE, NUMBERS, ODD]))
    rows = [
        [draw(EXACT[kind] if draw(st.booleans()) else odd) for kind in kinds] for _ in range(draw(st.integers(1, 3)))
    ]
    return raw, body_of(draw(FORMS), names, rows)


@SETTINGS
@given(wide_tables())
def test_odd_wide_tables(case: tuple[dict[str, Any], bytes]) -> None:
    check_odd(*case)


def nested_types(depth: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    scalar = st.sampled_from(["boolean", "long", "integer", "double", "float", "string", "binary"]).map(
        lambda kind: {"type": kind}
    )
    if depth == 0:
        return scalar
    inner = nested_types(depth - 1)
    prop = st.tuples(inner, st.booleans()).map(lambda pair: {**pair[0], "required": pair[1]})
    return st.one_of(
        scalar,
        inner.map(lambda items: {"type": "array", "items": items}),
        inner.map(lambda values: {"type": "map", "values": values}),
        st.dictionaries(st.sampled_from("pq"), prop, min_size=1).map(lambda p: {"type": "object", "properties": p}),
        st.just({"type": "any"}),
    )


def nested_values(kind: dict[str, Any], leaf: Any) -> st.SearchStrategy[Any]:
    match kind["type"]:
        case "array":
            return st.lists(nested_values(kind["items"], leaf), max_size=3)
        case "map":
            return st.dictionaries(st.sampled_from("xyz"), nested_values(kind["values"], leaf), max_size=2)
        case "object":
            parts = {name: nested_values(entry, leaf) for name, entry in kind["properties"].items()}
            needed = {name: part for name, part in parts.items() if kind["properties"][name]["required"]}
            rest = {name: part for name, part in parts.items() if name not in needed}
            return st.fixed_dictionaries(needed, optional=rest)
        case "any":
            return st.none() | st.integers(0, 5) | TEXT | st.lists(st.integers(0, 3), max_size=2)
        case scalar:
            return leaf(scalar)  # type: ignore[no-any-return]


@st.composite
def nested_tables(draw: st.DrawFn, leaf: Any) -> tuple[dict[str, Any], bytes]:
    kinds = draw(st.lists(nested_types(), min_size=1, max_size=2))
    names = [f"c{n}" for n in range(len(kinds))]
    raw = raw_signature([{**k, "name": n, "required": draw(st.booleans())} for k, n in zip(kinds, names, strict=True)])
    rows = [[draw(nested_values(kind, leaf)) for kind in kinds] for _ in range(draw(st.integers(1, 2)))]
    return raw, body_of(draw(st.sampled_from(["dataframe_split", "dataframe_records"])), names, rows)


def exact_leaf(kind: str) -> st.SearchStrategy[Any]:
    strategy = EXACT[kind]
    return strategy.filter(lambda value: value is not None)


@SETTINGS
@given(nested_tables(exact_leaf))
def test_exact_nested(case: tuple[dict[str, Any], bytes]) -> None:
    raw, body = case
    if '"binary"' not in raw["inputs"]:
        check_exact(raw, body)


@SETTINGS
@given(nested_tables(lambda kind: exact_leaf(kind) | ODD))
def test_odd_nested(case: tuple[dict[str, Any], bytes]) -> None:
    check_odd(*case, friendlier=True)


DTYPES = ["float64", "float32", "int64", "int32", "uint8", "bool", "str"]
TENSOR_EXACT: dict[str, st.SearchStrategy[Any]] = {
    "float64": EXACT["double"],
    "float32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "int64": EXACT["long"],
    "int32": EXACT["integer"],
    "uint8": st.integers(0, 255),
    "bool": st.booleans(),
    "str": TEXT,
}


def grids(shape: list[int], leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    if not shape:
        return leaf
    return st.lists(grids(shape[1:], leaf), min_size=shape[0], max_size=shape[0])


@st.composite
def tensor_requests(draw: st.DrawFn, odd: bool) -> tuple[dict[str, Any], bytes]:
    is_named = draw(st.booleans())
    count = draw(st.integers(1, 2)) if is_named else 1
    rows = draw(st.integers(1, 3))
    inputs, values = [], {}
    for n in range(count):
        dtype = draw(st.sampled_from(DTYPES))
        inner = draw(st.lists(st.integers(1, 2), max_size=2))
        spec = {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1, *inner]}}
        inputs.append({**spec, "name": f"t{n}"} if is_named else spec)
        leaf = TENSOR_EXACT[dtype] | ODD if odd else TENSOR_EXACT[dtype]
        values[f"t{n}"] = draw(grids([rows, *inner], leaf))
    key = draw(st.sampled_from(["inputs", "instances", "dataframe_split", "dataframe_records"]))
    value: Any
    if key.startswith("dataframe_"):
        names = list(values)
        cells = list(zip(*values.values(), strict=True))
        value = {"columns": names, "data": cells}
        if key == "dataframe_records":
            value = [dict(zip(names, row, strict=True)) for row in cells]
    elif not is_named:
        value = values["t0"]
    elif key == "instances" and draw(st.booleans()):
        value = [{name: values[name][row] for name in values} for row in range(rows)]
    else:
        value = values
    return raw_signature(inputs), json.dumps({key: value}).encode()


@SETTINGS
@given(tensor_requests(odd=False))
def test_exact_tensors(case: tuple[dict[str, Any], bytes]) -> None:
    check_exact(*case)


@SETTINGS
@given(tensor_requests(odd=True))
def test_odd_tensors(case: tuple[dict[str, Any], bytes]) -> None:
    check_odd(*case, friendlier=True)


@SETTINGS
@given(st.data())
def test_unnamed_columns(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["long", "double", "boolean", "string"]))
    width = data.draw(st.integers(1, 3))
    raw = raw_signature([column(kind, None)] * width)
    rows = data.draw(st.lists(st.lists(EXACT[kind], min_size=width, max_size=width), min_size=1, max_size=3))
    rows = [[v if v is not None else 0 for v in row] for row in rows]
    form = data.draw(st.sampled_from(["split", "named_split", "records", "inputs", "instances"]))
    names = ["x", "y", "z"][:width]
    body = {
        "split": {"dataframe_split": {"data": rows}},
        "named_split": {
            "dataframe_split": {"columns": names, "data": rows, "index": [f"i{n}" for n in range(len(rows))]}
        },
        "records": {"dataframe_records": [dict(zip(names, row, strict=True)) for row in rows]},
        "inputs": {"inputs": rows},
        "instances": {"instances": rows},
    }[form]
    check_exact(raw, json.dumps(body).encode())


@st.composite
def param_requests(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    pool: dict[str, list[Any]] = {
        "boolean": [True, False],
        "long": [1, 2**40],
        "integer": [3],
        "double": [1.5, 2.0],
        "float": [0.5],
        "string": ["a"],
        "datetime": ["2024-01-01", "2024-01-01T10:00:00"],
    }
    specs, sent = [], {}
    for n, kind in enumerate(draw(st.lists(st.sampled_from(list(pool)), min_size=1, max_size=3))):
        is_list = draw(st.booleans())
        default = draw(st.sampled_from(pool[kind]))
        specs.append(
            {
                "name": f"p{n}",
                "type": kind,
                "default": [default] if is_list else default,
                "shape": [-1] if is_list else None,
            }
        )
        one = st.sampled_from(pool[kind]) | ODD
        if draw(st.booleans()):
            sent[f"p{n}"] = draw(st.lists(one, max_size=2) | one) if is_list else draw(one)
    if draw(st.booleans()):
        sent["unknown"] = 1
    raw = raw_signature([column("long", "x")], draw(st.sampled_from([specs, specs, None])))
    return raw, json.dumps({"dataframe_records": [{"x": 1}], "params": sent}).encode()


@SETTINGS
@given(param_requests())
def test_params(case: tuple[dict[str, Any], bytes]) -> None:
    raw, body = case
    theirs, ours = by_mlflow(raw, body), by_us(raw, body, Enforcement.FLAG)
    assert (theirs is REFUSED) == (ours is REFUSED)
    if theirs is not REFUSED:
        assert ours[1].params == (theirs[1] or {})
        assert {k: type(v) for k, v in ours[1].params.items()} == {k: type(v) for k, v in (theirs[1] or {}).items()}


@SETTINGS
@given(st.data())
def test_csv(data: st.DataObject) -> None:
    kinds = data.draw(
        st.lists(st.sampled_from(["long", "integer", "double", "float", "boolean", "string"]), min_size=1, max_size=3)
    )
    cells = {
        "string": st.sampled_from(["a", "b c", "NA", "", "7", '"q,r"']),
        "boolean": st.sampled_from(["True", "False", "true", "1", ""]),
    }
    number = st.sampled_from(["1", "-7", "2.5", "1.0", "1e3", "", "x", "99999999999", "0.1"])
    raw = raw_signature([column(kind, f"c{n}") for n, kind in enumerate(kinds)])
    rows = [[data.draw(cells.get(kind, number)) for kind in kinds] for _ in range(data.draw(st.integers(1, 3)))]
    header = ",".join(f"c{n}" for n in range(len(kinds)))
    body = "\n".join([header, *(",".join(row) for row in rows)]).encode() + b"\n"
    theirs, ours = by_mlflow(raw, body, csv=True), by_us(raw, body, Enforcement.FLAG, "text/csv")
    if theirs is REFUSED:
        assert ours is REFUSED or by_us(raw, body, Enforcement.STRICT, "text/csv") is not REFUSED or ours[1].ledger
        return
    assert ours is not REFUSED
    assert_same(ours[0], theirs[0])


@SETTINGS
@given(st.sampled_from(["dataframe_split", "dataframe_records", "inputs", "instances", "array"]), st.data())
def test_no_signature(form: str, data: st.DataObject) -> None:
    cell = st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | TEXT | st.none() | st.booleans()
    rows = data.draw(st.lists(st.lists(cell, min_size=2, max_size=2), min_size=1, max_size=3))
    body = body_of(form, ["a", "b"], rows) if form != "array" else json.dumps({"inputs": rows}).encode()
    parsed, _ = _split_data_and_params(body)
    ours = by_us({}, body, Enforcement.FLAG)
    assert ours is not REFUSED
    assert_same(ours[0], infer_and_parse_data(parsed, None))


JSON_VALUES = st.recursive(
    ODD | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "columns", "data", "index"]), inner)
    ),
    max_leaves=8,
)
SOME_SIGNATURES: list[dict[str, Any]] = [
    {},
    raw_signature([column("double", "a"), column("double", "b")]),
    raw_signature([column("long", "a"), column("string", "b", required=False)]),
    raw_signature([column("double", None)] * 2),
    raw_signature([{"type": "array", "items": {"type": "double"}, "name": "a", "required": False}]),
    raw_signature([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]),
    raw_signature([{"type": "tensor", "name": "a", "tensor-spec": {"dtype": "int32", "shape": [-1]}}]),
]


@SETTINGS
@given(
    st.sampled_from(SOME_SIGNATURES),
    st.binary(max_size=60)
    | st.tuples(st.sampled_from(["dataframe_split", "dataframe_records", "inputs", "instances", "x"]), JSON_VALUES).map(
        lambda pair: json.dumps({pair[0]: pair[1]}).encode()
    ),
    st.sampled_from([JSON, "text/csv", "application/vnd.apache.arrow.stream"]),
    st.sampled_from(list(Enforcement)),
)
def test_nothing_but_our_errors_escapes(raw: dict[str, Any], body: bytes, content_type: str, mode: Enforcement) -> None:
    by_us(raw, body, mode, content_type)
