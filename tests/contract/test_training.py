"""Capture with MLflow as it is: real stores, real flavors; what is logged can be loaded and holds its reference."""

import contextlib
import importlib
import sys
import warnings
from pathlib import Path

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import pytest
import sklearn
import xgboost
from mlflow.models import Model
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

import tallystick
from tallystick.entities import WorkerOptions
from tallystick.errors import InvalidParameter
from tallystick.gate import golden
from tallystick.gate.report import Outcome, Rung
from tallystick.parity import Reference
from tallystick.protocol.worker_spec import WorkerSpec
from tallystick.training import native, tabular
from tallystick.training.autolog import _installed
from tallystick.worker import offline

#: MLflow asks a process of its own which packages a model imports, for some ten seconds; given, it does not.
PINNED = {"pip_requirements": [f"scikit-learn=={sklearn.__version__}", "numpy"]}


@pytest.fixture
def logging_by_itself(mlflow_store):
    tallystick.autolog()
    yield
    tallystick.autolog(disable=True)


def _frame(rows=600):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": random.integers(18, 90, rows),
            "income": np.round(random.lognormal(10, 1, rows), 2),
            "city": random.choice(["Ulm", "Bonn", "Kiel"], rows),
        }
    )
    frame.loc[::9, "income"] = np.nan
    labels = pd.Series((frame.age + random.normal(0, 10, rows) > 50).astype(int))
    return frame, labels


def _pipeline():
    frame, labels = _frame()
    prep = ColumnTransformer(
        [
            (
                "num",
                Pipeline([("zero", FunctionTransformer(np.nan_to_num)), ("scale", StandardScaler())]),
                ["age", "income"],
            ),
            ("cat", OneHotEncoder(), ["city"]),
        ]
    )
    return Pipeline([("prep", prep), ("model", LogisticRegression())]).fit(frame, labels), frame, labels


def _numbers():
    frame, labels = _frame()
    return frame[["age", "income"]].astype(float), labels


@contextlib.contextmanager
def _findings():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = []
        yield found
    found += [str(each.message) for each in caught if "tallystick" in str(each.message)]


def _folder(info):
    return Path(mlflow.artifacts.download_artifacts(info.model_uri))


def _check(folder, model_answers, frame):
    """The reference can be read, and the model in the folder answers what its golden rows say."""
    found = golden.find(folder)
    reference = Reference.load(folder / "parity")
    again = mlflow.pyfunc.load_model(str(folder))
    rows = reference.rows
    assert np.array_equal(np.asarray(again.predict(rows)).reshape(len(rows), -1), found.predictions.values())
    assert list(reference.names) == list(frame.columns)
    assert np.array_equal(np.asarray(model_answers(rows)).reshape(len(rows), -1), found.predictions.values())
    assert sum(path.stat().st_size for path in (folder / "parity").iterdir()) < 1_000_000
    return found, reference


def _rungs(folder, scratch):
    """What the gate says of a model in a folder, rung by rung, as at a deployment."""
    spec = WorkerSpec("e-0", "", "", str(folder), "", str(scratch / "cache"), WorkerOptions(), 1)
    return {rung.rung: rung for rung in offline.check(spec).report.rungs}


def test_a_pipeline_is_logged_with_its_reference(mlflow_store):
    model, frame, labels = _pipeline()
    held_out = (frame.iloc[:100], labels.iloc[:100])
    with mlflow.start_run() as run, _findings() as told:
        info = tallystick.log_model(
            model, "churn", X=frame, y=labels, eval_data=held_out, registered_model_name="churn", **PINNED
        )
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/churn/{info.registered_model_version}"))
    found, reference = _check(folder, model.predict, frame)
    assert [step.path for step in found.steps] == ["prep/num/zero", "prep/num/scale", "prep/cat", "prep"]
    assert [wire.encoding for wire in found.wires] == ["dataframe_records", "dataframe_split", "inputs", "csv", "arrow"]
    assert (found.model_kind, found.quality.metric, found.noise) == ("linear", "accuracy", 0.0)
    assert reference.lineage["run_id"] == run.info.run_id
    assert reference.evaluation.rows == 100
    assert {scaler.column for scaler in reference.scalers} == {"age", "income"}
    assert found.environment["package:scikit-learn"]
    assert info.signature.inputs.input_names() == ["age", "income", "city"]
    assert (folder / "input_example.json").exists()
    assert len(told) == 1, "all that was found is one warning"
    assert "requirements without a version: numpy" in told[0]


