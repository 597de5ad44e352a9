"""Whom live rows are about: a field of the input, or of the usage context, that a user named as the key.

Keys are identifiers. They go to the diagnosis beside the rows and nowhere else: not into segments, nor into examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pandas as pd

from tallystick.monitor.rows import NOBODY, USAGE, LiveRows, Senders
from tallystick.monitor.sent import Sent
from tallystick.parity.history import History

_Rows = TypeVar("_Rows", LiveRows, Senders)


def with_keys(
    sent: Sent, names: Sequence[str], trained: Sequence[str], history: History | None = None
) -> tuple[Sent, tuple[str, ...]]:
    """Return rows with their keys beside them, and what to say where they have none.

    `names` are columns that were sent, or `usage_context.<name>`. A column that is not one of the `trained` is taken
    out of the rows: it is there to say whose they are.
    """
    rows = sent.rows
    if not names or not len(rows):
        return sent, ()
    missing = [name for name in names if name not in rows.frame and name not in rows.segments]
    extra = {name for name in names if name not in trained}
    frame = rows.frame.drop(columns=[name for name in rows.frame if name in extra])
    kept = replace(rows, frame=frame, segments=without_keys(rows, names).segments)
    made = replace(sent, rows=kept, extra={name: mask for name, mask in sent.extra.items() if name not in extra})
    if missing:
        told = ", ".join(repr(name) for name in missing)
        return made, (f"rows were not told apart by key: none of them carries {told} as it was sent",)
    keys = {name: rows.segments[name] if name not in rows.frame else rows.frame[name] for name in names}
    whole = pd.DataFrame({place: column.to_numpy() for place, column in enumerate(keys.values())})
    for place, name in enumerate(names):
        if name.startswith(USAGE):
            whole[place] = whole[place].where(whole[place] != NOBODY, None)
    none = int(np.asarray(whole.isna().any(axis=1)).sum())
    notes = (f"{none:,} of {len(rows):,} rows have no key: {_how(names)}",) if none else ()
    return replace(made, rows=replace(kept, keys=whole, history=history)), notes


def _how(names: Sequence[str]) -> str:
    """Return how clients send the keys."""
    ways = [f"{name.removeprefix(USAGE)!r} in usage_context" for name in names if name.startswith(USAGE)]
    columns = [repr(name) for name in names if not name.startswith(USAGE)]
    ways += [f"the column{'s' if len(columns) > 1 else ''} {', '.join(columns)}"] if columns else []
    return f"send {' and '.join(ways)} with each request"


def without_keys(rows: _Rows, names: Sequence[str]) -> _Rows:
    """Return rows whose segments do not tell keys."""
    hidden = [name for name in names if name in rows.segments.columns]
    return replace(rows, segments=rows.segments.drop(columns=hidden)) if hidden else rows
