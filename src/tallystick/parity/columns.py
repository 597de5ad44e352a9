"""Columns as plain arrays: what a frame's column holds, read the same way at training time and live.

Reading never loses what it changed: each parse comes with masks of the rows where something else than the plain value
stood, which the schema detectors turn into findings.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Texts = NDArray[np.object_]

NULL_TOKENS = frozenset(
    {"", "na", "n/a", "nan", "null", "none", "nil", "#n/a", "<na>", "nat", "-", "--", "?", "\\n"}
    | {"#null!", "#value!", "#ref!", "#div/0!", "#name?", "#num!"}
)
TRUE_TOKENS = frozenset({"true", "t", "yes", "y", "on", "1"})
FALSE_TOKENS = frozenset({"false", "f", "no", "n", "off", "0"})
DATE_FORMATS = (
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d.%m.%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
)
_OF_ONE_TYPE = frozenset({"string", "boolean", "integer", "floating", "categorical"})
_THOUSANDS = re.compile(r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$")
_COMMA = re.compile(r"^[+-]?(\d{1,3}(\.\d{3})+|\d+),\d+([eE][+-]?\d+)?$")
_AROUND = re.compile(r"^[^\d.,+-]{0,4}\s*([+-]?\d+(?:\.\d+)?)\s*[^\d.,]{0,6}$")
_SPACED = re.compile(r"^[+-]?\d{1,3}([ '\u00a0\u202f]\d{3})+([.,]\d+)?$")
_FAR = re.compile(r"^\d{4}-\d\d-\d\d([T ][\d:.]+)?$")
#: Part of a column's words up to which others than those for truth values are slips.
MOST_OTHERS = 0.05
#: Bits of the largest whole number that is a float.
MOST_BITS = 1023
#: Seconds since 1970 for the years 1990 to 2050: a column whose values lie there in some unit counts the epoch.
EPOCH_RANGE_S = (631_152_000.0, 2_524_608_000.0)
EPOCH_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


class Role(StrEnum):
    """How the values of a column are compared."""

    NUMBER = "number"
    LEVEL = "level"
    TEXT = "text"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers of one column (NaN where there is none) and masks of rows where they were not plain numbers.

    `as_text`, `comma`, `boolean`, `token` and `junk` are disjoint; `junk` could not be read at all. Words are
    `boolean` where nearly all of them are words for truth values.
    """

    values: Floats
    as_text: Mask
    comma: Mask
    boolean: Mask
    token: Mask
    junk: Mask


def is_null_word(text: str) -> bool:
    """Whether a text stands for no value, whatever is put around it: `(null)`, `[N/A]`, `.`."""
    bare = text.strip().lower()
    return bare in NULL_TOKENS or bare.strip("<>()[]{}_*.- ") in NULL_TOKENS


def with_columns(frame: pd.DataFrame, changed: Mapping[str, Any]) -> pd.DataFrame:
    """Return the frame with some columns put in or replaced, by any name: `assign` knows no column `self`."""
    made = frame.copy(deep=False)
    for name, values in changed.items():
        made[name] = values
    return made


def read_numbers(series: pd.Series[Any]) -> Numbers:
    """Return the numbers of a column of any dtype. Blocks for O(rows); text costs some µs a distinct value."""
    rows = len(series)
    none = np.zeros(rows, dtype=bool)
    if pd.api.types.is_complex_dtype(series.dtype):
        series = series.astype(object)
    if pd.api.types.is_bool_dtype(series.dtype) or pd.api.types.is_numeric_dtype(series.dtype):
        # A column without a mask is read as it is: by way of one with a mask it takes ten times as long.
        plain: Floats = (
            np.array(series, dtype=np.float64)
            if isinstance(series.dtype, np.dtype)
            else np.asarray(series.astype("Float64").to_numpy(np.float64, na_value=np.nan), dtype=np.float64)
        )
        return Numbers(plain, none, none, none, none, none)
    values = np.full(rows, np.nan, dtype=np.float64)
    masks = {name: none.copy() for name in ("as_text", "comma", "boolean", "token", "junk")}
    objects = series.astype(object).to_numpy()
    seen: dict[Any, tuple[float, str]] = {}
    for row, value in enumerate(objects):
        if isinstance(value, str):
            parsed = seen.get(value) or seen.setdefault(value, _number_in(value))
            values[row] = parsed[0]
            masks[parsed[1]][row] = True
        elif not _is_null(value):
            try:
                values[row] = float(value)
            except OverflowError:
                # A whole number beyond the range of floats.
                values[row] = np.inf
            except (TypeError, ValueError, ArithmeticError):
                masks["junk"][row] = True
    boolean, junk = masks["boolean"], masks["junk"]
    if junk.sum() > MOST_OTHERS * (boolean.sum() + junk.sum()):
        # N is no False beside NE, E and SE, nor T a True among letters.
        values[boolean] = np.nan
        masks |= {"boolean": none, "junk": boolean | junk}
    return Numbers(values, **masks)


