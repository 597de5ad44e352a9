"""The parity gate on a real server: what was lost between training and the endpoint never gets traffic."""

import json
import os
import signal
import subprocess
import sys

import pytest
from golden_models import (
    fitted,
    golden_of,
    in_single_precision,
    rotated,
    save,
    training_rows,
    with_other_weights,
)
from ledger import rows_of
from running import Server, eventually
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tallystick.gate import golden as format_

ROW = {"dataframe_records": [{"age": 40.5, "income": 20000.0, "visits": 3, "plan": "gold"}]}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of models by name: an honest one, and what may become of it on the way."""
    folder = tmp_path_factory.mktemp("golden")
    frame, y = training_rows()
    model = fitted(frame, y)
    golden = golden_of(model, frame, y)
    numbers = frame[["age", "income"]]
    notebook = make_pipeline(StandardScaler(), Ridge()).fit(numbers, y)
    older = golden_of(model, frame, y, environment=golden.environment | {"package:scikit-learn": "1.2.0"})
    other = with_other_weights(model)
    return {
        "honest": save(folder / "honest", model, frame, golden),
        "notebook": save(folder / "notebook", notebook[-1], numbers, golden_of(notebook, numbers)),
        "rotated": save(folder / "rotated", rotated(model), frame, golden),
        "float32": save(folder / "float32", in_single_precision(model), frame, golden),
        "library": save(folder / "library", other, frame, older),
        "exchanged": save(folder / "exchanged", other, frame, golden_of(other, frame, y)),
    }


@pytest.fixture(scope="module")
def gated(tmp_path_factory, models):
    """A server with the honest model on two replicas; beside it, endpoints of the others, begun all at once."""
    server = Server(tmp_path_factory.mktemp("gate") / "data", "--gateways", "2")
    two = {"max_provisioned_concurrency": 8, "min_provisioned_concurrency": 8}
    server.deploy("honest", served(models, "honest") | two, wait=False)
    for name in ("notebook", "float32", "library", "exchanged"):
        server.deploy(name, served(models, name), wait=False)
    server.api("POST", "", {"name": "warned", "config": {"served_entities": [served(models, "rotated")]},
                            "parity": {"gate": "warn"}})  # fmt: skip
    server.settled("honest")
    yield server
    server.stop()


def served(models, name):
    return {"entity_name": str(models[name]), "name": name}


def state_of(endpoint):
    config = endpoint.get("pending_config") or endpoint["config"]
    return config["served_entities"][0]["state"]


def trace(server, replica, trace="golden", body=b"", entity="honest", token=None, **headers):
    headers |= {"x-tallystick-replica": replica} | ({"x-tallystick-trace": trace} if trace else {})
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return server.invoke("honest", entity=entity, content=body, headers={"content-type": "application/json", **headers})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("notebook", "Step standardscaler, column age, row 0"),
        ("float32", "Step prep/num/scale, column age, row 0"),
        ("library", "scikit-learn is"),
    ],
)
def test_what_was_lost_on_the_way_is_blocked_and_named(gated, name, words):
    found = gated.settled(name)
    assert found["state"]["config_update"] == "UPDATE_FAILED"
    message = state_of(found)["deployment_state_message"]
    assert message.startswith("Parity gate: ")
    assert words in message
    log = gated.api("GET", f"/{name}/served-models/{name}/build-logs")["logs"]
    assert message in log
    assert "identity    ok" in log
    report = gated.api("GET", f"/{name}/parity")["gate"][name]["replicas"]["0"]
    assert report["outcome"] == "failed"


def test_an_honest_model_serves_and_both_replicas_were_replayed_over_http(gated):
    found = gated.settled("honest")
    assert state_of(found)["deployment_state_message"].startswith("Parity gate: 160 golden rows give training's")
    known = gated.api("GET", "/honest/parity")["gate"]["honest"]
    for where in ("replicas", "http"):
        assert {number: report["outcome"] for number, report in known[where].items()} == {"0": "passed", "1": "passed"}
    assert "worker 1 over HTTP: Parity gate" in gated.api("GET", "/honest/served-models/honest/build-logs")["logs"]


def test_a_version_that_is_blocked_leaves_the_one_that_serves_alone(gated, models):
    before = gated.invoke("honest", ROW).json()
    found = gated.deploy("honest", served(models, "rotated"))
    assert found["state"] == {"ready": "READY", "config_update": "UPDATE_FAILED", "suspend": "NOT_SUSPENDED"}
    assert "Step prep/cat, column plan, row 0" in state_of(found)["deployment_state_message"]
    assert [entity["name"] for entity in found["config"]["served_entities"]] == ["honest"]
    assert gated.invoke("honest", ROW).json() == before


def test_a_warning_lets_it_through_and_stays_visible(gated):
    found = gated.settled("warned")
    assert found["state"]["config_update"] == "NOT_UPDATING"
    assert "Step prep/cat, column plan" in state_of(found)["deployment_state_message"]
    assert gated.invoke("warned", ROW).status_code == 200


def test_a_check_on_demand_leaves_no_rows_and_convicts_exchanged_files(gated, models):
    gated.settled("exchanged")
    answer = gated.invoke("exchanged", ROW)
    found = gated.api("POST", "/exchanged/parity/check", {})
    (report,) = found["entities"]["exchanged"].values()
    assert (found["outcome"], report["outcome"]) == ("passed", "passed")
    (row,) = rows_of(gated, "exchanged")
    assert row["databricks_request_id"] == answer.headers["x-request-id"]
    # Somebody puts another model where this one was; the worker goes on, until it is started again.
    kept = gated.data_dir / "models" / report["digest"]
    (kept / "model.pkl").write_bytes((models["honest"] / "model.pkl").read_bytes())
    (worker,) = gated.workers(state_id(gated, "exchanged"))
    os.kill(worker["pid"], signal.SIGKILL)
    message = eventually(lambda: refusal(gated, "exchanged"))
    assert "Parity gate: identity differs from training" in message
    assert report["digest"][:12] in message


def state_id(server, name):
    return server.api("GET", f"/{name}")["config"]["served_entities"][0]["id"]


def refusal(server, name):
    message = state_of(server.api("GET", f"/{name}"))["deployment_state_message"]
    return message if "Parity gate: identity" in message else ""


def test_each_replica_can_be_asked_by_those_who_manage_the_endpoint_only(gated, models):
    identity = state_id(gated, "honest")
    golden = format_.find(models["honest"])
    for number in range(2):
        found = trace(gated, f"{identity}-{number}", body=golden.wires[0].body).json()
        assert found["identity"]["replica"] == f"{identity}-{number}"
        assert found["report"]["outcome"] == "passed"
    assert trace(gated, f"{identity}-0", trace="identity").json()["identity"]["digest"]
    other = trace(gated, f"{identity}-0", body=json.dumps(ROW).encode())
    assert (other.status_code, "nothing else is traced" in other.json()["message"]) == (400, True)
    assert trace(gated, f"{identity}-9").status_code == 404
    assert trace(gated, "", body=golden.wires[0].body).status_code == 400
    assert (
        trace(gated, f"{identity}-0", trace="", body=json.dumps(ROW).encode()).json()
        == gated.invoke("honest", ROW).json()
    )
    acl = [{"user_name": "bob", "permission_level": "CAN_QUERY"}]
    endpoint_id = gated.api("GET", "/honest")["id"]
    gated.http.patch(f"/api/2.0/permissions/serving-endpoints/{endpoint_id}", json={"access_control_list": acl})
    bob = gated.http.post("/api/2.0/token/create", json={"principal": "bob"}).json()["token_value"]
    refused = trace(gated, f"{identity}-0", token=bob, body=golden.wires[0].body)
    assert (refused.status_code, refused.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert gated.invoke("honest", ROW, headers={"authorization": f"Bearer {bob}"}).status_code == 200


def run(server, *words):
    env = {**server.env, "TALLYSTICK_DATA_DIR": str(server.data_dir), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "tallystick", *words], capture_output=True, text=True, timeout=60, env=env
    )


def test_the_commands_say_what_was_found_and_exit_by_it(gated, models):
    offline = run(gated, "parity", "check", str(models["rotated"]), "--exit-code", "--json")
    assert (offline.returncode, json.loads(offline.stdout)["report"]["outcome"]) == (1, "failed")
    served_ = run(gated, "parity", "check", "honest", "--exit-code")
    assert (served_.returncode, "replica 1: Parity gate: 160 golden rows" in served_.stdout) == (0, True)


def test_a_replica_that_serves_another_version_is_convicted_by_its_digest(gated, models):
    """Its own files are those of its own spec, so it finds nothing wrong with itself."""
    gated.settled("exchanged")
    identity = state_id(gated, "honest")
    (path,) = gated.data_dir.glob(f"**/specs/{identity}-1.json")
    (foreign,) = gated.data_dir.glob(f"**/specs/{state_id(gated, 'warned')}-0.json")
    spec, other = json.loads(path.read_text()), json.loads(foreign.read_text())
    path.write_text(json.dumps(spec | {"model_uri": other["model_uri"], "resolved": None, "policy": "warn"}))
    (worker,) = gated.workers(f"{identity}-1")
    os.kill(worker["pid"], signal.SIGKILL)
    eventually(
        lambda: [view for view in gated.workers(f"{identity}-1") if view["state"] == "ready" and view["restarts"]]
    )

    def checked():
        """On a machine with much to do a replica may not answer in time; that convicts nobody."""
        found = gated.api("POST", "/honest/parity/check", {"served_entity": "honest"})
        return found if all("digest" in report for report in found["entities"]["honest"].values()) else None

    found = eventually(checked)
    right, wrong = (found["entities"]["honest"][number] for number in "01")
    assert (found["outcome"], right["outcome"], wrong["outcome"]) == ("failed", "passed", "failed")
    (rung,) = wrong["rungs"]
    assert (rung["rung"], right["digest"] == wrong["digest"]) == ("identity", False)
    assert rung["text"] == f"Replica {identity}-1 serves {wrong['digest'][:12]}, {right['digest'][:12]} was asked for."

    def message():
        return gated.api("GET", "/honest")["config"]["served_entities"][0]["state"]["deployment_state_message"]

    eventually(lambda: rung["text"] in message())
