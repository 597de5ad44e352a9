"""Answers that are no numbers: a difference where the model gives one, and none where it gives none either."""

import numpy as np
import pytest

from tallystick.parity.apart import apart
from tallystick.parity.detect.prediction import paired_difference
from tallystick.parity.intervene import Replay, replay_finding

MODEL = np.linspace(0, 10, 200)


def lost(rows, values=MODEL):
    return np.where(np.arange(200) < rows, np.nan, values)


def test_what_is_no_number_on_both_sides_is_the_same_answer():
    assert paired_difference(lost(50), lost(50), "live") is None
    found = apart(lost(50), lost(60), 1e-6)
    assert (found.differs.sum(), found.largest, found.no_numbers) == (10, 0.0, 10)


def test_answers_that_are_no_numbers_are_counted_and_have_no_distance():
    found = paired_difference(lost(60), MODEL, "live")
    assert found.transformation == {"no_numbers": 60}
    (told,) = found.evidence
    assert told.endswith(
        "60 of 200 live predictions differ when scored again: 60 are no numbers, where the model gives numbers"
    )


def test_other_answers_among_them_have_one():
    found = paired_difference(lost(60, MODEL + 3), MODEL, "live")
    assert found.transformation == {"largest": pytest.approx(3), "no_numbers": 60}
    assert found.share == 1.0


def test_a_number_where_the_model_gives_none_differs():
    found = paired_difference(MODEL, lost(60), "live")
    assert (found.share, found.transformation) == (0.3, {})


def test_replayed_answers_that_are_no_numbers_are_told():
    found = replay_finding(Replay(equal=409, rows=512, largest=0.0, kind="prediction_differs", no_numbers=103), 10)
    assert found.transformation == {"no_numbers": 103}
