"""A decoder compiled from a model's signature: bytes of a request to values that fit the model.

The only place where types are converted. What MLflow takes without loss becomes the same values, dtypes and order
here; see `ledger` for what it changes silently, and `table`, `nested` and `tensors` for where this is friendlier. A
table of doubles, the most common one, is checked and converted as one block.

Stricter than MLflow, beside short rows: lists in a plain column (other than text) that comes by `inputs` or
`instances`, which NumPy would turn into one truth value or NaN, are refused. The bodies of chat models (`messages`,
`prompt`, `input` at the top) are not read.

>>> from tallystick.protocol.signature import parse_signature
>>> decoder = compile_decoder(parse_signature({"inputs": '[{"name": "x", "type": "long", "required": true}]'}))
>>> decoded = decoder.decode(b'{"dataframe_records": [{"x": 1.9}]}', "application/json", Enforcement.FLAG)
>>> decoded.data.columns[0].tolist(), decoded.ledger
([1], {'x': {'fraction_dropped': 1}})
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from tallystick.entities import Enforcement
from tallystick.errors import BadRequest
from tallystick.protocol import lossy, scalars
from tallystick.protocol.codec import ARROW_STREAM, CSV, JSON, Request, check_depth, parse_content_type, parse_request
from tallystick.protocol.decoded import Alone, Columns, Data, Decoded, Inferred
from tallystick.protocol.ledger import Coercion, Report, further_rows
from tallystick.protocol.nested import CellCheck
from tallystick.protocol.params import ParamReader
from tallystick.protocol.scalars import Array, Values
from tallystick.protocol.signature import (
    AnyType,
    ArrayType,
    Column,
    ObjectType,
    ScalarType,
    Signature,
    input_names,
)
from tallystick.protocol.table import Table, TableReader
from tallystick.protocol.tensors import TensorReader
from tallystick.protocol.unsigned import array_form, read_type_hints, read_unsigned

__all__ = ["Decoded", "Decoder", "compile_decoder"]

# Read of a whole request: (data, rows, form).
_Read = tuple[Data, int, Hashable]


def compile_decoder(signature: Signature, *, type_hints: bool = False) -> Decoder:
    """Return the decoder for a model. With `type_hints`, `inputs` goes to the model as it comes.

    Raises DeploymentFailed when a param's default does not fit its type.
    """
    return Decoder(signature, type_hints=type_hints)


class Decoder:
    """Decodes the requests to one model. Has no state that a request changes; threads may share it."""

    def __init__(self, signature: Signature, *, type_hints: bool = False) -> None:
        self.signature = signature
        self._params = ParamReader(signature.params)
        self._no_params = not signature.params
        self._read: Callable[[str, Any, Enforcement, Report], _Read]
        columns = signature.columns
        inputs = columns or signature.tensors
        self._table = TableReader(
            input_names(inputs),
            frozenset(entry.name for entry in inputs if entry.name is not None and getattr(entry, "required", True)),
            len(columns) or 1,
            one_row_inputs=any(isinstance(column.type, ArrayType | ObjectType) for column in columns),
        )
        self._columns = {column.name: column for column in columns}
        self._is_doubles = bool(columns) and all(column.type is ScalarType.DOUBLE for column in columns)
        if type_hints:
            self._read = lambda key, value, mode, report: read_type_hints(key, value)
        elif columns:
            self._read = self._read_columns
        elif signature.tensors:
            self._tensors = TensorReader(signature.tensors)
            self._read = self._read_tensors
        else:
            self._read = read_unsigned
        self._has_type_hints = type_hints

    def decode(self, body: bytes, content_type: str, mode: Enforcement) -> Decoded:
        """Return the input and params that a request holds.

        Raises BadRequest when the request is malformed, and InvalidInput, with every violation, when it does not fit
        the signature; with STRICT also when it fits only after a lossy change. Nothing else is raised.
        """
        media = JSON if content_type == JSON else parse_content_type(content_type)
        try:
            if media == JSON:
                return self._decode_json(parse_request(body), mode)
            return self._decode_table(body, media, mode)
        except (MemoryError, RecursionError):
            raise BadRequest("The request is too large or too deeply nested to be decoded.") from None

    def _decode_json(self, request: Request, mode: Enforcement) -> Decoded:
        report = Report()
        if request.params is None and self._no_params:
            params: dict[str, Any] = {}
            notes = request.notes
        else:
            params, param_notes = self._params.read(request.params, mode, report)
            notes = request.notes + param_notes
        data, rows, form = self._read(request.key, request.value, mode, report)
        if report.violations:
            report.check()
        if report.notes:
            notes += tuple(report.notes)
        return Decoded(
            data,
            rows,
            form,
            params,
            report.ledger,
            notes,
            request.client_request_id,
            request.usage_context,
            request.stream,
        )

    def _decode_table(self, body: bytes, media: str, mode: Enforcement) -> Decoded:
        """Decode CSV or an Arrow stream, which hold a table and nothing else."""
        from tallystick.protocol import tabular

        if self._has_type_hints or not self._columns:
            raise BadRequest(f"{media} is taken by models with a column signature only; send {JSON}.")
        read = tabular.read_csv if media == CSV else tabular.read_arrow
        assert media in (CSV, ARROW_STREAM)
        report = Report()
        source = read(body, self.signature.columns, mode, report)
        table = self._table.from_columns(source.names, source.columns, source.rows, source.path)
        data, rows, form = self._enforce(table, Enforcement.STRICT if source.is_strict else mode, report, source.ready)
        report.check()
        return Decoded(data, rows, form, self._params.read(None, mode, report)[0], report.ledger, tuple(report.notes))

    def _read_columns(self, key: str, value: Any, mode: Enforcement, report: Report) -> _Read:
        table = self._table.read(key, value)
        if self._is_doubles and table.matrix and not table.lacks:
            block = scalars.exact_doubles(table.matrix, table.value_types())
            if block is not None:
                report.notes.extend(table.notes)
                form = table.names if table.index is None else Alone()
                return Columns(table.names, block=block, index=table.index), table.rows, form
        return self._enforce(table, mode, report, {})

    def _enforce(self, table: Table, mode: Enforcement, report: Report, ready: dict[Any, Values]) -> _Read:
        """Convert column by column. `ready` has the columns that are converted already."""
        report.notes.extend(table.notes)
        report.violations.extend(table.lacks)
        columns: list[Values | Inferred] = []
        specs = self._specs(table)
        for name, spec, values in zip(table.names, specs, table.by_column(), strict=True):
            done = ready.get(name)
            columns.append(done if done is not None else _column(values, spec, name, table, mode, report))
        joins = table.rows > 0 and table.index is None and not report.violations
        form: Hashable = (table.names, tuple(map(_flavour, columns))) if joins else Alone()
        if joins and any(isinstance(column, Inferred) for column in columns):
            form = Alone()
        return Columns(table.names, columns=tuple(columns), index=table.index), table.rows, form

    def _specs(self, table: Table) -> Sequence[Column]:
        if self.signature.is_named:
            return [self._columns[str(name)] for name in table.names]
        return self.signature.columns

    def _read_tensors(self, key: str, value: Any, mode: Enforcement, report: Report) -> _Read:
        if key.startswith("dataframe_"):
            table = self._table.read(key, value)
            report.notes.extend(table.notes)
            report.violations.extend(table.lacks)
            report.check()
            data = self._tensors.read_table(table, mode, report)
        else:
            data = self._tensors.read(key, value, mode, report)
        if report.violations:
            report.check()
        arrays = [data] if isinstance(data, np.ndarray) else list(data.values())
        lengths = {array.shape[0] if array.ndim else 1 for array in arrays}
        free = all(tensor.shape[:1] == (-1,) for tensor in self.signature.tensors)
        form: Hashable = tuple(map(array_form, arrays)) if free and len(lengths) == 1 else Alone()
        return data, max(lengths, default=1), form


def _flavour(column: Values | Inferred) -> str:
    """Return the dtype that pandas gives a column, as far as it depends on the request's values."""
    if isinstance(column, list):
        return "text" if any(value is not None for value in column) else "nulls"
    return column.dtype.char if isinstance(column, np.ndarray) else "any"


