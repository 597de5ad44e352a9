"""A connection to a server, for `client`: requests as the server takes them, its refusals as errors. It blocks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from tallystick import errors
from tallystick.discovery import Server, ServerUnreachable, is_loopback
from tallystick.errors import TallystickError

Json = dict[str, Any]

_TIMEOUT_S = 30.0

_BY_CODE: Mapping[str, type[TallystickError]] = {
    kind.error_code: kind
    for kind in (
        errors.BadRequest,
        errors.InvalidParameter,
        errors.Unauthenticated,
        errors.PermissionDenied,
        errors.NotFound,
        errors.EndpointNotFound,
        errors.AlreadyExists,
        errors.Conflict,
        errors.TooManyRequests,
        errors.InternalError,
        errors.NotImplementedHere,
        errors.TemporarilyUnavailable,
        errors.DeadlineExceeded,
    )
}


class ApiError(TallystickError):
    """The server's answer is no answer of ours: a proxy's page, another program at that address."""


class WaitTimedOut(TallystickError):
    """What was waited for did not come in time; the server goes on with it."""

    error_code, status = "DEADLINE_EXCEEDED", 504


class Connection:
    """One server, with one token. Close it, or use it in a `with` statement."""

    def __init__(self, server: Server, *, transport: httpx.BaseTransport | None = None) -> None:
        self.server = server
        host = urlsplit(server.url).hostname or ""
        if transport is None and is_loopback(host):
            # A proxy of the environment does not reach this machine's own addresses.
            transport = httpx.HTTPTransport(verify=server.url.startswith("https"))
        self._http = httpx.Client(
            base_url=server.url,
            headers={"authorization": f"Bearer {server.token}", "user-agent": "tallystick-cli"},
            timeout=httpx.Timeout(_TIMEOUT_S, connect=5.0),
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _t: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, method: str, path: str, body: Json | None = None, timeout_s: float = _TIMEOUT_S) -> Json:
        """Return the JSON object that a control request is answered with."""
        content = None if body is None else json.dumps(body).encode()
        return self._json(self.send(method, path, content, "application/json", timeout_s))

    def _json(self, response: httpx.Response) -> Json:
        try:
            answer = response.json()
        except ValueError as error:
            raise self._foreign(response) from error
        if not isinstance(answer, dict):
            raise self._foreign(response)
        return answer

    def send(
        self, method: str, path: str, content: bytes | None, content_type: str, timeout_s: float
    ) -> httpx.Response:
        """Return the answer to a request, read whole; raise what it was refused for."""
        return self.exchange(self.request(method, path, content, content_type, timeout_s))

    def request(
        self, method: str, path: str, content: bytes | None, content_type: str, timeout_s: float
    ) -> httpx.Request:
        """Return a request that was not sent yet."""
        headers = {"content-type": content_type} if content is not None else {}
        timeout = httpx.Timeout(timeout_s, connect=5.0)
        return self._http.build_request(method, path, content=content, headers=headers, timeout=timeout)

    def exchange(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        """Return the answer to a request, to be read by the caller with `stream`; raise what it was refused for."""
        try:
            response = self._http.send(request, stream=stream)
            if response.status_code < 400 and not response.is_redirect:
                return response
            response.read()
        except httpx.TransportError as error:
            raise self.unreachable(error) from error
        raise self._refusal(response)

    def unreachable(self, error: httpx.TransportError) -> TallystickError:
        """Return what a connection that failed means to whoever called."""
        url = self.server.url
        if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
            return WaitTimedOut(f"{url} did not answer in time.")
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return ServerUnreachable(
                f"The certificate of {url} is not one that this machine trusts: {error}. "
                "Set SSL_CERT_FILE to the PEM file of its authority."
            )
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return ServerUnreachable(
                f"No server answers at {url} ({error}). Is it running? 'tallystick serve' starts one."
            )
        return ServerUnreachable(f"The connection to {url} broke: {error or type(error).__name__}.")

    def _refusal(self, response: httpx.Response) -> TallystickError:
        try:
            body = response.json()
            code, message = str(body["error_code"]), str(body["message"])
        except (ValueError, KeyError, TypeError):
            return self._foreign(response)
        retry_after = response.headers.get("retry-after", "")
        error = _BY_CODE.get(code, ApiError)(message, retry_after_s=int(retry_after) if retry_after.isdigit() else None)
        request_id = response.headers.get("x-request-id")
        if request_id and response.status_code >= 500:
            error.add_note(f"request id {request_id}")
        return error

    def _foreign(self, response: httpx.Response) -> TallystickError:
        return ApiError(
            f"{self.server.url} answered {response.status_code} with something that is not Tallystick's. "
            "Is the address right?"
        )
