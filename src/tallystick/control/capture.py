"""What is recorded of an endpoint's invocations, and where: from all that its owners said of it. Pure.

Four objects say it, and of two that say something of the same the later one counts: `auto_capture_config`,
`ai_gateway.inference_table_config`, `telemetry_config`, and our own `inference_table`. Recording is on where none of
them says otherwise; a server without inference tables records nothing, whatever they say.

Names of tables become folders below the root of all tables. They end in ``_payload``, and no folder above one does,
so that a table is never inside another one, and never one of feedback or of served entities.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tallystick.entities import Endpoint, EndpointConfig
from tallystick.protocol.routes import Capture, Durability, Recorded

PAYLOAD_SUFFIX, FEEDBACK_SUFFIX = "_payload", "_feedback"
#: Largest body that an inference table may be told to keep; as large as requests are by default.
MAX_PAYLOAD_BYTES = 16 << 20

#: A file system takes names of 255 bytes; a suffix is added.
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")
_OTHER_TABLE = "served_entities"
_FEATURE = "TELEMETRY_FEATURE_INFERENCE_TABLE"
#: Catalog, schema and table.
_MAX_PARTS = 3


@dataclass(frozen=True, slots=True)
class Intended:
    """What the owners of an endpoint want recorded; `capture.table` is named also when recording is off."""

    is_on: bool
    capture: Capture


def capture_of(endpoint: Endpoint, config: EndpointConfig | None, *, default_on: bool) -> Capture:
    """Return what is recorded of invocations that are answered by `config`."""
    wanted = intended(endpoint, config)
    return wanted.capture if default_on and wanted.is_on else Capture()


def intended(endpoint: Endpoint, config: EndpointConfig | None) -> Intended:
    """Return what the owners want recorded of invocations that are answered by `config`."""
    extras = endpoint.extras
    wanted = Intended(True, Capture(table=endpoint.name + PAYLOAD_SUFFIX))
    if config is not None and config.auto_capture:
        wanted = _by_names(wanted, endpoint.name, config.auto_capture)
    if of_gateway := (extras.get("ai_gateway") or {}).get("inference_table_config"):
        wanted = _by_names(wanted, endpoint.name, of_gateway)
    if telemetry := extras.get("telemetry_config"):
        wanted = _by_telemetry(wanted, telemetry)
    if own := extras.get("inference_table"):
        wanted = _by_own(wanted, own)
    return wanted


def tables_of(endpoint: Endpoint) -> frozenset[str]:
    """Return the inference tables that an endpoint's configs name."""
    configs = (endpoint.active, endpoint.pending)
    return frozenset(intended(endpoint, config).capture.table for config in configs)


def shared_table(endpoint: Endpoint, others: Iterable[Endpoint]) -> str | None:
    """Return a table that an endpoint names and another one has; None as a rule."""
    own = tables_of(endpoint)
    taken = frozenset[str]().union(*(tables_of(other) for other in others if other.name != endpoint.name))
    return min(own & taken, default=None)


def feedback_table(payload_table: str) -> str:
    """Return the table of feedback beside an inference table.

    >>> feedback_table("main/ml/churn_payload")
    'main/ml/churn_feedback'
    """
    return payload_table.removesuffix(PAYLOAD_SUFFIX) + FEEDBACK_SUFFIX


def folder_problem(part: str) -> str | None:
    """Return why a catalog or schema cannot be a folder of tables."""
    if part.endswith((PAYLOAD_SUFFIX, FEEDBACK_SUFFIX)) or part == _OTHER_TABLE:
        return f"'{part[:64]}' may be the name of a table, and tables are not inside each other"
    return prefix_problem(part)


def prefix_problem(part: str) -> str | None:
    """Return why a text cannot be a part of a table's name."""
    if _PART.fullmatch(part):
        return None
    return f"'{part[:64]}' is no part of a table's name: 1 to 128 letters, digits, '_', '-', '.', and no '.' first"


def table_problem(name: str) -> str | None:
    """Return why ``catalog.schema.table``, where the first two may be left out, cannot be a table."""
    *folders, last = name.split(".")
    if len(folders) >= _MAX_PARTS:
        return f"'{name[:64]}' has more than {_MAX_PARTS} parts; a table is catalog.schema.table"
    return next((problem for part in folders if (problem := folder_problem(part))), None) or prefix_problem(last)


