"""Changes that have to be known without asking pandas: a request with them must not wait for it."""

from typing import Any

import numpy as np
import pytest

from tallystick.protocol import bulk
from tallystick.protocol.ledger import Coercion
from tallystick.protocol.signature import ScalarType

# The machine's to say.
BEYOND_32 = int(bulk.beyond(np.dtype(np.int32))[1])


@pytest.mark.parametrize(
    ("kind", "values", "got", "changes"),
    [
        ("long", [1.9, 2, -0.5], [1, 2, 0], {"fraction_dropped": [0, 2]}),
        ("long", [1.0, 2.0], [1, 2], {}),
        ("long", ["7", 1.5, True, 2**60 + 1], [7, 1, 1, 2**60 + 1],
         {"number_from_text": [0], "fraction_dropped": [1], "number_from_boolean": [2]}),
        ("long", [2**63, 1, True], [-(2**63), 1, 1], {"overflow": [0], "number_from_boolean": [2]}),
        ("integer", [2**31, 1, 1.5], [-(2**31), 1, 1], {"overflow": [0], "fraction_dropped": [2]}),
        ("integer", [2.0**31 - 0.5, 2**64 - 1], [2**31 - 1, -1], {"fraction_dropped": [0], "overflow": [1]}),
        ("integer", [-(2.0**31) - 0.5, 1e19], [-(2**31), BEYOND_32], {"fraction_dropped": [0], "overflow": [1]}),
        ("integer", [2.0**31 + 0.5, 1], [BEYOND_32, 1], {"fraction_dropped": [0]}),
        ("float", [1e39, 1e-50, 0.5, None], [float("inf"), 0.0, 0.5, None], {"float_overflow": [0], "float_underflow": [1]}),
        ("float", [2**24 + 1, "0.5"], [2.0**24, 0.5], {"precision_lost": [0], "number_from_text": [1]}),
        ("float", [2**60 + 2**36 + 1, 1], [2.0**60 + 2**37, 1.0], {"precision_lost": [0]}),
        ("double", [2**53 + 1, 2**53, 2.0**54, False], [2.0**53, 2.0**53, 2.0**54, 0.0],
         {"precision_lost": [0], "number_from_boolean": [3]}),
        ("boolean", [None, 2, "false", 1, 0.0], [False, True, True, True, False], {"null_to_false": [0], "truthy": [1, 2]}),
        ("boolean", [[], {"a": 1}, True], [False, True, True], {"truthy": [0, 1]}),
    ],
)  # fmt: skip
def test_a_row_has_an_answer(kind: str, values: list[Any], got: list[Any], changes: dict[str, list[int]]) -> None:
    converted = convert(kind, values, is_row=True)
    assert converted is not None
    array, found = converted
    assert [None if value != value else value for value in array.tolist()] == got
    assert {coercion.value: list(places) for coercion, places in found} == changes


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("long", [1, None]),
        ("long", [1, "x"]),
        ("long", [1, float("nan")]),
        ("long", [1, [2]]),
        ("long", [1, float("inf")]),
        ("long", [1e19, 2**64]),
        ("integer", ["3000000000"]),
        ("float", [2**200]),
    ],
)
def test_a_row_has_no_answer_where_values_are_refused_or_for_pandas_to_say(kind: str, values: list[Any]) -> None:
    assert convert(kind, values, is_row=True) is None


@pytest.mark.parametrize(("kind", "value"), [("long", 1e19), ("long", -1e300), ("integer", 3e9), ("integer", -1e19)])
def test_floats_beyond_a_type_become_what_the_machine_makes_of_one(kind: str, value: float) -> None:
    dtype = np.int64 if kind == "long" else np.int32
    with np.errstate(invalid="ignore"):
        alone = np.array([value]).astype(dtype)[0]
    for values in ([value] * 9, [1, value], [1.5, value, "7"]):
        converted = convert(kind, values, is_row=True)
        assert converted is not None
        array, changes = converted
        places = [place for place, sent in enumerate(values) if sent == value]
        assert (array[places] == alone).all()
        assert list(dict(changes)[Coercion.OVERFLOW]) == places


def test_a_machine_that_takes_the_limit_for_floats_beyond_it_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "beyond", lambda dtype: np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype))
    for kind, low, high in (("integer", -(2**31), 2**31 - 1), ("long", -(2**63), 2**63 - 1)):
        for values in ([1e19, -1e19], [1e19, -1e19, 7]):
            converted = convert(kind, values, is_row=True)
            assert converted is not None
            assert converted[0].tolist()[:2] == [high, low]


def test_whole_numbers_beside_fractions_go_through_64_bit_floats_in_frames() -> None:
    assert convert("long", [0.5, 2**53 + 1], is_row=False) is None
    assert convert("long", [0.5, 2**53 + 1], is_row=False, by_frame=False) is not None


def test_null_beside_numbers_is_nan_in_frames_and_no_truth_value_by_itself() -> None:
    assert convert("boolean", [None, 1], is_row=False) is None
    converted = convert("boolean", [None, 1], is_row=False, by_frame=False)
    assert converted is not None
    assert [(coercion, list(places)) for coercion, places in converted[1]] == [(Coercion.NULL_TO_FALSE, [0])]


def convert(kind: str, values: list[Any], *, is_row: bool, by_frame: bool = True) -> tuple[Any, bulk.Changes] | None:
    return bulk.convert(bulk.Cells(values, set(map(type, values)), is_row, by_frame), ScalarType(kind))
