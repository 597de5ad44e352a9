"""A model that is served with labels and has probabilities too: distances are between answers of one form."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from tallystick.parity import Reference, Status, diagnose, examine, render_html

COLUMNS = ["x0", "x1", "x2"]


def rows(count: int, seed: int) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(seed).normal(5, 1, (count, 3)).round(2), columns=COLUMNS)


def labels_of(frame: pd.DataFrame) -> np.ndarray:
    noise = np.random.default_rng(9).normal(0, 0.3, len(frame))
    return (frame.sum(axis=1) + noise > 15).astype(int).to_numpy()


class OnlyChances:
    """A model whose labels cannot be asked for."""

    def __init__(self, model: LogisticRegression) -> None:
        self.predict_proba = model.predict_proba


@pytest.fixture(scope="module")
def model() -> LogisticRegression:
    frame = rows(2000, 1)
    return LogisticRegression(max_iter=500).fit(frame, labels_of(frame))


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    frame = rows(2000, 1)
    captured = Reference.from_frame(frame, model, labels_of(frame), predict=model.predict)
    return captured.save(tmp_path_factory.mktemp("reference"))


def broken(count: int) -> pd.DataFrame:
    frame = rows(count, 2)
    return frame.assign(x1=frame["x1"] * 100)


def intervention(verdict) -> str:
    return next((each.text for each in verdict.evidence if each.text.startswith("undone on live rows")), "")


def test_undoing_the_cause_brings_labels_back_to_labels(model, folder):
    verdict = diagnose(Reference.load(folder, model), broken(400))
    assert (verdict.status, verdict.kind, verdict.strength) == (Status.CAUSE_FOUND, "unit", "proof")
    before, after = intervention(verdict).rpartition("training ")[2].split(" → ")
    assert float(before) > 0.4
    assert float(after) < 0.1


def test_chances_decide_between_two_labels_where_a_model_has_nothing_else(model, folder):
    verdict = diagnose(Reference.load(folder, OnlyChances(model)), broken(400))
    assert float(intervention(verdict).rpartition(" → ")[2]) < 0.1


def test_chances_that_are_all_certain_are_no_labels(model, tmp_path):
    """A factor of 1000 makes every chance exactly 1."""
    frame = rows(2000, 1)

    def chances(given):
        return model.predict_proba(given)[:, 1]

    kept = Reference.load(Reference.from_frame(frame, chances, labels_of(frame)).save(tmp_path), chances)
    live = rows(400, 2)
    live = live.assign(x1=live["x1"] * 1000)
    assert set(chances(live)) == {1.0}
    found = examine(kept, live)
    assert found.verdict.strength == "proof"
    page = render_html(found.verdict, kept, found.sent_frame, found.undone_frame)
    assert re.search(r"KS distance to training\S+ predictions: [\d.]+ [^,;]+, [\d.]+ ", page)


def test_labels_are_not_compared_with_chances_of_training(model, folder, tmp_path):
    frame = rows(2000, 1)
    chances = Reference.from_frame(frame, model, labels_of(frame)).save(tmp_path)
    verdict = diagnose(Reference.load(chances, model.predict), broken(400))
    assert verdict.kind == "unit"
    assert not intervention(verdict)


def test_the_page_draws_fair_labels_beside_training_s(model, folder):
    reference = Reference.load(folder, model)
    found = examine(reference, broken(400))
    page = render_html(found.verdict, reference, found.sent_frame, found.undone_frame)
    told = re.search(r"KS distance to training\S+ predictions: ([\d.]+) [^,;]+, ([\d.]+) ", page)
    assert told is not None
    assert float(told[1]) > 0.4
    assert float(told[2]) < 0.1
