"""Requests to one replica, past traffic split, rate limits and recording: how golden rows are replayed.

For those who may manage the endpoint. Served entities that are not routed yet are reached too; a line in the access
log is all that is left.
"""

from __future__ import annotations

import asyncio
import time

from tallystick.entities import Enforcement
from tallystick.errors import BadRequest, InvalidParameter, TallystickError
from tallystick.gateway.answers import Send, answer_headers, render_error, send_answer
from tallystick.gateway.call import Call
from tallystick.gateway.invoke import Invoker, Receive, Scope
from tallystick.protocol.frame import GOLDEN, IDENTITY, Invoke
from tallystick.protocol.routes import EntityRoute

REPLICA, TRACE = b"x-tallystick-replica", b"x-tallystick-trace"


def is_asked(headers: dict[bytes, bytes]) -> bool:
    """Whether a request is for one replica."""
    return REPLICA in headers or TRACE in headers


def misplaced(endpoint_name: str = "") -> InvalidParameter:
    """Return the refusal of a request for one replica at an address that draws the replica."""
    name = endpoint_name[:80] or "<endpoint>"
    return InvalidParameter(
        "x-tallystick-replica and x-tallystick-trace ask one replica of one served entity: send the request to "
        f"/serving-endpoints/{name}/served-models/<served entity>/invocations, or leave the headers out."
    )


async def ask_replica(
    invoker: Invoker, endpoint_name: str, entity_name: str, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer a request to one replica of a served entity. Leaves no row, and counts for no limit."""
    headers, request_id = dict(scope["headers"]), invoker.new_request_id()
    time_us, started, status, caller = time.time_ns() // 1000, time.perf_counter(), 0, ""
    connection = scope.get("tallystick.connection")
    call: Call | None = None
    try:
        principal = invoker.principal(headers.get(b"authorization"))
        caller = principal.name
        # Asked before the body is read, and for what is routed after it.
        invoker.routes.find_entities(endpoint_name, entity_name, principal)
        replica, trace = (headers.get(name, b"").decode("latin-1") for name in (REPLICA, TRACE))
        if not replica:
            raise BadRequest("Say which replica is to be traced: x-tallystick-replica. 'tallystick status' lists them.")
        if trace not in ("", GOLDEN, IDENTITY):
            raise BadRequest(f"x-tallystick-trace takes '{GOLDEN}' or '{IDENTITY}', got '{trace[:40]}'.")
        body = await invoker.read_body(headers, receive)
        entity = _of_replica(invoker.routes.find_entities(endpoint_name, entity_name, principal), replica)
        meta = Invoke(
            headers.get(b"content-type", b"").decode("latin-1"),
            headers.get(b"accept", b"").decode("latin-1"),
            entity.timeout_s,
            entity.enforcement is Enforcement.STRICT,
            request_id,
            trace=trace,
        )
        call = Call(invoker.next_number(), meta, body, asyncio.get_running_loop().time() + entity.timeout_s)
        if connection is not None:
            connection.call = call
        pool = invoker.pools[entity.id]
        pool.submit_to(call, replica)
        assert call.answer is not None
        answer, answered = await call.answer
        pool.note_answer(answer)
        status = answer.status
        await send_answer(send, answer.status, answer_headers(answer, entity, request_id), answered)
    except TallystickError as error:
        status, error_headers, text = render_error(error, request_id)
        await send({"type": "http.response.start", "status": status, "headers": error_headers})
        await send({"type": "http.response.body", "body": text})
    except asyncio.CancelledError:
        if call is None or not call.is_over:
            raise
        # The client left; uvicorn drops what is sent to nobody.
    finally:
        if connection is not None:
            connection.call = None
        if call is not None:
            call.abandon()
        # No row, but a line: who looked into a replica is worth knowing.
        latency_ms, agent = (time.perf_counter() - started) * 1000, headers.get(b"user-agent", b"")
        path = scope["path"]
        invoker.register.access(request_id, time_us, latency_ms, "POST", path, status, caller, agent)


def _of_replica(found: list[EntityRoute], replica: str) -> EntityRoute:
    """Return the served entity that has the replica; where none has, the one whose pool will say so."""
    for entity in found:
        if any(each.id == replica for each in entity.replicas):
            return entity
    return found[0]
