"""Golden rows as bodies: what each encoding carries is kept, what it loses is told."""

import msgspec
import numpy as np
import pandas as pd
import pytest

from tallystick.entities import Enforcement
from tallystick.protocol.enforce import compile_decoder
from tallystick.protocol.signature import parse_signature
from tallystick.training import wires
from tallystick.training.wires import column_of, render_bodies
from tallystick.worker.frame import assemble

SIGNATURE = {"inputs": '[{"name": "x", "type": "double"}, {"name": "s", "type": "string", "required": false}]'}


FLAG = {"inputs": '[{"name": "flag", "type": "double", "required": false}]'}


def bodies(frame, signature=SIGNATURE, **options):
    columns = [column_of(frame[name], name) for name in frame]
    return render_bodies(columns, frame, signature, **({"is_array": False} | options))


def test_every_encoding_carries_plain_rows():
    frame = pd.DataFrame({"x": [0.1, np.nan, 1e-300], "s": ["a,b", 'q"', "ü"]})
    found = bodies(frame)
    assert [wire.encoding for wire in found.wires] == ["dataframe_records", "dataframe_split", "inputs", "csv", "arrow"]
    assert (found.degraded, found.faults) == ([], [])
    assert msgspec.json.decode(found.wires[0].body)["dataframe_records"][1] == {"x": None, "s": 'q"'}
    assert found.parsed.x.tolist()[::2] == [0.1, 1e-300]


def test_an_encoding_that_loses_a_value_is_left_out_and_told():
    found = bodies(pd.DataFrame({"x": [1.0, 2.0], "s": ["NA", None]}))
    assert [wire.encoding for wire in found.wires] == ["dataframe_records", "dataframe_split", "arrow"]
    assert found.degraded == [
        "golden rows are not kept as inputs: column 's', row 1: None arrives as 'None'",
        "golden rows are not kept as csv: column 's', row 0: 'NA' arrives as None",
    ]


def frames_only(rows):
    if not isinstance(rows, pd.DataFrame):
        raise TypeError("no frame")
    return rows["x"]


def test_an_encoding_that_the_saved_model_does_not_take_is_left_out_and_told():
    frame = pd.DataFrame({"x": [1.0, 2.5], "s": ["a", "b"]})
    found = bodies(frame, None, predict=frames_only)
    assert [wire.encoding for wire in found.wires] == ["dataframe_records", "dataframe_split"]
    assert (
        "golden rows are not kept as inputs: the model has no signature and raises TypeError for rows in this form"
        in found.degraded
    )
    assert "inputs" in [wire.encoding for wire in bodies(frame, None, predict=lambda rows: rows["x"]).wires]


def test_a_model_with_a_signature_is_asked_for_no_encoding_by_itself():
    frame = pd.DataFrame({"x": [1.0, 2.5], "s": ["a", "b"]})
    found = bodies(frame, predict=lambda rows: 1 / 0)
    assert [wire.encoding for wire in found.wires] == ["dataframe_records", "dataframe_split", "inputs", "csv", "arrow"]


def test_what_no_table_can_carry_is_a_fault_and_stays():
    signature = {"inputs": '[{"name": "x", "type": "long"}]'}
    found = bodies(pd.DataFrame({"x": [1.5, np.nan]}), signature)
    assert [wire.encoding for wire in found.wires] == ["dataframe_records", "dataframe_split"]
    assert len(found.faults) == 2
    assert "got null" in found.faults[0]


def test_a_column_that_the_signature_does_not_know_is_a_fault():
    found = bodies(pd.DataFrame({"x": [1.0], "s": ["a"], "more": [2.0]}))
    assert "column 'more' does not arrive" in found.faults[0]


