"""What can be served, and what happens when it cannot."""

import json

import mlflow
import mlflow.deployments
import numpy as np
import pandas as pd
import pytest
from load import Load
from running import MODELS, eventually


def test_a_python_file_is_an_endpoint(server):
    server.deploy("plain", {"entity_name": str(MODELS / "plain.py")})
    answer = server.invoke("plain", {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}})
    assert answer.json() == {"predictions": [6.0, 14.0]}


def test_an_alias_a_run_and_a_folder_are_sources(server, registry, tmp_path):
    import sklearn.tree

    frame = registry.frame
    folder = tmp_path / "saved"
    tree = sklearn.tree.DecisionTreeClassifier().fit(frame, registry.y)
    mlflow.sklearn.save_model(tree, str(folder), serialization_format="cloudpickle", pip_requirements=[])
    run_id = registry.infos[0].run_id
    server.deploy(
        "sources",
        {"entity_name": "models:/cancer@champion", "name": "alias"},
        {"entity_name": f"runs:/{run_id}/model", "name": "run"},
        {"entity_name": str(folder), "name": "folder"},
        routes={"alias": 100, "run": 0, "folder": 0},
    )
    body = {"dataframe_split": frame.head(30).to_dict("split", index=False)}
    assert (
        server.invoke("sources", body, entity="alias").json()["predictions"]
        == registry.models[1].predict(frame.head(30)).tolist()
    )
    assert (
        server.invoke("sources", body, entity="run").json()["predictions"]
        == registry.models[0].predict(frame.head(30)).tolist()
    )
    assert server.invoke("sources", body, entity="folder").json()["predictions"] == registry.y.head(30).tolist()


@pytest.mark.parametrize("flavor", ["xgboost", "lightgbm"])
def test_boosted_trees_answer_as_offline(server, registry, tmp_path, flavor):
    pytest.importorskip(flavor)
    if flavor == "xgboost":
        from xgboost import XGBClassifier as Classifier
    else:
        from lightgbm import LGBMClassifier as Classifier
    frame = registry.frame
    model = Classifier(n_estimators=5).fit(frame, registry.y)
    folder = tmp_path / "saved"
    getattr(mlflow, flavor).save_model(
        model,
        str(folder),
        pip_requirements=[],
        signature=mlflow.models.infer_signature(frame),
        input_example=frame.head(3),
    )
    found = server.deploy(flavor, {"entity_name": str(folder)})
    assert found["state"]["ready"] == "READY", found
    body = {"dataframe_records": frame.head(10).to_dict("records")}
    assert (
        server.invoke(flavor, body).json()["predictions"]
        == mlflow.pyfunc.load_model(str(folder)).predict(frame.head(10)).tolist()
    )


def test_a_torch_model_answers_as_offline(server, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not part of the test environment; install it to run this")
    model = torch.nn.Linear(3, 1)
    x = np.ones((2, 3), dtype=np.float32)
    folder = tmp_path / "saved"
    signature = mlflow.models.infer_signature(x, model(torch.tensor(x)).detach().numpy())
    mlflow.pytorch.save_model(model, str(folder), signature=signature, input_example=x, pip_requirements=[])
    server.deploy("torch", {"entity_name": str(folder)})
    got = server.invoke("torch", {"inputs": x.tolist()}).json()["predictions"]
    np.testing.assert_allclose(got, model(torch.tensor(x)).detach().numpy(), rtol=1e-6)


def test_params_reach_a_custom_model(server, tmp_path):
    folder = tmp_path / "saved"
    signature = mlflow.models.infer_signature(pd.DataFrame({"x": [1.0]}), params={"factor": 2.0})
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(MODELS / "scaled.py"),
        signature=signature,
        pip_requirements=[],
        input_example=pd.DataFrame({"x": [1.0, 2.0]}),
    )
    server.deploy("params", {"entity_name": str(folder)})
    body = {"dataframe_records": [{"x": 3.0}]}
    assert server.invoke("params", body).json() == {"predictions": [6.0]}
    assert server.invoke("params", body | {"params": {"factor": 5}}).json() == {"predictions": [15.0]}
    refused = server.invoke("params", body | {"params": {"factor": "5"}})
    assert refused.status_code == 400
    assert "factor" in refused.json()["message"]


