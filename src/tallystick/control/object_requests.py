"""Reads what surrounds a config in requests: name, tags, limits, gateway, tables, telemetry, grants. Pure.

Only known fields are kept, so that what is stored is what was checked. Problems go to the list of `fields`.
"""

from __future__ import annotations

from typing import Any

from tallystick.control.capture import MAX_PAYLOAD_BYTES, table_problem
from tallystick.control.config_request import name_problem, parse_table_names
from tallystick.control.fields import Fields, shown
from tallystick.entities import NAME_PATTERN, Grant, Level
from tallystick.errors import NotImplementedHere
from tallystick.protocol.routes import Durability

#: Calls a minute that a limit may name; beyond, the limit is a slip.
_MAX_CALLS = 10**12
_PRINCIPAL_KINDS = ("user_name", "group_name", "service_principal_name")
_GRANTABLE = tuple(level.name for level in Level if level is not Level.NONE)
#: Columns of an inference table that may be left out or hashed; the others are needed to read it.
_WITHHELD = (
    "request", "response", "requester", "client_request_id", "user_agent", "usage_context", "sticky_key_hash",
)  # fmt: skip
_INPUT_COLUMN = "request."
_MAX_WITHHELD, _MAX_COLUMN_CHARS = 1000, 256
_MAX_RETENTION_DAYS = 36_500
_TELEMETRY_TABLES = ("logs_table", "metrics_table", "traces_table", "annotations_table")


def parse_endpoint_name(fields: Fields) -> str:
    """Return the name of an endpoint to create."""
    name = fields.required_text("name")
    if name and not NAME_PATTERN.fullmatch(name):
        fields.wrong("name", name_problem(name))
    if name.lower().startswith("databricks-"):
        fields.wrong("name", "the prefix 'databricks-' is reserved")
    return name


def parse_tags(fields: Fields, key: str) -> dict[str, str | None]:
    """Return the tags of a list of `{"key", "value"?}`."""
    found: dict[str, str | None] = {}
    for item in fields.objects(key):
        tag = item.required_text("key")
        if tag in found:
            item.wrong("key", f"'{tag[:64]}' is given twice")
        found[tag] = item.text("value") if item.has("value") else None
    return found


def parse_rate_limits(fields: Fields) -> list[dict[str, Any]]:
    """Return the rate limits of an endpoint as they are stored and echoed."""
    return [_rate_limit(item, ("endpoint", "user")) for item in fields.objects("rate_limits")]


def parse_ai_gateway(fields: Fields, endpoint_name: str) -> dict[str, Any]:
    """Return an AI gateway config. Raises NotImplementedHere for what would silently protect nobody."""
    if fields.values.get("guardrails"):
        raise NotImplementedHere("Guardrails are not implemented here.")
    if fields.inner("fallback_config").flag("enabled"):
        raise NotImplementedHere("Fallbacks between served entities are not implemented here.")
    found: dict[str, Any] = {}
    if fields.has("rate_limits"):
        keys = ("endpoint", "user", "user_group", "service_principal")
        found["rate_limits"] = [_rate_limit(item, keys) for item in fields.objects("rate_limits")]
    if fields.has("inference_table_config"):
        table = fields.inner("inference_table_config")
        found["inference_table_config"] = {
            "table_name_prefix": endpoint_name,
            **parse_table_names(table),
            "enabled": bool(table.flag("enabled")),
        }
    if fields.has("usage_tracking_config"):
        found["usage_tracking_config"] = {"enabled": bool(fields.inner("usage_tracking_config").flag("enabled"))}
    return found


def parse_notifications(fields: Fields) -> dict[str, Any]:
    """Return whom to mail; kept for clients, nothing is mailed."""
    inner = fields.inner("email_notifications")
    return {key: inner.texts(key) for key in ("on_update_success", "on_update_failure") if inner.has(key)}


