"""Which state of an endpoint follows from which event. Pure: endpoint in, endpoint out, or a refusal.

A config goes pending -> active, or pending -> failed; versions only grow:

| event | wants | config_update | active | pending | failed |
|---|---|---|---|---|---|
| update, start | not updating | IN_PROGRESS | as it was | the new one | none |
| activate | pending of that version | NOT_UPDATING | the pending one | none | none |
| fail, something is active | pending of that version | UPDATE_FAILED | as it was | none | the pending one |
| fail, nothing is active | pending of that version | UPDATE_FAILED | none | as it was | none |
| stop | active, not updating | NOT_UPDATING | as it was | none | none |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from tallystick.control.config_request import RequestedConfig
from tallystick.entities import (
    ConfigUpdate,
    Deployment,
    Endpoint,
    EndpointConfig,
    EntityStatus,
    Route,
    ServedEntity,
    ServedEntityId,
)
from tallystick.errors import Conflict, InvalidState

CREATING = EntityStatus(Deployment.CREATING, "Creating resources for served entity.")
READY = EntityStatus(Deployment.READY)


def with_update(
    endpoint: Endpoint, requested: RequestedConfig, by: str, now_ms: int, new_id: Callable[[], str]
) -> Endpoint:
    """Return the endpoint with a new config to roll out.

    A served entity that runs the same as the active one of its name keeps its id, and so its workers. A config that
    repeats the active one word for word is a wish to deploy again, so aliases, folders and files are fetched anew; so
    is, whatever it is, a served entity of which that is said and nothing else is new (a version may have been given a
    reference). With a new id it is a deployment like any other: the old workers serve until its own came through.
    """
    _refuse_while_updating(endpoint)
    if endpoint.is_stopped:
        raise InvalidState(f"Endpoint '{endpoint.name}' is stopped. Start it (config:start), then update its config.")
    entities = tuple(_adopted(entity, endpoint.active, by, now_ms, new_id) for entity in requested.served_entities)
    if endpoint.active is not None and _repeats(endpoint.active, entities, requested.routes):
        entities = tuple(
            replace(entity, id=ServedEntityId(new_id())) if entity.may_have_moved else entity for entity in entities
        )
    same = endpoint.active.served_entities if endpoint.active is not None else ()
    entities = tuple(
        replace(entity, id=ServedEntityId(new_id()))
        if entity.name in requested.fetch_anew and entity in same
        else entity
        for entity in entities
    )
    return _with_pending(endpoint, entities, requested, now_ms)


def started(endpoint: Endpoint, now_ms: int) -> Endpoint:
    """Return a stopped endpoint with its config to roll out again, as a new version; others as they are."""
    if not endpoint.is_stopped or endpoint.active is None:
        return endpoint
    active = endpoint.active
    same = RequestedConfig(active.served_entities, active.routes, active.auto_capture)
    # No worker runs any more, whatever was last seen of them.
    woken = replace(endpoint, is_stopped=False, entity_status={})
    return _with_pending(woken, active.served_entities, same, now_ms)


def stopped(endpoint: Endpoint, by: str, now_ms: int) -> Endpoint:
    """Return the endpoint without a wish for workers; one that is stopped already as it is."""
    if endpoint.is_stopped:
        return endpoint
    _refuse_while_updating(endpoint)
    if endpoint.active is None:
        raise InvalidState(f"Endpoint '{endpoint.name}' was never deployed; there is nothing to stop.")
    status = EntityStatus(Deployment.ABORTED, f"Stopped by {by}.")
    return replace(
        endpoint,
        is_stopped=True,
        failed=None,
        config_update=ConfigUpdate.NOT_UPDATING,
        last_updated_timestamp_ms=now_ms,
        entity_status={entity.id: status for entity in endpoint.active.served_entities},
    )


def activated(endpoint: Endpoint, config_version: int, now_ms: int) -> Endpoint:
    """Return the endpoint with its pending config as the active one; as it is, when it already is.

    Raises Conflict when this version is not the one being rolled out.
    """
    if endpoint.active is not None and endpoint.active.version == config_version and endpoint.pending is None:
        return endpoint
    pending = _pending(endpoint, config_version)
    # It serves, so what was still being created is there. A worker that fell since keeps its state.
    status = {entity.id: endpoint.entity_status.get(entity.id, CREATING) for entity in pending.served_entities}
    return replace(
        endpoint,
        active=pending,
        pending=None,
        failed=None,
        config_update=ConfigUpdate.NOT_UPDATING,
        last_updated_timestamp_ms=now_ms,
        entity_status={
            entity_id: READY if found.state is Deployment.CREATING else found for entity_id, found in status.items()
        },
    )


def failed(endpoint: Endpoint, config_version: int, statuses: Mapping[str, EntityStatus]) -> Endpoint:
    """Return the endpoint after its pending config could not be brought up.

    `statuses`, by served entity id, say why. What serves is not touched: neither the active config nor the
    status of a served entity that is READY. Raises Conflict when this version is not the one being rolled out.
    """
    pending = _pending(endpoint, config_version)
    has_active = endpoint.active is not None
    serving = _ids(endpoint.active)
    status = dict(endpoint.entity_status)
    for entity in pending.served_entities:
        known = status.get(entity.id, CREATING)
        if entity.id in serving and known.state is Deployment.READY:
            continue
        if entity.id in statuses:
            status[entity.id] = statuses[entity.id]
        elif known.state is Deployment.CREATING:
            status[entity.id] = EntityStatus(Deployment.ABORTED, "Another served entity of this config failed.")
    return replace(
        endpoint,
        pending=None if has_active else pending,
        failed=pending if has_active else None,
        config_update=ConfigUpdate.UPDATE_FAILED,
        entity_status=status,
    )


def with_statuses(endpoint: Endpoint, statuses: Mapping[str, EntityStatus]) -> Endpoint:
    """Return the endpoint with newly seen states of served entities; ids that it no longer has are left out."""
    known = _ids(endpoint.active) | _ids(endpoint.pending) | _ids(endpoint.failed)
    seen = {entity_id: status for entity_id, status in statuses.items() if entity_id in known}
    return replace(endpoint, entity_status=endpoint.entity_status | seen)


def _with_pending(
    endpoint: Endpoint, entities: tuple[ServedEntity, ...], requested: RequestedConfig, now_ms: int
) -> Endpoint:
    version = endpoint.last_config_version + 1
    pending = EndpointConfig(version, entities, requested.routes, now_ms, requested.auto_capture)
    kept = {key: found for key, found in endpoint.entity_status.items() if key in _ids(endpoint.active)}
    fresh = {entity.id: CREATING for entity in entities if entity.id not in kept}
    return replace(
        endpoint,
        pending=pending,
        failed=None,
        config_update=ConfigUpdate.IN_PROGRESS,
        last_config_version=version,
        last_updated_timestamp_ms=now_ms,
        entity_status=kept | fresh,
    )


def _adopted(
    entity: ServedEntity, active: EndpointConfig | None, by: str, now_ms: int, new_id: Callable[[], str]
) -> ServedEntity:
    current = active.entity_named(entity.name) if active else None
    if current is not None and entity.runs_the_same_as(current):
        return replace(
            entity,
            id=current.id,
            creator=current.creator,
            creation_timestamp_ms=current.creation_timestamp_ms,
        )
    return replace(entity, id=ServedEntityId(new_id()), creator=by, creation_timestamp_ms=now_ms)


def _repeats(active: EndpointConfig, entities: Iterable[ServedEntity], routes: Iterable[Route]) -> bool:
    by_name = {entity.name: entity for entity in entities}
    return by_name == {entity.name: entity for entity in active.served_entities} and set(routes) == set(active.routes)


def _refuse_while_updating(endpoint: Endpoint) -> None:
    if endpoint.is_updating:
        version = endpoint.last_config_version
        raise Conflict(
            f"Endpoint '{endpoint.name}' is currently updating, to config version {version}. Wait until "
            "state.config_update is no longer IN_PROGRESS."
        )


def _pending(endpoint: Endpoint, config_version: int) -> EndpointConfig:
    pending = endpoint.pending
    if pending is None or not endpoint.is_updating or pending.version != config_version:
        raise Conflict(f"Endpoint '{endpoint.name}' is not updating to config version {config_version}.")
    return pending


def _ids(config: EndpointConfig | None) -> set[str]:
    return {entity.id for entity in config.served_entities} if config else set()