@pytest.mark.parametrize("kind", [xgboost.XGBClassifier, lightgbm.LGBMClassifier])
def test_boosters_are_logged_with_their_own_flavor(mlflow_store, kind):
    frame, labels = _numbers()
    quiet = {"verbose": -1} if kind is lightgbm.LGBMClassifier else {}
    model = kind(n_estimators=3, **quiet).fit(frame, labels)
    folder = _folder(tallystick.log_model(model, "boosted", X=frame, y=labels, **PINNED))
    found, _ = _check(folder, model.predict, frame)
    assert found.model_kind == "trees"
    assert {"xgboost", "lightgbm"} & set(Model.load(folder).flavors)


@pytest.mark.parametrize(
    ("options", "classes", "metric"),
    [
        ({}, ["no", "yes"], "accuracy"),
        ({}, ["setosa", "versicolor", "virginica"], "accuracy"),
        ({"pyfunc_predict_fn": "predict_proba"}, ["no", "yes"], None),
    ],
)
def test_classes_that_are_texts_have_a_metric_and_the_gate_asks_it(mlflow_store, tmp_path, options, classes, metric):
    frame, _ = _numbers()
    labels = np.array(classes)[(frame.age // 30 % len(classes)).astype(int)]
    model = RandomForestClassifier(5, random_state=0).fit(frame.fillna(0), labels)
    folder = _folder(tallystick.log_model(model, "texts", X=frame.fillna(0), y=labels, **options, **PINNED))
    found = golden.find(folder)
    reference = Reference.load(folder / "parity")
    assert reference.classes == found.classes == tuple(classes)
    assert reference.evaluation.metric == (metric or "auc")
    assert (found.quality.metric if found.quality else None) == metric
    metric_rung = _rungs(folder, tmp_path)[Rung.METRIC]
    assert metric_rung.outcome is (Outcome.PASSED if metric else Outcome.SKIPPED), metric_rung


def test_native_boosters_answer_as_they_are_served(mlflow_store):
    frame, labels = _numbers()
    boosted = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(frame, labels), 3)
    folder = _folder(tallystick.log_model(boosted, "native", X=frame, y=labels, **PINNED))
    found, _ = _check(folder, lambda rows: boosted.predict(xgboost.DMatrix(rows)), frame)
    assert found.quality.metric == "auc"


class Doubles(mlflow.pyfunc.PythonModel):
    @tallystick.stage("doubled")
    def double(self, frame):
        return frame["age"] * 2

    def predict(self, context, model_input, params=None):
        return self.double(model_input).to_numpy()


def test_a_python_model_is_logged_with_its_stages(mlflow_store):
    frame, _ = _numbers()
    model = Doubles()
    folder = _folder(tallystick.log_model(model, "doubles", X=frame, **PINNED))
    found, reference = _check(folder, lambda rows: model.predict(None, rows), frame)
    assert [step.path for step in found.steps] == ["doubled"]
    assert "no labels: the effect on quality cannot be measured" in reference.degraded


def test_probabilities_are_captured_where_probabilities_are_served(mlflow_store):
    model, frame, labels = _pipeline()
    folder = _folder(tallystick.log_model(model, "p", X=frame, y=labels, pyfunc_predict_fn="predict_proba", **PINNED))
    found, _ = _check(folder, model.predict_proba, frame)
    assert found.predictions.width == 2


def test_arrays_are_captured_for_models_of_arrays(mlflow_store):
    frame, labels = _numbers()
    array = frame.fillna(0).to_numpy()
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(array, labels)
    folder = _folder(tallystick.log_model(model, "array", X=array, y=labels, **PINNED))
    found = golden.find(folder)
    assert [wire.encoding for wire in found.wires] == ["inputs", "instances"]
    assert mlflow.pyfunc.load_model(str(folder)).predict(array[:5]).shape == (5,)


def test_nested_columns_are_said_to_be_left_out(mlflow_store):
    frame, labels = _numbers()
    nested = frame.assign(basket=[[1, n] for n in range(len(frame))])
    folder = _folder(tallystick.log_model(Doubles(), "nested", X=nested, y=labels, **PINNED))
    reference = Reference.load(folder / "parity")
    assert "column basket: lists, objects and bytes are not profiled" in reference.degraded
    assert any("they cannot hold what is in basket" in line for line in reference.degraded)
    assert reference.column("age").numbers.rows == len(frame)
    assert (golden.find(folder).wires, reference.column("basket").privacy) == ((), "none")


def test_whole_numbers_and_truth_values_may_be_missing(mlflow_store, tmp_path):
    frame, labels = _numbers()
    holes = np.arange(len(frame)) % 7 == 0
    frame = frame.fillna(0).assign(
        visits=pd.array(np.where(holes, None, 3), dtype="Int64"),
        flag=pd.array(np.where(holes, None, True), dtype="boolean"),
    )
    folder = _folder(tallystick.log_model(Doubles(), "holes", X=frame, y=labels, **PINNED))
    kinds = {entry.name: entry.type.name for entry in Model.load(folder).signature.inputs}
    assert (kinds["visits"], kinds["flag"]) == ("double", "double")
    assert _rungs(folder, tmp_path)[Rung.WIRE].outcome is not Outcome.FAILED


def test_a_folder_needs_no_store(tmp_path):
    model, frame, labels = _pipeline()
    folder = tallystick.save_model(model, tmp_path / "model", X=frame, y=labels, **PINNED)
    _check(folder, model.predict, frame)


def test_what_cannot_be_captured_is_refused_before_anything_is_logged(mlflow_store):
    model, frame, labels = _pipeline()
    before = len(mlflow.search_logged_models(output_format="list"))
    for options in ({"X": ["text"]}, {"X": frame, "privacy": "secret"}, {"X": frame, "y": labels[:3]}):
        with pytest.raises(InvalidParameter):
            tallystick.log_model(model, "refused", **options)
    assert len(mlflow.search_logged_models(output_format="list")) == before


def test_private_columns_are_in_no_file_of_the_artifact(mlflow_store):
    model, frame, labels = _pipeline()
    private = {"city": "hashed", "income": "none"}
    folder = _folder(tallystick.log_model(model, "private", X=frame, y=labels, privacy=private, **PINNED))
    found = golden.find(folder)
    assert [column.name for column in found.columns] == ["age"]
    assert (found.wires, found.steps, found.predictions.rows, found.labels) == ((), (), 0, b"")
    assert any("privacy takes out income, city" in line for line in found.degraded)
    assert not (folder / "input_example.json").exists()
    content = b"".join(path.read_bytes() for path in (folder / "parity").iterdir())
    assert b"Ulm" not in content
    assert b"Bonn" not in content


def test_a_model_that_is_another_one_when_loaded_is_told(mlflow_store, tmp_path):
    class Forgets(mlflow.pyfunc.PythonModel):
        """Its state is not in what is pickled, as with a connection or a global."""

        def __init__(self):
            self.offset = 5

        def __getstate__(self):
            return {"offset": 0}

        def predict(self, context, model_input, params=None):
            return model_input["age"].to_numpy() + self.offset

    with _findings() as told:
        tallystick.save_model(Forgets(), tmp_path / "model", X=_numbers()[0], **PINNED)
    assert "the saved model, loaded again, gives other predictions for 100.0% of the rows" in told[0]
    assert any("loaded again" in line for line in Reference.load(tmp_path / "model" / "parity").lint)


def test_autolog_leaves_an_unmodified_script_a_reference(logging_by_itself, tmp_path):
    frame, labels = _frame()
    model, _, _ = _pipeline()
    model = model.fit(frame, labels)
    folder = _folder(
        mlflow.sklearn.log_model(model, name="auto", skops_trusted_types=["numpy.dtype", "numpy.nan_to_num"], **PINNED)
    )
    found, reference = _check(folder, model.predict, frame)
    assert len(found.steps) == 4
    assert reference.lineage["rows"] == "600"
    assert any("no signature" in line for line in reference.lint)
    assert len(reference.labels) == len(reference.rows)
    # Without a signature, `inputs` with names is a dict: the model takes none, so the gate has no such rows to send.
    assert [wire.encoding for wire in found.wires] == ["dataframe_records", "dataframe_split"]
    assert any("not kept as inputs: the model has no signature" in line for line in found.degraded)
    assert _rungs(folder, tmp_path)[Rung.WIRE].outcome is not Outcome.FAILED


def test_models_that_skops_refuses_by_itself_are_written_under_autolog(logging_by_itself):
    frame, labels = _numbers()
    boosted = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1)
    for model in (RandomForestClassifier(2), make_pipeline(FunctionTransformer(np.nan_to_num), boosted)):
        model.fit(frame, labels)
        folder = _folder(mlflow.sklearn.log_model(model, name="trees", **PINNED))
        _check(folder, model.predict, frame)
        assert Model.load(folder).flavors["sklearn"]["serialization_format"] == "skops"
    mine = make_pipeline(FunctionTransformer(_halved), LinearRegression()).fit(frame.fillna(0), labels)
    with pytest.raises(mlflow.MlflowException, match="untrusted types"):
        mlflow.sklearn.log_model(mine, name="mine", **PINNED)


