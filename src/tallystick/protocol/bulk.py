"""Numbers and truth values of one type, judged and converted together: the values of a row, or those of a column.

Says what `scalars.judge` and `lossy.cast` say of them column by column, or nothing at all. pandas is not asked: NumPy
converts each value by Python's own rule (`int`, `float`, `bool`) here, and that is what happens there, too. NumPy does
it always; pandas for text and for columns of mixed types (`core/arrays/string_arrow.py` and `core/dtypes/astype.py`,
`astype`). A column that pandas holds as 64-bit numbers first comes out alike, except for what lies outside of the type,
for whole numbers beyond 2^53 beside fractions, and for nulls that became NaN; of these there is no answer here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tallystick.protocol.ledger import Coercion
from tallystick.protocol.scalars import EXACT_IN_DOUBLE, EXACT_IN_FLOAT, Array, float_extremes, is_within
from tallystick.protocol.signature import ScalarType

#: Kinds of change, and the positions of the values that were changed so. A position is there once at most.
Changes: TypeAlias = list[tuple[Coercion, Array]]
_Converted: TypeAlias = tuple[Array, Changes]

_NULL = type(None)
_TYPES = frozenset({int, float, bool, str, _NULL})
_NUMBER_TYPES = frozenset({int, float})
_DOUBLE, _SINGLE = float_extremes(np.float64), float_extremes(np.float32)


@dataclass(frozen=True, slots=True)
class Cells:
    """Values of one declared type, of one column or of more: column after column, of equal length."""

    values: Sequence[Any]
    #: The types of all values.
    kinds: set[type]
    #: Each value is a column of its own.
    is_row: bool
    by_frame: bool


def convert(cells: Cells, kind: ScalarType) -> tuple[Array, Changes] | None:
    """Return the values as an array of `kind`'s type, and which of them it changes.

    None means that there is no answer for all of them together; each column has to be looked at by itself.
    """
    if not cells.kinds <= _TYPES:
        return None
    try:
        return _CONVERT[kind](cells)
    except (ValueError, TypeError, OverflowError):
        return None


def _long(cells: Cells) -> _Converted | None:
    return _whole(cells, np.array(cells.values, dtype=np.int64))


def _integer(cells: Cells) -> _Converted | None:
    try:
        return _whole(cells, np.array(cells.values, dtype=np.int32))
    except OverflowError:
        return _wrapped(cells)


def _whole(cells: Cells, out: Array) -> _Converted | None:
    """Return whole numbers with what was lost of fractions; null has raised before."""
    values, kinds = cells.values, cells.kinds
    changes: Changes = []
    if float in kinds:
        if int in kinds and cells.by_frame and not cells.is_row and not is_within(out, EXACT_IN_DOUBLE):
            return None
        if kinds <= _NUMBER_TYPES:
            # Whole numbers are rounded alike on both sides, so they do not differ.
            lost = np.array(values, dtype=np.float64) - out
            places = lost.nonzero()[0]
        else:
            floats = _of(values, float)
            lost = np.zeros(len(values))
            lost[floats] = np.array([values[place] for place in floats.tolist()]) - out[floats]
            places = lost.nonzero()[0]
        if len(places):
            # Not more than a fraction: NumPy 2 has refused what is outside of the type.
            changes.append((Coercion.FRACTION_DROPPED, places))
    return out, changes + _foreign(cells)


def _wrapped(cells: Cells) -> _Converted | None:
    """Return 32-bit numbers of longer ones, which pandas holds in 64 bits and cuts; NumPy refuses them."""
    if not cells.by_frame or not (cells.is_row or cells.kinds == {int}):
        return None
    done = _long(cells)
    if done is None:
        return None
    wide, changes = done
    out = wide.astype(np.int32)
    places = (wide != out).nonzero()[0]
    if cells.kinds == {int}:
        return out, [*changes, (Coercion.OVERFLOW, places)]
    sent = [(place, cells.values[place]) for place in places.tolist()]
    # Text that is too large is refused there.
    if any(type(value) is str for _, value in sent):
        return None
    with np.errstate(invalid="ignore"):
        for place, value in sent:
            if type(value) is float:
                # What it becomes is the machine's to say, and may be another number in a longer array.
                out[place] = np.array([value]).astype(np.int32)[0]
    _add(changes, Coercion.OVERFLOW, [place for place, value in sent if type(value) is int or value.is_integer()])
    return out, changes


def _double(cells: Cells) -> _Converted | None:
    wide = np.array(cells.values, dtype=np.float64)
    return _floating(cells, wide, wide, EXACT_IN_DOUBLE, _DOUBLE)


def _float(cells: Cells) -> _Converted | None:
    wide = np.array(cells.values, dtype=np.float64)
    # pandas narrows 64-bit whole numbers in one step, NumPy in two.
    if int in cells.kinds and not is_within(wide, EXACT_IN_DOUBLE):
        return None
    with np.errstate(over="ignore", under="ignore"):
        out = wide.astype(np.float32)
    return _floating(cells, wide, out, EXACT_IN_FLOAT, _SINGLE)


def _floating(cells: Cells, wide: Array, out: Array, limit: float, extremes: tuple[float, float]) -> _Converted:
    """Return numbers of a float type that holds whole numbers up to `limit`, with what was lost of the 64-bit ones."""
    values, kinds = cells.values, cells.kinds
    largest, smallest = extremes
    changes: Changes = []
    sizes = np.abs(wide)
    if int in kinds:
        large = [place for place in (sizes >= limit).nonzero()[0].tolist() if type(values[place]) is int]
        _add(changes, Coercion.PRECISION_LOST, [place for place in large if abs(values[place]) > limit])
    if float in kinds:
        is_float = True if len(kinds) == 1 else np.array([type(value) is float for value in values])
        _add(changes, Coercion.FLOAT_OVERFLOW, ((sizes > largest) & is_float).nonzero()[0])
        tiny = (sizes > 0) & (sizes < smallest) & is_float
        _add(changes, Coercion.FLOAT_UNDERFLOW, tiny.nonzero()[0])
    return out, changes + _foreign(cells)


def _boolean(cells: Cells) -> _Converted | None:
    values, kinds = cells.values, cells.kinds
    if _NULL in kinds and cells.by_frame and not cells.is_row and not kinds <= {bool, _NULL}:
        return None
    out = np.array(values, dtype=bool)
    changes: Changes = []
    if not set(values) <= {0, 1}:
        missing = np.array([value is None or value != value for value in values])
        fits = np.array([value in (0, 1) for value in values])
        _add(changes, Coercion.NULL_TO_FALSE, (missing & ~out).nonzero()[0])
        _add(changes, Coercion.NULL_TO_TRUE, (missing & out).nonzero()[0])
        _add(changes, Coercion.TRUTHY, (~missing & ~fits).nonzero()[0])
    return out, changes


_CONVERT: dict[ScalarType, Callable[[Cells], _Converted | None]] = {
    ScalarType.BOOLEAN: _boolean,
    ScalarType.INTEGER: _integer,
    ScalarType.LONG: _long,
    ScalarType.FLOAT: _float,
    ScalarType.DOUBLE: _double,
}
KINDS = frozenset(_CONVERT)


def _foreign(cells: Cells) -> Changes:
    """Return text and truth values, all of which a number type changes."""
    changes: Changes = []
    if str in cells.kinds:
        changes.append((Coercion.NUMBER_FROM_TEXT, _of(cells.values, str)))
    if bool in cells.kinds:
        changes.append((Coercion.NUMBER_FROM_BOOLEAN, _of(cells.values, bool)))
    return changes


def _of(values: Sequence[Any], kind: type) -> Array:
    """Return the positions of the values of this type."""
    return np.array([place for place, value in enumerate(values) if type(value) is kind], dtype=np.intp)


def _add(changes: Changes, coercion: Coercion, places: Array | list[int]) -> None:
    if len(places):
        changes.append((coercion, np.asarray(places)))
