"""Renders endpoints as the JSON of the Databricks serving API. Pure.

Values are echoed as they were normalised, so that what a client reads back and sends again changes nothing.
Environment variables are echoed with their secret references; secret values are not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tallystick.auth import ADMINS
from tallystick.control.config_request import percentage
from tallystick.control.lifecycle import CREATING
from tallystick.entities import Endpoint, EndpointConfig, EntityStatus, Grant, Level, ServedEntity

#: Tells how the table stands that invocations answered by a config go to; None where there is none.
PayloadTableOf = Callable[[EndpointConfig], dict[str, str] | None]

#: What each level is for, as `permissionLevels` tells it.
LEVELS = {
    Level.CAN_VIEW: "Can see the endpoint and its config",
    Level.CAN_QUERY: "Can see the endpoint and invoke it",
    Level.CAN_MANAGE: "Can see, invoke, change, stop and delete the endpoint, and say who may",
}


def detailed(
    endpoint: Endpoint, level: Level, base_url: str = "", payload_table: PayloadTableOf = lambda _config: None
) -> dict[str, Any]:
    """Return a whole endpoint (`ServingEndpointDetailed`), `level` being the caller's own.

    A config that is being rolled out, or failed to, is the `pending_config`: its served entities say why.
    """
    body = _head(endpoint, level) | {"tags": tags(endpoint)} | endpoint.extras
    if base_url:
        body["endpoint_url"] = f"{base_url.rstrip('/')}/serving-endpoints/{endpoint.name}/invocations"
    if endpoint.active:
        body["config"] = _config(endpoint, endpoint.active, payload_table)
    if latest := endpoint.pending or endpoint.failed:
        body["pending_config"] = _config(endpoint, latest, payload_table) | {"start_time": latest.start_time_ms}
    return body


def summary(endpoint: Endpoint, level: Level) -> dict[str, Any]:
    """Return an endpoint as it is listed: the names of what it serves, no traffic, no pending config."""
    body = _head(endpoint, level)
    served = endpoint.active.served_entities if endpoint.active else ()
    body["config"] = (
        {
            "served_entities": [
                _without_none(
                    {
                        "name": entity.name,
                        "entity_name": entity.entity_name,
                        "entity_version": entity.entity_version,
                    }
                )
                for entity in served
            ],
            "served_models": [
                _without_none(
                    {"name": entity.name, "model_name": entity.entity_name, "model_version": entity.entity_version}
                )
                for entity in served
            ],
        }
        if served
        else {}
    )
    return body | ({"tags": tags(endpoint)} if endpoint.tags else {})


def tags(endpoint: Endpoint) -> list[dict[str, str]]:
    """Return the tags, by key."""
    return [_without_none({"key": key, "value": value}) for key, value in sorted(endpoint.tags.items())]


def access_control_list(endpoint: Endpoint) -> dict[str, Any]:
    """Return who may do what: admins and the creator as the rules have it, others as granted."""
    admins = _permission("group_name", ADMINS, Level.CAN_MANAGE, ["/serving-endpoints/"])
    grants = [grant for grant in endpoint.grants if (grant.kind, grant.name) != ("user_name", endpoint.creator)]
    creator = Grant("user_name", endpoint.creator, Level.CAN_MANAGE)
    return {
        "object_id": f"/serving-endpoints/{endpoint.id}",
        "object_type": "serving-endpoint",
        "access_control_list": [
            *(_permission(grant.kind, grant.name, grant.level) for grant in (creator, *grants)),
            admins,
        ],
    }


def permission_levels() -> dict[str, Any]:
    """Return the levels that can be granted."""
    return {
        "permission_levels": [{"permission_level": level.name, "description": text} for level, text in LEVELS.items()]
    }


def _head(endpoint: Endpoint, level: Level) -> dict[str, Any]:
    return {
        "name": endpoint.name,
        "id": endpoint.id,
        "creator": endpoint.creator,
        "creation_timestamp": endpoint.creation_timestamp_ms,
        "last_updated_timestamp": endpoint.last_updated_timestamp_ms,
        "description": endpoint.description,
        "route_optimized": endpoint.route_optimized,
        "permission_level": level.name,
        "state": {
            "ready": endpoint.ready.value,
            "config_update": endpoint.config_update.value,
            "suspend": "STOPPED" if endpoint.is_stopped else "NOT_SUSPENDED",
        },
    }


def _config(endpoint: Endpoint, config: EndpointConfig, payload_table: PayloadTableOf) -> dict[str, Any]:
    entities = [_entity(entity, endpoint.entity_status.get(entity.id, CREATING)) for entity in config.served_entities]
    auto_capture = config.auto_capture
    if auto_capture is not None and (table := payload_table(config)) is not None:
        auto_capture = auto_capture | {"state": {"payload_table": table}}
    return _without_none(
        {
            "served_entities": entities,
            "served_models": [_as_served_model(entity) for entity in entities],
            "traffic_config": {
                "routes": [
                    {
                        "served_entity_name": route.served_entity_name,
                        "served_model_name": route.served_entity_name,
                        "traffic_percentage": percentage(route.share_slots),
                    }
                    for route in config.routes
                ]
            },
            "auto_capture_config": auto_capture,
            "config_version": config.version,
        }
    )


def _entity(entity: ServedEntity, status: EntityStatus) -> dict[str, Any]:
    # The size as it was asked for: a client that sees numbers it did not send reports a change.
    if entity.workload_size is None:
        size: dict[str, Any] = {
            "min_provisioned_concurrency": entity.min_concurrency,
            "max_provisioned_concurrency": entity.max_concurrency,
        }
    else:
        size = {"workload_size": entity.workload_size}
    return _without_none(
        {
            "id": entity.id,
            "name": entity.name,
            "entity_name": entity.entity_name,
            "entity_version": entity.entity_version,
            **size,
            "workload_type": entity.workload_type,
            "scale_to_zero_enabled": entity.scale_to_zero_enabled,
            "environment_vars": entity.environment_vars or None,
            "creator": entity.creator,
            "creation_timestamp": entity.creation_timestamp_ms,
            "state": {"deployment": status.state.value, "deployment_state_message": status.message},
        }
    )


def _as_served_model(entity: dict[str, Any]) -> dict[str, Any]:
    spelled = {"entity_name": "model_name", "entity_version": "model_version"}
    return {spelled.get(key, key): value for key, value in entity.items()}


def _permission(kind: str, name: str, level: Level, inherited_from: list[str] | None = None) -> dict[str, Any]:
    permission: dict[str, Any] = {"permission_level": level.name, "inherited": inherited_from is not None}
    if inherited_from is not None:
        permission["inherited_from_object"] = inherited_from
    return {kind: name, "display_name": name, "all_permissions": [permission]}


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
