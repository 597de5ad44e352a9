"""The route table of the control API: method, path, who may, what it does, the body it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tallystick.control import api_handlers as handle
from tallystick.control import api_schemas as schemas
from tallystick.control.api_handlers import LogSource
from tallystick.control.api_operation import Operation
from tallystick.control.api_rules import Rule
from tallystick.control.incidents_api import incident_routes
from tallystick.control.parity_api import parity_routes

#: Tells how server and processes stand, for the admin's eye.
Status = Callable[[], Awaitable[dict[str, Any]]]

_ENDPOINTS = "/api/2.0/serving-endpoints"
_ENDPOINT = _ENDPOINTS + "/{name}"
_PERMISSIONS = "/api/2.0/permissions/serving-endpoints/{id}"
_SECRETS = "/api/2.0/secrets"
_TOKENS = "/api/2.0/token"


def operations(logs: LogSource, status: Status) -> tuple[Operation, ...]:
    """Return every route of the control API."""
    return (
        *_open_routes(),
        *_endpoint_routes(logs),
        *_permission_routes(),
        *_access_routes(),
        Operation("GET", "/api/2.0/tallystick/status", Rule.ADMIN, "How the server stands", lambda _call: status()),
    )


def _open_routes() -> tuple[Operation, ...]:
    open_to_all = Rule.OPEN
    return (
        Operation("GET", "/.well-known/databricks-config", open_to_all, "What clients ask at start", handle.no_content),
        Operation("GET", "/health", open_to_all, "Control answers", handle.no_content),
        Operation("GET", "/ping", open_to_all, "Control answers", handle.no_content),
        Operation("GET", "/version", open_to_all, "Version of the server", handle.version),
    )


def _endpoint_routes(logs: LogSource) -> tuple[Operation, ...]:
    member, view, manage = Rule.MEMBER, Rule.VIEW, Rule.MANAGE
    collection = tuple(
        operation
        # databricks-sdk leaves the slash out, MLflow writes it; a redirect would cost a round trip.
        for path in (_ENDPOINTS, _ENDPOINTS + "/")
        for operation in (
            Operation("POST", path, Rule.ADMIN, "Create an endpoint", handle.create_endpoint, schemas.CREATE_ENDPOINT),
            Operation("GET", path, member, "List the endpoints that you may see", handle.list_endpoints),
        )
    )
    return (
        *collection,
        # Before the routes with {name}, which would take "pt" for one.
        Operation(
            "POST", f"{_ENDPOINTS}/pt", member, "Not implemented", handle.provisioned_throughput, schemas.NOTHING
        ),
        Operation("GET", _ENDPOINT, view, "Get an endpoint", handle.get_endpoint),
        Operation("DELETE", _ENDPOINT, manage, "Delete an endpoint", handle.delete_endpoint),
        Operation("PUT", f"{_ENDPOINT}/config", manage, "Replace the config", handle.update_config, schemas.CONFIG),
        Operation("POST", f"{_ENDPOINT}/config:stop", manage, "Stop an endpoint", handle.stop),
        Operation("POST", f"{_ENDPOINT}/config:start", manage, "Start a stopped endpoint", handle.start),
        Operation("PATCH", f"{_ENDPOINT}/tags", manage, "Set and delete tags", handle.patch_tags, schemas.PATCH_TAGS),
        Operation(
            "PUT",
            f"{_ENDPOINT}/rate-limits",
            manage,
            "Replace the rate limits",
            handle.put_rate_limits,
            schemas.RATE_LIMITS,
        ),
        Operation(
            "PUT",
            f"{_ENDPOINT}/ai-gateway",
            manage,
            "Replace the AI gateway config",
            handle.put_ai_gateway,
            schemas.AI_GATEWAY,
        ),
        Operation(
            "PATCH",
            f"{_ENDPOINT}/notifications",
            manage,
            "Replace whom to notify",
            handle.patch_notifications,
            schemas.NOTIFICATIONS,
        ),
        Operation(
            "PATCH",
            f"{_ENDPOINT}/telemetry-config",
            manage,
            "Replace the telemetry config",
            handle.patch_telemetry,
            schemas.TELEMETRY,
        ),
        *_inference_table_routes(),
        *parity_routes(_ENDPOINT),
        *incident_routes(_ENDPOINT),
        Operation("GET", f"{_ENDPOINT}/openapi", view, "How to invoke the endpoint, as OpenAPI", handle.openapi),
        Operation(
            "GET",
            _ENDPOINT + "/served-models/{served_model}/build-logs",
            manage,
            "How a served entity was brought up",
            handle.build_logs(logs),
        ),
        Operation(
            "GET",
            _ENDPOINT + "/served-models/{served_model}/logs",
            manage,
            "What the workers of a served entity printed last",
            handle.server_logs(logs),
        ),
    )


def _inference_table_routes() -> tuple[Operation, ...]:
    path = f"{_ENDPOINT}/inference-table"
    return (
        Operation("GET", path, Rule.VIEW, "What is recorded, and where", handle.inference_table),
        Operation(
            "PUT",
            path,
            Rule.MANAGE,
            "Replace what is recorded",
            handle.put_inference_table,
            schemas.INFERENCE_TABLE,
        ),
        Operation(
            "POST", f"{path}/flush", Rule.VIEW, "Write to the table what was recorded", handle.flush_inference_table
        ),
    )


def _permission_routes() -> tuple[Operation, ...]:
    acl = schemas.ACCESS_CONTROL_LIST
    manage = Rule.MANAGE_BY_ID
    return (
        Operation("GET", _PERMISSIONS, manage, "Who may do what", handle.get_permissions),
        Operation("PUT", _PERMISSIONS, manage, "Replace all grants", handle.set_permissions, acl),
        Operation("PATCH", _PERMISSIONS, manage, "Set some grants", handle.update_permissions, acl),
        Operation(
            "GET",
            f"{_PERMISSIONS}/permissionLevels",
            Rule.VIEW_BY_ID,
            "The levels that can be granted",
            handle.permission_levels,
        ),
    )


def _access_routes() -> tuple[Operation, ...]:
    member, admin = Rule.MEMBER, Rule.ADMIN
    # `get_workspace_id` of databricks-sdk reads this header, and wants a number.
    workspace = (("x-databricks-org-id", "1"),)
    return (
        Operation("GET", "/api/2.0/preview/scim/v2/Me", member, "Who you are", handle.me, headers=workspace),
        Operation("POST", f"{_TOKENS}/create", member, "Make a token", handle.create_token, schemas.CREATE_TOKEN),
        Operation("GET", f"{_TOKENS}/list", member, "List tokens", handle.list_tokens),
        Operation("POST", f"{_TOKENS}/delete", member, "Revoke a token", handle.revoke_token, schemas.REVOKE_TOKEN),
        Operation("POST", f"{_SECRETS}/scopes/create", admin, "Make a scope", handle.create_scope, schemas.SCOPE),
        Operation("GET", f"{_SECRETS}/scopes/list", admin, "List scopes", handle.list_scopes),
        Operation("POST", f"{_SECRETS}/scopes/delete", admin, "Forget a scope", handle.delete_scope, schemas.SCOPE),
        Operation("POST", f"{_SECRETS}/put", admin, "Keep a secret", handle.put_secret, schemas.PUT_SECRET),
        Operation("GET", f"{_SECRETS}/list", admin, "List the keys of a scope", handle.list_secrets),
        Operation("POST", f"{_SECRETS}/delete", admin, "Forget a secret", handle.delete_secret, schemas.SECRET_KEY),
    )
