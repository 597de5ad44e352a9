"""Records of the journal as rows of the tables. Pure.

One pass a column, so that a batch of thousands of rows costs a few microseconds a row.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from tallystick.journal.format import Context, Entity, Feedback, Invocation
from tallystick.protocol.frame import Answer, short_identity
from tallystick.records.access_log import error_code
from tallystick.records.redact import Redaction
from tallystick.records.schema import (
    COERCIONS,
    ENTITY_SCHEMA,
    FEEDBACK_SCHEMA,
    INFERENCE_SCHEMA,
    INTEGER,
    REAL,
    REQUEST_BASE64,
    REQUEST_TOO_LARGE,
    REQUEST_WITHHELD,
    RESPONSE_BASE64,
    RESPONSE_TOO_LARGE,
    RESPONSE_WITHHELD,
    SMALL,
    TEXT,
    TIMESTAMP,
)
from tallystick.records.tracing import parse_traceparent

_DAY_US = 86_400_000_000
_NO_ANSWER = Answer(0, "")
_ERROR_STATUS = 400


class _Said(msgspec.Struct):
    """What the body of a request says of itself."""

    client_request_id: str | None = None
    usage_context: dict[str, str] | None = None


_decode_said = msgspec.json.Decoder(_Said).decode
_NOTHING_SAID = _Said()

#: Context -> how its rows are redacted; None for those that are not.
Redactions = Callable[[Context], Redaction | None]


def invocation_rows(entries: Sequence[tuple[Invocation, Context]], redactions: Redactions) -> pa.Table:
    """Return the rows of an inference table, one an invocation, in order."""
    records = [record for record, _ in entries]
    contexts, places = _distinct([context for _, context in entries])
    answers = [record.answer or _NO_ANSWER for record in records]
    said = [_said(record, answer) for record, answer in zip(records, answers, strict=True)]
    codes: list[list[str]] = [[] for _ in records]
    requests, responses = _bodies(entries, codes)
    error_codes = [
        error_code(record.response) or None if record.status >= _ERROR_STATUS and record.response else None
        for record in records
    ]
    redact = [redactions(context) for context in contexts]
    if any(redact):
        _redact_bodies(records, requests, responses, codes, [redact[place] for place in places])

    def of_context(values: Iterable[Any], kind: pa.DataType) -> pa.Array:
        return pa.array(list(values), kind).take(places)

    queue_ms = [record.waited_ms + answer.queue_ms for record, answer in zip(records, answers, strict=True)]
    columns: dict[str, pa.Array] = {
        "databricks_request_id": pa.array([record.request_id for record in records], TEXT),
        "client_request_id": _sparse([each.client_request_id for each in said], TEXT),
        "request_date": pa.array([record.time_us // _DAY_US for record in records], pa.int32()).cast(pa.date32()),
        "request_time": pa.array([record.time_us for record in records], INTEGER).cast(TIMESTAMP),
        "status_code": pa.array([record.status for record in records], SMALL),
        "execution_duration_ms": pa.array(
            [None if record.answer is None else round(record.answer.model_ms) for record in records], INTEGER
        ),
        "request": _texts(requests, codes, REQUEST_BASE64),
        "response": _texts(responses, codes, RESPONSE_BASE64),
        "sampling_fraction": of_context((context.sampling_fraction for context in contexts), REAL),
        "served_entity_id": of_context((context.served_entity_id or None for context in contexts), TEXT),
        "requester": pa.array([record.requester for record in records], TEXT),
        "endpoint_name": of_context((context.endpoint_name for context in contexts), TEXT),
        "served_entity_name": of_context((context.served_entity_name or None for context in contexts), TEXT),
        "model_name": of_context((context.model_name or None for context in contexts), TEXT),
        "model_version": of_context((context.model_version or None for context in contexts), TEXT),
        "config_version": of_context((context.config_version for context in contexts), INTEGER),
        "route": of_context((context.route or None for context in contexts), TEXT),
        "assignment_probability": pa.array(
            [
                contexts[place].probability if record.arm == "live" and contexts[place].served_entity_id else None
                for record, place in zip(records, places.to_pylist(), strict=True)
            ],
            REAL,
        ),
        "sticky_key_hash": _sparse([record.sticky_key_hash or None for record in records], TEXT),
        "arm": pa.array([record.arm for record in records], TEXT),
        "attempt": pa.array([record.attempt for record in records], SMALL),
        "latency_ms": pa.array([record.latency_ms for record in records], REAL),
        "gateway_ms": pa.array(
            [
                max(0.0, record.latency_ms - queue - answer.model_ms)
                for record, answer, queue in zip(records, answers, queue_ms, strict=True)
            ],
            REAL,
        ),
        "queue_ms": pa.array(queue_ms, REAL),
        "model_ms": pa.array([answer.model_ms for answer in answers], REAL),
        "request_rows": pa.array([answer.rows if answer.rows >= 0 else None for answer in answers], INTEGER),
        "batch_requests": pa.array(
            [None if record.answer is None else record.answer.batch_requests for record in records], SMALL
        ),
        "coercions": _lists([_coercions(answer) if answer.coercions else () for answer in answers], COERCIONS),
        "ignored_fields": _lists([answer.ignored for answer in answers], pa.list_(TEXT)),
        "user_agent": pa.array([record.user_agent for record in records], TEXT),
        "usage_context": _sparse(
            [None if each.usage_context is None else list(each.usage_context.items()) for each in said],
            pa.map_(TEXT, TEXT),
        ),
        "error_code": _sparse(error_codes, TEXT),
        "request_content_type": pa.array([record.content_type for record in records], TEXT),
        "response_content_type": pa.array([record.response_content_type for record in records], TEXT),
        "request_bytes": pa.array([record.request_bytes for record in records], INTEGER),
        "response_bytes": pa.array([record.response_bytes for record in records], INTEGER),
        "trace_id": _sparse([_trace_id(record.traceparent) for record in records], TEXT),
    }
    # Last: bodies that turn out to be no text add to it.
    columns["logging_error_codes"] = _lists(codes, pa.list_(TEXT))
    if any(redact):
        _redact_columns(columns, [redact[place] for place in places.to_pylist()])
    return pa.table([columns[name] for name in INFERENCE_SCHEMA.names], schema=INFERENCE_SCHEMA)


def _distinct(contexts: Sequence[Context]) -> tuple[list[Context], pa.Array]:
    """Return the different ones, and for each row the place of its own among them."""
    found: dict[int, int] = {}
    distinct: list[Context] = []
    places = []
    for context in contexts:
        # By identity: a segment's contexts are read once, and hashing one costs more than its row.
        place = found.get(id(context))
        if place is None:
            place = found[id(context)] = len(distinct)
            distinct.append(context)
        places.append(place)
    return distinct, pa.array(places, pa.int32())


def _sparse(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Return a column that is null more often than not."""
    return pa.array(values, kind) if any(values) else pa.nulls(len(values), kind)


