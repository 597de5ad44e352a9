"""The routes of diagnoses, incidents and live profiles, below an endpoint's path."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from tallystick.control import api_schemas as schemas
from tallystick.control.api_handlers import Call
from tallystick.control.api_operation import Operation
from tallystick.control.api_rules import Rule
from tallystick.control.capture import feedback_table, intended
from tallystick.control.fields import Fields, fields_of, shown
from tallystick.control.parity import key_of
from tallystick.entities import Endpoint
from tallystick.protocol.monitoring import Window

#: What was answered a moment ago is judged too, when it can be written within this time.
_FLUSH_TIMEOUT_S = 5.0
_MAX_SINCE_S = 10 * 366 * 86_400
#: Windows that the monitor keeps counts of, before the current one.
_MOST_AGO: Mapping[Window, int] = {Window.HOUR: 47, Window.DAY: 29}


def incident_routes(endpoint_path: str) -> tuple[Operation, ...]:
    """Return the routes below an endpoint's path."""
    path = f"{endpoint_path}/parity"
    incidents = f"{path}/incidents"
    return (
        Operation(
            "POST",
            f"{path}/diagnose",
            Rule.MANAGE,
            "Say now why live rows differ from training",
            _diagnose,
            schemas.DIAGNOSE,
        ),
        Operation("GET", f"{path}/profile", Rule.VIEW, "Get how live rows look beside training", _profile),
        Operation("GET", incidents, Rule.VIEW, "List the endpoint's incidents, the newest first", _list),
        Operation(
            "GET", f"{incidents}/{{incident}}", Rule.VIEW, "Get an incident with its verdict and example rows", _get
        ),
    )


def _list(call: Call) -> dict[str, Any]:
    return {"incidents": call.service.parity.kept(_endpoint(call))}


def _get(call: Call) -> dict[str, Any]:
    return call.service.parity.incident(_endpoint(call), call.path["incident"])


def _diagnose(call: Call) -> Awaitable[dict[str, Any]]:
    return _diagnosed(call, _endpoint(call), parse_diagnose(call.body))


def _profile(call: Call) -> Awaitable[dict[str, Any]]:
    endpoint = _endpoint(call)
    return call.service.parity.profile(endpoint, parse_profile(call.query))


def _endpoint(call: Call) -> Endpoint:
    return call.service.get_endpoint(call.principal, call.path["name"])


async def _diagnosed(call: Call, endpoint: Endpoint, asked: dict[str, Any]) -> dict[str, Any]:
    capture = intended(endpoint, endpoint.active or endpoint.pending).capture
    # Rows that are a second late are better than no answer.
    await call.service.tables.flush(_FLUSH_TIMEOUT_S, (capture.table, feedback_table(capture.table)))
    return await call.service.parity.diagnose(endpoint, asked)


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


def parse_profile(query: Mapping[str, str]) -> dict[str, Any]:
    """Return what is asked for in a query string. Raises InvalidParameter with every problem."""
    fields: Fields = fields_of(query)
    window = Window(fields.one_of("window", tuple(each.value for each in Window), Window.DAY.value))
    segment = fields.text("segment")
    if segment and not segment.partition("=")[1]:
        fields.wrong("segment", f"expected COLUMN=VALUE, as in client=ios/4.2, got {shown(segment)}")
    asked = {
        "served_entity": fields.text("served_entity"),
        "window": window,
        "ago": fields.integer("ago", 0, _MOST_AGO[window]) or 0,
        "segment": segment,
        "column": fields.text("column"),
    }
    fields.refuse_if_wrong("The request")
    return asked
