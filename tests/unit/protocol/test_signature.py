"""Signatures are read from the MLmodel file's JSON texts without MLflow."""

import json
from typing import Any

import numpy as np
import pytest

from tallystick.errors import DeploymentFailed
from tallystick.protocol.signature import (
    AnyType,
    ArrayType,
    Column,
    MapType,
    ObjectType,
    Param,
    Property,
    ScalarType,
    Signature,
    Tensor,
    parse_signature,
)


def parse(inputs: list[dict[str, Any]], **rest: Any) -> Signature:
    return parse_signature({"inputs": json.dumps(inputs), **rest})


def test_no_signature_is_empty() -> None:
    assert parse_signature(None) == Signature()
    assert parse_signature({"inputs": None, "outputs": None, "params": None}) == Signature()


def test_all_scalar_types() -> None:
    names = ["boolean", "integer", "long", "float", "double", "string", "binary", "datetime"]
    columns = parse([{"type": name, "name": name, "required": True} for name in names]).columns
    assert [column.type for column in columns] == [ScalarType(name) for name in names]
    assert all(column.required for column in columns)


def test_nested_types() -> None:
    entry = {
        "name": "basket",
        "required": False,
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "price": {"type": "double", "required": True},
                "extra": {"type": "map", "values": {"type": "any"}, "required": False},
            },
        },
    }
    (column,) = parse([entry]).columns
    assert column == Column(
        "basket",
        ArrayType(
            ObjectType(
                (Property("extra", MapType(AnyType()), False), Property("price", ScalarType.DOUBLE, True)),
            )
        ),
        False,
    )


def test_missing_required_reads_as_mlflow_reads_it() -> None:
    scalar, array = parse(
        [{"type": "long", "name": "a"}, {"type": "array", "items": {"type": "long"}, "name": "b"}]
    ).columns
    assert scalar.required
    assert not array.required


def test_tensors_named_and_unnamed() -> None:
    spec = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}
    assert parse([spec]).tensors == (Tensor(None, np.dtype("float32"), (-1, 3)),)
    named = parse([{**spec, "name": "x"}])
    assert named.is_named
    assert named.tensors[0].name == "x"


def test_params() -> None:
    params = [
        {"name": "k", "type": "long", "default": 3, "shape": None},
        {"name": "w", "dtype": "double", "default": [1.0], "shape": [-1]},
    ]
    signature = parse([{"type": "long", "name": "a"}], params=json.dumps(params))
    assert signature.params == (Param("k", ScalarType.LONG, 3), Param("w", ScalarType.DOUBLE, [1.0], (-1,)))


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"inputs": "{"}, "not JSON"),
        ({"inputs": '{"a": 1}'}, "not a list"),
        ({"inputs": '[{"type": "complex"}]'}, "'complex' is not known"),
        ({"inputs": '[{"type": "sparkml_vector", "name": "v"}]'}, "Spark ML vectors"),
        ({"inputs": '[{"type": "long", "name": "a"}, {"type": "long"}]'}, "some of its entries have names"),
        ({"inputs": '[{"type": "long", "name": "a"}, {"type": "long", "name": "a"}]'}, "twice"),
        ({"inputs": '[{"type": "array", "name": "a"}]'}, "'items' is missing"),
        ({"inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "no", "shape": []}}]'}, "NumPy"),
        ({"params": '[{"name": "p", "type": "binary", "default": ""}]'}, "does not allow for params"),
        ({"params": '[{"name": "p", "type": "long", "default": 1, "shape": [2]}]'}, "expected none or (-1,)"),
    ],
)
def test_what_cannot_be_served_is_told(raw: dict[str, str], says: str) -> None:
    with pytest.raises(DeploymentFailed) as caught:
        parse_signature(raw)
    assert says in caught.value.message
