"""Pieces of a capture: rows in any form, samples, noise, origin, kinds of models. No MLflow."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tallystick.errors import InvalidParameter
from tallystick.gate import environment
from tallystick.gate.golden import Matrix
from tallystick.parity.tables import read_rows
from tallystick.training import origin, tabular
from tallystick.training.capture import make_plan, noise
from tallystick.training.served import flavor_of, model_kind
from tallystick.training.tabular import sampled


def test_rows_come_back_in_the_form_that_the_model_was_fitted_on():
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    rows = read_rows(array)
    assert (list(rows.frame.columns), rows.is_array) == (["0", "1"], True)
    assert (rows.restore(rows.frame.head(2)) == array[:2]).all()
    assert rows.restore(rows.frame).dtype == np.float32
    numbered = pd.DataFrame([[1, 2]])
    rows = read_rows(numbered)
    assert list(rows.frame.columns) == ["0", "1"]
    assert list(rows.restore(rows.frame).columns) == [0, 1]


@pytest.mark.parametrize("given", [[1, 2], np.zeros(3), np.zeros((2, 2, 2)), "rows", None])
def test_what_is_no_table_is_refused(given):
    with pytest.raises(InvalidParameter, match="X: expected"):
        read_rows(given)


def test_a_sample_is_bounded_and_keeps_labels_with_their_rows(monkeypatch):
    monkeypatch.setattr(tabular, "MOST_ROWS", 10)
    frame = pd.DataFrame({"x": np.arange(100)})
    rows, labels = sampled(frame, frame.x * 2)
    assert len(rows) == 10
    assert (labels == rows.x * 2).all()
    monkeypatch.setattr(tabular, "MOST_BYTES", 3 * 8)
    assert len(sampled(frame, None)[0]) == 3


def test_keys_and_times_stay_with_the_rows_that_are_drawn(monkeypatch):
    monkeypatch.setattr(tabular, "MOST_ROWS", 10)
    frame = pd.DataFrame({"x": np.arange(100.0)})
    plan = make_plan(frame, keys=np.arange(100), timestamps=np.arange(100.0))
    assert plan.asked.keys.tolist() == [str(int(x)) for x in plan.rows.frame.x]
    assert plan.asked.times.tolist() == plan.rows.frame.x.tolist()
    with pytest.raises(InvalidParameter, match="keys has 3 entries, expected 100"):
        make_plan(frame, keys=[1, 2, 3])


def test_a_sample_does_not_change_with_what_was_given():
    frame, array = pd.DataFrame({"x": [1.0]}), np.array([[1.0]])
    kept, kept_array = sampled(frame, None)[0], sampled(array, None)[0]
    frame.loc[0, "x"] = array[0, 0] = 9.0
    assert (kept.x[0], kept_array[0, 0]) == (1.0, 1.0)


@pytest.mark.parametrize(
    "options",
    [
        {"X": pd.DataFrame({"x": [1]}), "y": [1, 2]},
        {"X": pd.DataFrame({"x": [1]}), "eval_data": (pd.DataFrame({"z": [1]}), [1])},
        {"X": pd.DataFrame({"x": [1]}), "eval_data": (pd.DataFrame({"x": [1]}), [])},
        {"X": pd.DataFrame({"x": [1]}), "privacy_options": {"y": "none"}},
        {"X": pd.DataFrame({"x": [1]}), "k_anonymity": 0},
    ],
)
def test_what_cannot_be_captured_is_refused_at_once(options):
    with pytest.raises(InvalidParameter):
        make_plan(**options)


def test_noise_is_the_largest_difference_in_deviations():
    one = np.array([[0.0], [2.0]])
    assert noise(Matrix.of(one), Matrix.of(one)) == 0.0
    assert noise(Matrix.of(one), Matrix.of(one + np.array([[0.0], [0.5]]))) == 0.5
    assert noise(Matrix.of([np.nan, np.inf]), Matrix.of([np.nan, np.inf])) == 0.0
    assert noise(Matrix.of(["a", "b"]), Matrix.of(["a", "c"])) == 0.5


def test_the_kind_of_a_model_is_that_of_its_last_estimator():
    frame = pd.DataFrame({"x": [0.0, 1.0]})
    assert model_kind(make_pipeline(StandardScaler(), Ridge()).fit(frame, [0, 1])) == "linear"
    assert model_kind(make_pipeline(RandomForestRegressor(2)).fit(frame, [0, 1])) == "trees"
    assert model_kind(KNeighborsClassifier()) == "other"
    assert model_kind(len) == "other"


def test_the_flavor_is_that_of_the_library_closest_to_the_model():
    from lightgbm import LGBMClassifier
    from xgboost import XGBRegressor

    kinds = [XGBRegressor(), LGBMClassifier(), Ridge(), "model.py", len]
    assert [flavor_of(kind) for kind in kinds] == ["xgboost", "lightgbm", "sklearn", "pyfunc", "pyfunc"]
    with pytest.raises(InvalidParameter, match="flavor="):
        flavor_of(3)


def test_the_origin_names_commit_packages_and_data(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / ".git" / "packed-refs").write_text("# packed\nabc123 refs/heads/main\n")
    (tmp_path / "deeper").mkdir()
    assert origin.git_commit(tmp_path / "deeper") == "abc123"
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    assert origin.data_digest(frame) == origin.data_digest(frame.copy())
    assert origin.data_digest(frame) != origin.data_digest(frame[::-1])
    assert origin.data_digest(pd.DataFrame({"x": [[1]]})) == ""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# all\nmsgspec==1.0\nscipy>=1\n-r other.txt\nnumpy\n")
    assert origin.unpinned(requirements) == ["scipy>=1", "numpy"]
    found = origin.environment(Ridge(), requirements)
    # The gate, here, sees what capture saw, key by key.
    assert environment.observe(environment.packages_of(found)) == found
    assert {"python", "blas", "threads", "package:scikit-learn", "package:msgspec", "package:numpy"} <= set(found)
