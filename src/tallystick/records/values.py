"""Values as a model saw them, as Arrow columns: the type of each input, and what the decoder gives brought into it.

Pure. Knows neither tables nor bodies; `decode` and `predictions` do.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallystick.protocol.decoded import Columns, Data, Inferred, Raw, RawFrame
from tallystick.protocol.signature import (
    AnyType,
    ArrayType,
    Column,
    InputType,
    MapType,
    ObjectType,
    ScalarType,
    Signature,
    Tensor,
)

TEXT = pa.string()
#: Name of the column of an input that has no name.
UNNAMED = "input"

SCALAR_TYPES: dict[ScalarType, pa.DataType] = {
    ScalarType.BOOLEAN: pa.bool_(),
    ScalarType.INTEGER: pa.int32(),
    ScalarType.LONG: pa.int64(),
    ScalarType.FLOAT: pa.float32(),
    ScalarType.DOUBLE: pa.float64(),
    ScalarType.STRING: TEXT,
    ScalarType.BINARY: pa.binary(),
    ScalarType.DATETIME: pa.timestamp("ns"),
}
_JSON = msgspec.json.Encoder(
    enc_hook=lambda value: value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
)
_FIRST, _LAST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


def arrow_type(kind: InputType) -> pa.DataType:
    """Return the Arrow type of an input column; values of any type become JSON text."""
    match kind:
        case ScalarType():
            return SCALAR_TYPES[kind]
        case ArrayType():
            return pa.list_(arrow_type(kind.items))
        case ObjectType():
            return pa.struct([(entry.name, arrow_type(entry.type)) for entry in kind.properties])
        case MapType():
            return pa.map_(TEXT, arrow_type(kind.values))
        case AnyType():
            return TEXT


def tensor_type(tensor: Tensor) -> pa.DataType:
    """Return the Arrow type of one row of a tensor: its first axis is the rows, each further one a list."""
    kind = dtype_type(tensor.dtype)
    for _ in tensor.shape[1:]:
        kind = pa.list_(kind)
    return kind


def dtype_type(dtype: np.dtype[Any]) -> pa.DataType:
    """Return the Arrow type of a NumPy dtype; text for what Arrow has no number for."""
    if dtype.kind == "M":
        return pa.timestamp("ns")
    return pa.from_numpy_dtype(dtype) if dtype.kind in "biuf" else TEXT


def column_name(column: Column | Tensor, position: int) -> str:
    """Return the name of an input in the view."""
    if column.name is not None:
        return column.name
    return UNNAMED if isinstance(column, Tensor) else str(position)


def signature_fields(signature: Signature) -> dict[str, pa.DataType]:
    """Return the input columns of a model in order; none for a model without a signature."""
    if signature.columns:
        return {column_name(each, n): arrow_type(each.type) for n, each in enumerate(signature.columns)}
    return {column_name(each, n): tensor_type(each) for n, each in enumerate(signature.tensors)}


def promoted(kinds: Iterable[pa.DataType]) -> pa.DataType:
    """Return the type that holds values of all `kinds`: the wider number, else text.

    >>> promoted([pa.int64(), pa.float64()]), promoted([pa.int32(), pa.bool_()])
    (DataType(double), DataType(string))
    """
    distinct = list(dict.fromkeys(kinds))
    if len(distinct) == 1:
        return distinct[0]
    if all(pa.types.is_integer(kind) for kind in distinct):
        return pa.int64()
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in distinct):
        return pa.float64()
    return TEXT


def to_type(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return a column as one of a type that `promoted` gave, or of nulls as any type."""
    if array.type.equals(kind):
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), kind)
    if kind.equals(TEXT) and (pa.types.is_nested(array.type) or pa.types.is_binary(array.type)):
        return pa.array([as_text(value) for value in array.to_pylist()], TEXT)
    return pc.cast(array, kind, safe=False)


def as_text(value: Any) -> str | None:
    """Return a value as text: text as it is, bytes as base64, all else as JSON."""
    if value is None or isinstance(value, str):
        return None if value is None else str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float) and value != value:
        return None
    try:
        return _JSON.encode(value).decode()
    except (TypeError, ValueError, UnicodeEncodeError, RecursionError):
        return repr(value)


def plain(value: Any, kind: pa.DataType) -> Any:
    """Return what `pa.array` takes for one value of a column of `kind`; None for what is no value of it."""
    types = pa.types
    if value is None:
        return None
    if types.is_string(kind):
        return as_text(value)
    if types.is_binary(kind):
        return (
            value.encode("utf-8", "replace") if isinstance(value, str) else value if isinstance(value, bytes) else None
        )
    if types.is_map(kind):
        return [(str(k), plain(v, kind.item_type)) for k, v in value.items()] if isinstance(value, dict) else None
    if types.is_struct(kind):
        if not isinstance(value, dict):
            return None
        return {field.name: plain(value.get(field.name), field.type) for field in kind}
    if types.is_list(kind):
        value = value.tolist() if isinstance(value, np.ndarray) else value
        return [plain(item, kind.value_type) for item in value] if isinstance(value, list) else None
    return _plain_scalar(value, kind)


