"""The decoded view of an inference table: its columns, planned from signatures and samples, and how rows are made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from tallystick.errors import DeploymentFailed
from tallystick.protocol.signature import Signature, parse_signature
from tallystick.records import schema
from tallystick.records.bodies import Ints, one_chunk
from tallystick.records.decode import InputDecoder, Requests, as_recorded, infer_fields
from tallystick.records.labels import Labels
from tallystick.records.predictions import Answers, PredictionReader, declared_type, prediction_type
from tallystick.records.values import promoted, signature_fields, to_type

PREDICTION = "prediction"
#: What stands in the view beside input, prediction and feedback: name -> column of the inference table.
IDENTITY = {
    "_request_id": "databricks_request_id",
    "_client_request_id": "client_request_id",
    "_row": "",
    "_request_time": "request_time",
    "_served_entity": "served_entity_name",
    "_model_version": "model_version",
    "_requester": "requester",
    "_user_agent": "user_agent",
    "_arm": "arm",
}
#: Invocations that are looked at for the types of what no signature names.
_SAMPLES = 200
#: What rows of input are made of, and what predictions are made of beside.
QUERY_COLUMNS = (
    "databricks_request_id",
    "served_entity_id",
    "request",
    "logging_error_codes",
    "request_content_type",
    "request_rows",
)
BODY_COLUMNS = (*QUERY_COLUMNS, "response", "response_content_type")


@dataclass(frozen=True)
class Model:
    """How the invocations of one served entity are decoded."""

    inputs: InputDecoder
    predictions: PredictionReader


@dataclass(frozen=True)
class View:
    """The decoded view of one read: its columns, and how each is made."""

    models: Mapping[str, Model]
    labels: Labels
    input_fields: Mapping[str, pa.DataType]
    #: Type of `prediction`.
    prediction: pa.DataType
    #: Our own columns, and those of feedback: what it is -> its name here.
    names: Mapping[str, str]
    label_names: Mapping[str, str]
    #: As `IDENTITY`, with what was asked for beside it.
    identity: Mapping[str, str]
    schema: pa.Schema


def head(dataset: ds.Dataset, wanted: ds.Expression | None) -> pa.RecordBatch:
    """Return the first invocations of those wanted, as far as they are decoded."""
    columns = list(BODY_COLUMNS)
    scanner = dataset.scanner(
        columns=columns, filter=wanted, batch_size=_SAMPLES, batch_readahead=1, fragment_readahead=1
    )
    table = scanner.head(_SAMPLES).combine_chunks()
    return pa.RecordBatch.from_arrays([one_chunk(column) for column in table.columns], names=columns)


def _requests(batch: pa.RecordBatch) -> Requests:
    return Requests(
        batch.column("request"),
        batch.column("request_content_type"),
        batch.column("logging_error_codes"),
        batch.column("request_rows"),
    )


def _answers(batch: pa.RecordBatch) -> Answers:
    return Answers(batch.column("response"), batch.column("response_content_type"), batch.column("logging_error_codes"))


def model_of(signature_json: str, samples: pa.RecordBatch, connection: duckdb.DuckDBPyConnection) -> Model:
    """Return how a served entity's invocations are decoded; `samples` tell types that no signature does."""
    try:
        signature = parse_signature(json.loads(signature_json)) if signature_json else Signature()
    except (ValueError, AttributeError, DeploymentFailed):
        # One that this version does not know: its invocations are read as those of a model without one.
        signature = Signature()
    requests = _requests(samples)
    signature = as_recorded(signature, requests)
    fields = signature_fields(signature) or infer_fields(requests)
    inputs = InputDecoder(signature, connection, fields)
    rows = inputs.decode(requests)
    counts = np.bincount(rows.requests, minlength=samples.num_rows).tolist()
    kind = prediction_type(declared_type(signature), _answers(samples), counts)
    return Model(inputs, PredictionReader(kind, connection))


