"""Columns of single values: what fits a type exactly, and what is to be said of values that do not.

Two of the questions of `columns`: does the whole column fit (`exact`: types are compared in C, nothing is looked at
twice)? Does each value fit by itself (`judge`)?

Numbers: a 64-bit float holds whole numbers up to 2^53 exactly, a 32-bit float up to 2^24; rounding of decimal
fractions to the declared float type is what the type means, and no coercion.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tallystick.protocol.ledger import Coercion, describe
from tallystick.protocol.signature import ScalarType

Array: TypeAlias = np.ndarray[Any, Any]
#: What the model's frame is built from: an array, or a list of text (None for missing) that pandas gives a text type.
Values: TypeAlias = Array | list[Any]

EXACT_IN_DOUBLE = 2**53
EXACT_IN_FLOAT = 2**24

NUMPY_DTYPES: dict[ScalarType, np.dtype[Any]] = {
    ScalarType.BOOLEAN: np.dtype(bool),
    ScalarType.INTEGER: np.dtype(np.int32),
    ScalarType.LONG: np.dtype(np.int64),
    ScalarType.FLOAT: np.dtype(np.float32),
    ScalarType.DOUBLE: np.dtype(np.float64),
    ScalarType.STRING: np.dtype(str),
    ScalarType.BINARY: np.dtype(bytes),
    ScalarType.DATETIME: np.dtype("datetime64[ns]"),
}

_FLOAT_TYPES = frozenset({float, type(None)})
_NUMBER_TYPES = frozenset({float, int, type(None)})
_TEXT_TYPES = frozenset({str, type(None)})
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?")
_OFFSET = re.compile(r"(?:Z|[+-]\d\d(?::?\d\d)?)$")
_TWO_READINGS = re.compile(r"\s*\d{1,2}[/.\-]\d{1,2}[/.\-]\d{2,4}(?!\d)")
# Whole days that fit 64-bit nanoseconds; NumPy wraps around silently beyond. Text compares like dates here.
_FIRST_DAY, _LAST_DAY = "1677-09-22", "2262-04-10"


def exact(values: Sequence[Any], kind: ScalarType) -> Values | None:
    """Return the column when every value has the natural JSON form of its type; None when one has not.

    None does not mean that a value is wrong (1.0 is a good long); only that each has to be looked at.
    """
    return exact_of(values, set(map(type, values)), kind)


def exact_of(values: Sequence[Any], kinds: set[type], kind: ScalarType) -> Values | None:
    """Return the same for values of these types."""
    return _EXACT[kind](values, kinds)


def exact_numbers(rows: Sequence[Any], kinds: set[type], kind: ScalarType) -> Array | None:
    """Return numbers, or truth values, of any shape. `kinds` are the types of the innermost values."""
    return _EXACT_NUMBERS[kind](rows, kinds)


def exact_doubles(rows: Sequence[Any], kinds: set[type]) -> Array | None:
    """Return float64 numbers of any shape; null is NaN. `kinds` are the types of the innermost values."""
    if kinds <= _FLOAT_TYPES:
        return np.array(rows, dtype=np.float64)
    if not kinds <= _NUMBER_TYPES:
        return None
    try:
        out = np.array(rows, dtype=np.float64)
    except OverflowError:
        return None
    return out if not out.size or is_within(out, EXACT_IN_DOUBLE) else None


def is_within(array: Array, limit: float) -> bool:
    """Whether the numbers of the array are smaller than `limit`, whatever their sign.

    Not as large, since 2^53 is what 2^53 + 1 becomes.
    """
    # fmax and fmin pass over NaN.
    return bool(
        np.fmax.reduce(array, axis=None, initial=-1.0) < limit
        and np.fmin.reduce(array, axis=None, initial=1.0) > -limit
    )


def float_extremes(dtype: type) -> tuple[float, float]:
    """Return the largest finite number of a float type, and the size below which numbers become 0 in it."""
    limits = np.finfo(dtype)
    return float(limits.max), float(limits.smallest_subnormal) / 2


def _exact_float(values: Sequence[Any], kinds: set[type]) -> Array | None:
    wide = exact_doubles(values, kinds)
    if wide is None or (int in kinds and not is_within(wide, EXACT_IN_FLOAT)):
        return None
    with np.errstate(over="ignore", under="ignore"):
        out = wide.astype(np.float32)
    if np.isinf(out).any() or np.count_nonzero(out) != np.count_nonzero(wide):
        return None
    return out


def _exact_int(dtype: type) -> Callable[[Sequence[Any], set[type]], Array | None]:
    def convert(values: Sequence[Any], kinds: set[type]) -> Array | None:
        if not kinds <= {int}:
            return None
        try:
            # NumPy 2 refuses what is out of range.
            return np.array(values, dtype=dtype)
        except OverflowError:
            return None

    return convert


def _exact_boolean(values: Sequence[Any], kinds: set[type]) -> Array | None:
    return np.array(values, dtype=bool) if kinds <= {bool} else None


def _exact_string(values: Sequence[Any], kinds: set[type]) -> Values | None:
    return list(values) if kinds <= _TEXT_TYPES else None


def _exact_binary(values: Sequence[Any], kinds: set[type]) -> Values | None:
    if not kinds <= {str}:
        return None
    try:
        return object_array([base64.b64decode(value, validate=True) for value in values])
    except ValueError:
        return None


def _exact_datetime(values: Sequence[Any], kinds: set[type]) -> Values | None:
    if not kinds <= _TEXT_TYPES:
        return None
    if not all(value is None or is_plain_date(value) for value in values):
        return None
    try:
        return np.array(values, dtype="datetime64[ns]")
    except ValueError:
        return None


def is_plain_date(text: str) -> bool:
    """Whether a text has the form of a date as the type wants it, within the range of nanoseconds."""
    # The last day ends early; its midnight is still in.
    return _ISO.fullmatch(text) is not None and (_FIRST_DAY <= text[:10] <= _LAST_DAY or text == "2262-04-11")


_EXACT_NUMBERS: dict[ScalarType, Callable[[Sequence[Any], set[type]], Array | None]] = {
    ScalarType.BOOLEAN: _exact_boolean,
    ScalarType.INTEGER: _exact_int(np.int32),
    ScalarType.LONG: _exact_int(np.int64),
    ScalarType.FLOAT: _exact_float,
    ScalarType.DOUBLE: exact_doubles,
}
_EXACT: dict[ScalarType, Callable[[Sequence[Any], set[type]], Values | None]] = {
    **_EXACT_NUMBERS,
    ScalarType.STRING: _exact_string,
    ScalarType.BINARY: _exact_binary,
    ScalarType.DATETIME: _exact_datetime,
}


def object_array(values: Sequence[Any]) -> Array:
    """Return a 1-D array of these objects; NumPy would make more dimensions of lists of equal length."""
    return np.fromiter(values, dtype=object, count=len(values))


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a value does not fit. `kind` is what MLflow would make of it, None where MLflow refuses it as well."""

    kind: Coercion | None
    value: Any
    #: What is to be said after the value.
    rest: str

    @property
    def problem(self) -> str:
        """Return the fault in words; where it is only counted, nobody asks for them."""
        return f"got {describe(self.value)}{self.rest}"


