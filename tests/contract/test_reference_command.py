"""`tallystick reference` on models that are there: registered, logged, of a run, in a folder."""

import json
import sys

import mlflow
import numpy as np
import pandas as pd
import pytest
import sklearn
from history_rows import DAY, served, source_of
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tallystick import cli
from tallystick.errors import TallystickError
from tallystick.gate import golden
from tallystick.parity import Reference, diagnose
from tallystick.training import existing

PINNED = {"pip_requirements": [f"scikit-learn=={sklearn.__version__}"]}


@pytest.fixture(scope="module")
def trained(mlflow_store):
    """A registered model without a reference, and the files that it was trained with."""
    folder, random = mlflow_store, np.random.default_rng(0)
    frame = pd.DataFrame({"age": random.integers(18, 90, 500).astype(float), "pay": random.lognormal(8, 1, 500)})
    frame["churned"] = (frame.age + random.normal(0, 10, 500) > 50).astype(int)
    frame["customer"] = [f"c{n}" for n in range(500)]
    frame.to_parquet(folder / "train.parquet")
    frame.to_csv(folder / "train.csv", index=False)
    features = frame[["age", "pay"]]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, frame.churned)
    signature = mlflow.models.infer_signature(features, model.predict(features))

    def log(**options):
        with mlflow.start_run():
            return mlflow.sklearn.log_model(
                model, name="model", signature=signature, input_example=features.head(3), **options, **PINNED
            )

    log(registered_model_name="churn")
    return folder, features, log


@pytest.fixture
def run(monkeypatch, capsys):
    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["tallystick", "reference", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        out = capsys.readouterr()
        return code, out.out, out.err

    return command


def test_a_registered_model_gets_a_reference_once(trained, run):
    folder, _, _ = trained
    assert run("show", "churn/1")[0] == 5
    code, out, err = run("add", "models:/churn/1", "--data", folder / "train.parquet", "--label", "churned")
    assert (code, "Added a reference to models:/churn/1." in out) == (0, True), err
    assert "tallystick deploy ENDPOINT models:/churn/1\n" in err
    there = existing.locate("models:/churn/1", folder / "again")
    found = golden.find(there.folder)
    assert list(Reference.load(there.folder / "parity").names) == ["age", "pay"], "the label and others are left out"
    assert [step.path for step in found.steps] == ["standardscaler"]
    assert found.quality.metric == "accuracy"
    code, _, err = run("add", "models:/churn/1", "--data", folder / "train.parquet")
    assert (code, "--force" in err) == (1, True)
    assert run("add", "models:/churn/1", "--data", folder / "train.csv", "--force", "--json")[0] == 0


def test_what_is_in_a_reference_is_shown(trained, run):
    folder, _, log = trained
    uri = log().model_uri
    options = ("--label", "churned", "--eval-data", folder / "train.csv", "--privacy", "pay=bucketed")
    assert run("add", uri, "--data", folder / "train.csv", *options)[0] == 0
    code, out, _ = run("show", uri, "--columns")
    assert code == 0
    for words in ("Made from    2 columns, 500 rows", "Privacy      pay bucketed", "Lacks", "Warnings     none"):
        assert words in out
    assert "\t0 %\t" in out
    shown = json.loads(run("show", uri, "--json")[1])
    assert [column["name"] for column in shown["columns"]] == ["age", "pay"]
    assert any("privacy takes out pay" in line for line in shown["degraded"])
    assert shown["evaluation"]["metric"] == "accuracy"


def test_the_input_example_alone_is_said_to_be_little(trained, run):
    _, _, log = trained
    uri = f"runs:/{log().run_id}/model"
    assert run("add", uri)[0] == 0
    shown = json.loads(run("show", uri, "--json")[1])
    assert any("made from the signature and 3 example rows" in line for line in shown["degraded"])
    assert shown["encodings"]["csv"] == 3


def test_an_example_accuses_no_live_rows(trained, run, tmp_path):
    _, features, log = trained
    there = existing.locate(log().model_uri, tmp_path)
    existing.add(there, existing.Data())
    verdict = diagnose(Reference.load(there.folder / "parity"), features.tail(200))
    assert verdict.status.value not in ("cause_found", "suspected")
    assert any("example rows" in line for line in verdict.degraded)


def test_a_folder_and_data_without_a_model_make_a_profile(trained, run, tmp_path):
    folder, _, _ = trained
    assert run("add", tmp_path, "--data", folder / "train.csv")[0] == 0
    assert golden.find(tmp_path) is None
    assert any("no model" in line for line in Reference.load(tmp_path / "parity").degraded)


def test_training_that_was_joined_with_the_future_is_told(run, tmp_path):
    rows, whose, times = served(source := source_of(customers=40), 800, 1, {"balance": -DAY})
    rows.assign(who=whose, at=pd.to_datetime(times, unit="s")).to_csv(tmp_path / "train.csv", index=False)
    source.assign(at=pd.to_datetime(source["at"], unit="s")).to_parquet(tmp_path / "features.parquet")
    data = ["--data", tmp_path / "train.csv", "--key", "who", "--time", "at"]
    code, _, err = run("add", tmp_path, *data, "--history", tmp_path / "features.parquet")
    assert (code, "features.parquet: there is no column who" in err) == (1, True)
    source.rename(columns={"customer": "who"}).to_parquet(tmp_path / "features.parquet")
    code, out, _ = run("add", tmp_path, *data, "--history", tmp_path / "features.parquet")
    assert code == 0
    assert "balance: equals the source's value 1 day AFTER the row's time in 100 % of rows" in out
    kept = Reference.load(tmp_path / "parity")
    assert set(kept.names) == {"balance", "visits", "score", "tier"}
    assert kept.timing["score"].lag.lag_s == 0.0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere/7", "--data", "{}/train.csv"], 5, "; MLFLOW_TRACKING_URI names another store)"),
        (["churn/1", "--data", "{}/none.csv", "--force"], 5, "There is no file"),
        (["churn/1", "--data", "{}/train.csv", "--label", "left", "--force"], 1, "no column 'left'"),
        (["churn/1", "--data", "{}/train.csv", "--key", "nobody", "--force"], 1, "no column nobody"),
        (["churn/1", "--data", "{}/train.csv", "--history", "{}/train.csv", "--force"], 1, "needs --key and --time"),
        (["churn/1", "--data", "{}/train.csv", "--privacy", "raw", "--privacy", "age=raw"], 2, "not both"),
    ],
)
def test_what_cannot_be_is_said(trained, run, arguments, code, words):
    folder = trained[0]
    got, _, err = run("add", *(argument.format(folder) for argument in arguments))
    assert (got, words in err) == (code, True), err