def test_a_model_with_type_hints(server, tmp_path):
    folder = tmp_path / "saved"
    mlflow.pyfunc.save_model(
        str(folder), python_model=str(MODELS / "hints.py"), input_example=["ann"], pip_requirements=[]
    )
    server.deploy("hints", {"entity_name": str(folder)})
    assert server.invoke("hints", {"inputs": ["ann", "bob"]}).json() == {"predictions": ["hello ann", "hello bob"]}


@pytest.fixture(scope="module")
def stream(server):
    server.deploy("stream", {"entity_name": str(MODELS / "streaming.py")})
    return "stream"


def test_a_model_that_streams(server, stream):
    body = {"inputs": ["go"], "stream": True}
    with server.http.stream("POST", "/serving-endpoints/stream/invocations", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["served-model-name"] == "streaming"
        lines = [line for line in answer.iter_lines() if line]
    assert [json.loads(line[6:]) for line in lines[:-1]] == [{"word": "one"}, {"word": "two"}, {"word": "three"}]
    assert lines[-1] == "data: [DONE]"
    assert server.invoke("stream", {"inputs": ["go"]}).json() == {"predictions": ["1 rows"]}


def test_mlflow_reads_the_stream(server, stream, monkeypatch):
    monkeypatch.setenv("DATABRICKS_HOST", server.url)
    monkeypatch.setenv("DATABRICKS_TOKEN", server.token)
    client = mlflow.deployments.get_deploy_client("databricks")
    assert [item["word"] for item in client.predict_stream(endpoint=stream, inputs={"inputs": ["x"]})] == [
        "one",
        "two",
        "three",
    ]


def test_values_that_do_not_fit_are_flagged_or_refused(server, tmp_path, registry):
    folder = tmp_path / "saved"
    signature = mlflow.models.infer_signature(pd.DataFrame({"x": [1]}))
    mlflow.pyfunc.save_model(
        str(folder), python_model=str(MODELS / "scaled.py"), signature=signature, pip_requirements=[]
    )
    server.deploy(
        "modes",
        {"entity_name": str(folder), "name": "flag"},
        {"entity_name": str(folder), "name": "strict", "environment_vars": {"TALLYSTICK_ENFORCEMENT": "strict"}},
        routes={"flag": 100, "strict": 0},
    )
    body = {"dataframe_records": [{"x": 1.9}, {"x": 2}]}
    flagged = server.invoke("modes", body)
    assert flagged.json() == {"predictions": [1, 2]}
    assert flagged.headers["x-tallystick-coercions"] == "x;fraction_dropped=1"
    counted = lambda: server.http.get("/api/2.0/tallystick/status").json()["coercions"]  # noqa: E731
    eventually(lambda: {"x": {"fraction_dropped": 1}} in counted().values())
    refused = server.invoke("modes", body, entity="strict")
    assert refused.status_code == 400
    assert "x" in refused.json()["message"]
    assert "[0]" in refused.json()["message"]


def test_models_that_cannot_be_brought_up_say_why(server, tmp_path):
    (tmp_path / "syntax.py").write_text("def predict(:\n")
    (tmp_path / "raises.py").write_text("raise RuntimeError('no luck')\n")
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "exits.py").write_text("import os\nos._exit(0)\n")
    cases = {
        "no-version": ({"entity_name": "cancer", "entity_version": "99"}, "cancer"),
        "no-model": ({"entity_name": "no_such_model", "entity_version": "1"}, "no_such_model"),
        "syntax": ({"entity_name": f"{tmp_path}/syntax.py"}, "not valid Python"),
        "raises": ({"entity_name": f"{tmp_path}/raises.py"}, "RuntimeError: no luck"),
        "empty": ({"entity_name": f"{tmp_path}/empty.py"}, "holds no model"),
        "exits": ({"entity_name": f"{tmp_path}/exits.py"}, "ended while it was loading"),
        "no-mlmodel": ({"entity_name": str(tmp_path)}, "MLmodel"),
        "no-secret": (
            {"entity_name": "cancer", "entity_version": "1", "environment_vars": {"K": "{{secrets/no/such}}"}},
            "The secret 'such' in scope 'no'",
        ),
    }
    # All at once: each worker spends most of its time on imports.
    for name, (source, _) in cases.items():
        server.api("POST", "", {"name": name, "config": {"served_entities": [source | {"name": "bad"}]}})
    for name, (_, words) in cases.items():
        found = server.settled(name)
        assert found["state"]["config_update"] == "UPDATE_FAILED", name
        assert found["state"]["ready"] == "NOT_READY"
        state = found["pending_config"]["served_entities"][0]["state"]
        assert state["deployment"] == "DEPLOYMENT_FAILED"
        assert words in state["deployment_state_message"]
        assert words in server.api("GET", f"/{name}/served-models/bad/build-logs")["logs"]


