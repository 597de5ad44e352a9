"""Values that fit, values that are changed and counted, values that are refused."""

import json
from typing import Any

import numpy as np
import pytest

from tallystick.entities import Enforcement
from tallystick.errors import BadRequest, InvalidInput
from tallystick.protocol.enforce import Decoded, Decoder, compile_decoder
from tallystick.protocol.signature import parse_signature

JSON = "application/json"


def decoder(*columns: tuple[str, str] | dict[str, Any], **rest: Any) -> Decoder:
    inputs = [c if isinstance(c, dict) else {"name": c[0], "type": c[1], "required": True} for c in columns]
    raw = {"inputs": json.dumps(inputs), "params": json.dumps(rest["params"]) if "params" in rest else None}
    return compile_decoder(parse_signature(raw))


def decode(on: Decoder, body: Any, mode: Enforcement = Enforcement.FLAG) -> Decoded:
    return on.decode(body if isinstance(body, bytes) else json.dumps(body).encode(), JSON, mode)


def column(decoded: Decoded, position: int = 0) -> list[Any]:
    data: Any = decoded.data
    values = data.block[:, position] if data.block is not None else data.columns[position]
    return values.tolist() if isinstance(values, np.ndarray) else values


def refusal(on: Decoder, body: Any, mode: Enforcement = Enforcement.FLAG) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        decode(on, body, mode)
    return caught.value


def test_doubles_are_one_block() -> None:
    on = decoder(("a", "double"), ("b", "double"))
    for body in (
        {"dataframe_split": {"columns": ["b", "a"], "data": [[2, 1.5], [None, 3.0]]}},
        {"dataframe_records": [{"b": 2, "a": 1.5}, {"b": None, "a": 3.0}]},
        {"inputs": [{"b": 2, "a": 1.5}, {"b": None, "a": 3.0}]},
    ):
        decoded = decode(on, body, Enforcement.STRICT)
        assert decoded.data.block.shape == (2, 2)  # type: ignore[union-attr]
        np.testing.assert_array_equal(decoded.data.block, [[1.5, 2.0], [3.0, np.nan]])  # type: ignore[union-attr]
        assert decoded.rows == 2


@pytest.mark.parametrize(
    ("kind", "sent", "got"),
    [
        ("long", 1.0, 1),
        ("integer", -(2**31), -(2**31)),
        ("double", 2**53, 2.0**53),
        ("double", None, None),
        ("boolean", 1, True),
        ("boolean", 0.0, False),
        ("binary", "aGVs\nbG8=", b"hello"),
        ("datetime", "2024-01-31 10:00", 1706695200000000000),
        ("string", "", ""),
        ("string", None, None),
    ],
)
def test_lossless_values_are_taken_in_strict_mode(kind: str, sent: Any, got: Any) -> None:
    decoded = decode(decoder(("x", kind)), {"dataframe_records": [{"x": sent}]}, Enforcement.STRICT)
    assert decoded.ledger == {}
    (value,) = column(decoded)
    assert value == got or (got is None and value != value)


COERCIONS = [
    ("long", 1.9, 1, "fraction_dropped"),
    ("long", 2**63, -(2**63), "overflow"),
    ("long", 1e20, -(2**63), "overflow"),
    ("long", "7", 7, "number_from_text"),
    ("long", True, 1, "number_from_boolean"),
    ("integer", 2**31, -(2**31), "overflow"),
    ("double", "1.5", 1.5, "number_from_text"),
    ("double", 2**60 + 1, 2.0**60, "precision_lost"),
    ("float", 1e300, float("inf"), "float_overflow"),
    ("float", 1e-300, 0.0, "float_underflow"),
    ("float", 2**24 + 1, 2.0**24, "precision_lost"),
    ("boolean", "false", True, "truthy"),
    ("boolean", 2, True, "truthy"),
    ("boolean", None, False, "null_to_false"),
    ("string", 5, 5, "not_text"),
    ("datetime", 1704153600000, 1704153600000, "epoch_unit"),
    ("datetime", "02/01/2024", 1706745600000000000, "ambiguous_date"),
    ("datetime", "13/01/2024", 1705104000000000000, "ambiguous_date"),
    ("datetime", "Jan 5 2024", 1704412800000000000, "date_guessed"),
    ("binary", "####", b"", "bad_base64"),
]


