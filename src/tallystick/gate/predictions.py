"""Answers against training's predictions, whoever asked: the worker itself, or control by way of the gateway. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tallystick.gate.golden import Golden, Matrix
from tallystick.gate.report import Difference, Outcome, Rung, RungReport
from tallystick.gate.tolerance import Closeness, compare, tolerance_for
from tallystick.gate.wording import told_precision


class Answer(NamedTuple):
    """A model's output: rows x width, row by row."""

    cells: Sequence[Any]
    rows: int
    width: int


def answer_of(output: Any) -> Answer:
    """Return a model's output as a table. A dict of outputs becomes their columns, side by side."""
    if isinstance(output, dict):
        import numpy as np

        output = np.column_stack([np.asarray(part) for part in output.values()])
    matrix = Matrix.of(output)
    return Answer(matrix.cells(), matrix.rows, matrix.width)


def answer_from_json(predictions: Any) -> Answer | None:
    """Return what `predictions` of an HTTP answer holds; None for what is no table.

    >>> answer_from_json([[0.5, 1], [True, None]])
    Answer(cells=[0.5, 1.0, 1.0, None], rows=2, width=2)
    """
    if isinstance(predictions, Mapping):
        columns = list(predictions.values())
        if not columns or not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
            return None
        predictions = [list(row) for row in zip(*columns, strict=True)]
    if not isinstance(predictions, list):
        return None
    rows = [_row(row) for row in predictions]
    width = len(rows[0]) if rows else 0
    if any(len(row) != width for row in rows):
        return None
    return Answer([_cell(value) for row in rows for value in row], len(rows), width)


def judge(golden: Golden, answer: Answer, rows: int, near: Closeness) -> RungReport:
    """Hold the answers for the first `rows` golden rows to training's."""
    width = golden.predictions.width
    if (answer.rows, answer.width) != (rows, width):
        wanted, got = f"{rows} x {width} values", f"{answer.rows} x {answer.width} values"
        difference = Difference(expected=wanted, got=got, share=1.0)
        return RungReport(Rung.PREDICTION, Outcome.FAILED, f"The answer has {got}, expected {wanted}.", difference)
    expected, cells = golden.predictions.cells()[: rows * width], answer.cells
    if golden.predictions.texts:
        # Labels that are no texts were written down as texts.
        cells = [None if cell is None else text_of(cell) for cell in cells]
    found = compare(expected, cells, width, tolerance_for(near, golden.model_kind, expected, golden.noise))
    if not found.differing:
        return RungReport(Rung.PREDICTION, Outcome.PASSED, f"{rows} of {rows} predictions are training's.")
    difference = Difference(
        row=found.row, expected=found.expected, got=found.got, share=found.share, largest=found.largest
    )
    text = (
        f"{found.differing} of {rows} predictions are not training's, the first in row {found.row}: "
        f"expected {found.expected}, got {found.got}"
    )
    if found.is_same:
        return RungReport(
            Rung.PREDICTION, Outcome.NOTED, f"{text}; on another machine {found.allowed} may differ.", difference
        )
    return RungReport(Rung.PREDICTION, Outcome.FAILED, f"{text}.{told_precision(found)}", difference)


def _row(row: Any) -> list[Any]:
    if isinstance(row, Mapping):
        row = list(row.values())
    if not isinstance(row, list):
        return [row]
    # Outputs of more than two axes, as `Matrix` lays them out.
    return [cell for part in row for cell in (_row(part) if isinstance(part, list) else [part])]


def _cell(value: Any) -> Any:
    return float(value) if isinstance(value, bool | int) else value


def text_of(value: Any) -> str:
    """Return a label as golden rows write it."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