def described(
    endpoint: Endpoint, config: EndpointConfig | None, *, default_on: bool, root: str, recorded: Recorded | None
) -> dict[str, Any]:
    """Return the settings that hold, where the tables are, and how the recorder stands with them, as JSON."""
    wanted = intended(endpoint, config)
    capture, table = wanted.capture, wanted.capture.table
    body: dict[str, Any] = {
        "enabled": wanted.is_on and default_on,
        "sampling_fraction": capture.sampling_fraction,
        "durability": capture.durability.value,
        "required": capture.is_required,
        "max_payload_bytes": capture.max_payload_bytes,
        "drop_columns": list(capture.drop),
        "hash_columns": list(capture.hash),
        "retention_days": capture.retention_days,
        "table": table,
        "location": f"{root}/{table}",
        "feedback_location": f"{root}/{feedback_table(table)}",
    }
    if recorded is None:
        return body
    if status := recorded.tables.get(table):
        body["state"] = msgspec.to_builtins(status)
    return body | {"feedback": dict(recorded.feedback.get(endpoint.name, {}))}


def payload_table(
    endpoint: Endpoint, config: EndpointConfig, *, default_on: bool, recorded: Recorded | None
) -> dict[str, str] | None:
    """Return `auto_capture_config.state.payload_table`; None where nothing is recorded."""
    table = capture_of(endpoint, config, default_on=default_on).table
    if not table:
        return None
    status = recorded.tables.get(table) if recorded is not None else None
    if status is not None and status.problem:
        return {"name": table, "status": "failed", "status_message": status.problem}
    if status is None or status.version < 0:
        return {"name": table, "status": "pending", "status_message": "It is made with its first row."}
    return {"name": table, "status": "ready", "status_message": ""}


def _by_names(wanted: Intended, endpoint_name: str, given: Mapping[str, Any]) -> Intended:
    folders = [part for key in ("catalog_name", "schema_name") if (part := given.get(key))]
    prefix = given.get("table_name_prefix") or endpoint_name
    is_on = bool(given.get("enabled", True))
    return _with_table(replace(wanted, is_on=is_on), folders, prefix + PAYLOAD_SUFFIX)


def _by_telemetry(wanted: Intended, given: Mapping[str, Any]) -> Intended:
    table = given.get("inference_table_config") or {}
    if (share := table.get("sampling_fraction")) is not None:
        wanted = replace(wanted, capture=msgspec.structs.replace(wanted.capture, sampling_fraction=share))
    if name := table.get("name"):
        *folders, last = name.removesuffix(PAYLOAD_SUFFIX).split(".")
        wanted = _with_table(replace(wanted, is_on=True), folders, last + PAYLOAD_SUFFIX)
    elif logs_table := (given.get("table_names") or {}).get("logs_table"):
        *folders, last = logs_table.split(".")
        wanted = _with_table(wanted, folders, last + PAYLOAD_SUFFIX)
    # An empty list stands for all of them.
    if features := given.get("enabled_telemetry_features"):
        wanted = replace(wanted, is_on=_FEATURE in features)
    return wanted


def _by_own(wanted: Intended, given: Mapping[str, Any]) -> Intended:
    capture = wanted.capture
    changed = Capture(
        table=capture.table,
        sampling_fraction=given.get("sampling_fraction", capture.sampling_fraction),
        durability=Durability(given.get("durability", capture.durability)),
        is_required=given.get("required", capture.is_required),
        max_payload_bytes=given.get("max_payload_bytes", capture.max_payload_bytes),
        drop=tuple(given.get("drop_columns", capture.drop)),
        hash=tuple(given.get("hash_columns", capture.hash)),
        retention_days=given.get("retention_days", capture.retention_days),
    )
    return Intended(given.get("enabled", wanted.is_on), changed)


def _with_table(wanted: Intended, folders: list[str], last: str) -> Intended:
    # Configs that were stored before names were checked keep the table they have.
    if len(folders) >= _MAX_PARTS or any(map(folder_problem, folders)) or prefix_problem(last.removesuffix("_payload")):
        return wanted
    return replace(wanted, capture=msgspec.structs.replace(wanted.capture, table="/".join((*folders, last))))