def test_arrays_are_sent_without_names():
    signature = {"inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]'}
    found = bodies(pd.DataFrame({"0": [1.0, 2.0], "1": [3.0, 4.0]}), signature, is_array=True)
    assert [wire.encoding for wire in found.wires] == ["inputs", "instances"]
    assert msgspec.json.decode(found.wires[0].body) == {"inputs": [[1.0, 3.0], [2.0, 4.0]]}
    assert found.faults == []


def test_a_body_holds_the_first_rows_only_and_can_be_cut():
    frame = pd.DataFrame({"x": np.arange(300.0), "s": "a"})
    columns = [column_of(frame[name], name) for name in frame]
    found = bodies(frame)
    assert {wire.rows for wire in found.wires} == {wires.WIRE_ROWS}
    less = wires.cutter(columns, frame, SIGNATURE, is_array=False)(found.wires[3], 2)
    assert (less.encoding, less.rows, less.body) == ("csv", 2, b"x,s\n0.0,a\n1.0,a\n")


@pytest.mark.parametrize("dtype", ["boolean", "object", "bool[pyarrow]"])
def test_strict_takes_truth_values_that_the_signature_has_as_numbers(dtype):
    frame = pd.DataFrame({"flag": pd.Series([True, None, False], dtype=dtype)})
    found = bodies(frame, FLAG)
    assert (len(found.wires), found.degraded, found.faults) == (5, [], [])
    decoder = compile_decoder(parse_signature(FLAG))
    for wire in [*found.wires, cut(frame, found.wires[0], FLAG)]:
        read = assemble([decoder.decode(wire.body, wire.content_type, Enforcement.STRICT)]).flag
        assert read.tolist() == pytest.approx([1, np.nan, 0][: wire.rows], nan_ok=True)


def cut(frame, wire, signature):
    columns = [column_of(frame[name], name) for name in frame]
    return wires.cutter(columns, frame, signature, is_array=False)(wire, 2)


def test_truth_values_that_are_numbers_in_the_signature_are_told():
    frame = pd.DataFrame({"flag": [True, None], "x": [1.0, 2.0]})
    assert wires.truths_as_numbers(frame, FLAG) == ["flag"]
    assert wires.truths_as_numbers(frame, {"inputs": '[{"name": "flag", "type": "boolean"}]'}) == []
    assert wires.truths_as_numbers(frame, None) == []


def test_times_of_a_zone_are_sent_in_utc_in_every_encoding():
    signature = {"inputs": '[{"name": "at", "type": "datetime"}]'}
    at = pd.Series(pd.to_datetime(["2024-07-01 12:00", "2024-12-01 12:00"])).dt.tz_localize("Europe/Berlin")
    found = bodies(at.to_frame("at"), signature)
    assert (len(found.wires), found.degraded, found.faults) == (5, [], [])
    decoder = compile_decoder(parse_signature(signature))
    for wire in found.wires:
        read = assemble([decoder.decode(wire.body, wire.content_type, Enforcement.STRICT)])
        assert read["at"].astype(str).tolist() == ["2024-07-01 10:00:00", "2024-12-01 11:00:00"]


@pytest.mark.parametrize(
    ("series", "dtype", "values"),
    [
        (pd.Series([1, 2]), "int64", (1, 2)),
        (pd.Series([0.5, np.nan]), "float64", (0.5, None)),
        (pd.Series([True, False]), "bool", (True, False)),
        (pd.Series(pd.array([1, None], dtype="Int64")), "Int64", (1, None)),
        (pd.Series(["a", None], dtype=object), "object", ("a", None)),
        (pd.Series(pd.Categorical(["b", None])), "category", ("b", None)),
        (
            pd.Series([pd.Timestamp("2024-01-31 13:45"), pd.NaT]).astype("datetime64[ns]"),
            "datetime64[ns]",
            ("2024-01-31T13:45:00", None),
        ),
        (
            pd.Series([pd.Timestamp("2024-01-31 13:45+02:00")]).dt.tz_convert("UTC").astype("datetime64[ns, UTC]"),
            "datetime64[ns, UTC]",
            ("2024-01-31T11:45:00",),
        ),
    ],
)
def test_columns_keep_values_nulls_and_dtype(series, dtype, values):
    column = column_of(series, "c")
    assert (column.dtype, column.values) == (dtype, values)
