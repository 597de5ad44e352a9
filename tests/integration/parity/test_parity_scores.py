"""Scores and no model: what golden rows tell of the model says whether scores are its answers to these rows."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose
from tallystick.parity.detect.schema import read_live
from tallystick.parity.surrogate import expected_answers

CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)


def homes(count: int, seed: int, tilt: float = 0.0) -> pd.DataFrame:
    """Rows of numbers and levels; with `tilt`, more of the large ones."""
    rng = np.random.default_rng(seed)
    size = np.round(rng.gamma(4, 20, 20 * count), 1)
    picked = rng.choice(20 * count, count, replace=False, p=np.exp(tilt * size / 40) / np.exp(tilt * size / 40).sum())
    frame = pd.DataFrame({"size": size[picked], "age": rng.integers(0, 80, count).astype(float)})
    frame["zone"] = rng.choice(["old", "new", "edge"], count)
    frame["noise"] = np.round(rng.normal(size=count), 2)
    return frame


def odds_of(frame: pd.DataFrame) -> np.ndarray:
    """A function with steps and an interaction, which no ridge gives; even on both sides of nought."""
    old = (frame["zone"] == "old").to_numpy()
    return np.where(frame["size"] > 74, 1.2, -1.2) + np.where(old & (frame["age"] > 40), 0.8, -0.2)


def score(frame: pd.DataFrame) -> np.ndarray:
    return 1 / (1 + np.exp(-odds_of(frame) - 0.004 * (frame["age"].to_numpy() - 40)))


@pytest.fixture(scope="module")
def stored() -> Reference:
    frame = homes(3000, 0)
    y = (np.random.default_rng(1).random(3000) < score(frame)).astype(int)
    return Reference.from_bytes(Reference.from_frame(frame, model=score, y=y).to_bytes())


def moved(p: np.ndarray, rate: float) -> np.ndarray:
    odds = p / (1 - p) * rate
    return odds / (1 + odds)


@pytest.mark.parametrize("tilt", [0.0, 1.0], ids=["as trained", "other rows"])
def test_exchanged_classes_are_named_though_scores_lie_evenly_on_both_sides(stored, tilt):
    live = homes(200, 2, tilt)
    verdict = diagnose(stored, live, predictions=1 - score(live))
    assert (verdict.kind, verdict.status, verdict.share) == ("class_order", Status.SUSPECTED, 1.0)


@pytest.mark.parametrize("rate", [0.2, 0.5, 3.0])
def test_a_rate_is_estimated_by_scores_alone(stored, rate):
    live = homes(200, 3)
    verdict = diagnose(stored, live, predictions=moved(score(live), rate))
    assert verdict.kind == "sampling_prior"
    assert verdict.transformation["rate"] == pytest.approx(rate, rel=0.2)


def test_one_replica_of_three_is_told_and_named(stored):
    live = homes(300, 4)
    replica = np.random.default_rng(0).integers(0, 3, 300)
    sound = score(live)
    for kind, wrong in (("class_order", 1 - sound), ("sampling_prior", moved(sound, 0.1))):
        given = np.where(replica == 1, wrong, sound)
        verdict = diagnose(stored, live, predictions=given, segments=pd.Series(replica.astype(str), name="replica"))
        assert (verdict.kind, verdict.segment.get("value")) == (kind, "1")
        assert verdict.share == pytest.approx(np.mean(replica == 1), abs=0.1)


def test_another_model_is_told_where_inputs_are_as_in_training(stored):
    live = homes(200, 5)
    other = 1 / (1 + np.exp(-1.2 * odds_of(live) + 0.02 * (live["age"] - 40)))
    assert diagnose(stored, live, predictions=other).kind == "prediction_differs"


def test_sound_scores_are_never_claimed_whatever_the_rows():
    """Stated: of 12 samples, even and tilted either way, none."""
    frame = homes(800, 6)
    reference = Reference.from_bytes(Reference.from_frame(frame, model=score).to_bytes())
    for seed in range(12):
        live = homes(200, 100 + seed, (-1.0, 0.0, 1.0)[seed % 3])
        assert diagnose(reference, live, predictions=score(live)).status not in CLAIMS, seed


def test_golden_rows_tell_answers_of_rows_they_have_not_seen(stored):
    live = homes(200, 7)
    rows, _ = read_live(stored, live)
    known = np.log(stored.predictions / (1 - stored.predictions))
    expected = expected_answers(rows, known)
    truth = np.log(score(live) / (1 - score(live)))
    assert np.std(truth - expected.expected) < 0.25 * np.std(truth)
    # How far off they say they are is how far off they are.
    assert np.mean(np.abs(truth - expected.expected)) < 1.5 * np.mean(expected.off)


def test_answers_that_no_column_knows_are_not_expected(stored):
    rows, _ = read_live(stored, homes(200, 8))
    noise = np.random.default_rng(0).normal(size=len(stored.predictions))
    assert expected_answers(rows, noise) is None
    assert expected_answers(rows, np.zeros(len(stored.predictions))) is None
    assert expected_answers(rows, noise[:-1]) is None


def test_a_small_move_of_the_classes_is_seen_in_scores():
    """A distance of distributions does not see it in 200 rows; the likelihood of calibrated scores does."""
    rng = np.random.default_rng(0)

    def rows(count, share):
        y = (rng.random(count) < share).astype(int)
        return pd.DataFrame({f"x{k}": np.round(rng.normal(0.7 * y, 1.0), 2) for k in range(4)}), y

    def served(frame):
        return (1 / (1 + np.exp(-0.7 * frame.sum(axis=1) + 0.98))).to_numpy()

    frame, y = rows(3000, 0.5)
    reference = Reference.from_frame(frame, model=served, y=y)
    named = 0
    for _ in range(6):
        live, _ = rows(200, 0.75)
        verdict = diagnose(reference, live, predictions=served(live))
        named += verdict.kind == "label_shift"
        fair, _ = rows(200, 0.5)
        assert diagnose(reference, fair, predictions=served(fair)).status is Status.CONSISTENT
    assert named >= 4