def test_a_model_is_written_by_cloudpickle_where_skops_is_not_installed(logging_by_itself, monkeypatch):
    frame, labels = _numbers()
    model = LinearRegression().fit(frame.fillna(0), labels)
    for module in [name for name in sys.modules if name.partition(".")[0] == "skops"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "skops", None)
    for asked in ({}, {"serialization_format": None}):
        with pytest.warns(UserWarning, match="skops is not installed"):
            folder = _folder(mlflow.sklearn.log_model(model, name="plain", **asked, **PINNED))
        _check(folder, model.predict, frame.fillna(0))
        assert Model.load(folder).flavors["sklearn"]["serialization_format"] == "cloudpickle"
    with pytest.raises(ModuleNotFoundError, match="skops"):
        mlflow.sklearn.log_model(model, name="plain", serialization_format="skops", **PINNED)
    with pytest.raises(TypeError, match="nonsense"):
        mlflow.sklearn.log_model(model, name="plain", nonsense=1, **PINNED)


def _halved(frame):
    return frame / 2


def test_autolog_takes_the_rows_of_the_outermost_fit(logging_by_itself):
    frame, labels = _numbers()
    search = GridSearchCV(make_pipeline(FunctionTransformer(np.nan_to_num), LogisticRegression()), {}, cv=2)
    before = len(_installed().reservoir)
    search.fit(frame, labels)
    assert len(_installed().reservoir) == before + 1, "of the fits inside nothing is held"
    best = search.best_estimator_
    for model in (search, best):
        trusted = {"serialization_format": "cloudpickle"}
        _check(_folder(mlflow.sklearn.log_model(model, name="best", **trusted, **PINNED)), model.predict, frame)


