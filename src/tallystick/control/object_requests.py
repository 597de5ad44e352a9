"""Reads what surrounds a config in requests: name, tags, limits, gateway, notifications, telemetry, grants. Pure.

Only known fields are kept, so that what is stored is what was checked. Problems go to the list of `fields`.
"""

from __future__ import annotations

from typing import Any

from tallystick.control.config_request import name_problem
from tallystick.control.fields import Fields
from tallystick.entities import NAME_PATTERN, Grant, Level
from tallystick.errors import NotImplementedHere

#: Calls a minute that a limit may name; beyond, the limit is a slip.
_MAX_CALLS = 10**12
_PRINCIPAL_KINDS = ("user_name", "group_name", "service_principal_name")
_GRANTABLE = tuple(level.name for level in Level if level is not Level.NONE)
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
            **_texts(table, ("catalog_name", "schema_name", "table_name_prefix")),
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
        found["table_names"] = _texts(inner.inner("table_names"), _TELEMETRY_TABLES)
    if inner.has("inference_table_config"):
        table = inner.inner("inference_table_config")
        share = table.share("sampling_fraction")
        found["inference_table_config"] = _texts(table, ("name",)) | (
            {} if share is None else {"sampling_fraction": share}
        )
    if inner.has("enabled_telemetry_features"):
        found["enabled_telemetry_features"] = inner.texts("enabled_telemetry_features")
    return found


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


def _texts(fields: Fields, keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: fields.text(key) for key in keys if fields.has(key)}
