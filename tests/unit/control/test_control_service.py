"""Who may do what with endpoints, what is stored, and whom it wakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tallystick.auth import Principal, authenticate
from tallystick.control import render
from tallystick.control.memory_store import MemoryStore
from tallystick.control.service import Service, build_service
from tallystick.control.token_service import TokenService
from tallystick.entities import (
    Deployment,
    Endpoint,
    EndpointId,
    EntityStatus,
    Level,
    Ready,
    ResolvedModel,
    ServedEntityId,
)
from tallystick.errors import (
    AlreadyExists,
    BadRequest,
    Conflict,
    DeploymentFailed,
    InvalidParameter,
    InvalidState,
    NotFound,
    NotImplementedHere,
    PermissionDenied,
    TallystickError,
)

ROOT = Principal("root", is_admin=True)
BOB = Principal("bob")
CHURN = {"served_entities": [{"entity_name": "churn", "entity_version": "1"}]}
CHURN_2 = {"served_entities": [{"entity_name": "churn", "entity_version": "2"}]}
RESOLVED = ResolvedModel("/models/1", "0" * 64, "models:/churn/1")


@dataclass
class World:
    service: Service
    store: MemoryStore
    now_ms: int = 1000
    changes: int = 0

    def deployed(self, name: str = "churn", config: object = CHURN) -> Endpoint:
        endpoint = self.service.create_endpoint(ROOT, {"name": name, "config": config})
        return self.service.activate(endpoint.id, 1, self.now_ms)

    def grant(self, name: str, principal: str, level: str) -> None:
        acl = [{"user_name": principal, "permission_level": level}]
        self.service.update_permissions(ROOT, name, {"access_control_list": acl})


@pytest.fixture
def world(tmp_path: Path) -> World:
    def changed() -> None:
        made.changes += 1

    def ids() -> Iterator[str]:
        for number in range(10_000):
            yield f"{number:032x}"

    given = ids()
    store = MemoryStore()
    service = build_service(store, tmp_path, now_ms=lambda: made.now_ms, new_id=lambda: next(given), on_change=changed)
    made = World(service, store)
    return made


def stays_the_same(world: World, error: type[TallystickError], act: Callable[[], Any]) -> str:
    """Assert that `act` is refused, that nothing changed, and that nobody was woken; return the text."""
    before, changes = world.store.endpoints(), world.changes
    with pytest.raises(error) as raised:
        act()
    assert (world.store.endpoints(), world.changes) == (before, changes)
    return raised.value.message


def test_create_stores_the_endpoint_and_wakes_the_reconciler(world: World) -> None:
    body = {
        "name": "churn",
        "config": CHURN,
        "description": "who leaves",
        "tags": [{"key": "team", "value": "ml"}, {"key": "pilot"}],
        "rate_limits": [{"calls": "10", "renewal_period": "minute"}],
        "ai_gateway": {"inference_table_config": {"catalog_name": "c", "enabled": True}},
        "email_notifications": {"on_update_failure": ["a@b"]},
        "route_optimized": True,
        "unknown_to_us": {"x": 1},
    }
    endpoint = world.service.create_endpoint(ROOT, body)
    assert world.store.endpoints() == (endpoint,)
    assert world.changes == 1
    assert (endpoint.creator, endpoint.creation_timestamp_ms, endpoint.is_updating) == ("root", 1000, True)
    assert endpoint.tags == {"team": "ml", "pilot": None}
    assert endpoint.extras == {
        "rate_limits": [{"calls": 10, "key": "endpoint", "renewal_period": "minute"}],
        "ai_gateway": {"inference_table_config": {"table_name_prefix": "churn", "catalog_name": "c", "enabled": True}},
        "email_notifications": {"on_update_failure": ["a@b"]},
    }


@pytest.mark.parametrize("config", [None, {}, {"name": "churn"}])
def test_endpoint_without_config_is_idle(world: World, config: object) -> None:
    endpoint = world.service.create_endpoint(ROOT, {"name": "churn", "config": config})
    assert not endpoint.is_updating
    assert (endpoint.pending, endpoint.active, endpoint.ready) == (None, None, Ready.NOT_READY)


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({}, "name: is missing"),
        ({"name": "databricks-x"}, "prefix 'databricks-' is reserved"),
        ({"name": "a b"}, "name: 'a b' is not a name"),
        ({"name": "a/b"}, "is not a name"),
        ({"name": "x", "tags": [{"value": "v"}]}, "tags[0].key: is missing"),
        ({"name": "x", "tags": [{"key": "k"}, {"key": "k"}]}, "'k' is given twice"),
        ({"name": "x", "tags": {"key": "k"}}, "tags: expected a list, got an object"),
        ({"name": "x", "rate_limits": [{"calls": -1}]}, "rate_limits[0].calls: expected an integer from 0"),
        ({"name": "x", "rate_limits": [{"calls": 1, "key": "user_group"}]}, "expected one of endpoint, user"),
        ({"name": "x", "rate_limits": [{"calls": 1, "renewal_period": "hour"}]}, "expected one of minute"),
        ({"name": "x", "rate_limits": [{"tokens": 1}]}, "limits of tokens are not implemented"),
        ({"name": "x", "config": CHURN | {"traffic_config": {"routes": []}}}, "config.traffic_config.routes"),
        ({"name": "x", "config": "churn"}, "config: expected an object"),
        ({"name": "x", "telemetry_config": {"inference_table_config": {"sampling_fraction": 2}}}, "from 0 to 1"),
    ],
)
def test_wrong_creations_are_refused_before_anything_is_stored(world: World, body: object, part: str) -> None:
    assert part in stays_the_same(world, InvalidParameter, lambda: world.service.create_endpoint(ROOT, body))


def test_name_is_taken_once(world: World) -> None:
    world.deployed()
    stays_the_same(world, AlreadyExists, lambda: world.service.create_endpoint(ROOT, {"name": "churn"}))


def test_only_admins_create(world: World) -> None:
    body = {"name": "churn", "config": CHURN}
    text = stays_the_same(world, PermissionDenied, lambda: world.service.create_endpoint(BOB, body))
    assert "Only admins may create endpoints" in text


def test_body_has_to_be_an_object(world: World) -> None:
    stays_the_same(world, BadRequest, lambda: world.service.create_endpoint(ROOT, ["churn"]))


USES: dict[str, tuple[Level, Callable[[Service, Principal], Any]]] = {
    "get": (Level.CAN_VIEW, lambda service, who: service.get_endpoint(who, "churn")),
    "openapi": (Level.CAN_VIEW, lambda service, who: service.openapi_document(who, "churn", "")),
    "update_config": (Level.CAN_MANAGE, lambda service, who: service.update_config(who, "churn", CHURN_2)),
    "stop": (Level.CAN_MANAGE, lambda service, who: service.stop(who, "churn")),
    "start": (Level.CAN_MANAGE, lambda service, who: service.start(who, "churn")),
    "delete": (Level.CAN_MANAGE, lambda service, who: service.delete_endpoint(who, "churn")),
    "tags": (Level.CAN_MANAGE, lambda service, who: service.patch_tags(who, "churn", {})),
    "rate_limits": (Level.CAN_MANAGE, lambda service, who: service.put_rate_limits(who, "churn", {})),
    "ai_gateway": (Level.CAN_MANAGE, lambda service, who: service.put_ai_gateway(who, "churn", {})),
    "notifications": (Level.CAN_MANAGE, lambda service, who: service.patch_notifications(who, "churn", {})),
    "telemetry": (Level.CAN_MANAGE, lambda service, who: service.patch_telemetry(who, "churn", {})),
    "served_entity": (Level.CAN_MANAGE, lambda service, who: service.get_served_entity(who, "churn", "churn-1")),
    "get_permissions": (Level.CAN_MANAGE, lambda service, who: service.get_permissions(who, "churn")),
    "set_permissions": (Level.CAN_MANAGE, lambda service, who: service.set_permissions(who, "churn", {})),
    "update_permissions": (Level.CAN_MANAGE, lambda service, who: service.update_permissions(who, "churn", {})),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("held", ["NONE", "CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"])
def test_each_use_needs_its_level(world: World, use: str, held: str) -> None:
    endpoint = world.deployed()
    (served,) = endpoint.active.served_entities if endpoint.active else ()
    signature = {"inputs": '[{"type": "double", "name": "a"}]'}
    world.service.save_resolved(served.id, ResolvedModel("/m", "0" * 64, "models:/churn/1", signature=signature))
    if held != "NONE":
        world.grant("churn", "bob", held)
    needed, act = USES[use]
    if held == "NONE":
        text = stays_the_same(world, NotFound, lambda: act(world.service, BOB))
        assert text in ("Endpoint with name 'churn' does not exist.", "Endpoint with id 'churn' does not exist.")
    elif Level[held] < needed:
        text = stays_the_same(world, PermissionDenied, lambda: act(world.service, BOB))
        assert f"bob has {held} on endpoint 'churn'; this needs {needed.name}" in text
    else:
        act(world.service, BOB)


@pytest.mark.parametrize("use", USES)
def test_hidden_endpoint_reads_as_one_that_is_not_there(world: World, use: str) -> None:
    missing = stays_the_same(world, NotFound, lambda: USES[use][1](world.service, BOB))
    world.deployed()
    assert stays_the_same(world, NotFound, lambda: USES[use][1](world.service, BOB)) == missing


def test_list_shows_what_one_may_see(world: World) -> None:
    world.deployed("a")
    world.deployed("b")
    world.grant("b", "bob", "CAN_VIEW")
    assert [endpoint.name for endpoint in world.service.list_endpoints(BOB)] == ["b"]
    assert [endpoint.name for endpoint in world.service.list_endpoints(ROOT)] == ["a", "b"]


def test_permission_that_is_lost_in_between_counts(world: World) -> None:
    """The second look is inside the transaction."""
    world.deployed()
    world.grant("churn", "bob", "CAN_MANAGE")
    service, store = world.service, world.store
    update = store.update_endpoint

    class Racing(MemoryStore):
        def update_endpoint(self, endpoint_id: EndpointId, change: Callable[[Endpoint], Endpoint]) -> Endpoint:
            service.set_permissions(ROOT, "churn", {})
            return update(endpoint_id, change)

    racing = Racing(_endpoints=store._endpoints)
    beaten = build_service(racing, Path(), now_ms=lambda: 0, new_id=lambda: "x", on_change=lambda: None)
    with pytest.raises(NotFound):
        beaten.update_config(BOB, "churn", CHURN_2)
    found = store.endpoint_named("churn")
    assert found is not None
    assert not found.is_updating


def test_update_keeps_serving_and_refuses_a_second(world: World) -> None:
    before = world.deployed()
    rolling = world.service.update_config(ROOT, "churn", CHURN_2)
    assert (rolling.active, rolling.ready, rolling.is_updating) == (before.active, Ready.READY, True)
    stays_the_same(world, Conflict, lambda: world.service.update_config(ROOT, "churn", CHURN))
    stays_the_same(world, Conflict, lambda: world.service.patch_telemetry(ROOT, "churn", {}))


def test_wrong_update_changes_nothing(world: World) -> None:
    world.deployed()
    text = stays_the_same(world, InvalidParameter, lambda: world.service.update_config(ROOT, "churn", {}))
    assert "served_entities: is missing" in text
    external = {"served_entities": [{"external_model": {"name": "x"}}]}
    stays_the_same(world, NotImplementedHere, lambda: world.service.update_config(ROOT, "churn", external))


LOCAL = {"served_entities": [{"entity_name": "/srv/models/churn", "name": "m"}]}
SECRET = {
    "served_entities": [
        {"entity_name": "churn", "entity_version": "1", "environment_vars": {"K": "{{secrets/prod/key}}"}}
    ]
}


def test_manager_may_not_reach_for_files_and_secrets(world: World) -> None:
    world.deployed()
    world.grant("churn", "bob", "CAN_MANAGE")
    for config, part in ((LOCAL, "only admins may serve a path"), (SECRET, "only admins may add a secret")):
        act = lambda config=config: world.service.update_config(BOB, "churn", config)  # noqa: E731
        assert part in stays_the_same(world, PermissionDenied, act)
    world.service.update_config(BOB, "churn", CHURN_2)


def test_manager_may_keep_the_files_and_secrets_that_are_there(world: World) -> None:
    both = {
        "served_entities": LOCAL["served_entities"] + SECRET["served_entities"],
        "traffic_config": {
            "routes": [
                {"served_entity_name": "m", "traffic_percentage": 50},
                {"served_entity_name": "churn-1", "traffic_percentage": 50},
            ]
        },
    }
    world.deployed(config=both)
    world.grant("churn", "bob", "CAN_MANAGE")
    both["traffic_config"]["routes"][0]["traffic_percentage"] = 20  # type: ignore[call-overload,index]
    both["traffic_config"]["routes"][1]["traffic_percentage"] = 80  # type: ignore[call-overload,index]
    assert world.service.update_config(BOB, "churn", both).is_updating


def test_stop_and_start(world: World) -> None:
    world.deployed()
    assert world.service.stop(ROOT, "churn").is_stopped
    text = stays_the_same(world, InvalidState, lambda: world.service.update_config(ROOT, "churn", CHURN_2))
    assert "is stopped" in text
    assert world.service.start(ROOT, "churn").last_config_version == 2


def test_delete_forgets_the_endpoint_and_frees_its_name(world: World) -> None:
    endpoint = world.deployed()
    world.service.delete_endpoint(ROOT, "churn")
    assert world.store.endpoints() == ()
    stays_the_same(world, NotFound, lambda: world.service.delete_endpoint(ROOT, "churn"))
    stays_the_same(world, NotFound, lambda: world.service.activate(endpoint.id, 1, 0))
    assert world.deployed().id != endpoint.id


def test_tags_are_set_then_deleted(world: World) -> None:
    world.deployed()
    body = {"add_tags": [{"key": "a", "value": "1"}, {"key": "b"}], "delete_tags": ["b", "none"]}
    assert world.service.patch_tags(ROOT, "churn", body).tags == {"a": "1"}
    again = {"add_tags": [{"key": "a", "value": "2"}, {"key": "c"}]}
    assert render.tags(world.service.patch_tags(ROOT, "churn", again)) == [{"key": "a", "value": "2"}, {"key": "c"}]
    stays_the_same(world, InvalidParameter, lambda: world.service.patch_tags(ROOT, "churn", {"delete_tags": [1]}))


def test_extras_are_replaced_and_cleared(world: World) -> None:
    world.deployed()
    limits = {"rate_limits": [{"calls": 5, "key": "user", "principal": "bob", "renewal_period": "minute"}]}
    assert world.service.put_ai_gateway(ROOT, "churn", limits).extras["ai_gateway"] == limits
    assert "ai_gateway" not in world.service.put_ai_gateway(ROOT, "churn", {}).extras
    telemetry = {"telemetry_config": {"table_names": {"logs_table": "a.b.c"}}}
    assert world.service.patch_telemetry(ROOT, "churn", telemetry).extras == telemetry
    assert world.service.patch_telemetry(ROOT, "churn", {}).extras == {}


@pytest.mark.parametrize("config", [{"guardrails": {"input": {"pii": 1}}}, {"fallback_config": {"enabled": True}}])
def test_protection_that_we_lack_is_not_pretended(world: World, config: object) -> None:
    world.deployed()
    stays_the_same(world, NotImplementedHere, lambda: world.service.put_ai_gateway(ROOT, "churn", config))


def test_grants_are_merged_or_replaced(world: World) -> None:
    endpoint = world.deployed()
    patch, put = world.service.update_permissions, world.service.set_permissions

    def acl(**levels: str) -> dict[str, Any]:
        return {
            "access_control_list": [{"user_name": name, "permission_level": level} for name, level in levels.items()]
        }

    def levels(endpoint: Endpoint) -> dict[str, str]:
        return {grant.name: grant.level.name for grant in endpoint.grants}

    patch(ROOT, endpoint.id, acl(bob="CAN_VIEW", eve="CAN_QUERY"))
    changed = patch(ROOT, endpoint.id, acl(bob="CAN_MANAGE"))
    assert levels(changed) == {"bob": "CAN_MANAGE", "eve": "CAN_QUERY"}
    assert levels(put(BOB, "churn", acl(eve="CAN_VIEW"))) == {"eve": "CAN_VIEW"}
    assert levels(put(ROOT, endpoint.id, {})) == {}


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ({"permission_level": "CAN_VIEW"}, "give one of user_name"),
        ({"user_name": "a", "group_name": "b", "permission_level": "CAN_VIEW"}, "give one of user_name"),
        ({"user_name": "a", "permission_level": "NONE"}, "expected one of CAN_VIEW"),
        ({"user_name": "a"}, "expected one of CAN_VIEW"),
        ({"user_name": "", "permission_level": "CAN_VIEW"}, "user_name: is missing"),
    ],
)
def test_wrong_grants_are_refused(world: World, line: dict[str, str], part: str) -> None:
    world.deployed()
    acl = {"access_control_list": [line]}
    text = stays_the_same(world, InvalidParameter, lambda: world.service.set_permissions(ROOT, "churn", acl))
    assert part in text


def test_everybody_with_a_token_is_in_users(world: World) -> None:
    world.deployed()
    acl = {"access_control_list": [{"group_name": "users", "permission_level": "CAN_QUERY"}]}
    world.service.set_permissions(ROOT, "churn", acl)
    assert world.service.get_endpoint(BOB, "churn", Level.CAN_QUERY)


def test_failed_update_shows_its_reason_where_clients_look(world: World) -> None:
    endpoint = world.deployed()
    rolling = world.service.update_config(ROOT, "churn", CHURN_2)
    assert rolling.pending is not None
    (new,) = rolling.pending.served_entities
    world.service.fail(endpoint.id, 2, {new.id: EntityStatus(Deployment.FAILED, "no such version")})
    shown = render.detailed(world.service.get_endpoint(ROOT, "churn"), Level.CAN_MANAGE)
    assert shown["state"] == {"ready": "READY", "config_update": "UPDATE_FAILED", "suspend": "NOT_SUSPENDED"}
    assert shown["config"]["config_version"] == 1
    (pending,) = shown["pending_config"]["served_entities"]
    assert pending["state"] == {"deployment": "DEPLOYMENT_FAILED", "deployment_state_message": "no such version"}
    assert world.service.get_served_entity(ROOT, "churn", "churn-2").id == new.id
    assert world.service.get_served_entity(ROOT, "churn", "churn-1").id != new.id
    stays_the_same(world, NotFound, lambda: world.service.get_served_entity(ROOT, "churn", "churn-2", 1))
    stays_the_same(world, NotFound, lambda: world.service.get_served_entity(ROOT, "churn", "other"))


def test_reconciler_does_not_wake_itself(world: World) -> None:
    endpoint = world.deployed()
    changes = world.changes
    assert endpoint.active is not None
    entity_id = endpoint.active.served_entities[0].id
    world.service.set_entity_status(endpoint.id, {entity_id: EntityStatus(Deployment.RECOVERING, "x")})
    world.service.save_resolved(entity_id, RESOLVED)
    world.service.next_table_version()
    assert world.changes == changes


def test_prune_keeps_what_a_config_names(world: World) -> None:
    endpoint = world.deployed()
    rolling = world.service.update_config(ROOT, "churn", CHURN_2)
    assert endpoint.active is not None
    assert rolling.pending is not None
    old, new = endpoint.active.served_entities[0].id, rolling.pending.served_entities[0].id
    for entity_id in (old, new, ServedEntityId("gone")):
        world.service.save_resolved(entity_id, RESOLVED)
    world.service.prune_resolved()
    assert set(world.service.resolved()) == {old, new}
    world.service.activate(endpoint.id, 2, 5)
    world.service.prune_resolved()
    assert set(world.service.resolved()) == {new}


def test_secrets_are_filled_in_for_the_worker_only(world: World) -> None:
    secrets = world.service.secret_service
    endpoint = world.deployed(config=SECRET)
    assert endpoint.active is not None
    (served,) = endpoint.active.served_entities
    with pytest.raises(DeploymentFailed, match="'key' in scope 'prod', which environment variable K refers to"):
        world.service.resolve_environment(served)
    secrets.create_scope(ROOT, {"scope": "prod"})
    secrets.put(ROOT, {"scope": "prod", "key": "key", "string_value": "sesame"})
    assert world.service.resolve_environment(served) == {"K": "sesame"}
    assert "sesame" not in str(render.detailed(endpoint, Level.CAN_MANAGE))


def test_what_is_read_can_be_sent_again_and_changes_nothing(world: World) -> None:
    config = {
        "served_entities": [
            {"entity_name": "churn", "entity_version": "1", "min_provisioned_concurrency": 4},
            {"entity_name": "models:/churn@new", "workload_size": "Medium", "scale_to_zero_enabled": True},
        ],
        "traffic_config": {
            "routes": [
                {"served_entity_name": "churn-1", "traffic_percentage": 99.5},
                {"served_entity_name": "churn-new", "traffic_percentage": 0.5},
            ]
        },
        "auto_capture_config": {"catalog_name": "c", "schema_name": "s", "enabled": True},
    }
    endpoint = world.deployed(config=config)
    read = render.detailed(endpoint, Level.CAN_MANAGE)["config"]
    again = world.service.update_config(ROOT, "churn", read)
    assert endpoint.active is not None
    assert again.pending is not None
    # An alias may have moved, so its workers are new; what is wanted is the same.
    same = [replace(one, id=ServedEntityId("")) for one in endpoint.active.served_entities]
    assert [replace(one, id=ServedEntityId("")) for one in again.pending.served_entities] == same
    assert again.pending.served_entities[0].id == endpoint.active.served_entities[0].id
    assert again.pending.routes == endpoint.active.routes
    assert again.pending.auto_capture == endpoint.active.auto_capture


def test_a_token_that_expires_cannot_make_one_that_outlives_it() -> None:
    store, now = MemoryStore(), [1_000_000]
    service = TokenService(store, lambda: now[0], lambda: None)
    text = service.create(ROOT, {"principal": "bob", "lifetime_seconds": 60})["token_value"]
    bob = authenticate(text, store.tokens(), now[0])
    for asked in ({}, {"lifetime_seconds": 3600}):
        made = service.create(bob, asked)["token_info"]
        assert made["expiry_time"] <= now[0] + 60_000
    assert service.create(bob, {"lifetime_seconds": 5})["token_info"]["expiry_time"] == now[0] + 5_000
