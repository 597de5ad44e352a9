"""The routes of diagnoses and incidents. They stand beside the table of `api_routes`, as the monitor answers them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from tallystick.auth import Principal
from tallystick.control import api_schemas as schemas
from tallystick.control.api_http import json_response, read_json
from tallystick.control.api_rules import Rule, allow
from tallystick.control.capture import feedback_table, intended
from tallystick.control.fields import Fields, fields_of
from tallystick.control.incidents import Monitor, get_incident, list_incidents
from tallystick.control.parity import key_of
from tallystick.control.service import Service
from tallystick.entities import Endpoint, Level

PARITY_PATH = "/api/2.0/serving-endpoints/{name}/parity"
DIAGNOSE_PATH = PARITY_PATH + "/diagnose"
INCIDENTS_PATH = PARITY_PATH + "/incidents"
INCIDENT_PATH = INCIDENTS_PATH + "/{incident}"
#: What was answered a moment ago is judged too, when it can be written within this time.
_FLUSH_TIMEOUT_S = 5.0
_MAX_SINCE_S = 10 * 366 * 86_400


def add_incident_routes(app: FastAPI, service: Service, monitor: Monitor, data_dir: Path) -> None:
    """Let the app diagnose, and tell of incidents."""

    def found(request: Request, needed: Level) -> Endpoint:
        principal: Principal = request.state.principal
        return service.get_endpoint(principal, request.path_params["name"], needed)

    @app.post(
        DIAGNOSE_PATH,
        summary="Say now why live rows differ from training",
        description=f"May be called by: {Rule.MANAGE}.",
        response_model=None,
        openapi_extra={"requestBody": {"content": {"application/json": {"schema": schemas.DIAGNOSE}}}},
    )
    @allow(Rule.MANAGE)
    async def diagnose(request: Request) -> Response:
        endpoint = await run_in_threadpool(found, request, Level.CAN_MANAGE)
        asked = parse_diagnose(await read_json(request))
        capture = intended(endpoint, endpoint.active or endpoint.pending).capture
        # Rows that are a second late are better than no answer.
        await service.tables.flush(_FLUSH_TIMEOUT_S, (capture.table, feedback_table(capture.table)))
        return json_response(await monitor.diagnose(endpoint.name, **asked))

    @app.get(
        INCIDENTS_PATH,
        summary="List the endpoint's incidents, the newest first",
        description=f"May be called by: {Rule.VIEW}.",
        response_model=None,
    )
    @allow(Rule.VIEW)
    async def incidents(request: Request) -> Response:
        endpoint = await run_in_threadpool(found, request, Level.CAN_VIEW)
        return json_response({"incidents": await run_in_threadpool(list_incidents, data_dir, endpoint.id)})

    @app.get(
        INCIDENT_PATH,
        summary="Get an incident with its verdict and example rows",
        description=f"May be called by: {Rule.VIEW}.",
        response_model=None,
    )
    @allow(Rule.VIEW)
    async def incident(request: Request) -> Response:
        endpoint = await run_in_threadpool(found, request, Level.CAN_VIEW)
        return json_response(
            await run_in_threadpool(get_incident, data_dir, endpoint.id, request.path_params["incident"])
        )


def parse_diagnose(body: object) -> dict[str, Any]:
    """Return what is asked for. Raises InvalidParameter with every problem."""
    fields: Fields = fields_of(body)
    asked = {
        "served_entity": fields.text("served_entity"),
        "since_s": float(fields.integer("since_s", 1, _MAX_SINCE_S) or 0),
        "rows": bool(fields.flag("rows")),
        "html": bool(fields.flag("html")),
        "key": key_of(fields),
    }
    fields.refuse_if_wrong("The request")
    return asked
