"""What the decoded view shows is what the decoder gave the model, however it was read.

For batches of generated bodies (layouts mixed, keys missing, doubled or unknown, values of any kind): each body that
the decoder takes has its rows in the view with equal values, and each that it refuses has none.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.entities import Enforcement
from tallystick.errors import TallystickError
from tallystick.protocol.enforce import compile_decoder
from tallystick.protocol.signature import Signature, parse_signature
from tallystick.records import bodies
from tallystick.records.decode import InputDecoder, Requests
from tallystick.records.values import rows_by_column

SETTINGS = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
CONNECTION = bodies.connect()
KINDS = ["double", "float", "long", "integer", "boolean", "string", "datetime", "binary"]
NAMES = ["a", "full", "null_rate", "größe"]
TEXT = st.text(max_size=4) | st.sampled_from(["null", 'a"b', "a\\", "\u00fc", "true", "1", "", "😀"])
EXACT: dict[str, st.SearchStrategy[Any]] = {
    "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53) | st.none(),
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-(2**24), 2**24) | st.none(),
    "long": st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "boolean": st.booleans(),
    "string": TEXT | st.none(),
    "datetime": st.sampled_from(["2024-01-31", "2024-01-31T10:00:00.123456789", "1999-12-31 23:59"]) | st.none(),
    "binary": st.sampled_from(["", "aGVsbG8=", "AAEC"]),
}
ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.sampled_from([1.5, 2.0, -0.0, 1e300, 1e-300, 2.0**31, 2**31, 2**53 + 1, 2**62 + 1, 2**63, 16777217]),
    st.sampled_from(["", "1", "2.0", "1.5", "x", "true", "nan", "2024-02-30", "02/01/2024"]),
    st.sampled_from([[], {}, [1.0], {"a": 1}]),
)
FORMS = ["dataframe_records", "dataframe_split", "inputs", "instances"]
CHANGES = ["odd", "odd", "odd", "rows", "extra", "lacking", "order", "escapes", "doubled", "more"]
MORE = [', "client_request_id": "null"', ', "params": {"x": "full"}', ', "usage_context": {"a": "b"}']


@st.composite
def signatures(draw: st.DrawFn) -> Signature:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    numbers_only = draw(st.booleans())
    kinds = [draw(st.sampled_from(KINDS[:4] if numbers_only else KINDS)) for _ in names]
    required = [draw(st.booleans()) for _ in names]
    entries = [{"name": n, "type": k, "required": r} for n, k, r in zip(names, kinds, required, strict=True)]
    return parse_signature({"inputs": json.dumps(entries)})


@st.composite
def body_of(draw: st.DrawFn, signature: Signature, form: str, *, is_plain: bool) -> str:
    """A body of exact values in the signature's order; when not `is_plain`, with one thing changed about it."""
    names = [str(column.name) for column in signature.columns]
    kinds = {str(column.name): str(column.type) for column in signature.columns}
    change = "" if is_plain else draw(st.sampled_from(CHANGES))
    rows = draw(st.integers(0, 3)) if change == "rows" else draw(st.integers(1, 2))
    if change == "extra":
        names.append("extra")
        kinds["extra"] = "string"
    elif change == "lacking" and len(names) > 1:
        names.pop(draw(st.integers(0, len(names) - 1)))
    elif change == "order":
        names = draw(st.permutations(names))
    cells = [[draw(EXACT[kinds[name]]) for name in names] for _ in range(rows)]
    if change == "odd" and rows:
        cells[draw(st.integers(0, rows - 1))][draw(st.integers(0, len(names) - 1))] = draw(ODD)
    written = [json.dumps(name, ensure_ascii=change == "escapes") for name in names]
    # Written by hand, as a key may be there twice.
    objects = [
        "{" + ", ".join(f"{name}: {json.dumps(value)}" for name, value in zip(written, row, strict=True)) + "}"
        for row in cells
    ]
    if change == "doubled" and objects:
        objects[0] = f"{objects[0][:-1]}, {written[0]}: {json.dumps(draw(EXACT[kinds[names[0]]] | ODD))}}}"
    if form == "dataframe_split":
        value = f'{{"columns": [{", ".join(written)}], "data": {json.dumps(cells)}}}'
    else:
        value = f"[{', '.join(objects)}]"
    more = draw(st.sampled_from(MORE)) if change == "more" else ""
    return f'{{"{form}": {value}{more}}}'


