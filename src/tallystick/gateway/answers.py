"""How answers are put: headers of a served entity's answer, errors in Databricks' shape. Pure but for `send_error`."""

from __future__ import annotations

import logging
import string
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import msgspec

from tallystick.errors import TallystickError
from tallystick.protocol.frame import Answer
from tallystick.protocol.routes import EntityRoute

Send = Callable[[dict[str, Any]], Any]
Header = tuple[bytes, bytes]

#: A header with the coercions of a request of many columns is cut here; the counters have the rest.
_MAX_COERCIONS_HEADER = 1024
#: Likewise for keys that were ignored: clients and proxies give up at 4 to 64 KB of headers.
_MAX_IGNORED_HEADER = 1024
#: What `quote` leaves as it is (RFC 3986, 2.3: unreserved characters).
_UNQUOTED = (string.ascii_letters + string.digits + "-._~").encode()


def answer_headers(answer: Answer, entity: EntityRoute, request_id: str) -> list[Header]:
    """Return the headers of a worker's answer, without its length."""
    headers = [
        (b"content-type", answer.content_type.encode("latin-1")),
        (b"served-model-name", entity.name.encode("latin-1")),
        (b"x-request-id", request_id.encode("latin-1")),
    ]
    if answer.coercions:
        headers.append((b"x-tallystick-coercions", render_coercions(answer.coercions)))
    if answer.ignored:
        headers.append((b"x-tallystick-ignored", render_ignored(answer.ignored)))
    return headers


def render_coercions(coercions: dict[str, dict[str, int]]) -> bytes:
    """Return what was changed to fit the signature as a header value, cut at 1 KiB.

    >>> render_coercions({"age": {"fraction_dropped": 2}, "größe": {"number_from_text": 1}})
    b'age;fraction_dropped=2, gr%C3%B6%C3%9Fe;number_from_text=1'
    """
    parts = []
    size = 0
    # To quote each of many names that need none takes longer than all the rest.
    is_plain = _is_unquoted("".join(coercions))
    for column, kinds in coercions.items():
        part = column[:100] if is_plain else quote(column[:100], safe="")
        for kind, count in kinds.items():
            part += f";{kind}={count}"
        size += len(part) + 2
        if size > _MAX_COERCIONS_HEADER:
            parts.append("...")
            break
        parts.append(part)
    return ", ".join(parts).encode("latin-1")


def _is_unquoted(text: str) -> bool:
    """Whether a text stays as it is when it is quoted."""
    return text.isascii() and not text.encode().translate(None, _UNQUOTED)


def render_ignored(names: Iterable[str]) -> bytes:
    """Return the keys of a request that were ignored as a header value, cut at 1 KiB.

    >>> render_ignored(["a,b", "größe"])
    b'a%2Cb,gr%C3%B6%C3%9Fe'
    """
    parts: list[str] = []
    size = 0
    for name in names:
        part = quote(name[:100], safe="")
        size += len(part) + 1
        if size > _MAX_IGNORED_HEADER:
            break
        parts.append(part)
    return ",".join(parts).encode("latin-1")


async def send_answer(send: Send, status: int, headers: list[Header], body: bytes) -> None:
    """Answer; the length is added."""
    headers.append(length_header(body))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def render_error(
    error: TallystickError, request_id: str, served_model_name: str | None = None
) -> tuple[int, list[Header], bytes]:
    """Return (status, headers, body) of an error, in Databricks' shape."""
    body = msgspec.json.encode(error.to_body())
    headers: list[Header] = [(b"content-type", b"application/json"), (b"x-request-id", request_id.encode())]
    if served_model_name is not None:
        headers.append((b"served-model-name", served_model_name.encode("latin-1")))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="tallystick"'))
    return error.status, [*headers, length_header(body)], body


async def send_error(send: Send, error: TallystickError, request_id: str, served_model_name: str | None = None) -> None:
    """Answer with an error."""
    status, headers, body = render_error(error, request_id, served_model_name)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def length_header(body: bytes) -> Header:
    """Return the header that tells the length of a body."""
    return b"content-length", str(len(body)).encode()


def log_failure(error: BaseException, request_id: str) -> None:
    """Log a fault of ours, once, with the id that the caller was given."""
    logging.getLogger("tallystick.gateway").error("request %s failed", request_id, exc_info=error)
