"""What an endpoint's owners want of parity: settings as they come in, are kept and are shown. Pure.

The settings are an object of the endpoint (`extras["parity"]`) that clients know under the same name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tallystick.control.fields import Fields
from tallystick.entities import Endpoint
from tallystick.errors import TemporarilyUnavailable
from tallystick.gate.report import Policy

KEY = "parity"


async def _nothing(_endpoint: Endpoint, _entity_name: str | None) -> dict[str, Any]:
    raise TemporarilyUnavailable("Golden rows cannot be replayed yet: the server is starting.", retry_after_s=1)


async def _no_diagnosis(_endpoint: Endpoint, _asked: dict[str, Any]) -> dict[str, Any]:
    raise TemporarilyUnavailable("Rows cannot be diagnosed yet: the server is starting.", retry_after_s=1)


async def _no_profile(_endpoint: Endpoint, _asked: dict[str, Any]) -> dict[str, Any]:
    raise TemporarilyUnavailable("Rows cannot be described yet: the server is starting.", retry_after_s=1)


@dataclass(frozen=True, slots=True)
class Parity:
    """What others know of an endpoint's parity. Called on the event loop."""

    #: Served entity -> reports of its replicas, by themselves and over HTTP.
    gate: Callable[[Endpoint], dict[str, Any]] = lambda _endpoint: {}
    #: Replays golden rows on each replica now: (endpoint, served entity or None for all).
    check: Callable[[Endpoint, str | None], Awaitable[dict[str, Any]]] = _nothing
    #: How live requests stand to training.
    live: Callable[[Endpoint], dict[str, Any]] = lambda _endpoint: {}
    #: Summaries of open incidents.
    incidents: Callable[[Endpoint], list[dict[str, Any]]] = lambda _endpoint: []
    #: Summaries of all incidents that are kept, newest first; one whole, by its number. They block, and are called in
    #: a thread.
    kept: Callable[[Endpoint], list[dict[str, Any]]] = lambda _endpoint: []
    incident: Callable[[Endpoint, str], dict[str, Any]] = lambda _endpoint, _number: {}
    #: Diagnoses recorded rows now: (endpoint, fields of `incidents_api.parse_diagnose`).
    diagnose: Callable[[Endpoint, dict[str, Any]], Awaitable[dict[str, Any]]] = _no_diagnosis
    #: How live rows look beside training: (endpoint, fields of `incidents_api.parse_profile`).
    profile: Callable[[Endpoint, dict[str, Any]], Awaitable[dict[str, Any]]] = _no_profile


DEFAULTS: Mapping[str, Any] = {"gate": Policy.AUTO.value, "monitor": True, "webhook": "", "key": ""}
_MAX_URL = 2048
_MAX_KEY = 255
USAGE = "usage_context."


def parse_parity(fields: Fields) -> dict[str, Any]:
    """Return the settings that are given. A field that is none of them is refused: it would be a guard that is not."""
    for key in fields.values:
        if key not in DEFAULTS:
            fields.wrong(str(key)[:64], f"is no setting of parity; there are {', '.join(DEFAULTS)}")
    found: dict[str, Any] = {}
    if fields.has("gate"):
        found["gate"] = fields.one_of("gate", tuple(policy.value for policy in Policy), Policy.AUTO.value)
    if (monitor := fields.flag("monitor")) is not None:
        found["monitor"] = monitor
    if fields.has("webhook"):
        found["webhook"] = _webhook(fields)
    if fields.has("key"):
        found["key"] = key_of(fields)
    return found


def key_of(fields: Fields) -> str:
    """Return the name of the column, or of the key of the usage context, that says whom a row is about."""
    name = fields.text("key").strip()
    if len(name) > _MAX_KEY or name == USAGE:
        fields.wrong("key", f"expected a column, or {USAGE}<name>, of at most {_MAX_KEY} characters")
        return ""
    return name


def settings_of(endpoint: Endpoint) -> dict[str, Any]:
    """Return the settings that hold, defaults filled in."""
    return {**DEFAULTS, **(endpoint.extras.get(KEY) or {})}


def shown_settings(endpoint: Endpoint, *, to_manager: bool) -> dict[str, Any]:
    """Return the settings for a caller. Of a webhook, whose URL is often its only secret, others see the host."""
    settings = settings_of(endpoint)
    if settings["webhook"] and not to_manager:
        parts = urlsplit(settings["webhook"])
        settings["webhook"] = f"{parts.scheme}://{parts.hostname}/…"
    return settings


def policy_of(endpoint: Endpoint) -> Policy:
    """Return what becomes of a version that does not reproduce its training."""
    return Policy(settings_of(endpoint)["gate"])


def _webhook(fields: Fields) -> str:
    text = fields.text("webhook")
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        # What no resolver takes is told now, not when an incident should be.
        (parts.hostname or "").encode("idna")
    except ValueError:
        is_url = False
    if not is_url or len(text) > _MAX_URL or any(character.isspace() for character in text):
        fields.wrong("webhook", "expected an http:// or https:// URL, or '' for none")
        return ""
    return text
