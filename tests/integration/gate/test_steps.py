"""The outputs of a model's steps: paths, names and values, for pipelines of any depth and for marked functions."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.pipeline import Pipeline as Steps
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler

from tallystick.gate.stages import stage
from tallystick.gate.steps import trace_steps

FRAME = pd.DataFrame(
    {"age": [30.0, np.nan, 50.0, 70.0], "pay": [1.0, 2.0, 3.0, 9.0], "city": ["Ulm", "Bonn", "Ulm", "Kiel"]}
)
LABELS = [0, 1, 0, 1]


def _pipeline(city=None):
    numbers = Steps([("impute", SimpleImputer()), ("scale", StandardScaler())])
    prep = ColumnTransformer([("num", numbers, ["age", "pay"]), ("cat", city or OneHotEncoder(), ["city"])])
    return Steps([("prep", prep), ("model", LogisticRegression())]).fit(FRAME, LABELS)


def _by_path(steps):
    return {step.path: step for step in steps}


def test_a_nested_pipeline_gives_every_step_in_the_order_in_which_it_runs():
    steps = trace_steps(_pipeline(), FRAME)
    assert [step.path for step in steps] == ["prep/num/impute", "prep/num/scale", "prep/cat", "prep"]
    assert steps[0].columns == ("age", "pay")
    assert steps[0].output.values()[1].tolist() == [50.0, 2.0]
    assert steps[2].columns == ("city_Bonn", "city_Kiel", "city_Ulm")
    assert steps[3].columns[:2] == ("num__age", "num__pay")
    assert steps[3].output.width == 5


def test_outputs_are_those_that_the_model_computes_itself():
    model = _pipeline()
    found = _by_path(trace_steps(model, FRAME))["prep"].output.values()
    assert (found == model[:-1].transform(FRAME)).all()


def test_a_difference_shows_at_its_own_step_first():
    good, bad = _pipeline(OrdinalEncoder()), _pipeline(OrdinalEncoder(categories=[["Kiel", "Ulm", "Bonn"]]))
    pairs = zip(trace_steps(good, FRAME), trace_steps(bad, FRAME), strict=True)
    assert next(a.path for a, b in pairs if a != b) == "prep/cat"


@pytest.mark.parametrize(
    "columns", [["age", "pay"], [0, 1], slice(0, 2), [True, True, False], slice("age", "pay"), np.array(["age", "pay"])]
)
def test_columns_are_chosen_in_every_way_that_scikit_learn_knows(columns):
    model = ColumnTransformer([("num", SimpleImputer(), columns)], remainder="passthrough").fit(FRAME)
    first = trace_steps(make_pipeline(model), FRAME)[0]
    assert first.path == "columntransformer/num"
    assert first.columns == ("age", "pay")


def test_a_single_column_reaches_its_step_without_a_second_axis():
    model = ColumnTransformer([("words", CountVectorizer(), "city")], remainder=SimpleImputer()).fit(FRAME)
    steps = _by_path(trace_steps(Steps([("prep", model)]), FRAME))
    assert steps["prep/words"].columns == ("bonn", "kiel", "ulm")
    assert steps["prep/remainder"].columns == ("age", "pay")


def test_unions_searches_and_targets_are_looked_into():
    union = FeatureUnion([("wide", StandardScaler()), ("narrow", MinMaxScaler())])
    inside = Steps([("union", union), ("model", LinearRegression())])
    search = GridSearchCV(inside, {"model__fit_intercept": [True]}, cv=2)
    model = TransformedTargetRegressor(regressor=search).fit(FRAME[["pay"]], LABELS)
    assert [step.path for step in trace_steps(model, FRAME[["pay"]])] == ["union/wide", "union/narrow", "union"]


def test_arrays_have_numbers_for_names():
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME[["pay"]].to_numpy(), LABELS)
    (step,) = trace_steps(model, FRAME[["pay"]].to_numpy())
    assert (step.path, len(step.columns)) == ("standardscaler", 1)


def test_a_model_without_steps_gives_its_marked_stages():
    @stage("clean")
    def clean(frame):
        return frame.assign(age=frame.age.fillna(0))

    @stage("score")
    def score(frame):
        return frame.age.to_numpy() * 2

    steps = trace_steps(lambda frame: score(clean(frame)), FRAME)
    assert [(step.path, step.columns) for step in steps] == [("clean", ("age", "pay", "city")), ("score", ("0",))]
    assert steps[1].output.values()[:, 0].tolist() == [60.0, 0.0, 100.0, 140.0]


def test_a_stage_inside_a_step_stands_before_it():
    @stage("double")
    def double(frame):
        return frame * 2

    model = Steps([("twice", FunctionTransformer(double)), ("model", LinearRegression())])
    model.fit(FRAME[["pay"]], LABELS)
    assert [step.path for step in trace_steps(model, FRAME[["pay"]])] == ["twice/double", "twice"]


def test_boosters_show_the_codes_of_their_levels():
    from lightgbm import LGBMClassifier

    frame = pd.concat([FRAME] * 20, ignore_index=True).astype({"city": "category"})
    model = LGBMClassifier(n_estimators=2, verbose=-1).fit(frame, LABELS * 20)
    turned = frame.assign(city=frame.city.cat.reorder_categories(["Ulm", "Kiel", "Bonn"]))
    (step,), (other,) = trace_steps(model, frame), trace_steps(model, turned)
    assert (step.path, step.columns) == ("levels", ("city",))
    assert other == step, "LightGBM keeps the order of its training frame"


def test_what_a_step_raises_names_the_step():
    with pytest.raises(ValueError) as caught:
        trace_steps(_pipeline(), FRAME.assign(pay="much"))
    assert caught.value.__notes__ == ["in step prep/num/impute"]
