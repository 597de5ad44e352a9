"""What training's model would answer to a row, learned from golden rows alone: for diagnoses that have no model.

The reference holds golden rows with their predictions. A regression of these on the columns is no model of the outcome,
which is noise, but of a function of the row, which is not: some hundred rows give it to a fifth of its spread or
better. Two forms are tried, and the one taken that rows left out speak for: a ridge (Hoerl & Kennard 1970) and boosted
oblivious trees (Friedman 2001; Prokhorenkova et al. 2018). How far they are off is learned from the same left-out rows.
Neither is kept, and nothing is learned from live rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tallystick.parity.columns import Floats, Role
from tallystick.parity.live import Live
from tallystick.parity.profile import Ints

#: Parts that golden rows are left out in, and the part of a spread that a ridge must leave to be the end of it.
FOLDS, LINEAR_ENOUGH = 4, 0.08
PENALTIES = (0.1, 1.0, 10.0, 100.0)
#: Trees, their depth, the part of each that is believed, and rows that a leaf is shrunk by.
TREES, DEPTH, RATE, LEAF_ROWS = 80, 4, 0.15, 3.0
#: Quantile bins of a number, and columns that trees may look at: the likeliest by themselves.
BINS, MOST_COLUMNS = 32, 20
#: Golden rows around an expected answer that tell how far answers are off there, and the least they are, of a spread.
NEIGHBOURS, LEAST_OFF = 60, 0.03
#: A surrogate that leaves more of the spread than this knows too little.
MOST_LEFT = 0.7


@dataclass(frozen=True)
class _Design:
    """Rows as a ridge takes them, and as trees do: bins of numbers, cells of the columns that are `levels`."""

    wide: Floats
    binned: Ints
    levels: tuple[int, ...]

    def taken(self, rows: NDArray[np.bool_]) -> _Design:
        return _Design(self.wide[rows], self.binned[rows], self.levels)


_Answer = Callable[[_Design], Floats]
_Fit = Callable[[_Design, Floats], _Answer]


@dataclass(frozen=True)
class Expected:
    """Answers on an open scale: what they are expected to be, how far off they usually are, and what they were.

    `golden_*` are of golden rows, each expected by a surrogate that it was left out of; the others are of live rows.
    """

    golden_answers: Floats
    golden_expected: Floats
    golden_off: Floats
    expected: Floats
    off: Floats

    @property
    def left(self) -> float:
        """Spread of golden answers around what is expected, on their scale."""
        return float(np.std(self.golden_answers - self.golden_expected))


def expected_answers(live: Live, answers: Floats, trees: int = TREES, most_left: float = MOST_LEFT) -> Expected | None:
    """Return what golden `answers`, on an open scale, say of live rows; None where they say too little.

    Fewer `trees` are quicker and rougher; `most_left` is the part of the spread that may be left. Raises nothing: a
    reference without golden rows, or with too few, gives None.
    """
    golden = live.golden()
    if golden is None or len(answers) != golden.rows or not np.isfinite(answers).all():
        return None
    spread = float(answers.std())
    if spread <= 0:
        return None
    known, now = _designs(golden, live)
    if not known.wide.shape[1]:
        return None
    fold = np.random.default_rng(0).permutation(len(answers)) % FOLDS
    best = _left_out(_ridge, known, answers, fold)
    kept: _Fit = _ridge
    if np.std(answers - best) > LINEAR_ENOUGH * spread:
        boosted = partial(_trees, trees=trees)
        other = _left_out(boosted, known, answers, fold)
        if np.abs(answers - other).mean() < np.abs(answers - best).mean():
            best, kept = other, boosted
    if np.std(answers - best) > most_left * spread:
        return None
    expected, floor = kept(known, answers)(now), LEAST_OFF * spread
    return Expected(answers, best, _off(best, answers, best, floor), expected, _off(best, answers, expected, floor))


def _left_out(fit: _Fit, design: _Design, y: Floats, fold: Ints) -> Floats:
    """Return each row's answer by a surrogate that was not fitted on it."""
    found = np.zeros(len(y))
    for k in range(FOLDS):
        out = fold == k
        found[out] = fit(design.taken(~out), y[~out])(design.taken(out))
    return found