@pytest.mark.parametrize(("kind", "sent", "got", "coercion"), COERCIONS)
def test_lossy_values_are_counted_or_refused(kind: str, sent: Any, got: Any, coercion: str) -> None:
    on, body = decoder(("x", kind)), {"dataframe_records": [{"x": sent}]}
    decoded = decode(on, body)
    assert column(decoded) == [got]
    assert decoded.ledger == {"x": {coercion: 1}}
    message = refusal(on, body, Enforcement.STRICT).message
    assert "dataframe_records[0].x" in message
    assert "expected" in message


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("long", None),
        ("long", "x"),
        ("integer", [1]),
        ("double", "x"),
        ("double", {}),
        ("binary", 5),
        ("datetime", "2024-01-01T00:00:00Z"),
        ("datetime", "2024-02-30"),
        ("datetime", "9999-01-01"),
        ("datetime", True),
    ],
)
def test_what_mlflow_refuses_is_refused_in_both_modes(kind: str, sent: Any) -> None:
    for mode in Enforcement:
        message = refusal(decoder(("x", kind)), {"dataframe_records": [{"x": sent}]}, mode).message
        assert "dataframe_records[0].x: got " in message


def test_numpy_rules_apply_to_inputs() -> None:
    on = decoder(("s", "string"), ("b", "binary"))
    decoded = decode(on, {"inputs": {"s": [None, 5], "b": ["aGk=", "aGk="]}})
    assert column(decoded) == ["None", "5"]
    assert column(decoded, 1) == [b"aGk=", b"aGk="]
    assert decoded.ledger == {"s": {"null_to_text": 1, "text_from_value": 1}, "b": {"base64_kept": 2}}


def test_every_violation_is_named_once_with_its_rows() -> None:
    on = decoder(("a", "long"), ("b", "boolean"))
    rows = [[1, True], ["x", True], [None, "no"], ["x", True]]
    error = refusal(on, {"dataframe_split": {"columns": ["a", "b"], "data": rows}}, Enforcement.STRICT)
    text = error.message
    assert len(error.violations) == 3
    assert "dataframe_split.data[1][0] (column 'a'): got text 'x'" in text
    assert "(the same in row 3)" in text
    assert "dataframe_split.data[2][0] (column 'a'): got null" in text
    assert "dataframe_split.data[2][1] (column 'b'): got text 'no'" in text


def test_an_error_repeats_a_short_piece_only() -> None:
    message = refusal(decoder(("a", "long")), {"dataframe_records": [{"a": "x" * 10_000_000}]}).message
    assert "x" * 40 + "…" in message
    assert "x" * 41 not in message


def test_missing_columns_are_all_named_and_extra_ones_noted() -> None:
    on = decoder(("a", "long"), ("b", "long"), ("c", "long"))
    message = refusal(on, {"dataframe_records": [{"b": 1, "z": 2}]}).message
    assert "column 'a': missing" in message
    assert "column 'c': missing" in message
    assert "'z'" in message
    decoded = decode(on, {"dataframe_records": [{"b": 1, "z": 2, "a": 0, "c": 5}]})
    assert decoded.notes == ("ignored columns: 'z'",)
    assert decoded.ledger == {}


