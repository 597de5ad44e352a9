"""Whatever a model returns becomes JSON, or a clear error; and is handed back to the callers it belongs to."""

import datetime
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic
import pytest

from tallystick.errors import ModelFailed
from tallystick.protocol.codec import encode_predictions, encode_predictions_arrow, split_predictions


class Answer(pydantic.BaseModel):
    label: str
    score: float


CASES: list[tuple[Any, Any]] = [
    (np.array([1.5, 2.0]), [1.5, 2.0]),
    (np.array([[1, 2]], dtype=np.int32), [[1, 2]]),
    (np.array([True]), [True]),
    (np.array(["a"]), ["a"]),
    (np.array([b"hi"], dtype=object), ["aGk=\n"]),
    (np.float32(0.5), 0.5),
    (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
    (pd.DataFrame({0: [1.5]}), [{"0": 1.5}]),
    (pd.Series([1, 2]), [{"0": 1}, {"0": 2}]),
    (pd.Series([1], name="y"), [{"y": 1}]),
    (pd.DataFrame({"d": pd.to_datetime(["2024-01-01", None])}), [{"d": "2024-01-01T00:00:00"}, {"d": None}]),
    (pd.DataFrame({"n": pd.array([1, None], dtype="Int64")}), [{"n": 1}, {"n": None}]),
    (np.array(["2024-01-01T00:00:00.5"], dtype="M8[ms]"), ["2024-01-01T00:00:00.500"]),
    ({"a": np.array([1]), "b": (1, 2)}, {"a": [1], "b": [1, 2]}),
    ([{"s": np.float64(1.5), 3: None}], [{"s": 1.5, "3": None}]),
    (datetime.date(2024, 1, 1), "2024-01-01"),
    (Answer(label="x", score=1), {"label": "x", "score": 1.0}),
    (None, None),
    ("text", "text"),
]


@pytest.mark.parametrize(("value", "plain"), CASES)
def test_forms(value: Any, plain: Any) -> None:
    body, lost = encode_predictions(value)
    assert json.loads(body) == {"predictions": plain}
    assert lost == 0


@pytest.mark.parametrize(
    "value",
    [
        np.array([np.nan, np.inf, 1.0]),
        [float("nan"), float("-inf"), 1.0],
        pd.Series([np.nan, np.inf, 1.0]),
        {"a": [np.nan, np.nan]},
    ],
)
def test_what_is_not_finite_is_null_and_counted(value: Any) -> None:
    body, lost = encode_predictions(value)
    assert b"NaN" not in body
    assert body.count(b"null") == lost == 2


def looped() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize("value", [{1, 2}, (n for n in [1]), object(), "\ud800", looped()])
def test_what_has_no_form_in_json_is_the_models_fault(value: Any) -> None:
    with pytest.raises(ModelFailed):
        encode_predictions(value)


@pytest.mark.parametrize(
    "value", [np.arange(3), [0, 1, 2], pd.Series([0, 1, 2]), pd.DataFrame({"a": [0, 1, 2]}), {"a": np.arange(3)}]
)
def test_each_caller_gets_its_rows(value: Any) -> None:
    parts = split_predictions(value, [2, 0, 1])
    assert parts is not None
    answers = [json.loads(encode_predictions(part)[0])["predictions"] for part in parts]
    whole = json.loads(encode_predictions(value)[0])["predictions"]
    if isinstance(whole, dict):
        assert [answer["a"] for answer in answers] == [[0, 1], [], [2]]
    else:
        assert [*answers[0], *answers[2]] == whole
        assert answers[1] == []


@pytest.mark.parametrize("value", [np.arange(2), np.float64(1), "abc", {"a": [1, 2, 3], "b": 1}, {}, None, {1, 2, 3}])
def test_what_cannot_be_told_apart_is_not(value: Any) -> None:
    assert split_predictions(value, [2, 1]) is None


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (np.array([1.5]), ["predictions"]),
        (np.ones((2, 2)), ["0", "1"]),
        (pd.DataFrame({"a": [1]}), ["a"]),
        ({"k": np.arange(2)}, ["k"]),
    ],
)
def test_arrow_stream(value: Any, names: list[str]) -> None:
    with pa.ipc.open_stream(encode_predictions_arrow(value)) as reader:
        assert reader.read_all().column_names == names


def test_what_has_no_columns_is_no_arrow_stream() -> None:
    with pytest.raises(ModelFailed):
        encode_predictions_arrow("text")
