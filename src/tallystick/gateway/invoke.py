"""The request path of an invocation, on one page.

1. principal from the Authorization header (cached per route table), 2. endpoint and served entity from the route
table, 3. rate limit, 4. body, inflated if need be, 5. to a worker by way of the entity's pool, 6. answer.

A bare ASGI callable: no router, no request object. Whatever goes wrong is an answer in Databricks' shape.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import msgspec

from tallystick.auth import Principal, authenticate, token_from_header
from tallystick.entities import Enforcement
from tallystick.errors import BadRequest, InternalError, TallystickError
from tallystick.gateway.call import Call, OnEnd
from tallystick.gateway.limits import RateLimiter, inflate, too_large
from tallystick.gateway.pool import EntityPool
from tallystick.gateway.routing import CompiledEndpoint, Routes, pick_entity, pinned_entity
from tallystick.protocol.frame import Answer, Invoke
from tallystick.protocol.routes import EntityRoute, RouteTable

Scope = dict[str, Any]
Receive = Callable[[], Any]
Send = Callable[[dict[str, Any]], Any]
Header = tuple[bytes, bytes]
#: (status, headers, body)
Respond = Callable[[int, list[Header], bytes], None]

#: Above this a compressed body is inflated on a thread: 16 MiB take 50 ms of a loop that others wait for.
_INFLATE_INLINE_BYTES = 64 * 1024
#: A header with the coercions of a request of many columns is cut here; the counters have the rest.
_MAX_COERCIONS_HEADER = 1024
#: Likewise for keys that were ignored: clients and proxies give up at 4 to 64 KB of headers.
_MAX_IGNORED_HEADER = 1024
_MAX_CACHED_PRINCIPALS, _MAX_CACHED_HEADER = 10_000, 256
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
    ) -> None:
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
        entities = {entity.id: entity for route in table.endpoints.values() for entity in route.entities}
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
        request_id = self.new_request_id()
        entity: EntityRoute | None = None
        try:
            entity = self._admit(endpoint_name, entity_name, headers)
            pool = self.pools[entity.id]
            on_end = functools.partial(self._end, entity, pool, request_id, respond)
            call = self._new_call(entity, headers, body, request_id, on_end)
            pool.submit(call)
        except TallystickError as error:
            respond(*render_error(error, request_id, entity.name if entity is not None else None))
            return None
        return call

    def _end(
        self,
        entity: EntityRoute,
        pool: EntityPool,
        request_id: str,
        respond: Respond,
        answer: Answer | None,
        body: bytes,
        error: TallystickError | None,
    ) -> None:
        try:
            if answer is None:
                respond(*render_error(error or InternalError("No answer."), request_id, entity.name))
                return
            pool.note_answer(answer)
            respond(answer.status, [*_answer_headers(answer, entity, request_id), _length(body)], body)
        except Exception as failure:  # noqa: BLE001  the boundary of an invocation: other answers come after this one
            log_failure(failure, request_id)

    def _admit(self, endpoint_name: str, entity_name: str | None, headers: dict[bytes, bytes]) -> EntityRoute:
        """Return which served entity answers, if the caller may ask it now."""
        principal = self.principal(headers.get(b"authorization"))
        endpoint = self.routes.find(endpoint_name, principal)
        entity = _choose(endpoint, entity_name)
        if endpoint.route.rate_limits:
            self._limiter.take(endpoint_name, endpoint.route.rate_limits, principal, time.time())
        return entity

    async def invoke(
        self, endpoint_name: str, entity_name: str | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one invocation whose body comes in pieces, is compressed, or asks for a stream.

        With `entity_name` the traffic split is not asked.
        """
        request_id = self.new_request_id()
        entity: EntityRoute | None = None
        call: Call | None = None
        try:
            headers = dict(scope["headers"])
            # Asked before the body is read, so that nobody sends megabytes for a refusal.
            self.routes.find(endpoint_name, self.principal(headers.get(b"authorization")))
            body = await self._read_body(headers, receive)
            # Drawn after: the routes may have changed while the body came.
            entity = self._admit(endpoint_name, entity_name, headers)
            call = self._new_call(entity, headers, body, request_id)
            connection = scope.get("tallystick.connection")
            if connection is not None:
                connection.call = call
            pool = self.pools[entity.id]
            pool.submit(call)
            if b'"stream"' in body:
                await self._answer_maybe_streamed(call, entity, request_id, send)
                return
            assert call.answer is not None
            answer, answer_body = await call.answer
            pool.note_answer(answer)
            await _send(send, answer.status, _answer_headers(answer, entity, request_id), answer_body)
        except TallystickError as error:
            await send_error(send, error, request_id, entity.name if entity is not None else None)
        except asyncio.CancelledError:
            if call is None or not call.is_over:
                raise
            # The client left; uvicorn drops what is sent to nobody.
        except Exception as error:  # noqa: BLE001  the boundary of an invocation
            log_failure(error, request_id)
            await send_error(
                send, InternalError(f"The server failed; its log has more under {request_id}."), request_id
            )
        finally:
            connection = scope.get("tallystick.connection")
            if connection is not None:
                connection.call = None
            if call is not None:
                call.abandon()

    def _new_call(
        self,
        entity: EntityRoute,
        headers: dict[bytes, bytes],
        body: bytes,
        request_id: str,
        on_end: OnEnd | None = None,
    ) -> Call:
        timeout_s = entity.timeout_s
        meta = Invoke(
            headers.get(b"content-type", b"").decode("latin-1"),
            headers.get(b"accept", b"").decode("latin-1"),
            timeout_s,
            entity.enforcement is Enforcement.STRICT,
            request_id,
        )
        return Call(next(self._numbers), meta, body, asyncio.get_running_loop().time() + timeout_s, on_end)

    async def _read_body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
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

    async def _answer_maybe_streamed(self, call: Call, entity: EntityRoute, request_id: str, send: Send) -> None:
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
            answer, body = await call.answer
            await _send(send, answer.status, _answer_headers(answer, entity, request_id), body)
            return
        headers = _answer_headers(Answer(200, "text/event-stream"), entity, request_id)
        headers.append((b"cache-control", b"no-cache"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        chunk = first
        while chunk:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            chunk = await chunks.get()
        try:
            await call.answer
        except TallystickError as error:
            tail = b"data: " + msgspec.json.encode(error.to_body()) + b"\n\n"
            await send({"type": "http.response.body", "body": tail, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _choose(endpoint: CompiledEndpoint, entity_name: str | None) -> EntityRoute:
    if entity_name is not None:
        return pinned_entity(endpoint, entity_name)
    return pick_entity(endpoint, random.random())  # noqa: S311  shares traffic, keeps no secret


def _answer_headers(answer: Answer, entity: EntityRoute, request_id: str) -> list[Header]:
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
    for column, kinds in coercions.items():
        part = quote(column[:100], safe="") + "".join(f";{kind}={count}" for kind, count in kinds.items())
        size += len(part) + 2
        if size > _MAX_COERCIONS_HEADER:
            parts.append("...")
            break
        parts.append(part)
    return ", ".join(parts).encode("latin-1")


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


async def _send(send: Send, status: int, headers: list[Header], body: bytes) -> None:
    headers.append(_length(body))
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
    return error.status, [*headers, _length(body)], body


async def send_error(send: Send, error: TallystickError, request_id: str, served_model_name: str | None = None) -> None:
    """Answer with an error."""
    status, headers, body = render_error(error, request_id, served_model_name)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _length(body: bytes) -> Header:
    return b"content-length", str(len(body)).encode()


def log_failure(error: BaseException, request_id: str) -> None:
    """Log a fault of ours, once, with the id that the caller was given."""
    import logging

    logging.getLogger("tallystick.gateway").error("request %s failed", request_id, exc_info=error)
