"""The routes of feedback: bytes in, records into the journal, a count out. What the bytes say is read in `feedback`.

They stand beside the table of `api_routes`, as they take CSV too, and bodies far larger than those of other requests.
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from tallystick.auth import Principal
from tallystick.control import api_schemas as schemas
from tallystick.control.api_http import json_response
from tallystick.control.api_rules import Rule, allow
from tallystick.control.capture import feedback_table, intended
from tallystick.control.feedback import parse_feedback, records_of
from tallystick.control.journal import ControlJournal
from tallystick.control.service import Service
from tallystick.entities import Level
from tallystick.errors import InvalidState, PayloadTooLarge
from tallystick.journal.format import Feedback

#: Room for the largest number of values, with ids of usual length. The gateway passes on 1 MiB of it.
MAX_BODY_BYTES = 16 << 20
#: As invocations are addressed, and as everything else of the control API is.
PATHS = ("/serving-endpoints/{name}/feedback", "/api/2.0/serving-endpoints/{name}/feedback")


def add_feedback_routes(app: FastAPI, service: Service, journal: ControlJournal) -> None:
    """Let the app take feedback."""

    @allow(Rule.QUERY)
    async def feedback(request: Request) -> Response:
        body = await _read(request)
        principal: Principal = request.state.principal
        name, kind = request.path_params["name"], request.headers.get("content-type", "")
        # In a thread: it looks into the store, and reading 16 MiB takes a while.
        records = await run_in_threadpool(_records, service, principal, name, kind, body)
        await journal.write(records)
        return json_response({"accepted": len(records)})

    for path in PATHS:
        app.add_api_route(
            path,
            feedback,
            methods=["POST"],
            summary="Labels, outcomes and other values for invocations",
            description=f"May be called by: {Rule.QUERY}. JSON, or CSV with a header (text/csv).",
            response_model=None,
            openapi_extra={
                "requestBody": {
                    "content": {
                        "application/json": {"schema": schemas.FEEDBACK},
                        "text/csv": {"schema": {"type": "string"}},
                    }
                }
            },
        )


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise PayloadTooLarge(
                f"The feedback is larger than {MAX_BODY_BYTES >> 20} MiB; send it in several requests, or with "
                "'tallystick feedback'."
            )
    return bytes(body)


def _records(service: Service, caller: Principal, name: str, content_type: str, body: bytes) -> list[Feedback]:
    endpoint = service.get_endpoint(caller, name, Level.CAN_QUERY)
    if not service.tables.are_on:
        raise InvalidState("This server keeps no inference tables, so there is nothing that feedback could join.")
    # Also where recording is off by now: labels come late.
    capture = intended(endpoint, endpoint.active or endpoint.pending).capture
    return records_of(
        parse_feedback(content_type, body),
        endpoint_name=endpoint.name,
        table=feedback_table(capture.table),
        payload_table=capture.table,
        time_us=service.now_ms() * 1000,
        batch=service.new_id(),
        by=caller.name,
        retention_days=capture.retention_days,
    )