def _plain_scalar(value: Any, kind: pa.DataType) -> Any:
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        value = value.item()
    if pa.types.is_boolean(kind):
        return value if isinstance(value, bool) else None
    if pa.types.is_timestamp(kind):
        return _timestamp(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    if not pa.types.is_integer(kind):
        return float(value) if isinstance(value, float) or abs(value) < 2**1023 else None
    limits = (kind.bit_width - 1) if pa.types.is_signed_integer(kind) else kind.bit_width
    is_whole = value == int(value) if abs(value) != float("inf") else False
    low = -(2**limits) if pa.types.is_signed_integer(kind) else 0
    return int(value) if is_whole and low <= value < 2**limits else None


def _timestamp(value: Any) -> int | None:
    try:
        stamp = np.array([value], dtype="datetime64[ns]") if isinstance(value, str | np.datetime64) else None
    except ValueError:
        return None
    return None if stamp is None or np.isnat(stamp[0]) else int(stamp.astype(np.int64)[0])


def to_column(pieces: Sequence[Any], rows: Sequence[int], kind: pa.DataType) -> tuple[pa.Array, int]:
    """Return the values that several requests have for one column, and how many of them are no values of `kind`.

    A piece is what the decoder gave for `rows[n]` rows (an array or a list), or None where the request lacks the
    column. NaN is a missing value: JSON has no NaN, so it stands for null.
    """
    if pieces and all(isinstance(piece, np.ndarray) and piece.dtype == pieces[0].dtype for piece in pieces):
        whole = np.concatenate(pieces)
        if whole.dtype.kind in "biufM" and whole.ndim == 1 and dtype_type(whole.dtype).equals(kind):
            return pa.array(whole, kind, from_pandas=True), 0
    values: list[Any] = []
    for piece, count in zip(pieces, rows, strict=True):
        values.extend([None] * count if piece is None else piece)
    made = [plain(value, kind) for value in values]
    lost = sum(1 for value, given in zip(made, values, strict=True) if value is None and not _is_missing(given))
    return pa.array(made, kind), lost


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, np.datetime64):
        return bool(np.isnat(value))
    return isinstance(value, float | np.floating) and bool(value != value)


def tensor_column(arrays: Sequence[np.ndarray[Any, Any]], kind: pa.DataType) -> tuple[pa.Array, int]:
    """Return tensors of several requests as one column with a list for each row."""
    depth, leaf = 0, kind
    while pa.types.is_list(leaf):
        depth, leaf = depth + 1, leaf.value_type
    same = {array.shape[1:] for array in arrays}
    if len(same) != 1 or any(array.ndim != depth + 1 or array.dtype.kind not in "biuf" for array in arrays):
        return to_column([_as_list(array) for array in arrays], [_length(array) for array in arrays], kind)
    whole = np.concatenate(arrays)
    column = pa.array(np.ascontiguousarray(whole).reshape(-1), leaf, from_pandas=True)
    # From the innermost axis outwards; each list has the length of its axis.
    for axis in range(whole.ndim - 1, 0, -1):
        count = int(np.prod(whole.shape[:axis], dtype=np.int64))
        offsets = np.arange(count + 1, dtype=np.int64) * whole.shape[axis]
        column = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), column)
    return column, 0


def _as_list(array: np.ndarray[Any, Any]) -> list[Any]:
    items = array.tolist()
    return items if array.ndim else [items]


def _length(array: np.ndarray[Any, Any]) -> int:
    return int(array.shape[0]) if array.ndim else 1


def rows_by_column(data: Data, rows: int) -> dict[str, Any]:
    """Return the decoder's values by column name: an array or a list of `rows` values each."""
    if isinstance(data, Columns):
        names = [str(name) for name in data.names]
        if data.block is not None:
            return dict(zip(names, data.block.T, strict=True))
        values = (column.values if isinstance(column, Inferred) else column for column in data.columns)
        return dict(zip(names, values, strict=True))
    if isinstance(data, RawFrame):
        return _frame_columns(data)
    if isinstance(data, Raw):
        data = data.value
    if isinstance(data, dict):
        return {str(name): _padded(value, rows) for name, value in data.items()}
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        return _record_columns(data)
    return {UNNAMED: _padded(data, rows)}


def _padded(value: Any, rows: int) -> Any:
    if isinstance(value, np.ndarray):
        value = value if value.ndim else value.reshape(1)
        return value if len(value) == rows else None
    return value if isinstance(value, list) and len(value) == rows else [value] if rows == 1 else None


def _frame_columns(frame: RawFrame) -> dict[str, Any]:
    if all(isinstance(row, dict) for row in frame.data):
        return _record_columns(frame.data)
    rows = [row if isinstance(row, list) else [row] for row in frame.data]
    names = frame.columns if frame.columns is not None else range(max(map(len, rows), default=0))
    return {str(name): [row[n] if n < len(row) else None for row in rows] for n, name in enumerate(names)}


def _record_columns(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys(str(name) for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}


def inferred_type(values: Sequence[Any]) -> pa.DataType:
    """Return the type of JSON values that no signature names: number, boolean, list of numbers, else text.

    >>> inferred_type([1, 2.5, None]), inferred_type(["a", 1]), inferred_type([[0.1, 0.9]])
    (DataType(double), DataType(string), ListType(list<item: double>))
    """
    kinds = {type(value.item() if isinstance(value, np.generic) else value) for value in values} - {type(None)}
    if kinds and kinds <= {int, float}:
        return pa.float64()
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {list}:
        items = {type(item) for value in values for item in value}
        if items and items <= {int, float, type(None)}:
            return pa.list_(pa.float64())
    return TEXT
