"""The unmodified Databricks and MLflow clients against the control API.

A real server on a loopback port: what is tested is what these clients put on the wire and read from it. The
reconciler is a stand-in that brings up whatever is not called "broken", at once.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import (
    AlreadyExists,
    BadRequest,
    InvalidParameterValue,
    NotFound,
    NotImplemented,
    OperationFailed,
    PermissionDenied,
    ResourceAlreadyExists,
    ResourceConflict,
    ResourceDoesNotExist,
    Unauthenticated,
)
from databricks.sdk.service import serving

from tallystick.auth import Principal
from tallystick.control.api import create_app
from tallystick.control.api_rules import principal_by_token
from tallystick.control.feedback_api import add_feedback_routes
from tallystick.control.journal import MemoryJournal
from tallystick.control.service import Service, build_service
from tallystick.control.sql_store import open_store
from tallystick.entities import Deployment, EntityStatus, ResolvedModel

ROOT = Principal("root", is_admin=True)


@dataclass
class Reconciler:
    """Activates or fails each pending config in the call that made it."""

    service: Service | None = None
    is_away: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wake(self) -> None:
        if self.service is None or self.is_away:
            return
        with self.lock:
            for endpoint in self.service.endpoints():
                if not endpoint.is_updating or endpoint.pending is None:
                    continue
                failed = EntityStatus(Deployment.FAILED, "The model has no MLmodel file.")
                broken = {
                    entity.id: failed for entity in endpoint.pending.served_entities if "broken" in entity.entity_name
                }
                if broken:
                    self.service.fail(endpoint.id, endpoint.pending.version, broken)
                else:
                    self.service.activate(endpoint.id, endpoint.pending.version, self.service.now_ms())


class Logs:
    async def build_log(self, entity_id: str) -> str:
        return f"built {entity_id}"

    async def server_log(self, entity_id: str) -> str:
        return f"printed {entity_id}"


async def status() -> dict[str, Any]:
    return {}


@dataclass
class Server:
    url: str
    service: Service
    reconciler: Reconciler

    def token(self, principal: str, *, is_admin: bool = False) -> str:
        body = {"principal": principal, "is_admin": is_admin}
        return str(self.service.token_service.create(ROOT, body)["token_value"])

    def client(self, principal: str, *, is_admin: bool = False) -> WorkspaceClient:
        token = self.token(principal, is_admin=is_admin)
        # Else an answer that the client retries would be asked for again for five minutes.
        return WorkspaceClient(config=Config(host=self.url, token=token, retry_timeout_seconds=5))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("control")
    store = open_store(f"sqlite:///{folder / 'control.db'}", folder)
    reconciler = Reconciler()
    service = build_service(
        store,
        folder,
        now_ms=lambda: time.time_ns() // 1_000_000,
        new_id=lambda: uuid.uuid4().hex,
        on_change=reconciler.wake,
    )
    reconciler.service = service
    app = create_app(service, Logs(), principal_by_token(service), status)
    add_feedback_routes(app, service, MemoryJournal())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Server(f"http://127.0.0.1:{port}", service, reconciler)
    server.should_exit = True
    thread.join(20)
    store.close()


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    # Whatever the machine has configured must not be mixed in.
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/nonexistent")
    yield running
    running.reconciler.is_away = False
    for endpoint in running.service.endpoints():
        running.service.delete_endpoint(ROOT, endpoint.name)


@pytest.fixture
def client(server: Server) -> WorkspaceClient:
    return server.client("root", is_admin=True)


def entity(version: str = "1", name: str = "main.default.m", **fields: Any) -> serving.ServedEntityInput:
    return serving.ServedEntityInput(entity_name=name, entity_version=version, **fields)


def config(*entities: serving.ServedEntityInput) -> serving.EndpointCoreConfigInput:
    return serving.EndpointCoreConfigInput(name="e1", served_entities=list(entities))


def split(**shares: int) -> serving.TrafficConfig:
    routes = [serving.Route(traffic_percentage=share, served_entity_name=name) for name, share in shares.items()]
    return serving.TrafficConfig(routes=[_dashed(route) for route in routes])


def _dashed(route: serving.Route) -> serving.Route:
    route.served_entity_name = (route.served_entity_name or "").replace("_", "-")
    return route


# -- databricks-sdk ---------------------------------------------------------------------------------------


def test_create_and_wait_with_every_field(client: WorkspaceClient) -> None:
    made = client.serving_endpoints.create_and_wait(
        "e1",
        config=serving.EndpointCoreConfigInput(
            name="e1",
            auto_capture_config=serving.AutoCaptureConfigInput(catalog_name="c", schema_name="s", enabled=True),
            served_entities=[
                entity(
                    workload_size="Small",
                    scale_to_zero_enabled=True,
                    workload_type=serving.ServingModelWorkloadType.CPU,
                    environment_vars={"A": "{{secrets/s/k}}"},
                )
            ],
            traffic_config=split(m_1=100),
        ),
        tags=[serving.EndpointTag(key="team", value="ml")],
        description="d",
        route_optimized=False,
        rate_limits=[
            serving.RateLimit(
                calls=10, key=serving.RateLimitKey.USER, renewal_period=serving.RateLimitRenewalPeriod.MINUTE
            )
        ],
        email_notifications=serving.EmailNotifications(on_update_failure=["a@b"]),
        ai_gateway=serving.AiGatewayConfig(
            inference_table_config=serving.AiGatewayInferenceTableConfig(
                catalog_name="c", schema_name="s", enabled=True
            ),
            usage_tracking_config=serving.AiGatewayUsageTrackingConfig(enabled=True),
        ),
        timeout=timedelta(seconds=10),
    )
    assert made.state is not None
    assert made.state.ready is serving.EndpointStateReady.READY
    assert made.state.config_update is serving.EndpointStateConfigUpdate.NOT_UPDATING
    assert made.permission_level is serving.ServingEndpointDetailedPermissionLevel.CAN_MANAGE
    assert (made.description, made.creator, len(made.id or "")) == ("d", "root", 32)
    assert made.ai_gateway is not None
    assert made.ai_gateway.inference_table_config is not None
    assert made.ai_gateway.inference_table_config.table_name_prefix == "e1"
    assert made.config is not None
    assert made.config.config_version == 1
    (served,) = made.config.served_entities or []
    assert (served.name, served.workload_size, served.environment_vars) == ("m-1", "Small", {"A": "{{secrets/s/k}}"})
    assert served.state is not None
    assert served.state.deployment is serving.ServedModelStateDeployment.DEPLOYMENT_READY
    (route,) = made.config.traffic_config.routes or [] if made.config.traffic_config else []
    assert (route.served_entity_name, route.served_model_name, route.traffic_percentage) == ("m-1", "m-1", 100)
    (older,) = made.config.served_models or []
    assert (older.model_name, older.model_version) == ("main.default.m", "1")


def test_get_list_and_delete(client: WorkspaceClient) -> None:
    assert client.serving_endpoints.list() == []
    client.serving_endpoints.create("e1", config=config(entity()))
    (listed,) = client.serving_endpoints.list()
    assert (listed.name, listed.config is not None) == ("e1", True)
    assert client.serving_endpoints.get("e1").id == listed.id
    client.serving_endpoints.delete("e1")
    with pytest.raises(ResourceDoesNotExist, match="Endpoint with name 'e1' does not exist"):
        client.serving_endpoints.get("e1")


def test_update_config_in_both_spellings(client: WorkspaceClient) -> None:
    client.serving_endpoints.create("e1", config=config(entity()))
    before = client.serving_endpoints.get("e1")
    done = client.serving_endpoints.update_config_and_wait(
        "e1",
        served_entities=[entity(workload_size="Small"), entity("2", min_provisioned_concurrency=4)],
        traffic_config=split(m_1=90, m_2=10),
    )
    assert before.config is not None
    assert done.config is not None
    assert done.config.config_version == 2
    assert [one.name for one in done.config.served_entities or []] == ["m-1", "m-2"]
    older = serving.ServedModelInput(
        scale_to_zero_enabled=False, model_name="m", model_version="2", name="m-2", workload_size="Small"
    )
    client.serving_endpoints.update_config("e1", served_models=[older])
    now = client.serving_endpoints.get("e1").config
    assert now is not None
    assert [one.entity_version for one in now.served_entities or []] == ["2"]


def test_failed_deployments(client: WorkspaceClient) -> None:
    with pytest.raises(OperationFailed, match="UPDATE_FAILED"):
        client.serving_endpoints.create_and_wait("e1", config=config(entity(name="broken")))
    first = client.serving_endpoints.get("e1")
    assert first.state is not None
    assert first.state.ready is serving.EndpointStateReady.NOT_READY
    assert first.config is None
    assert "no MLmodel file" in json.dumps(first.as_dict())
    assert client.serving_endpoints.update_config_and_wait("e1", served_entities=[entity()]).config
    with pytest.raises(OperationFailed):
        client.serving_endpoints.update_config_and_wait("e1", served_entities=[entity(name="broken")])
    later = client.serving_endpoints.get("e1")
    assert later.state is not None
    assert later.state.ready is serving.EndpointStateReady.READY
    assert later.config is not None
    assert [one.name for one in later.config.served_entities or []] == ["m-1"]
    assert "no MLmodel file" in json.dumps(later.as_dict())
    assert client.serving_endpoints.build_logs("e1", "broken-1").logs.startswith("built")


def test_one_of_two_concurrent_updates_wins(server: Server, client: WorkspaceClient) -> None:
    client.serving_endpoints.create("e1", config=config(entity()))
    server.reconciler.is_away = True
    meet = threading.Barrier(6)

    def attempt(version: int) -> bool | None:
        meet.wait()
        try:
            client.serving_endpoints.update_config("e1", served_entities=[entity(str(version))])
        except ResourceConflict as error:
            return "currently updating" in str(error)
        return None

    with ThreadPoolExecutor(6) as threads:
        refused = list(threads.map(attempt, range(1, 7)))
    assert sorted(refused, key=bool) == [None, True, True, True, True, True]
    assert client.serving_endpoints.get("e1").pending_config is not None


def test_small_changes(client: WorkspaceClient) -> None:
    client.serving_endpoints.create("e1", config=config(entity()))
    api = client.serving_endpoints
    tags = api.patch(
        "e1",
        add_tags=[serving.EndpointTag(key="a", value="b"), serving.EndpointTag(key="c")],
        delete_tags=["z"],
    )
    assert [tag.key for tag in tags.tags or []] == ["a", "c"]
    limit = serving.RateLimit(calls=1, renewal_period=serving.RateLimitRenewalPeriod.MINUTE)
    assert api.put("e1", rate_limits=[limit]).rate_limits[0].key is serving.RateLimitKey.ENDPOINT
    gateway = api.put_ai_gateway(
        "e1",
        rate_limits=[
            serving.AiGatewayRateLimit(
                calls=5,
                key=serving.AiGatewayRateLimitKey.USER,
                principal="bob@x",
                renewal_period=serving.AiGatewayRateLimitRenewalPeriod.MINUTE,
            )
        ],
    )
    assert gateway.rate_limits[0].principal == "bob@x"
    assert api.put_ai_gateway("e1").rate_limits == []
    mails = serving.EmailNotifications(on_update_success=["a@b"])
    assert api.update_notifications("e1", email_notifications=mails).email_notifications == mails
    telemetry = serving.TelemetryConfig(
        inference_table_config=serving.TelemetryInferenceTableConfig(sampling_fraction=0.5)
    )
    assert api.patch_telemetry_config("e1", telemetry_config=telemetry).telemetry_config == telemetry
    assert api.get("e1").telemetry_config == telemetry


def test_all_objects_of_inference_tables_have_their_effect(server: Server, client: WorkspaceClient) -> None:
    api, path = client.serving_endpoints, "/api/2.0/serving-endpoints/e1/inference-table"
    captured = config(entity())
    captured.auto_capture_config = serving.AutoCaptureConfigInput("main", True, "ml", "churn")
    made = api.create_and_wait("e1", config=captured, timeout=timedelta(seconds=10))
    assert made.config is not None
    assert made.config.auto_capture_config is not None
    state = made.config.auto_capture_config.state
    assert state is not None
    assert state.payload_table is not None
    assert (state.payload_table.name, state.payload_table.status) == ("main/ml/churn_payload", "pending")
    assert client.api_client.do("GET", path)["location"].endswith("/main/ml/churn_payload")

    off = serving.AiGatewayInferenceTableConfig(catalog_name="main", schema_name="gw", enabled=False)
    api.put_ai_gateway("e1", inference_table_config=off)
    found = client.api_client.do("GET", path)
    assert (found["enabled"], found["table"]) == (False, "main/gw/e1_payload")

    telemetry = serving.TelemetryConfig(
        inference_table_config=serving.TelemetryInferenceTableConfig(name="main.ml.t", sampling_fraction=0.5)
    )
    api.patch_telemetry_config("e1", telemetry_config=telemetry)
    found = client.api_client.do("GET", path)
    assert (found["enabled"], found["table"], found["sampling_fraction"]) == (True, "main/ml/t_payload", 0.5)

    found = client.api_client.do("PUT", path, body={"sampling_fraction": 1, "hash_columns": ["requester"]})
    assert (found["enabled"], found["sampling_fraction"], found["hash_columns"]) == (True, 1, ["requester"])
    with pytest.raises(InvalidParameterValue, match="hash_columns"):
        client.api_client.do("PUT", path, body={"hash_columns": ["latency_ms"]})
    flushed = client.api_client.do("POST", f"{path}/flush")
    assert flushed == {"flushed": False, "problem": "No recorder is running."}


def test_feedback_is_taken_from_who_may_query(server: Server, client: WorkspaceClient) -> None:
    client.serving_endpoints.create("e1", config=config(entity()))
    line = {"client_request_id": "order-7", "label": True, "values": {"spent": 12.5}}
    assert client.api_client.do("POST", "/serving-endpoints/e1/feedback", body=line) == {"accepted": 2}
    request = urllib.request.Request(
        f"{server.url}/api/2.0/serving-endpoints/e1/feedback",
        b"request_id,label\na,1\n",
        {"authorization": f"Bearer {server.token('root', is_admin=True)}", "content-type": "text/csv"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert json.load(answer) == {"accepted": 1}
    with pytest.raises(NotFound):
        server.client("bob").api_client.do("POST", "/serving-endpoints/e1/feedback", body=line)


def test_logs_openapi_and_metrics(server: Server, client: WorkspaceClient) -> None:
    client.serving_endpoints.create("e1", config=config(entity()))
    assert client.serving_endpoints.logs("e1", "m-1").logs.startswith("printed ")
    assert client.serving_endpoints.build_logs("e1", "m-1").logs.startswith("built ")
    with pytest.raises(InvalidParameterValue, match="signature"):
        client.serving_endpoints.get_open_api("e1")
    (endpoint,) = server.service.endpoints()
    assert endpoint.active is not None
    signature = {"inputs": '[{"type": "double", "name": "a"}]'}
    model = ResolvedModel("/m", "0" * 64, "models:/m/1", signature=signature)
    server.service.save_resolved(endpoint.active.served_entities[0].id, model)
    document = json.loads(client.serving_endpoints.get_open_api("e1").contents.read())
    assert document["info"] == {"title": "e1", "version": "1"}
    assert document["servers"][0]["url"] == f"{server.url}/serving-endpoints/e1"


def test_permissions_by_id_and_by_name(server: Server, client: WorkspaceClient) -> None:
    made = client.serving_endpoints.create("e1", config=config(entity())).response
    api, bob = client.serving_endpoints, server.client("bob")
    with pytest.raises(ResourceDoesNotExist):
        bob.serving_endpoints.get("e1")
    level = serving.ServingEndpointPermissionLevel
    line = serving.ServingEndpointAccessControlRequest
    acl = api.set_permissions(made.id, access_control_list=[line(user_name="bob", permission_level=level.CAN_QUERY)])
    assert (acl.object_id, acl.object_type) == (f"/serving-endpoints/{made.id}", "serving-endpoint")
    held = {
        one.user_name or one.group_name: [part.permission_level for part in one.all_permissions or []]
        for one in acl.access_control_list or []
    }
    assert held == {"root": [level.CAN_MANAGE], "bob": [level.CAN_QUERY], "admins": [level.CAN_MANAGE]}
    shown = bob.serving_endpoints.get("e1")
    assert shown.permission_level is serving.ServingEndpointDetailedPermissionLevel.CAN_QUERY
    for act in (
        lambda: bob.serving_endpoints.update_config("e1", served_entities=[entity("2")]),
        lambda: bob.serving_endpoints.delete("e1"),
        lambda: bob.serving_endpoints.logs("e1", "m-1"),
        lambda: bob.serving_endpoints.get_permissions(made.id),
    ):
        with pytest.raises(PermissionDenied, match="CAN_QUERY on endpoint 'e1'; this needs CAN_MANAGE"):
            act()
    levels = bob.serving_endpoints.get_permission_levels(made.id).permission_levels or []
    assert [one.permission_level for one in levels] == [level.CAN_VIEW, level.CAN_QUERY, level.CAN_MANAGE]
    merged = api.update_permissions("e1", access_control_list=[line(group_name="g", permission_level=level.CAN_VIEW)])
    assert len(merged.access_control_list or []) == 4
    assert len(api.get_permissions(made.id).access_control_list or []) == 4


def test_errors_become_the_clients_own_exceptions(server: Server, client: WorkspaceClient) -> None:
    api = client.serving_endpoints
    api.create("e1", config=config(entity()))
    cases: list[tuple[type[Exception], Callable[[], Any]]] = [
        (ResourceAlreadyExists, lambda: api.create("e1")),
        (InvalidParameterValue, lambda: api.create("a b")),
        (InvalidParameterValue, lambda: api.update_config("e1", served_entities=[entity(), entity("2")])),
        (ResourceDoesNotExist, lambda: api.delete("e2")),
        (NotFound, lambda: api.get("a b/c?d")),
        (NotImplemented, lambda: api.create_provisioned_throughput_endpoint("x", serving.PtEndpointCoreConfig())),
        (NotImplemented, lambda: client.clusters.get("x")),
        (PermissionDenied, lambda: server.client("bob").serving_endpoints.create("e2")),
        (Unauthenticated, lambda: WorkspaceClient(host=server.url, token="dapi-x").serving_endpoints.list()),
    ]
    for expected, act in cases:
        with pytest.raises(expected):
            act()
    assert [endpoint.name for endpoint in api.list()] == ["e1"]


def test_stop_and_start_by_plain_http(server: Server, client: WorkspaceClient) -> None:
    client.serving_endpoints.create("e1", config=config(entity()))
    path = "/api/2.0/serving-endpoints/e1/config"
    halted = client.api_client.do("POST", f"{path}:stop")
    assert (halted["state"]["suspend"], halted["state"]["ready"]) == ("STOPPED", "NOT_READY")
    with pytest.raises(BadRequest, match="is stopped"):
        client.serving_endpoints.update_config("e1", served_entities=[entity("2")])
    client.api_client.do("POST", f"{path}:start")
    woken = client.serving_endpoints.wait_get_serving_endpoint_not_updating("e1")
    assert woken.state is not None
    assert woken.state.ready is serving.EndpointStateReady.READY
    assert woken.config is not None
    assert woken.config.config_version == 2


def test_tokens(server: Server, client: WorkspaceClient) -> None:
    made = client.tokens.create(comment="ci", lifetime_seconds=3600)
    assert made.token_info is not None
    assert (made.token_info.expiry_time or 0) - (made.token_info.creation_time or 0) == 3_600_000
    other = WorkspaceClient(host=server.url, token=made.token_value)
    assert other.current_user.me().user_name == "root"
    assert other.get_workspace_id() == 1
    assert made.token_info.token_id in [info.token_id for info in client.tokens.list()]
    client.tokens.delete(made.token_info.token_id or "")
    with pytest.raises(Unauthenticated):
        other.current_user.me()
    with pytest.raises(ResourceDoesNotExist):
        client.tokens.delete("0" * 12)
    bob = server.client("bob")
    assert {info.as_dict().get("comment") for info in bob.tokens.list()} == {""}
    with pytest.raises(PermissionDenied):
        bob.api_client.do("POST", "/api/2.0/token/create", body={"principal": "eve"})


def test_secrets(server: Server, client: WorkspaceClient) -> None:
    client.secrets.create_scope("prod")
    with pytest.raises((ResourceAlreadyExists, AlreadyExists)):
        client.secrets.create_scope("prod")
    client.secrets.put_secret("prod", "key", string_value="sesame")
    assert [scope.name for scope in client.secrets.list_scopes()] == ["prod"]
    assert [secret.key for secret in client.secrets.list_secrets("prod")] == ["key"]
    with pytest.raises(NotImplemented):
        client.secrets.get_secret("prod", "key")
    with pytest.raises(PermissionDenied):
        list(server.client("bob").secrets.list_scopes())
    client.secrets.delete_secret("prod", "key")
    client.secrets.delete_scope("prod")
    assert list(client.secrets.list_scopes()) == []


def test_discovery_is_open_and_cheap(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/.well-known/databricks-config", timeout=5) as answer:
        assert (answer.status, answer.read()) == (200, b"{}")


# -- mlflow.deployments -----------------------------------------------------------------------------------


@pytest.fixture
def mlflow_client(server: Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DATABRICKS_HOST", server.url)
    monkeypatch.setenv("DATABRICKS_TOKEN", server.token("root", is_admin=True))
    # An error must not be asked for again for minutes.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    from mlflow.deployments import get_deploy_client

    return get_deploy_client("databricks")


def test_mlflow_client_goes_the_whole_way(mlflow_client: Any) -> None:
    served = {"entity_name": "main.default.m", "entity_version": "1", "workload_size": "Small"}
    made = mlflow_client.create_endpoint(
        config={"name": "e1", "config": {"served_entities": [served]}, "tags": [{"key": "a", "value": "b"}]}
    )
    assert made.name == "e1"
    legacy = {"served_entities": [served | {"name": "m"}], "tags": [{"key": "a"}], "rate_limits": []}
    assert mlflow_client.create_endpoint(name="e2", config=legacy).name == "e2"
    assert [endpoint["name"] for endpoint in mlflow_client.list_endpoints()] == ["e1", "e2"]
    assert mlflow_client.get_endpoint("e1").state.config_update == "NOT_UPDATING"
    config = {
        "served_entities": [served, served | {"entity_version": "2"}],
        "traffic_config": {
            "routes": [
                {"served_model_name": "m-1", "traffic_percentage": "90"},
                {"served_model_name": "m-2", "traffic_percentage": "10"},
            ]
        },
    }
    assert mlflow_client.update_endpoint_config("e1", config).name == "e1"
    routes = mlflow_client.get_endpoint("e1").config.traffic_config.routes
    assert [route["traffic_percentage"] for route in routes] == [90, 10]
    tags = mlflow_client.update_endpoint_tags("e1", {"add_tags": [{"key": "c", "value": "d"}]})
    assert [tag["key"] for tag in tags.tags] == ["a", "c"]
    limits = {"rate_limits": [{"calls": 1, "key": "user", "renewal_period": "minute"}]}
    assert mlflow_client.update_endpoint_rate_limits("e1", limits).rate_limits == limits["rate_limits"]
    assert mlflow_client.update_endpoint_ai_gateway("e1", {"usage_tracking_config": {"enabled": True}})
    assert mlflow_client.delete_endpoint("e1") == {}
    assert [endpoint["name"] for endpoint in mlflow_client.list_endpoints()] == ["e2"]


def test_mlflow_client_tells_our_errors(mlflow_client: Any) -> None:
    import requests

    with pytest.raises(requests.HTTPError, match=r"404.*Endpoint with name 'e9' does not exist"):
        mlflow_client.get_endpoint("e9")
    with pytest.raises(requests.HTTPError, match=r"400.*name: 'a b' is not a name"):
        mlflow_client.create_endpoint(config={"name": "a b", "config": {"served_entities": []}})


def test_store_survives_what_the_clients_did(server: Server, client: WorkspaceClient, tmp_path: Path) -> None:
    """What one process stored is what the next one reads."""
    client.serving_endpoints.create("e1", config=config(entity()))
    folder = Path(server.service.store._engine.url.database).parent  # type: ignore[attr-defined]
    other = open_store(f"sqlite:///{folder / 'control.db'}", folder)
    assert other.endpoints() == server.service.endpoints()
    other.close()
