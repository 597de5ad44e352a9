"""HTTP around the handlers: request ids, bodies in, errors out, all in the shape that Databricks clients parse.

FastAPI's own answers carry a `detail` key, which databricks-sdk takes for another protocol; none of them is
left: 404, 405, 422 and 500 are answered here too.
"""

from __future__ import annotations

import logging
import re
import secrets
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallystick.control.api_rules import PrincipalOf
from tallystick.errors import (
    BadRequest,
    EndpointNotFound,
    InternalError,
    InvalidParameter,
    NotImplementedHere,
    PayloadTooLarge,
    TallystickError,
    Unauthenticated,
)

#: Configs and secrets are far smaller; bodies of invocations do not come here.
MAX_BODY_BYTES = 1024 * 1024

_log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[\w.:/=+-]{1,128}", re.ASCII)

# Paths of the Databricks API that we know of and leave out.
_LEFT_OUT = re.compile(
    r"/serving-endpoints/.*"
    r"|/api/2\.0/serving-endpoints/pt/[^/]+/config"
    r"|/api/2\.0/(external-function|secrets/get|secrets/acls/.*|token-management/.*|token/.*)"
    r"|/api/2\.\d/(preview/)?(accounts|alerts|apps|clusters|database|dbfs|feature-store|git-credentials|global-init-scripts"
    r"|instance-pools|instance-profiles|ip-access-lists|jobs|lakeview|libraries|mlflow|permissions|pipelines|policies"
    r"|quality-monitors|repos|scim|sql|tag-policies|unity-catalog|vector-search|workspace|workspace-conf)(/.*)?"
    r"|/oidc/.*"
)


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return an answer in JSON."""
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


def error_response(error: TallystickError) -> Response:
    """Return an error as an answer."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = 'Bearer realm="tallystick"'
    return json_response(error.to_body(), error.status, headers)


async def read_json(request: Request) -> Any:
    """Return a request's body; an empty one is an empty object. Raises BadRequest, PayloadTooLarge."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise PayloadTooLarge(f"The body is larger than {MAX_BODY_BYTES} bytes, the limit of control requests.")
    if not body.strip():
        return {}
    try:
        return msgspec.json.decode(bytes(body))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise BadRequest("The body is not acceptable JSON: it is nested too deeply.") from error


def add_error_handlers(app: FastAPI, principal_of: PrincipalOf) -> None:
    """Answer every failure of the app in our shape."""

    async def told(_request: Request, error: Exception) -> Response:
        return error_response(error if isinstance(error, TallystickError) else InternalError("Failed."))

    async def not_routed(request: Request, error: Exception) -> Response:
        # Nobody learns without a token which paths there are.
        try:
            await run_in_threadpool(principal_of, request)
        except TallystickError as refusal:
            return error_response(refusal)
        return _not_routed(request, error.status_code if isinstance(error, HTTPException) else 500)

    async def not_valid(_request: Request, error: Exception) -> Response:
        found = error.errors() if isinstance(error, RequestValidationError) else []
        listed = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)
        return error_response(InvalidParameter(f"The request is not acceptable: {listed}"))

    app.add_exception_handler(TallystickError, told)
    app.add_exception_handler(HTTPException, not_routed)
    app.add_exception_handler(RequestValidationError, not_valid)
    app.add_middleware(RequestIds)


class RequestIds:
    """Gives each request an id, or keeps the caller's; answers what the app let through as an internal error."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        has_begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode("latin-1"))]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            _log.exception("request %s failed: %s %s", request_id, scope["method"], scope["path"])
            if has_begun:
                raise
            failure = InternalError(f"The server failed on this request; its log has more under id {request_id}.")
            await error_response(failure)(scope, receive, send_with_id)


def _not_routed(request: Request, status: int) -> Response:
    shown = f"'{request.method} {request.url.path[:200]}'"
    if status == 404 and _LEFT_OUT.fullmatch(request.url.path):
        return error_response(NotImplementedHere(f"{shown} is a part of the Databricks API that is left out here."))
    if status == 404:
        return error_response(EndpointNotFound(f"No API found for {shown}."))
    if status == 405:
        allowed = ", ".join(_methods(request))
        text = f"No API found for {shown}; the path takes {allowed}."
        return json_response(BadRequest(text).to_body(), 405, {"allow": allowed})
    return json_response(BadRequest(f"{shown} failed with status {status}.").to_body(), status)


def _methods(request: Request) -> list[str]:
    """Return the methods of every route of this path; the framework's own answer knows the first only."""
    path = request.url.path
    routes = [route for route in request.app.routes if isinstance(route, APIRoute)]
    return sorted({method for route in routes if route.path_regex.match(path) for method in route.methods or ()})