def _column(
    values: Sequence[Any], spec: Column, name: str | int, table: Table, mode: Enforcement, report: Report
) -> Values | Inferred:
    kind = spec.type
    if isinstance(kind, ScalarType):
        out = scalars.exact(values, kind)
        if out is not None and (table.by_frame or _is_read_alike(kind, values)):
            # Without a value to guess from, pandas leaves a column of text untyped.
            return np.array([], dtype=object) if isinstance(out, list) and not out and table.by_frame else out
        return _inexact(values, kind, name, table, mode, report)
    if isinstance(kind, AnyType):
        where = f"column {str(name)[:60]!r}"
        for value in values:
            check_depth(value, where)
        return Inferred(list(values))
    row = 0
    check = CellCheck(str(name), mode, report, lambda: table.path(row, name), as_ndarray=not table.by_frame)
    cells: list[Any] = []
    for row, value in enumerate(values):  # noqa: B007  `row` is read by `path`
        cells.append(check.cell(value, kind, spec.required))
    return scalars.object_array(cells)


def _is_read_alike(kind: ScalarType, values: Sequence[Any]) -> bool:
    """Whether NumPy (`inputs`, `instances`) reads this exact column as pandas does: not base64, nor a missing text."""
    return kind is not ScalarType.BINARY and not (kind is ScalarType.STRING and None in values)


def _inexact(
    values: Sequence[Any], kind: ScalarType, name: str | int, table: Table, mode: Enforcement, report: Report
) -> Values:
    """Convert a column whose values each have to be looked at: count what changes, refuse what must be."""
    context = scalars.context_of(values, table.by_frame)
    judge = scalars.judge(kind)
    found: dict[tuple[Coercion | None, type], list[int]] = {}
    problems: dict[tuple[Coercion | None, type], str] = {}
    for row, value in enumerate(values):
        fault = judge(value, context)
        if fault is not None:
            place = (fault.kind, type(value))
            found.setdefault(place, []).append(row)
            problems.setdefault(place, fault.problem)
    if not found:
        return scalars.fitting(values, kind)
    refused = list(found) if mode is Enforcement.STRICT else [place for place in found if place[0] is None]
    out: Values = []
    if not refused:
        try:
            out = lossy.cast(values, kind, table.by_frame)
        except Exception:  # noqa: BLE001  pandas and NumPy raise anything; what they refuse is told in our words
            refused = list(found)
    for place in refused:
        rows = found[place]
        report.violate(table.path(rows[0], name), problems[place] + further_rows(rows))
    if not refused:
        for (coercion, _), rows in found.items():
            assert coercion is not None
            _count(report, str(name), coercion, rows, out)
    return out


def _count(report: Report, name: str, coercion: Coercion, rows: list[int], out: Array | list[Any]) -> None:
    if coercion is Coercion.NULL_TO_FALSE:
        # Beside numbers, pandas holds null as NaN, and NaN is true.
        true = sum(1 for row in rows if out[row])
        if true:
            report.count(name, Coercion.NULL_TO_TRUE, true)
        if true == len(rows):
            return
        report.count(name, coercion, len(rows) - true)
        return
    report.count(name, coercion, len(rows))
