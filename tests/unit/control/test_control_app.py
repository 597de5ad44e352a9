"""The app without a socket: rules of routes, shapes of errors, request ids."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from tallystick.auth import Principal
from tallystick.control import render
from tallystick.control.api import create_app
from tallystick.control.api_rules import Rule, principal_by_token, rule_of
from tallystick.control.memory_store import MemoryStore
from tallystick.control.service import Service, build_service
from tallystick.entities import ResolvedModel

ROOT = Principal("root", is_admin=True)
CHURN = {"served_entities": [{"entity_name": "churn", "entity_version": "1"}]}
OPEN_PATHS = {
    "/.well-known/databricks-config",
    "/health",
    "/ping",
    "/version",
    "/docs",
    "/openapi.json",
}


class Logs:
    async def build_log(self, entity_id: str) -> str:
        return f"built {entity_id}"

    async def server_log(self, entity_id: str) -> str:
        return f"printed {entity_id}"


async def status() -> dict[str, Any]:
    return {"gateways": 1}


@pytest.fixture
def service(tmp_path: Path) -> Service:
    given = (f"{number:032x}" for number in range(1000))
    return build_service(
        MemoryStore(), tmp_path, now_ms=lambda: 1000, new_id=lambda: next(given), on_change=lambda: None
    )


@pytest.fixture
def app(service: Service) -> FastAPI:
    made = create_app(service, Logs(), principal_by_token(service), status)

    # Another author forgot the rule.
    @made.get("/undeclared")
    def undeclared() -> str:
        return "reached"

    return made


def token_of(service: Service, name: str, *, is_admin: bool = False) -> str:
    made = service.token_service.create(ROOT, {"principal": name, "is_admin": is_admin})
    return str(made["token_value"])


@pytest.fixture
async def client(app: FastAPI, service: Service) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {token_of(service, 'root', is_admin=True)}"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as made:
        yield made


def concrete(route: APIRoute) -> str:
    return route.path.format(name="churn", id="churn", served_model="churn-1", incident="1")


def assert_error(answer: httpx.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert set(answer.json()) == {"error_code", "message"}
    assert answer.json()["error_code"] == code
    assert answer.headers["x-request-id"]
    return str(answer.json()["message"])


def api_routes(app: FastAPI) -> list[APIRoute]:
    return [route for route in app.routes if isinstance(route, APIRoute)]


def test_every_route_declares_who_may_call_it(app: FastAPI) -> None:
    assert len(api_routes(app)) == len(app.routes), "a route outside of FastAPI escapes the rules"
    silent = {route.path for route in api_routes(app) if rule_of(route.endpoint) is None}
    assert silent == {"/undeclared"}
    assert {route.path for route in api_routes(app) if rule_of(route.endpoint) is Rule.OPEN} == OPEN_PATHS


async def test_no_route_but_the_open_ones_answers_without_a_token(app: FastAPI, client: httpx.AsyncClient) -> None:
    client.headers.pop("authorization")
    for route in api_routes(app):
        for method in route.methods or ():
            answer = await client.request(method, concrete(route))
            if route.path in OPEN_PATHS:
                assert answer.status_code == 200
            else:
                assert_error(answer, 401, "UNAUTHENTICATED")
                assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/nowhere", "/api/2.0/clusters/list", "/api/2.0/serving-endpoints/churn/config"])
async def test_nobody_learns_without_a_token_which_paths_there_are(client: httpx.AsyncClient, path: str) -> None:
    client.headers.pop("authorization")
    assert_error(await client.get(path), 401, "UNAUTHENTICATED")


async def test_route_without_a_rule_refuses_admins_too(client: httpx.AsyncClient) -> None:
    assert "declares no rule" in assert_error(await client.get("/undeclared"), 403, "PERMISSION_DENIED")


async def test_principal_without_rights_reaches_no_endpoint(
    app: FastAPI, service: Service, client: httpx.AsyncClient
) -> None:
    service.create_endpoint(ROOT, {"name": "churn", "config": CHURN})
    client.headers["authorization"] = f"Bearer {token_of(service, 'bob')}"
    for route in api_routes(app):
        for method in route.methods or ():
            rule = rule_of(route.endpoint)
            answer = await client.request(method, concrete(route), json={})
            if rule is Rule.ADMIN:
                assert_error(answer, 403, "PERMISSION_DENIED")
            elif rule not in (Rule.OPEN, Rule.MEMBER, None):
                assert_error(answer, 404, "RESOURCE_DOES_NOT_EXIST")
    assert (await client.get("/api/2.0/serving-endpoints")).json() == {"endpoints": []}
    assert len(service.endpoints()) == 1


async def test_basic_credentials_are_taken(service: Service, client: httpx.AsyncClient) -> None:
    client.headers.pop("authorization")
    answer = await client.get("/api/2.0/serving-endpoints", auth=("token", token_of(service, "bob")))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/serving-endpoints/chat/completions",
        "/serving-endpoints/churn/invocations",
        "/api/2.0/serving-endpoints/pt",
        "/api/2.0/clusters/create",
        "/api/2.1/unity-catalog/models",
        "/api/2.0/secrets/acls/put",
        "/api/2.0/external-function",
    ],
)
async def test_what_is_left_out_is_told_as_such(client: httpx.AsyncClient, path: str) -> None:
    assert_error(await client.post(path, json={}), 501, "NOT_IMPLEMENTED")


async def test_secret_values_cannot_be_read(client: httpx.AsyncClient) -> None:
    assert_error(await client.get("/api/2.0/secrets/get?scope=s&key=k"), 501, "NOT_IMPLEMENTED")


async def test_unknown_paths_and_methods_are_told_in_our_shape(client: httpx.AsyncClient) -> None:
    assert_error(await client.get("/nowhere"), 404, "ENDPOINT_NOT_FOUND")
    assert_error(await client.get("/api/2.0/serving-endpoints/a/b/c"), 404, "ENDPOINT_NOT_FOUND")
    answer = await client.patch("/api/2.0/serving-endpoints/churn")
    assert_error(answer, 405, "BAD_REQUEST")
    assert answer.headers["allow"] == "DELETE, GET"


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "BAD_REQUEST"),
        (b"[]", 400, "BAD_REQUEST"),
        (b"null", 400, "BAD_REQUEST"),
        (b"NaN", 400, "BAD_REQUEST"),
        (b'{"name": "\xff"}', 400, "BAD_REQUEST"),
        (b'{"name": "\\ud800"}', 400, "BAD_REQUEST"),
        (b'{"name": 1e999}', 400, "BAD_REQUEST"),
        (b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "BAD_REQUEST"),
        (b" " * (1024 * 1024 + 1), 413, "INVALID_PARAMETER_VALUE"),
        (b"", 400, "INVALID_PARAMETER_VALUE"),
        (b'{"name": "a\\u0000"}', 400, "INVALID_PARAMETER_VALUE"),
        (b'{"name": "a", "tags": [{"key": 123456789012345678901234567890}]}', 400, "INVALID_PARAMETER_VALUE"),
        (b'{"name": "a", "config": {"served_entities": [[]]}}', 400, "INVALID_PARAMETER_VALUE"),
    ],
)
async def test_bad_bodies_are_refused_and_nothing_is_stored(
    client: httpx.AsyncClient, service: Service, content: bytes, status: int, code: str
) -> None:
    assert_error(await client.post("/api/2.0/serving-endpoints", content=content), status, code)
    assert service.endpoints() == ()


async def test_request_id_is_kept_or_made(client: httpx.AsyncClient) -> None:
    kept = await client.get("/health", headers={"x-request-id": "abc-123"})
    assert kept.headers.get_list("x-request-id") == ["abc-123"]
    made = [(await client.get("/health")).headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1]
    hostile = await client.get("/health", headers={"x-request-id": "a b" + "c" * 500})
    assert hostile.headers["x-request-id"] not in ("", "a b" + "c" * 500)


async def test_fault_of_ours_tells_an_id_and_nothing_else(
    client: httpx.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_store: MemoryStore) -> Any:
        raise RuntimeError("the password is sesame")

    monkeypatch.setattr(MemoryStore, "endpoints", broken)
    answer = await client.get("/api/2.0/serving-endpoints", headers={"x-request-id": "abc-123"})
    text = assert_error(answer, 500, "INTERNAL_ERROR")
    assert "abc-123" in text
    assert "sesame" not in text
    assert "abc-123" in caplog.text
    assert "sesame" in caplog.text


async def test_both_slashes_reach_the_collection_without_a_redirect(client: httpx.AsyncClient) -> None:
    for number, path in enumerate(("/api/2.0/serving-endpoints", "/api/2.0/serving-endpoints/")):
        assert (await client.post(path, json={"name": f"e{number}"})).json()["name"] == f"e{number}"
        assert (await client.get(path)).status_code == 200


async def test_logs_are_of_the_served_entity(client: httpx.AsyncClient, service: Service) -> None:
    endpoint = service.create_endpoint(ROOT, {"name": "churn", "config": CHURN})
    assert endpoint.pending is not None
    entity_id = endpoint.pending.served_entities[0].id
    base = "/api/2.0/serving-endpoints/churn/served-models"
    assert (await client.get(f"{base}/churn-1/build-logs")).json() == {"logs": f"built {entity_id}"}
    assert (await client.get(f"{base}/churn-1/logs?config_version=1")).json() == {"logs": f"printed {entity_id}"}
    assert_error(await client.get(f"{base}/other/logs"), 404, "RESOURCE_DOES_NOT_EXIST")
    assert_error(await client.get(f"{base}/churn-1/logs?config_version=7"), 404, "RESOURCE_DOES_NOT_EXIST")
    assert_error(await client.get(f"{base}/churn-1/logs?config_version=x"), 400, "INVALID_PARAMETER_VALUE")


async def test_status_is_for_admins(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/2.0/tallystick/status")).json() == {"gateways": 1}


async def test_openapi_of_an_endpoint_names_its_columns(client: httpx.AsyncClient, service: Service) -> None:
    endpoint = service.create_endpoint(ROOT, {"name": "churn", "config": CHURN})
    path = "/api/2.0/serving-endpoints/churn/openapi"
    assert "not ready" in assert_error(await client.get(path), 400, "INVALID_PARAMETER_VALUE")
    done = service.activate(endpoint.id, 1, 0)
    assert "signature" in assert_error(await client.get(path), 400, "INVALID_PARAMETER_VALUE")
    assert done.active is not None
    signature = {
        "inputs": json.dumps(
            [
                {"type": "long", "name": "age", "required": True},
                {"type": "string", "name": "city", "required": False},
            ]
        ),
        "outputs": json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]),
        "params": json.dumps([{"name": "k", "type": "long", "default": 3, "shape": None}]),
    }
    model = ResolvedModel("/m", "0" * 64, "models:/churn/1", signature=signature)
    service.save_resolved(done.active.served_entities[0].id, model)
    found = (await client.get(path)).json()
    assert found["servers"] == [{"url": "http://test/serving-endpoints/churn"}]
    operation = found["paths"]["/served-models/churn-1/invocations"]["post"]
    split, records = operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    columns = split["properties"]["dataframe_split"]["properties"]["columns"]["items"]["enum"]
    assert columns == ["age", "city"]
    row = records["properties"]["dataframe_records"]["items"]
    assert row["required"] == ["age"]
    assert row["properties"]["age"] == {"type": "integer", "format": "int64"}
    assert records["properties"]["params"]["properties"]["k"]["default"] == 3


async def test_description_names_every_route_and_loads_nothing_from_elsewhere(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    described = (await client.get("/openapi.json")).json()["paths"]
    page = (await client.get("/docs")).text
    for route in api_routes(app):
        if route.include_in_schema and route.path != "/undeclared":
            assert route.path in described
            assert route.path in page
    assert "src=" not in page
    assert "//" not in page.replace("http://", "")
    body = described["/api/2.0/serving-endpoints"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["required"] == ["name"]


async def test_summary_names_what_serves_and_nothing_more(client: httpx.AsyncClient, service: Service) -> None:
    endpoint = service.create_endpoint(ROOT, {"name": "churn", "config": CHURN})
    (listed,) = (await client.get("/api/2.0/serving-endpoints")).json()["endpoints"]
    assert listed["config"] == {}
    service.activate(endpoint.id, 1, 0)
    (listed,) = (await client.get("/api/2.0/serving-endpoints")).json()["endpoints"]
    assert listed["config"]["served_models"] == [{"name": "churn-1", "model_name": "churn", "model_version": "1"}]
    assert "pending_config" not in listed


def test_levels_are_told_lowest_first() -> None:
    levels = [line["permission_level"] for line in render.permission_levels()["permission_levels"]]
    assert levels == ["CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"]
