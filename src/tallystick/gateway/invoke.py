"""The request path of an invocation, on one page.

1. principal from the Authorization header (cached per route table), 2. endpoint and served entity from the route
table, 3. rate limit, 4. body, inflated if need be, 5. to a worker by way of the entity's pool, 6. journal, 7. answer.

A bare ASGI callable: no router, no request object. Whatever goes wrong is an answer in Databricks' shape.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import random
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec

from tallystick.auth import Principal, authenticate, token_from_header
from tallystick.entities import Enforcement
from tallystick.errors import BadRequest, InternalError, TallystickError
from tallystick.gateway.answers import (
    Header,
    Send,
    answer_headers,
    length_header,
    log_failure,
    render_error,
    send_answer,
)
from tallystick.gateway.call import Call, OnEnd
from tallystick.gateway.limits import RateLimiter, inflate, too_large
from tallystick.gateway.meters import Meters
from tallystick.gateway.pool import EntityPool
from tallystick.gateway.record import CALLER_LEFT, Entry, Register
from tallystick.gateway.routing import CompiledEndpoint, Routes, pick_entity, pinned_entity
from tallystick.journal.writer import Journal
from tallystick.protocol.frame import Answer, Invoke
from tallystick.protocol.routes import EntityRoute, RouteTable

Scope = dict[str, Any]
Receive = Callable[[], Any]
#: (status, headers, body)
Respond = Callable[[int, list[Header], bytes], None]

#: Above this a compressed body is inflated on a thread: 16 MiB take 50 ms of a loop that others wait for.
_INFLATE_INLINE_BYTES = 64 * 1024
_MAX_CACHED_PRINCIPALS, _MAX_CACHED_HEADER = 10_000, 256
_JSON, _EVENT_STREAM = "application/json", "text/event-stream"
#: Chunks of a streamed answer that may wait for a slow client before the answer is given up.
_MAX_WAITING_CHUNKS = 10_000


class Invoker:
    """Answers invocations by the route table that it was last given."""

    def __init__(
        self,
        *,
        index: int,
        gateways: int,
        max_body_bytes: int,
        wake_wait_s: float,
        wake: Callable[[str], None],
        kill: Callable[[str, int, str], None],
        journal: Journal | None = None,
        access_log: bool = False,
    ) -> None:
        self.meters = Meters()
        self.journal = journal
        self.register = Register(self.meters, journal, access_log=access_log)
        self.routes = Routes.compile(RouteTable())
        self.pools: dict[str, EntityPool] = {}
        self._gateways = gateways
        self._max_body_bytes = max_body_bytes
        self._wake_wait_s = wake_wait_s
        self._wake, self._kill = wake, kill
        #: Pools that no table names any more, until their last invocation has ended.
        self._retiring: list[EntityPool] = []
        self._limiter = RateLimiter(gateways)
        self._principals: dict[bytes, tuple[Principal, float]] = {}
        # The gateway's index keeps the numbers of two gateways apart on a worker's board; the process start
        # keeps those of a gateway and its successor apart.
        self._numbers = itertools.count((index + 1) << 48 | (int(time.time()) & 0xFFFF) << 32)
        self._id_prefix = secrets.token_hex(10)
        self._ids = itertools.count()

    def use(self, table: RouteTable) -> None:
        """Answer by this table from now on. Invocations under way end as they began."""
        self.routes = Routes.compile(table)
        self._principals.clear()
        entities = {
            entity.id: entity for route in table.endpoints.values() for entity in (*route.pending, *route.entities)
        }
        for entity_id in self.pools.keys() - entities.keys():
            pool = self.pools.pop(entity_id)
            pool.retire()
            self._retiring.append(pool)
        for entity_id, entity in entities.items():
            if entity_id in self.pools:
                self.pools[entity_id].update(entity)
            else:
                self.pools[entity_id] = EntityPool(
                    entity,
                    gateways=self._gateways,
                    wake_wait_s=self._wake_wait_s,
                    wake=self._wake,
                    kill=self._kill,
                )

    def tick(self, now: float) -> None:
        """Run the clocks of all pools. `now` is loop time."""
        self._retiring = [pool for pool in self._retiring if not pool.is_idle]
        for pool in [*self.pools.values(), *self._retiring]:
            pool.tick(now)

    def new_request_id(self) -> str:
        """Return an id that no other request has: 20 random hex digits of this process, 12 that count."""
        return f"{self._id_prefix}{next(self._ids):012x}"

    def principal(self, authorization: bytes | None) -> Principal:
        """Return who calls. Raises Unauthenticated."""
        now = time.time()
        cached = self._principals.get(authorization) if authorization is not None else None
        if cached is not None and now < cached[1]:
            return cached[0]
        text = token_from_header(authorization.decode("latin-1") if authorization is not None else None)
        tokens = self.routes.table.tokens
        principal = authenticate(text, tokens, int(now * 1000))
        expiry_ms = tokens[principal.token_id].expiry_time_ms
        # The length: spaces around a token are taken, so one caller could have ten thousand long keys kept.
        if (
            authorization is not None
            and len(authorization) <= _MAX_CACHED_HEADER
            and len(self._principals) < _MAX_CACHED_PRINCIPALS
        ):
            self._principals[authorization] = (principal, float("inf") if expiry_ms is None else expiry_ms / 1000)
        return principal

    def begin(
        self,
        endpoint_name: str,
        entity_name: str | None,
        headers: dict[bytes, bytes],
        body: bytes,
        respond: Respond,
    ) -> Call | None:
        """Start an invocation whose body is there; `respond` gets the answer, now or later, once.

        The common path: no task, no future. Returns the call under way, None when it was answered at once.
        """
        entry = Entry(endpoint_name, headers, body, self.new_request_id(), time.time_ns() // 1000, time.monotonic())
        try:
            pool = self.pools[self._admit(entry, entity_name).id]
            call = self._new_call(entry, functools.partial(self._end, entry, pool, respond))
            pool.submit(call)
        except TallystickError as error:
            self._fail(entry, error, respond)
            return None
        return call

    def _end(
        self,
        entry: Entry,
        pool: EntityPool,
        respond: Respond,
        call: Call,
        answer: Answer | None,
        body: bytes,
        error: TallystickError | None,
    ) -> None:
        try:
            _note_attempts(entry, call)
            if answer is None:
                self._fail(entry, error or InternalError("No answer."), respond)
                return
            pool.note_answer(answer)
            assert entry.entity is not None
            headers = [*answer_headers(answer, entry.entity, entry.request_id), length_header(body)]
            self._conclude(entry, answer.status, headers, body, answer, respond)
        except Exception as failure:  # noqa: BLE001  the boundary of an invocation: other answers come after this one
            log_failure(failure, entry.request_id)

    def _fail(self, entry: Entry, error: TallystickError, respond: Respond) -> None:
        """Answer with an error, recorded like any other answer if its endpoint is known."""
        status, headers, body = render_error(error, entry.request_id, entry.entity.name if entry.entity else None)
        if entry.endpoint is None:
            self._note_refused(entry, error)
            respond(status, headers, body)
        else:
            self._conclude(entry, status, headers, body, None, respond, error.error_code)

    def _conclude(
        self,
        entry: Entry,
        status: int,
        headers: list[Header],
        body: bytes,
        answer: Answer | None,
        respond: Respond,
        error_code: str = "",
    ) -> None:
        self.register.ended(
            entry,
            time.monotonic(),
            status,
            answer.content_type if answer is not None else _JSON,
            body,
            answer,
            lambda: respond(status, headers, body),
            lambda error: respond(*render_error(error, entry.request_id)),
            error_code,
        )

    async def _record(
        self,
        entry: Entry,
        status: int,
        content_type: str,
        body: bytes,
        answer: Answer | None = None,
        error_code: str = "",
    ) -> None:
        """As `_conclude`, for those who wait. Raises TemporarilyUnavailable for an answer that may not leave."""
        recorded: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def deliver() -> None:
            if not recorded.done():
                recorded.set_result(None)

        def refuse(error: TallystickError) -> None:
            if not recorded.done():
                recorded.set_exception(error)

        self.register.ended(entry, time.monotonic(), status, content_type, body, answer, deliver, refuse, error_code)
        await recorded

    def _left(self, entry: Entry, call: Call) -> None:
        """The caller left before the answer was there."""
        _note_attempts(entry, call)
        self.register.ended(entry, time.monotonic(), CALLER_LEFT, "", b"", None, lambda: None, lambda _: None)

    def _note_refused(self, entry: Entry, error: TallystickError) -> None:
        path = f"/serving-endpoints/{entry.endpoint_name[:200]}/invocations"
        agent = entry.headers.get(b"user-agent", b"")
        self.register.refused(entry.request_id, entry.time_us, "POST", path, error.status, error.error_code, agent)

    def _admit(self, entry: Entry, entity_name: str | None) -> EntityRoute:
        """Return which served entity answers, if the caller may ask it now."""
        principal = self.principal(entry.headers.get(b"authorization"))
        entry.requester = principal.name
        endpoint = entry.endpoint = self.routes.find(entry.endpoint_name, principal)
        entry.is_pinned = entity_name is not None
        entity = entry.entity = _choose(endpoint, entity_name)
        if endpoint.route.rate_limits:
            self._limiter.take(entry.endpoint_name, endpoint.route.rate_limits, principal, time.time())
        self.register.refuse_unrecordable(endpoint)
        return entity

    async def invoke(
        self, endpoint_name: str, entity_name: str | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one invocation whose body comes in pieces, is compressed, or asks for a stream.

        With `entity_name` the traffic split is not asked.
        """
        headers = dict(scope["headers"])
        entry = Entry(endpoint_name, headers, b"", self.new_request_id(), time.time_ns() // 1000, time.monotonic())
        call: Call | None = None
        try:
            # Asked before the body is read, so that nobody sends megabytes for a refusal.
            principal = self.principal(headers.get(b"authorization"))
            entry.requester, entry.endpoint = principal.name, self.routes.find(endpoint_name, principal)
            entry.body = await self.read_body(headers, receive)
            entry.time_us, entry.started = time.time_ns() // 1000, time.monotonic()
            # Drawn after: the routes may have changed while the body came.
            entity = self._admit(entry, entity_name)
            call = self._new_call(entry)
            connection = scope.get("tallystick.connection")
            if connection is not None:
                connection.call = call
            pool = self.pools[entity.id]
            pool.submit(call)
            if b'"stream"' in entry.body:
                await self._answer_maybe_streamed(call, entry, entity, send)
                return
            assert call.answer is not None
            answer, answer_body = await call.answer
            pool.note_answer(answer)
            await self._answer(call, entry, entity, answer, answer_body, send)
        except TallystickError as error:
            await self._answer_error(entry, call, error, send)
        except asyncio.CancelledError:
            if call is None or not call.is_over:
                raise
            # The client left; uvicorn drops what is sent to nobody.
        except Exception as error:  # noqa: BLE001  the boundary of an invocation
            log_failure(error, entry.request_id)
            failure = InternalError(f"The server failed; its log has more under {entry.request_id}.")
            await self._answer_error(entry, call, failure, send)
        finally:
            connection = scope.get("tallystick.connection")
            if connection is not None:
                connection.call = None
            if call is not None:
                call.abandon()

    async def _answer(
        self, call: Call, entry: Entry, entity: EntityRoute, answer: Answer, body: bytes, send: Send
    ) -> None:
        _note_attempts(entry, call)
        await self._record(entry, answer.status, answer.content_type, body, answer)
        await send_answer(send, answer.status, answer_headers(answer, entity, entry.request_id), body)

    async def _answer_error(self, entry: Entry, call: Call | None, error: TallystickError, send: Send) -> None:
        if call is not None:
            _note_attempts(entry, call)
        status, headers, body = render_error(error, entry.request_id, entry.entity.name if entry.entity else None)
        if entry.endpoint is None:
            self._note_refused(entry, error)
        else:
            # One that may not leave unrecorded is an error itself, and this one says as much.
            with contextlib.suppress(TallystickError):
                await self._record(entry, status, _JSON, body, None, error.error_code)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _new_call(self, entry: Entry, on_end: OnEnd | None = None) -> Call:
        entity, headers = entry.entity, entry.headers
        assert entity is not None
        timeout_s = entity.timeout_s
        meta = Invoke(
            headers.get(b"content-type", b"").decode("latin-1"),
            headers.get(b"accept", b"").decode("latin-1"),
            timeout_s,
            entity.enforcement is Enforcement.STRICT,
            entry.request_id,
        )
        deadline = asyncio.get_running_loop().time() + timeout_s
        call = Call(self.next_number(), meta, entry.body, deadline, on_end)
        call.on_left = functools.partial(self._left, entry)
        return call

    def next_number(self) -> int:
        """Return a number that no other call of any gateway has."""
        return next(self._numbers)

    async def read_body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """Return a request's whole body, inflated. Raises BadRequest, PayloadTooLarge."""
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            # Not a list of pieces: a client may send one byte at a time, and each would cost fifty.
            whole = bytearray(body)
            while message.get("more_body"):
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BadRequest("The client left before the body was complete.")
                whole += message.get("body", b"")
                if len(whole) > self._max_body_bytes:
                    raise too_large(self._max_body_bytes)
            body = bytes(whole)
        elif message["type"] == "http.disconnect":
            raise BadRequest("The client left before the body was complete.")
        encoding = headers.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            name = encoding.decode("latin-1").lower()
            if len(body) <= _INFLATE_INLINE_BYTES // 16:
                body = inflate(body, name, self._max_body_bytes)
            else:
                body = await asyncio.to_thread(inflate, body, name, self._max_body_bytes)
        return body

    async def _answer_maybe_streamed(self, call: Call, entry: Entry, entity: EntityRoute, send: Send) -> None:
        """Answer a request that may stream; which of the two it is, the worker's first frame tells."""
        chunks: asyncio.Queue[bytes] = asyncio.Queue()

        def take(chunk: bytes) -> None:
            if chunks.qsize() < _MAX_WAITING_CHUNKS:
                chunks.put_nowait(chunk)
            else:
                call.abandon()

        assert call.answer is not None
        call.on_chunk = take
        call.answer.add_done_callback(lambda _: chunks.put_nowait(b""))
        first = await chunks.get()
        if not first:
            await self._answer(call, entry, entity, *await call.answer, send)
            return
        headers = answer_headers(Answer(200, _EVENT_STREAM), entity, entry.request_id)
        headers.append((b"cache-control", b"no-cache"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        chunk, sent, limit = first, bytearray(), entry.endpoint.route.capture.max_payload_bytes if entry.endpoint else 0
        while chunk:
            entry.response_bytes += len(chunk)
            if len(sent) <= limit:
                # One byte over the limit says that there was more.
                sent += chunk
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            chunk = await chunks.get()
        tail, status, answer = b"", 200, None
        try:
            answer, _ = await call.answer
        except TallystickError as error:
            tail, status = b"data: " + msgspec.json.encode(error.to_body()) + b"\n\n", error.status
        _note_attempts(entry, call)
        entry.response_bytes += len(tail)
        try:
            await self._record(entry, status, _EVENT_STREAM, bytes(sent) + tail, answer)
        except TallystickError:
            # The status line is out, so an answer that may not leave unrecorded breaks off.
            return
        if tail:
            await send({"type": "http.response.body", "body": tail, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _note_attempts(entry: Entry, call: Call) -> None:
    entry.attempts = call.sent_times
    if call.sent_first_at:
        entry.waited_s = max(0.0, call.sent_first_at - entry.started)


def _choose(endpoint: CompiledEndpoint, entity_name: str | None) -> EntityRoute:
    if entity_name is not None:
        return pinned_entity(endpoint, entity_name)
    return pick_entity(endpoint, random.random())  # noqa: S311  shares traffic, keeps no secret
