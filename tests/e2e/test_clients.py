"""The unmodified clients that people already have, against a running server."""

import io
import json
import subprocess
import sys

import mlflow.deployments
import mlflow.deployments.cli
import numpy as np
import pytest
from click.testing import CliRunner
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import BadRequest, InvalidParameterValue, NotFound, ResourceAlreadyExists, ResourceConflict
from databricks.sdk.service.serving import (
    DataframeSplitInput,
    EndpointCoreConfigInput,
    EndpointTag,
    Route,
    ServedEntityInput,
    ServingEndpointAccessControlRequest,
    ServingEndpointPermissionLevel,
    TrafficConfig,
)
from running import MODELS, eventually

PLAIN = str(MODELS / "plain.py")


@pytest.fixture(scope="module")
def workspace(server):
    return WorkspaceClient(host=server.url, token=server.token)


@pytest.fixture(scope="module")
def sdk_endpoint(workspace):
    """Made and updated by databricks-sdk alone."""
    api = workspace.serving_endpoints
    first = ServedEntityInput(
        entity_name="cancer", entity_version="1", workload_size="Small", scale_to_zero_enabled=False
    )
    made = api.create_and_wait("by-sdk", config=EndpointCoreConfigInput(name="by-sdk", served_entities=[first]))
    assert made.state.ready.value == "READY"
    assert made.config.served_entities[0].state.deployment.value == "DEPLOYMENT_READY"
    second = ServedEntityInput(entity_name="cancer", entity_version="2", name="challenger", workload_size="Small")
    routes = [
        Route(served_entity_name="cancer-1", traffic_percentage=70),
        Route(served_entity_name="challenger", traffic_percentage=30),
    ]
    updated = api.update_config_and_wait(
        "by-sdk", served_entities=[first, second], traffic_config=TrafficConfig(routes=routes)
    )
    assert updated.config.config_version == 2
    return "by-sdk"


def test_the_sdk_queries_in_all_four_formats_and_gets_what_the_model_says_offline(workspace, sdk_endpoint, registry):
    api, frame = workspace.serving_endpoints, registry.frame.head(20)
    columns, rows = list(frame.columns), frame.to_numpy().tolist()
    offline = {"cancer-1": registry.models[0], "challenger": registry.models[1]}
    answers = [
        api.query(sdk_endpoint, dataframe_split=DataframeSplitInput(columns=columns, data=rows)),
        api.query(sdk_endpoint, dataframe_records=frame.to_dict("records")),
        api.query(sdk_endpoint, inputs={name: frame[name].tolist() for name in columns}),
        api.query(sdk_endpoint, instances=frame.to_dict("records")),
    ]
    for answer in answers:
        assert answer.predictions == offline[answer.served_model_name].predict(frame).tolist()


def test_the_sdk_reads_lists_tags_and_logs(workspace, sdk_endpoint):
    api = workspace.serving_endpoints
    assert sdk_endpoint in [each.name for each in api.list()]
    tags = api.patch(sdk_endpoint, add_tags=[EndpointTag("team", "ml"), EndpointTag("old")])
    assert [tag.key for tag in tags.tags] == ["old", "team"]
    assert [tag.key for tag in api.patch(sdk_endpoint, delete_tags=["old"]).tags] == ["team"]
    assert "ready" in api.build_logs(sdk_endpoint, "cancer-1").logs
    assert "started, pid" in api.logs(sdk_endpoint, "cancer-1").logs
    document = json.loads(api.get_open_api(sdk_endpoint).contents.read())
    assert document["openapi"].startswith("3.1")
    assert any("cancer-1" in path for path in document["paths"])


def test_the_sdk_sets_permissions_and_they_hold(workspace, sdk_endpoint, server):
    api = workspace.serving_endpoints
    endpoint_id = api.get(sdk_endpoint).id
    token = workspace.tokens.create(comment="for bob", lifetime_seconds=600)
    assert token.token_info.expiry_time
    made = server.http.post("/api/2.0/token/create", json={"principal": "bob"}).json()
    bob = WorkspaceClient(host=server.url, token=made["token_value"]).serving_endpoints
    with pytest.raises(NotFound):
        bob.get(sdk_endpoint)
    with pytest.raises(NotFound):
        bob.query(sdk_endpoint, inputs=[1])

    def allow(level):
        item = ServingEndpointAccessControlRequest(user_name="bob", permission_level=level)
        api.update_permissions(endpoint_id, access_control_list=[item])

    allow(ServingEndpointPermissionLevel.CAN_VIEW)
    assert bob.get(sdk_endpoint).permission_level.value == "CAN_VIEW"

    def is_refused():
        return server.invoke(
            sdk_endpoint, {"inputs": [1]}, headers={"Authorization": f"Bearer {made['token_value']}"}
        ).status_code

    eventually(lambda: is_refused() == 403)
    allow(ServingEndpointPermissionLevel.CAN_QUERY)
    eventually(lambda: is_refused() == 400)
    levels = api.get_permission_levels(endpoint_id).permission_levels
    assert {level.permission_level.value for level in levels} >= {"CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"}
    names = [item.user_name for item in api.get_permissions(endpoint_id).access_control_list]
    assert "bob" in names
    api.set_permissions(endpoint_id, access_control_list=[])
    eventually(lambda: is_refused() == 404)
    server.http.post("/api/2.0/token/delete", json={"token_id": made["token_info"]["token_id"]})
    eventually(lambda: is_refused() == 401)


