"""What one column looked like in training: quantiles, atoms, decimals, levels and their order, nulls.

A profile holds no rows. Its cells cut a column into few groups (quantile bins, frequent values, levels, null), which
is what the dependence between columns is counted in.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tallystick.parity.columns import Floats, Role, Texts, guess_role, hour_of, read_numbers, read_texts, read_times

Ints = NDArray[np.int64]

#: Points of the quantile grid: the error of a rank is at most half a step, 0.2 %.
GRID_POINTS = 257
#: Steps of the grid joined into one bin of the density: 64 bins of equal mass.
BIN_STEP = 4
#: Columns with at most so many distinct values keep them all: they are a lattice.
LATTICE_SIZE = 256
#: Up to here each distinct value is a cell of its own (hours and months are); above, quantile bins are.
DISCRETE_CELLS = 32
QUANTILE_CELLS = 14
#: A value with this share of a continuous column is an atom with a cell of its own.
ATOM_SHARE = 0.03
#: Rows that a value must be in to be a heap, also as a multiple of what others are in, and how many heaps are kept.
HEAP_ROWS, HEAP_TIMES, MOST_HEAPS = 10, 1.5, 256
MAX_LEVELS = 1000
LEVEL_CELLS = 30
MOST_DECIMALS = 9
#: Ranges that are kept of a coarse column, and digits of their bounds.
BUCKETS, BUCKET_DIGITS = 16, 2


class Steps(NamedTuple):
    """The distinct points of a grid, ascending, and the ranks of the first and the last of equal ones."""

    points: Floats
    first: Floats
    last: Floats


class NumberProfile(msgspec.Struct, frozen=True, dict=True):
    """Distribution of numbers. `grid` are GRID_POINTS quantiles; `lattice` and `counts` all values, when few.

    What follows from these fields is worked out once (`dict=True` is for that): a profile is asked thousands of times.
    """

    grid: Floats
    lattice: Floats
    counts: Floats
    atoms: Floats
    atom_shares: Floats
    rows: int
    distinct: int
    mean: float
    sd: float
    decimals: int
    float32_share: float
    #: Of a column that is kept in buckets: what values are rounded to before anything of them is counted, see `seen`.
    origin: float = 0.0
    unit: float = 0.0
    #: Values of a continuous column that came far more often than its others do, ascending, and their shares.
    heaps: Floats = msgspec.field(default_factory=lambda: np.zeros(0))
    heap_shares: Floats = msgspec.field(default_factory=lambda: np.zeros(0))

    @property
    def is_coarse(self) -> bool:
        """Whether the profile is one of rounded values, and keeps BUCKETS ranges of them."""
        return self.unit > 0

    def seen(self, values: Floats) -> Floats:
        """Return values as the profile knows them: of a coarse one, their distance to `origin` in few digits.

        No finer than `unit`. What is compared with a coarse profile has to be as coarse, or it is never like training.
        """
        if not self.is_coarse:
            return values
        far = np.asarray(values, dtype=np.float64) - self.origin
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.maximum(self.unit, 10.0 ** (np.floor(np.log10(np.abs(far))) - BUCKET_DIGITS + 1))
            return np.asarray(np.where(np.isfinite(far), self.origin + np.round(far / step) * step, values))

    @property
    def minimum(self) -> float:
        """Smallest value of training."""
        return float(self.grid[0])

    @property
    def maximum(self) -> float:
        """Largest value of training."""
        return float(self.grid[-1])

    @property
    def median(self) -> float:
        """Middle of training."""
        return float(self.grid[len(self.grid) // 2])

    @property
    def iqr(self) -> float:
        """Distance of the quartiles; the standard deviation where they are equal."""
        quarter = len(self.grid) // 4
        return float(self.grid[3 * quarter] - self.grid[quarter]) or self.sd

    def heap_share_of(self, values: Floats) -> Floats:
        """Return the share in training of each value that is a heap; 0 of others."""
        if not len(self.heaps):
            return np.zeros(np.shape(values))
        right = np.minimum(np.searchsorted(self.heaps, values), len(self.heaps) - 1)
        left = np.maximum(right - 1, 0)
        with np.errstate(invalid="ignore"):
            place = np.where(values - self.heaps[left] < self.heaps[right] - values, left, right)
            is_heap = np.isclose(self.heaps[place], values, rtol=1e-9, atol=0)
        return np.asarray(np.where(is_heap, self.heap_shares[place], 0.0))

    @property
    def is_lattice(self) -> bool:
        """Whether all values of training are known and few enough that live ones must be among them."""
        return len(self.lattice) > 0

    @cached_property
    def gap(self) -> float:
        """Usual distance between neighbours of the lattice; 1 where it has no two points."""
        return float(np.median(np.diff(self.lattice))) if len(self.lattice) > 1 else 1.0

    @cached_property
    def totals(self) -> Floats:
        """Share of training below each point of the lattice, and 1."""
        return np.asarray(np.concatenate(([0.0], np.cumsum(self.counts))) / self.counts.sum())

    @cached_property
    def singles(self) -> int:
        """How many points of the lattice came once."""
        return int(np.sum(self.counts == 1))

    @cached_property
    def log_shares(self) -> Floats:
        """Share of training at each point of the lattice, as a logarithm."""
        return np.asarray(np.log(self.counts / self.counts.sum()))

    @cached_property
    def steps(self) -> Steps:
        """The grid as steps of ranks."""
        grid = self.grid
        is_new = grid[1:] != grid[:-1]
        is_last, is_first = np.concatenate((is_new, [True])), np.concatenate(([True], is_new))
        first, last = np.flatnonzero(is_first) / (len(grid) - 1), np.flatnonzero(is_last) / (len(grid) - 1)
        return Steps(grid[is_last], first, last)

    @cached_property
    def bins(self) -> tuple[Floats, Floats]:
        """Edges of bins of about equal mass, and the log density in each."""
        edges = np.unique(self.grid[::BIN_STEP])
        if len(edges) < 2:
            # Times of one second, or rounded for privacy: a float so large has no neighbour within a billionth.
            room = max(1e-9, float(np.spacing(abs(self.minimum))))
            edges = np.array([self.minimum - room, self.minimum + room])
        ranks = np.searchsorted(self.grid, edges, side="right") / len(self.grid)
        mass = np.maximum(np.diff(ranks), 0.25 / len(self.grid))
        return edges, np.log(mass / mass.sum() / np.diff(edges))


class LevelProfile(msgspec.Struct, frozen=True, dict=True):
    """Levels by falling count. `hidden` are keyed digests of levels that privacy does not allow to name."""

    levels: tuple[str, ...]
    counts: Floats
    order: tuple[str, ...]
    hidden: tuple[str, ...]
    rows: int
    #: Good-Turing estimate of the share of unseen levels: levels seen once / rows (Good 1953).
    unseen_rate: float
    mean_length: float
    is_boolean: bool
    #: Shares of levels, weighted by rows, that are all lower case, all upper case, and that have outer spaces.
    lower_share: float
    upper_share: float
    space_share: float

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each level stands in `levels`."""
        return {level: place for place, level in enumerate(self.levels)}


