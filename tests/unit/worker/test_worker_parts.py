import numpy as np
import pandas as pd
import pytest

from tallystick.worker.check import rows_are_independent
from tallystick.worker.scrub import MAX_CHARACTERS, public_text

ROWS = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": ["x", "y", "z"]})


def test_a_model_that_looks_at_rows_alone_may_be_batched():
    ok, why = rows_are_independent(lambda frame: frame["a"].to_numpy() * 2, ROWS)
    assert ok, why


@pytest.mark.parametrize(
    "predict",
    [
        lambda frame: frame["a"].to_numpy() - frame["a"].mean(),
        lambda frame: frame["a"].rank().to_numpy(),
        lambda frame: np.array([frame["a"].sum()]),
        lambda frame: {"total": 1.0},
        lambda frame: np.random.default_rng().random(len(frame)),
        lambda frame: frame.index.to_numpy(),
    ],
    ids=["mean", "rank", "one answer", "no rows", "random", "position"],
)
def test_a_model_whose_answer_depends_on_company_may_not(predict):
    assert not rows_are_independent(predict, ROWS)[0]


def test_a_model_with_memory_may_not():
    seen = []

    def predict(frame):
        seen.append(1)
        return np.full(len(frame), len(seen))

    assert not rows_are_independent(predict, ROWS)[0]


def test_an_example_of_one_row_is_varied_before_it_is_believed():
    one = ROWS.iloc[:1]
    assert not rows_are_independent(lambda frame: frame["a"].to_numpy() - frame["a"].mean(), one)[0]
    assert rows_are_independent(lambda frame: frame["a"].to_numpy() + 1, one)[0]


def test_one_array_row_is_varied_too():
    assert not rows_are_independent(lambda x: x[:, 0] - x[:, 0].mean(), np.array([[1.0, 2.0]]))[0]


def test_input_without_rows_may_not():
    assert not rows_are_independent(lambda x: x, {"a": 1})[0]


def test_a_callers_text_holds_no_path_secret_or_megabytes():
    text = public_text(ValueError("no /home/ann/models/x.pkl for key hunter2\x00\n" + "x" * 10**7), ["hunter2"])
    assert "/home" not in text
    assert "hunter2" not in text
    assert text.isprintable()
    assert len(text) < MAX_CHARACTERS + 40


def test_a_secret_that_nobody_named_is_known_by_its_form_and_leaves_no_text_of_a_model():
    error = OSError("GET https://ann:pw1@hub.example/a/vocab.txt?sig=2b3c failed (token=t0p-s3cret, Bearer abc123xyz)")
    text = public_text(error)
    assert [word for word in ("ann", "pw1", "2b3c", "t0p-s3cret", "abc123xyz") if word in text] == []
    assert text.startswith("OSError: GET https:")
    assert public_text(ValueError("column token_count: got 'abc'")) == "ValueError: column token_count: got 'abc'"


def test_an_exception_whose_text_fails_is_told_by_its_type():
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError

    assert "Odd" in public_text(Odd())