def test_a_deployment_that_fails_changes_nothing_for_callers(server):
    good = {"entity_name": str(MODELS / "plain.py"), "name": "good"}
    server.deploy("survivor", good)
    before = server.api("GET", "/survivor")["config"]
    bad = {"entity_name": "/no/such/folder", "name": "bad"}
    with Load(server, "survivor", {"inputs": [[1.0]]}, clients=2) as load:
        with load.resting():
            found = server.deploy("survivor", good, bad, routes={"good": 50, "bad": 50})
        load.wait_for(10)
    assert not load.failures
    assert set(load.served()) == {"good"}
    assert found["state"] | {"config_update": "UPDATE_FAILED", "ready": "READY"} == found["state"]
    assert found["config"] == before
    assert "no file or folder" in json.dumps(found["pending_config"])


def test_a_first_deployment_that_fails_says_why(server):
    found = server.deploy("never", {"entity_name": "/no/such/folder", "name": "bad"})
    assert found["state"] | {"ready": "NOT_READY", "config_update": "UPDATE_FAILED"} == found["state"]
    assert "config" not in found
    state = found["pending_config"]["served_entities"][0]["state"]
    assert state["deployment"] == "DEPLOYMENT_FAILED"
    assert "There is no file or folder" in state["deployment_state_message"]
    assert "There is no file or folder" in server.api("GET", "/never/served-models/bad/build-logs")["logs"]
    refused = server.invoke("never", {"inputs": [1]})
    assert refused.status_code == 400
    server.deploy("never", {"entity_name": str(MODELS / "plain.py"), "name": "good"})
    assert server.invoke("never", {"inputs": [[1.0]]}).status_code == 200


def test_secrets_reach_the_model_and_nobody_else(server):
    server.http.post("/api/2.0/secrets/scopes/create", json={"scope": "s"})
    server.http.post("/api/2.0/secrets/put", json={"scope": "s", "key": "k", "string_value": "hunter2"})
    variables = {"PLAIN": "{{secrets/s/k}}", "API_KEY": "{{secrets/s/k}}"}
    found = server.deploy("secretive", {"entity_name": str(MODELS / "chaos.py"), "environment_vars": variables})
    assert found["config"]["served_entities"][0]["environment_vars"] == variables
    assert server.chaos("secretive", "environment").json() == {"predictions": ["hunter2"]}
    failed = server.chaos("secretive", "raise")
    assert failed.status_code == 400
    assert "hunter2" not in failed.text
    assert "/srv" not in failed.text
    assert "ValueError: a secret place" in failed.text
    assert "Traceback" in server.api("GET", "/secretive/served-models/chaos/logs")["logs"]


def test_a_models_own_environment_is_built_and_used(server, tmp_path):
    """Needs the package index. `six` is small, and not at this version in the running environment."""
    folder = tmp_path / "saved"
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(MODELS / "prefix.py"),
        pip_requirements=["six==1.16.0", f"mlflow-skinny=={mlflow.__version__}"],
    )
    found = server.deploy("own-env", {"entity_name": str(folder)})
    assert found["state"]["ready"] == "READY", server.api("GET", "/own-env/served-models/saved/build-logs")["logs"]
    answer = server.invoke("own-env", {"dataframe_records": [{"x": 1}]})
    assert str(server.data_dir / "envs") in answer.json()["predictions"][0]
    log = server.api("GET", "/own-env/served-models/saved/build-logs")["logs"]
    assert "six: ==1.16.0 is needed" in log
    assert "pip install" in log


def test_a_requirement_that_cannot_be_installed_says_which(server, tmp_path):
    folder = tmp_path / "saved"
    mlflow.pyfunc.save_model(str(folder), python_model=str(MODELS / "prefix.py"), pip_requirements=["six==99.99"])
    found = server.deploy("no-env", {"entity_name": str(folder)})
    assert found["state"]["config_update"] == "UPDATE_FAILED"
    assert "six" in found["pending_config"]["served_entities"][0]["state"]["deployment_state_message"]
