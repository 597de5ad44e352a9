"""The REST face of control: builds the app from the route table. See `api_routes` for the routes.

Handlers run in threads, as the store blocks; the event loop only reads bodies and awaits logs.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from html import escape
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response

from tallystick.auth import Principal
from tallystick.control.api_handlers import Call, LogSource
from tallystick.control.api_http import add_error_handlers, json_response, read_json
from tallystick.control.api_operation import Operation
from tallystick.control.api_routes import Status, operations
from tallystick.control.api_rules import PrincipalOf, Rule, allow, enforcer
from tallystick.control.service import Service

_NOBODY = Principal("")


def create_app(service: Service, logs: LogSource, principal_of: PrincipalOf, status: Status) -> FastAPI:
    """Return the control app.

    `principal_of` finds the caller of a request, in a thread; `api_rules.principal_by_token` is the usual one.
    Further routes may be added; one that declares no rule (`api_rules.allow`) refuses everybody.
    """
    app = FastAPI(
        title="Tallystick control API",
        dependencies=[Depends(enforcer(service, principal_of))],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    table = operations(logs, status)
    for operation in table:
        app.add_api_route(
            operation.path,
            _endpoint(service, operation),
            methods=[operation.method],
            summary=operation.summary,
            description=f"May be called by: {operation.rule}.",
            response_model=None,
            openapi_extra=_described_body(operation.body),
        )
    _add_description(app, table)
    add_error_handlers(app, principal_of)
    return app


def _endpoint(service: Service, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    headers = dict(operation.headers)

    @allow(operation.rule)
    async def endpoint(request: Request) -> Response:
        call = Call(
            service=service,
            principal=getattr(request.state, "principal", _NOBODY),
            path=request.path_params,
            query=request.query_params,
            body=await read_json(request) if operation.body is not None else {},
            base_url=str(request.base_url),
        )
        result = await run_in_threadpool(operation.handler, call)
        if inspect.isawaitable(result):
            result = await result
        return json_response(result, headers=headers)

    return endpoint


def _add_description(app: FastAPI, table: tuple[Operation, ...]) -> None:
    """Add /openapi.json and /docs: open, as a browser sends no token, and of public knowledge only."""

    @app.get("/openapi.json", include_in_schema=False, response_model=None)
    @allow(Rule.OPEN)
    async def openapi() -> Response:
        return json_response(app.openapi())

    @app.get("/docs", include_in_schema=False, response_model=None)
    @allow(Rule.OPEN)
    async def docs() -> Response:
        return HTMLResponse(_docs_page(table))


def _described_body(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    return schema and {"requestBody": {"content": {"application/json": {"schema": schema}}}}


def _docs_page(table: tuple[Operation, ...]) -> str:
    """Return the routes as a page. Not FastAPI's, which loads scripts from another host."""
    rows = "".join(
        f"<tr><td>{operation.method}<td><code>{escape(operation.path)}</code><td>{escape(operation.summary)}"
        f"<td>{escape(operation.rule)}<td><code>{escape(_outline(operation.body or {}))}</code>"
        for operation in table
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Tallystick control API</title>"
        "<style>body{font:15px sans-serif;margin:2em}td,th{text-align:left;vertical-align:top;padding:.3em .8em}"
        "</style><h1>Tallystick control API</h1>"
        "<p>Send <code>Authorization: Bearer &lt;token&gt;</code>. In full: <a href=openapi.json>openapi.json</a>."
        f"<table><tr><th>Method<th>Path<th>What it does<th>Who may<th>Body{rows}</table></html>"
    )


def _outline(schema: dict[str, Any]) -> str:
    """Return a body's fields in one line.

    >>> _outline({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}})
    '{a: [string]}'
    """
    match schema.get("type"):
        case "object":
            inner = (f"{key}: {_outline(value)}" for key, value in schema.get("properties", {}).items())
            return "{" + ", ".join(inner) + "}"
        case "array":
            return f"[{_outline(schema['items'])}]"
        case kind:
            return str(kind or "")
