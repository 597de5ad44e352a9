"""Everything that is not an invocation goes to control, over its unix socket."""

from __future__ import annotations

from pathlib import Path

import httpx

from tallystick.errors import BadRequest, PayloadTooLarge, TemporarilyUnavailable
from tallystick.gateway.answers import Send
from tallystick.gateway.invoke import Receive, Scope

#: Control's requests are small; the largest is a config of fifteen served entities.
MAX_BODY_BYTES = 1 << 20
#: Bodies held at one time, all requests together: they are read before control has looked at the token.
_MAX_HELD_BYTES = 64 << 20
_TIMEOUT_S = 60.0
#: RFC 9110, 7.6.1, and what the two sides set for themselves.
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
        b"x-request-id",
    )
)


class ControlProxy:
    """Forwards requests; says so when control is away."""

    def __init__(self, socket: Path) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket), limits=httpx.Limits(max_connections=64)),
            timeout=_TIMEOUT_S,
            follow_redirects=False,
        )
        self._held_bytes = 0

    async def forward(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        """Answer with what control answers.

        Raises TemporarilyUnavailable when it cannot be reached or too much waits for it, PayloadTooLarge, and
        BadRequest when the client left in the middle of its body: a part of a request is not a request.
        """
        body = bytearray()
        try:
            await self._read(receive, body)
            await self._forward(scope, bytes(body), send, request_id)
        finally:
            self._held_bytes -= len(body)

    async def _read(self, receive: Receive, body: bytearray) -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise BadRequest("The client left before the body was complete.")
            piece = message.get("body", b"")
            body += piece
            self._held_bytes += len(piece)
            if len(body) > MAX_BODY_BYTES:
                raise PayloadTooLarge(f"The body is larger than {MAX_BODY_BYTES >> 20} MiB, the limit of this path.")
            if self._held_bytes > _MAX_HELD_BYTES:
                raise TemporarilyUnavailable(
                    "Too many large requests to the control API at one time; invocations are not affected. "
                    "Send the request again.",
                    retry_after_s=1,
                )
            more = message.get("more_body", False)

    async def _forward(self, scope: Scope, body: bytes, send: Send, request_id: str) -> None:
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        headers = [(name, value) for name, value in scope["headers"] if name not in _HOP_BY_HOP]
        headers.append((b"x-request-id", request_id.encode()))
        try:
            url = httpx.URL("http://control").copy_with(raw_path=scope["raw_path"] + query)
        except (httpx.InvalidURL, ValueError) as error:
            raise BadRequest("The URL is not valid.") from error
        try:
            answer = await self._client.request(scope["method"], url, headers=headers, content=body)
        except httpx.TransportError as error:
            raise TemporarilyUnavailable(
                "The control process is restarting or busy; invocations are not affected. Send the request again.",
                retry_after_s=1,
            ) from error
        passed = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in _HOP_BY_HOP]
        # httpx has undone a content encoding; none is asked for, since both ends are here.
        passed = [(name, value) for name, value in passed if name != b"content-encoding"]
        passed += [(b"content-length", str(len(answer.content)).encode()), (b"x-request-id", request_id.encode())]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": passed})
        await send({"type": "http.response.body", "body": answer.content})

    async def close(self) -> None:
        """Close the connections to control."""
        await self._client.aclose()