@st.composite
def batches(draw: st.DrawFn) -> tuple[Signature, list[str]]:
    signature = draw(signatures())
    form = draw(st.sampled_from(FORMS))
    # As many as make a query worth it: else all would go the decoder's way.
    house = [draw(body_of(signature, form, is_plain=True))] * (bodies._WORTH + 8)
    others = draw(st.lists(body_of(signature, form, is_plain=False), min_size=1, max_size=3))
    strangers = draw(st.lists(body_of(signature, draw(st.sampled_from(FORMS)), is_plain=False), max_size=2))
    again = others * draw(st.sampled_from([1, bodies._WORTH + 8]))
    return signature, draw(st.sampled_from([house + again + strangers, strangers + again + house]))


def by_norm(signature: Signature, body: str) -> dict[str, list[Any]] | None:
    relaxed = replace(signature, columns=tuple(replace(column, required=False) for column in signature.columns))
    try:
        decoded = compile_decoder(relaxed).decode(body.encode(), "application/json", Enforcement.FLAG)
    except TallystickError:
        return None
    found = rows_by_column(decoded.data, decoded.rows)
    return {
        str(column.name): [None] * decoded.rows if column.name not in found else list(found[str(column.name)])
        for column in signature.columns
    }


def requests(some: list[str]) -> Requests:
    nothing = len(some)
    return Requests(
        pa.array(some, pa.string()),
        pa.nulls(nothing, pa.string()),
        pa.nulls(nothing, pa.list_(pa.string())),
        pa.nulls(nothing, pa.int64()),
    )


def comparable(value: Any, kind: pa.DataType) -> Any:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return None
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else int(value.astype("datetime64[ns]").astype(np.int64))
    if pa.types.is_string(kind) and not isinstance(value, str):
        # What is no text in a column of text is shown as JSON.
        return json.loads(json.dumps(value.item() if isinstance(value, np.generic) else value))
    if pa.types.is_binary(kind) and isinstance(value, str):
        return value.encode()
    item = value.item() if isinstance(value, np.generic) else value
    # Equal floats have equal signs and bits here.
    return (item, math.copysign(1, item)) if isinstance(item, float) else item


def shown(value: pa.Scalar, kind: pa.DataType, expected: Any) -> Any:
    if pa.types.is_timestamp(kind):
        return value.value
    plain = value.as_py()
    if pa.types.is_string(kind) and plain is not None and not isinstance(expected, str):
        return json.loads(plain)
    return comparable(plain, kind)


@SETTINGS
@given(batches())
def test_view_has_what_the_decoder_gives_for_each_body(batch: tuple[Signature, list[str]]) -> None:
    signature, some = batch
    decoder = InputDecoder(signature, CONNECTION)
    rows = decoder.decode(requests(some))
    seen: dict[str, dict[str, list[Any]] | None] = {}
    position = 0
    for number, body in enumerate(some):
        if body not in seen:
            seen[body] = by_norm(signature, body)
        expected = seen[body]
        count = 0 if expected is None else len(next(iter(expected.values())))
        assert rows.requests[position : position + count].tolist() == [number] * count, body
        assert rows.row[position : position + count].tolist() == list(range(count))
        for name, kind in decoder.fields.items():
            assert rows.columns[name].type == kind
            for place in range(count):
                assert expected is not None
                want = comparable(expected[name][place], kind)
                assert shown(rows.columns[name][position + place], kind, want) == want, (name, body)
        position += count
    assert position == len(rows.requests)
    assert rows.undecoded["request cannot be decoded"] == sum(1 for body in some if seen[body] is None)


@SETTINGS
@given(st.lists(st.lists(EXACT["double"], min_size=2, max_size=2), min_size=1, max_size=5))
def test_exact_numbers_are_all_read_at_once(table: list[list[Any]]) -> None:
    """Nothing of this goes the slow way: the property above would hold for a reader that takes nothing."""
    table = [[0.5 if x is not None and abs(x) >= 2**53 else x for x in row] for row in table]
    signature = parse_signature({"inputs": '[{"name": "a", "type": "double"}, {"name": "full", "type": "double"}]'})
    for value in (
        {"dataframe_split": {"columns": ["full", "a"], "data": table}},
        {"dataframe_records": [dict(zip(("a", "full"), row, strict=True)) for row in table]},
    ):
        reader = bodies.BodyReader(signature, CONNECTION)
        taken, left = reader.read(pa.array([json.dumps(value)] * 40))
        assert len(left) == 0
        assert sum(len(part.requests) for part in taken) == 40