def test_optional_column_may_be_left_out() -> None:
    on = decoder(("a", "long"), {"name": "b", "type": "long", "required": False})
    assert decode(on, {"dataframe_records": [{"a": 1}]}).data.names == ("a",)  # type: ignore[union-attr]
    assert "got null" in refusal(on, {"dataframe_records": [{"a": 1, "b": None}]}).message
    assert "got nothing" in refusal(on, {"dataframe_records": [{"a": 1, "b": 1}, {"a": 1}]}).message


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": [1]},
        {"dataframe_split": {"columns": ["a"], "rows": []}},
        {"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3]]}},
        {"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}},
        {"dataframe_split": {"columns": ["a", ["b"]], "data": [[1, 2]]}},
        {"dataframe_split": {"columns": ["a"], "data": [[1]], "index": [1, 2]}},
        {"dataframe_split": {"columns": ["a"], "data": [[1], {"a": 1}]}},
        {"dataframe_records": {"a": 1}},
        {"dataframe_records": [{"a": 1}, 5]},
        {"inputs": 5},
        {"inputs": {"a": [1], "b": [1, 2]}},
    ],
)
def test_malformed_tables_are_bad_requests(body: Any) -> None:
    with pytest.raises(BadRequest):
        decode(decoder(("a", "long"), {"name": "b", "type": "long", "required": False}), body)


def test_split_without_data_is_a_table_of_no_rows() -> None:
    decoded = decode(decoder(("a", "long")), {"dataframe_split": {"columns": ["a"]}})
    assert decoded.rows == 0
    assert column(decoded) == []


def test_very_many_columns_are_refused_shortly() -> None:
    names = [f"c{n}" for n in range(200_000)]
    message = refusal(
        decoder(("a", "long")), {"dataframe_split": {"columns": names, "data": [[1] * len(names)]}}
    ).message
    assert "column 'a': missing" in message
    assert len(message) < 2000


def test_few_bytes_do_not_become_many_values() -> None:
    on = decoder(*((f"c{n}", "double") for n in range(30)))
    full = {f"c{n}": 1.0 for n in range(30)}
    for body in ({"dataframe_records": [full] + [{}] * 100_000}, {"inputs": {**full, "c0": [1.0] * 100_000}}):
        with pytest.raises(BadRequest, match="leaves out"):
            decode(on, body)


def test_unnamed_columns_are_counted() -> None:
    on = decoder({"type": "long"}, {"type": "double"})
    decoded = decode(on, {"inputs": [[1, 2.5], [3, 4]]})
    assert (column(decoded), column(decoded, 1)) == ([1, 3], [2.5, 4.0])
    assert "takes 2 columns" in refusal(on, {"dataframe_split": {"data": [[1]]}}).message
    assert decode(on, {"dataframe_split": {"data": [[1, 2, 3]]}}).notes == ("ignored columns: '2'",)


NAMES = [f"c{n}" for n in range(9)]


@pytest.mark.parametrize("other", [[], [("text", "string")]])
def test_changes_in_many_columns_of_a_row_are_counted_by_column(other: list[tuple[str, str]]) -> None:
    on = decoder(*[(name, "long") for name in NAMES], *other)
    row = dict(zip(NAMES, [1.9, 2, "3", True, 5.0, -0.5, 2**60 + 1, 8, 9], strict=True), text="x")
    decoded = decode(on, {"dataframe_records": [row]})
    assert [column(decoded, n) for n in range(9)] == [[1], [2], [3], [1], [5], [0], [2**60 + 1], [8], [9]]
    assert decoded.ledger == {
        "c0": {"fraction_dropped": 1},
        "c2": {"number_from_text": 1},
        "c3": {"number_from_boolean": 1},
        "c5": {"fraction_dropped": 1},
    }


def test_column_that_only_pandas_can_convert_leaves_the_others_alone() -> None:
    on = decoder(*[(name, "integer") for name in NAMES])
    row = dict.fromkeys(NAMES, 1.5) | {"c3": 3e9, "c7": 7}
    decoded = decode(on, {"dataframe_records": [row, row]})
    assert decoded.ledger == {
        name: {"overflow" if name == "c3" else "fraction_dropped": 2} for name in NAMES if name != "c7"
    }
    assert column(decoded, 7) == [7, 7]
    assert column(decoded, 8) == [1, 1]