def _lists(values: Sequence[Sequence[Any]], kind: pa.DataType) -> pa.Array:
    """Return a column of lists that are empty more often than not."""
    if any(values):
        return pa.array(values, kind)
    return pa.ListArray.from_arrays(pa.array([0] * (len(values) + 1), pa.int32()), pa.array([], kind.value_type))


def _said(record: Invocation, answer: Answer) -> _Said:
    """Return ids and context of a request: from the worker that read it, else from the body if that can be read."""
    if answer.client_request_id is not None or answer.usage_context is not None:
        return _Said(answer.client_request_id, answer.usage_context)
    if record.status < _ERROR_STATUS or not record.request:
        return _NOTHING_SAID
    try:
        said = _decode_said(record.request)
        return _Said(*short_identity(said.client_request_id, said.usage_context))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _NOTHING_SAID


def _bodies(
    entries: Sequence[tuple[Invocation, Context]], codes: list[list[str]]
) -> tuple[list[bytes | None], list[bytes | None]]:
    """Return the bodies; those that are missing, but not by wish, are missing for their size."""
    requests = [record.request for record, _ in entries]
    responses = [record.response for record, _ in entries]
    for place, (record, context) in enumerate(entries):
        if record.request is None and record.request_bytes and "request" not in context.drop:
            codes[place].append(REQUEST_TOO_LARGE)
        if record.response is None and record.response_bytes and "response" not in context.drop:
            codes[place].append(RESPONSE_TOO_LARGE)
    return requests, responses