def test_autolog_sees_boosters_and_python_models(logging_by_itself):
    frame, labels = _numbers()
    model = xgboost.XGBClassifier(n_estimators=2).fit(frame, labels)
    _check(_folder(mlflow.xgboost.log_model(model, name="x", **PINNED)), model.predict, frame)

    class Around(mlflow.pyfunc.PythonModel):
        def __init__(self, model):
            self.model = model

        def predict(self, context, model_input, params=None):
            return self.model.predict_proba(model_input)[:, 1]

    around = Around(model)
    folder = _folder(mlflow.pyfunc.log_model(python_model=around, name="around", **PINNED))
    _check(folder, lambda rows: around.predict(None, rows), frame)


def test_autolog_sees_xgboost_train(logging_by_itself):
    frame, labels = _numbers()
    inside = xgboost.DMatrix(frame[:400], labels[:400])
    model = xgboost.train(
        {"objective": "binary:logistic"},
        inside,
        9,
        evals=[(xgboost.DMatrix(frame[400:], labels[400:]), "later")],
        early_stopping_rounds=2,
        verbose_eval=False,
    )
    del inside
    folder = _folder(mlflow.xgboost.log_model(model, name="x", **PINNED))
    found, reference = _check(folder, lambda rows: model.predict(xgboost.DMatrix(rows)), frame)
    assert (reference.lineage["rows"], found.quality.metric) == ("400", "auc")
    held = _installed().matrices
    before = len(held)
    best = model[:2]
    assert _installed().reservoir.find(best) is not None, "what early stopping keeps is a slice"
    xgboost.XGBClassifier(n_estimators=2).fit(frame, labels)
    assert len(held) == before, "matrices that a fit makes are its own"