class ColumnProfile(msgspec.Struct, frozen=True):
    """One column: `numbers` for numbers and times (seconds), `levels` for levels and text."""

    name: str
    role: Role
    dtype: str
    rows: int
    null_share: float
    privacy: str = "raw"
    numbers: NumberProfile | None = None
    levels: LevelProfile | None = None
    encoding: str = ""
    #: Edges between quantile cells, and values that are cells of their own; see `cells_of`.
    edges: Floats = msgspec.field(default_factory=lambda: np.zeros(0))
    points: Floats = msgspec.field(default_factory=lambda: np.zeros(0))
    cell_shares: Floats = msgspec.field(default_factory=lambda: np.zeros(0))

    @property
    def cell_count(self) -> int:
        """Number of cells, null included; a row of none of them has this number."""
        return len(self.cell_shares)


# Of numbers at the end of what floats can hold, sums and squares overflow.
@np.errstate(all="ignore")
def profile_column(series: pd.Series[Any], name: str, *, is_coarse: bool = False) -> ColumnProfile:
    """Return the profile of one training column; with `is_coarse`, of its rounded numbers. O(rows log rows)."""
    role = guess_role(series)
    rows = len(series)
    null_share = float(series.isna().mean()) if rows else 0.0
    if role in (Role.LEVEL, Role.TEXT):
        levels = _profile_levels(series)
        profile = ColumnProfile(name, role, str(series.dtype), rows, null_share, levels=levels)
        return _with_cells(profile, read_texts(series))
    encoding = ""
    if role is Role.TIME:
        times = read_times(series)
        assert times is not None
        values, encoding = times.seconds, times.encoding
    else:
        values = read_numbers(series).values
        # What is not finite has no value that could be compared; live ones are missing then, too.
        null_share = float((series.isna().to_numpy() | np.isinf(values)).mean()) if rows else 0.0
    numbers = _profile_coarsely(values) if is_coarse else profile_numbers(values)
    profile = ColumnProfile(name, role, str(series.dtype), rows, null_share, numbers=numbers, encoding=encoding)
    return _with_cells(profile, values)


