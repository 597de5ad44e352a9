"""Classes that are texts: offline quality, the live share of its gap, and labels in training's words."""

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeClassifier

from tallystick.monitor.labels import labels_as_trained
from tallystick.parity import Reference, diagnose
from tallystick.parity.golden import class_names, label_numbers, metric

SPECIES = np.array(["setosa", "versicolor", "virginica"], dtype=object)


def _rows(seed, rows=1500):
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "length": np.round(random.gamma(4, 10, rows), 1),
            "width": np.round(random.normal(30, 8, rows), 1),
            "site": random.choice(["a", "b", "c"], rows),
        }
    )
    frame["depth"] = np.round(frame.length * 0.5 + random.normal(0, 3, rows), 1)
    return frame, random


def _labels(frame, random, classes):
    edges = np.quantile(frame.length, np.linspace(0, 1, len(classes) + 1)[1:-1])
    return classes[np.searchsorted(edges, frame.length + random.normal(0, 4, len(frame)))]


@pytest.fixture(params=[SPECIES, np.array(["yes", "no"], dtype=object)], ids=["many", "two"])
def trained(request):
    """A classifier of texts, asked for labels as it is served; its reference, and rows that it has not seen."""
    frame, random = _rows(0)
    labels = _labels(frame, random, request.param)
    columns = ["length", "width", "depth"]
    model = DecisionTreeClassifier(max_depth=4, random_state=0).fit(frame[columns], labels)

    def served(rows):
        return model.predict(rows[columns])

    later, random = _rows(1)
    held_out = (later, _labels(later, random, request.param))
    return served, Reference.from_frame(frame, served, labels, held_out), request.param


def test_quality_is_accuracy_with_its_interval(trained):
    served, reference, classes = trained
    rows, random = _rows(1)
    right = float(np.mean(served(rows) == _labels(rows, random, classes)))
    evaluation = reference.evaluation
    assert (evaluation.metric, evaluation.value, evaluation.rows) == ("accuracy", pytest.approx(right), 1500)
    assert 0 < evaluation.low < evaluation.value < evaluation.high < 1
    assert reference.classes == tuple(sorted(classes))
    assert Reference.from_bytes(reference.to_bytes()).classes == reference.classes


def test_the_live_gap_is_explained(trained):
    served, reference, classes = trained
    rows, random = _rows(2, 600)
    labels = _labels(rows, random, classes)
    sent = rows.assign(length=rows.length / 10)
    verdict = diagnose(reference, sent, labels=labels, predictions=served(sent), rescore=served)
    assert (verdict.kind, verdict.features) == ("unit", ("length",))
    assert verdict.explained == pytest.approx(1.0, abs=0.35)
    assert any("accuracy" in piece.text for piece in verdict.evidence)


def test_predictions_of_some_classes_only_have_the_codes_of_training(trained):
    served, reference, classes = trained
    rows, _ = _rows(3, 600)
    answers = served(rows)
    assert (reference.numbers_of(answers) == [reference.classes.index(name) for name in answers]).all()
    one = rows[answers == sorted(classes)[-1]]
    verdict = diagnose(reference, one, predictions=served(one), rescore=served)
    assert verdict.kind not in ("class_order", "prediction_differs")
    assert set(reference.numbers_of(served(one))) == {len(classes) - 1.0}


def test_numbers_of_labels():
    assert label_numbers(["b", None, "a", np.nan]).tolist() == pytest.approx([1.0, np.nan, 0.0, np.nan], nan_ok=True)
    assert label_numbers(np.array([10, None, 9.5], dtype=object)).tolist() == pytest.approx(
        [10, np.nan, 9.5], nan_ok=True
    )
    assert label_numbers(pd.Series([1, None, 3], dtype="Int64")).tolist() == pytest.approx([1, np.nan, 3], nan_ok=True)
    assert label_numbers(pd.Series([True, None], dtype="boolean")).tolist() == pytest.approx([1, np.nan], nan_ok=True)
    assert label_numbers(pd.Series(["x", "y"], dtype="category"), ("y", "x")).tolist() == [1.0, 0.0]
    assert label_numbers(["new"], ("y", "x")).tolist() == [2.0]
    assert label_numbers([], ("y", "x")).tolist() == []
    assert class_names(pd.Series([1, None], dtype="Int64")) == ()
    assert class_names(["b", "a", None]) == ("a", "b")


def test_one_score_has_no_metric_for_many_classes():
    truth = np.array([0.0, 1.0, 2.0])
    assert metric(truth, np.array([0.1, 0.2, 0.3]), 3)[0] == ""
    assert metric(truth[:2], np.array([0.1, 0.2]), 2) == ("auc", 1.0)
    assert metric(truth, np.array([0.0, 1.0, 3.0]), 3) == ("accuracy", pytest.approx(2 / 3))


def test_without_labels_classes_are_what_the_model_gives():
    frame, _ = _rows(0, 400)
    asked = []

    def served(rows):
        asked.append(len(rows))
        return SPECIES[(rows.length > 40).astype(int)]

    assert Reference.from_frame(frame, served).classes == ("setosa", "versicolor")
    assert len(asked) == 3
    asked.clear()
    assert Reference.from_frame(frame, served, SPECIES[np.zeros(400, int)]).classes == ("setosa",)
    assert len(asked) == 2, "labels say what classes there are"


def test_missing_labels_are_no_class():
    frame, random = _rows(0, 400)
    labels = _labels(frame, random, SPECIES)
    labels[::4] = None
    reference = Reference.from_frame(frame, lambda rows: SPECIES[np.zeros(len(rows), int)], labels)
    assert reference.evaluation.rows == 300
    assert "None" not in reference.classes


@pytest.mark.parametrize(
    ("given", "shares", "classes", "expected"),
    [
        (["yes", None], {"no": 0.5, "yes": 0.5}, ("no", "yes"), ["yes", None]),
        ([1.0, 0.0], {"no": 0.5, "yes": 0.5}, ("no", "yes"), None),
        ([1.0, 2.0], {"1": 0.5, "2": 0.5}, ("1", "2"), ["1", "2"]),
        (["true", "0"], {"True": 0.5, "False": 0.5}, (), ["True", "False"]),
        (["1.0", "0"], {"1": 0.5, "0": 0.5}, (), [1.0, 0.0]),
    ],
)
def test_feedback_is_read_in_training_s_words(given, shares, classes, expected):
    found = labels_as_trained(np.array(given, dtype=object), shares, classes)
    assert (None if found is None else found.tolist()) == expected


def test_a_label_that_is_no_number_ends_no_diagnosis():
    found = labels_as_trained(np.array(["1.0", "lost"], dtype=object), {"1": 0.5, "0": 0.5})
    assert found.tolist() == pytest.approx([1.0, np.nan], nan_ok=True)


@pytest.mark.parametrize(
    "labels", [np.random.default_rng(3).normal(50, 9, 400), np.full(400, 7), np.full(400, "maybe")]
)
def test_labels_that_are_none_of_trainings_classes_say_nothing_of_their_mix(labels):
    frame, random = _rows(0)
    reference = Reference.from_frame(frame, None, _labels(frame, random, np.array([0, 1])))
    verdict = diagnose(reference, _rows(1, 400)[0], labels)
    assert (verdict.status, verdict.kind) == ("consistent", "")