@dataclass(frozen=True, slots=True)
class Context:
    """What decides how MLflow reads a value, beside the value itself."""

    #: Values pass through pandas (`dataframe_*`, CSV) rather than NumPy alone (`instances`, `inputs`).
    by_frame: bool
    #: The column has fractions or nulls, so pandas keeps whole numbers as floats too.
    has_floats: bool = False


def context_of(values: Sequence[Any], by_frame: bool) -> Context:
    """Return the context that all values of a column share."""
    return Context(by_frame, any(type(value) is float or value is None for value in values))


Judge: TypeAlias = Callable[[Any, Context], Fault | None]


def judge(kind: ScalarType) -> Judge:
    """Return the function that says why a value does not fit `kind`, or None when it fits without loss."""
    return _JUDGES[kind]


def whole_number_judge(low: int, high: int, name: str) -> Judge:
    """Judge whole numbers between `low` and `high`; `name` is the type's, for messages."""
    expected = f", expected a whole number from {low} to {high} ({name})"

    def fault(value: Any, context: Context) -> Fault | None:
        kind: Coercion | None = None
        match value:
            case bool():
                return Fault(Coercion.NUMBER_FROM_BOOLEAN, value, f"{expected}; send {int(value)}")
            case int():
                if not low <= value <= high:
                    kind = Coercion.OVERFLOW
                elif context.by_frame and context.has_floats and abs(value) > EXACT_IN_DOUBLE:
                    kind = Coercion.PRECISION_LOST
                else:
                    return None
            case float() if not math.isnan(value):
                if not value.is_integer():
                    kind = Coercion.FRACTION_DROPPED
                elif not low <= value <= high:
                    kind = Coercion.OVERFLOW
                else:
                    return None
            case str() if _is_number(value, int):
                kind = Coercion.NUMBER_FROM_TEXT
        return Fault(kind, value, expected)

    return fault