def profile_numbers(values: Floats) -> NumberProfile:
    """Return the profile of numbers; NaN and infinities are left out."""
    known = np.sort(values[np.isfinite(values)])
    if not len(known):
        known = np.zeros(1)
    starts = np.flatnonzero(np.concatenate(([True], known[1:] != known[:-1])))
    counts = np.diff(np.concatenate((starts, [len(known)]))).astype(np.float64)
    distinct = len(starts)
    # With one value in two a new one there is no lattice to speak of, however few rows there are.
    is_lattice = distinct <= LATTICE_SIZE and distinct <= 0.5 * len(known)
    frequent = np.flatnonzero(counts >= max(3, ATOM_SHARE * len(known)))
    frequent = frequent[np.argsort(-counts[frequent])][:16]
    heaps = (
        np.flatnonzero(counts >= max(HEAP_ROWS, HEAP_TIMES * len(known) / distinct)) if not is_lattice else frequent[:0]
    )
    heaps = np.sort(heaps[np.argsort(-counts[heaps], kind="stable")][:MOST_HEAPS])
    spread = known[:: max(1, len(known) // 4000)]
    # Nearest rank, so that each quantile is a value of training: lattices stay on their points.
    positions = np.round(np.linspace(0, len(known) - 1, GRID_POINTS)).astype(int)
    return NumberProfile(
        grid=known[positions],
        lattice=known[starts] if is_lattice else np.zeros(0),
        counts=counts if is_lattice else np.zeros(0),
        atoms=known[starts][frequent],
        atom_shares=counts[frequent] / len(known),
        rows=len(known),
        distinct=distinct,
        mean=float(known.mean()),
        sd=float(known.std()),
        decimals=decimals_of(spread),
        float32_share=float(np.mean(spread.astype(np.float32).astype(np.float64) == spread)),
        heaps=known[starts][heaps],
        heap_shares=counts[heaps] / len(known),
    )


def _profile_coarsely(values: Floats) -> NumberProfile:
    """Return the profile of numbers that are rounded first, in steps of about a hundredth of their spread."""
    raw = profile_numbers(values)
    size = raw.iqr or abs(raw.median) or 1.0
    unit = float(10.0 ** (np.floor(np.log10(size)) - BUCKET_DIGITS + 1))
    rule = msgspec.structs.replace(raw, origin=float(np.round(raw.median / unit) * unit), unit=unit)
    return msgspec.structs.replace(profile_numbers(rule.seen(values)), origin=rule.origin, unit=unit)


def decimals_of(values: Floats, share: float = 0.999) -> int:
    """Return the least number of decimals that `share` of the values fit in; MOST_DECIMALS + 1 when none does."""
    for digits in range(MOST_DECIMALS + 1):
        if np.mean(has_decimals(values, digits)) >= share:
            return digits
    return MOST_DECIMALS + 1


def has_decimals(values: Floats, digits: int) -> NDArray[np.bool_]:
    """Return which values have at most so many decimals; negative `digits` means tens, hundreds.

    >>> has_decimals(np.array([1.25, 1.2]), 1).tolist()
    [False, True]
    """
    scaled = values * 10.0**digits
    # Room for the rounding of a few operations. With more, one large value in five would have eight decimals.
    return np.asarray(np.abs(scaled - np.round(scaled)) <= 1e-9 + 1e-12 * np.abs(scaled))


def _profile_levels(series: pd.Series[Any]) -> LevelProfile:
    texts = read_texts(series)
    known = texts[~pd.isna(texts)]
    counts = pd.Series(known, dtype=object).value_counts()
    order: tuple[str, ...] = ()
    if isinstance(series.dtype, pd.CategoricalDtype):
        order = tuple(str(level) for level in series.cat.categories)[:MAX_LEVELS]
    names = [str(level) for level in counts.index]
    weights: Floats = np.asarray(counts.to_numpy(), dtype=np.float64)
    total = max(1.0, float(weights.sum()))

    def share(test: list[bool]) -> float:
        return float(np.dot(weights, np.asarray(test, dtype=np.float64)) / total) if names else 0.0

    kept = min(len(names), MAX_LEVELS)
    return LevelProfile(
        levels=tuple(names[:kept]),
        counts=weights[:kept],
        order=order,
        hidden=(),
        rows=len(known),
        unseen_rate=float(np.sum(weights == 1) / total) + float(weights[kept:].sum() / total),
        mean_length=float(np.dot(weights, [len(name) for name in names]) / total) if names else 0.0,
        is_boolean=pd.api.types.is_bool_dtype(series.dtype) or (len(names) > 0 and set(names) <= {"True", "False"}),
        lower_share=share([name == name.lower() for name in names]),
        upper_share=share([name == name.upper() for name in names]),
        space_share=share([name != name.strip() for name in names]),
    )


def _with_cells(profile: ColumnProfile, values: Floats | Texts) -> ColumnProfile:
    numbers = profile.numbers
    if numbers is not None and profile.role is Role.NUMBER:
        if numbers.is_lattice and len(numbers.lattice) <= DISCRETE_CELLS:
            profile = msgspec.structs.replace(profile, points=numbers.lattice)
        else:
            inner = np.linspace(0, GRID_POINTS - 1, QUANTILE_CELLS + 1)[1:-1].round().astype(int)
            edges = np.unique(numbers.grid[inner])
            profile = msgspec.structs.replace(profile, edges=edges, points=np.sort(numbers.atoms))
    elif profile.role is Role.TIME:
        profile = msgspec.structs.replace(profile, points=np.arange(24.0))
    shares = np.ones(_size(profile))
    cells = cells_of(msgspec.structs.replace(profile, cell_shares=shares), values)
    counted = np.bincount(cells, minlength=len(shares) + 1)[: len(shares)].astype(np.float64)
    if profile.levels is not None and len(profile.levels.levels) > LEVEL_CELLS:
        counted = _without_luck(counted, profile.levels.counts)
    return msgspec.structs.replace(profile, cell_shares=counted / max(1.0, counted.sum()))


def _without_luck(counted: Floats, counts: Floats) -> Floats:
    """Return the counts of cells with those of the most frequent levels as they are without the luck of this sample.

    Which of many levels come first is chance in part, and these came too often. Empirical Bayes after Robbins (1956),
    with a gamma prior by moments: levels that differ no more than chance makes them are taken as equal, the first ones
    of a long tail stay as they are.
    """
    mean, variance = float(counts.mean()), float(counts.var())
    top = counts[:LEVEL_CELLS]
    weight = max(0.0, 1 - mean / variance) if variance > 0 else 0.0
    shrunk = mean + weight * (top - mean)
    found = counted.copy()
    found[:LEVEL_CELLS] = shrunk
    found[LEVEL_CELLS] = counted[LEVEL_CELLS] + float(top.sum() - shrunk.sum())
    return found


def _size(profile: ColumnProfile) -> int:
    if profile.levels is not None:
        return min(len(profile.levels.levels), LEVEL_CELLS) + 2
    bins = len(profile.edges) + 1 if len(profile.edges) or not len(profile.points) else 0
    return bins + len(profile.points) + 1


def cells_of(profile: ColumnProfile, values: Floats | Texts) -> Ints:
    """Return the cell of each value.

    Numbers: quantile bins, then points, then null. Levels: the most frequent levels, then the rest, then null.
    A value of no cell (off a lattice, far outside the range, an unseen level, a null where training had none) has
    the number `cell_count`.
    """
    count = profile.cell_count
    if profile.levels is not None:
        places = profile.levels.places
        null = count - 1 if profile.null_share > 0 else count
        codes, distinct = pd.factorize(np.asarray(values, dtype=object))
        found = [places.get(str(text), -1) for text in distinct]
        by_code = [min(place, LEVEL_CELLS) if place >= 0 else count for place in found]
        return np.array([*by_code, null], dtype=np.int64)[codes]
    numbers = profile.numbers
    assert numbers is not None
    given = np.asarray(values, dtype=np.float64)
    if profile.role is not Role.TIME:
        given = numbers.seen(given)
    known = np.isfinite(given)
    cells = np.full(len(given), count, dtype=np.int64)
    inside = known
    if profile.role is Role.TIME:
        given = hour_of(given)
    elif len(profile.edges):
        # A little beyond the range is the outermost cell; far beyond is nowhere.
        margin = 0.25 * (numbers.maximum - numbers.minimum)
        inside = known & (given >= numbers.minimum - margin) & (given <= numbers.maximum + margin)
    bins = len(profile.edges) + 1 if len(profile.edges) or not len(profile.points) else 0
    if bins:
        cells[inside] = np.searchsorted(profile.edges, given[inside] - slack_of(numbers, given[inside]), side="left")
    if len(profile.points):
        nearest = np.minimum(np.maximum(np.searchsorted(profile.points, given), 1), max(1, len(profile.points) - 1))
        left = profile.points[nearest - 1]
        right = profile.points[np.minimum(nearest, len(profile.points) - 1)]
        pick = np.where(np.abs(given - left) <= np.abs(right - given), nearest - 1, nearest)
        pick = np.minimum(pick, len(profile.points) - 1)
        point = profile.points[pick]
        hit = known & (np.abs(given - point) <= slack_of(numbers, point))
        cells[hit] = bins + pick[hit]
    if profile.null_share > 0:
        cells[~known] = count - 1
    return cells


def slack_of(numbers: NumberProfile, values: Floats) -> Floats:
    """Return how far from training's a number may be and still be the same one.

    A body rarely has all 17 digits: pandas' `to_json` writes ten decimals, so that 12 * 1.15078 comes back larger by
    its last bit.
    """
    return np.asarray(1e-9 * np.maximum(min(1.0, numbers.sd), np.abs(values)))
