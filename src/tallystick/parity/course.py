"""How training's columns move along its rows: a table that was written as it happened is no bag of rows.

Rows are cut into blocks, in the order in which they were given, or by a column of times where that order says nothing.
What differs between blocks by far more than chance has a course; names that first come in later blocks arrive. A few
numbers for each column; rows and their order are not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from scipy.stats import f as f_distribution
from scipy.stats import rankdata

from tallystick.parity.columns import Floats, Mask, Role
from tallystick.parity.joint import Values
from tallystick.parity.profile import ColumnProfile, Ints, cells_of

#: Blocks that rows are cut into, and rows that one needs.
BLOCKS, FEWEST_IN_BLOCK = 20, 15
#: Chance of as much difference between blocks of shuffled rows, for one column, below which they are in an order.
SHUFFLED_P = 1e-6
#: Part of a column's variance between names from which it follows from them.
FOLLOWS = 0.9
#: Rows from which a name is counted among those that came late, in turn, and nats that there are more than by chance.
LEAST_NAMED, ARRIVAL_NATS = (4, 8, 16, 32), 14.0


class Course(msgspec.Struct, frozen=True):
    """One column along training's rows.

    `part` of its variance is between blocks (0: no more than chance gives), `trend` is its rank correlation with the
    order, and `arrived` the largest share that a block had of names that blocks before it, or after it, had not.
    `follows`: it follows from names that come and go, as a player's country does, and changes with them.
    """

    part: float = 0.0
    trend: float = 0.0
    arrived: float = 0.0
    follows: bool = False


def courses(profiles: Sequence[ColumnProfile], values: Sequence[Values]) -> dict[str, Course]:
    """Return the course of each column that has one; empty where rows are few or in no order."""
    rows = len(values[0]) if len(values) else 0
    if rows < BLOCKS * FEWEST_IN_BLOCK:
        return {}
    cells = [cells_of(profile, column) for profile, column in zip(profiles, values, strict=True)]
    times = [column for profile, column in zip(profiles, values, strict=True) if profile.role is Role.TIME]
    orders = [np.arange(rows), *(np.argsort(np.asarray(column, dtype=np.float64), kind="stable") for column in times)]
    for order in orders:
        found = {
            profile.name: course
            for profile, column, cell in zip(profiles, values, cells, strict=True)
            if (course := _course(profile, column[order], cell[order])) != Course()
        }
        if found:
            return found | _followers(profiles, values, cells, found)
    return {}


def _followers(
    profiles: Sequence[ColumnProfile], values: Sequence[Values], cells: Sequence[Ints], found: dict[str, Course]
) -> dict[str, Course]:
    """Return the courses of columns that follow from the names of another one that come and go."""
    followers = {}
    for owner, names in zip(profiles, values, strict=True):
        if found.get(owner.name, Course()).arrived <= 0:
            continue
        codes = pd.factorize(np.asarray(names, dtype=object))[0]
        codes = np.where(codes >= 0, codes, codes.max() + 1)
        for profile, cell in zip(profiles, cells, strict=True):
            told = profile is not owner and profile.role is not Role.TEXT
            if told and _part_between(cell, codes) >= FOLLOWS:
                followers[profile.name] = msgspec.structs.replace(found.get(profile.name, Course()), follows=True)
    return followers


def _course(profile: ColumnProfile, values: Any, cells: Ints) -> Course:
    if profile.role is Role.TEXT:
        return Course()
    block = np.arange(len(values)) * BLOCKS // len(values)
    if profile.numbers is not None:
        numbers = np.asarray(values, dtype=np.float64)
        known = np.isfinite(numbers)
        if known.sum() < BLOCKS * FEWEST_IN_BLOCK:
            return Course()
        ranks = rankdata(numbers[known])
        trend = float(np.corrcoef(ranks, np.flatnonzero(known))[0, 1]) if np.ptp(ranks) > 0 else 0.0
        part = _part_of_ranks(ranks, block[known])
        return Course(part, trend) if part > 0 else Course()
    return Course(_part_between(cells, block), arrived=_arrived(values, block))


def _part_between(cells: Ints, block: Ints) -> float:
    """Return the part of the variance of cells (one variable each) that is between blocks; 0 where chance gives it."""
    rows, size, blocks = len(cells), int(cells.max()) + 1, int(block.max()) + 1
    table = np.bincount(block * size + cells, minlength=blocks * size).reshape(blocks, size).astype(np.float64)
    usual = float((table.sum(axis=0) ** 2).sum() / rows)
    between = float(((table**2).sum(axis=1) / np.maximum(table.sum(axis=1), 1)).sum()) - usual
    return _adjusted(between, rows - usual, rows, blocks)


def _part_of_ranks(ranks: Floats, block: Ints) -> float:
    """Return the same of ranks."""
    off, blocks = ranks - ranks.mean(), int(block.max()) + 1
    sums = np.bincount(block, weights=off, minlength=blocks)
    between = float((sums**2 / np.maximum(np.bincount(block, minlength=blocks), 1)).sum())
    return _adjusted(between, float((off**2).sum()), len(ranks), blocks)


def _adjusted(between: float, total: float, rows: int, blocks: int) -> float:
    """Return the adjusted R² (Ezekiel 1930); 0 where the F-test finds no more than chance."""
    if total <= 0 or blocks < 2 or rows <= 2 * blocks:
        return 0.0
    within = max(total - between, 1e-12 * total) / (rows - blocks)
    if f_distribution.sf(between / (blocks - 1) / within, blocks - 1, rows - blocks) > SHUFFLED_P:
        return 0.0
    return max(0.0, 1 - within * (rows - 1) / total)


def _arrived(values: Any, block: Ints) -> float:
    """Return the largest share of one block's rows with names that are in none of the blocks before, or of one half.

    Rows are read both ways: that names go says as much as that they come. 0 where shuffled rows give such names.
    """
    codes = pd.factorize(values)[0]
    given, names = codes >= 0, int(codes.max(initial=-1)) + 1
    return max(_come(codes, block, given, names), _come(codes, BLOCKS - 1 - block, given, names)) if names else 0.0


def _come(codes: Ints, block: Ints, given: Mask, names: int) -> float:
    """Return the share for one way: of c rows of a name, none is in the first half by a chance of 2^-c."""
    half = BLOCKS // 2
    first = np.full(names, BLOCKS)
    np.minimum.at(first, codes[given], block[given])
    counts = np.bincount(codes[given], minlength=names)
    nats = [_late_nats(counts[counts >= least], first[counts >= least] >= half) for least in LEAST_NAMED]
    if max(nats) < ARRIVAL_NATS:
        return 0.0
    since = np.where(given, first[codes], -1)
    shares = [float(np.mean(since[block == k] == k)) for k in range(half, BLOCKS)]
    return max(*shares, float(np.mean(since[block == BLOCKS - 1] >= half)))


def _late_nats(counts: Ints, is_late: Mask) -> float:
    """Return how much more names than by chance have no rows in the first half, in nats (Poisson)."""
    late, expected = int(is_late.sum()), float(np.sum(0.5**counts))
    return late * float(np.log(late / expected)) - late + expected if late > expected > 0 else 0.0