@pytest.mark.parametrize("where", ["positional", "named", "set later"])
def test_autolog_sees_lightgbm_train(logging_by_itself, where):
    frame, labels = _numbers()
    if where == "positional":
        inside = lightgbm.Dataset(frame, labels)
    elif where == "named":
        inside = lightgbm.Dataset(data=frame, label=labels)
    else:
        inside = lightgbm.Dataset(frame)
        inside.set_label(labels)
    model = lightgbm.train({"objective": "binary", "verbose": -1}, inside, 3)
    folder = _folder(mlflow.lightgbm.log_model(model, name="l", **PINNED))
    found, reference = _check(folder, model.predict, frame)
    assert (found.quality.metric, reference.label_shares.keys()) == (
        "auc",
        {"0", "1"} if where != "set later" else {"0.0", "1.0"},
    )


def test_names_given_to_a_matrix_are_those_of_the_model(logging_by_itself):
    frame, labels = _numbers()
    names = ["age", "income"]
    model = xgboost.train({}, xgboost.QuantileDMatrix(frame.to_numpy(), labels, feature_names=names), 2)
    other = lightgbm.train({"verbose": -1}, lightgbm.Dataset(frame.to_numpy(), labels, feature_name=names), 2)
    _check(
        _folder(mlflow.xgboost.log_model(model, name="x", **PINNED)),
        lambda rows: model.predict(xgboost.DMatrix(rows)),
        frame,
    )
    _check(_folder(mlflow.lightgbm.log_model(other, name="l", **PINNED)), other.predict, frame)


def test_a_matrix_that_is_not_seen_is_told_with_its_reason(mlflow_store, tmp_path):
    frame, labels = _numbers()
    early = xgboost.DMatrix(frame, labels)
    (tmp_path / "rows.csv").write_text(frame.assign(y=labels)[["y", "age", "income"]].to_csv(index=False, header=False))
    tallystick.autolog()
    try:
        from_file = lightgbm.Dataset(str(tmp_path / "rows.csv"))
        sparse = xgboost.DMatrix(csr_matrix(frame.fillna(0).to_numpy()), labels)
        told_missing = xgboost.DMatrix(frame.fillna(-1), labels, missing=-1)
        models = [
            xgboost.train({}, early, 1),
            lightgbm.train({"verbose": -1}, from_file, 1),
            xgboost.train({}, sparse, 1),
        ]
        for model, why in zip(models, ("made before autolog()", "read from a file", "got csr_matrix"), strict=True):
            flavor = mlflow.lightgbm if isinstance(model, lightgbm.Booster) else mlflow.xgboost
            with _findings() as told:
                folder = _folder(flavor.log_model(model, name="unseen", **PINNED))
            assert not (folder / "parity").exists()
            assert [why in line for line in told] == [True], told
        with _findings() as told:
            mlflow.xgboost.log_model(xgboost.train({}, told_missing, 1), name="missing", **PINNED)
        assert "to the endpoint -1 is a number" in told[0]
    finally:
        tallystick.autolog(disable=True)
    assert not hasattr(xgboost.DMatrix.__init__, "_tallystick_autolog")
    assert not hasattr(lightgbm.Booster.__init__, "_tallystick_autolog")


