"""The caller's model, asked about rows that it was not trained on.

Rows with a fault in them, or with it undone, are often what a model refuses, each library with errors of its own. That
costs the answer that was asked for, and never the verdict: which answers there are none of is a limit of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Asking:
    """Asks, and notes what could not be answered, each once."""

    refused: list[str] = field(default_factory=list)

    def of(self, what: str, ask: Callable[[], T]) -> T | None:
        """Return what `ask` gives, or None where it raises; `what` is then not known.

        The error's kind is told and not its text, which may hold values that must not leave the rows.
        """
        try:
            return ask()
        except Exception as error:  # noqa: BLE001  the model's code, or a network's
            text = f"{what}: to predict these rows raised {type(error).__name__}"
            if text not in self.refused:
                self.refused.append(text)
            return None
