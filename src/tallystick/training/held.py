"""Rows that were given to a training, held until the model is logged; gone with the model."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Held:
    """What was given to one training: rows as they were then, labels, and how many rows there were."""

    rows: Any
    labels: Any
    given: int
    #: The DMatrix or Dataset that the rows were in.
    source: weakref.ref[Any] | None = None
    #: What of it the saved model will not know.
    findings: tuple[str, ...] = ()


class Reservoir:
    """Rows given to trainings, by the model that was trained, or in words why there are none."""

    def __init__(self) -> None:
        # By id, as estimators may compare by value or have no hash; the reference's end removes the entry.
        self._held: dict[int, tuple[weakref.ref[Any], Held | str]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def keep(self, model: Any, held: Held | str) -> None:
        """Hold rows for a model, or the reason why there are none, in place of those of its last training."""
        key = id(model)
        self._held[key] = (weakref.ref(model, lambda _: self._held.pop(key, None)), held)

    def drop(self, model: Any) -> None:
        """Forget a model's rows: its fit failed."""
        self._held.pop(id(model), None)

    def entry(self, model: Any) -> Held | str | None:
        """Return what is known of a model itself: its rows, or why there are none."""
        entry = self._held.get(id(model))
        return entry[1] if entry is not None and entry[0]() is model else None

    def find(self, model: Any) -> Held | None:
        """Return the rows that a model was trained on, itself or as the best of a search that was."""
        entry = self.entry(model)
        if entry is not None:
            return entry if isinstance(entry, Held) else None
        for reference, held in list(self._held.values()):
            if isinstance(held, Held) and getattr(reference(), "best_estimator_", None) is model:
                return held
        return None

    def clear(self) -> None:
        """Forget all rows."""
        self._held.clear()
