"""The route table that the gateways should have, from the endpoints. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from tallystick.auth import StoredToken
from tallystick.control.capture import capture_of
from tallystick.control.parity import settings_of
from tallystick.control.plan import replica_id
from tallystick.entities import Endpoint, EndpointConfig, EndpointId, ResolvedModel, ServedEntity, ServedEntityId
from tallystick.protocol.routes import (
    EndpointRoute,
    EndpointState,
    EntityRoute,
    ParityRoute,
    RateLimit,
    Replica,
    RouteTable,
)


def desired_routes(
    endpoints: Iterable[Endpoint],
    tokens: Mapping[str, StoredToken],
    promoted: Mapping[EndpointId, int],
    *,
    place: Callable[[str], Replica],
    timeout_s: float,
    queue_per_concurrency: int,
    inference_tables: bool = True,
    reachable: Collection[ServedEntityId] = (),
    resolved: Mapping[ServedEntityId, ResolvedModel] | None = None,
) -> RouteTable:
    """Return the table, with version 0: who publishes it gives it one.

    `place` says where the worker of a replica id listens; without `inference_tables` nothing is recorded. Served
    entities of `reachable` that are to be routed can be asked by replays of golden rows. `resolved` are the models that
    workers have found.
    """
    models = resolved or {}

    def entity_route(entity: ServedEntity, config: EndpointConfig) -> EntityRoute:
        share = next((r.share_slots for r in config.routes if r.served_entity_name == entity.name), 0)
        return EntityRoute(
            id=entity.id,
            name=entity.name,
            model_name=entity.entity_name,
            model_version=entity.entity_version or "",
            share_slots=share,
            replicas=tuple(place(replica_id(entity, number)) for number in range(entity.workers)),
            concurrency=entity.max_concurrency,
            queue_limit=entity.max_concurrency * queue_per_concurrency,
            timeout_s=entity.options.request_timeout_s or timeout_s,
            enforcement=entity.options.enforcement,
            scale_to_zero=entity.scale_to_zero_enabled,
            digest=models[entity.id].digest if entity.id in models else "",
        )

    routes = {}
    for endpoint in endpoints:
        config = routed_config(endpoint, promoted)
        state = EndpointState.SERVING if config else EndpointState.NOT_DEPLOYED
        routes[endpoint.name] = EndpointRoute(
            id=endpoint.id,
            name=endpoint.name,
            creator=endpoint.creator,
            state=EndpointState.STOPPED if endpoint.is_stopped else state,
            config_version=config.version if config else 0,
            entities=tuple(entity_route(entity, config) for entity in config.served_entities)
            if config is not None and not endpoint.is_stopped
            else (),
            grants=endpoint.grants,
            rate_limits=tuple(_rate_limits(endpoint.extras)),
            capture=capture_of(endpoint, config, default_on=inference_tables),
            parity=_parity(endpoint),
            pending=tuple(
                entity_route(entity, endpoint.pending)
                for entity in _not_routed(endpoint, config)
                if entity.id in reachable and endpoint.pending is not None
            ),
        )
    return RouteTable(0, routes, dict(tokens))


def _not_routed(endpoint: Endpoint, routed: EndpointConfig | None) -> Iterable[ServedEntity]:
    """Return the served entities of the config that is being rolled out that no gateway routes to."""
    if endpoint.pending is None or not endpoint.is_updating or endpoint.is_stopped:
        return ()
    known = {entity.id for entity in routed.served_entities} if routed is not None else set()
    return [entity for entity in endpoint.pending.served_entities if entity.id not in known]


def routed_config(endpoint: Endpoint, promoted: Mapping[EndpointId, int]) -> EndpointConfig | None:
    """Return the config that invocations should be answered by."""
    if endpoint.pending is not None and promoted.get(endpoint.id) == endpoint.pending.version:
        return endpoint.pending
    return endpoint.active


def _parity(endpoint: Endpoint) -> ParityRoute:
    settings = settings_of(endpoint)
    return ParityRoute(monitor=settings["monitor"], webhook=settings["webhook"], key=settings["key"])


def _rate_limits(extras: Mapping[str, Any]) -> Iterable[RateLimit]:
    gateway = extras.get("ai_gateway") or {}
    for limit in [*(extras.get("rate_limits") or []), *(gateway.get("rate_limits") or [])]:
        if limit.get("calls") is not None:
            yield RateLimit(int(limit["calls"]), limit.get("key") or "endpoint", limit.get("principal") or "")
