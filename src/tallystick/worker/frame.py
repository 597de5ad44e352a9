"""From checked values to what a model's `predict` takes: a frame, an array, a dict of arrays, or a list.

Several requests become one input, rows in the order of the requests. Nothing is converted here, and nothing can be
refused: the decoder did both. Frames are built from blocks (a block is a 2-D array of one dtype): pandas' ordinary
constructor takes 100 us for a row of six columns, of which nothing is work.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tallystick.protocol.decoded import Columns, Data, Decoded, Inferred, Raw, RawFrame
from tallystick.protocol.scalars import Array, Values

try:
    # pandas 3 and later; says of itself that it is for other libraries to build on.
    from pandas.api.internals import create_dataframe_from_blocks as _from_blocks  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    _from_blocks = None

#: The type that this pandas gives to a column of text: `str` from 3.0 on, object before.
_TEXT: Any = pd.Series(["a"]).dtype
# What `pd.array` ends in; its own checks take longer than the work.
_TEXT_ARRAY: Any = pd.Series(["a"]).array
_MAKE_TEXT: Any = _TEXT_ARRAY._from_sequence if isinstance(_TEXT, pd.StringDtype) else None


def assemble(decoded: Sequence[Decoded]) -> Any:
    """Return one model input for these requests, which must have equal `form` (and at least one must be there)."""
    parts: list[Any] = [entry.data for entry in decoded]
    first: Data = parts[0]
    if isinstance(first, Columns):
        return _frame(first) if len(parts) == 1 else _joined_frame(parts)
    if isinstance(first, RawFrame):
        return pd.DataFrame(data=first.data, columns=first.columns, index=first.index)
    if isinstance(first, Raw):
        return first.value if len(decoded) == 1 else [item for part in parts for item in part.value]
    if len(decoded) == 1:
        return first
    if isinstance(first, dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in first}
    return np.concatenate(parts)


def _joined_frame(parts: Sequence[Any]) -> pd.DataFrame:
    first: Columns = parts[0]
    blocks = [part.block for part in parts]
    if all(block is not None for block in blocks):
        return _frame(Columns(first.names, block=np.concatenate(blocks)))
    columns = zip(*(_column_values(part) for part in parts), strict=True)
    return _frame(Columns(first.names, columns=tuple(map(_joined, columns))))


def _column_values(part: Columns) -> tuple[Any, ...]:
    return part.columns if part.block is None else tuple(part.block.T)


def _joined(pieces: tuple[Any, ...]) -> Values:
    if isinstance(pieces[0], list):
        return [value for piece in pieces for value in piece]
    return np.concatenate(pieces)


def _frame(data: Columns) -> pd.DataFrame:
    if not data.names:
        # All columns are optional and none came: MLflow keeps no rows of nothing either.
        return pd.DataFrame({})
    names = _names(data.names)
    if data.block is not None:
        index = _index(data, len(data.block))
        return pd.DataFrame(data.block, columns=names, index=index, copy=False)
    return _build(names, _index(data, _length(data.columns[0])), [_values(column) for column in data.columns])


def _length(column: Values | Inferred) -> int:
    return len(column.values if isinstance(column, Inferred) else column)


def _names(names: tuple[str | int, ...]) -> Any:
    # A view: `frame.columns.name = ...` in a model's code must not reach the next call.
    return _cached_names(names).view()


# A worker serves one model, so this holds its column names, and those of a few callers that leave out optional ones.
@functools.lru_cache(maxsize=64)
def _cached_names(names: tuple[str | int, ...]) -> Any:
    return pd.Index(list(names))


def _index(data: Columns, rows: int) -> Any:
    return pd.RangeIndex(rows) if data.index is None else pd.Index(data.index)


def _values(column: Values | Inferred) -> Any:
    """Return an array, of pandas' own kind for text."""
    if isinstance(column, Inferred):
        series = pd.Series(column.values, dtype=None if column.values else object)
        return series.to_numpy() if isinstance(series.dtype, np.dtype) else series.array
    if isinstance(column, np.ndarray):
        return column if column.dtype.kind != "M" else _dates(column)
    if _MAKE_TEXT is None or (column and all(value is None for value in column)):
        return np.array(column, dtype=object)
    return _MAKE_TEXT(column, dtype=_TEXT)


def _dates(column: Array) -> Any:
    # A block of dates is pandas' own array, of two dimensions like the others.
    dates: Any = pd.DatetimeIndex(column).array
    return dates.reshape((1, len(column)))


def _build_slowly(names: Any, index: Any, columns: list[Any]) -> pd.DataFrame:
    frame = pd.DataFrame({n: column.ravel() for n, column in enumerate(columns)}, index=index)
    frame.columns = names
    return frame


def _build_from_blocks(names: Any, index: Any, columns: list[Any]) -> pd.DataFrame:
    blocks: list[tuple[Any, Array]] = []
    same: dict[Any, list[int]] = {}
    for position, column in enumerate(columns):
        if isinstance(column, np.ndarray):
            same.setdefault(column.dtype, []).append(position)
        else:
            blocks.append((column, np.array([position])))
    for positions in same.values():
        block = (
            np.stack([columns[position] for position in positions])
            if len(positions) > 1
            else columns[positions[0]][None, :]
        )
        blocks.append((block, np.array(positions)))
    frame: pd.DataFrame = _from_blocks(blocks, index=index, columns=names)
    return frame


_build: Callable[[Any, Any, list[Any]], pd.DataFrame] = _build_slowly if _from_blocks is None else _build_from_blocks
