"""What is converted together is, bit for bit, what pandas and NumPy make of each column by itself, and counted alike.

Three claims, of columns of any numbers, truth values, texts, nulls and lists:

* `bulk.convert`, where it has an answer for all columns together, has the array and the changes that `scalars.judge`
  and `lossy.cast_by_pandas` have for one after another, and no answer where one of them is refused;
* `singles.convert` has the same of text, dates and bytes, or no answer for some of the columns;
* `lossy.cast`, which knows without pandas what a column is held in, gives what `cast_by_pandas` gives, or refuses too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.protocol import bulk, lossy, scalars, singles
from tallystick.protocol.ledger import Coercion
from tallystick.protocol.signature import ScalarType

SETTINGS = settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
KINDS = st.sampled_from(sorted(bulk.KINDS))
NAN, INF = float("nan"), float("inf")

# What NumPy, pandas and the types themselves have limits at.
INTS = st.integers(-3, 3) | st.sampled_from(
    [sign * (2**bits + more) for bits in (24, 31, 53, 63, 64) for more in (-1, 0, 1) for sign in (1, -1)]
    + [3 * 16777217, 10**39, 10**400]
)
FLOATS = (
    st.floats(-4, 4)
    | st.sampled_from(
        [0.0, -0.0, 5e-324, 7e-46, 1.4e-45, 3.4028235e38, 3.4028236e38, 1e300, -1e300, NAN, INF, -INF, 16777217.0]
    )
    | st.sampled_from(
        [
            2.0**31,
            2.0**31 - 0.5,
            2.0**31 + 0.5,
            -(2.0**31) - 0.5,
            -(2.0**31) - 1,
            2.0**53,
            2.0**53 + 2,
            2.0**63,
            -(2.0**63),
        ]
    )
)
TEXTS = (
    st.sampled_from(
        [
            "",
            "1",
            "0",
            "-7",
            " 7 ",
            "+5",
            "1_0",
            "00012",
            "0x1",
            "٣",
            "1.5",
            "0.1",
            "nan",
            "-nan",
            "inf",
            "1e39",
            "1e400",
        ]
    )
    | st.sampled_from(["5e-324", "16777217", "3000000000", "9223372036854775808", "true", "false", "x", "\0", "1\0"])
    | st.text(max_size=3)
)
# Of the range of a long, and beyond what a double holds.
LONG = st.sampled_from([2**53 + 1, 2**62 + 1, -(2**53) - 1])
POOLS: list[st.SearchStrategy[Any]] = [
    INTS,
    FLOATS,
    st.booleans(),
    TEXTS,
    st.none(),
    LONG,
    st.integers(-9, 9),
    st.floats(-9, 9),
    st.sampled_from([2.0**63, -(2.0**64), 1e300, 2**63, 2**64 - 1, -(2**63) - 1]),
    st.sampled_from([[], {}, [0], {"a": None}, [[1.5]], [1, 2]]),
]
DATES = (
    st.sampled_from(["2024-01-31", "2024-01-31T10:00", "2024-01-31 10:00:00.123456789", "2024-02-30", "1677-09-21"])
    | st.sampled_from(
        ["2262-04-11", "2262-04-11T10:00:00", "20240131", "31/01/2024", "01/02/2024", "2024-01-31T10:00Z"]
    )
    | st.sampled_from(["Jan 5, 2024", "NaT", "x"])
)
NANOSECONDS = st.sampled_from(
    [1.7e18, -1.7e18, 1.5, -0.5, 9.223372036854774e18, -9.223372036854774e18, 1700000000, 2**63 - 1, -(2**63)]
)
BASE64 = (
    st.sampled_from(["aGVs", "aGVsbG8=", "aGVs\nbG8=\r\n", "aGVsbG9=", "aG!Vs", "!aG=", "a!===", "aGVs=!bG8=", "\n"])
    | st.sampled_from(["aGVsbG8=é", "éaGVs", "=aGV", "aGVs====", "aGVsb", "aG=V", "a-_b", "aGVsbG8", "\ud800", "AB=="])
    | st.text("aA/+=!\n ", max_size=9)
)
LIKE = [(ScalarType.STRING, TEXTS), (ScalarType.DATETIME, DATES | NANOSECONDS), (ScalarType.BINARY, BASE64 | TEXTS)]


@st.composite
def tables(draw: st.DrawFn) -> list[list[Any]]:
    """Columns of equal length, of few kinds of values: more would hardly ever have an answer."""
    value = st.one_of(draw(st.lists(st.sampled_from(POOLS), min_size=1, max_size=3)))
    rows = draw(st.sampled_from([1, 1, 2, 3, 8]))
    return draw(st.lists(st.lists(value, min_size=rows, max_size=rows), min_size=1, max_size=4))


@st.composite
def rows(draw: st.DrawFn) -> tuple[ScalarType, list[Any]]:
    """A type, and a row of values that are like it or of a few other kinds."""
    kind, like = draw(st.sampled_from(LIKE))
    value = st.one_of(like, *draw(st.lists(st.sampled_from(POOLS), max_size=2)))
    return kind, draw(st.lists(value, min_size=1, max_size=8))


def one_by_one(values: list[Any], kind: ScalarType, by_frame: bool) -> tuple[Any, dict[Coercion, list[int]]] | None:
    """Return the column and its changes; None when it is refused."""
    context, judge = scalars.context_of(values, by_frame), scalars.judge(kind)
    found: dict[Any, list[int]] = {}
    for row, value in enumerate(values):
        fault = judge(value, context)
        if fault is not None:
            found.setdefault(fault.kind, []).append(row)
    if None in found:
        return None
    try:
        out = lossy.cast_by_pandas(values, kind, by_frame) if found else scalars.fitting(values, kind)
    except Exception:
        return None
    for row in found.pop(Coercion.NULL_TO_FALSE, []):
        found.setdefault(Coercion.NULL_TO_TRUE if out[row] else Coercion.NULL_TO_FALSE, []).append(row)
    return out, found


def same(ours: Any, theirs: Any) -> bool:
    """Are these the same values of the same types, to the last bit?"""
    if isinstance(theirs, list) or theirs.dtype == object:
        pairs = zip(list(ours), list(theirs), strict=True)
        return type(ours) is type(theirs) and all(
            type(one) is type(other) and repr(one) == repr(other) for one, other in pairs
        )
    return bool(ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes())


@SETTINGS
@given(tables(), KINDS, st.booleans())
def test_together_is_one_by_one(columns: list[list[Any]], kind: ScalarType, by_frame: bool) -> None:
    values = [value for column in columns for value in column]
    rows = len(columns[0])
    together = bulk.convert(bulk.Cells(values, set(map(type, values)), rows == 1, by_frame), kind)
    if together is None:
        return
    array, changes = together
    expected: dict[Coercion, list[int]] = {}
    arrays = []
    for position, column in enumerate(columns):
        alone = one_by_one(column, kind, by_frame)
        assert alone is not None
        arrays.append(alone[0])
        for coercion, places in alone[1].items():
            expected.setdefault(coercion, []).extend(position * rows + place for place in places)
    assert array.dtype == scalars.NUMPY_DTYPES[kind] == arrays[0].dtype
    assert array.tobytes() == np.concatenate(arrays).tobytes()
    assert {coercion: list(places) for coercion, places in changes} == expected
    assert len(dict(changes)) == len(changes)


@SETTINGS
@given(rows(), st.booleans())
def test_columns_of_a_row_are_as_each_alone(row: tuple[ScalarType, list[Any]], by_frame: bool) -> None:
    kind, values = row
    columns, changes = singles.convert(values, kind, by_frame)
    expected: dict[Coercion, list[int]] = {}
    for place, (value, column) in enumerate(zip(values, columns, strict=True)):
        if column is None:
            continue
        alone = one_by_one([value], kind, by_frame)
        assert alone is not None
        assert same(column, alone[0])
        for coercion in alone[1]:
            expected.setdefault(coercion, []).append(place)
    assert {coercion: sorted(places) for coercion, places in changes} == expected
    assert len(dict(changes)) == len(changes)


@SETTINGS
@given(st.tuples(st.sampled_from(ScalarType), tables()) | rows().map(lambda row: (row[0], [row[1]])))
def test_column_without_pandas_is_that_of_pandas(case: tuple[ScalarType, list[list[Any]]]) -> None:
    kind, columns = case
    for values in columns:
        try:
            theirs: Any = lossy.cast_by_pandas(values, kind, by_frame=True)
        except Exception:
            theirs = None
        try:
            ours: Any = lossy.cast(values, kind, by_frame=True)
        except Exception:
            ours = None
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            assert same(ours, theirs)
