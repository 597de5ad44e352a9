"""Params: defaults, conversions, and every one that does not fit."""

import datetime
from typing import Any

import pytest

from tallystick.entities import Enforcement
from tallystick.errors import DeploymentFailed, InvalidInput
from tallystick.protocol.ledger import Report
from tallystick.protocol.params import ParamReader
from tallystick.protocol.signature import Param, ScalarType


def read(
    params: tuple[Param, ...] | None, given: Any, mode: Enforcement = Enforcement.FLAG
) -> tuple[dict[str, Any], Report]:
    report = Report()
    out, notes = ParamReader(params).read(given, mode, report)
    report.notes.extend(notes)
    report.check()
    return out, report


PARAMS = (
    Param("k", ScalarType.LONG, 3),
    Param("t", ScalarType.DOUBLE, 0.5),
    Param("stop", ScalarType.STRING, ["."], (-1,)),
    Param("since", ScalarType.DATETIME, "2024-01-01"),
)


def test_defaults_fill_what_is_missing_and_are_not_shared() -> None:
    reader = ParamReader(PARAMS)
    first, _ = reader.read(None, Enforcement.FLAG, Report())
    assert first == {"k": 3, "t": 0.5, "stop": ["."], "since": datetime.date(2024, 1, 1)}
    first["stop"].append("!")
    assert reader.read(None, Enforcement.FLAG, Report())[0]["stop"] == ["."]


def test_whole_numbers_are_good_for_floats_and_unknown_ones_noted() -> None:
    out, report = read(PARAMS, {"t": 2, "z": 1})
    assert out["t"] == 2.0
    assert isinstance(out["t"], float)
    assert report.notes == ["ignored params: 'z'"]


def test_every_wrong_param_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        read(PARAMS, {"k": 1.5, "t": "2", "stop": "x", "since": 5})
    for name in ("params.k: got the number 1.5", "params.t: got text '2'", "params.stop: got", "params.since: got"):
        assert name in caught.value.message


def test_a_dropped_offset_is_counted_or_refused() -> None:
    given = {"since": "2024-01-01T10:00:00+05:00"}
    out, report = read(PARAMS, given)
    assert out["since"] == datetime.datetime(2024, 1, 1, 5)
    assert report.ledger == {"params.since": {"timezone_dropped": 1}}
    with pytest.raises(InvalidInput):
        read(PARAMS, given, Enforcement.STRICT)


def test_a_model_without_params_gets_none() -> None:
    out, report = read(None, {"k": 1})
    assert out == {}
    assert report.notes == ["ignored params: 'k'"]


def test_params_must_be_an_object() -> None:
    with pytest.raises(InvalidInput, match="params must be an object"):
        read(PARAMS, [1])


def test_a_default_of_the_wrong_type_fails_the_deployment() -> None:
    with pytest.raises(DeploymentFailed):
        ParamReader((Param("k", ScalarType.LONG, "x"),))
