"""What the public port answers: invocations and probes itself, everything else by way of control."""

from __future__ import annotations

import functools
import time
from importlib import metadata
from typing import Any
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from tallystick.errors import BadRequest, InternalError, PermissionDenied, TallystickError
from tallystick.gateway.answers import Send, log_failure, render_error, send_error
from tallystick.gateway.ask import ask_replica, is_asked, misplaced
from tallystick.gateway.http import GuardedProtocol
from tallystick.gateway.invoke import Invoker, Receive, Scope
from tallystick.gateway.limits import is_known_host, refuse_cross_site
from tallystick.gateway.proxy import ControlProxy

_PREFIX = "/serving-endpoints/"
_SUFFIX = "/invocations"
_MAX_CACHED_TARGETS = 10_000
#: Longer paths and hosts are looked at each time: callers choose them, without a token.
_MAX_CACHED_BYTES = 256


class App:
    """The ASGI application of one gateway process."""

    def __init__(self, invoker: Invoker, proxy: ControlProxy, allowed_hosts: frozenset[str]) -> None:
        self._invoker = invoker
        self._proxy = proxy
        self._allowed_hosts = allowed_hosts
        #: Host headers that were found good, by the address they were sent to.
        self._good_hosts: set[tuple[bytes, str]] = set()
        #: Paths of invocations that were taken apart before.
        self._targets: dict[bytes, tuple[str, str | None]] = {}
        self._probes = {
            "/ping": (b"\n", b"application/json"),
            "/health": (b"\n", b"application/json"),
            "/version": (_mlflow_version().encode(), b"text/plain; charset=utf-8"),
            "/.well-known/databricks-config": (b"{}", b"application/json"),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        try:
            headers = dict(scope["headers"])
            self._check_sender(headers, scope)
            target = parse_invocation_path(scope["raw_path"])
            is_one_replicas = is_asked(headers)
            if target is not None and scope["method"] == "POST":
                endpoint_name, entity_name = target
                if is_one_replicas and entity_name is None:
                    raise misplaced(endpoint_name)
                if is_one_replicas and entity_name is not None:
                    await ask_replica(self._invoker, endpoint_name, entity_name, scope, receive, send)
                else:
                    await self._invoker.invoke(endpoint_name, entity_name, scope, receive, send)
            elif path == _SUFFIX and scope["method"] == "POST":
                if is_one_replicas:
                    raise misplaced()
                await self._invoker.invoke(self._only_endpoint(), None, scope, receive, send)
            elif path in self._probes and scope["method"] in ("GET", "HEAD"):
                await self._send_probe(path, scope["method"], send)
            else:
                await self._answer_other(target is not None, scope, receive, send)
        except TallystickError as error:
            request_id = self._invoker.new_request_id()
            self._note_refused(scope, request_id, error)
            await send_error(send, error, request_id)
        except Exception as error:  # noqa: BLE001  the boundary of a request
            request_id = self._invoker.new_request_id()
            log_failure(error, request_id)
            # When an answer has begun, uvicorn raises here and closes the connection.
            failure = InternalError(f"The server failed; its log has more under {request_id}.")
            await send_error(send, failure, request_id)

    async def _answer_other(self, is_invocation_path: bool, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is no invocation: control does, but for the wrong method on an invocation's path."""
        request_id, time_us = self._invoker.new_request_id(), time.time_ns() // 1000
        started, status = time.perf_counter(), 0

        async def send_noting(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            if is_invocation_path:
                await _send_405(send_noting, request_id)
            else:
                await self._proxy.forward(scope, receive, send_noting, request_id)
        except TallystickError as error:
            await send_error(send_noting, error, request_id)
        finally:
            latency_ms = (time.perf_counter() - started) * 1000
            headers = dict(scope["headers"])
            agent = headers.get(b"user-agent", b"")
            self._invoker.register.access(
                request_id, time_us, latency_ms, scope["method"], scope["path"], status, self._caller(headers), agent
            )

    def _caller(self, headers: dict[bytes, bytes]) -> str:
        """Return who calls, for the log; '' for those without a good token."""
        try:
            return self._invoker.principal(headers.get(b"authorization")).name
        except TallystickError:
            return ""

    def _note_refused(self, scope: Scope, request_id: str, error: TallystickError) -> None:
        agent = dict(scope["headers"]).get(b"user-agent", b"")
        time_us = time.time_ns() // 1000
        self._invoker.register.refused(
            request_id, time_us, scope["method"], scope["path"], error.status, error.error_code, agent
        )

    def take(self, connection: GuardedProtocol, cycle: RequestResponseCycle) -> bool:
        """Answer an ordinary invocation without a task of its own. Returns False for what `__call__` should answer."""
        scope: Any = cycle.scope
        path = scope["raw_path"]
        target = self._targets.get(path)
        if target is None:
            target = parse_invocation_path(path)
            if target is None:
                return False
            if len(self._targets) < _MAX_CACHED_TARGETS and len(path) <= _MAX_CACHED_BYTES:
                self._targets[path] = target
        body = bytes(cycle.body)
        headers = dict(scope["headers"])
        if b'"stream"' in body or b"content-encoding" in headers:
            return False
        if is_asked(headers):
            return False
        respond = functools.partial(connection.respond, cycle)
        try:
            self._check_sender(headers, scope)
            connection.call = self._invoker.begin(*target, headers, body, respond)
        except TallystickError as error:
            request_id = self._invoker.new_request_id()
            self._note_refused(scope, request_id, error)
            respond(*render_error(error, request_id))
        except Exception as error:  # noqa: BLE001  the boundary of a request
            request_id = self._invoker.new_request_id()
            log_failure(error, request_id)
            failure = InternalError(f"The server failed; its log has more under {request_id}.")
            respond(*render_error(failure, request_id))
        return True

    def note_refused(self, request_id: str, status: int, error_code: str, url: bytes) -> None:
        """Note what the protocol refused: its headers or its body are not to be had."""
        path = url.partition(b"?")[0].decode("latin-1")
        self._invoker.register.refused(request_id, time.time_ns() // 1000, "", path, status, error_code, b"")

    def _check_sender(self, headers: dict[bytes, bytes], scope: Scope) -> None:
        """Refuse requests meant for other hosts, and those that a browser sends for another site."""
        host = headers.get(b"host", b"")
        local = (scope.get("server") or ("",))[0]
        if (host, local) not in self._good_hosts:
            text = host.decode("latin-1")
            if not is_known_host(text, self._allowed_hosts, local):
                raise PermissionDenied(
                    f"This server does not go by the name '{text[:100]}'. If it should, start it with "
                    "--allowed-host NAME."
                )
            if len(self._good_hosts) < 1000 and len(host) <= _MAX_CACHED_BYTES:
                self._good_hosts.add((host, local))
        if b"origin" in headers or b"sec-fetch-site" in headers:
            origin, fetch_site = (_text(headers.get(name)) for name in (b"origin", b"sec-fetch-site"))
            refuse_cross_site(host.decode("latin-1"), origin, fetch_site)

    def _only_endpoint(self) -> str:
        """Return the endpoint that MLflow's plain `/invocations` stands for."""
        names = list(self._invoker.routes.endpoints)
        if len(names) != 1:
            raise BadRequest(
                "/invocations works while the server has one endpoint. "
                "Use /serving-endpoints/<endpoint>/invocations instead."
            )
        return names[0]

    async def _send_probe(self, path: str, method: str, send: Send) -> None:
        body, content_type = self._probes[path]
        headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body if method == "GET" else b""})


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def parse_invocation_path(raw_path: bytes) -> tuple[str, str | None] | None:
    """Return (endpoint, served entity or None) of an invocation's path; None for any other path.

    >>> parse_invocation_path(b"/serving-endpoints/churn/served-models/churn-3/invocations")
    ('churn', 'churn-3')
    """
    # Cut before it is unquoted: %2F in a name is part of the name.
    path = raw_path.decode("latin-1")
    if not (path.startswith(_PREFIX) and path.endswith(_SUFFIX)):
        return None
    parts = path[len(_PREFIX) : -len(_SUFFIX)].split("/")
    if len(parts) == 1 and parts[0]:
        return unquote(parts[0]), None
    if len(parts) == 3 and parts[1] == "served-models" and parts[0] and parts[2]:
        return unquote(parts[0]), unquote(parts[2])
    return None


async def _send_405(send: Send, request_id: str) -> None:
    body = b'{"error_code":"BAD_REQUEST","message":"Invocations are sent with POST."}'
    headers: list[tuple[bytes, Any]] = [
        (b"content-type", b"application/json"),
        (b"allow", b"POST"),
        (b"x-request-id", request_id.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 405, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _mlflow_version() -> str:
    # What MLflow's own server answers here; its text is read without importing it.
    try:
        return metadata.version("mlflow-skinny")
    except metadata.PackageNotFoundError:
        return "unknown"
