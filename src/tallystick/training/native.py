"""`xgboost.train` and `lightgbm.train`: rows are taken where a DMatrix or Dataset is made, and the booster gets them.

Neither gives its rows back, so their constructors are patched, and the places where a booster meets its matrix: MLflow
logs the model before `train` returns. Both see nothing that was made before, in another process, or from a file.
"""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from tallystick.parity.tables import as_table
from tallystick.training import tabular
from tallystick.training.held import Held, Reservoir
from tallystick.training.tabular import bytes_of, drawn, taken

#: Memory of rows in matrices together, those of validation among them; the oldest are let go first.
MOST_BYTES = 2 * tabular.MOST_BYTES


@dataclass(frozen=True)
class _InMatrix:
    """Rows of a matrix, which of those that were given they are (None: all), and labels that came with them."""

    rows: Any
    picked: Any
    labels: Any
    given: int
    size: int
    findings: tuple[str, ...] = ()


class Matrices:
    """Rows that matrices were made from, or why they are not held; gone with the matrix."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[weakref.ref[Any], _InMatrix | str]] = {}

    def __len__(self) -> int:
        return sum(not isinstance(entry, str) for _, entry in self._held.values())

    def take(self, matrix: Any, rows: Any, labels: Any, names: Any, missing: Any = None) -> None:
        """Hold the rows that a matrix is made from. Never raises: what cannot be held is a reason in words."""
        try:
            entry: _InMatrix | str = _read(rows, labels, names, missing)
        except Exception as error:  # noqa: BLE001  whatever it is, the training goes on
            entry = f"what it was trained on could not be held: {getattr(error, 'message', None) or error}"
        key = id(matrix)
        self._held[key] = (weakref.ref(matrix, lambda _: self._held.pop(key, None)), entry)
        self._make_room(key)

    def _make_room(self, newest: int) -> None:
        sizes = {key: entry.size for key, (_, entry) in self._held.items() if not isinstance(entry, str)}
        total = sum(sizes.values())
        for key in list(sizes):
            if total <= MOST_BYTES or key == newest:
                return
            total -= sizes[key]
            reason = f"its rows were let go, as later ones took more than {MOST_BYTES >> 20} MiB"
            self._held[key] = (self._held[key][0], reason)

    def rows_of(self, matrix: Any) -> Held | str:
        """Return the rows of a matrix with the labels that it has now, or why there are none."""
        known = self._held.get(id(matrix))
        if known is None or known[0]() is not matrix:
            return f"its {type(matrix).__name__} was made before autolog(), or as part of another one"
        entry = known[1]
        if isinstance(entry, str):
            return entry
        return Held(entry.rows, _labels(matrix, entry), entry.given, weakref.ref(matrix), entry.findings)

    def clear(self) -> None:
        """Forget all rows."""
        self._held.clear()


def _read(rows: Any, labels: Any, names: Any, missing: Any) -> _InMatrix | str:
    if rows is None:
        return "it was trained on a part of another Dataset"
    if isinstance(rows, (str, os.PathLike)):
        return "its rows were read from a file by the library"
    table = as_table(rows)
    if names is not None and not isinstance(names, str):
        # The booster goes by these names, so rows that are served have them.
        whole = pd.DataFrame(table) if isinstance(table, np.ndarray) else table
        table = whole.set_axis(list(names), axis=1)
    picked = drawn(table)
    findings: tuple[str, ...] = ()
    if missing is not None and missing == missing:
        findings = (
            f"DMatrix(missing={missing!r}) is not in the saved model: to the endpoint {missing!r} is a number, "
            "and only null is missing",
        )
    kept = taken(table, picked)
    return _InMatrix(kept, picked, taken(labels, picked), len(table), bytes_of(kept), findings)


def _labels(matrix: Any, entry: _InMatrix) -> Any:
    """Return a matrix's labels: those that it was made with, unless others were set; they are single precision then."""
    try:
        now = matrix.get_label()
        if now is None or len(now) != entry.given:
            return entry.labels
        there = np.asarray(taken(np.asarray(now), entry.picked), dtype=np.float32)
        if entry.labels is not None and np.array_equal(np.asarray(entry.labels, dtype=np.float32).ravel(), there):
            return entry.labels
        return there
    except Exception:  # noqa: BLE001  the library's or the caller's; what was given is there
        return entry.labels


class Watching(Protocol):
    """What the patches ask of autolog: whether to look now, and where rows go."""

    reservoir: Reservoir
    matrices: Matrices

    @property
    def is_looking(self) -> bool:
        """Whether this is the caller's own call, not one inside a `fit` or a capture."""


Patch = Callable[[Watching, Callable[..., Any]], Callable[..., Any]]


def patches_of(module: Any) -> list[tuple[type, str, Patch]]:
    """Return what is to be patched of xgboost or lightgbm: class, name, and what makes the new function of the old."""
    if module.__name__ == "lightgbm":
        return [(module.Dataset, "__init__", _dataset), (module.Booster, "__init__", _booster_of_dataset)]
    return [
        (module.DMatrix, "__init__", _matrix),
        (module.QuantileDMatrix, "__init__", _matrix),
        (module.Booster, "update", _meets),
        (module.Booster, "boost", _meets),
        (module.Booster, "__getitem__", _sliced),
    ]


def _matrix(state: Watching, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def init(self: Any, *given: Any, **named: Any) -> None:
        original(self, *given, **named)
        if state.is_looking:
            rows, labels = _argument(0, "data", given, named), _argument(1, "label", given, named)
            state.matrices.take(self, rows, labels, named.get("feature_names"), named.get("missing"))

    return init


def _meets(state: Watching, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def update(self: Any, dtrain: Any, *given: Any, **named: Any) -> Any:
        if state.is_looking:
            _link(state, self, dtrain)
        return original(self, dtrain, *given, **named)

    return update


def _sliced(state: Watching, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def getitem(self: Any, place: Any) -> Any:
        part = original(self, place)
        # Early stopping keeps the best rounds: a slice, which is a booster of its own.
        entry = state.reservoir.entry(self)
        if entry is not None:
            state.reservoir.keep(part, entry)
        return part

    return getitem


def _dataset(state: Watching, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def init(self: Any, *given: Any, **named: Any) -> None:
        original(self, *given, **named)
        if state.is_looking:
            rows, labels = _argument(0, "data", given, named), _argument(1, "label", given, named)
            state.matrices.take(self, rows, labels, _argument(6, "feature_name", given, named))

    return init


def _argument(place: int, name: str, given: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """Return an argument of a call by its place in the signature, or by its name."""
    return given[place] if len(given) > place else named.get(name)


def _booster_of_dataset(state: Watching, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def init(self: Any, *given: Any, **named: Any) -> None:
        original(self, *given, **named)
        dataset = _argument(1, "train_set", given, named)
        if dataset is not None and state.is_looking:
            _link(state, self, dataset)

    return init


def _link(state: Watching, booster: Any, matrix: Any) -> None:
    """Give a booster the rows of what it is trained on. Called each round: the first one does it."""
    known = state.reservoir.entry(booster)
    if isinstance(known, Held) and known.source is not None and known.source() is matrix:
        return
    state.reservoir.keep(booster, state.matrices.rows_of(matrix))
