"""The columns of one request, converted: together where that says the same, else each by itself.

Four questions, each asked only where the one before has no answer: does it fit by its types (`scalars.exact`)? Are all
of its values ones that Python's own rules convert (`bulk`; `singles` for text, dates and bytes, of a row only)? Does
each value fit by itself (`scalars.judge`)? What does MLflow make of the column (`lossy`)? The first two are asked of
all columns of a type at once, then of fewer, since a call of NumPy takes as long for one value as for fifty.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from tallystick.entities import Enforcement
from tallystick.protocol import bulk, lossy, scalars, singles
from tallystick.protocol.codec import check_depth
from tallystick.protocol.decoded import Inferred
from tallystick.protocol.ledger import Coercion, Report, further_rows
from tallystick.protocol.nested import CellCheck
from tallystick.protocol.scalars import Array, Fault, Values
from tallystick.protocol.signature import AnyType, Column, ScalarType
from tallystick.protocol.table import Table

#: A type and the positions of its columns.
Group: TypeAlias = tuple[ScalarType, list[int]]
#: Fewer columns are converted sooner one by one.
_WORTH = 4
#: And so are columns of more values (measured: 50 columns that fit take as long either way at 20 to 30 rows).
MANY_ROWS = 20


def groups_of(columns: Sequence[Column]) -> list[Group]:
    """Return which columns are worth being converted together."""
    found: dict[ScalarType, list[int]] = {}
    for position, column in enumerate(columns):
        if isinstance(column.type, ScalarType):
            found.setdefault(column.type, []).append(position)
    return [(kind, positions) for kind, positions in found.items() if len(positions) >= _WORTH]


def whole_table(table: Table, kind: ScalarType, mode: Enforcement, report: Report) -> Array | None:
    """Return a table of which all columns have one number type as a block, rows x columns; None when it is no such one.

    `matrix` must be there. Looks at rows, which is sooner done than at columns.
    """
    assert table.matrix is not None
    kinds = table.value_types()
    block = scalars.exact_numbers(table.matrix, kinds, kind)
    if block is None and table.rows == 1:
        row = _bulk(table.matrix[0], kinds, kind, table, mode)
        if row is not None:
            _count(table.names, 1, row[1], report)
            block = row[0].reshape(1, -1)
    return block


class Conversion:
    """Converts the columns of one request's table; what is found goes to its report."""

    __slots__ = ("_columns", "_mode", "_report", "_table")

    def __init__(self, table: Table, mode: Enforcement, report: Report) -> None:
        self._table = table
        self._columns = table.by_column()
        self._mode = mode
        self._report = report

    def group(self, group: Group, out: list[Values | Inferred | None]) -> None:
        """Put the columns of the group that can be converted together into `out`.

        Violates nothing: columns with values to refuse are left to `column`, which finds the words.
        """
        kind, positions = group
        if kind not in bulk.KINDS:
            if self._table.rows == 1:
                self._singles(kind, positions, out)
            return
        if self._table.rows == 1:
            self._together(kind, positions, out)
            return
        # A column of other types than its neighbours would have the values of all of them looked at.
        alike: dict[frozenset[type], list[int]] = {}
        for position in positions:
            alike.setdefault(frozenset(map(type, self._columns[position])), []).append(position)
        for some in alike.values():
            self._together(kind, some, out)

    def _together(self, kind: ScalarType, positions: list[int], out: list[Values | Inferred | None]) -> None:
        cells = list(chain.from_iterable([self._columns[position] for position in positions]))
        kinds = set(map(type, cells))
        flat = scalars.exact_numbers(cells, kinds, kind)
        if flat is None:
            found = _bulk(cells, kinds, kind, self._table, self._mode)
            if found is None:
                # One column is enough to have no answer for all: the others are looked for by halves.
                half = len(positions) // 2
                if half:
                    self._together(kind, positions[:half], out)
                    self._together(kind, positions[half:], out)
                return
            flat, changes = found
            if changes:
                names = [self._table.names[position] for position in positions]
                _count(names, self._table.rows, changes, self._report)
        for position, column in zip(positions, flat.reshape(len(positions), -1), strict=True):
            out[position] = column

    def _singles(self, kind: ScalarType, positions: list[int], out: list[Values | Inferred | None]) -> None:
        values = [self._columns[position][0] for position in positions]
        columns, changes = singles.convert(values, kind, self._table.by_frame)
        if changes:
            if self._mode is Enforcement.STRICT:
                return
            _count([self._table.names[position] for position in positions], 1, changes, self._report)
        for position, column in zip(positions, columns, strict=True):
            out[position] = column

    def column(self, position: int, spec: Column) -> Values | Inferred:
        """Return the column; what cannot be is a violation in the report, and then what is returned means nothing."""
        values, kind, name = self._columns[position], spec.type, self._table.names[position]
        if isinstance(kind, ScalarType):
            return self._scalars(position, values, kind)
        if isinstance(kind, AnyType):
            where = f"column {str(name)[:60]!r}"
            for value in values:
                check_depth(value, where)
            return Inferred(list(values))
        row = 0
        check = CellCheck(
            str(name),
            self._mode,
            self._report,
            lambda: self._table.path(row, name),
            as_ndarray=not self._table.by_frame,
        )
        cells: list[Any] = []
        for row, value in enumerate(values):  # noqa: B007  `row` is read by `path`
            cells.append(check.cell(value, kind, spec.required))
        return scalars.object_array(cells)

    def _scalars(self, position: int, values: Sequence[Any], kind: ScalarType) -> Values:
        by_frame = self._table.by_frame
        kinds = set(map(type, values))
        out = scalars.exact_of(values, kinds, kind)
        if out is not None and (by_frame or _is_read_alike(kind, values)):
            # Without a value to guess from, pandas leaves a column of text untyped.
            return np.array([], dtype=object) if isinstance(out, list) and not out and by_frame else out
        found = _bulk(values, kinds, kind, self._table, self._mode) if kind in bulk.KINDS else None
        if found is not None:
            _count([self._table.names[position]], self._table.rows, found[1], self._report)
            return found[0]
        return self._judged(position, values, kind)

    def _judged(self, position: int, values: Sequence[Any], kind: ScalarType) -> Values:
        """Convert a column whose values each have to be looked at: count what changes, refuse what must be."""
        table, name = self._table, self._table.names[position]
        context = scalars.context_of(values, table.by_frame)
        judge = scalars.judge(kind)
        found: dict[tuple[Coercion | None, type], list[int]] = {}
        faults: dict[tuple[Coercion | None, type], Fault] = {}
        for row, value in enumerate(values):
            fault = judge(value, context)
            if fault is not None:
                place = (fault.kind, type(value))
                found.setdefault(place, []).append(row)
                faults.setdefault(place, fault)
        if not found:
            return scalars.fitting(values, kind)
        refused = list(found) if self._mode is Enforcement.STRICT else [place for place in found if place[0] is None]
        out: Values = []
        if not refused:
            try:
                out = lossy.cast(values, kind, table.by_frame)
            except Exception:  # noqa: BLE001  pandas and NumPy raise anything; what they refuse is told in our words
                refused = list(found)
        for place in refused:
            rows = found[place]
            self._report.violate(table.path(rows[0], name), faults[place].problem + further_rows(rows))
        if not refused:
            for (coercion, _), rows in found.items():
                assert coercion is not None
                _count([name], table.rows, _split_nulls(coercion, rows, out), self._report)
        return out


