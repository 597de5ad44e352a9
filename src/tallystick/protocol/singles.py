"""Columns of text, dates or bytes that have one value each, converted together: those of a row.

Says what `scalars` and `lossy` say of each column by itself, as `bulk` does for numbers. Where there is nothing said
of a column, it has to be looked at by itself.
"""

from __future__ import annotations

import functools
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tallystick.protocol import scalars
from tallystick.protocol.bulk import Changes
from tallystick.protocol.ledger import Coercion
from tallystick.protocol.scalars import NUMPY_DTYPES, Values, object_array
from tallystick.protocol.signature import ScalarType

#: A column for each value, None where it has to be looked at by itself, and which values were changed.
_Converted: TypeAlias = tuple[list[Values | None], Changes]

_NUMBER_TYPES = frozenset({int, float, bool})
_FIRST, _END = -(2**63), 2**63
# What no base64 decoder takes, before any padding could be wrong.
_BAD_BASE64 = re.compile(r"[A-Za-z0-9+/\r\n]*[^A-Za-z0-9+/=\r\n]")
_strict = functools.partial(a2b_base64, strict_mode=True)


def convert(values: Sequence[Any], kind: ScalarType, by_frame: bool) -> _Converted:
    """Return a column for each value, None where it has to be looked at by itself, and which values were changed."""
    return _CONVERT[kind](values, by_frame)


def _texts(values: Sequence[Any], by_frame: bool) -> _Converted:
    columns: list[Values | None] = [[value] for value in values]
    other = [place for place, value in enumerate(values) if type(value) is not str]
    if not other:
        return columns, []
    nulls = [place for place in other if values[place] is None]
    # What is not a number is a missing value.
    odd = [place for place in other if values[place] is not None and values[place] == values[place]]
    for place in other:
        columns[place] = [None] if by_frame else None
    if by_frame:
        # pandas keeps it as it is.
        for place, column in zip(odd, _apart([values[place] for place in odd]), strict=True):
            columns[place] = column
        return columns, _counted((Coercion.NOT_TEXT, odd))
    # NumPy writes it, if it is a single value. Not every number has so few digits that Python does.
    numbers = [place for place in odd if type(values[place]) in _NUMBER_TYPES and abs(values[place]) < _END]
    for place in numbers + nulls:
        columns[place] = [str(values[place])]
    return columns, _counted((Coercion.TEXT_FROM_VALUE, numbers), (Coercion.NULL_TO_TEXT, nulls))


def _dates(values: Sequence[Any], by_frame: bool) -> _Converted:
    fitting = scalars.exact(values, ScalarType.DATETIME)
    if fitting is not None:
        return list(np.asarray(fitting).reshape(-1, 1)), []
    # pandas takes numbers for nanoseconds since 1970, without fractions; NumPy only whole ones.
    numbers = [
        place
        for place, value in enumerate(values)
        if (type(value) is int or (by_frame and type(value) is float)) and _FIRST <= value < _END
    ]
    texts = [
        place
        for place, value in enumerate(values)
        if value is None or (type(value) is str and scalars.is_plain_date(value))
    ]
    out = np.empty(len(values), dtype=NUMPY_DTYPES[ScalarType.DATETIME])
    out[numbers] = np.array([int(values[place]) for place in numbers], dtype=np.int64).view(out.dtype)
    try:
        out[texts] = np.array([values[place] for place in texts], dtype=out.dtype)
    except ValueError:
        # Not in the calendar.
        texts = []
    columns: list[Values | None] = [None] * len(values)
    apart = out.reshape(-1, 1)
    for place in numbers + texts:
        columns[place] = apart[place]
    return columns, _counted((Coercion.EPOCH_UNIT, numbers))


def _bytes(values: Sequence[Any], by_frame: bool) -> _Converted:
    if set(map(type, values)) != {str}:
        return [None] * len(values), []
    if not by_frame:
        return _kept(values)
    try:
        return list(_apart(list(map(_strict, values)))), []
    except ValueError:
        pass
    decoded: list[bytes] = [b""] * len(values)
    bad, alone = [], []
    for place, value in enumerate(values):
        try:
            sent = value.encode()
            decoded[place] = a2b_base64(sent)
        except ValueError:
            alone.append(place)
            continue
        # Most of the values fit, mostly.
        fitting = b2a_base64(decoded[place], newline=False)
        if fitting != sent:
            if _BAD_BASE64.match(value):
                bad.append(place)
            elif fitting != sent.translate(None, b"\r\n"):
                alone.append(place)
    columns: list[Values | None] = list(_apart(decoded))
    for place in alone:
        columns[place] = None
    return columns, _counted((Coercion.BAD_BASE64, bad))


def _kept(texts: Sequence[str]) -> _Converted:
    """Return the bytes of texts themselves, as NumPy does, which has no use for zeros at their ends."""
    if not all(map(str.isascii, texts)):
        return [None] * len(texts), []
    decoded = [text.encode().rstrip(b"\0") for text in texts]
    return list(_apart(decoded)), [(Coercion.BASE64_KEPT, list(range(len(texts))))]


_CONVERT: dict[ScalarType, Callable[[Sequence[Any], bool], _Converted]] = {
    ScalarType.STRING: _texts,
    ScalarType.DATETIME: _dates,
    ScalarType.BINARY: _bytes,
}
KINDS = frozenset(_CONVERT)


def _counted(*changes: tuple[Coercion, list[int]]) -> Changes:
    return [change for change in changes if change[1]]


def _apart(values: list[Any]) -> scalars.Array:
    """Return a column for each object."""
    return object_array(values).reshape(-1, 1)
