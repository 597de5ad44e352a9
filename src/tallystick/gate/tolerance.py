"""How far an answer may be from training's and still be the same answer. Pure; plain floats, so that control can ask.

The rules, by what may differ between the two machines:

| same packages, Python and processor | 1e-12 relative, or equal bits |
| the same, another number of threads | 1e-9: sums are ordered otherwise |
| other packages or another processor | 1e-6; for trees and labels at most 0.1 % of the rows beyond that (leaf flips) |

Single precision ends at 6e-8, so where training's own values are of single precision and the threads or more differ,
1e-5 is the least. What two offline runs differed by (`noise`) is added to all of them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Closeness(IntEnum):
    """How alike the machine is to the one that the golden rows were made on."""

    SAME = 0
    THREADS = 1
    OTHER = 2


_RELATIVE = {Closeness.SAME: 1e-12, Closeness.THREADS: 1e-9, Closeness.OTHER: 1e-6}
_SINGLE = 1e-5
#: Half a unit in the last place of single precision is 6e-8; some steps later it is a little more.
_LOST_IN_SINGLE = 5e-7
#: Rows that a tree may send another way when its inputs differ in the last bits.
FLIP_SHARE = 1e-3
#: The largest difference of one more run is larger than that of the two before as often as not; four times it is not.
_NOISE_FACTOR = 4.0

#: Rows x width, row by row: numbers, texts, or None for what is missing.
Cells = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What may differ: relative to the value or the column's deviation, and in units of that deviation."""

    relative: float
    noise: float = 0.0
    flip_share: float = 0.0

    def is_near(self, expected: Any, got: Any, deviation: float = 0.0) -> bool:
        """Whether two values are one. Missing equals missing; texts, infinities and None equal themselves only."""
        if _is_missing(expected) or _is_missing(got):
            return _is_missing(expected) and _is_missing(got)
        if isinstance(expected, str) or isinstance(got, str):
            return bool(expected == got)
        if expected == got:
            return True
        if math.isinf(expected) or math.isinf(got):
            return False
        limit = self.relative * max(abs(expected), deviation) + self.noise * deviation
        return bool(abs(expected - got) <= limit)

    def allowed_rows(self, rows: int) -> int:
        """Return how many rows may differ beyond this: one flip among few rows is no more than its share."""
        return max(1, int(self.flip_share * rows)) if self.flip_share else 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two tables of values compare."""

    rows: int
    #: Rows with a value beyond the tolerance, and how many of those are allowed.
    differing: int
    allowed: int
    #: Largest difference of two numbers, in the values' unit.
    largest: float = 0.0
    #: The same, relative to its value or its column's deviation, whichever is larger.
    relative: float = 0.0
    #: The first value beyond the tolerance: by column, then by row.
    row: int = -1
    column: int = -1
    expected: str = ""
    got: str = ""

    @property
    def is_same(self) -> bool:
        """Whether no more rows differ than may."""
        return self.differing <= self.allowed

    @property
    def is_of_precision(self) -> bool:
        """Whether it is no larger than what a number loses in single precision."""
        return 0.0 < self.relative <= _LOST_IN_SINGLE

    @property
    def share(self) -> float:
        """Rows that differ, 0 to 1."""
        return self.differing / self.rows if self.rows else 0.0


def tolerance_for(closeness: Closeness, model_kind: str, expected: Cells, noise: float = 0.0) -> Tolerance:
    """Return how far predictions may be off. `expected` are training's; `noise` is in units of their deviation."""
    relative = _RELATIVE[closeness]
    if closeness is not Closeness.SAME and is_single(expected):
        relative = max(relative, _SINGLE)
    may_flip = closeness is Closeness.OTHER and (model_kind == "trees" or is_discrete(expected))
    return Tolerance(relative, _NOISE_FACTOR * noise, FLIP_SHARE if may_flip else 0.0)


def compare(expected: Cells, got: Cells, width: int, tolerance: Tolerance) -> Comparison:
    """Compare two tables of equal shape, row-major. O(cells)."""
    width = max(1, width)
    rows = len(expected) // width
    differing: set[int] = set()
    first: tuple[int, int] | None = None
    largest = relative = 0.0
    for column in range(width):
        ours, theirs = expected[column::width], got[column::width]
        if ours == theirs:
            continue
        spread = deviation(ours)
        for row, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if tolerance.is_near(a, b, spread):
                continue
            differing.add(row)
            first = first or (column, row)
            if isinstance(a, float | int) and isinstance(b, float | int) and math.isfinite(a) and math.isfinite(b):
                largest = max(largest, abs(a - b))
                relative = max(relative, abs(a - b) / (max(abs(a), spread) or 1.0))
            else:
                relative = math.inf
    allowed = tolerance.allowed_rows(rows)
    if first is None:
        return Comparison(rows, 0, allowed)
    column, row = first
    place = row * width + column
    return Comparison(
        rows, len(differing), allowed, largest, relative, row, column, shown(expected[place]), shown(got[place])
    )


def deviation(values: Cells) -> float:
    """Return the standard deviation of the finite numbers among some values; 0 where there are none."""
    numbers = [value for value in values if isinstance(value, float | int) and math.isfinite(value)]
    if len(numbers) < 2:
        return 0.0
    # In units of the largest, as squares of large numbers do not fit.
    unit = max(map(abs, numbers)) or 1.0
    middle = math.fsum(value / unit for value in numbers) / len(numbers)
    squares = math.fsum((value / unit - middle) ** 2 for value in numbers) / len(numbers)
    return math.sqrt(squares) * unit


def is_single(values: Cells) -> bool:
    """Whether all numbers are such that single precision holds, and some are no whole numbers.

    >>> is_single([0.5, 0.10000000149011612]), is_single([0.1]), is_single([1.0, 2.0])
    (True, False, False)
    """
    numbers = [value for value in values if isinstance(value, float) and math.isfinite(value)]
    return not is_discrete(numbers) and all(_fits_single(value) for value in numbers)


def is_discrete(values: Cells) -> bool:
    """Whether these are labels: texts, or whole numbers."""
    return all(isinstance(value, str) or _is_missing(value) or float(value).is_integer() for value in values)


def shown(value: Any) -> str:
    """Return a value as reports show it: short, with every digit of a number.

    >>> shown(0.1), shown(3.0), shown(None), shown("a" * 80) == "'" + "a" * 57 + "…'"
    ('0.1', '3', 'missing', True)
    """
    if _is_missing(value):
        return "missing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "…")
    return str(value)[:60]


def _fits_single(value: float) -> bool:
    try:
        (near,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:
        return False
    return bool(near == value)


def _is_missing(value: Any) -> bool:
    return value is None or value != value