def float_judge(limit: float, largest: float, smallest: float, name: str) -> Judge:
    """Judge numbers of a float type that holds whole numbers up to `limit` and magnitudes up to `largest`."""
    expected = f", expected a number ({name})"

    def fault(value: Any, context: Context) -> Fault | None:
        kind: Coercion | None = None
        match value:
            case None:
                return None
            case bool():
                return Fault(Coercion.NUMBER_FROM_BOOLEAN, value, f"{expected}; send {int(value)}")
            case int() if abs(value) > largest:
                kind = Coercion.FLOAT_OVERFLOW
            case int():
                if abs(value) <= limit:
                    return None
                kind = Coercion.PRECISION_LOST
            case float():
                if abs(value) > largest:
                    kind = Coercion.FLOAT_OVERFLOW
                elif 0 < abs(value) < smallest:
                    kind = Coercion.FLOAT_UNDERFLOW
                else:
                    return None
            case str() if _is_number(value, float):
                kind = Coercion.NUMBER_FROM_TEXT
        return Fault(kind, value, expected)

    return fault


def _is_number(text: str, kind: type) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def boolean_fault(value: Any, context: Context) -> Fault | None:
    """Judge a boolean: true, false, 0 and 1 (which some clients send for them) fit."""
    if isinstance(value, bool | int | float) and value in (0, 1):
        return None
    missing = value is None or value != value
    kind = Coercion.NULL_TO_FALSE if missing else Coercion.TRUTHY
    return Fault(kind, value, ", expected true or false (boolean)")


def string_fault(value: Any, context: Context) -> Fault | None:
    """Judge text. null is a missing value for pandas; NumPy makes text of it."""
    expected = ", expected text (string)"
    match value:
        case str():
            return None
        case None:
            return None if context.by_frame else Fault(Coercion.NULL_TO_TEXT, value, expected)
        case float() if math.isnan(value):
            return None
    kept = context.by_frame or isinstance(value, list | dict)
    return Fault(Coercion.NOT_TEXT if kept else Coercion.TEXT_FROM_VALUE, value, expected)


def binary_fault(value: Any, context: Context) -> Fault | None:
    """Judge base64 text, with line ends as MIME has them (RFC 2045). NumPy takes the text's own bytes."""
    expected = ", expected base64 text (binary)"
    if not context.by_frame:
        return _bytes_fault(value)
    if not isinstance(value, str):
        return Fault(None, value, expected)
    try:
        base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
    except binascii.Error as error:
        # MLflow leaves out what is not of the alphabet, and refuses only wrong padding.
        refused = "padding" in str(error).lower() or "data characters" in str(error)
        return Fault(None if refused else Coercion.BAD_BASE64, value, expected)
    except ValueError:
        return Fault(Coercion.BAD_BASE64, value, expected)
    return None


