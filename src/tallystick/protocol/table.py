"""The four JSON forms of a table, brought into one: columns in the signature's order. Values are not looked at here.

Friendlier than MLflow, where nothing is guessed by it: `dataframe_split` without `data` is a table of no rows
(databricks-sdk leaves an empty `data` out), and `inputs`/`instances` take rows as objects for every type of column.
Stricter: a row that is shorter than the others is refused, where pandas fills it up with nulls.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from tallystick.errors import BadRequest, InvalidInput, Violation
from tallystick.protocol.codec import note_names
from tallystick.protocol.ledger import describe

#: What stands in a row object's place of a key that it lacks; pandas says NaN as well.
ABSENT = float("nan")
#: A table's own index may hold these.
_LABELS = frozenset({str, int, float, bool})


@dataclass(frozen=True, slots=True)
class Table:
    """Values as they were sent, of the columns that the signature knows.

    `names` are in the signature's order; `matrix` (rows of len(names) values) or else `columns` holds the values.
    """

    names: tuple[str | int, ...]
    rows: int
    #: Where a value stood: (row, name) -> path for messages.
    path: Callable[[int, str | int], str]
    matrix: Sequence[Sequence[Any]] | None = None
    columns: Sequence[Sequence[Any]] | None = None
    index: list[Any] | None = None
    #: pandas' rules apply to what does not fit (dataframe_*), or NumPy's (instances, inputs).
    by_frame: bool = True
    notes: tuple[str, ...] = ()
    #: Required columns that the request does not have; told together with what else does not fit.
    lacks: tuple[Violation, ...] = ()

    def by_column(self) -> Sequence[Sequence[Any]]:
        """Return the values column by column."""
        if self.columns is not None:
            return self.columns
        if not self.matrix:
            return [()] * len(self.names)
        return list(zip(*self.matrix, strict=True))

    def value_types(self) -> set[type]:
        """Return the types of all values. `matrix` must be there."""
        return set(map(type, chain.from_iterable(self.matrix or ())))


class TableReader:
    """Reads tables for one signature's names; `names` empty means that only positions count."""

    def __init__(self, names: tuple[str, ...], required: frozenset[str], width: int, one_row_inputs: bool) -> None:
        self._names = names
        self._list = list(names)
        self._known = frozenset(names)
        self._required = required
        self._width = width
        # With array or object columns MLflow reads `inputs: {column: value}` as one row.
        self._one_row_inputs = one_row_inputs
        # One name would give the value itself, not a tuple of one.
        self._pick = operator.itemgetter(*names) if len(names) > 1 else None

    def read(self, key: str, value: Any) -> Table:
        """Return the table under an input key. Raises BadRequest for its form, InvalidInput for missing columns."""
        match key:
            case "dataframe_split":
                return self._split(value)
            case "dataframe_records":
                if type(value) is not list:
                    raise BadRequest(f"dataframe_records must be a list of objects, got {describe(value)}.")
                return self._rows(value, key, by_frame=True)
        return self._columnar(key, value)

    def from_columns(
        self, names: list[Any], columns: list[Sequence[Any]], rows: int, path: Callable[[int, str | int], str]
    ) -> Table:
        """Return the table of columns that came as columns (CSV, Arrow). Raises InvalidInput for missing ones."""
        present, lacks = self._present(names)
        where = {name: n for n, name in enumerate(names)}
        picked = [columns[where[name]] for name in present]
        return Table(present, rows, path, columns=picked, notes=self._extra(names), lacks=lacks)

    def _split(self, value: Any) -> Table:
        if type(value) is not dict:
            raise BadRequest(f"dataframe_split must be an object with 'columns' and 'data', got {describe(value)}.")
        data, columns, index = value.get("data", []), value.get("columns"), value.get("index")
        unknown = [key for key in value if key not in ("data", "columns", "index")]
        if unknown:
            raise BadRequest(f"dataframe_split takes 'columns', 'data' and 'index' only, not {note_names(unknown)}.")
        if type(data) is not list:
            raise BadRequest(f"dataframe_split.data must be a list of rows, got {describe(data)}.")
        names = _split_columns(columns)
        where = "dataframe_split.data"
        if data and type(data[0]) is not list:
            data = _single_values(data, where)
        width = _check_rows(data, where)
        if names is None:
            names = list(range(width if data else 0))
        elif data and width != len(names):
            raise BadRequest(f"{where}[0] has {width} values, but dataframe_split.columns has {len(names)} names.")
        if index is not None:
            _check_index(index, len(data))
        positions = {name: n for n, name in enumerate(names)}
        if len(positions) != len(names):
            raise BadRequest("dataframe_split.columns has a name twice.")

        def path(row: int, name: str | int) -> str:
            return f"{where}[{row}][{positions[name]}] (column {str(name)[:60]!r})"

        return self._from_matrix(names, data, path, index=index, by_frame=True)

    def _from_matrix(
        self,
        names: list[Any],
        matrix: Sequence[Sequence[Any]],
        path: Callable[[int, str | int], str],
        *,
        by_frame: bool,
        index: list[Any] | None = None,
    ) -> Table:
        """Bring a full matrix with these column names into the signature's order."""
        if names and names == self._list:
            return Table(self._names, len(matrix), path, matrix=matrix, index=index, by_frame=by_frame)
        wanted, lacks = self._present(names)
        notes = self._extra(names)
        where = {name: n for n, name in enumerate(names)}
        positions = [where[name] for name in wanted]
        if positions == list(range(len(names))):
            picked: Sequence[Sequence[Any]] = matrix
        elif len(positions) > 1:
            picked = list(map(operator.itemgetter(*positions), matrix))
        else:
            picked = [tuple(row[n] for n in positions) for row in matrix]
        return Table(wanted, len(matrix), path, matrix=picked, index=index, by_frame=by_frame, notes=notes, lacks=lacks)

    def _present(self, names: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Violation, ...]]:
        """Return the columns to use, in order, and the required ones that are missing."""
        if not self._names:
            if len(names) < self._width:
                raise InvalidInput(
                    f"The model takes {self._width} columns (without names), the request has {len(names)}"
                )
            return tuple(names[: self._width]), ()
        given = set(names)
        missing = [name for name in self._names if name in self._required and name not in given]
        present = tuple(name for name in self._names if name in given)
        if not missing:
            return present, ()
        extra = [name for name in names if name not in self._known]
        # Often a name that is spelled otherwise, so the two are told together.
        also = f" (the request has {note_names(extra)} that the model does not know)" if extra else ""
        lacks = [Violation(f"column {name[:60]!r}", "missing, and required") for name in missing]
        lacks[0] = Violation(lacks[0].where, lacks[0].problem + also)
        return present, tuple(lacks)

    def _extra(self, names: Sequence[Any]) -> tuple[str, ...]:
        extra = [name for name in names if name not in self._known] if self._names else names[self._width :]
        return (f"ignored columns: {note_names(extra)}",) if extra else ()

    def _rows(self, value: list[Any], key: str, *, by_frame: bool) -> Table:
        """Read a list of row objects (or of rows without names, which only positions can match)."""
        kinds = set(map(type, value))
        if kinds == {list}:
            width = _check_rows(value, key)
            return self._from_matrix(list(range(width)), value, lambda r, c: f"{key}[{r}][{c}]", by_frame=by_frame)
        if kinds and kinds != {dict}:
            if kinds & {dict, list}:
                position = next(n for n, row in enumerate(value) if type(row) is not type(value[0]))
                raise BadRequest(f"{key}[{position}] must be {describe(value[0])} like {key}[0].")
            return self._from_matrix([0], [(v,) for v in value], lambda r, c: f"{key}[{r}]", by_frame=by_frame)

        def path(row: int, name: str | int) -> str:
            return f"{key}[{row}].{str(name)[:60]}"

        if self._pick is not None and set(map(len, value)) == {len(self._names)}:
            try:
                matrix = list(map(self._pick, value))
                return Table(self._names, len(value), path, matrix=matrix, by_frame=by_frame)
            except KeyError:
                pass
        # A dict keeps the order in which the names were first met.
        names = list(dict.fromkeys(chain.from_iterable(value)))
        columns, lacks = self._present(names)
        _check_filled(len(columns) * len(value), sum(map(len, value)), key)
        cells = [[row.get(name, ABSENT) for row in value] for name in columns]
        return Table(columns, len(value), path, columns=cells, by_frame=by_frame, notes=self._extra(names), lacks=lacks)

    def _columnar(self, key: str, value: Any) -> Table:
        """Read `inputs` and `instances`, whose form says what they are: columns, rows, or one column's values."""
        if type(value) is dict:
            if not self._names:
                raise BadRequest(f"{key} must be a list: the model's columns have no names.")
            return self._by_name(key, value)
        if type(value) is not list:
            if self._names:
                raise BadRequest(f"{key} must be an object of columns or a list, got {describe(value)}.")
            value = [value]
        if value and all(type(row) is dict for row in value):
            return self._rows(value, key, by_frame=False)
        if len(self._names) == 1 and not any(type(row) is dict for row in value):
            # The values of the only column.
            if self._one_row_inputs:
                return self._by_name(key, {self._names[0]: value})
            return Table(self._names, len(value), lambda r, c: f"{key}[{r}]", columns=[value], by_frame=False)
        return self._rows(value, key, by_frame=False)

    def _by_name(self, key: str, value: dict[str, Any]) -> Table:
        names, lacks = self._present(list(value))
        notes = self._extra(list(value))
        if self._one_row_inputs:
            return Table(
                names,
                1,
                lambda r, c: f"{key}.{c}",
                matrix=[[value[name] for name in names]],
                by_frame=False,
                notes=notes,
                lacks=lacks,
            )
        lengths = {name: len(cell) for name, cell in value.items() if type(cell) is list}
        counted = {lengths[name] for name in names if name in lengths} or set(lengths.values()) or {1}
        if len(counted) > 1:
            shown = ", ".join(f"{str(n)[:60]!r} has {lengths[n]}" for n in names if n in lengths)
            raise BadRequest(f"The columns of {key} must have one length: {shown[:500]}.")
        rows = counted.pop()
        _check_filled(rows * len(names), sum(lengths.values()), key)
        columns = [value[name] if type(value[name]) is list else [value[name]] * rows for name in names]

        def path(row: int, name: str | int) -> str:
            return f"{key}.{str(name)[:60]}[{row}]" if name in lengths else f"{key}.{str(name)[:60]}"

        return Table(names, rows, path, columns=columns, by_frame=False, notes=notes, lacks=lacks)


