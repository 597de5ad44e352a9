"""Values that stand one or more columns off, as after a lost separator or an index that was written with the rows.

Source: the misfit of each live column to each training column, along the order of columns. False positives: columns of
one distribution may stand for each other; most of a run must fit its neighbour's place, and not its own, to be named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tallystick.parity.columns import Role
from tallystick.parity.detect.finding import Finding
from tallystick.parity.profile import ColumnProfile

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

OFFSETS = (1, -1, 2, -2, 3, -3)
#: A run is named when so many of its columns do not fit where they are, and so large a part fits the other place.
FEWEST_COLUMNS = 3
PART_THAT_FITS = 0.75
FEWEST_ROWS = 10

Misfit = Callable[[ColumnProfile, "pd.Series[Any]"], float]


def undo_shift(reference: Reference, frame: pd.DataFrame, misfit: Misfit) -> tuple[pd.DataFrame, list[Finding]]:
    """Return the frame with a shift of columns undone, and the finding. `misfit` is below 1 for a column in place."""
    names = [name for name in reference.names if name in frame.columns]
    if len(names) < FEWEST_COLUMNS or len(frame) < FEWEST_ROWS:
        return frame, []
    own = {name: misfit(reference.column(name), frame[name]) for name in names}
    bad = [name for name in names if own[name] > 1.0]
    if len(bad) < FEWEST_COLUMNS:
        return frame, []
    best: tuple[float, list[str], int] | None = None
    seen: dict[tuple[str, str], float] = {}

    def at(name: str, other: str) -> float:
        if (name, other) not in seen:
            seen[name, other] = misfit(reference.column(name), frame[other])
        return seen[name, other]

    for run in _runs(reference, names, bad):
        for offset in OFFSETS:
            if abs(offset) >= len(run):
                continue
            moved = _moved(run, offset, at)
            if moved is None:
                continue
            before = np.minimum([own[name] for name in run], 9.0)
            after = np.minimum(moved, 9.0)
            gain = float(np.sum(before - after))
            if (
                np.mean(after < 1.0) >= PART_THAT_FITS
                and np.mean(before > 1.0) >= 0.5
                and gain > 0
                and (best is None or gain > best[0])
            ):
                best = gain, run, offset
    if best is None:
        return frame, []
    return _undone(frame, *best)


def _moved(run: list[str], offset: int, at: Callable[[str, str], float]) -> list[float] | None:
    """Return the misfit of each column's new values; None as soon as too many do not fit."""
    found: list[float] = []
    allowed = (1 - PART_THAT_FITS) * len(run)
    for k, name in enumerate(run):
        found.append(at(name, run[(k + offset) % len(run)]))
        allowed -= found[-1] >= 1.0
        if allowed < 0:
            return None
    return found


def _runs(reference: Reference, names: list[str], bad: list[str]) -> list[list[str]]:
    """Return the runs of columns that may have moved: from first misfit to last, of all columns or of numbers."""
    numbers = [name for name in names if reference.column(name).role is Role.NUMBER]
    many = [
        name for name in numbers if (profile := reference.column(name).numbers) is not None and profile.distinct > 10
    ]
    runs = []
    for order in (names, numbers, many, bad):
        inside = [k for k, name in enumerate(order) if name in bad]
        if len(inside) >= FEWEST_COLUMNS:
            runs.append(order[inside[0] : inside[-1] + 1])
            runs.append(order)
    return runs


def _undone(frame: pd.DataFrame, gain: float, run: list[str], offset: int) -> tuple[pd.DataFrame, list[Finding]]:
    source = {name: run[(k + offset) % len(run)] for k, name in enumerate(run)}
    fixed = frame.assign(**{name: frame[other] for name, other in source.items()})
    rows = np.ones(len(frame), dtype=bool)
    evidence = (f"{len(run)} columns fit the place {-offset:+d} columns away and not their own",)

    def put(columns: Mapping[str, Any]) -> dict[str, Any]:
        return {other: columns[name] for name, other in source.items()}

    finding = Finding(
        "column_shift",
        tuple(run),
        {"offset": -offset, "holds": {other: name for name, other in source.items()}},
        1.0,
        min(gain * 10, 500.0),
        True,
        evidence,
        rows,
        {},
        put,
        gain=1e6,
    )
    return fixed, [finding]
