"""How far two answers to the same rows are apart, where one of them may be no number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tallystick.parity.columns import Floats, Mask


@dataclass(frozen=True)
class Apart:
    """Which answers differ; what is a number on neither side is the same answer.

    `largest` is the largest difference of two numbers, 0 where there is none; `no_numbers` are answers that are none
    though one was expected.
    """

    differs: Mask
    largest: float
    no_numbers: int

    @property
    def told(self) -> str:
        """What is to be said of answers that are no numbers; empty where there are none."""
        return f"{self.no_numbers} are no numbers, where the model gives numbers" if self.no_numbers else ""


def apart(expected: Floats, got: Floats, relative: float) -> Apart:
    """Return which answers differ by more than `relative` of their size, or of the deviation of those expected."""
    known = expected[np.isfinite(expected)]
    spread = (float(known.std()) if known.size else 0.0) or 1.0
    with np.errstate(invalid="ignore"):
        distance = np.abs(got - expected)
        scale = np.maximum(np.abs(expected), spread)
        same = (expected == got) | (np.isnan(expected) & np.isnan(got)) | (distance <= relative * scale)
    lost = ~np.isfinite(got) & np.isfinite(expected)
    return Apart(~same, float(distance[np.isfinite(distance)].max(initial=0.0)), int(lost.sum()))


def largest_of(found: Apart) -> dict[str, float | int]:
    """Return the parameters of a cause that say how far apart answers are."""
    parameters: dict[str, float | int] = {"largest": found.largest} if found.largest > 0 else {}
    return parameters | ({"no_numbers": found.no_numbers} if found.no_numbers else {})