def test_the_sdk_raises_its_own_exceptions(workspace, sdk_endpoint):
    api = workspace.serving_endpoints
    one = EndpointCoreConfigInput(
        name="", served_entities=[ServedEntityInput(entity_name="cancer", entity_version="1")]
    )
    with pytest.raises(ResourceAlreadyExists):
        api.create(sdk_endpoint, config=one)
    with pytest.raises(NotFound):
        api.get("no-such")
    with pytest.raises(InvalidParameterValue, match="mean_texture"):
        api.query(sdk_endpoint, dataframe_records=[{"mean_radius": "wide"}])
    with pytest.raises(BadRequest):
        api.query(sdk_endpoint)


def test_the_sdk_deletes(workspace):
    api = workspace.serving_endpoints
    one = EndpointCoreConfigInput(name="", served_entities=[ServedEntityInput(entity_name=PLAIN)])
    api.create("short-lived", config=one)
    with pytest.raises(ResourceConflict):
        api.update_config("short-lived", served_entities=one.served_entities)
    api.wait_get_serving_endpoint_not_updating("short-lived")
    api.delete("short-lived")
    with pytest.raises(NotFound):
        api.get("short-lived")


def test_mlflow_databricks_client_creates_queries_and_deletes(server, registry, monkeypatch):
    monkeypatch.setenv("DATABRICKS_HOST", server.url)
    monkeypatch.setenv("DATABRICKS_TOKEN", server.token)
    client = mlflow.deployments.get_deploy_client("databricks")
    client.create_endpoint(
        config={"name": "by-mlflow", "config": {"served_entities": [{"entity_name": "cancer", "entity_version": "1"}]}}
    )
    server.settled("by-mlflow")
    assert client.get_endpoint("by-mlflow").state.ready == "READY"
    assert "by-mlflow" in [each["name"] for each in client.list_endpoints()]
    split = registry.frame.head(3).to_dict("split", index=False)
    answer = client.predict(endpoint="by-mlflow", inputs={"dataframe_split": split})
    assert answer["predictions"] == registry.models[0].predict(registry.frame.head(3)).tolist()
    client.update_endpoint_tags("by-mlflow", {"add_tags": [{"key": "a", "value": "b"}]})
    client.delete_endpoint("by-mlflow")
    assert "by-mlflow" not in [each["name"] for each in client.list_endpoints()]


def test_our_mlflow_plugin_deploys_and_predicts(server, registry, monkeypatch):
    monkeypatch.setenv("DATABRICKS_TOKEN", server.token)
    client = mlflow.deployments.get_deploy_client(server.url.replace("http://", "tallystick://"))
    client.create_deployment("by-plugin", "models:/cancer/1")
    frame = registry.frame.head(4)
    predictions = client.predict("by-plugin", frame)
    assert list(np.ravel(predictions.get_predictions())) == registry.models[0].predict(frame).tolist()
    assert "by-plugin" in [each["name"] for each in client.list_deployments()]
    client.delete_deployment("by-plugin")
    client.delete_deployment("by-plugin")


def test_mlflow_deployments_command_line(server, monkeypatch):
    monkeypatch.setenv("DATABRICKS_TOKEN", server.token)
    target = ["-t", server.url.replace("http://", "tallystick://")]
    mlflow_cli = [sys.executable, "-m", "mlflow", "deployments"]
    done = subprocess.run(
        [*mlflow_cli, "create", *target, "--name", "by-cli", "-m", PLAIN], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert server.api("GET", "/by-cli")["state"]["ready"] == "READY"
    # In this process: that a new one finds the plugin is seen by now, and each takes seconds to start.
    deleted = CliRunner().invoke(mlflow.deployments.cli.commands, ["delete", *target, "--name", "by-cli"])
    assert deleted.exit_code == 0, deleted.output
    assert server.http.get("/api/2.0/serving-endpoints/by-cli").status_code == 404


def test_curl_style_calls(server, cancer, registry):
    frame = registry.frame.head(2)
    expected = registry.models[0].predict(frame).tolist()
    csv = server.invoke(
        cancer, entity="cancer-1", content=frame.to_csv(index=False), headers={"Content-Type": "text/csv"}
    )
    assert csv.json() == {"predictions": expected}
    assert csv.headers["served-model-name"] == "cancer-1"
    assert csv.headers["x-request-id"]
    basic = server.http.post(
        f"/serving-endpoints/{cancer}/invocations",
        json={"dataframe_split": frame.to_dict("split", index=False)},
        auth=("token", server.token),
    )
    assert basic.status_code == 200


def test_arrow_streams_in_and_out(server, cancer, registry):
    pa = pytest.importorskip("pyarrow")
    stream = "application/vnd.apache.arrow.stream"
    frame = registry.frame.head(50)
    table, sink = pa.Table.from_pandas(frame, preserve_index=False), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    answer = server.invoke(
        cancer, entity="cancer-1", content=sink.getvalue(), headers={"Content-Type": stream, "Accept": stream}
    )
    assert answer.headers["content-type"] == stream
    got = pa.ipc.open_stream(answer.content).read_all()
    assert got.column(0).to_pylist() == registry.models[0].predict(frame).tolist()


def test_gzip_bodies_are_taken_and_bombs_are_not(server, cancer, registry):
    import gzip

    body = json.dumps({"dataframe_split": registry.frame.head(200).to_dict("split", index=False)}).encode()
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert server.invoke(cancer, content=gzip.compress(body), headers=headers).status_code == 200
    bomb = server.invoke(cancer, content=gzip.compress(b" " * 200_000_000), headers=headers)
    assert bomb.status_code == 413
    assert bomb.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_probes_answer_without_a_token(server):
    import httpx

    with httpx.Client(base_url=server.url) as nobody:
        assert nobody.get("/.well-known/databricks-config").json() == {}
        assert nobody.get("/ping").text == "\n"
        assert nobody.get("/health").status_code == 200
        assert nobody.get("/version").text[0].isdigit()
        assert nobody.get("/api/2.0/serving-endpoints").status_code == 401
