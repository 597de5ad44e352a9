"""Affected rows as an incident shows them: the columns of its cause, and nothing that the reference keeps to itself."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from tallystick.monitor.rows import LiveRows
from tallystick.parity.columns import Role
from tallystick.parity.diagnose import Examination
from tallystick.parity.reference import Reference

#: Example rows of one incident, columns of each, and what is shown of a text.
MAX_EXAMPLES, MAX_COLUMNS, MAX_CHARS = 3, 5, 80
HIDDEN = "(hidden)"


class Example(msgspec.Struct, frozen=True):
    """One affected row: the columns that are affected, as sent and as they should have been; nothing else of it."""

    request_id: str
    request_time: str
    client: str
    sent: dict[str, Any]
    expected: dict[str, Any]


def examples_of(reference: Reference, rows: LiveRows, examined: Examination) -> tuple[Example, ...]:
    """Return the newest affected rows of a claim."""
    where = {int(position): index for index, position in enumerate(examined.judged)}
    names = [name for name in examined.verdict.features if name in rows.frame or name in reference.names]
    found = []
    # The newest ones: whoever looks for them in a log finds these first.
    for position in examined.affected[-MAX_EXAMPLES:][::-1].tolist():
        sent = rows.frame.iloc[position]
        undone = examined.undone_frame.iloc[where[position]] if position in where else None
        found.append(
            Example(
                request_id=str(rows.request_ids.iloc[position]),
                request_time=short_time(str(rows.times.iloc[position])),
                client=str(rows.segments["client"].iloc[position]) if "client" in rows.segments else "",
                sent={name: shown(reference, name, sent.get(name)) for name in names[:MAX_COLUMNS]},
                expected={}
                if undone is None
                else {name: shown(reference, name, undone.get(name)) for name in names[:MAX_COLUMNS]},
            )
        )
    return tuple(found)


def shown(reference: Reference, name: str, value: Any) -> Any:
    """Return a value as an example may show it: nothing of a column that the reference keeps to itself, or of texts."""
    try:
        profile = reference.column(name)
    except KeyError:
        return HIDDEN
    if profile.privacy != "raw" or profile.role is Role.TEXT:
        return HIDDEN
    levels = profile.levels
    if levels is not None and levels.hidden and str(value) not in levels.levels:
        # It may be one of those that too few rows had to be named.
        return HIDDEN
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bool | int):
        return value
    return str(value)[:MAX_CHARS]


def short_time(text: str) -> str:
    """Return a time to the second, as all our times are UTC.

    >>> short_time("2026-01-31 14:02:11.123456+00:00"), short_time("")
    ('2026-01-31 14:02:11Z', '')
    """
    return f"{text[:19]}Z" if len(text) > 19 and text.endswith("+00:00") else text
