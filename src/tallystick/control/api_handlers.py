"""What each control route does: request in, use case of the service, JSON object out. No HTTP, no rules here.

A handler runs in a thread. What it returns to be awaited (logs, status) is awaited on the event loop.
"""

# ruff: noqa: D103  the route table says it

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Protocol

from tallystick.auth import ADMINS, EVERYONE, Principal
from tallystick.control import capture, render
from tallystick.control.fields import as_integer
from tallystick.control.service import Service, level
from tallystick.entities import Endpoint, EndpointConfig, ServedEntityId
from tallystick.errors import InvalidParameter, NotImplementedHere

#: A flush takes as long as a commit of what waits, a second or two.
_FLUSH_TIMEOUT_S = 10.0


class LogSource(Protocol):
    """Where the texts of logs are."""

    async def build_log(self, entity_id: ServedEntityId) -> str:
        """Return how a served entity was brought up: model, environment, checks, and what went wrong."""

    async def server_log(self, entity_id: ServedEntityId) -> str:
        """Return the latest lines that its workers printed."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as far as a handler needs it."""

    service: Service
    principal: Principal
    path: Mapping[str, str]
    query: Mapping[str, str]
    #: Decoded JSON; any value.
    body: Any
    #: The server's address as the caller wrote it.
    base_url: str


Handler = Callable[[Call], dict[str, Any] | Awaitable[dict[str, Any]]]


def create_endpoint(call: Call) -> dict[str, Any]:
    return _detailed(call, call.service.create_endpoint(call.principal, call.body))


def list_endpoints(call: Call) -> dict[str, Any]:
    found = call.service.list_endpoints(call.principal)
    return {"endpoints": [render.summary(endpoint, level(call.principal, endpoint)) for endpoint in found]}


def get_endpoint(call: Call) -> dict[str, Any]:
    return _detailed(call, call.service.get_endpoint(call.principal, call.path["name"]))


def update_config(call: Call) -> dict[str, Any]:
    return _detailed(call, call.service.update_config(call.principal, call.path["name"], call.body))


def delete_endpoint(call: Call) -> dict[str, Any]:
    call.service.delete_endpoint(call.principal, call.path["name"])
    return {}


def stop(call: Call) -> dict[str, Any]:
    return _detailed(call, call.service.stop(call.principal, call.path["name"]))


def start(call: Call) -> dict[str, Any]:
    return _detailed(call, call.service.start(call.principal, call.path["name"]))


def patch_tags(call: Call) -> dict[str, Any]:
    return {"tags": render.tags(call.service.patch_tags(call.principal, call.path["name"], call.body))}


def put_rate_limits(call: Call) -> dict[str, Any]:
    endpoint = call.service.put_rate_limits(call.principal, call.path["name"], call.body)
    return {"rate_limits": endpoint.extras.get("rate_limits", [])}


def put_ai_gateway(call: Call) -> dict[str, Any]:
    endpoint = call.service.put_ai_gateway(call.principal, call.path["name"], call.body)
    return dict(endpoint.extras.get("ai_gateway", {}))


def patch_notifications(call: Call) -> dict[str, Any]:
    endpoint = call.service.patch_notifications(call.principal, call.path["name"], call.body)
    return {"name": endpoint.name, "email_notifications": endpoint.extras.get("email_notifications", {})}


def patch_telemetry(call: Call) -> dict[str, Any]:
    return _detailed(call, call.service.patch_telemetry(call.principal, call.path["name"], call.body))


def inference_table(call: Call) -> dict[str, Any]:
    return _inference_table(call, call.service.get_endpoint(call.principal, call.path["name"]))


def put_inference_table(call: Call) -> dict[str, Any]:
    return _inference_table(call, call.service.put_inference_table(call.principal, call.path["name"], call.body))


def flush_inference_table(call: Call) -> Awaitable[dict[str, Any]]:
    endpoint = call.service.get_endpoint(call.principal, call.path["name"])
    table = capture.intended(endpoint, endpoint.active or endpoint.pending).capture.table
    return _flushed(call.service.tables.flush(_FLUSH_TIMEOUT_S, (table, capture.feedback_table(table))))


def openapi(call: Call) -> dict[str, Any]:
    return call.service.openapi_document(call.principal, call.path["name"], call.base_url)