def in_dtype(series: pd.Series[Any], dtype: str) -> pd.Series[Any]:
    """Return numbers in training's type, where it is one of whole numbers and has room for them; else as they are.

    Whole but for the rounding of a float counts as whole. 32-bit floats are such a type too.

    >>> str(in_dtype(pd.Series([1.0, 2.0]), "int32").dtype), str(in_dtype(pd.Series([1.5, 2.0]), "int32").dtype)
    ('int32', 'float64')
    """
    if not dtype.lower().startswith(("int", "uint", "float32")):
        return series
    try:
        numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
        values = numbers if dtype.lower().startswith("float") else np.round(numbers)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cast: pd.Series[Any] = pd.Series(values, index=series.index).astype(pd.api.types.pandas_dtype(dtype))
        is_same = np.allclose(cast.to_numpy(dtype=np.float64, na_value=np.nan), numbers, equal_nan=True)
    except (TypeError, ValueError, OverflowError):
        # Nulls that the type has no room for, or no numbers at all.
        return series
    return cast if is_same else series


def plain_objects(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with objects that cannot be written as text or a float replaced by ones that can.

    Bytes become their literal, whole numbers beyond the range of floats infinity, signalling NaNs plain ones, and
    halves of a character, which JSON can bring, the character for damage.
    """
    odd: dict[int, pd.Series[Any]] = {}
    for place in range(frame.shape[1]):
        series = frame.iloc[:, place]
        if series.dtype != object:
            continue
        kind = pd.api.types.infer_dtype(series, skipna=True)
        if kind not in ("string", "boolean") or (kind == "string" and any(map(_is_torn, series))):
            odd[place] = pd.Series([_plain_object(value) for value in series], index=series.index, dtype=object)
    if not odd:
        return frame
    columns = [odd.get(place, frame.iloc[:, place]) for place in range(frame.shape[1])]
    return pd.concat(columns, axis=1).set_axis(frame.columns, axis=1)


def _is_torn(value: Any) -> bool:
    """Whether a text holds half of a character, which no encoding can write."""
    if not isinstance(value, str) or value.isascii():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def _plain_object(value: Any) -> Any:
    if _is_torn(value):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, bytes | bytearray | memoryview):
        return str(bytes(value))
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        return np.inf if value > 0 else -np.inf
    return np.nan if isinstance(value, Decimal) and value.is_snan() else value


def _number_in(text: str) -> tuple[float, str]:
    bare = text.strip()
    token = bare.lower()
    if is_null_word(token):
        return np.nan, "token"
    try:
        return float(bare), "as_text"
    except ValueError:
        pass
    if _THOUSANDS.match(bare):
        return float(bare.replace(",", "")), "comma"
    if _COMMA.match(bare):
        return float(bare.replace(".", "").replace(",", ".")), "comma"
    if _SPACED.match(bare):
        return float(re.sub(r"[ '\u00a0\u202f]", "", bare).replace(",", ".")), "comma"
    if token in TRUE_TOKENS or token in FALSE_TOKENS:
        return float(token in TRUE_TOKENS), "boolean"
    around = _AROUND.match(bare)
    # A number with a unit or a currency around it.
    return (float(around.group(1)), "as_text") if around else (np.nan, "junk")


def _is_null(value: Any) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and value != value)


def read_texts(series: pd.Series[Any]) -> Texts:
    """Return the levels of a column as text, None where there is none. True is 'True', 1 is '1' and 1.0 is '1.0'."""
    if isinstance(series.dtype, pd.CategoricalDtype) or pd.api.types.infer_dtype(series, skipna=True) in _OF_ONE_TYPE:
        # One type, so that equal values are one value (1, 1.0 and True are equal, and hash alike).
        codes, distinct = pd.factorize(series)
        names = np.array([str(value) for value in distinct] + [None], dtype=object)
        return np.asarray(names[codes], dtype=object)
    objects = series.astype(object).to_numpy()
    seen: dict[Any, str | None] = {}
    texts = np.empty(len(objects), dtype=object)
    for row, value in enumerate(objects):
        if isinstance(value, str):
            texts[row] = value
        elif _is_null(value):
            texts[row] = None
        else:
            key = (type(value), value)
            try:
                texts[row] = seen[key] if key in seen else seen.setdefault(key, str(value))
            except TypeError:  # unhashable, such as a list
                texts[row] = str(value)
    return texts


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds since 1970 (NaN where none), the encoding they came in, and rows that could not be read."""

    seconds: Floats
    encoding: str
    junk: Mask = field(default_factory=lambda: np.zeros(0, dtype=bool))


def read_times(series: pd.Series[Any], encoding: str | None = None) -> Times | None:
    """Return the times of a column, or None when it holds no times.

    `encoding` is `datetime`, `epoch_s|ms|us|ns` or `text:<format>`; without one it is guessed.
    """
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return Times(seconds_in(series), "datetime", np.zeros(len(series), dtype=bool))
    if pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(series.dtype):
        numbers = read_numbers(series).values
        unit = encoding.removeprefix("epoch_") if encoding and encoding.startswith("epoch_") else epoch_unit(numbers)
        if unit is None:
            return None
        return Times(numbers / EPOCH_UNITS[unit], f"epoch_{unit}", np.zeros(len(series), dtype=bool))
    if series.dtype == object and any(isinstance(value, date) for value in series):
        return Times(seconds_in(series), "datetime", np.zeros(len(series), dtype=bool))
    return _times_in_text(series, encoding)


def seconds_in(series: pd.Series[Any]) -> Floats:
    """Return seconds since 1970 (UTC) of timestamps, dates or ISO 8601, NaN for what is none; 9999-12-31 is one.

    >>> seconds_in(pd.Series(["9999-12-31", "1970-01-01T02:00:00+01:00", "soon"])).tolist()
    [253402214400.0, 3600.0, nan]
    """
    if not pd.api.types.is_datetime64_any_dtype(series.dtype):
        read = pd.to_datetime(series, errors="coerce", format="mixed", utc=True)
        # Nanoseconds end in 2262; open ends lie far behind that.
        lost = np.flatnonzero(read.isna().to_numpy() & series.notna().to_numpy())
        seconds = seconds_in(read)
        seconds[lost] = [_far_seconds(value) for value in series.iloc[lost]]
        return seconds
    naive = series.dt.tz_convert("UTC").dt.tz_localize(None) if series.dt.tz is not None else series
    stamps = naive.to_numpy()
    plain = stamps if np.datetime_data(stamps.dtype)[0] == "ns" else stamps.astype("datetime64[us]")
    per_second = 1e9 if plain.dtype == "datetime64[ns]" else 1e6
    return np.asarray(np.where(np.isnat(plain), np.nan, plain.astype(np.int64) / per_second), dtype=np.float64)


def _far_seconds(value: Any) -> float:
    """Return seconds of a time that nanoseconds cannot hold, NaN where it is none."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.timestamp()
    text = value.strip().removesuffix("Z") if isinstance(value, str) else str(value)
    if not isinstance(value, date) and not _FAR.match(text):
        return float("nan")
    try:
        return float(np.datetime64(text, "us").astype(np.int64)) / 1e6
    except ValueError:
        return float("nan")


def epoch_unit(numbers: Floats) -> str | None:
    """Return the unit in which nearly all numbers are whole times between 1990 and 2050, or None.

    >>> epoch_unit(np.array([1.6e9, 1.7e9]))
    's'
    """
    known = numbers[~np.isnan(numbers)]
    if not len(known) or np.mean(known == np.floor(known)) < 0.9 or len(np.unique(known[:50])) < 2:
        return None
    low, high = EPOCH_RANGE_S
    for unit, factor in EPOCH_UNITS.items():
        if np.mean((known > low * factor) & (known < high * factor)) > 0.98:
            return unit
    return None


def _times_in_text(series: pd.Series[Any], encoding: str | None) -> Times | None:
    texts = series.astype(object)
    known = texts[texts.notna()]
    if not len(known) or not all(isinstance(value, str) and value[:1].isdigit() for value in known.iloc[:50]):
        return None
    formats = (encoding.removeprefix("text:"),) if encoding and encoding.startswith("text:") else DATE_FORMATS
    for pattern in formats:
        head = pd.to_datetime(known.iloc[:50], format=pattern, errors="coerce")
        if head.notna().mean() < 0.95 and encoding is None:
            continue
        seconds = seconds_in(pd.to_datetime(texts.where(texts.notna(), None), format=pattern, errors="coerce"))
        if encoding is None and np.isnan(seconds[texts.notna().to_numpy()]).mean() > 0.05:
            continue
        return Times(seconds, f"text:{pattern}", np.isnan(seconds) & texts.notna().to_numpy())
    return None


def hour_of(seconds: Floats) -> Floats:
    """Return the hour of the day, 0 to 23, NaN where there is no time."""
    return np.asarray(np.floor(np.mod(seconds, 86400.0) / 3600.0), dtype=np.float64)


def guess_role(series: pd.Series[Any]) -> Role:
    """Return the role of a training column: times, numbers, levels (few distinct values) or free text."""
    if pd.api.types.is_bool_dtype(series.dtype):
        return Role.LEVEL
    if read_times(series) is not None:
        return Role.TIME
    if pd.api.types.is_numeric_dtype(series.dtype):
        return Role.NUMBER
    texts = read_texts(series)
    known = texts[np.array([text is not None for text in texts], dtype=bool)]
    if not len(known):
        return Role.LEVEL
    if not any(isinstance(value, str) for value in series.astype(object).to_numpy()):
        numbers = read_numbers(series)
        if not numbers.junk.any():
            return Role.NUMBER
    distinct = len(set(known.tolist()))
    # A level column repeats itself; names, free text and identifiers do not.
    return Role.LEVEL if distinct <= max(20, min(2000, 0.3 * len(known))) else Role.TEXT
