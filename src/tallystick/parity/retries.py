"""Which live rows are judged: the newest ones, each once, since a request that was retried is one observation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tallystick.parity.columns import Mask
from tallystick.parity.profile import Ints

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

#: More rows than this tell nothing new, and cost time.
MOST_ROWS = 5000

#: Part of training's rows that may repeat others for every repeated live row to be a retry, and the part of live rows,
#: beyond twice training's, that are retries where training's do repeat.
RARE_REPEATS, MANY_REPEATS = 0.01, 0.1

#: No column has this name.
_KEY = "\x1fkey"


def kept_rows(reference: Reference, frame: pd.DataFrame, keys: Any = None) -> Ints:
    """Return the rows to judge: the last ones, once each where they repeat far more than training's do.

    A request that was retried is one observation; of two keys, they are two.
    """
    rows = np.arange(len(frame))[-MOST_ROWS:]
    if frame.shape[1] < 3 or not len(reference.rows):
        return rows
    repeated = _repeated(
        frame.iloc[rows] if keys is None else frame.iloc[rows].assign(**{_KEY: keys[rows].astype(str)})
    )
    # What says nothing was not asked for twice: it is what a client sends that finds no values.
    repeated &= ~frame.iloc[rows].isna().to_numpy().all(axis=1)
    if not repeated.any():
        return rows
    # Of twice as many rows twice as large a part is there already: as many of training's are asked.
    trained = reference.rows.iloc[
        np.linspace(0, len(reference.rows) - 1, min(len(rows), len(reference.rows))).astype(int)
    ]
    usual = float(_repeated(trained).mean()) * max(1.0, len(rows) / len(reference.rows))
    if usual > RARE_REPEATS and repeated.mean() <= MANY_REPEATS + 2 * usual:
        return rows
    return np.asarray(rows[~repeated])


def _repeated(frame: pd.DataFrame) -> Mask:
    """Return which rows are written as one before them is."""
    # To write numbers as text takes long: at first, rows that have other numbers are left out.
    alike, group = np.arange(len(frame)), np.zeros(len(frame), dtype=np.int64)
    for place in range(frame.shape[1]):
        series = frame.iloc[:, place]
        if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iuf" and len(alike):
            codes, distinct = pd.factorize(series.to_numpy()[alike])
            group = pd.factorize(group * (len(distinct) + 1) + codes)[0]
            is_shared = np.bincount(group)[group] > 1
            alike, group = alike[is_shared], group[is_shared]
    found = np.zeros(len(frame), dtype=bool)
    found[alike] = frame.iloc[alike].astype(str).duplicated().to_numpy()
    return found