def _texts(bodies: list[bytes | None], codes: list[list[str]], code: str) -> pa.Array:
    """Return bodies as texts; what is no UTF-8 as base64, with `code`."""
    try:
        return pa.array(bodies, pa.binary()).cast(TEXT)
    except pa.ArrowInvalid:
        texts: list[str | None] = []
        for body, row_codes in zip(bodies, codes, strict=True):
            try:
                texts.append(None if body is None else body.decode())
            except UnicodeDecodeError:
                row_codes.append(code)
                texts.append(base64.b64encode(body or b"").decode("ascii"))
        return pa.array(texts, TEXT)


def _coercions(answer: Answer) -> list[dict[str, Any]]:
    return [
        {"column": column, "kind": kind, "count": count}
        for column, kinds in answer.coercions.items()
        for kind, count in kinds.items()
    ]


def _trace_id(traceparent: str) -> str | None:
    if not traceparent:
        return None
    parent = parse_traceparent(traceparent)
    return parent.trace_id if parent is not None else None


def _redact_bodies(
    records: Sequence[Invocation],
    requests: list[bytes | None],
    responses: list[bytes | None],
    codes: list[list[str]],
    redactions: Sequence[Redaction | None],
) -> None:
    for place, (record, redaction) in enumerate(zip(records, redactions, strict=True)):
        if redaction is None:
            continue
        body = requests[place]
        if body is not None:
            requests[place] = redaction.body(body, record.content_type)
            if requests[place] is None:
                codes[place].append(REQUEST_WITHHELD)
        if record.status >= _ERROR_STATUS and responses[place] is not None and not redaction.keeps_error_answers:
            responses[place] = None
            codes[place].append(RESPONSE_WITHHELD)


def _redact_columns(columns: dict[str, pa.Array], redactions: Sequence[Redaction | None]) -> None:
    names = {
        name
        for redaction in redactions
        if redaction is not None
        for name in redaction.dropped_columns | redaction.hashed_columns
    }
    for name in names & columns.keys():
        values = [
            value if redaction is None else redaction.column(name, value)
            for value, redaction in zip(columns[name].to_pylist(), redactions, strict=True)
        ]
        columns[name] = pa.array(values, columns[name].type)


def feedback_rows(records: Sequence[Feedback]) -> pa.Table:
    """Return the rows of a feedback table."""
    columns = {
        "feedback_id": pa.array([record.feedback_id for record in records], TEXT),
        "feedback_date": pa.array([record.time_us // _DAY_US for record in records], pa.int32()).cast(pa.date32()),
        "feedback_time": pa.array([record.time_us for record in records], INTEGER).cast(TIMESTAMP),
        "endpoint_name": pa.array([record.endpoint_name for record in records], TEXT),
        "databricks_request_id": pa.array([record.request_id for record in records], TEXT),
        "client_request_id": _sparse([record.client_request_id for record in records], TEXT),
        "row": pa.array([record.row for record in records], INTEGER),
        "name": pa.array([record.name for record in records], TEXT),
        "value": pa.array([record.value for record in records], REAL),
        "text": pa.array([record.text for record in records], TEXT),
        "requester": pa.array([record.requester for record in records], TEXT),
    }
    return pa.table([columns[name] for name in FEEDBACK_SCHEMA.names], schema=FEEDBACK_SCHEMA)


def entity_rows(records: Sequence[Entity]) -> pa.Table:
    """Return the rows of the table of served entities."""
    columns = {
        "served_entity_id": pa.array([record.served_entity_id for record in records], TEXT),
        "endpoint_name": pa.array([record.endpoint_name for record in records], TEXT),
        "endpoint_id": pa.array([record.endpoint_id for record in records], TEXT),
        "served_entity_name": pa.array([record.served_entity_name for record in records], TEXT),
        "entity_name": pa.array([record.model_name for record in records], TEXT),
        "entity_version": pa.array([record.model_version or None for record in records], TEXT),
        "endpoint_config_version": pa.array([record.config_version for record in records], INTEGER),
        "change_time": pa.array([record.time_us for record in records], INTEGER).cast(TIMESTAMP),
        "signature": pa.array([record.signature or None for record in records], TEXT),
        "digest": pa.array([record.digest or None for record in records], TEXT),
        "run_id": pa.array([record.run_id or None for record in records], TEXT),
        "created_by": pa.array([record.creator for record in records], TEXT),
        "flavors": pa.array([record.flavors for record in records], pa.list_(TEXT)),
    }
    return pa.table([columns[name] for name in ENTITY_SCHEMA.names], schema=ENTITY_SCHEMA)
