import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tallystick.worker.accelerate import ArrayPredict, accelerated

RANDOM = np.random.default_rng(7)
X = pd.DataFrame(RANDOM.normal(size=(50, 3)), columns=list("abc"))
Y = (X["a"] + X["b"] > 0).astype(int)


def fitted(model):
    model.fit(X, Y)
    return model, lambda data, params: model.predict(data)


def test_a_pipeline_of_doubles_is_called_with_arrays_and_answers_alike():
    model, predict = fitted(make_pipeline(StandardScaler(), LogisticRegression()))
    fast = accelerated(predict, model, "predict", X.head(5))
    assert fast is not None
    np.testing.assert_array_equal(fast(X, {}), model.predict(X))
    assert list(model.feature_names_in_) == ["a", "b", "c"], "the model itself is not touched"


def test_a_pipeline_that_picks_columns_by_name_is_left_alone():
    model, predict = fitted(make_pipeline(ColumnTransformer([("s", StandardScaler(), ["a", "c"])]), LinearRegression()))
    assert accelerated(predict, model, "predict", X.head(5)) is None


def test_other_types_than_doubles_are_left_alone():
    model, predict = fitted(LinearRegression())
    assert accelerated(predict, model, "predict", X.head(5).astype("float32")) is None
    fast = ArrayPredict(lambda data, params: "slow", lambda array: "fast")
    assert fast(X.astype("float32"), {}) == fast(X.to_numpy(), {}) == "slow"
    assert fast(X, {}) == "fast"


def test_a_model_that_treats_nan_otherwise_is_left_alone():
    class Odd(LinearRegression):
        def predict(self, data):
            if isinstance(data, pd.DataFrame):
                data = data.fillna(0.0)
            return super().predict(data)

    model, predict = fitted(Odd())
    assert accelerated(predict, model, "predict", X.head(5)) is None


def test_the_first_live_difference_puts_the_model_back(capsys):
    fast = ArrayPredict(lambda data, params: np.zeros(len(data)), lambda array: np.ones(len(array)), compare_every=3)
    answers = [fast(X.head(1), {})[0] for _ in range(6)]
    assert answers == [1, 1, 0, 0, 0, 0]
    assert "no longer used" in capsys.readouterr().err
