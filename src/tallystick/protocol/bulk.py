"""Numbers and truth values of one type, judged and converted together: the values of a row, or those of a column.

Says what `scalars.judge` and `lossy.cast` say of them column by column, or nothing at all. pandas is not asked: NumPy
converts each value by Python's own rule (`int`, `float`, `bool`) here, and that is what happens there, too. NumPy does
it always; pandas for text and for columns of mixed types (`core/arrays/string_arrow.py` and `core/dtypes/astype.py`,
`astype`). A column that pandas holds as 64-bit numbers first comes out alike, except for what lies outside of the type,
for whole numbers beyond 2^53 beside fractions, and for nulls that became NaN. Of these there is an answer for a row,
whose values have nothing beside them in their columns.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tallystick.protocol.ledger import Coercion
from tallystick.protocol.scalars import EXACT_IN_DOUBLE, EXACT_IN_FLOAT, Array, float_extremes, is_within
from tallystick.protocol.signature import ScalarType

#: Positions of values, each there once at most.
Places: TypeAlias = Array | list[int]
#: Kinds of change, each there once at most, and the values that were changed so.
Changes: TypeAlias = list[tuple[Coercion, Places]]
_Converted: TypeAlias = tuple[Array, Changes]

_NULL = type(None)
_TYPES = frozenset({int, float, bool, str, _NULL})
_NUMBER_TYPES = frozenset({int, float})
# Lists are equal to none of these, and have no hash to look for in a set.
_TRUTH_VALUES = (0, 1)
_DOUBLE, _SINGLE = float_extremes(np.float64), float_extremes(np.float32)


class Cells(NamedTuple):
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
    if not cells.kinds <= _TYPES and not (kind is ScalarType.BOOLEAN and _has_lists(cells)):
        return None
    try:
        return _CONVERT[kind](cells)
    except (ValueError, TypeError, OverflowError):
        return None


def _has_own_columns(cells: Cells) -> bool:
    """Whether pandas holds each value by itself, whatever is beside it."""
    return cells.is_row and cells.by_frame


def _has_lists(cells: Cells) -> bool:
    """Whether the lists and objects among the values are held as they are."""
    return _has_own_columns(cells) and cells.kinds <= _TYPES | {list, dict}


def _long(cells: Cells) -> _Converted | None:
    done = _whole(cells)
    if done is None:
        return None
    out, lost, far = done
    changes: Changes = []
    if len(far):
        _put_beyond(out, out, _typed(cells, far, float))
        changes.append((Coercion.OVERFLOW, far))
    return out, _with_lost(changes, lost) + _foreign(cells)


def _integer(cells: Cells) -> _Converted | None:
    """Return 32-bit numbers. pandas holds longer ones in 64 bits and cuts them; NumPy refuses them."""
    done = _whole(cells)
    if done is None:
        return None
    wide, lost, far = done
    out = wide.astype(np.int32)
    is_over = out != wide
    if len(far):
        is_over[far] = True
    over = is_over.nonzero()[0]
    changes: Changes = []
    if len(over):
        if not cells.by_frame or not (cells.is_row or cells.kinds == {int}):
            return None
        if len(_typed(cells, over, str)):
            # It is refused there.
            return None
        if lost is not None:
            _put_beyond(out, wide, _typed(cells, over, float))
            if np.count_nonzero(lost):
                over = (is_over & (lost == 0)).nonzero()[0]
        _add(changes, Coercion.OVERFLOW, over)
    return out, _with_lost(changes, lost) + _foreign(cells)


def _whole(cells: Cells) -> tuple[Array, Array | None, Places] | None:
    """Return 64-bit whole numbers, what was lost of fractions if there are any, and which are beyond 64 bits.

    There is no answer for null and for what is not finite.
    """
    if cells.kinds == {float}:
        return _whole_of_floats(cells)
    far: Places = []
    try:
        out = np.array(cells.values, dtype=np.int64)
    except OverflowError:
        cells, far = _cut(cells)
        out = np.array(cells.values, dtype=np.int64)
    values, kinds = cells.values, cells.kinds
    if float not in kinds:
        return out, None, far
    if int in kinds and cells.by_frame and not cells.is_row and not is_within(out, EXACT_IN_DOUBLE):
        return None
    if kinds <= _NUMBER_TYPES:
        # Whole numbers are rounded alike on both sides, so they do not differ.
        return out, np.array(values, dtype=np.float64) - out, far
    floats = _of(cells, float)
    lost = np.zeros(len(values))
    lost[floats] = np.array([values[place] for place in floats]) - out[floats]
    return out, lost, far


def _whole_of_floats(cells: Cells) -> tuple[Array, Array, Places] | None:
    wide = np.array(cells.values)
    far = (~((wide < _END) & (wide >= -_END))).nonzero()[0]
    if len(far):
        if not _has_own_columns(cells) or not np.isfinite(wide[far]).all():
            return None
        # Only the sign matters then.
        wide[far] = np.copysign(_END / 2, wide[far])
    out = wide.astype(np.int64)
    return out, wide - out, far


def _cut(cells: Cells) -> tuple[Cells, list[int]]:
    """Return the values of a row with 64 bits in place of more, and where that is. Raises OverflowError for others.

    pandas holds a whole number of 64 bits without a sign by itself; of a fraction, only the sign matters then.
    """
    values, far = list(cells.values), []
    if not _has_own_columns(cells):
        raise OverflowError
    for place, value in enumerate(values):
        if type(value) is float:
            if _END <= value < math.inf or -math.inf < value < -_END:
                values[place] = math.copysign(_END / 2, value)
                far.append(place)
        elif type(value) is int and 2**63 <= value < 2**64:
            values[place] = value - 2**64
            far.append(place)
    return cells._replace(values=values), far


_END = 2.0**63


def _put_beyond(out: Array, wide: Array, places: Places) -> None:
    """Put what floats beyond the type of `out` become; `wide` has their signs."""
    if len(places):
        # An index that is a list is converted at each use.
        places = np.asarray(places)
        out[places] = beyond(out.dtype)[(wide[places] > 0).view(np.int8)]


@functools.cache
def beyond(dtype: np.dtype[Any]) -> Array:
    """Return what floats below and above the range of a type of whole numbers become: the machine's to say (C 6.3.1.4).

    Of one value at a time, as pandas has the columns of a row; it may be another number in a longer array.
    """
    with np.errstate(invalid="ignore"):
        return np.concatenate([np.array([value]).astype(dtype) for value in (-(2.0**64), 2.0**64)])


def _double(cells: Cells) -> _Converted | None:
    wide = np.array(cells.values, dtype=np.float64)
    return _floating(cells, np.abs(wide), wide, EXACT_IN_DOUBLE, _DOUBLE)


def _float(cells: Cells) -> _Converted | None:
    wide = np.array(cells.values, dtype=np.float64)
    sizes = np.abs(wide)
    with np.errstate(over="ignore", under="ignore"):
        out = wide.astype(np.float32)
    if int in cells.kinds and cells.by_frame:
        large = _typed(cells, (sizes >= EXACT_IN_DOUBLE).nonzero()[0], int)
        if len(large):
            if not cells.is_row:
                return None
            _narrow_once(out, cells.values, large)
    return _floating(cells, sizes, out, EXACT_IN_FLOAT, _SINGLE)


def _narrow_once(out: Array, values: Sequence[Any], places: Places) -> None:
    """Put whole numbers into 32-bit floats as pandas does, which holds them in 64 bits. NumPy narrows them twice."""
    try:
        out[places] = np.array([values[place] for place in listed(places)], dtype=np.int64).astype(out.dtype)
    except OverflowError:
        # Longer ones are objects there, and narrowed twice as well.
        for dtype, low, high in ((np.int64, -(2**63), 2**63), (np.uint64, 0, 2**64)):
            those = [place for place in listed(places) if low <= values[place] < high]
            out[those] = np.array([values[place] for place in those], dtype=dtype).astype(out.dtype)


def _floating(cells: Cells, sizes: Array, out: Array, limit: int, extremes: tuple[float, float]) -> _Converted | None:
    """Return numbers of a float type that holds whole numbers up to `limit`, with what was lost of these `sizes`."""
    values, kinds = cells.values, cells.kinds
    if kinds.isdisjoint(_NUMBER_TYPES):
        return out, _foreign(cells)
    largest, smallest = extremes
    changes: Changes = []
    over = (sizes >= largest).nonzero()[0]
    if len(over):
        if len(_typed(cells, over, int)):
            return None
        _add(changes, Coercion.FLOAT_OVERFLOW, _typed(cells, over[sizes[over] > largest], float))
    if int in kinds:
        large = _typed(cells, (sizes >= limit).nonzero()[0], int)
        # The limit itself is exact, and what its neighbour is rounded to.
        lost = [place for place in listed(large) if values[place] > limit or values[place] < -limit]
        _add(changes, Coercion.PRECISION_LOST, lost)
    # Doubles are as small as floats in JSON can be.
    if float in kinds and smallest:
        tiny = ((sizes < smallest) & (sizes > 0)).nonzero()[0]
        _add(changes, Coercion.FLOAT_UNDERFLOW, _typed(cells, tiny, float))
    return out, changes + _foreign(cells)


def _boolean(cells: Cells) -> _Converted | None:
    values, kinds = cells.values, cells.kinds
    if _NULL in kinds and cells.by_frame and not cells.is_row and not kinds <= {bool, _NULL}:
        return None
    out = np.fromiter(map(bool, values), dtype=bool, count=len(values))
    changes: Changes = []
    if not kinds <= _TYPES or not set(values) <= {0, 1}:
        odd = [place for place, value in enumerate(values) if value not in _TRUTH_VALUES]
        missing = _typed(cells, odd, _NULL)
        not_numbers = [place for place in listed(_typed(cells, odd, float)) if values[place] != values[place]]
        _add(changes, Coercion.NULL_TO_FALSE, missing)
        _add(changes, Coercion.NULL_TO_TRUE, not_numbers)
        known = set(missing).union(not_numbers)
        _add(changes, Coercion.TRUTHY, [place for place in odd if place not in known] if known else odd)
    return out, changes


_CONVERT: dict[ScalarType, Callable[[Cells], _Converted | None]] = {
    ScalarType.BOOLEAN: _boolean,
    ScalarType.INTEGER: _integer,
    ScalarType.LONG: _long,
    ScalarType.FLOAT: _float,
    ScalarType.DOUBLE: _double,
}
KINDS = frozenset(_CONVERT)


def _with_lost(changes: Changes, lost: Array | None) -> Changes:
    if lost is not None:
        _add(changes, Coercion.FRACTION_DROPPED, lost.nonzero()[0])
    return changes


def _foreign(cells: Cells) -> Changes:
    """Return text and truth values, all of which a number type changes."""
    changes: Changes = []
    if str in cells.kinds:
        changes.append((Coercion.NUMBER_FROM_TEXT, _of(cells, str)))
    if bool in cells.kinds:
        changes.append((Coercion.NUMBER_FROM_BOOLEAN, _of(cells, bool)))
    return changes


def _of(cells: Cells, kind: type) -> list[int]:
    """Return the positions of the values of this type, which is one of `kinds`."""
    if len(cells.kinds) == 1:
        return list(range(len(cells.values)))
    return [place for place, value in enumerate(cells.values) if type(value) is kind]


def _typed(cells: Cells, places: Places, kind: type) -> Places:
    """Return those of these positions that have a value of this type."""
    if kind not in cells.kinds:
        return []
    if len(cells.kinds) == 1:
        return places
    return [place for place in listed(places) if type(cells.values[place]) is kind]


def listed(places: Places) -> list[int]:
    """Return the positions as a list."""
    return places if isinstance(places, list) else places.tolist()


def _add(changes: Changes, coercion: Coercion, places: Places) -> None:
    if len(places):
        changes.append((coercion, places))