def get_permissions(call: Call) -> dict[str, Any]:
    return render.access_control_list(call.service.get_permissions(call.principal, call.path["id"]))


def permission_levels(_call: Call) -> dict[str, Any]:
    return render.permission_levels()


def set_permissions(call: Call) -> dict[str, Any]:
    return render.access_control_list(call.service.set_permissions(call.principal, call.path["id"], call.body))


def update_permissions(call: Call) -> dict[str, Any]:
    return render.access_control_list(call.service.update_permissions(call.principal, call.path["id"], call.body))


def create_token(call: Call) -> dict[str, Any]:
    return call.service.token_service.create(call.principal, call.body)


def list_tokens(call: Call) -> dict[str, Any]:
    return call.service.token_service.list(call.principal)


def revoke_token(call: Call) -> dict[str, Any]:
    call.service.token_service.revoke(call.principal, call.body)
    return {}


def create_scope(call: Call) -> dict[str, Any]:
    call.service.secret_service.create_scope(call.principal, call.body)
    return {}


def list_scopes(call: Call) -> dict[str, Any]:
    return call.service.secret_service.list_scopes(call.principal)


def delete_scope(call: Call) -> dict[str, Any]:
    call.service.secret_service.delete_scope(call.principal, call.body)
    return {}


def put_secret(call: Call) -> dict[str, Any]:
    call.service.secret_service.put(call.principal, call.body)
    return {}


def list_secrets(call: Call) -> dict[str, Any]:
    scope = call.query.get("scope")
    if not scope:
        raise InvalidParameter("The query parameter 'scope' is missing.")
    return call.service.secret_service.list(call.principal, scope)


def delete_secret(call: Call) -> dict[str, Any]:
    call.service.secret_service.delete(call.principal, call.body)
    return {}


def me(call: Call) -> dict[str, Any]:
    name = call.principal.name
    groups = [EVERYONE, *([ADMINS] if call.principal.is_admin else [])]
    return {
        # SCIM wants an id that stays; the name is all that a principal is.
        "id": str(int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")),
        "userName": name,
        "displayName": name,
        "active": True,
        "emails": [{"value": name, "primary": True, "type": "work"}] if "@" in name else [],
        "groups": [{"display": group, "value": group} for group in groups],
    }


def provisioned_throughput(_call: Call) -> dict[str, Any]:
    raise NotImplementedHere("Provisioned throughput is not served here; MLflow models are.")


def no_content(_call: Call) -> dict[str, Any]:
    return {}


def version(_call: Call) -> dict[str, Any]:
    return {"version": metadata.version("tallystick")}


def build_logs(logs: LogSource) -> Handler:
    return lambda call: _told(logs.build_log(_served_entity_id(call)))


def server_logs(logs: LogSource) -> Handler:
    return lambda call: _told(logs.server_log(_served_entity_id(call)))


async def _flushed(flush: Awaitable[str]) -> dict[str, Any]:
    problem = await flush
    return {"flushed": False, "problem": problem} if problem else {"flushed": True}


def _inference_table(call: Call, endpoint: Endpoint) -> dict[str, Any]:
    tables = call.service.tables
    return capture.described(
        endpoint,
        endpoint.active or endpoint.pending,
        default_on=tables.are_on,
        root=tables.root,
        recorded=tables.recorded(),
    )


async def _told(text: Awaitable[str]) -> dict[str, Any]:
    return {"logs": await text}


def _served_entity_id(call: Call) -> ServedEntityId:
    asked = call.query.get("config_version")
    config_version = as_integer(asked) if asked else None
    if asked and config_version is None:
        raise InvalidParameter("The query parameter 'config_version' is not a number.")
    found = call.service.get_served_entity(call.principal, call.path["name"], call.path["served_model"], config_version)
    return found.id


def _detailed(call: Call, endpoint: Endpoint) -> dict[str, Any]:
    tables = call.service.tables

    def payload_table(config: EndpointConfig) -> dict[str, str] | None:
        return capture.payload_table(endpoint, config, default_on=tables.are_on, recorded=tables.recorded())

    return render.detailed(endpoint, level(call.principal, endpoint), call.base_url, payload_table)
