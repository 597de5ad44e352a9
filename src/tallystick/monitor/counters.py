"""The live profile of some rows: counts over the reference's own cells, violations of its contract, and fit.

A profile is a value that is merged by adding, in any order: that of an hour is the sum of its minutes, and that of all
gateways the sum of theirs. It holds no values of rows, only how many fell where.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tallystick.parity.columns import Mask, Role, is_null_word, read_numbers
from tallystick.parity.joint import Values
from tallystick.parity.live import Live
from tallystick.parity.profile import ColumnProfile, Ints, cells_of
from tallystick.parity.reference import Reference, parse_column

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Rows that dependence between columns is counted in, of one batch: it costs the most of all.
FIT_ROWS = 500
#: Bets of the test on fit: shares of the wealth that are put on each row (Waudby-Smith & Ramdas 2024, fixed bets).
BETS = np.array([0.1, 0.3, 0.7])
#: Standard deviations beyond which a row's fit counts as that far, and that the mean may be below training's.
FIT_CLIP, FIT_MARGIN = 4.0, 0.15
#: Below this agreement in training, the other columns say nothing of a column.
FIT_LEAST = 0.02


class Violation(IntEnum):
    """How a value breaks the contract of training: places in `Counters.contract`."""

    NULL = 0
    UNSEEN = 1
    OUT_OF_RANGE = 2
    NULL_TOKEN = 3
    TYPE = 4
    MISSING = 5
    COERCED = 6


class Counters(msgspec.Struct, frozen=True):
    """Counts of rows. Frozen, but for what is in its arrays, which nobody changes.

    `cells` is columns x cells, one more than the reference has (values of no cell); `contract` columns x violations;
    `fit` columns x bets, the logarithm of what each bet against fit has won.
    """

    rows: int
    cells: Counts
    contract: Counts
    fit: Floats
    #: Requests, and those of them that were refused for their input: these have no rows here.
    requests: int = 0
    refused: int = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(
            self.rows + other.rows,
            self.cells + other.cells,
            self.contract + other.contract,
            self.fit + other.fit,
            self.requests + other.requests,
            self.refused + other.refused,
        )


@dataclass(frozen=True)
class Observed:
    """Rows as far as they are counted: rows x columns of cells, rows x columns x violations, rows x columns of bets."""

    cells: Ints
    contract: NDArray[np.bool_]
    #: The gain of a bet on each row, between -1 and 1; 0 where nothing was bet.
    gains: Floats
    width: int
    #: Which rows are the first of a request that is counted; none are where requests are not.
    begins: Mask | None = None
    #: The values of each column as they were read, for sketches; nothing else keeps them.
    values: tuple[Values, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.cells)

    @cached_property
    def places(self) -> Ints:
        """Place of each value's cell among those of all columns, which have `width` each: rows x columns."""
        return np.asarray(self.cells + np.arange(self.cells.shape[1]) * self.width)

    @cached_property
    def broken(self) -> tuple[Ints, Ints]:
        """What breaks the contract: its row, and its place among columns x violations. Few values do."""
        rows, columns, kinds = np.nonzero(self.contract)
        return rows, columns * len(Violation) + kinds

    @cached_property
    def won(self) -> tuple[Ints, Floats]:
        """The rows that were bet on, and what each bet won: rows x columns x bets, logarithms."""
        rows = np.flatnonzero(self.gains.any(axis=1))
        return rows, np.log1p(self.gains[rows][:, :, None] * BETS)


def nothing(reference: Reference, refused: int = 0) -> Counters:
    """Return the counters of no rows, and of as many refused requests."""
    columns = len(reference.columns)
    return Counters(
        0,
        np.zeros((columns, width_of(reference)), np.int64),
        np.zeros((columns, len(Violation)), np.int64),
        np.zeros((columns, len(BETS))),
        refused,
        refused,
    )


def width_of(reference: Reference) -> int:
    """Return how many cells a column has room for."""
    return max((column.cell_count for column in reference.columns), default=0) + 1


def observe(reference: Reference, frame: pd.DataFrame) -> Observed:
    """Return what is counted of rows, as they were sent. O(rows x columns)."""
    rows, columns = len(frame), len(reference.columns)
    cells = np.zeros((rows, columns), np.int64)
    contract = np.zeros((rows, columns, len(Violation)), dtype=bool)
    values = []
    absent = set()
    for j, profile in enumerate(reference.columns):
        if profile.name not in frame:
            contract[:, j, Violation.MISSING] = True
            cells[:, j] = profile.cell_count
            absent.add(j)
            values.append(_no_values(profile, rows))
            continue
        series = frame[profile.name].reset_index(drop=True)
        parsed = parse_column(profile, _as_trained(profile, series))
        values.append(parsed)
        cells[:, j] = cells_of(profile, parsed)
        _note_violations(profile, series, parsed, cells[:, j], contract[:, j])
    live = Live(reference, tuple(values), frozenset(absent))
    return Observed(cells, contract, _gains(live), width_of(reference), values=live.values)


