"""Probabilities of three classes: another order of them, with the model, by golden rows, and by scores alone."""

import numpy as np
import pandas as pd
import pytest

from tallystick.errors import InvalidParameter
from tallystick.parity import Reference, Status, diagnose
from tallystick.parity.words import headline

NAMES = np.array(["cat", "dog", "fox"], dtype=object)
#: At each place, the class whose probability is sent there.
SENT = [1, 2, 0]
MOVED = {"dog": "cat", "fox": "dog", "cat": "fox"}


def rows(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{k}": np.round(rng.normal(size=count), 2) for k in range(3)})
    return frame.assign(site=rng.choice(["a", "b"], count))


def chances(frame: pd.DataFrame) -> np.ndarray:
    score = np.column_stack([frame["x0"], 0.8 * frame["x1"], frame["x2"] + (frame["site"] == "a")])
    return np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def trained() -> Reference:
    frame = rows(1500, 0)
    random = np.random.default_rng(1)
    labels = NAMES[[random.choice(3, p=each) for each in chances(frame)]]
    return Reference.from_frame(frame, model=chances, y=labels)


@pytest.fixture(scope="module")
def stored(trained) -> Reference:
    return Reference.from_bytes(trained.to_bytes())


def test_a_stored_reference_has_the_probabilities_of_all_classes(trained, stored):
    assert len(stored.probabilities) == 3 * len(stored.rows)
    assert np.allclose(stored.probabilities, chances(stored.rows).ravel())
    assert not len(Reference.from_frame(rows(300, 0), model=lambda f: chances(f)[:, :2]).probabilities)
    hidden = Reference.from_frame(rows(300, 0), model=chances, privacy={"x0": "hashed"})
    assert not len(hidden.probabilities)


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_the_order_is_named_with_the_model(trained, share):
    live = rows(200, 2)
    broken = np.random.default_rng(0).random(200) < share
    given = np.where(broken[:, None], chances(live)[:, SENT], chances(live))
    verdict = diagnose(trained, live, predictions=given)
    assert (verdict.kind, verdict.status) == ("class_order", Status.CAUSE_FOUND)
    assert verdict.transformation["map"] == MOVED
    assert verdict.share == pytest.approx(broken.mean())
    assert "'dog' for 'cat'" in headline(verdict)


def test_the_order_is_named_by_golden_rows_though_the_last_class_is_in_its_place(stored):
    verdict = diagnose(stored, rows(200, 3), rescore=lambda frame: chances(frame)[:, [1, 0, 2]])
    assert (verdict.kind, verdict.strength) == ("class_order", "proof")
    assert verdict.transformation["map"] == {"dog": "cat", "cat": "dog"}


def test_the_order_is_suspected_by_scores_alone(stored):
    live = rows(200, 4)
    verdict = diagnose(stored, live, predictions=pd.DataFrame(chances(live)[:, SENT]))
    assert (verdict.kind, verdict.status) == ("class_order", Status.SUSPECTED)
    assert verdict.transformation["map"] == MOVED


def test_sound_probabilities_are_no_fault(trained, stored):
    for seed in range(5, 9):
        live = rows(200, seed)
        assert diagnose(trained, live, predictions=chances(live)).status is Status.CONSISTENT
        assert diagnose(stored, live, predictions=chances(live).tolist()).status is Status.CONSISTENT
        assert diagnose(stored, live, rescore=chances).status is Status.CONSISTENT


def test_other_probabilities_in_no_order_are_another_model(trained):
    live = rows(200, 9)
    other = chances(live.assign(x0=live["x0"] * 2))
    assert diagnose(trained, live, predictions=other).kind == "prediction_differs"


def test_two_columns_of_probabilities_are_judged_by_the_last_as_the_reference_is():
    frame = rows(600, 10)

    def both(some):
        p = 1 / (1 + np.exp(-some["x0"].to_numpy() - 0.5))
        return np.column_stack([1 - p, p])

    reference = Reference.from_frame(frame, model=both)
    live = rows(200, 11)
    assert diagnose(reference, live, predictions=both(live)).status is Status.CONSISTENT
    assert diagnose(reference, live, predictions=both(live)[:, ::-1]).kind == "class_order"


@pytest.mark.parametrize("form", [pd.Series, lambda lists: pd.Series(lists).to_numpy(), list])
def test_a_list_in_each_row_is_a_row_of_probabilities(trained, form):
    live = rows(200, 3)
    assert diagnose(trained, live, predictions=form(chances(live).tolist())).status is Status.CONSISTENT


@pytest.mark.parametrize("given", [[[0.1]] * 9 + [[0.1, 0.2]], [[]] * 10, np.zeros((10, 0)), pd.Series([[]] * 10)])
def test_rows_without_a_number_or_of_unlike_length_are_refused(trained, given):
    with pytest.raises(InvalidParameter, match="predictions"):
        diagnose(trained, rows(10, 4), predictions=given)


@pytest.mark.filterwarnings("error")
def test_answers_that_are_no_numbers_differ_by_no_amount(trained):
    verdict = diagnose(trained, rows(200, 5), predictions=np.full(200, np.nan))
    assert (verdict.kind, verdict.transformation) == ("prediction_differs", {"no_numbers": 200})
