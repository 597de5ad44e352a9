"""Bytes to a request body; and, re-exported here, predictions to bytes.

A request is JSON with exactly one input key and some keys beside it (source: Databricks "Query serving endpoints for
custom models", MLflow `pyfunc.scoring_server`). Policy for values at the edge of JSON: what is not JSON (`NaN`, a byte
order mark, invalid UTF-8, a lone surrogate, `1e999`) is refused here; whole numbers keep all their digits and meet
their limits in the column they go to. The bytes are parsed once: of a key that stands twice the last counts, for
everybody. Unknown top-level keys are ignored, as MLflow ignores them, and named in `notes`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import msgspec

from tallystick.errors import BadRequest
from tallystick.protocol.ledger import describe
from tallystick.protocol.predictions import (
    ARROW_STREAM,
    encode_predictions,
    encode_predictions_arrow,
    split_predictions,
)

__all__ = [
    "ARROW_STREAM",
    "CSV",
    "INPUT_KEYS",
    "JSON",
    "Request",
    "check_depth",
    "encode_predictions",
    "encode_predictions_arrow",
    "parse_content_type",
    "parse_request",
    "split_predictions",
]

JSON = "application/json"
CSV = "text/csv"

INPUT_KEYS = ("dataframe_split", "dataframe_records", "instances", "inputs")
#: Values that are handed on without a schema (any-typed columns, params, models without a signature) may be nested
#: this deep; model code often recurses. Everything else is as deep as the signature says.
MAX_DEPTH = 64
#: A note names this many ignored keys or columns, and this much of each.
_NOTED, _NOTED_CHARS = 20, 60
_USAGE_ENTRIES = 100


class UnsupportedMediaType(BadRequest):
    """The content type is none that is read here, or has a charset other than UTF-8."""

    status = 415


@dataclass(frozen=True, slots=True)
class Request:
    """A JSON body, taken apart. `value` is what stood under `key`; `params` is unchecked."""

    key: str
    value: Any
    params: Any = None
    client_request_id: str | None = None
    usage_context: dict[str, str] | None = None
    stream: bool = False
    #: Top-level keys that were ignored.
    notes: tuple[str, ...] = ()


@functools.lru_cache(maxsize=256)
def parse_content_type(content_type: str) -> str:
    """Return the media type in lower case. Raises UnsupportedMediaType (415) for parameters other than UTF-8."""
    media, *parameters = (part.strip() for part in content_type.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if parameter and (name.strip().lower() != "charset" or value.strip().strip('"').lower() != "utf-8"):
            raise UnsupportedMediaType(
                f"Content type parameter {parameter[:60]!r} is not supported; leave it out, or send charset=utf-8."
            )
    media = media.lower()
    if media not in (JSON, CSV, ARROW_STREAM):
        raise UnsupportedMediaType(
            f"Content type {media[:60]!r} is not supported; send {JSON}, {CSV} or {ARROW_STREAM}."
        )
    return media


def parse_request(body: bytes) -> Request:
    """Return the parts of a JSON body. Raises BadRequest when it is not JSON, or not a request."""
    fields = parse_json(body)
    if type(fields) is not dict:
        raise BadRequest(f"The body must be a JSON object with one of {_listed()}, got {describe(fields)}.")
    if len(fields) == 1:
        # Most requests have the input alone.
        key, value = next(iter(fields.items()))
        if key in INPUT_KEYS:
            return Request(key, value)
    given = [key for key in INPUT_KEYS if key in fields]
    if len(given) != 1:
        had = f"it has {' and '.join(given)}" if given else f"it has {note_names(fields) or 'no keys'}"
        raise BadRequest(f"The body must have exactly one of {_listed()}; {had}.")
    ignored = [key for key in fields if key not in _KNOWN]
    return Request(
        key=given[0],
        value=fields[given[0]],
        params=fields.get("params"),
        client_request_id=_client_request_id(fields.get("client_request_id")),
        usage_context=_usage_context(fields.get("usage_context")),
        stream=_flag(fields, "stream"),
        notes=(f"ignored keys: {note_names(ignored)}",) if ignored else (),
    )


_KNOWN = frozenset((*INPUT_KEYS, "params", "client_request_id", "usage_context", "stream", "databricks_options"))
_JSON_DECODER = msgspec.json.Decoder()


def parse_json(body: bytes) -> Any:
    """Return the JSON value in `body`. Raises BadRequest; no other error of the parser gets out."""
    try:
        return _JSON_DECODER.decode(body)
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    except MemoryError:
        raise BadRequest("The body is too large to be parsed.") from None
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8 (byte {error.start}).") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadRequest(f"The body is not valid JSON: {_why(body, error)}.") from None


def _why(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "it is empty"
    if body[:3] == b"\xef\xbb\xbf" or body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "it begins with a byte order mark; send UTF-8 without one"
    text = str(error).removeprefix("JSON is malformed: ").rstrip(".")
    if "out of range" in text:
        return "a number is out of range (send null for a missing value, not a huge number)"
    if _has_literal(body):
        return f"{text}; NaN and Infinity are not JSON, send null for a missing value"
    if "truncated" in text and b"\\u" in body:
        return "it ends early, or a \\u escape has half of a surrogate pair"
    return text


def _has_literal(body: bytes) -> bool:
    return b"NaN" in body or b"Infinity" in body


def check_depth(value: Any, where: str) -> None:
    """Raise BadRequest when `value` is nested deeper than MAX_DEPTH. Not recursive; O(values)."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        deeper: list[Any] = []
        for item in level:
            if type(item) is list:
                deeper.extend(x for x in item if type(x) is list or type(x) is dict)
            elif type(item) is dict:
                deeper.extend(x for x in item.values() if type(x) is list or type(x) is dict)
        if not deeper:
            return
        level = deeper
    raise BadRequest(f"{where} is nested more than {MAX_DEPTH} levels deep.")


def note_names(names: Any) -> str:
    """Return the first of `names` for a message, each cut to a bounded length."""
    shown = [repr(str(name)[:_NOTED_CHARS]) for _, name in zip(range(_NOTED), names, strict=False)]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def _listed() -> str:
    return ", ".join(INPUT_KEYS[:-1]) + " or " + INPUT_KEYS[-1]


def _client_request_id(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"client_request_id must be text, got {describe(value)}.")
    return value


def _usage_context(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(entry, str) for entry in value.values()):
        raise BadRequest("usage_context must be an object whose values are text.")
    if len(value) > _USAGE_ENTRIES:
        raise BadRequest(f"usage_context has {len(value)} entries, at most {_USAGE_ENTRIES} are taken.")
    return value


def _flag(fields: dict[str, Any], key: str) -> bool:
    value = fields.get(key)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{key} must be true or false, got {describe(value)}.")
    return bool(value)
