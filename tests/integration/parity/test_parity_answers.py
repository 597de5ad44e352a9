"""Answers of an endpoint: exchanged classes and sampling rates in a part of them, other mixes of the classes."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Family, Reference, Status, diagnose
from tallystick.parity.intervene import relation

CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)


def people(count: int, seed: int, share: float = 0.3) -> tuple[pd.DataFrame, np.ndarray]:
    """Two classes; each column knows a little of them."""
    rng = np.random.default_rng(seed)
    y = (rng.random(count) < share).astype(int)
    columns = {f"x{k}": np.round(rng.normal(0.8 * y, 1.0), 2) for k in range(4)}
    return pd.DataFrame(columns), y


def score(frame: pd.DataFrame) -> np.ndarray:
    """The class's probability, as these columns have it."""
    odds = 0.8 * frame[["x0", "x1", "x2", "x3"]].sum(axis=1) - 1.28 + np.log(0.3 / 0.7)
    return (1 / (1 + np.exp(-odds))).to_numpy()


@pytest.fixture(scope="module")
def trained() -> Reference:
    frame, y = people(3000, 0)
    return Reference.from_frame(frame, model=score, y=y)


@pytest.fixture(scope="module")
def stored(trained) -> Reference:
    """As it is read from a file: without the model."""
    return Reference.from_bytes(trained.to_bytes())


def some(count: int, share: float) -> np.ndarray:
    return np.random.default_rng(5).random(count) < share


@pytest.mark.parametrize("share", [1.0, 0.3, 0.05])
def test_exchanged_classes_are_named_whatever_part_of_the_answers_has_them(trained, share):
    live, _ = people(200, 1)
    sound, broken = score(live), some(200, share) if share < 1 else np.ones(200, bool)
    verdict = diagnose(trained, live, predictions=np.where(broken, 1 - sound, sound))
    assert (verdict.kind, verdict.status) == ("class_order", Status.CAUSE_FOUND)
    assert verdict.share == pytest.approx(broken.mean())


@pytest.mark.parametrize("share", [1.0, 0.3, 0.05])
def test_a_sampling_rate_is_named_and_measured_in_a_part_of_the_answers(trained, share):
    live, _ = people(200, 2)
    sound, broken = score(live), some(200, share) if share < 1 else np.ones(200, bool)
    odds = sound / (1 - sound) * 0.2
    verdict = diagnose(trained, live, predictions=np.where(broken, odds / (1 + odds), sound))
    assert verdict.kind == "sampling_prior"
    assert verdict.transformation["rate"] == pytest.approx(0.2, rel=0.01)


def test_golden_rows_measure_a_sampling_rate(stored):
    live, _ = people(200, 3)

    def served(frame):
        odds = score(frame) / (1 - score(frame)) * 5
        return odds / (1 + odds)

    verdict = diagnose(stored, live, rescore=served)
    assert (verdict.kind, verdict.strength) == ("sampling_prior", "proof")
    assert verdict.transformation["rate"] == pytest.approx(5, rel=0.01)


def test_other_answers_are_neither(trained):
    live, _ = people(200, 4)
    noisy = np.clip(score(live) + np.random.default_rng(0).normal(0, 0.1, 200), 0, 1)
    assert diagnose(trained, live, predictions=noisy).kind == "prediction_differs"


def test_labels_tell_exchanged_classes_only_together():
    labels = np.array([0.0, 1.0, 2.0] * 40)
    assert relation(labels, (labels + 1) % 3)[0] == "class_order"
    some_wrong = labels.copy()
    some_wrong[:20] = 2 - some_wrong[:20]
    assert relation(labels, some_wrong)[0] == "prediction_differs"
    two = (labels > 0).astype(float)
    assert relation(two, np.where(np.arange(120) < 20, 1 - two, two))[0] == "prediction_differs"


def test_labels_of_one_client_tell_exchanged_classes():
    frame, y = people(3000, 0)

    def label(rows):
        return (score(rows) > 0.3).astype(int)

    reference = Reference.from_frame(frame, model=label, y=y)
    live, _ = people(200, 6)
    client = np.where(some(200, 0.3), "ios", "web")
    given = np.where(client == "ios", 1 - label(live), label(live))
    verdict = diagnose(reference, live, predictions=given, segments=pd.Series(client, name="client"))
    assert (verdict.kind, verdict.segment["value"]) == ("class_order", "ios")


def test_scores_alone_suspect_exchanged_classes_and_a_sampling_rate(stored):
    live, _ = people(300, 7)
    sound = score(live)
    assert diagnose(stored, live, predictions=1 - sound).kind == "class_order"
    part = diagnose(stored, live, predictions=np.where(some(300, 0.5), 1 - sound, sound))
    assert (part.kind, part.status) == ("class_order", Status.SUSPECTED)
    assert part.share == pytest.approx(0.5, abs=0.2)
    odds = sound / (1 - sound) * 5
    rate = diagnose(stored, live, predictions=odds / (1 + odds))
    assert rate.kind == "sampling_prior"
    assert rate.transformation["rate"] == pytest.approx(5, rel=0.5)


