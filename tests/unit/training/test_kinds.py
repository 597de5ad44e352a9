"""What columns hold that cannot be captured, said at once; what is captured otherwise than it is."""

import datetime
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from tallystick.errors import InvalidParameter
from tallystick.parity import Reference
from tallystick.parity.tables import read_rows
from tallystick.training.capture import make_plan
from tallystick.training.kinds import check_kinds, for_signature, is_nested

N = 60


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pd.arrays.SparseArray(np.zeros(N)), "sparse values"),
        (np.zeros(N) + 1j, "complex numbers"),
        (pd.to_timedelta(np.arange(N), unit="m"), "durations; give their seconds"),
        ([datetime.timedelta(1)] * N, "durations; give their seconds"),
        (pd.period_range("2025-01", periods=N), "periods"),
        (pd.cut(np.arange(N), 3), "intervals"),
        ([decimal.Decimal(1)] * N, "Decimal; give floats"),
        ([datetime.time(3)] * N, "times of a day"),
    ],
)
def test_what_no_request_brings_is_refused_with_its_column(values, words):
    frame = pd.DataFrame({"a": np.arange(N), "b": values, "c": values})
    with pytest.raises(InvalidParameter, match=f"column 'b' holds {words}.*column 'c' holds {words}"):
        make_plan(frame)


def test_values_of_several_types_need_a_signature():
    mixed = pd.DataFrame({"a": [1, "x"] * N, "b": [1, None] * N, "c": [[1], None] * N})
    check_kinds(mixed)
    with pytest.raises(InvalidParameter, match="X: column 'a' holds values of several types; give one type"):
        check_kinds(mixed, is_signed=False)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (csr_matrix(np.eye(2)), r"X\.toarray\(\)"),
        (pl.DataFrame({"a": [1]}).lazy(), r"X\.collect\(\)"),
        (pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])), "several levels"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "stand twice: a"),
        (pd.DataFrame({"a": []}), "no rows"),
    ],
)
def test_what_is_no_plain_table_is_refused_with_what_would_be(given, words):
    with pytest.raises(InvalidParameter, match=words):
        read_rows(given)


@pytest.mark.parametrize("make", [pl.DataFrame, pa.table])
def test_other_tables_become_frames(make):
    rows = read_rows(make({"a": [1.0, 2.0], "b": ["x", "y"]}))
    assert rows.frame.to_dict("list") == {"a": [1.0, 2.0], "b": ["x", "y"]}
    assert not rows.is_array


@pytest.mark.parametrize("value", [[1], (1,), {"a": 1}, {1}, b"a", np.zeros(2)])
def test_lists_objects_and_bytes_are_nested(value):
    assert is_nested(pd.Series([None, value], dtype=object))
    assert not is_nested(pd.Series(["a", None], dtype=object))


def test_what_may_be_missing_is_a_double_in_a_signature():
    frame = pd.DataFrame(
        {
            "missing": pd.array([1, None], dtype="Int64"),
            "whole": pd.array([1, 2], dtype="Int64"),
            "flag": pd.array([True, None], dtype="boolean"),
            "object": pd.Series([True, pd.NA], dtype=object),
            "sure": pd.Series([True, False], dtype=object),
            "text": pd.array(["a", None], dtype="string"),
        }
    )
    kinds = for_signature(frame).dtypes.astype(str).to_dict()
    assert kinds == {
        "missing": "float64",
        "whole": "Int64",
        "flag": "float64",
        "object": "float64",
        "sure": "object",
        "text": "string",
    }


def test_dates_are_times_however_they_come():
    days = [datetime.date(2025, 1, 1) + datetime.timedelta(n) for n in range(N)]
    column = Reference.from_frame(pd.DataFrame({"day": days})).column("day")
    assert (column.role, column.numbers.maximum) == ("time", pd.Timestamp(days[-1]).timestamp())


def test_columns_named_like_ours_are_kept():
    frame = pd.DataFrame({"__prediction__": np.arange(300.0), "__label__": np.arange(300.0) % 7})
    reference = Reference.from_frame(frame, lambda rows: rows["__label__"] * 2, frame["__label__"])
    again = Reference.from_bytes(reference.to_bytes())
    pd.testing.assert_frame_equal(again.rows, reference.rows)
    assert (again.predictions == again.rows["__label__"] * 2).all()
    assert (again.labels == again.rows["__label__"]).all()
