"""Axes of charts: from values to places between 0 and 1, with ticks that people can read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tallystick.parity.columns import Floats

#: Times the usual range from which on a linear axis would show one of the two as a line.
FAR_APART = 8.0
#: Decades that get a tick each; of more, every second or third.
MOST_TICKS = 6
DAY_S = 86400.0


@dataclass(frozen=True)
class Scale:
    """A place in [0, 1] for each value, and ticks: values with their labels."""

    to_place: Callable[[Floats], Floats]
    ticks: tuple[tuple[float, str], ...]
    name: str = "linear"

    def at(self, value: float) -> float:
        """Return the place of one value."""
        return float(self.to_place(np.array([value], dtype=np.float64))[0])


def scale_for(usual: Floats, others: Floats, is_time: bool = False) -> Scale:
    """Return an axis that shows `usual` values and `others`: linear, or by decades where they are far apart.

    >>> scale_for(np.array([1.0, 2.0]), np.array([100.0, 200.0])).name
    'logarithmic'
    """
    values = np.concatenate((usual, others))
    values = values[np.isfinite(values)]
    if not len(values):
        values = np.zeros(1)
    low, high = float(values.min()), float(values.max())
    if is_time:
        return _times(low, high)
    if _is_far_apart(usual, others):
        if low > 0:
            return _logarithmic(low, high)
        return _two_sided(values, usual)
    return linear(low, high)


def _is_far_apart(usual: Floats, others: Floats) -> bool:
    if not len(usual) or not len(others):
        return False
    there, here = float(np.quantile(np.abs(others), 0.95)), float(np.quantile(np.abs(usual), 0.95))
    if there > FAR_APART * here:
        return True
    # Much smaller values of one sign: a factor below one. Around zero they are a scaling, which lines show as well.
    return bool(0 < there < here / FAR_APART and others.min() > 0 and usual.min() > 0)


def linear(low: float, high: float, margin: float = 0.04) -> Scale:
    """Return an even axis from below `low` to above `high`."""
    width = (high - low) or max(abs(high), 1.0)
    start, span = low - margin * width, (1 + 2 * margin) * width
    step = _nice(span / 4)
    first = int(np.ceil(start / step))
    ticks = [step * k for k in range(first, first + 12) if start <= step * k <= start + span]
    return Scale(lambda v: (v - start) / span, tuple((tick, _label(tick)) for tick in ticks))


def _nice(step: float) -> float:
    decade = 10.0 ** np.floor(np.log10(step))
    return float(decade * next(k for k in (1, 2, 2.5, 5, 10) if step <= k * decade * 1.0001))


def _logarithmic(low: float, high: float) -> Scale:
    start, stop = np.log10(low) - 0.1, np.log10(high) + 0.1
    decades = np.arange(np.ceil(start), np.floor(stop) + 1)
    decades = decades[:: max(1, int(np.ceil(len(decades) / MOST_TICKS)))]
    ticks = tuple((10.0**k, _label(10.0**k)) for k in decades)
    return Scale(lambda v: (np.log10(np.maximum(v, low / 10)) - start) / (stop - start), ticks, "logarithmic")


def _two_sided(values: Floats, usual: Floats) -> Scale:
    """Return an axis by decades on both sides of zero, even near it: asinh of the value over a usual one."""
    sizes = np.abs(usual[usual != 0])
    unit = 10.0 ** np.floor(np.log10(float(np.median(sizes)))) if len(sizes) else 1.0
    bent = np.arcsinh(values / unit)
    low, high = float(bent.min()), float(bent.max())
    start, span = low - 0.04 * (high - low), 1.08 * (high - low)
    largest = int(np.ceil(np.log10(np.abs(values).max() / unit)))
    steps = [unit * 10.0**k for k in range(0, largest + 1, max(1, largest // 3))]
    marks = [*(-step for step in reversed(steps)), 0.0, *steps]
    ticks = tuple((mark, _label(mark)) for mark in marks if 0 <= (np.arcsinh(mark / unit) - start) / span <= 1)
    return Scale(lambda v: (np.arcsinh(v / unit) - start) / span, ticks, "by decades")


def _times(low: float, high: float) -> Scale:
    even = linear(low, high)
    pattern = "%H:%M" if high - low < 2 * DAY_S else "%b %d" if high - low < 300 * DAY_S else "%Y-%m"
    span = high - low or DAY_S
    marks = [low + span * part for part in (0.0, 0.33, 0.67, 1.0)]
    return Scale(even.to_place, tuple((mark, _date(mark, pattern)) for mark in marks))


def _date(seconds: float, pattern: str) -> str:
    # Faults of the epoch's unit lead far outside the years that a timestamp can hold.
    if not -6e10 < seconds < 2.5e11:
        return f"{seconds:.1e} s"
    return (
        str(np.datetime64(int(seconds), "s"))
        if abs(seconds) > 9e9
        else pd.Timestamp(seconds, unit="s").strftime(pattern)
    )


def _label(value: float) -> str:
    size = abs(value)
    if size >= 1e6 or (0 < size < 1e-3):
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return f"{value:,.10g}" if size >= 1e4 else f"{value:.6g}"