def test_strict_mode_names_every_changed_column_in_order() -> None:
    on = decoder(*[(name, "long") for name in NAMES])
    row = dict(zip(NAMES, [1, 2.5, 3, "4", 5, 6, None, 8.5, 9.0], strict=True))
    error = refusal(on, {"dataframe_records": [row]}, Enforcement.STRICT)
    assert [violation.where for violation in error.violations] == [
        f"dataframe_records[0].{name}" for name in ("c1", "c3", "c6", "c7")
    ]
    assert len(refusal(on, {"dataframe_records": [row]}).violations) == 1


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_changed_rows_are_joined_with_those_that_fit(rows: int) -> None:
    on = decoder(*[(name, "long") for name in NAMES])
    fits = decode(on, {"dataframe_records": [dict.fromkeys(NAMES, 1)] * rows})
    changed = decode(on, {"dataframe_records": [dict.fromkeys(NAMES, 1.5)] * rows})
    assert changed.ledger == {name: {"fraction_dropped": rows} for name in NAMES}
    assert changed.form == fits.form


def test_first_whole_number_that_doubles_lack_is_counted() -> None:
    on = decoder(("x", "double"))
    assert decode(on, {"dataframe_records": [{"x": 2**53}]}, Enforcement.STRICT).ledger == {}
    assert decode(on, {"dataframe_records": [{"x": 2**53 + 1}]}).ledger == {"x": {"precision_lost": 1}}


def test_columns_that_are_called_alike_are_counted_together() -> None:
    on = compile_decoder(parse_signature({"inputs": json.dumps([{"type": "long", "required": True}] * 2)}))
    decoded = decode(on, {"dataframe_split": {"columns": [1, "1"], "data": [[1.5, 2.5]]}})
    assert decoded.ledger == {"1": {"fraction_dropped": 2}}


def test_only_equal_forms_can_be_joined() -> None:
    on = decoder(("s", "string"), ("n", "long"))

    def form(rows: list[list[Any]], **rest: Any) -> Any:
        return decode(on, {"dataframe_split": {"columns": ["s", "n"], "data": rows, **rest}}).form

    assert form([["a", 1]]) == form([["b", 2], [None, 3]])
    assert form([["a", 1]]) != form([[5, 1]])
    assert form([["a", 1]]) != form([[None, 1]])
    assert form([["a", 1]], index=[7]) != form([["a", 1]], index=[7])
    assert form([]) != form([])


def nested(kind: dict[str, Any], required: bool = True) -> Decoder:
    return decoder({**kind, "name": "x", "required": required})


def test_arrays_take_whole_numbers_for_doubles() -> None:
    decoded = decode(
        nested({"type": "array", "items": {"type": "double"}}),
        {"dataframe_records": [{"x": [1, 2]}]},
        Enforcement.STRICT,
    )
    assert column(decoded) == [[1.0, 2.0]]


def test_objects_name_every_property_that_is_wrong() -> None:
    kind = {
        "type": "object",
        "properties": {
            "a": {"type": "long"},
            "b": {"type": "array", "items": {"type": "double"}},
            "c": {"type": "string"},
        },
    }
    message = refusal(nested(kind), {"dataframe_records": [{"x": {"a": "1", "b": [1, "q"], "d": 0}}]}).message
    assert "dataframe_records[0].x.a: got text '1'" in message
    assert "dataframe_records[0].x.b[1]: got text 'q'" in message
    assert "dataframe_records[0].x.c: missing" in message
    assert "dataframe_records[0].x.d: not a property" in message


def test_what_numpy_makes_of_mixed_arrays_is_counted() -> None:
    on = nested({"type": "array", "items": {"type": "boolean"}})
    decoded = decode(on, {"dataframe_records": [{"x": [True, None]}]})
    assert column(decoded) == [[True, False]]
    assert decoded.ledger == {"x": {"null_to_false": 1}}
    assert "x[1]: got null" in refusal(on, {"dataframe_records": [{"x": [True, None]}]}, Enforcement.STRICT).message


def test_any_is_bounded_in_depth() -> None:
    on = nested({"type": "any"})
    with pytest.raises(BadRequest):
        decode(on, b'{"dataframe_records": [{"x": ' + b"[" * 100 + b"]" * 100 + b"}]}")


