from collections import deque
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.worker.batch import BatchRule, take_batch
from tallystick.worker.check import rows_are_independent
from tallystick.worker.scrub import MAX_CHARACTERS, public_text


@dataclass(frozen=True)
class Waiting:
    number: int
    rows: int
    key: str
    alone: bool

    def describe(self):
        return self.rows, self.key, self.alone


WAITING = st.lists(
    st.builds(Waiting, st.integers(), st.integers(1, 20), st.sampled_from("ab"), st.booleans()), max_size=20
)


@given(WAITING, st.integers(1, 30), st.booleans())
def test_every_request_is_taken_once_in_batches_that_keep_the_rules(waiting, max_rows, can_batch):
    left, taken = deque(waiting), []
    while left:
        batch = take_batch(left, BatchRule(can_batch, max_rows, max_requests=5), Waiting.describe)
        assert batch, "progress"
        assert len({request.key for request in batch}) == 1
        assert len(batch) == 1 or not any(request.alone for request in batch)
        assert len(batch) == 1 or sum(request.rows for request in batch) <= max_rows
        assert len(batch) <= (5 if can_batch else 1)
        taken += batch
    assert sorted(map(id, taken)) == sorted(map(id, waiting))


@given(WAITING)
def test_the_oldest_is_always_in_the_next_batch(waiting):
    left = deque(waiting)
    while left:
        oldest = left[0]
        assert take_batch(left, BatchRule(True, 8), Waiting.describe)[0] is oldest


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