def test_another_mix_of_the_classes_is_label_shift_with_labels_and_with_scores(trained):
    live, y = people(300, 8, share=0.7)
    for given in ({"labels": y}, {}):
        verdict = diagnose(trained, live, predictions=score(live), **given)
        assert (verdict.status, verdict.family, verdict.kind) == (
            Status.POPULATION_CHANGED,
            Family.POPULATION,
            "label_shift",
        ), given
        assert verdict.transformation["classes"]["1"] == pytest.approx(0.7, abs=0.1)


def test_rows_of_another_kind_are_no_label_shift(trained):
    """More rows with a large x0, of whatever class: the classes move too, and are not all that did."""
    frame, y = people(3000, 9)
    rows = frame.x0 > 1.0
    verdict = diagnose(trained, frame[rows].head(300), labels=y[rows][:300], predictions=score(frame[rows].head(300)))
    assert verdict.status is Status.POPULATION_CHANGED
    assert verdict.kind != "label_shift"


def test_sound_scores_of_another_mix_are_no_fault_of_the_endpoint(stored):
    """Stated: of 8 samples with 15 to 60 % of the class none is claimed, though only scores are there."""
    for seed, share in enumerate((0.15, 0.2, 0.4, 0.45, 0.5, 0.55, 0.6, 0.3)):
        live, _ = people(200, 20 + seed, share)
        assert diagnose(stored, live, predictions=score(live)).status not in CLAIMS, share


def test_a_column_that_knew_the_label_is_absent_whatever_stands_in_its_place():
    frame, y = people(2000, 0)
    trained = frame.assign(state=np.where(y == 1, "closed", "paid"), refund=np.where(y == 1, 80.0, 5.0) + frame.x0)
    reference = Reference.from_frame(trained, y=y)
    live = people(200, 1)[0].assign(state="paid", refund=20.0)
    live["refund"] = np.where(people(200, 1)[1] == 1, 80.0, 5.0) + live.x0
    live["state"] = np.where(people(200, 1)[1] == 1, "closed", "paid")
    for column, value in (("state", "unknown"), ("state", None), ("refund", np.nan), ("refund", 0.0)):
        verdict = diagnose(reference, live.assign(**{column: value}))
        assert (verdict.kind, verdict.features) == ("feature_absent", (column,)), (column, value)


class Classifier:
    """A model of classes as scikit-learn has them: labels and, of each class, a probability."""

    def __init__(self, names: tuple[str, ...] = ("no", "yes"), bounds: tuple[float, ...] = (0.4,)) -> None:
        self.names, self.bounds = np.array(names, dtype=object), bounds

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        upper = np.column_stack([score(frame) * (1 - bound) for bound in self.bounds])
        edges = np.column_stack([np.ones(len(frame)), upper, np.zeros(len(frame))])
        return edges[:, :-1] - edges[:, 1:]

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        return self.names[self.predict_proba(frame).argmax(axis=1)]


def three() -> Classifier:
    return Classifier(("high", "low", "mid"), (0.2, 0.6))


FORMS = {
    "a probability of each class": lambda model: model.predict_proba,
    "the last class's probability": lambda model: lambda frame: model.predict_proba(frame)[:, -1],
    "labels": lambda model: model.predict,
}


@pytest.mark.parametrize("make", [Classifier, three], ids=["two classes", "three classes"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("is_replayed", [False, True])
def test_the_models_own_answers_are_equal_in_whatever_form_they_come(make, form, is_replayed):
    frame, _ = people(600, 3)
    live, _ = people(200, 4)
    model = make()
    reference, answer = Reference.from_frame(frame, model=model, y=model.predict(frame)), FORMS[form](model)
    verdict = diagnose(reference, live, predictions=answer(live), rescore=answer if is_replayed else None)
    assert verdict.status not in CLAIMS, verdict


def test_exchanged_labels_are_named_where_training_kept_probabilities():
    frame, _ = people(600, 3)
    live, _ = people(200, 4)
    model = Classifier()
    reference = Reference.from_frame(frame, model=model, y=model.predict(frame))
    turned = np.where(model.predict(live) == "yes", "no", "yes")
    assert diagnose(reference, live, predictions=turned).kind == "class_order"
    others = np.where(some(200, 0.2), turned, model.predict(live))
    assert diagnose(reference, live, predictions=others).kind == "prediction_differs"


def test_labels_are_not_held_against_probabilities_where_there_is_no_model(stored):
    live, _ = people(200, 4)
    assert diagnose(stored, live, predictions=(score(live) > 0.5).astype(int)).status not in CLAIMS
