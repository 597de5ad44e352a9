"""Which state follows from which event, and that a refused event changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tallystick.control import lifecycle
from tallystick.control.config_request import RequestedConfig
from tallystick.entities import (
    ConfigUpdate,
    Deployment,
    Endpoint,
    EndpointId,
    EntityStatus,
    Ready,
    Route,
    ServedEntity,
    entity,
)
from tallystick.errors import Conflict, InvalidState

IDLE = Endpoint(EndpointId("e"), "churn", "root", 0, 0)
FAILED = EntityStatus(Deployment.FAILED, "no such model")


def ids() -> Callable[[], str]:
    numbers = iter(range(1000))
    return lambda: f"id-{next(numbers)}"


NEW_ID = ids()


def wanting(*entities: ServedEntity) -> RequestedConfig:
    return RequestedConfig(entities, tuple(Route(one.name, 10_000 // len(entities)) for one in entities))


def updated(endpoint: Endpoint, *entities: ServedEntity, by: str = "root", now_ms: int = 1) -> Endpoint:
    return lifecycle.with_update(endpoint, wanting(*entities), by, now_ms, NEW_ID)


def serving(*entities: ServedEntity) -> Endpoint:
    rolling = updated(IDLE, *entities)
    return lifecycle.activated(rolling, rolling.last_config_version, 2)


def test_first_config_is_pending_until_it_serves() -> None:
    rolling = updated(IDLE, entity("churn", "1"))
    assert rolling.active is None
    assert rolling.pending is not None
    assert rolling.pending.version == 1
    assert (rolling.ready, rolling.config_update) == (Ready.NOT_READY, ConfigUpdate.IN_PROGRESS)
    done = lifecycle.activated(rolling, 1, 9)
    assert done.active == rolling.pending
    assert done.pending is None
    assert (done.ready, done.config_update) == (Ready.READY, ConfigUpdate.NOT_UPDATING)
    assert done.last_updated_timestamp_ms == 9


def test_first_failure_keeps_the_config_pending_with_its_reason() -> None:
    rolling = updated(IDLE, entity("churn", "1"), entity("churn", "2"))
    assert rolling.pending is not None
    first, second = rolling.pending.served_entities
    lost = lifecycle.failed(rolling, 1, {first.id: FAILED})
    assert (lost.ready, lost.config_update) == (Ready.NOT_READY, ConfigUpdate.UPDATE_FAILED)
    assert (lost.active, lost.pending, lost.failed) == (None, rolling.pending, None)
    assert lost.entity_status[first.id] == FAILED
    assert lost.entity_status[second.id].state is Deployment.ABORTED


def test_new_config_is_taken_after_a_first_failure() -> None:
    rolling = updated(IDLE, entity("churn", "1"))
    again = updated(lifecycle.failed(rolling, 1, {}), entity("churn", "1"))
    assert again.pending is not None
    assert rolling.pending is not None
    assert again.pending.version == 2
    assert again.pending.served_entities[0].id != rolling.pending.served_entities[0].id
    assert set(again.entity_status) == {again.pending.served_entities[0].id}


def test_later_failure_leaves_what_serves_untouched() -> None:
    before = serving(entity("churn", "1"))
    rolling = updated(before, entity("churn", "1"), entity("churn", "2"))
    assert before.active is not None
    assert rolling.pending is not None
    kept, new = rolling.pending.served_entities
    lost = lifecycle.failed(rolling, 2, {new.id: FAILED, kept.id: FAILED})
    assert (lost.active, lost.pending, lost.failed) == (before.active, None, rolling.pending)
    assert (lost.ready, lost.config_update) == (Ready.READY, ConfigUpdate.UPDATE_FAILED)
    assert lost.entity_status[kept.id].state is Deployment.READY
    assert lost.entity_status[new.id] == FAILED


def test_next_update_forgets_the_failed_one() -> None:
    rolling = updated(serving(entity("churn", "1")), entity("churn", "2"))
    again = updated(lifecycle.failed(rolling, 2, {}), entity("churn", "3"))
    assert again.failed is None
    assert again.pending is not None
    assert again.pending.version == 3
    done = lifecycle.activated(again, 3, 5)
    assert done.active is not None
    assert set(done.entity_status) == {one.id for one in done.active.served_entities}


def test_second_update_waits_for_the_first() -> None:
    rolling = updated(IDLE, entity("churn", "1"))
    with pytest.raises(Conflict, match="currently updating"):
        updated(rolling, entity("churn", "2"))


def test_served_entity_that_runs_the_same_keeps_its_id() -> None:
    before = serving(entity("churn", "1"), entity("models:/churn@champion"))
    wider = replace(entity("churn", "1"), max_concurrency=16)
    rolling = updated(before, wider, entity("models:/churn@champion"), by="bob", now_ms=50)
    assert before.active is not None
    assert rolling.pending is not None
    for old, new in zip(before.active.served_entities, rolling.pending.served_entities, strict=True):
        assert (new.id, new.creator, new.creation_timestamp_ms) == (old.id, "root", 1)
    assert rolling.pending.served_entities[0].max_concurrency == 16


@pytest.mark.parametrize(
    "changed",
    [
        entity("churn", "2", name="churn-1"),
        entity("churn", "1", name="other"),
        entity("churn", "1", environment_vars={"A": "1"}),
        entity("churn", "1", workload_type="GPU_SMALL"),
    ],
)
def test_served_entity_that_runs_differently_gets_an_id_of_its_own(changed: ServedEntity) -> None:
    before = serving(entity("churn", "1"))
    rolling = updated(before, changed, by="bob", now_ms=50)
    assert before.active is not None
    assert rolling.pending is not None
    (new,) = rolling.pending.served_entities
    assert new.id != before.active.served_entities[0].id
    assert (new.creator, new.creation_timestamp_ms) == ("bob", 50)


def test_a_config_said_again_fetches_anew_what_may_have_moved_and_nothing_else() -> None:
    pinned, alias, file = entity("churn", "1"), entity("models:/churn@best"), entity("/srv/model.py")
    endpoint = serving(pinned, alias, file)
    again = updated(endpoint, pinned, alias, file)
    assert again.pending is not None
    kept = {one.id for one in endpoint.active.served_entities} & {one.id for one in again.pending.served_entities}
    assert kept == {endpoint.active.served_entities[0].id}


def test_a_version_is_fetched_anew_where_that_is_said_and_nothing_else_is_new() -> None:
    one, other = entity("churn", "1"), entity("churn", "2")
    endpoint = serving(one, other)
    first, second = endpoint.active.served_entities
    wanted = replace(wanting(one, other), fetch_anew=frozenset({one.name}))
    again = lifecycle.with_update(endpoint, wanted, "root", 3, NEW_ID)
    (new, kept) = again.pending.served_entities
    assert (new.id != first.id, new.name, kept.id) == (True, first.name, second.id)
    assert again.active == endpoint.active
    larger = replace(wanting(replace(one, max_concurrency=16), other), fetch_anew=frozenset({one.name}))
    grown = lifecycle.with_update(endpoint, larger, "root", 3, NEW_ID)
    assert [each.id for each in grown.pending.served_entities] == [first.id, second.id]


def test_a_change_of_weights_alone_keeps_the_workers_of_an_alias() -> None:
    endpoint = serving(entity("models:/churn@best"), entity("churn", "1"))
    first, second = endpoint.active.served_entities
    shares = (Route(first.name, 9_000), Route(second.name, 1_000))
    moved = lifecycle.with_update(endpoint, RequestedConfig((first, second), shares), "root", 3, NEW_ID)
    assert [one.id for one in moved.pending.served_entities] == [first.id, second.id]


def test_activation_is_for_the_version_that_is_rolled_out_only() -> None:
    rolling = updated(serving(entity("churn", "1")), entity("churn", "2"))
    for version in (1, 3):
        with pytest.raises(Conflict):
            lifecycle.activated(rolling, version, 9)
        with pytest.raises(Conflict):
            lifecycle.failed(rolling, version, {})


def test_activation_and_stop_can_be_repeated() -> None:
    done = serving(entity("churn", "1"))
    assert lifecycle.activated(done, 1, 99) == done
    halted = lifecycle.stopped(done, "root", 5)
    assert lifecycle.stopped(halted, "bob", 6) == halted
    woken = lifecycle.started(halted, 7)
    assert lifecycle.started(woken, 8) == woken


def test_failed_config_is_not_activated_late() -> None:
    lost = lifecycle.failed(updated(IDLE, entity("churn", "1")), 1, {})
    with pytest.raises(Conflict):
        lifecycle.activated(lost, 1, 9)


def test_activation_keeps_what_fell_since() -> None:
    rolling = updated(IDLE, entity("churn", "1"))
    assert rolling.pending is not None
    fallen = EntityStatus(Deployment.RECOVERING, "worker died")
    seen = lifecycle.with_statuses(rolling, {rolling.pending.served_entities[0].id: fallen})
    done = lifecycle.activated(seen, 1, 9)
    assert list(done.entity_status.values()) == [fallen]
    assert done.ready is Ready.NOT_READY


def test_stopped_endpoint_keeps_its_config_and_starts_as_a_new_version() -> None:
    done = serving(entity("churn", "1"))
    halted = lifecycle.stopped(done, "bob", 5)
    assert halted.is_stopped
    assert (halted.ready, halted.active) == (Ready.NOT_READY, done.active)
    assert [status.message for status in halted.entity_status.values()] == ["Stopped by bob."]
    woken = lifecycle.started(halted, 7)
    assert not woken.is_stopped
    assert woken.active is not None
    assert woken.pending is not None
    assert (woken.ready, woken.config_update) == (Ready.NOT_READY, ConfigUpdate.IN_PROGRESS)
    assert woken.pending == replace(woken.active, version=2, start_time_ms=7)
    assert lifecycle.activated(woken, 2, 8).ready is Ready.READY


def test_failed_start_shows_why() -> None:
    woken = lifecycle.started(lifecycle.stopped(serving(entity("churn", "1")), "bob", 5), 7)
    assert woken.pending is not None
    lost = lifecycle.failed(woken, 2, {woken.pending.served_entities[0].id: FAILED})
    assert list(lost.entity_status.values()) == [FAILED]
    assert (lost.ready, lost.config_update) == (Ready.NOT_READY, ConfigUpdate.UPDATE_FAILED)
    assert updated(lost, entity("churn", "2")).is_updating


@pytest.mark.parametrize("endpoint", [IDLE, lifecycle.failed(updated(IDLE, entity("churn", "1")), 1, {})])
def test_what_never_served_cannot_be_stopped(endpoint: Endpoint) -> None:
    with pytest.raises(InvalidState, match="never deployed"):
        lifecycle.stopped(endpoint, "root", 5)


def test_updating_endpoint_cannot_be_stopped() -> None:
    with pytest.raises(Conflict):
        lifecycle.stopped(updated(serving(entity("churn", "1")), entity("churn", "2")), "root", 5)


def test_stopped_endpoint_is_started_before_it_is_updated() -> None:
    with pytest.raises(InvalidState, match="Start it"):
        updated(lifecycle.stopped(serving(entity("churn", "1")), "root", 5), entity("churn", "2"))


def test_status_of_what_is_gone_is_not_kept() -> None:
    done = serving(entity("churn", "1"))
    assert lifecycle.with_statuses(done, {"gone": FAILED}) == done
