"""A decoder compiled from a model's signature: bytes of a request to values that fit the model.

The only place where types are converted. What MLflow takes without loss becomes the same values, dtypes and order
here; see `ledger` for what it changes silently, and `table`, `nested` and `tensors` for where this is friendlier. A
table of one number type, the most common one, is checked and converted as one block; see `columns` for the others.

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
from tallystick.protocol import bulk
from tallystick.protocol.codec import ARROW_STREAM, CSV, JSON, Request, parse_content_type, parse_request
from tallystick.protocol.columns import MANY_ROWS, Conversion, groups_of, whole_table
from tallystick.protocol.decoded import Alone, Columns, Data, Decoded, Inferred
from tallystick.protocol.ledger import Report
from tallystick.protocol.params import ParamReader
from tallystick.protocol.scalars import Values
from tallystick.protocol.signature import (
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
        self._groups = groups_of(columns)
        # The type of all columns, where it is one that a block can hold.
        kinds = {column.type for column in columns}
        only = kinds.pop() if len(kinds) == 1 else None
        self._block_kind = only if isinstance(only, ScalarType) and only in bulk.KINDS else None
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
        if self._block_kind is not None and table.matrix and not table.lacks:
            block = whole_table(table, self._block_kind, mode, report)
            if block is not None:
                report.notes.extend(table.notes)
                form = table.names if table.index is None else Alone()
                return Columns(table.names, block=block, index=table.index), table.rows, form
        return self._enforce(table, mode, report, {})

    def _enforce(self, table: Table, mode: Enforcement, report: Report, ready: dict[Any, Values]) -> _Read:
        """Convert what can be converted together, then column by column. `ready` has what is converted already."""
        report.notes.extend(table.notes)
        report.violations.extend(table.lacks)
        specs = self._specs(table)
        conversion = Conversion(table, mode, report)
        out: list[Values | Inferred | None]
        out = [ready.get(name) for name in table.names] if ready else [None] * len(specs)
        if 0 < table.rows <= MANY_ROWS and not ready:
            for group in self._groups if specs is self.signature.columns else groups_of(specs):
                conversion.group(group, out)
        columns = tuple([conversion.column(n, specs[n]) if done is None else done for n, done in enumerate(out)])
        form: Hashable
        if not table.rows or table.index is not None or report.violations or Inferred in map(type, columns):
            form = Alone()
        elif self._block_kind is not None:
            form = table.names
        else:
            form = table.names, tuple(map(_flavour, columns))
        return Columns(table.names, columns=columns, index=table.index), table.rows, form

    def _specs(self, table: Table) -> Sequence[Column]:
        if self.signature.is_named and len(table.names) < len(self.signature.columns):
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
