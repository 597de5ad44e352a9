"""The least that uvicorn can do: answer the same bytes to everything, the body unread."""

from __future__ import annotations

import os
from typing import Any

_BODY = os.environ.get("BARE_ANSWER", "").encode()
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())],
}
_END = {"type": "http.response.body", "body": _BODY}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send(_START)
        await send(_END)
