"""Settings of parity: what is taken, what is refused, and what the route table and the API make of them."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from tallystick.auth import Principal
from tallystick.control.api import create_app
from tallystick.control.api_rules import principal_by_token
from tallystick.control.memory_store import MemoryStore
from tallystick.control.parity import Parity, policy_of, settings_of, shown_settings
from tallystick.control.route_table import desired_routes
from tallystick.control.service import build_service
from tallystick.errors import InvalidParameter
from tallystick.gate.report import GateReport, Outcome, Policy
from tallystick.protocol.routes import Replica

ROOT = Principal("root", is_admin=True)
CHURN = {"served_entities": [{"entity_name": "churn", "entity_version": "1"}]}
CHURN_2 = {"served_entities": [{"entity_name": "churn", "entity_version": "2"}]}
PATH = "/api/2.0/serving-endpoints/churn/parity"


@pytest.fixture
def service(tmp_path: Path):
    given = (f"{number:032x}" for number in range(1000))
    return build_service(
        MemoryStore(), tmp_path, now_ms=lambda: 1000, new_id=lambda: next(given), on_change=lambda: None
    )


def create(service, parity=None):
    body = {"name": "churn", "config": CHURN} | ({"parity": parity} if parity is not None else {})
    endpoint = service.create_endpoint(ROOT, body)
    return service.activate(endpoint.id, 1, 0)


def test_an_endpoint_that_says_nothing_has_the_defaults(service):
    endpoint = create(service)
    assert settings_of(endpoint) == {"gate": "auto", "monitor": True, "webhook": "", "key": ""}
    assert policy_of(endpoint) is Policy.AUTO
    assert "parity" not in endpoint.extras


def test_settings_come_with_the_endpoint_and_are_replaced_whole(service):
    assert policy_of(create(service, {"gate": "block"})) is Policy.BLOCK
    changed = service.put_parity(ROOT, "churn", {"webhook": "https://hooks.example.org/a?b=c", "monitor": "false"})
    assert settings_of(changed) == {
        "gate": "auto",
        "monitor": False,
        "webhook": "https://hooks.example.org/a?b=c",
        "key": "",
    }
    assert "parity" not in service.put_parity(ROOT, "churn", {}).extras


def test_the_key_of_rows_is_kept_and_cleared(service):
    create(service)
    assert settings_of(service.put_parity(ROOT, "churn", {"key": "usage_context.device"}))["key"] == (
        "usage_context.device"
    )
    assert settings_of(service.put_parity(ROOT, "churn", {"key": ""}))["key"] == ""


def test_the_address_of_a_webhook_is_for_those_who_manage_the_endpoint(service):
    endpoint = create(service, {"webhook": "https://user:key@hooks.example.org/T0/secret"})
    assert shown_settings(endpoint, to_manager=True)["webhook"].endswith("/T0/secret")
    assert shown_settings(endpoint, to_manager=False)["webhook"] == "https://hooks.example.org/…"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gate": "maybe"}, "gate: expected one of auto, block, warn, off"),
        ({"gates": "off"}, "gates: is no setting of parity; there are gate, monitor, webhook, key"),
        ({"monitor": "often"}, "monitor: expected true or false"),
        ({"webhook": "ftp://example.org"}, "webhook: expected an http:// or https:// URL"),
        ({"webhook": "https://"}, "webhook: expected"),
        ({"webhook": "https://a b"}, "webhook: expected"),
        ({"webhook": "https://host:port/"}, "webhook: expected"),
        ({"webhook": "https://a..b/"}, "webhook: expected"),
        ({"webhook": "https://" + "a" * 3000}, "webhook: expected"),
        ({"key": "usage_context."}, "key: expected a column, or usage_context.<name>"),
        ({"key": "a" * 300}, "key: expected a column"),
        ({"key": 7}, "key: expected a string"),
    ],
)
def test_wrong_settings_are_refused_and_nothing_is_stored(service, settings, words):
    create(service)
    before = service.endpoints()
    with pytest.raises(InvalidParameter) as refused:
        service.put_parity(ROOT, "churn", settings)
    assert words in refused.value.message
    assert service.endpoints() == before


def routes(service, reachable=()):
    table = desired_routes(
        service.endpoints(),
        {},
        {},
        place=lambda key: Replica(key, f"/s/{key}", f"/b/{key}"),
        timeout_s=60.0,
        queue_per_concurrency=16,
        reachable=reachable,
    )
    return table.endpoints["churn"]


def test_what_is_to_be_replayed_is_in_the_table_and_gets_no_traffic(service):
    active = create(service)
    service.update_config(ROOT, "churn", CHURN_2)
    (endpoint,) = service.endpoints()
    (coming,) = endpoint.pending.served_entities
    assert routes(service).pending == ()
    found = routes(service, {coming.id})
    assert [entity.name for entity in found.entities] == ["churn-1"]
    assert [(entity.id, entity.name) for entity in found.pending] == [(coming.id, "churn-2")]
    assert active.active is not None
    service.fail(endpoint.id, 2, {})
    assert routes(service, {coming.id}).pending == ()


@pytest.fixture
async def client(service):
    class Logs:
        async def build_log(self, _entity_id):
            return ""

        async def server_log(self, _entity_id):
            return ""

    async def status():
        return {}

    async def check(endpoint, entity_name):
        return {"outcome": Outcome.PASSED, "entities": {entity_name or "all": {"0": GateReport(Outcome.PASSED)}}}

    known = Parity(
        gate=lambda _endpoint: {"churn-1": {"replicas": {"0": GateReport(Outcome.PASSED, rows=5)}}}, check=check
    )
    app: FastAPI = create_app(replace(service, parity=known), Logs(), principal_by_token(service), status)
    made = service.token_service.create(ROOT, {"principal": "root", "is_admin": True})
    headers = {"Authorization": f"Bearer {made['token_value']}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test", headers=headers
    ) as connected:
        yield connected


async def test_settings_and_reports_are_answered_together(service, client):
    create(service, {"gate": "warn"})
    found = (await client.get(PATH)).json()
    assert set(found) == {"settings", "gate", "live", "incidents"}
    assert found["settings"]["gate"] == "warn"
    assert found["gate"]["churn-1"]["replicas"]["0"]["rows"] == 5
    changed = (await client.put(PATH, json={"gate": "off"})).json()
    assert changed["settings"]["gate"] == "off"
    assert (await client.put(PATH, json={"gate": "?"})).status_code == 400


async def test_a_check_on_demand_names_one_served_entity_or_all(service, client):
    create(service)
    assert set((await client.post(f"{PATH}/check")).json()["entities"]) == {"all"}
    asked = await client.post(f"{PATH}/check", json={"served_entity": "churn-1"})
    assert asked.json()["entities"]["churn-1"]["0"]["outcome"] == "passed"


async def test_who_may_view_may_not_check(service, client):
    create(service)
    service.update_permissions(
        ROOT, "churn", {"access_control_list": [{"user_name": "bob", "permission_level": "CAN_QUERY"}]}
    )
    token = service.token_service.create(ROOT, {"principal": "bob"})["token_value"]
    client.headers["Authorization"] = f"Bearer {token}"
    assert (await client.get(PATH)).status_code == 200
    assert (await client.put(PATH, json={})).status_code == 403
    assert (await client.post(f"{PATH}/check")).status_code == 403