def _off(known: Floats, answers: Floats, at: Floats, floor: float) -> Floats:
    """Return the mean distance of golden answers to what is expected, of the rows whose expectation is nearest."""
    order = np.argsort(known)
    apart = np.abs(answers - known)[order]
    width = min(NEIGHBOURS, len(apart) // 3)
    total = np.concatenate(([0.0], np.cumsum(apart)))
    start = np.clip(np.searchsorted(known[order], at) - width // 2, 0, len(apart) - width)
    return np.asarray(np.maximum((total[start + width] - total[start]) / width, floor))


def _designs(golden: Live, live: Live) -> tuple[_Design, _Design]:
    """Return golden rows and live ones as surrogates take them; with no column where none tells rows apart."""
    wide: list[tuple[Floats, Floats]] = []
    binned: list[tuple[Ints, Ints]] = []
    levels: list[int] = []
    for j, profile in enumerate(live.reference.columns):
        if j in live.absent or j in live.broken or profile.role is Role.TEXT:
            continue
        if profile.numbers is not None:
            _add_numbers(golden.numbers(j), live.numbers(j), wide, binned)
        else:
            levels.append(len(binned))
            before, now = golden.cells(j), live.cells(j)
            wide += _indicators(before, now, profile.cell_count)
            binned.append((before, now))
    parts = []
    for k, rows in enumerate((golden.rows, live.rows)):
        columns = np.column_stack([pair[k] for pair in wide]) if wide else np.zeros((rows, 0))
        bins = np.column_stack([pair[k] for pair in binned]) if binned else np.zeros((rows, 0), dtype=np.int64)
        parts.append(_Design(columns, bins.astype(np.int64), tuple(levels)))
    return parts[0], parts[1]


def _add_numbers(
    before: Floats, now: Floats, wide: list[tuple[Floats, Floats]], binned: list[tuple[Ints, Ints]]
) -> None:
    known = before[np.isfinite(before)]
    if len(known) < 2 or known.std() == 0:
        return
    middle, low, high = float(np.median(known)), float(known.min()), float(known.max())
    distinct = np.unique(known)
    few = len(distinct) < BINS
    edges = distinct[1:] if few else np.unique(np.quantile(known, np.linspace(0, 1, BINS)[1:-1]))

    def scaled(values: Floats) -> Floats:
        filled = np.clip(np.where(np.isfinite(values), values, middle), low, high)
        return np.asarray((filled - known.mean()) / known.std())

    def bins(values: Floats) -> Ints:
        return np.where(np.isfinite(values), 1 + np.searchsorted(edges, np.nan_to_num(values), side="right"), 0)

    wide.append((scaled(before), scaled(now)))
    binned.append((bins(before), bins(now)))
    if len(known) < len(before):
        wide.append((np.isnan(before).astype(np.float64), np.isnan(now).astype(np.float64)))


def _indicators(before: Ints, now: Ints, count: int) -> list[tuple[Floats, Floats]]:
    found = []
    for cell in range(count):
        seen = before == cell
        share = float(seen.mean())
        # One row of a level would be learned by heart.
        if share < 1 and seen.sum() > 1:
            size = np.sqrt(share * (1 - share))
            found.append((np.asarray((seen - share) / size), np.asarray(((now == cell) - share) / size)))
    return found


def _ridge(design: _Design, y: Floats) -> _Answer:
    """Return a ridge of the penalty that leaving out each row speaks for (Golub, Heath & Wahba 1979)."""
    wide = design.wide
    centre, mean = wide.mean(axis=0), float(y.mean())
    left, size, right = np.linalg.svd(wide - centre, full_matrices=False)
    turned = left.T @ (y - mean)
    best = (np.inf, np.zeros(wide.shape[1]))
    for penalty in PENALTIES:
        kept = size**2 / (size**2 + penalty)
        hat = np.minimum((left**2) @ kept + 1 / len(y), 0.99)
        error = float(np.mean(((y - mean - left @ (kept * turned)) / (1 - hat)) ** 2))
        if error < best[0]:
            best = (error, right.T @ (size / (size**2 + penalty) * turned))
    weights = best[1]
    return lambda rows: np.asarray((rows.wide - centre) @ weights + mean)


def _trees(design: _Design, y: Floats, trees: int) -> _Answer:
    """Return boosted trees that ask the same question of all rows at each depth; levels are in the order of means."""
    mean = float(y.mean())
    orders = {k: _order(design.binned[:, k], y) for k in design.levels}
    binned = _ordered(design.binned, orders)
    width = int(binned.max(initial=0)) + 1
    picked = _likeliest(binned, y - mean, width)
    codes = binned[:, picked]
    places = codes + np.arange(codes.shape[1]) * width
    grown: list[tuple[list[tuple[int, int]], Floats]] = []
    answers = np.full(len(y), mean)
    for _ in range(trees):
        rest = y - answers
        leaf = np.zeros(len(y), dtype=np.int64)
        asked: list[tuple[int, int]] = []
        for depth in range(DEPTH):
            gains = _gains(leaf, places, rest, 1 << depth, codes.shape[1], width)
            column, edge = np.unravel_index(int(gains.argmax()), gains.shape)
            asked.append((int(column), int(edge)))
            leaf = 2 * leaf + (codes[:, column] > edge)
        sums, sizes = np.bincount(leaf, rest, 1 << DEPTH), np.bincount(leaf, minlength=1 << DEPTH)
        values = RATE * sums / (sizes + LEAF_ROWS)
        answers += values[leaf]
        grown.append((asked, values))

    def answer(rows: _Design) -> Floats:
        other = _ordered(rows.binned, orders)[:, picked]
        found = np.full(len(other), mean)
        for asked, values in grown:
            leaf = np.zeros(len(other), dtype=np.int64)
            for column, edge in asked:
                leaf = 2 * leaf + (other[:, column] > edge)
            found += values[leaf]
        return found

    return answer


def _order(cells: Ints, y: Floats) -> Ints:
    """Return the place of each cell by the mean of its rows, shrunk; of one that no row has, in the middle."""
    count = int(cells.max(initial=0)) + 2
    sums, sizes = np.bincount(cells, y, count), np.bincount(cells, minlength=count)
    means = (sums + LEAF_ROWS * y.mean()) / (sizes + LEAF_ROWS)
    return np.asarray(np.argsort(np.argsort(means)))


def _ordered(binned: Ints, orders: dict[int, Ints]) -> Ints:
    binned = binned.copy()
    for k, order in orders.items():
        binned[:, k] = order[np.minimum(binned[:, k], len(order) - 1)]
    return binned


def _likeliest(binned: Ints, rest: Floats, width: int) -> NDArray[np.int64]:
    """Return the columns whose best single question explains most."""
    count = binned.shape[1]
    places = binned + np.arange(count) * width
    gains = _gains(np.zeros(len(rest), dtype=np.int64), places, rest, 1, count, width).max(axis=1)
    return np.sort(np.argsort(-gains)[:MOST_COLUMNS])


def _gains(leaf: Ints, places: Ints, rest: Floats, leaves: int, columns: int, width: int) -> Floats:
    """Return columns x edges: how much of the rest each question explains, over all leaves."""
    at = (leaf[:, None] * (columns * width) + places).ravel()
    shape = (leaves, columns, width)
    sums = np.bincount(at, np.repeat(rest, columns), leaves * columns * width).reshape(shape).cumsum(axis=2)
    sizes = np.bincount(at, minlength=leaves * columns * width).reshape(shape).cumsum(axis=2)
    total, rows = sums[:, :, -1:], sizes[:, :, -1:]
    gains = sums**2 / (sizes + LEAF_ROWS) + (total - sums) ** 2 / (rows - sizes + LEAF_ROWS)
    return np.asarray(gains.sum(axis=0))