def _split_columns(columns: Any) -> list[Any] | None:
    if columns is None:
        return None
    if type(columns) is not list:
        raise BadRequest(f"dataframe_split.columns must be a list of names, got {describe(columns)}.")
    if not set(map(type, columns)) <= {str, int}:
        position = next(n for n, name in enumerate(columns) if type(name) not in (str, int))
        raise BadRequest(f"dataframe_split.columns[{position}] must be a name, got {describe(columns[position])}.")
    return columns


def _single_values(data: list[Any], where: str) -> list[Any]:
    """Rows may be single values, for a table of one column."""
    for position, row in enumerate(data):
        if type(row) is list or type(row) is dict:
            raise BadRequest(f"{where}[{position}] must be a list of values like the other rows, got {describe(row)}.")
    return [(value,) for value in data]


def _check_rows(data: Sequence[Any], where: str) -> int:
    """Return the width of the rows, 0 when there are none. Raises BadRequest for rows of other kinds or lengths."""
    if not data:
        return 0
    first = type(data[0])
    if set(map(type, data)) != {first}:
        position = next(n for n, row in enumerate(data) if type(row) is not first)
        raise BadRequest(f"{where}[{position}] must be a list of values, got {describe(data[position])}.")
    width = len(data[0])
    if set(map(len, data)) != {width}:
        position = next(n for n, row in enumerate(data) if len(row) != width)
        raise BadRequest(f"{where}[{position}] has {len(data[position])} values, {where}[0] has {width}.")
    return width


#: Cells that may be added where a row lacks a key, or one value stands for a column: a few bytes could else be many.
_MAX_FILLED = 1_000_000


def _check_filled(cells: int, given: int, where: str) -> None:
    if cells - given > _MAX_FILLED:
        raise BadRequest(f"{where} leaves out {cells - given} of {cells} values; send null for a missing value.")


def _check_index(index: Any, rows: int) -> None:
    if type(index) is not list or not set(map(type, index)) <= _LABELS:
        raise BadRequest("dataframe_split.index must be a list of texts or numbers.")
    if len(index) != rows:
        raise BadRequest(f"dataframe_split.index has {len(index)} labels, dataframe_split.data has {rows} rows.")