def _bulk(
    values: Sequence[Any], kinds: set[type], kind: ScalarType, table: Table, mode: Enforcement
) -> tuple[Array, bulk.Changes] | None:
    found = bulk.convert(bulk.Cells(values, kinds, table.rows == 1, table.by_frame), kind)
    # A change that is refused has to be told with its place and value.
    return None if found is not None and found[1] and mode is Enforcement.STRICT else found


def _count(names: Sequence[str | int], rows: int, changes: bulk.Changes, report: Report) -> None:
    """Count changes of values that stood in these columns, one column after another."""
    for coercion, places in changes:
        if rows == 1:
            report.count_each([str(names[place]) for place in bulk.listed(places)], coercion)
            continue
        for name, values in zip(names, np.bincount(np.asarray(places) // rows).tolist(), strict=False):
            if values:
                report.count(str(name), coercion, values)


def _is_read_alike(kind: ScalarType, values: Sequence[Any]) -> bool:
    """Whether NumPy (`inputs`, `instances`) reads this exact column as pandas does: not base64, nor a missing text."""
    return kind is not ScalarType.BINARY and not (kind is ScalarType.STRING and None in values)


def _split_nulls(coercion: Coercion, rows: list[int], out: Values) -> bulk.Changes:
    if coercion is not Coercion.NULL_TO_FALSE:
        return [(coercion, rows)]
    # Beside numbers, pandas holds null as NaN, and NaN is true.
    true, false = ([row for row in rows if bool(out[row]) is made] for made in (True, False))
    return [part for part in ((Coercion.NULL_TO_TRUE, true), (coercion, false)) if part[1]]
