"""The plugin as MLflow finds it, and what its verbs become."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from mlflow.deployments import get_deploy_client
from mlflow.deployments.interface import plugin_store
from mlflow.exceptions import MlflowException

from tallystick import client, mlflow_plugin
from tallystick.discovery import Server
from tallystick.errors import NotFound, TallystickError
from tallystick.mlflow_plugin import entity_from, render_inputs

TARGET = "tallystick://127.0.0.1:8080"


class FakeServer:
    """One endpoint in memory, whose configs are active at once."""

    def __init__(self) -> None:
        self.endpoint: dict[str, Any] | None = None
        self.requests: list[tuple[str, str, Any]] = []
        self.refusal: TallystickError | None = None
        self.url = ""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.requests.append((request.method, request.url.path, body))
        refusal = self.refusal
        if request.url.path.endswith("/invocations"):
            if body.get("stream"):
                stream = b'data: {"a": 1}\n\ndata: [DONE]\n\n'
                return httpx.Response(200, content=stream, headers={"content-type": "text/event-stream"})
            return httpx.Response(200, json={"predictions": [1]})
        match request.method, request.url.path.removeprefix("/api/2.0/serving-endpoints"):
            case "POST", "":
                self.endpoint = self._with(body["name"], body["config"], 1)
            case "GET", "":
                return httpx.Response(200, json={"endpoints": [self.endpoint] if self.endpoint else []})
            case "PUT", _ if self.endpoint:
                self.endpoint = self._with(self.endpoint["name"], body, self.endpoint["config"]["config_version"] + 1)
            case "DELETE", _ if self.endpoint:
                self.endpoint = None
                return httpx.Response(200, json={})
        refusal = refusal or (NotFound("There is no such endpoint.") if self.endpoint is None else None)
        if refusal is not None:
            return httpx.Response(refusal.status, json=refusal.to_body())
        return httpx.Response(200, json=self.endpoint)

    def _with(self, name: str, config: dict[str, Any], version: int) -> dict[str, Any]:
        state = {"ready": "READY", "config_update": "NOT_UPDATING"}
        return {"name": name, "state": state, "config": {**config, "config_version": version}}

    @property
    def shares(self) -> dict[str, float]:
        assert self.endpoint is not None
        routes = self.endpoint["config"]["traffic_config"]["routes"]
        return {route["served_entity_name"]: route["traffic_percentage"] for route in routes}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake, real = FakeServer(), client.Client

    def connect(found: Server) -> client.Client:
        fake.url = found.url
        return real(found, transport=httpx.MockTransport(fake))

    monkeypatch.setattr(client, "Client", connect)
    for name in ("TALLYSTICK_HOST", "DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TALLYSTICK_TOKEN", "tsk_t")
    return fake


def test_mlflow_finds_the_plugin_by_its_target(server: FakeServer) -> None:
    assert type(get_deploy_client(TARGET)).__name__ == "TallystickDeploymentClient"
    assert server.url == "http://127.0.0.1:8080"
    assert plugin_store["tallystick"].target_help().startswith("Tallystick serves")


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("tallystick://ml.example.org", "https://ml.example.org"),
        ("tallystick://10.0.0.5:8080?allow-plain-http", "http://10.0.0.5:8080"),
        ("tallystick://[::1]:8080", "http://[::1]:8080"),
        ("tallystick:/", ""),
    ],
)
def test_plain_http_leaves_this_machine_only_when_asked_for(target: str, host: str) -> None:
    assert mlflow_plugin.host_of(target) == host


def test_a_deployment_is_an_endpoint_and_a_further_one_its_served_entity(server: FakeServer) -> None:
    plugin = get_deploy_client(TARGET)
    made = plugin.create_deployment("churn", "models:/churn/1", config={"workload_size": "Medium", "env.A": "b"})
    assert (made["name"], made["flavor"]) == ("churn", "python_function")
    assert server.shares == {"churn-1": 100}
    plugin.create_deployment("canary", "models:/churn/2", endpoint="churn")
    assert server.shares == {"churn-1": 100, "canary": 0}
    plugin.update_deployment("canary", "models:/churn/3", config={"traffic_percentage": "10"}, endpoint="churn")
    assert server.shares == {"churn-1": 90, "canary": 10}
    assert [each["name"] for each in plugin.list_deployments("churn")] == ["churn-1", "canary"]
    assert plugin.get_deployment("canary", "churn")["entity_version"] == "3"
    plugin.update_deployment("churn", "models:/churn/3")
    assert server.shares == {"churn-3": 100}
    plugin.delete_deployment("churn")
    plugin.delete_deployment("churn")
    assert plugin.list_deployments() == []


def test_a_deployment_that_exists_is_not_created_again(server: FakeServer) -> None:
    plugin = get_deploy_client(TARGET)
    plugin.create_deployment("churn", "models:/churn/1")
    for name, endpoint in (("churn", None), ("churn-1", "churn")):
        with pytest.raises(MlflowException, match="exists already") as caught:
            plugin.create_deployment(name, "models:/churn/2", endpoint=endpoint)
        assert caught.value.error_code == "RESOURCE_ALREADY_EXISTS"
    assert server.shares == {"churn-1": 100}


def test_an_update_keeps_what_it_does_not_name(server: FakeServer) -> None:
    old = {"workload_size": "Large", "environment_vars": {"A": "1", "B": "2"}, "entity_name": "x", "id": "i"}
    entity = entity_from("models:/churn/2", {"env.B": "3", "max_provisioned_concurrency": 8}, old)
    assert entity == {
        "name": "churn-2",
        "entity_name": "churn",
        "entity_version": "2",
        "max_provisioned_concurrency": 8,
        "environment_vars": {"A": "1", "B": "3"},
    }


def test_served_entities_with_traffic_are_not_deleted(server: FakeServer) -> None:
    plugin = get_deploy_client(TARGET)
    plugin.create_deployment("churn", "models:/churn/1")
    plugin.create_deployment("b", "models:/churn/2", config={"traffic_percentage": 10}, endpoint="churn")
    with pytest.raises(MlflowException, match="gets 10 %"):
        plugin.delete_deployment("b", endpoint="churn")
    plugin.update_endpoint("churn", {**server.endpoint["config"], "traffic_config": {"routes": []}})  # type: ignore[index]
    plugin.delete_deployment("b", endpoint="churn")
    plugin.delete_deployment("b", endpoint="churn")
    assert list(server.shares) == ["churn-1"]


def test_predict_asks_the_endpoint_or_one_of_its_served_entities(server: FakeServer) -> None:
    plugin = get_deploy_client(TARGET)
    frame = pd.DataFrame({"a": [1]})
    assert plugin.predict("churn", frame).get_predictions("ndarray").tolist() == [1]
    assert plugin.predict(endpoint="churn", inputs=frame) == {"predictions": [1]}
    plugin.predict("canary", frame, endpoint="churn")
    assert list(plugin.predict_stream(endpoint="churn", inputs={"inputs": [1]})) == [{"a": 1}]
    body = {"dataframe_split": {"columns": ["a"], "data": [[1]]}}
    assert server.requests == [
        ("POST", "/serving-endpoints/churn/invocations", body),
        ("POST", "/serving-endpoints/churn/invocations", body),
        ("POST", "/serving-endpoints/churn/served-models/canary/invocations", body),
        ("POST", "/serving-endpoints/churn/invocations", {"inputs": [1], "stream": True}),
    ]
    with pytest.raises(MlflowException, match="which endpoint"):
        plugin.predict(inputs=frame)


@pytest.mark.parametrize(
    ("inputs", "sent"),
    [
        ({"dataframe_split": {"data": [[1]]}, "params": {"k": 1}}, {"dataframe_split": {"data": [[1]]}, "params": {"k": 1}}),
        ({"x": np.array([[1.5, 2.0]], np.float32)}, {"inputs": {"x": [[1.5, 2.0]]}}),
        (np.array([[1, 2]]), {"instances": [[1, 2]]}),
        ([[1, np.float64("nan")]], {"instances": [[1, None]]}),
        ([{"a": np.int64(1)}], {"dataframe_records": [{"a": 1}]}),
        (
            pd.DataFrame({"a": [1e-20, float("nan")], "t": pd.to_datetime(["2026-01-02T03:04:05", None])}),
            {"dataframe_split": {"columns": ["a", "t"], "data": [[1e-20, "2026-01-02T03:04:05"], [None, None]]}},
        ),
        (pd.DataFrame({0: pd.array([1, None], "Int64")}), {"dataframe_split": {"columns": [0], "data": [[1], [None]]}}),
    ],
)  # fmt: skip
def test_inputs_become_a_request_without_loss(inputs: Any, sent: Any) -> None:
    assert json.loads(render_inputs(inputs)) == sent


def test_inputs_that_cannot_be_sent_are_told(server: FakeServer) -> None:
    with pytest.raises(MlflowException, match="Inputs of type object"):
        get_deploy_client(TARGET).predict("churn", object())


def test_endpoints_are_made_as_the_rest_api_has_them(server: FakeServer) -> None:
    plugin = get_deploy_client(TARGET)
    config = {"served_entities": [{"name": "a", "entity_name": "churn", "entity_version": "1"}]}
    for given in (config, {"config": config}):
        assert plugin.create_endpoint("churn", given)["name"] == "churn"
        assert server.requests[-1][2] == {"name": "churn", "config": config}
    assert plugin.get_endpoint("churn")["config"]["config_version"] == 1
    assert [each["name"] for each in plugin.list_endpoints()] == ["churn"]
    plugin.delete_endpoint("churn")
    with pytest.raises(MlflowException) as caught:
        plugin.get_endpoint("churn")
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.parametrize(
    ("config", "flavor", "problem"),
    [
        ({"nonsense": 1}, None, "There is no config 'nonsense'"),
        ({"scale_to_zero_enabled": "maybe"}, None, "true or false"),
        ({"traffic_percentage": "x"}, None, "not a percentage"),
        ({}, "sklearn", "not 'sklearn'"),
    ],
)
def test_wrong_config_is_told_and_changes_nothing(
    server: FakeServer, config: dict[str, Any], flavor: str | None, problem: str
) -> None:
    with pytest.raises(MlflowException, match=problem):
        get_deploy_client(TARGET).create_deployment("churn", "models:/churn/1", flavor, config)
    assert server.endpoint is None
