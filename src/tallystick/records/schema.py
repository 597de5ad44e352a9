"""Columns of the tables, with what each one means. Pure.

The first twelve columns of the inference table, and their meanings, are those of a Databricks inference table.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", "UTC")
TEXT, INTEGER, SMALL, REAL = pa.string(), pa.int64(), pa.int32(), pa.float64()
CONTEXT = pa.map_(TEXT, TEXT)
COERCIONS = pa.list_(pa.struct([("column", TEXT), ("kind", TEXT), ("count", INTEGER)]))

#: Error codes in `logging_error_codes`.
REQUEST_TOO_LARGE, RESPONSE_TOO_LARGE = "MAX_REQUEST_SIZE_EXCEEDED", "MAX_RESPONSE_SIZE_EXCEEDED"
#: The body is no UTF-8 text, so the column holds it as base64.
REQUEST_BASE64, RESPONSE_BASE64 = "REQUEST_AS_BASE64", "RESPONSE_AS_BASE64"
#: A column of the input is to be dropped or hashed, and the body could not be read for it: the body is left out.
REQUEST_WITHHELD, RESPONSE_WITHHELD = "REQUEST_WITHHELD", "RESPONSE_WITHHELD"


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a table."""

    name: str
    type: pa.DataType
    meaning: str


INFERENCE_FIELDS = (
    Field("databricks_request_id", TEXT, "Id that the server gave; the `x-request-id` of the answer."),
    Field("client_request_id", TEXT, "Id that the client sent in the body."),
    Field("request_date", pa.date32(), "UTC date of `request_time`; the table is partitioned by it."),
    Field("request_time", TIMESTAMP, "When the request was complete."),
    Field("status_code", SMALL, "HTTP status; 499 when the caller left before the answer was ready."),
    Field("execution_duration_ms", INTEGER, "Time in the model, without queue and network."),
    Field("request", TEXT, "Body of the request."),
    Field("response", TEXT, "Body of the answer."),
    Field("sampling_fraction", REAL, "Share of the invocations that get a row, 0 to 1."),
    Field("logging_error_codes", pa.list_(TEXT), "Why a body is not here as it was sent."),
    Field("served_entity_id", TEXT, "What answered; joins with the table `served_entities`."),
    Field("requester", TEXT, "Who called: the name of the token's owner."),
    Field("endpoint_name", TEXT, "The endpoint."),
    Field("served_entity_name", TEXT, "What answered, by name."),
    Field("model_name", TEXT, "Its model."),
    Field("model_version", TEXT, "Its model's version."),
    Field("config_version", INTEGER, "Endpoint config that the request was routed by."),
    Field("route", TEXT, "Route of the traffic split that was taken."),
    Field("assignment_probability", REAL, "Chance that this route was taken, 0 to 1; null for a pinned request."),
    Field("sticky_key_hash", TEXT, "Keyed hash of the sticky key; null, as splits have none yet."),
    Field("arm", TEXT, "`live`; `pinned`: the caller named the served entity; `shadow`: a copy."),
    Field("attempt", SMALL, "Workers that were given it: 1 as a rule, 2 when the first died, 0 when none was."),
    Field("latency_ms", REAL, "From the complete request to the answer, as the gateway saw it."),
    Field("gateway_ms", REAL, "Part of `latency_ms` that was neither queue nor model."),
    Field("queue_ms", REAL, "Part that it waited, in the gateway and in the worker, for its turn."),
    Field("model_ms", REAL, "Part that the model took."),
    Field("request_rows", INTEGER, "Rows of input; null when the body could not be read."),
    Field("batch_requests", SMALL, "Requests that shared the call of the model."),
    Field("coercions", COERCIONS, "Values that were changed to fit the signature: column, kind, count."),
    Field("ignored_fields", pa.list_(TEXT), "Keys and columns of the request that nothing reads."),
    Field("user_agent", TEXT, "The client's own words for itself."),
    Field("usage_context", CONTEXT, "`usage_context` of the body."),
    Field("error_code", TEXT, "`error_code` of an answer that is an error."),
    Field("request_content_type", TEXT, "How to read `request`; empty means JSON."),
    Field("response_content_type", TEXT, "How to read `response`."),
    Field("request_bytes", INTEGER, "Size of the body as it was read, after decompression."),
    Field("response_bytes", INTEGER, "Size of the answer's body."),
    Field("trace_id", TEXT, "Trace id of the request's W3C `traceparent`."),
)

FEEDBACK_FIELDS = (
    Field("feedback_id", TEXT, "Id of this line."),
    Field("feedback_date", pa.date32(), "UTC date of `feedback_time`; the table is partitioned by it."),
    Field("feedback_time", TIMESTAMP, "When it arrived."),
    Field("endpoint_name", TEXT, "The endpoint."),
    Field("databricks_request_id", TEXT, "The invocation, by the id that the server gave."),
    Field("client_request_id", TEXT, "The invocation, by the id that the client sent."),
    Field("row", INTEGER, "Row of the request's input, from 0."),
    Field("name", TEXT, "`label`, `outcome`, or any other name."),
    Field("value", REAL, "The value as a number; true is 1."),
    Field("text", TEXT, "The value when it is a text."),
    Field("requester", TEXT, "Who sent it."),
)

ENTITY_FIELDS = (
    Field("served_entity_id", TEXT, "Joins with `served_entity_id` of the inference tables."),
    Field("endpoint_name", TEXT, "The endpoint."),
    Field("endpoint_id", TEXT, "Its id; an endpoint that is made again under the same name has another."),
    Field("served_entity_name", TEXT, "Name of the served entity."),
    Field("entity_name", TEXT, "Its model."),
    Field("entity_version", TEXT, "Its model's version."),
    Field("endpoint_config_version", INTEGER, "First config that it served under."),
    Field("change_time", TIMESTAMP, "When it began to serve."),
    Field("signature", TEXT, "The model's signature, as JSON of the MLmodel file."),
    Field("digest", TEXT, "SHA-256 over the model's files."),
    Field("run_id", TEXT, "MLflow run that made it."),
    Field("created_by", TEXT, "Who deployed it."),
    Field("flavors", pa.list_(TEXT), "MLflow flavors of the model."),
)


def arrow_schema(fields: tuple[Field, ...]) -> pa.Schema:
    """Return the Arrow schema of a table."""
    return pa.schema([pa.field(field.name, field.type) for field in fields])


INFERENCE_SCHEMA = arrow_schema(INFERENCE_FIELDS)
FEEDBACK_SCHEMA = arrow_schema(FEEDBACK_FIELDS)
ENTITY_SCHEMA = arrow_schema(ENTITY_FIELDS)

#: Table of all served entities, below the root of all tables.
ENTITY_TABLE = "served_entities"
PAYLOAD_SUFFIX, FEEDBACK_SUFFIX = "_payload", "_feedback"
PARTITIONS = {"request_date", "feedback_date"}


def feedback_table(payload_table: str) -> str:
    """Return the feedback table beside an inference table.

    >>> feedback_table("churn_payload"), feedback_table("https://x/t")
    ('churn_feedback', 'https://x/t_feedback')
    """
    return payload_table.removesuffix(PAYLOAD_SUFFIX) + FEEDBACK_SUFFIX