def parse_telemetry(fields: Fields) -> dict[str, Any] | None:
    """Return a telemetry config; None when it is left out, which removes it."""
    if not fields.has("telemetry_config"):
        return None
    inner = fields.inner("telemetry_config")
    found: dict[str, Any] = _texts(inner, ("telemetry_profile_id",))
    if inner.has("table_names"):
        names = inner.inner("table_names")
        found["table_names"] = _texts(names, _TELEMETRY_TABLES)
        _check_table(names, "logs_table")
    if inner.has("inference_table_config"):
        table = inner.inner("inference_table_config")
        share = table.share("sampling_fraction")
        _check_table(table, "name")
        found["inference_table_config"] = _texts(table, ("name",)) | (
            {} if share is None else {"sampling_fraction": share}
        )
    if inner.has("enabled_telemetry_features"):
        found["enabled_telemetry_features"] = inner.texts("enabled_telemetry_features")
    return found


def parse_inference_table(fields: Fields) -> dict[str, Any]:
    """Return what an endpoint's own object says of its inference table: only what is given."""
    found: dict[str, Any] = {
        "enabled": fields.flag("enabled"),
        "sampling_fraction": fields.share("sampling_fraction"),
        "required": fields.flag("required"),
        "max_payload_bytes": fields.integer("max_payload_bytes", 0, MAX_PAYLOAD_BYTES),
        "retention_days": fields.integer("retention_days", 0, _MAX_RETENTION_DAYS),
    }
    if fields.has("durability"):
        levels = tuple(level.value for level in Durability)
        found["durability"] = fields.one_of("durability", levels, Durability.PROCESS_CRASH)
    for key in ("drop_columns", "hash_columns"):
        if fields.has(key):
            found[key] = _withheld(fields, key)
    for column in sorted({*found.get("drop_columns", ())} & {*found.get("hash_columns", ())}):
        fields.wrong("hash_columns", f"'{column[:64]}' is to be dropped too; give it once")
    if found["required"] and found.get("durability") == Durability.NONE:
        fields.wrong("required", f"'{Durability.NONE}' answers before anything is written; give another durability")
    return {key: value for key, value in found.items() if value is not None}


def parse_grants(fields: Fields) -> tuple[Grant, ...]:
    """Return the lines of an access control list; of two for one principal the later counts."""
    found: dict[tuple[str, str], Grant] = {}
    for item in fields.objects("access_control_list"):
        kinds = [kind for kind in _PRINCIPAL_KINDS if item.has(kind)]
        if len(kinds) != 1:
            item.problems.append(f"{item.where}: give one of {', '.join(_PRINCIPAL_KINDS)}")
            continue
        name = item.required_text(kinds[0])
        level = item.text("permission_level")
        if level not in _GRANTABLE:
            item.wrong("permission_level", f"expected one of {', '.join(_GRANTABLE)}, got '{level[:40]}'")
            continue
        found[kinds[0], name] = Grant(kinds[0], name, Level[level])
    return tuple(found.values())


def _rate_limit(fields: Fields, keys: tuple[str, ...]) -> dict[str, Any]:
    if fields.has("tokens"):
        fields.wrong("tokens", "limits of tokens are not implemented here; give calls")
    calls = fields.integer("calls", 0, _MAX_CALLS)
    if calls is None and not fields.has("calls"):
        fields.wrong("calls", "is missing")
    found = {
        "calls": calls,
        "key": fields.one_of("key", keys, "endpoint"),
        "renewal_period": fields.one_of("renewal_period", ("minute",), "minute"),
    } | _texts(fields, ("principal",))
    if found["key"] in ("user_group", "service_principal") and not found.get("principal"):
        fields.wrong("principal", f"is missing: a limit of a {found['key']} says whose")
    return found


def _withheld(fields: Fields, key: str) -> list[str]:
    found = list(dict.fromkeys(fields.texts(key)))
    for column in found:
        is_input = column.startswith(_INPUT_COLUMN) and len(_INPUT_COLUMN) < len(column) <= _MAX_COLUMN_CHARS
        if not is_input and column not in _WITHHELD:
            listed = ", ".join(_WITHHELD)
            fields.wrong(key, f"expected one of {listed}, or 'request.<column of the input>', got {shown(column)}")
    if len(found) > _MAX_WITHHELD:
        fields.wrong(key, f"has {len(found)} columns; at most {_MAX_WITHHELD} are allowed")
    return found


def _check_table(fields: Fields, key: str) -> None:
    name = fields.text(key)
    if name and (problem := table_problem(name)):
        fields.wrong(key, problem)


def _texts(fields: Fields, keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: fields.text(key) for key in keys if fields.has(key)}