def test_matrices_are_held_within_a_bound_and_let_go(logging_by_itself, monkeypatch):
    frame, labels = _numbers()
    held = _installed().matrices
    monkeypatch.setattr(native, "MOST_BYTES", 2 * tabular.bytes_of(frame))
    first, *later = [xgboost.DMatrix(frame, labels) for _ in range(3)]
    assert len(held) == 2
    model = xgboost.train({}, first, 1)
    with _findings() as told:
        mlflow.xgboost.log_model(model, name="old", **PINNED)
    assert "its rows were let go" in told[0]
    del first, later
    assert len(held) == 0
    model.predict(xgboost.DMatrix(frame))
    assert len(held) == 0


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_what_mlflow_s_autolog_makes_of_train_gets_a_reference(mlflow_store, monkeypatch, name):
    library = importlib.import_module(f"mlflow.{name}")
    frame, labels = _numbers()
    monkeypatch.setattr(mlflow.models, "infer_pip_requirements", lambda *_, **__: [])
    tallystick.autolog()
    library.autolog(silent=True)
    try:
        with mlflow.start_run():
            if name == "xgboost":
                model = xgboost.train({}, xgboost.DMatrix(frame, labels), 2)
            else:
                model = lightgbm.train({"verbose": -1}, lightgbm.Dataset(frame, labels), 2)
        (logged,) = mlflow.search_logged_models(max_results=1, output_format="list")
        folder = Path(mlflow.artifacts.download_artifacts(logged.model_uri))
        assert Reference.load(folder / "parity").lineage["rows"] == "600"
        assert model is not None
    finally:
        tallystick.autolog(disable=True)
        library.autolog(disable=True)


def test_autolog_works_beside_mlflow_s_own(mlflow_store, monkeypatch):
    frame, labels = _numbers()
    monkeypatch.setattr(mlflow.models, "infer_pip_requirements", lambda *_, **__: [])
    mlflow.sklearn.autolog(silent=True)
    tallystick.autolog()
    try:
        with mlflow.start_run():
            model = LinearRegression().fit(frame.fillna(0), labels)
        (logged,) = mlflow.search_logged_models(max_results=1, output_format="list")
        _check(Path(mlflow.artifacts.download_artifacts(logged.model_uri)), model.predict, frame)
    finally:
        tallystick.autolog(disable=True)
        mlflow.sklearn.autolog(disable=True)


def test_a_failure_to_capture_is_one_warning_and_the_model_is_logged(logging_by_itself):
    frame, labels = _numbers()
    model = LinearRegression().fit(frame.fillna(0), labels)
    wrong = mlflow.models.infer_signature(frame.rename(columns={"age": "years"}))
    with _findings() as told:
        folder = _folder(mlflow.sklearn.log_model(model, name="other", signature=wrong, **PINNED))
    assert not (folder / "parity").exists()
    assert len(told) == 1
    assert "fit got the columns age, income, the model takes years, income" in told[0]
    with _findings() as told:
        folder = _folder(mlflow.pyfunc.log_model(python_model=Doubles(), name="unseen", **PINNED))
    assert not (folder / "parity").exists()
    assert ["no rows are held for it" in line for line in told] == [True]


def test_autolog_can_be_undone_and_repeated(mlflow_store):
    class Mine(BaseEstimator):
        def fit(self, X, y=None):
            return self

    before = (Model.__dict__["log"], LinearRegression.__dict__["fit"], Mine.__dict__["fit"], mlflow.sklearn.log_model)
    tallystick.autolog()
    once = (Model.__dict__["log"], LinearRegression.__dict__["fit"])
    tallystick.autolog(privacy="hashed")
    assert (Model.__dict__["log"], LinearRegression.__dict__["fit"]) == once, "a second call patches nothing again"
    assert _installed().options.privacy == "hashed"
    tallystick.autolog(disable=True)
    tallystick.autolog(disable=True)
    after = (Model.__dict__["log"], LinearRegression.__dict__["fit"], Mine.__dict__["fit"], mlflow.sklearn.log_model)
    assert after == before


def test_rows_are_let_go_with_their_model(logging_by_itself):
    frame, labels = _numbers()
    model = LinearRegression().fit(frame.fillna(0), labels)
    held = _installed().reservoir
    assert held.find(model) is not None
    count = len(held)
    del model
    assert len(held) == count - 1
    with pytest.raises(ValueError):
        LinearRegression().fit(frame, labels)
    assert len(held) == count - 1, "rows of a fit that failed are forgotten"
