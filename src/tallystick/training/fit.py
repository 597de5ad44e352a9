"""Makes a golden file fit its room: steps first, then bodies, then rows lose what they can do without."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import msgspec

from tallystick.gate.golden import Column, Golden, Matrix, Step, Wire, render

LARGE = "larger than a megabyte: its columns are many, or their texts long"
#: Rows of steps and bodies, from what is wanted down to nothing.
_STEP_ROWS = (64, 32, 16, 8, 0)
_WIRE_ROWS = (64, 32, 16, 8)
_ROWS = (256, 128, 64)


def fit(golden: Golden, room: int, cut: Callable[[Wire, int], Wire]) -> tuple[Golden, bytes]:
    """Return the golden file in at most `room` bytes, as far as it can be cut, and its bytes.

    What was cut is in `degraded`. `cut` gives a body of fewer rows.
    """
    notes = golden.degraded
    block = render(golden)
    for rows in _worth_trying(_STEP_ROWS, golden.steps, len(block) - room):
        if len(block) <= room or not golden.steps:
            break
        steps = tuple(_fewer(step, rows) for step in golden.steps) if rows else ()
        told = f"outputs of steps are kept for {rows} rows, for size" if rows else "no outputs of steps, for size"
        golden = msgspec.structs.replace(golden, steps=steps, degraded=(*notes, told))
        block = render(golden)
    notes = golden.degraded
    for rows in _worth_trying(_WIRE_ROWS, golden.wires, len(block) - room):
        if len(block) <= room or not golden.wires:
            break
        wires = tuple(cut(wire, rows) if wire.rows > rows else wire for wire in golden.wires)
        golden = msgspec.structs.replace(
            golden, wires=wires, degraded=(*notes, f"bodies hold {rows} golden rows, for size")
        )
        block = render(golden)
    notes = golden.degraded
    for rows in _ROWS:
        if len(block) <= room or golden.rows <= rows:
            continue
        golden = msgspec.structs.replace(_head(golden, rows), degraded=(*notes, f"{rows} golden rows, for size"))
        block = render(golden)
    if len(block) > room:
        golden = msgspec.structs.replace(golden, degraded=tuple(dict.fromkeys((*golden.degraded, LARGE))))
        block = render(golden)
    return golden, block


def _worth_trying(sizes: tuple[int, ...], parts: tuple[Any, ...], surplus: int) -> tuple[int, ...]:
    """Return the numbers of rows that may be few enough, as far as the size of these parts by themselves can tell.

    Compressing the whole file for each number would be most of the time that a wide model takes.
    """
    if surplus <= 0 or not parts:
        return sizes
    alone = len(zlib.compress(msgspec.msgpack.encode(parts), 6))
    longest = max(part.rows if isinstance(part, Wire) else part.output.rows for part in parts)
    few = [rows for rows in sizes if alone * (1 - rows / max(1, longest)) >= 0.8 * surplus]
    return tuple(few) or sizes[-1:]


def _fewer(step: Step, rows: int) -> Step:
    return msgspec.structs.replace(step, output=_rows_of(step.output, rows))


def _rows_of(matrix: Matrix, rows: int) -> Matrix:
    rows = min(rows, matrix.rows)
    if matrix.texts:
        return Matrix(rows, matrix.width, texts=matrix.texts[: rows * matrix.width])
    return Matrix(rows, matrix.width, numbers=matrix.numbers[: 8 * rows * matrix.width])


def _head(golden: Golden, rows: int) -> Golden:
    return msgspec.structs.replace(
        golden,
        rows=rows,
        columns=tuple(Column(column.name, column.dtype, column.values[:rows]) for column in golden.columns),
        predictions=_rows_of(golden.predictions, rows),
        labels=golden.labels[: 8 * rows],
        # The metric was of all rows; of fewer it is another number.
        quality=None,
    )