def tensor(shape: list[int], dtype: str = "float64", name: str | None = None) -> Decoder:
    entry = {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}
    return decoder(entry if name is None else {**entry, "name": name})


def test_tensors() -> None:
    decoded = decode(tensor([-1, 2]), {"instances": [[1, 2.5], [3, None]]}, Enforcement.STRICT)
    np.testing.assert_array_equal(decoded.data, [[1, 2.5], [3, np.nan]])  # type: ignore[arg-type]
    assert decoded.rows == 2
    named = decode(tensor([-1], name="t"), {"inputs": {"t": [1.0]}, "params": {}})
    assert named.data["t"].tolist() == [1.0]  # type: ignore[index,call-overload]


def test_tensor_values_are_counted_or_refused() -> None:
    on, body = tensor([-1, 2], "int64"), {"inputs": [[1.9, "2"], [True, 4]]}
    decoded = decode(on, body)
    assert decoded.data.tolist() == [[1, 2], [1, 4]]  # type: ignore[union-attr]
    assert decoded.ledger == {"tensor": {"fraction_dropped": 1, "number_from_text": 1, "number_from_boolean": 1}}
    message = refusal(on, body, Enforcement.STRICT).message
    assert "inputs[0][0]: got the number 1.9" in message
    assert "inputs[1][0]: got true" in message


def test_tensor_shapes() -> None:
    assert "shape (1, 3), the model takes (-1, 2)" in refusal(tensor([-1, 2]), {"inputs": [[1, 2, 3]]}).message
    with pytest.raises(BadRequest):
        decode(tensor([-1, 2]), {"inputs": [[1, 2], [3]]})
    with pytest.raises(BadRequest):
        decode(tensor([-1, 2]), {"inputs": {"t": [[1, 2]]}})
    assert "tensor 't': missing" in refusal(tensor([-1], name="t"), {"inputs": {"u": [1]}}).message


def test_without_a_signature_arrays_and_frames_come_as_they_are() -> None:
    on = compile_decoder(parse_signature(None))
    assert decode(on, {"inputs": [[1, 2], [3, 4]]}).data.tolist() == [[1, 2], [3, 4]]  # type: ignore[union-attr]
    assert decode(on, {"dataframe_records": [{"a": 1}]}).data.data == [{"a": 1}]  # type: ignore[union-attr]
    assert decode(on, {"inputs": [1, "a"]}).ledger == {"inputs": {"text_from_value": 1}}


def test_type_hints_take_inputs_as_a_list() -> None:
    on = compile_decoder(parse_signature({"inputs": '[{"type": "string"}]'}), type_hints=True)
    decoded = decode(on, {"inputs": [{"q": "hi"}, 5]})
    assert decoded.data.value == [{"q": "hi"}, 5]  # type: ignore[union-attr]
    assert decoded.rows == 2
    with pytest.raises(BadRequest, match="type hints"):
        decode(on, {"dataframe_records": [{"q": "hi"}]})


def test_missing_columns_and_wrong_values_are_told_in_one_answer():
    decoder = compile_decoder(
        parse_signature(
            {"inputs": '[{"name":"a","type":"double","required":true},{"name":"b","type":"long","required":true}]'}
        )
    )
    with pytest.raises(InvalidInput) as refused:
        decoder.decode(b'{"dataframe_records": [{"a": "x", "B": 2}]}', "application/json", Enforcement.FLAG)
    assert "column 'b': missing" in refused.value.message
    assert "'B'" in refused.value.message
    assert "dataframe_records[0].a" in refused.value.message


@pytest.mark.parametrize("kind", ["double", "float", "long", "integer"])
def test_a_truth_value_for_a_number_is_refused_with_what_to_send(kind: str) -> None:
    decoder = compile_decoder(parse_signature({"inputs": json.dumps([{"name": "flag", "type": kind}])}))
    with pytest.raises(InvalidInput, match=r"flag: got true, expected a .*; send 1$"):
        decoder.decode(b'{"dataframe_records": [{"flag": true}]}', "application/json", Enforcement.STRICT)