def test_columns_that_the_file_lacks_are_named(trained, run, tmp_path):
    pd.DataFrame({"age": [1.0]}).to_csv(tmp_path / "little.csv", index=False)
    code, _, err = run("add", "churn/1", "--data", tmp_path / "little.csv", "--force")
    assert (code, "lacks columns of the model: pay" in err) == (1, True), err


def test_a_version_whose_source_is_a_run_without_files_says_which_model_it_is(trained, run):
    folder, _, log = trained
    info = log()
    client = mlflow.MlflowClient()
    client.create_registered_model("of-a-run")
    client.create_model_version("of-a-run", f"runs:/{info.run_id}/model", run_id=info.run_id)
    code, _, err = run("add", "models:/of-a-run/1", "--data", folder / "train.csv")
    assert code == 1
    for words in (
        "models:/of-a-run/1 has no MLmodel file",
        f"its source is runs:/{info.run_id}/model",
        f"the run's models are models:/{info.model_id}: register one of these",
    ):
        assert words in " ".join(err.split()), err


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("s3://secret:word@bucket/model", "(its source is s3://***@bucket/model): boto"),
        ("http://127.0.0.1:9/model", "(its source is http://127.0.0.1:9/model): ValueError"),
    ],
)
def test_files_that_cannot_be_reached_are_no_fault_of_ours(trained, run, monkeypatch, source, words):
    client = mlflow.MlflowClient()
    name = source.partition(":")[0]
    client.create_registered_model(name)
    client.create_model_version(name, source)
    for module in ("boto3", "botocore"):
        monkeypatch.setitem(sys.modules, module, None)
    code, _, err = run("add", f"models:/{name}/1", "--data", trained[0] / "train.csv")
    assert (code, words in " ".join(err.split()), "fault of ours" in err) == (1, True, False), err


def test_a_stage_is_no_version(trained, run):
    code, _, err = run("add", "models:/churn/latest", "--data", trained[0] / "train.csv")
    assert (code, "name a version or an alias" in " ".join(err.split())) == (1, True), err


def test_a_store_that_takes_no_files_is_told(trained, tmp_path):
    folder, _, log = trained
    there = existing.locate(log().model_uri, tmp_path)

    def refuses(_files):
        raise RuntimeError("AccessDenied: no PutObject")

    with pytest.raises(TallystickError, match=r"the reference was made, but cannot be put into .*AccessDenied"):
        existing.add(
            existing.Place(there.uri, there.folder, refuses), existing.Data(folder / "train.csv", label="churned")
        )
