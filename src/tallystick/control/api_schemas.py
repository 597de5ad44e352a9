"""Shapes of request bodies, as JSON Schema: for readers of the API's description. Bodies are parsed elsewhere.

What a schema says is the usual spelling; `control.fields` tells what passes beyond it.
"""

from __future__ import annotations

from typing import Any

from tallystick.control.config_request import WORKLOAD_TYPES
from tallystick.entities import WORKLOAD_SIZES
from tallystick.gate.report import Policy
from tallystick.protocol.routes import Durability

Schema = dict[str, Any]


def _object(required: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return schema | ({"required": list(required)} if required else {})


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _text(description: str = "", **more: Any) -> Schema:
    return {"type": "string", **more} | ({"description": description} if description else {})


def _integer(description: str = "") -> Schema:
    return {"type": "integer"} | ({"description": description} if description else {})


_FLAG: Schema = {"type": "boolean"}

SERVED_ENTITY = _object(
    ("entity_name",),
    name=_text("Default: last part of entity_name, dash, entity_version"),
    entity_name=_text("Registry name, models:/ or runs:/ URI, or absolute path (admins)"),
    entity_version=_text("Version number; with a registry name only"),
    workload_size=_text(enum=list(WORKLOAD_SIZES)),
    min_provisioned_concurrency=_integer("Instead of workload_size"),
    max_provisioned_concurrency=_integer("Instead of workload_size"),
    workload_type=_text(enum=list(WORKLOAD_TYPES)),
    scale_to_zero_enabled=_FLAG,
    environment_vars={
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "Values, '{{secrets/<scope>/<key>}}', and TALLYSTICK_<OPTION>",
    },
)
ROUTE = _object(
    ("served_entity_name", "traffic_percentage"),
    served_entity_name=_text(),
    traffic_percentage={"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 0.01},
)
CONFIG = _object(
    ("served_entities",),
    served_entities=_list(SERVED_ENTITY),
    traffic_config=_object(("routes",), routes=_list(ROUTE)),
    auto_capture_config=_object(catalog_name=_text(), schema_name=_text(), table_name_prefix=_text(), enabled=_FLAG),
)
_TAGS = _list(_object(("key",), key=_text(), value=_text()))
_RATE_LIMITS = _list(
    _object(
        ("calls",),
        calls=_integer("Calls a minute"),
        key=_text(enum=["endpoint", "user"]),
        renewal_period=_text(enum=["minute"]),
    )
)
RATE_LIMITS = _object(rate_limits=_RATE_LIMITS)
AI_GATEWAY = _object(
    rate_limits=_list(
        _object(
            ("calls",),
            calls=_integer("Calls a minute"),
            key=_text(enum=["endpoint", "user", "user_group", "service_principal"]),
            principal=_text("Whose limit it is"),
            renewal_period=_text(enum=["minute"]),
        )
    ),
    inference_table_config=_object(catalog_name=_text(), schema_name=_text(), table_name_prefix=_text(), enabled=_FLAG),
    usage_tracking_config=_object(enabled=_FLAG),
)
NOTIFICATIONS = _object(email_notifications=_object(on_update_success=_list(_text()), on_update_failure=_list(_text())))
TELEMETRY = _object(
    telemetry_config=_object(
        table_names=_object(logs_table=_text(), metrics_table=_text(), traces_table=_text()),
        inference_table_config=_object(name=_text(), sampling_fraction={"type": "number"}),
        enabled_telemetry_features=_list(_text()),
    )
)
INFERENCE_TABLE = _object(
    enabled=_FLAG,
    sampling_fraction={"type": "number", "minimum": 0, "maximum": 1},
    durability=_text(enum=[level.value for level in Durability]),
    required=_FLAG,
    max_payload_bytes=_integer("Larger bodies are left out; at most 16 MiB"),
    drop_columns=_list(_text()),
    hash_columns=_list(_text()),
    retention_days=_integer("0: for ever"),
)
PARITY = _object(
    gate=_text("What becomes of a version that does not reproduce its training", enum=[each.value for each in Policy]),
    monitor=_FLAG,
    webhook=_text("http(s) URL that incidents are sent to; empty for none"),
    key=_text("Column that is sent, or usage_context.<name>, that says whom a row is about; empty for none"),
)
PARITY_CHECK = _object(served_entity=_text("Default: all that serve"))
_VALUE: Schema = {"type": ["number", "boolean", "string"]}
_FEEDBACK_LINE = _object(
    request_id=_text("The id that the server gave; or client_request_id"),
    client_request_id=_text("The id that the client sent"),
    row=_integer("Row of the input, from 0"),
    label=_VALUE,
    outcome=_VALUE,
    values={"type": "object", "additionalProperties": _VALUE},
    name=_text("With value: one more"),
    value=_VALUE,
)
FEEDBACK = _FEEDBACK_LINE | {"properties": _FEEDBACK_LINE["properties"] | {"feedback": _list(_FEEDBACK_LINE)}}
CREATE_ENDPOINT = _object(
    ("name",),
    name=_text("1 to 63 letters, digits, '-' and '_'; cannot be changed"),
    config=CONFIG,
    description=_text(),
    tags=_TAGS,
    rate_limits=_RATE_LIMITS,
    ai_gateway=AI_GATEWAY,
    route_optimized=_FLAG,
    email_notifications=NOTIFICATIONS["properties"]["email_notifications"],
    telemetry_config=TELEMETRY["properties"]["telemetry_config"],
    inference_table=INFERENCE_TABLE,
    parity=PARITY,
)
PATCH_TAGS = _object(add_tags=_TAGS, delete_tags=_list(_text()))
ACCESS_CONTROL_LIST = _object(
    access_control_list=_list(
        _object(
            ("permission_level",),
            user_name=_text("One of user_name, group_name, service_principal_name"),
            group_name=_text("'users' is everybody with a token"),
            service_principal_name=_text(),
            permission_level=_text(enum=["CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"]),
        )
    )
)
CREATE_TOKEN = _object(
    comment=_text(),
    lifetime_seconds=_integer("Left out: never expires"),
    principal=_text("Whose token; default the caller; others by admins only"),
    is_admin=_FLAG,
)
REVOKE_TOKEN = _object(("token_id",), token_id=_text())
SCOPE = _object(("scope",), scope=_text())
SECRET_KEY = _object(("scope", "key"), scope=_text(), key=_text())
PUT_SECRET = _object(("scope", "key"), scope=_text(), key=_text(), string_value=_text(), bytes_value=_text("Base64"))
DIAGNOSE = _object(
    served_entity=_text("Left out: all that the endpoint serves"),
    since_s=_integer("How far back rows are taken from; left out: the last hour, or more where that has few"),
    rows=_FLAG,
    html=_FLAG,
    key=_text("What says whom a row is about; left out: the endpoint's setting"),
)
NOTHING = _object()
