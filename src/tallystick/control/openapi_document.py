"""Describes an endpoint's invocations as OpenAPI 3.1, from the signatures of its models. Pure.

Shape after Databricks' "Get the query schema of a serving endpoint": one path a served entity.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tallystick.entities import Endpoint, EndpointConfig, Ready, ResolvedModel, ServedEntityId
from tallystick.errors import InvalidState

Schema = dict[str, Any]

_SCALARS: Mapping[str, Schema] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "format": "int32"},
    "long": {"type": "integer", "format": "int64"},
    "float": {"type": "number", "format": "float"},
    "double": {"type": "number", "format": "double"},
    "string": {"type": "string"},
    "datetime": {"type": "string", "format": "date-time"},
    "binary": {"type": "string", "contentEncoding": "base64"},
}
_UNKNOWN: Schema = {"type": "object", "format": "unknown"}


def endpoint_openapi(
    endpoint: Endpoint, models: Mapping[ServedEntityId, ResolvedModel], base_url: str
) -> dict[str, Any]:
    """Return the document of an endpoint. Raises InvalidState unless it is READY and a model has a signature."""
    if endpoint.active is None or endpoint.ready is not Ready.READY:
        raise InvalidState(f"Endpoint '{endpoint.name}' is not ready; its schema is known once it serves.")
    paths = _paths(endpoint.active, models)
    if not paths:
        raise InvalidState(f"No model of endpoint '{endpoint.name}' has a signature, so there is no schema to show.")
    return {
        "openapi": "3.1.0",
        "info": {"title": endpoint.name, "version": str(endpoint.active.version)},
        "servers": [{"url": f"{base_url.rstrip('/')}/serving-endpoints/{endpoint.name}"}],
        "paths": paths,
    }


def _paths(config: EndpointConfig, models: Mapping[ServedEntityId, ResolvedModel]) -> dict[str, Any]:
    paths = {}
    for entity in config.served_entities:
        model = models.get(entity.id)
        if model is not None and model.signature:
            operation = _operation(model.signature)
            paths[f"/served-models/{entity.name}/invocations"] = {"post": operation}
    return paths


def _operation(signature: Mapping[str, Any]) -> dict[str, Any]:
    inputs, outputs, params = (_specs(signature.get(key)) for key in ("inputs", "outputs", "params"))
    answer = _rows(outputs) if outputs else {}
    return {
        "requestBody": {"content": _json({"oneOf": _input_forms(inputs, params)}), "required": True},
        "responses": {
            "200": {
                "description": "Predictions, one for each row",
                "content": _json({"type": "object", "properties": {"predictions": answer}}),
            }
        },
    }


def _specs(part: object) -> list[dict[str, Any]]:
    """Read a part of MLmodel's signature: a list of column or parameter specs, as JSON text."""
    try:
        specs = json.loads(part) if isinstance(part, str) else part
    except ValueError:
        return []
    return [spec for spec in specs if isinstance(spec, dict)] if isinstance(specs, list) else []


def _input_forms(inputs: list[dict[str, Any]], params: list[dict[str, Any]]) -> list[Schema]:
    common = {"params": _params(params)} if params else {}
    if not inputs or any("name" not in spec or spec.get("type") == "tensor" for spec in inputs):
        tensor = _rows(inputs) if inputs else {}
        return [_form(key, tensor, common) for key in ("inputs", "instances")]
    names = [spec["name"] for spec in inputs]
    row = {"type": "array", "prefixItems": [_type(spec) for spec in inputs]}
    split = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"type": "array", "items": {"type": "string", "enum": names}},
            "index": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array", "items": row},
        },
    }
    return [_form("dataframe_split", split, common), _form("dataframe_records", _rows(inputs), common)]


def _form(key: str, schema: Schema, common: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "required": [key], "properties": {key: schema, **common}}


def _rows(specs: list[dict[str, Any]]) -> Schema:
    if any("name" not in spec for spec in specs):
        return {"type": "array", "items": _type(specs[0])}
    row = {
        "type": "object",
        "required": [spec["name"] for spec in specs if spec.get("required", True)],
        "properties": {spec["name"]: _type(spec) for spec in specs},
    }
    return {"type": "array", "items": row}


def _params(specs: list[dict[str, Any]]) -> Schema:
    properties = {spec["name"]: _type(spec) | {"default": spec.get("default")} for spec in specs if "name" in spec}
    return {"type": "object", "properties": properties}


def _type(spec: Mapping[str, Any]) -> Schema:
    kind = spec.get("type")
    if kind == "array":
        return {"type": "array", "items": _type(spec.get("items") or {})}
    if kind == "map":
        return {"type": "object", "additionalProperties": _type(spec.get("values") or {})}
    if kind == "object":
        properties = spec.get("properties") or {}
        return {"type": "object", "properties": {name: _type(inner) for name, inner in properties.items()}}
    if kind == "tensor":
        tensor = spec.get("tensor-spec") or {}
        return {"type": "array", "description": f"{tensor.get('dtype')} of shape {tensor.get('shape')}"}
    return dict(_SCALARS.get(str(kind), _UNKNOWN))


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
