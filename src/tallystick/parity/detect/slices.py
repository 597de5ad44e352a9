"""The two halves of a column, rows that hold one value (or none) and the rest: what each of them looks like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.live import Live
from tallystick.parity.profile import ColumnProfile

#: Golden rows with a value that say what training's rows with it look like.
FEWEST_HELD = 10


def slice_nats(live: Live, column: int, rows: Mask, cell: int, excess: float) -> float:
    """Return how much better the rows look like any rows than like training's rows of that cell, in nats.

    `excess` is the part of them that would be filled. Bounded per row; negative where the population explains it.
    """
    gap = _gap(live, column, rows, cell, excess)
    if not len(gap):
        return 0.0
    mean, variance = float(gap.mean()), _variance_of_mean(gap)
    # Other columns that agree too well with each other overstate each row: those that held it in training as well.
    control = live.golden()
    held = np.zeros(0) if control is None else _gap(control, column, control.cells(column) == cell, cell, excess)
    if len(held) >= FEWEST_HELD and held.mean() > 0:
        mean, variance = mean - float(held.mean()), variance + _variance_of_mean(held)
    # So does the spread of the rows keep it in bounds.
    z = mean / max(np.sqrt(variance), 1e-3)
    return float(np.sign(z) * min(z * z / 2, len(gap) * abs(mean), 50.0))


def _gap(live: Live, column: int, rows: Mask, cell: int, excess: float) -> Floats:
    """Return the nats by which each of the rows looks rather like any row."""
    table = live.table(column)
    if cell >= table.shape[1] - 1:
        return np.zeros(0)
    apart = table[rows, cell]
    # A mixture: some of the rows hold the value rightly. Against: all of them do.
    return np.asarray(np.log(excess + (1 - excess) * np.exp(apart)) - apart)


def _variance_of_mean(values: Floats) -> float:
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0


def rest_is_as_trained(live: Live, column: int, holds: Mask) -> bool:
    """Whether the other values have the distribution that training had without this value."""
    profile = live.reference.columns[column]
    rest = live.known(column) & ~holds
    count = int(rest.sum())
    if count < 10:
        return True
    cells = live.cells(column)
    held = np.unique(cells[holds])
    shares = profile.cell_shares.copy()
    observed = np.bincount(cells[rest], minlength=len(shares) + 1)[: len(shares)].astype(np.float64)
    if profile.null_share > 0:
        shares[-1] = 0.0
        observed[-1] = 0.0
    # The value's own cell is left out on both sides: in a continuous column it keeps its other values.
    shares[held[held < len(shares)]] = 0.0
    observed[held[held < len(shares)]] = 0.0
    if np.mean(cells[rest] >= len(shares)) > 0.1:
        return False
    if shares.sum() <= 0 or observed.sum() < 10:
        return True
    expected = shares / shares.sum() * observed.sum()
    kept = expected > 1
    statistic = float(np.sum((observed[kept] - expected[kept]) ** 2 / expected[kept]))
    # Training is a sample too.
    statistic *= profile.rows / (profile.rows + observed.sum())
    freedom = max(1, int(kept.sum()) - 1)
    return bool(statistic < freedom + 3.5 * np.sqrt(2 * freedom) + 3)


def filled(profile: ColumnProfile, value: Any, share: float) -> Any:
    """Return what puts one value (None: nothing) into a share of the rows."""

    def put(columns: Mapping[str, Any]) -> dict[str, Any]:
        given = np.array(columns[profile.name], dtype=object if profile.numbers is None else np.float64)
        picked = np.random.default_rng(0).random(len(given)) < share
        given[picked] = (np.nan if profile.numbers is not None else None) if value is None else value
        return {profile.name: given}

    return put
