"""What each step of a fitted model makes of some rows: the same function where it was trained and where it is served.

scikit-learn's compositions are walked by the attributes that they have (`steps`, `transformers_`,
`transformer_list`), so that nothing of it need be importable; functions marked with `tallystick.stage` are listened to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tallystick.gate.golden import Matrix, Step
from tallystick.gate.stages import recording

#: Columns kept of one step: the words of a text model are too many, and their first ones differ as well.
MOST_COLUMNS = 512
_MOST_DEPTH = 8
#: Holders of one fitted estimator that answers for them.
_INSIDE = ("best_estimator_", "regressor_")
#: Estimators of these have no stage that somebody marked, so they need not be asked for a prediction.
_LIBRARIES = ("sklearn", "xgboost", "lightgbm", "catboost")


def trace_steps(model: Any, frame: Any) -> list[Step]:
    """Return the output of every step of `model` for the rows of `frame`, in the order in which they run.

    `model` is a fitted estimator, a pipeline of any depth, a booster, or a function of a frame. Paths are
    `prep/num/scale`; a composition comes after its parts, and the last estimator has none, as its output is the
    prediction. Stages marked inside a step are `<path>/<stage>`. Only rows that are given are computed. Whatever a step
    raises comes through, with a note of its path.
    """
    walk = _Walk()
    walk.visit(model, frame, "", _names(frame))
    return walk.steps


class _Walk:
    def __init__(self) -> None:
        self.steps: list[Step] = []

    def visit(self, model: Any, data: Any, path: str, names: list[str]) -> tuple[Any, list[str]]:
        """Record the steps of `model`; return what comes out of it, and the names of its columns."""
        if path.count("/") > _MOST_DEPTH:
            return self._leaf(model, data, path, names)
        if steps := _parts(model, "steps"):
            for name, part, *_ in steps:
                if _is_step(part):
                    data, names = self.visit(part, data, _join(path, name), names)
            return data, names
        beside = _beside(model, data, names)
        if beside:
            for name, part, chosen, chosen_names in beside:
                self.visit(part, chosen, _join(path, name), chosen_names)
            return self._transformed(model, data, path, names)
        inside = next((held for held in (getattr(model, name, None) for name in _INSIDE) if _is_step(held)), None)
        if inside is not None:
            return self.visit(inside, data, path, names)
        return self._leaf(model, data, path, names)

    def _leaf(self, model: Any, data: Any, path: str, names: list[str]) -> tuple[Any, list[str]]:
        if path and hasattr(model, "transform") and not hasattr(model, "predict"):
            with recording() as kept:
                return self._transformed(model, data, path, names, kept)
        self._codes(model, data, path, names)
        if type(model).__module__.partition(".")[0] not in _LIBRARIES:
            ask = getattr(model, "predict", model)
            if callable(ask):
                with recording() as kept:
                    _noted(path or "predict", ask, data)
                self._stages(path, kept)
        return data, names

    def _transformed(
        self, model: Any, data: Any, path: str, names: list[str], kept: list[tuple[str, Any]] | None = None
    ) -> tuple[Any, list[str]]:
        output = _noted(path, model.transform, data)
        self._stages(path, kept or [])
        after = _names_after(model, output, names)
        self._record(path or "transform", output, after)
        return output, after

    def _stages(self, path: str, kept: list[tuple[str, Any]]) -> None:
        for name, output in kept:
            self._record(_join(path, name), output, _names(output))

    def _codes(self, model: Any, data: Any, path: str, names: list[str]) -> None:
        """Record the numbers that a booster sees in place of levels: their order is what gets lost between frames."""
        dtypes = getattr(data, "dtypes", None)
        if dtypes is None or getattr(data, "ndim", 0) != 2:
            return
        levels = [place for place, dtype in enumerate(dtypes) if str(dtype) == "category"]
        if not levels:
            return
        booster = getattr(model, "booster_", model)
        trained = getattr(booster, "pandas_categorical", None)
        codes = []
        for nth, place in enumerate(levels):
            column = data.iloc[:, place]
            if trained and nth < len(trained):
                # LightGBM reads levels in the order of its training frame.
                column = column.cat.set_categories(trained[nth])
            codes.append(column.cat.codes.to_numpy())
        self._record(_join(path, "levels"), np.column_stack(codes), [names[place] for place in levels])

    def _record(self, path: str, output: Any, names: list[str]) -> None:
        table = _table(output)
        if table is None:
            return
        table = table[:, :MOST_COLUMNS]
        shown = names if len(names) >= table.shape[1] else [str(place) for place in range(table.shape[1])]
        self.steps.append(Step(path, tuple(shown[: table.shape[1]]), Matrix.of(table)))


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _is_step(part: Any) -> bool:
    """Whether it does something: 'passthrough', 'drop' and None do not."""
    return part is not None and not isinstance(part, str)


def _noted(path: str, function: Callable[[Any], Any], data: Any) -> Any:
    try:
        return function(data)
    except Exception as error:
        error.add_note(f"in step {path}")
        raise


def _parts(model: Any, attribute: str) -> list[tuple[Any, ...]]:
    parts = getattr(model, attribute, None)
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, tuple) and len(part) >= 2 for part in parts):
        return []
    return list(parts)


def _beside(model: Any, data: Any, names: list[str]) -> list[tuple[str, Any, Any, list[str]]]:
    """Return the parts that run side by side, each with the columns that it gets and their names."""
    parts = [
        (name, part, _select(data, columns), _select_names(names, columns))
        for name, part, columns in _parts(model, "transformers_")
        if _is_step(part)
    ]
    parts += [(name, part, data, names) for name, part, *_ in _parts(model, "transformer_list") if _is_step(part)]
    return [(name, part, chosen, _names(chosen, given)) for name, part, chosen, given in parts if _width(chosen)]


def _select(data: Any, columns: Any) -> Any:
    """Return the columns that a ColumnTransformer gives to one of its parts: a single name or number gives one axis."""
    columns = getattr(columns, "data", columns) if type(columns).__name__ == "_RemainderColsList" else columns
    by_name = isinstance(columns, str) or (
        isinstance(columns, (list, tuple, np.ndarray)) and len(columns) > 0 and isinstance(columns[0], str)
    )
    if isinstance(columns, slice) and (isinstance(columns.start, str) or isinstance(columns.stop, str)):
        return data.loc[:, columns]
    if by_name:
        return data[columns if isinstance(columns, str) else list(columns)]
    if not isinstance(columns, (slice, int, np.integer)):
        columns = np.asarray(columns, dtype=None if len(columns) else np.int64)
    return data.iloc[:, columns] if hasattr(data, "iloc") else data[:, columns]


def _select_names(names: list[str], columns: Any) -> list[str]:
    if isinstance(columns, (int, np.integer, str)):
        return [columns] if isinstance(columns, str) else [names[columns]]
    place = columns if isinstance(columns, slice) else np.asarray(columns)
    try:
        return [str(name) for name in np.asarray(names, dtype=object)[place]]
    except (IndexError, TypeError, ValueError):
        return []


def _names_after(model: Any, output: Any, before: list[str]) -> list[str]:
    own = _names(output) if hasattr(output, "columns") else []
    if own:
        return own
    for given in ((before,), ()):
        try:
            return [str(name) for name in model.get_feature_names_out(*given)]
        except (AttributeError, TypeError, ValueError, NotImplementedError):
            continue
    width = _width(output)
    return before if width == len(before) else [str(place) for place in range(width)]


def _names(data: Any, otherwise: list[str] | None = None) -> list[str]:
    if hasattr(data, "columns"):
        return [str(name) for name in data.columns]
    if isinstance(data, dict):
        return [str(name) for name in data]
    if getattr(data, "name", None) is not None and getattr(data, "ndim", 0) == 1:
        return [str(data.name)]
    return otherwise or [str(place) for place in range(_width(data))]


def _width(data: Any) -> int:
    shape = getattr(data, "shape", None)
    if shape is None:
        return 1
    return int(np.prod(shape[1:])) if len(shape) > 1 else 1


def _table(output: Any) -> Any:
    """Return rows x columns of what a step gave; None for what is no values (an object of the model's own)."""
    if hasattr(output, "toarray"):
        # Sparse: cut before it is unfolded.
        output = output.tocsc()[:, :MOST_COLUMNS].toarray()
    if isinstance(output, dict):
        columns = [np.asarray(value) for value in output.values()]
        if not columns or {column.shape[:1] for column in columns} != {columns[0].shape[:1]} or not columns[0].ndim:
            return None
        return np.column_stack([column.reshape(len(column), -1) for column in columns])
    if not (hasattr(output, "shape") or isinstance(output, (list, tuple, int, float, str))):
        return None
    try:
        array = np.atleast_1d(np.asarray(output))
    except ValueError:  # lists of unequal length
        return None
    return array.reshape(len(array), -1)