def _bytes_fault(value: Any) -> Fault:
    elsewhere = "; binary is decoded in dataframe_split and dataframe_records only, send it there"
    match value:
        case str():
            return Fault(Coercion.BASE64_KEPT if value.isascii() else None, value, elsewhere)
        case None:
            return Fault(Coercion.NULL_TO_TEXT, value, elsewhere)
        case list() | dict():
            return Fault(None, value, elsewhere)
    return Fault(Coercion.TEXT_FROM_VALUE, value, elsewhere)


def datetime_fault(value: Any, context: Context) -> Fault | None:
    """Judge a date or a date with time, ISO 8601 without offset; null is a missing date."""
    expected = ", expected a date such as 2024-01-31T13:45:00, without offset (datetime)"
    kind: Coercion | None = None
    match value:
        case None:
            return None
        case bool():
            kind = None if context.by_frame else Coercion.EPOCH_UNIT
        case float() if math.isnan(value):
            return None
        case int() | float():
            kind = Coercion.EPOCH_UNIT
        case str() if _ISO.fullmatch(value):
            if not _is_date(value):
                return Fault(None, value, f", which is no date; {expected[2:]}")
            if is_plain_date(value):
                return None
            kind = None if context.by_frame else Coercion.OVERFLOW
            return Fault(kind, value, f", outside {_FIRST_DAY} to {_LAST_DAY}")
        case str() if _ISO.match(value) and _OFFSET.search(value) and len(value) > len("2024-01-31"):
            kind = None if context.by_frame else Coercion.TIMEZONE_DROPPED
        case str():
            kind = Coercion.AMBIGUOUS_DATE if _TWO_READINGS.match(value) else Coercion.DATE_GUESSED
    return Fault(kind, value, expected)


def _is_date(text: str) -> bool:
    try:
        np.datetime64(text)
    except ValueError:
        return False
    return True


def _whole(dtype: type) -> Judge:
    limits = np.iinfo(dtype)
    name = "integer, 32 bits" if limits.bits == 32 else "long, 64 bits"
    return whole_number_judge(int(limits.min), int(limits.max), name)


def _floating(dtype: type, limit: float, name: str) -> Judge:
    return float_judge(limit, *float_extremes(dtype), name)


_JUDGES: dict[ScalarType, Judge] = {
    ScalarType.BOOLEAN: boolean_fault,
    ScalarType.INTEGER: _whole(np.int32),
    ScalarType.LONG: _whole(np.int64),
    ScalarType.FLOAT: _floating(np.float32, EXACT_IN_FLOAT, "float, 32 bits"),
    ScalarType.DOUBLE: _floating(np.float64, EXACT_IN_DOUBLE, "double, 64 bits"),
    ScalarType.STRING: string_fault,
    ScalarType.BINARY: binary_fault,
    ScalarType.DATETIME: datetime_fault,
}


def fitting(values: Sequence[Any], kind: ScalarType) -> Values:
    """Return a column of values that `judge` found no fault with, in whatever forms they came."""
    match kind:
        case ScalarType.STRING:
            return [None if value != value else value for value in values]
        case ScalarType.BINARY:
            return object_array([base64.b64decode(value) for value in values])
        case ScalarType.INTEGER | ScalarType.LONG:
            return np.array([int(value) for value in values], dtype=NUMPY_DTYPES[kind])
        case ScalarType.DATETIME:
            return np.array([None if value != value else value for value in values], dtype=NUMPY_DTYPES[kind])
    return np.array(values, dtype=NUMPY_DTYPES[kind])
