"""HTTP/1.1 of the public port: uvicorn's httptools protocol, and the limits that it does not have.

uvicorn closes neither a stalled header nor a stalled body, takes headers of any number and size, and two Host
headers. The limits here are checked as the bytes come; the clocks of all connections by one sweep a second, so a
request sets no timer.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: From the first byte of a request, or from the connection, to the end of its headers.
HEADER_DEADLINE_S = 10.0
#: A body may take this long, and after `BODY_GRACE_S` must come at least this fast.
BODY_DEADLINE_S, BODY_GRACE_S, BODY_MIN_BYTES_PER_S = 120.0, 10.0, 1024
MAX_HEADERS = 100
MAX_HEADER_BYTES = 64 * 1024
MAX_URL_BYTES = 8 * 1024


@dataclass(frozen=True)
class HttpLimits:
    """Limits that depend on settings."""

    max_body_bytes: int
    max_connections: int


class JoinedWrites:
    """A transport that sends what is written in one turn of the loop with one system call.

    uvicorn writes headers and body of an answer one after the other; sent apart, they cost a tenth of the
    throughput of a small answer.
    """

    __slots__ = ("_loop", "_pieces", "_transport")

    def __init__(self, transport: asyncio.BaseTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: Any = transport
        self._loop = loop
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send `data` at the end of this turn."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def close(self) -> None:
        """Close when what was written is out."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces:
            self._transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `limits` and `open_connections` are set once per process, by `guarded`."""

    limits: ClassVar[HttpLimits]
    open_connections: ClassVar[set[GuardedProtocol]]

    #: Monotonic seconds; 0 while nothing is awaited from the client.
    waiting_since = 0.0
    in_body = False
    body_bytes = 0
    _raw_head = 0
    _header_bytes = 0
    _hosts = 0
    _chunked = False
    _refused = False
    #: The invocation that is answered on this connection now; told when the client leaves.
    call: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, unless there are too many."""
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]
        self.waiting_since = self.loop.time()
        self.open_connections.add(self)
        if len(self.open_connections) > self.limits.max_connections:
            self.refuse(503, "TEMPORARILY_UNAVAILABLE", "Too many open connections.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Free what the connection held; its invocation is cancelled."""
        self.open_connections.discard(self)
        call, self.call = self.call, None
        if call is not None:
            call.abandon()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, with every failure told in JSON and the connection closed."""
        if self._refused:
            return
        if not self.waiting_since:
            self.waiting_since = self.loop.time()
        self._unset_keepalive_if_required()
        self._raw_head += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Not offered: the request is answered as if it had not asked (RFC 9110, 7.8).
            return
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, _Refusal):
                self.refuse(400, "BAD_REQUEST", "The HTTP request is not valid.")
            else:
                self.refuse(cause.status, cause.error_code, str(cause))
            return
        except httptools.HttpParserError:
            self.refuse(400, "BAD_REQUEST", "The HTTP request is not valid.")
            return
        if self.waiting_since and not self.in_body and self._raw_head > MAX_HEADER_BYTES:
            self.refuse(431, "BAD_REQUEST", f"The headers are larger than {MAX_HEADER_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """Start counting anew."""
        super().on_message_begin()
        self.waiting_since = self.waiting_since or self.loop.time()
        self.in_body = self._chunked = False
        self.body_bytes = self._header_bytes = self._hosts = 0
        self.scope["tallystick.connection"] = self  # type: ignore[typeddict-unknown-key]

    def on_url(self, url: bytes) -> None:
        """Bound the URL."""
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            raise _Refusal(414, f"The URL is longer than {MAX_URL_BYTES} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Bound the headers, and take one Host and one kind of length only."""
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS:
            raise _Refusal(431, f"More than {MAX_HEADERS} headers, or {MAX_HEADER_BYTES} bytes of them.")
        if len(name) == 4 and name.lower() == b"host":
            self._hosts += 1
        elif len(name) == 14 and name.lower() == b"content-length" and int(value) > self.limits.max_body_bytes:
            raise _Refusal(
                413,
                f"The body is larger than {self.limits.max_body_bytes / 2**20:g} MiB.",
                "INVALID_PARAMETER_VALUE",
            )

    def on_headers_complete(self) -> None:
        """Refuse what is ambiguous, then start the request."""
        if self._hosts != 1 and not (self._hosts == 0 and self.parser.get_http_version() == "1.0"):
            raise _Refusal(400, f"A request has one Host header, this one has {self._hosts}.")
        self.in_body = True
        self.waiting_since = self.loop.time()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count the body; a chunked one has no length to refuse by."""
        self.body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Nothing is awaited from the client any more."""
        self.waiting_since, self.in_body, self._raw_head = 0.0, False, 0
        super().on_message_complete()

    def refuse(self, status: int, error_code: str, message: str) -> None:
        """Answer with an error in Databricks' shape and close the connection."""
        self._refused = True
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete and self.cycle.response_started:
            # An answer is on its way out; a second one in its middle would be taken for part of it.
            self.transport.close()
            return
        body = msgspec.json.encode({"error_code": error_code, "message": message})
        phrase = http.HTTPStatus(status).phrase
        self.transport.write(
            f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
            + body
        )
        self.transport.close()

    def check_clock(self, now: float) -> None:
        """Close a connection whose client has stalled."""
        waited = now - self.waiting_since if self.waiting_since else 0.0
        if not self.in_body:
            if waited > HEADER_DEADLINE_S:
                self.refuse(408, "BAD_REQUEST", f"The headers did not arrive within {HEADER_DEADLINE_S:g} s.")
            return
        is_slow = waited > BODY_GRACE_S and self.body_bytes < (waited - BODY_GRACE_S) * BODY_MIN_BYTES_PER_S
        # A body that waits because *we* do not read it (the queue is full) is not the client's fault.
        if (is_slow and not self.flow.read_paused) or waited > BODY_DEADLINE_S:
            self.refuse(408, "BAD_REQUEST", "The body came too slowly.")

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: whoever asks for an upgrade could fill the log."""


class _Refusal(Exception):
    def __init__(self, status: int, message: str, error_code: str = "BAD_REQUEST") -> None:
        super().__init__(message)
        self.status, self.error_code = status, error_code


def guarded(limits: HttpLimits) -> type[GuardedProtocol]:
    """Return the protocol class for a process with these limits."""
    return type("Protocol", (GuardedProtocol,), {"limits": limits, "open_connections": set()})


def check_clocks(connections: Iterable[GuardedProtocol], now: float) -> None:
    """Close every connection whose client has stalled."""
    for connection in list(connections):
        connection.check_clock(now)
