"""Everything that is not an invocation goes to control, over its unix socket."""

from __future__ import annotations

from pathlib import Path

import httpx

from tallystick.errors import TemporarilyUnavailable
from tallystick.gateway.invoke import Receive, Scope, Send
from tallystick.gateway.limits import too_large

#: Control's requests are small; the largest is a config of fifteen served entities.
MAX_BODY_BYTES = 1 << 20
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

    async def forward(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        """Answer with what control answers. Raises TemporarilyUnavailable when it cannot be reached."""
        body = await _read(receive)
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        headers = [(name, value) for name, value in scope["headers"] if name not in _HOP_BY_HOP]
        headers.append((b"x-request-id", request_id.encode()))
        url = httpx.URL("http://control").copy_with(raw_path=scope["raw_path"] + query)
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


async def _read(receive: Receive) -> bytes:
    pieces, size = [], 0
    while True:
        message = await receive()
        piece = message.get("body", b"")
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise too_large(MAX_BODY_BYTES)
        if not message.get("more_body"):
            return b"".join(pieces)