def plan_view(
    models: Mapping[str, Model], labels: Labels, with_feedback: bool, identity: Mapping[str, str] = IDENTITY
) -> View:
    """Return the columns of the view: those of all models, the prediction, feedback, and what is ours."""
    kinds: dict[str, list[pa.DataType]] = {}
    for model in models.values():
        for name, kind in model.inputs.fields.items():
            kinds.setdefault(name, []).append(kind)
    fields = {name: promoted(each) for name, each in kinds.items()}
    prediction = promoted(each.predictions.kind for each in models.values()) if models else pa.float64()
    columns = list(fields.items())

    def add(name: str, kind: pa.DataType) -> str:
        while any(name == other for other, _ in columns):
            name = f"_{name}"
        columns.append((name, kind))
        return name

    names = {PREDICTION: add(PREDICTION, prediction)}
    label_names = {name: add(name, kind) for name, kind in labels.fields.items()} if with_feedback else {}
    for name, column in identity.items():
        names[name] = add(name, schema.INFERENCE_SCHEMA.field(column).type if column else pa.int64())
    return View(models, labels, fields, prediction, names, label_names, identity, pa.schema(columns))


def decode(
    batches: Iterator[pa.RecordBatch], view: View, shown: pa.Schema, batch_rows: int, undecoded: Counter[str]
) -> Iterator[pa.RecordBatch]:
    """Yield decoded rows in batches of at most `batch_rows`; those that cannot be are counted in `undecoded`."""
    for batch in batches:
        out = _decode_batch(batch, view, shown, undecoded)
        for start in range(0, out.num_rows, batch_rows):
            yield out.slice(start, batch_rows)


def _decode_batch(batch: pa.RecordBatch, view: View, shown: pa.Schema, undecoded: Counter[str]) -> pa.RecordBatch:
    """Return the rows of a batch of invocations, in their order."""
    entities = batch.column("served_entity_id").dictionary_encode()
    pieces: list[tuple[Ints, pa.RecordBatch]] = []
    codes = entities.indices.to_numpy(zero_copy_only=False)
    for code, entity in enumerate(entities.dictionary.to_pylist()):
        model = view.models.get(entity)
        if model is None:
            # It answered first after the view was planned.
            continue
        places = np.flatnonzero(codes == code)
        part = batch if len(places) == batch.num_rows else batch.take(pa.array(places))
        requests, rows = _decode_part(part, model, view, shown, undecoded)
        pieces.append((places[requests], rows))
    if not pieces:
        return _empty(shown)
    if len(pieces) == 1:
        return pieces[0][1]
    order = np.argsort(np.concatenate([places for places, _ in pieces]), kind="stable")
    return pa.concat_batches([rows for _, rows in pieces]).take(pa.array(order))


def _empty(columns: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in columns], schema=columns)


def _decode_part(
    batch: pa.RecordBatch, model: Model, view: View, shown: pa.Schema, undecoded: Counter[str]
) -> tuple[Ints, pa.RecordBatch]:
    """Return the rows of one model's invocations, and for each the position of its invocation in `batch`."""
    rows = model.inputs.decode(_requests(batch))
    undecoded.update(rows.undecoded)
    is_one_each = len(rows.requests) == batch.num_rows and bool((rows.requests == np.arange(batch.num_rows)).all())
    places = None if is_one_each else pa.array(rows.requests)

    def spread(name: str) -> pa.Array:
        column = batch.column(name)
        return column if places is None else column.take(places)

    made: dict[str, pa.Array] = {
        name: to_type(rows.columns[name], kind) if name in rows.columns else pa.nulls(len(rows.row), kind)
        for name, kind in view.input_fields.items()
        if name in shown.names
    }
    if view.names[PREDICTION] in shown.names:
        counts = np.bincount(rows.requests, minlength=batch.num_rows)
        present = np.flatnonzero(counts)
        found = model.predictions.read(_answers(batch), present, counts[present], undecoded)
        made[view.names[PREDICTION]] = to_type(found, view.prediction)
    wanted_labels = [name for name, as_shown in view.label_names.items() if as_shown in shown.names]
    if wanted_labels:
        values = view.labels.look_up(spread("databricks_request_id"), spread("client_request_id"), rows.row)
        made |= {view.label_names[name]: values[name] for name in wanted_labels}
    for name, column in view.identity.items():
        if view.names[name] in shown.names:
            made[view.names[name]] = spread(column) if column else pa.array(rows.row)
    return rows.requests, pa.RecordBatch.from_arrays([made[name] for name in shown.names], schema=shown)
