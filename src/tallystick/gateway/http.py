"""HTTP/1.1 of the public port: uvicorn's httptools protocol, and the limits that it does not have.

uvicorn closes neither a stalled header nor a stalled body, takes headers of any number and size, two Host headers
and trailers that pass for headers, and loses the body of a request that asks for an upgrade. The limits here are
checked as the bytes come; the clocks of all connections by one sweep a second, so a request sets no timer.

Whatever is refused is answered in its turn: answers to earlier requests of the connection go out first, and a client
that is still sending is heard out for a while, since closing on it would take the answer from it (RFC 9112, 9.6).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from tallystick.gateway.joined_writes import JoinedWrites
from tallystick.gateway.limits import too_large
from tallystick.gateway.refusals import Refusal, render_refusal

#: Refused connections that are told so and heard out, above the cap; further ones are cut without a word.
_SPARE_CONNECTIONS = 32


@dataclass(frozen=True)
class HttpLimits:
    """What one connection may cost. Seconds are told by a sweep, so they are met up to one second late."""

    max_body_bytes: int
    max_connections: int
    max_headers: int = 100
    max_header_bytes: int = 64 * 1024
    max_url_bytes: int = 8 * 1024
    #: Requests of one connection that wait for the answer to an earlier one; 40 bytes sent cost us some 3 KB.
    max_pipelined: int = 100
    #: From the first byte of a request, or from the connection, to the end of its headers.
    header_deadline_s: float = 10.0
    #: A body may take this long, and after the grace must have come at least this fast.
    body_deadline_s: float = 120.0
    body_grace_s: float = 10.0
    body_min_bytes_per_s: int = 1024
    #: A client that sends on after a refusal is read from for so long, so that it gets to read the refusal.
    linger_s: float = 10.0
    #: A client that reads nothing of its answer for so long is cut.
    write_stall_s: float = 60.0


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `limits` and `open_connections` are set once per process, by `guarded`."""

    limits: ClassVar[HttpLimits]
    open_connections: ClassVar[set[GuardedProtocol]]
    #: Takes a request whose body is in and answers it by `respond`, now or later, without a task of its own;
    #: or says no, and the ASGI application is asked.
    take: Callable[[RequestResponseCycle], bool] | None = None
    #: Told of what is refused here: (request id, status, error code, URL as far as it is known).
    note_refused: ClassVar[Callable[[str, int, str, bytes], None]]
    #: What has to happen before an answer may leave: the journal is written.
    before_sending: ClassVar[Callable[[], None]]

    #: Monotonic seconds; 0 while nothing is awaited from the client.
    waiting_since = 0.0
    #: Between the headers of a request and its end: what comes as a header now is a trailer.
    in_body = False
    body_bytes = 0
    #: Bytes since the last request ended.
    _raw_bytes = 0
    _header_bytes = 0
    _hosts = 0
    _host = b""
    _has_coding = False
    #: A request has begun and not ended, so more may be on its way.
    _is_mid_message = False
    #: The request asked for an upgrade and is read again without asking.
    _is_reread = False
    _is_refused = False
    #: A refusal that waits for the answers to earlier requests.
    _refusal: bytes | None = None
    #: Nothing more is sent, what comes is dropped. Monotonic seconds, or 0.
    _lingering_since = 0.0
    _is_shutting_down = False
    _out_bytes = 0
    _stalled_since = 0.0
    #: A request that may be taken when its body is in, and the application to ask otherwise.
    _deferred: tuple[RequestResponseCycle, Any] | None = None
    _may_defer = False
    #: The invocation that is answered on this connection now; told when the client leaves.
    call: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, unless there are too many."""
        super().connection_made(JoinedWrites(transport, self.loop, type(self).before_sending, self._linger))  # type: ignore[arg-type]
        self.waiting_since = self.loop.time()
        self.open_connections.add(self)
        excess = len(self.open_connections) - self.limits.max_connections
        if excess > _SPARE_CONNECTIONS:
            self._is_refused = True
            self.transport.abort()
        elif excess > 0:
            self._is_mid_message = True
            self.refuse(503, "TEMPORARILY_UNAVAILABLE", "Too many open connections. Close idle ones, or come back.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Free what the connection held; its invocation is cancelled."""
        self.open_connections.discard(self)
        self._is_mid_message = False
        call, self.call = self.call, None
        if call is not None:
            call.abandon()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End when the answer under way is out; wait for no other client."""
        self._is_shutting_down = True
        if self._lingering_since:
            self.transport.abort()
        else:
            super().shutdown()

    # -- bytes in --------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse, with every failure told in JSON and the connection closed."""
        if self._is_refused or self.transport.is_closing():
            return
        if not self.waiting_since:
            self.waiting_since = self.loop.time()
        self._unset_keepalive_if_required()
        self._raw_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, Refusal):
                self.refuse(400, "BAD_REQUEST", "The HTTP request is not valid.")
            else:
                self.refuse(cause.status, cause.error_code, str(cause))
            return
        except httptools.HttpParserError:
            self.refuse(400, "BAD_REQUEST", "The HTTP request is not valid.")
            return
        if self._deferred is not None:
            # Its body comes in pieces: the application reads them as they come, and holds the client back.
            (cycle, app), self._deferred = self._deferred, None
            super()._start_asgi_task(cycle, app)
        if not self.waiting_since:
            return
        if not self.in_body:
            if self._raw_bytes > self.limits.max_header_bytes:
                self.refuse(431, "BAD_REQUEST", f"The headers are larger than {self.limits.max_header_bytes} bytes.")
        elif self._raw_bytes - self.body_bytes > self.limits.max_body_bytes + self.limits.max_header_bytes:
            # Sizes of chunks, and extensions to them that nobody reads.
            self.refuse(400, "BAD_REQUEST", "The body's framing is larger than a body may be. Send larger chunks.")

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # No upgrade is offered, so the request is to be answered as if it had not asked (RFC 9110, 7.8;
                # Java's client asks for HTTP/2 with every first POST). llhttp has skipped its body, which would
                # be read as the next request: so it is parsed again, without the header.
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self._is_reread = False
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version()
        lines = [f"{self.scope['method']} ".encode() + self.url + f" HTTP/{version}".encode()]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def on_message_begin(self) -> None:
        """Start counting anew."""
        super().on_message_begin()
        self.waiting_since = self.waiting_since or self.loop.time()
        self._is_mid_message = True
        self.in_body = self._has_coding = False
        self.body_bytes = self._header_bytes = self._hosts = 0
        self.scope["tallystick.connection"] = self  # type: ignore[typeddict-unknown-key]

    def on_url(self, url: bytes) -> None:
        """Bound the URL."""
        super().on_url(url)
        if len(self.url) > self.limits.max_url_bytes:
            raise Refusal(414, f"The URL is longer than {self.limits.max_url_bytes} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Bound the headers, and take one Host and one kind of length only."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > self.limits.max_header_bytes or len(self.headers) >= self.limits.max_headers:
            raise Refusal(
                431, f"More than {self.limits.max_headers} headers, or {self.limits.max_header_bytes} bytes of them."
            )
        if self.in_body:
            # A trailer. What acts on headers has acted; merged late it would be read by some and not by others
            # (RFC 9110, 6.5.1).
            return
        super().on_header(name, value)
        size = len(name)
        if size == 4 and name.lower() == b"host":
            self._hosts += 1
            self._host = value
        elif size == 14 and name.lower() == b"content-length":
            if int(value) > self.limits.max_body_bytes:
                raise self._too_large()
        elif size == 17 and name.lower() == b"transfer-encoding":
            self._has_coding = True
            if value.strip().lower() != b"chunked":
                raise Refusal(400, "Transfer-Encoding is chunked, or is left out.")

    def on_headers_complete(self) -> None:
        """Refuse what is ambiguous, then start the request."""
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise Refusal(400, "The HTTP version is 1.1 or 1.0.")
        if self._has_coding and version == "1.0":
            raise Refusal(400, "HTTP/1.0 has no Transfer-Encoding.")
        if self._hosts != 1 and not (self._hosts == 0 and version == "1.0"):
            raise Refusal(400, f"A request has one Host header, this one has {self._hosts}.")
        if self.parser.get_method() == b"CONNECT":
            raise Refusal(405, "This server is no proxy.")
        if not self.url.startswith(b"/"):
            self._check_absolute_target()
        if self.parser.should_upgrade():
            self.scope["method"] = self.parser.get_method().decode("ascii")
            self._is_reread = True
            return
        if len(self.pipeline) >= self.limits.max_pipelined:
            raise Refusal(
                429,
                f"More than {self.limits.max_pipelined} requests wait on this connection.",
                "REQUEST_LIMIT_EXCEEDED",
            )
        self._may_defer = self.take is not None and not self.expect_100_continue
        super().on_headers_complete()
        self._may_defer = False
        if self.expect_100_continue:
            # Refused before its body, the client may send the body or not: only a new connection is in step.
            self.cycle.keep_alive = False
        self.in_body = True
        self.waiting_since = self.loop.time()

    def _check_absolute_target(self) -> None:
        """Refuse a target that names another host than the Host header: which of the two counts is a matter of taste.

        The target does by RFC 9112, 3.2.2; the checks of the Host header look at the header.
        """
        rest = self.url.partition(b"://")[2]
        for mark in (b"/", b"?", b"#"):
            rest = rest.partition(mark)[0]
        if rest.lower() != self._host.strip().lower():
            raise Refusal(400, "The request's target is not a path, and names another host than the Host header.")

    def on_body(self, body: bytes) -> None:
        """Count the body; a chunked one has no length to refuse by."""
        self.body_bytes += len(body)
        if self.body_bytes > self.limits.max_body_bytes:
            raise self._too_large()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Nothing is awaited from the client any more."""
        if self._is_reread:
            return
        self.waiting_since, self.in_body, self._raw_bytes = 0.0, False, 0
        self._is_mid_message = False
        super().on_message_complete()
        if self._deferred is not None:
            (cycle, app), self._deferred = self._deferred, None
            # The body is in; what is read now is the client leaving, or its next request.
            self.flow.resume_reading()
            # Whoever reads no answers is made to wait by the application's `send`; `respond` waits for nobody.
            if self.flow.write_paused or self.take is None or not self.take(cycle):
                super()._start_asgi_task(cycle, app)
        elif self.cycle.response_complete and not self.transport.is_closing():
            # Answered before its body was in: uvicorn's idle timer has been unset by that body.
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._may_defer and cycle.scope["method"] == "POST":
            self._deferred = (cycle, app)
        else:
            super()._start_asgi_task(cycle, app)

    def respond(
        self, cycle: RequestResponseCycle, status: int, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Answer a request that was taken, with one write. What is for nobody any more is dropped."""
        if cycle.response_complete or cycle.disconnected or self.transport.is_closing():
            return
        pieces = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            pieces += (name, b": ", value, b"\r\n")
        if not cycle.keep_alive:
            pieces.append(b"connection: close\r\n")
        pieces += (b"\r\n", body)
        cycle.response_started = cycle.response_complete = True
        # An idle connection holds nothing of its last request.
        cycle.body, self.call = bytearray(), None
        self.transport.write(b"".join(pieces))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def _too_large(self) -> Refusal:
        error = too_large(self.limits.max_body_bytes)
        return Refusal(error.status, error.message, error.error_code)

    # -- refusals --------------------------------------------------------------------------------------------

    def refuse(self, status: int, error_code: str, message: str) -> None:
        """Answer what is being received with an error in Databricks' shape, then close the connection."""
        self._is_refused = True
        self.waiting_since = 0.0
        if self.transport.is_closing():
            return
        request_id = secrets.token_hex(16)
        type(self).note_refused(request_id, status, error_code, getattr(self, "url", b""))
        answer = render_refusal(status, error_code, message, request_id)
        if not self.in_body:
            waits = self.cycle is not None and not self.cycle.response_complete
        elif self.pipeline and self.pipeline[0][0] is self.cycle:
            # Its own turn has not come; without its body it never will.
            self.pipeline.popleft()
            waits = True
        else:
            if self.cycle.response_started:
                # A second answer would be taken for that to another request.
                answer = b""
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            waits = False
        if waits:
            self._refusal = answer
        else:
            self._close_with(answer)

    def on_response_complete(self) -> None:
        """Go on with the next request, or with the refusal that waits."""
        super().on_response_complete()
        if self._refusal is not None and self.timeout_keep_alive_task is not None:
            # The timer is set when no request is left.
            self._unset_keepalive_if_required()
            self._close_with(self._refusal)

    def _close_with(self, answer: bytes) -> None:
        if answer:
            self.transport.write(answer)
        self.transport.close()

    def _linger(self) -> bool:
        """Say that nothing more is coming, and read what the client still sends. Returns whether that is needed."""
        transport = self.transport._transport  # type: ignore[attr-defined]
        if not self._is_mid_message or self._is_shutting_down or transport.is_closing():
            return False
        self._lingering_since = self.loop.time()
        if transport.can_write_eof():
            with contextlib.suppress(OSError):  # the client is gone; the transport will say so
                transport.write_eof()
        self.flow.resume_reading()
        return True

    # -- clocks: called once a second ------------------------------------------------------------------------

    def check_clock(self, now: float) -> None:
        """Close a connection whose client has stalled."""
        limits = self.limits
        if self._lingering_since:
            if now - self._lingering_since > limits.linger_s:
                self.transport.abort()
            return
        if self.transport.given_bytes != self._out_bytes and self._is_stalled(now):  # type: ignore[attr-defined]
            self.transport.abort()
            return
        if not self.waiting_since:
            return
        if self.flow.read_paused:
            # *We* do not read (an earlier request is being answered): that is not the client's fault.
            self.waiting_since = now
            return
        waited = now - self.waiting_since
        if self.in_body:
            is_slow = (
                waited > limits.body_grace_s
                and self.body_bytes < (waited - limits.body_grace_s) * limits.body_min_bytes_per_s
            )
            if is_slow or waited > limits.body_deadline_s:
                self.refuse(408, "BAD_REQUEST", "The body came too slowly.")
        elif waited > limits.header_deadline_s:
            if self._is_mid_message:
                self.refuse(408, "BAD_REQUEST", f"The headers did not arrive within {limits.header_deadline_s:g} s.")
            else:
                # Opened in advance, as browsers do: an answer would be taken for that to a request still to come.
                self._is_refused = True
                self.transport.close()

    def _is_stalled(self, now: float) -> bool:
        """Whether the client takes nothing of what was written to it."""
        transport: Any = self.transport
        left = transport.get_write_buffer_size()
        if not left:
            self._out_bytes, self._stalled_since = transport.given_bytes, 0.0
            return False
        if self._out_bytes != transport.given_bytes - left or not self._stalled_since:
            self._out_bytes, self._stalled_since = transport.given_bytes - left, now
            return False
        return bool(now - self._stalled_since > self.limits.write_stall_s)

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: whoever asks for an upgrade could fill the log."""


def guarded(
    limits: HttpLimits,
    take: Callable[[GuardedProtocol, RequestResponseCycle], bool] | None = None,
    before_sending: Callable[[], None] = lambda: None,
    note_refused: Callable[[str, int, str, bytes], None] = lambda request_id, status, error_code, url: None,
) -> type[GuardedProtocol]:
    """Return the protocol class for a process with these limits; see the attributes of `GuardedProtocol`."""
    shared: dict[str, Any] = {
        "limits": limits,
        "open_connections": set(),
        "take": take,
        "before_sending": staticmethod(before_sending),
    }
    shared["note_refused"] = staticmethod(note_refused)
    return type("Protocol", (GuardedProtocol,), shared)


def check_clocks(connections: Iterable[GuardedProtocol], now: float) -> None:
    """Close every connection whose client has stalled."""
    for connection in list(connections):
        connection.check_clock(now)
