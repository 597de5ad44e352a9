"""Values as clients sent them, from bodies that are plain JSON: rows of raw values, and columns made of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from tallystick.parity.columns import Role, read_times
from tallystick.parity.profile import ColumnProfile
from tallystick.protocol.codec import INPUT_KEYS

#: Numbers beyond it do not fit a column of integers.
_MAX_INT = 1 << 63
#: What stands in a body for a value that was hashed; digits alone could be a number that came as text.
_HASH = re.compile(r"(?=.*[a-f])[0-9a-f]{16}")
#: Part of a column's values that must look like hashes for it to be a hashed one.
_HASHED_SHARE = 0.95
#: A date as the signature's `datetime` takes it from JSON.
_ISO = re.compile(r"\d{4}-\d{2}(-\d{2}([T ]\d{2}(:\d{2}(:\d{2}(\.\d+)?)?)?)?)?", re.ASCII)


def rows_of(body: bytes) -> list[dict[str, Any]] | None:
    """Return the rows of a request, each as column -> value; None when it is no JSON of named columns.

    >>> rows_of(b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"], [null, "2,5"]]}}')
    [{'a': 1, 'b': 'x'}, {'a': None, 'b': '2,5'}]
    """
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    given = [key for key in INPUT_KEYS if key in fields] if isinstance(fields, dict) else []
    if len(given) != 1:
        return None
    value = fields[given[0]]
    if given[0] == "dataframe_split":
        return _of_split(value)
    if isinstance(value, dict) and given[0] == "inputs":
        return _of_columns(value)
    return value if isinstance(value, list) and all(isinstance(row, dict) for row in value) else None


def _of_split(value: Any) -> list[dict[str, Any]] | None:
    columns, data = (value.get("columns"), value.get("data")) if isinstance(value, dict) else (None, None)
    if not isinstance(columns, list) or not isinstance(data, list):
        return None
    names = [str(name) for name in columns]
    if len(set(names)) < len(names) or not all(isinstance(row, list) and len(row) == len(names) for row in data):
        return None
    return [dict(zip(names, row, strict=True)) for row in data]


def _of_columns(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    columns = list(value.values())
    if not columns or not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        return None
    return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]


def plain(value: Any) -> Any:
    """Return a decoded value as JSON would have given it; what is missing is None."""
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64 | np.timedelta64):
        value = value.item()
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and value != value):
        return None
    return value


def is_nested(values: Sequence[Any]) -> bool:
    """Whether values are lists, objects or bytes, which are compared as the model saw them."""
    return any(isinstance(value, list | dict | bytes | np.ndarray) for value in values)


def looks_hashed(values: Sequence[Any], profile: ColumnProfile | None) -> bool:
    """Whether a column holds hashes in the place of values."""
    known = [value for value in values if value is not None]
    hashes = [value for value in known if isinstance(value, str) and _HASH.fullmatch(value)]
    if not known or len(hashes) < _HASHED_SHARE * len(known):
        return False
    levels = None if profile is None else profile.levels
    return levels is None or not set(hashes) & set(levels.levels)


def column_of(values: Sequence[Any], profile: ColumnProfile | None) -> pd.Series[Any]:
    """Return raw values as a column: of training's dtype where all are of its type, else as they are."""
    if profile is not None and profile.role is Role.TIME and profile.dtype.startswith("datetime"):
        return _dates(values)
    kinds = {type(value) for value in values if value is not None}
    has_nulls = any(value is None for value in values)
    if kinds == {bool} and not has_nulls:
        return pd.Series(values, dtype=bool)
    if kinds and kinds <= {int, float}:
        return _numbers(values, profile, has_nulls)
    # Texts get the dtype of texts, whatever this pandas calls it.
    return pd.Series(list(values)) if kinds == {str} else pd.Series(list(values), dtype=object)


def _numbers(values: Sequence[Any], profile: ColumnProfile | None, has_nulls: bool) -> pd.Series[Any]:
    dtype = "" if profile is None else profile.dtype
    found = np.array([np.nan if value is None else _as_float(value) for value in values], dtype=np.float64)
    known = found[~np.isnan(found)]
    are_whole = bool((known == np.floor(known)).all() and (np.abs(known) < _MAX_INT).all())
    are_integers = all(value is None or isinstance(value, int) for value in values)
    if are_whole and (dtype.lower().startswith(("int", "uint")) or (are_integers and not dtype.startswith("float"))):
        # By way of int, which keeps the digits of numbers that no float has.
        whole = [None if value is None else int(value) for value in values]
        return pd.Series(whole, dtype="Int64" if has_nulls else "int64")
    return pd.Series(found.astype(np.float32)) if dtype == "float32" else pd.Series(found)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf


def _dates(values: Sequence[Any]) -> pd.Series[Any]:
    """Return dates as times where they are written as a signature takes them, or in a way that is known."""
    found = pd.Series(list(values), dtype=object)
    texts = np.array([isinstance(value, str) for value in values], dtype=bool)
    iso = np.array([isinstance(value, str) and bool(_ISO.fullmatch(value)) for value in values], dtype=bool)
    if iso.any():
        found[iso] = list(pd.to_datetime(found[iso], format="ISO8601", errors="coerce"))
    other = texts & ~iso
    if other.any():
        read = read_times(found[other].reset_index(drop=True))
        if read is not None:
            found[other] = list(pd.to_datetime(pd.Series(read.seconds), unit="s"))
    is_time = [value is None or isinstance(value, pd.Timestamp) or value is pd.NaT for value in found]
    if all(is_time):
        return pd.Series(pd.to_datetime(found))
    numbers = [value for value in values if value is not None]
    if numbers and all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
        return _numbers(values, None, len(numbers) < len(values))
    return found
