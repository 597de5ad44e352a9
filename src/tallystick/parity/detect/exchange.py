"""A column of numbers and one of levels that carry each other's values, told by the form of each value alone.

Source: a text that is no number and is a level of another column, whose own value is a number and no level of it.
False positives: none by distribution; a row counts only where both values stand in the wrong place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tallystick.parity.columns import Mask, Role, read_numbers, read_texts, with_columns
from tallystick.parity.detect.finding import Finding
from tallystick.parity.profile import ColumnProfile

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: Rows that show it, and part of the misplaced values that must be the other column's.
FEWEST_ROWS, NEARLY_ALL = 3, 0.9
#: Nats of one row.
ROW_NATS = 12.0


def undo_exchange(reference: Reference, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[Finding]]:
    """Return the frame with numbers and levels back in their places, and the findings."""
    here = [profile for profile in reference.columns if profile.name in frame.columns and profile.privacy == "raw"]
    found: list[Finding] = []
    taken: set[str] = set()
    strays = {profile.name: _strays(frame[profile.name]) for profile in here if profile.role is Role.NUMBER}
    for number in [profile for profile in here if strays.get(profile.name, np.zeros(0, dtype=bool)).any()]:
        pairs = [
            (_both(number, other, frame, strays[number.name]), other)
            for other in here
            if other.role is Role.LEVEL and other.name not in taken
        ]
        rows, other = max(pairs, key=lambda pair: int(pair[0].sum()), default=(np.zeros(0, dtype=bool), number))
        if rows.sum() < max(FEWEST_ROWS, NEARLY_ALL * strays[number.name].sum()):
            continue
        taken.add(other.name)
        frame = _exchanged(frame, number.name, other.name, rows)
        found.append(_finding(reference, number.name, other.name, rows))
    return frame, found


def _strays(series: pd.Series[Any]) -> Mask:
    """Return the rows whose value is a text that no number is written as."""
    if pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_datetime64_any_dtype(series.dtype):
        return np.zeros(len(series), dtype=bool)
    read = read_numbers(series)
    return np.asarray(
        (read.junk | read.boolean) & series.map(lambda value: isinstance(value, str)).to_numpy(dtype=bool)
    )


def _both(number: ColumnProfile, other: ColumnProfile, frame: pd.DataFrame, strays: Mask) -> Mask:
    """Return the rows in which each of two columns has what the other should have; empty values may stand for either.

    A word for a truth value is a number's place too, so a level that reads as a number tells nothing.
    """
    assert other.levels is not None
    levels = set(other.levels.levels)
    texts = read_texts(frame[other.name])
    held = read_texts(frame[number.name])
    is_level = np.array([text is not None and text in levels for text in held], dtype=bool)
    is_unknown = np.array([text is None or text not in levels for text in texts], dtype=bool)
    read = read_numbers(frame[other.name])
    is_number = np.isfinite(read.values) & ~read.boolean
    gone = np.array([text is None for text in texts], dtype=bool) & (number.null_share > 0)
    return np.asarray(strays & is_level & is_unknown & (is_number | gone))


def _exchanged(frame: pd.DataFrame, one: str, other: str, rows: Mask) -> pd.DataFrame:
    """Return the frame with two columns' values exchanged, also of rows in which one of both is empty if all are."""
    left, right = frame[one].astype(object), frame[other].astype(object)
    whole = rows | (frame[one].isna() | frame[other].isna()).to_numpy() if _is_whole(frame, one, other, rows) else rows
    fixed = {one: right.where(whole, left), other: left.where(whole, right)}
    return with_columns(frame, {name: series.infer_objects() for name, series in fixed.items()})


def _is_whole(frame: pd.DataFrame, one: str, other: str, rows: Mask) -> bool:
    known = (frame[one].notna() & frame[other].notna()).to_numpy()
    return bool(rows[known].all())


def _finding(reference: Reference, one: str, other: str, rows: Mask) -> Finding:
    names = tuple(name for name in reference.names if name in (one, other))
    count = int(rows.sum())
    text = f"{count} of {len(rows)} rows have levels of {other} in {one}, and numbers in {other}"

    def put(given: Mapping[str, Any]) -> dict[str, Any]:
        return {one: given[other], other: given[one]}

    return Finding(
        "columns_swapped",
        names,
        {"columns": list(names)},
        float(rows.mean()),
        ROW_NATS * count,
        True,
        (text,),
        rows,
        {},
        put,
        gain=1e6,
    )
