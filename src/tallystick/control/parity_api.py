"""The routes of parity: an endpoint's settings, what is known of it, and checks on demand."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import msgspec

from tallystick.control import api_schemas as schemas
from tallystick.control.api_handlers import Call
from tallystick.control.api_operation import Operation
from tallystick.control.api_rules import Rule
from tallystick.control.fields import fields_of
from tallystick.control.parity import shown_settings
from tallystick.control.service import level
from tallystick.entities import Endpoint, Level


def parity_routes(endpoint_path: str) -> tuple[Operation, ...]:
    """Return the routes below an endpoint's path."""
    path = f"{endpoint_path}/parity"
    return (
        Operation("GET", path, Rule.VIEW, "Whether the endpoint gives training's answers", _get),
        Operation("PUT", path, Rule.MANAGE, "Replace the settings of parity", _put, schemas.PARITY),
        Operation(
            "POST", f"{path}/check", Rule.MANAGE, "Replay golden rows on each replica now", _check, schemas.PARITY_CHECK
        ),
    )


def _get(call: Call) -> Awaitable[dict[str, Any]]:
    return _described(call, call.service.get_endpoint(call.principal, call.path["name"]))


def _put(call: Call) -> Awaitable[dict[str, Any]]:
    return _described(call, call.service.put_parity(call.principal, call.path["name"], call.body))


def _check(call: Call) -> Awaitable[dict[str, Any]]:
    endpoint = call.service.get_endpoint(call.principal, call.path["name"])
    fields = fields_of(call.body)
    entity_name = fields.text("served_entity") or None
    fields.refuse_if_wrong("The check")
    return _checked(call, endpoint, entity_name)


async def _described(call: Call, endpoint: Endpoint) -> dict[str, Any]:
    parity = call.service.parity
    found: dict[str, Any] = msgspec.to_builtins(
        {
            "settings": shown_settings(endpoint, to_manager=level(call.principal, endpoint) >= Level.CAN_MANAGE),
            "gate": parity.gate(endpoint),
            "live": parity.live(endpoint),
            "incidents": parity.incidents(endpoint),
        }
    )
    return found


async def _checked(call: Call, endpoint: Endpoint, entity_name: str | None) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(await call.service.parity.check(endpoint, entity_name))
    return found
