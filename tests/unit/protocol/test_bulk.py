"""Changes that have to be known without asking pandas: a request with them must not wait for it."""

from typing import Any

import pytest

from tallystick.protocol import bulk
from tallystick.protocol.ledger import Coercion
from tallystick.protocol.signature import ScalarType


@pytest.mark.parametrize(
    ("kind", "values", "got", "changes"),
    [
        ("long", [1.9, 2, -0.5], [1, 2, 0], {"fraction_dropped": [0, 2]}),
        ("long", [1.0, 2.0], [1, 2], {}),
        ("long", ["7", 1.5, True, 2**60 + 1], [7, 1, 1, 2**60 + 1],
         {"number_from_text": [0], "fraction_dropped": [1], "number_from_boolean": [2]}),
        ("integer", [2**31, 1, 1.5], [-(2**31), 1, 1], {"overflow": [0], "fraction_dropped": [2]}),
        ("float", [1e39, 1e-50, 0.5, None], [float("inf"), 0.0, 0.5, None], {"float_overflow": [0], "float_underflow": [1]}),
        ("float", [2**24 + 1, "0.5"], [2.0**24, 0.5], {"precision_lost": [0], "number_from_text": [1]}),
        ("double", [2**53 + 1, 2**53, 2.0**54, False], [2.0**53, 2.0**53, 2.0**54, 0.0],
         {"precision_lost": [0], "number_from_boolean": [3]}),
        ("boolean", [None, 2, "false", 1, 0.0], [False, True, True, True, False], {"null_to_false": [0], "truthy": [1, 2]}),
    ],
)  # fmt: skip
def test_a_row_has_an_answer(kind: str, values: list[Any], got: list[Any], changes: dict[str, list[int]]) -> None:
    converted = convert(kind, values, is_row=True)
    assert converted is not None
    array, found = converted
    assert [None if value != value else value for value in array.tolist()] == got
    assert {coercion.value: places.tolist() for coercion, places in found} == changes


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("long", [1, None]),
        ("long", [1, "x"]),
        ("long", [1, float("nan")]),
        ("long", [1, [2]]),
        ("long", [1e19]),
        ("integer", ["3000000000"]),
        # pandas narrows it in one step.
        ("float", [2**60 + 1]),
    ],
)
def test_a_row_has_no_answer_where_values_are_refused_or_for_pandas_to_say(kind: str, values: list[Any]) -> None:
    assert convert(kind, values, is_row=True) is None


def test_whole_numbers_beside_fractions_go_through_64_bit_floats_in_frames() -> None:
    assert convert("long", [0.5, 2**53 + 1], is_row=False) is None
    assert convert("long", [0.5, 2**53 + 1], is_row=False, by_frame=False) is not None


def test_null_beside_numbers_is_nan_in_frames_and_no_truth_value_by_itself() -> None:
    assert convert("boolean", [None, 1], is_row=False) is None
    converted = convert("boolean", [None, 1], is_row=False, by_frame=False)
    assert converted is not None
    assert [(coercion, places.tolist()) for coercion, places in converted[1]] == [(Coercion.NULL_TO_FALSE, [0])]


def convert(kind: str, values: list[Any], *, is_row: bool, by_frame: bool = True) -> tuple[Any, bulk.Changes] | None:
    return bulk.convert(bulk.Cells(values, set(map(type, values)), is_row, by_frame), ScalarType(kind))