def tally(observed: Observed, picked: Mask | None = None) -> Counters:
    """Return the counters of the rows, or of those picked."""
    columns, kinds = observed.cells.shape[1], len(Violation)
    places, (broken, what), (bet, won) = observed.places, observed.broken, observed.won
    begins = observed.begins
    if picked is not None:
        places, what, won = places[picked], what[picked[broken]], won[picked[bet]]
        begins = None if begins is None else begins[picked]
    counted = np.bincount(places.ravel(), minlength=columns * observed.width).reshape(columns, observed.width)
    contract = np.bincount(what, minlength=columns * kinds).reshape(columns, kinds)
    requests = 0 if begins is None else int(begins.sum())
    return Counters(len(places), counted, contract, won.sum(axis=0), requests)


def _as_trained(profile: ColumnProfile, series: pd.Series[Any]) -> pd.Series[Any]:
    """Return truth values that the signature has as doubles, as those with nulls are, as truth values again."""
    if profile.levels is None or not profile.levels.is_boolean or not pd.api.types.is_numeric_dtype(series.dtype):
        return series
    known = series.map({1: True, 0: False})
    return known.astype(object).where(known.notna(), series)


def _no_values(profile: ColumnProfile, rows: int) -> Any:
    return np.full(rows, np.nan) if profile.numbers is not None else np.full(rows, None, dtype=object)


def is_open(profile: ColumnProfile) -> bool:
    """Whether the reference says which values training had; privacy may keep that to itself."""
    return profile.privacy == "raw" and not (profile.levels is not None and profile.levels.hidden)


def _note_violations(
    profile: ColumnProfile, series: pd.Series[Any], values: Any, cells: Ints, contract: NDArray[np.bool_]
) -> None:
    if profile.role is Role.NUMBER:
        read = read_numbers(series)
        contract[:, Violation.NULL_TOKEN] = read.token
        contract[:, Violation.TYPE] = read.as_text | read.comma | read.boolean | read.junk
        contract[:, Violation.NULL] = ~np.isfinite(read.values) & ~read.token & ~read.junk
        numbers = profile.numbers
        if numbers is not None and is_open(profile):
            with np.errstate(invalid="ignore"):
                outside = (read.values < numbers.minimum) | (read.values > numbers.maximum)
            contract[:, Violation.OUT_OF_RANGE] = outside
        return
    if profile.numbers is not None:
        known = np.isfinite(np.asarray(values, dtype=np.float64))
        is_given = series.notna().to_numpy()
        contract[:, Violation.NULL] = ~is_given
        contract[:, Violation.TYPE] = is_given & ~known
        return
    is_null = np.array([value is None for value in values], dtype=bool)
    contract[:, Violation.NULL] = is_null
    if profile.role is not Role.LEVEL or profile.levels is None or not is_open(profile):
        return
    unseen = ~is_null & (cells == profile.cell_count)
    tokens = np.zeros(len(unseen), dtype=bool)
    tokens[unseen] = [is_null_word(value) for value in np.asarray(values, dtype=object)[unseen]]
    contract[:, Violation.NULL_TOKEN] = unseen & tokens
    contract[:, Violation.UNSEEN] = unseen & ~tokens


def _gains(live: Live) -> Floats:
    """Return what a bet against each value's fit with the other columns wins: positive where it fits badly."""
    reference = live.reference
    gains = np.zeros((live.rows, len(reference.columns)))
    few = np.arange(min(live.rows, FIT_ROWS))
    if live.rows > FIT_ROWS:
        few = np.linspace(0, live.rows - 1, FIT_ROWS).astype(int)
    part = live.taken(few)
    for j, profile in enumerate(reference.columns):
        mean, sd = reference.joint.coherence[j]
        if j in live.absent or sd <= 0 or mean <= FIT_LEAST:
            continue
        cells = part.cells(j)
        inside = cells < profile.cell_count
        given = part.table(j)[np.arange(part.rows), np.minimum(cells, profile.cell_count)]
        margin = FIT_MARGIN + 3 / np.sqrt(max(20, reference.joint.rows))
        found = np.clip(((mean - margin * sd) - given) / (FIT_CLIP * sd), -1.0, 1.0)
        gains[few, j] = np.where(inside, found, 0.0)
    return gains
