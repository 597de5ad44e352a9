"""Values that stand one or more columns off, as after a lost separator or an index that was written with the rows.

Source: the misfit of each live column to each training column, along the order of columns. Where only some rows are
shifted, the likelihood of each row's values in their own and in the neighbour's column, summed over a run, tells which;
these rows are then judged as a whole frame would be. False positives: columns of one distribution may stand for each
other; most of a run must fit its neighbour's place, and not its own, to be named, and training's own rows must not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tallystick.parity.columns import Floats, Mask, Role, with_columns
from tallystick.parity.density import fit_share, posterior
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.misfit import SentColumn, is_elsewhere, likelihood, misfit

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

OFFSETS = (1, -1, 2, -2, 3, -3)
#: A run is named when so many of its columns do not fit where they are, and so large a part fits the other place.
FEWEST_COLUMNS = 3
PART_THAT_FITS = 0.75
FEWEST_ROWS = 10
#: Of a share of the rows: misfit from which a column may be touched, columns that must be, and the nats from which one
#: value of a neighbour fits better than a column's own, and from which a run of them does; rounds of EM that are tried
#: on all pairs.
TOUCHED, FEWEST_TOUCHED, EDGE_NATS, RUN_NATS = 0.5, 2, 6.0, 30.0
FIRST_ROUNDS = 4
#: What one value may say for or against, and the last column of a run against: nothing may be left for it.
MOST_A_VALUE, LAST_AGAINST = 12.0, 1.0
#: Columns of a run that two of them alone may tell.
SHORT_RUN = 6
#: Part of what two columns tell that the others of a run must add to it.
PART_OF_PAIR = 0.1
#: Times training's own share of such rows that live ones must have, and the most of training's that leaves no doubt.
TIMES_TRAINING, NONE_IN_TRAINING = 3.0, 0.005


def undo_shift(reference: Reference, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[Finding]]:
    """Return the frame with a shift of columns undone, and the finding."""
    names = [name for name in reference.names if name in frame.columns]
    if len(names) < FEWEST_COLUMNS or len(frame) < FEWEST_ROWS:
        return frame, []
    sent = {name: SentColumn(frame[name]) for name in names}
    own = {name: misfit(reference.column(name), sent[name]) for name in names}
    found = _of_all_rows(reference, sent, own)
    if found is not None:
        return _undone(frame, *found, np.ones(len(frame), dtype=bool), is_certain=True)
    if sum(value > TOUCHED for value in own.values()) < FEWEST_TOUCHED:
        return frame, []
    return _of_some_rows(reference, frame, sent)


def _of_all_rows(
    reference: Reference, sent: Mapping[str, SentColumn], own: Mapping[str, float]
) -> tuple[float, list[str], int] | None:
    names = list(sent)
    bad = [name for name in names if own[name] > 1.0]
    if len(bad) < FEWEST_COLUMNS:
        return None
    best: tuple[float, list[str], int] | None = None
    places = _Places(reference, sent)
    for run in _runs(reference, names, bad):
        for offset in OFFSETS:
            if abs(offset) >= len(run):
                continue
            moved = _moved(run, offset, places)
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
    return best


class _Places:
    """How badly columns that were sent fit the places of others."""

    def __init__(self, reference: Reference, sent: Mapping[str, SentColumn]) -> None:
        self._reference, self._sent = reference, sent
        self._off: dict[tuple[str, str], bool] = {}
        self._misfit: dict[tuple[str, str], float] = {}

    def is_off(self, name: str, other: str) -> bool:
        """Whether it is plain that the values of `other` do not fit a column."""
        if (name, other) not in self._off:
            self._off[name, other] = is_elsewhere(self._reference.column(name), self._sent[other])
        return self._off[name, other]

    def misfit(self, name: str, other: str) -> float:
        """Return the misfit of the values of `other` in a column."""
        if (name, other) not in self._misfit:
            self._misfit[name, other] = misfit(self._reference.column(name), self._sent[other])
        return self._misfit[name, other]


def _of_some_rows(
    reference: Reference, frame: pd.DataFrame, sent: Mapping[str, SentColumn]
) -> tuple[pd.DataFrame, list[Finding]]:
    """Return the frame with a shift of some rows undone, where one run of columns tells them."""
    names, told = list(sent), _Told(reference, sent)
    best: tuple[float, list[str], int, float] | None = None
    for order in _orders(reference, names):
        for offset in (1, -1):
            for run in _runs_of_some(told, order, offset):
                share, gain = (float(each[0]) for each in fit_share(told.run(run, offset)[None, :]))
                if gain > RUN_NATS and (best is None or gain > best[0]):
                    best = gain, run, offset, share
    if best is None:
        return frame, []
    gain, run, offset, share = _widened(told, _orders(reference, names), *best)
    rows = posterior(told.run(run, offset), share) > 0.5
    if rows.sum() < FEWEST_ROWS or _is_exchange(told, run, gain):
        return frame, []
    if not _is_shifted(reference, frame[rows], run, offset):
        return frame, []
    trained = _share_in_training(reference, run, offset, share)
    if trained is None or share < TIMES_TRAINING * trained:
        return frame, []
    return _undone(frame, gain / 10, run, offset, rows, is_certain=trained <= NONE_IN_TRAINING)


class _Told:
    """How much better values fit the column beside theirs than their own, row by row."""

    def __init__(self, reference: Reference, sent: Mapping[str, SentColumn]) -> None:
        self._reference, self._sent = reference, sent
        self._seen: dict[tuple[str, str], Floats] = {}
        self._fits: dict[tuple[str, str], bool] = {}

    def _at(self, name: str, other: str) -> Floats:
        if (name, other) not in self._seen:
            self._seen[name, other] = likelihood(self._reference.column(name), self._sent[other])
        return self._seen[name, other]

    def edge(self, name: str, other: str) -> Floats:
        """Return the nats by which values of `other` fit a column better than those that it has."""
        gap = self._at(name, other) - self._at(name, name)
        return np.asarray(np.clip(gap, -MOST_A_VALUE, MOST_A_VALUE))

    def fits(self, pairs: list[tuple[str, str]]) -> list[bool]:
        """Return of which pairs the other's values fit some rows of a column better than its own."""
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._fits]
        if new:
            edges = np.stack([self.edge(*pair) for pair in new])
            # Each round of EM gains: most pairs are told by the first few, or by all that could be gained.
            fits = fit_share(edges, FIRST_ROUNDS)[1] > EDGE_NATS
            is_open = ~fits & (np.maximum(edges, 0.0).sum(axis=1) > EDGE_NATS)
            if is_open.any():
                fits[is_open] = fit_share(edges[is_open])[1] > EDGE_NATS
            self._fits |= dict(zip(new, fits.tolist(), strict=True))
        return [self._fits[pair] for pair in pairs]

    def run(self, run: list[str], offset: int) -> Floats:
        """Return the nats for a run of columns of which each holds the next one's values, the last the first's."""
        total = np.zeros(len(self._sent[run[0]].series))
        for k, name in enumerate(run):
            edge = self.edge(name, run[(k + offset) % len(run)])
            is_last = not 0 <= k + offset < len(run)
            total += np.maximum(edge, -LAST_AGAINST) if is_last else edge
        return total

    def pair(self, one: str, two: str) -> Floats:
        """Return the nats for two columns that hold each other's values."""
        return self.edge(one, two) + self.edge(two, one)


def _runs_of_some(told: _Told, order: list[str], offset: int) -> list[list[str]]:
    """Return runs of columns whose neighbour's values fit some rows better than their own; one may fit no better."""
    pairs = [(name, order[k + offset]) for k, name in enumerate(order) if 0 <= k + offset < len(order)]
    fits = told.fits(pairs)
    fits = [*fits, False] if offset > 0 else [False, *fits]
    runs, start, last = [], -1, -1
    for k, fit in enumerate([*fits, False, False]):
        if fit:
            start, last = k if start < 0 else start, k
        elif start >= 0 and k - last > 1:
            low, high = (start, last + 1) if offset > 0 else (start - 1, last)
            runs.append(order[low : high + 1])
            start = -1
    return [run for run in runs if len(run) >= FEWEST_COLUMNS]


def _is_exchange(told: _Told, run: list[str], gain: float) -> bool:
    """Whether two columns of a short run that hold each other's values tell the rows as well as the whole run does.

    It is the simpler story: what the further columns hold must itself speak for the run, as that of one which is
    distributed like its neighbour does not.
    """
    pairs = [(one, two) for k, one in enumerate(run) for two in run[k + 1 :]] if len(run) <= SHORT_RUN else []
    best = max((float(fit_share(told.pair(one, two)[None, :])[1][0]) for one, two in pairs), default=-np.inf)
    return gain <= best + max(EDGE_NATS * (len(run) - 2), PART_OF_PAIR * best)


def _widened(
    told: _Told, orders: list[list[str]], gain: float, run: list[str], offset: int, share: float
) -> tuple[float, list[str], int, float]:
    """Return the run with columns taken in or left out at its ends, as long as that tells the rows better."""
    order = next(order for order in orders if _place(order, run) >= 0)
    low, high = _place(order, run), _place(order, run) + len(run)
    while True:
        ends = [(low - 1, high), (low, high + 1), (low + 1, high), (low, high - 1)]
        tried = []
        for start, end in ends:
            if start >= 0 and end <= len(order) and end - start >= FEWEST_COLUMNS:
                shares, gains = fit_share(told.run(order[start:end], offset)[None, :])
                tried.append((float(gains[0]), start, end, float(shares[0])))
        best = max(tried, default=(gain, low, high, share))
        if best[0] <= gain:
            return gain, order[low:high], offset, share
        gain, low, high, share = best


def _place(order: list[str], run: list[str]) -> int:
    """Return where a run stands in an order of columns, -1 where it does not."""
    start = order.index(run[0]) if run[0] in order else -1
    return start if start >= 0 and order[start : start + len(run)] == run else -1


def _is_shifted(reference: Reference, part: pd.DataFrame, run: list[str], offset: int) -> bool:
    """Whether these rows fit the other place and not their own."""
    sent = {name: SentColumn(part[name]) for name in run}
    own = [misfit(reference.column(name), sent[name]) for name in run]
    moved = [misfit(reference.column(name), sent[run[(k + offset) % len(run)]]) for k, name in enumerate(run)]
    # A long run may hold many columns of much the same values; three that do not fit are enough.
    off = int(np.sum(np.array(own) > 1.0))
    return bool(np.mean(np.array(moved) < 1.0) >= PART_THAT_FITS and off >= min(FEWEST_COLUMNS, len(run) / 2))


def _share_in_training(reference: Reference, run: list[str], offset: int, share: float) -> float | None:
    """Return the share of golden rows that would be taken for shifted; None where there are too few to tell."""
    rows = reference.rows
    if len(rows) < FEWEST_ROWS or not set(run) <= set(rows.columns):
        return None
    told = _Told(reference, {name: SentColumn(rows[name]) for name in run})
    return float(np.mean(posterior(told.run(run, offset), share) > 0.5))


def _moved(run: list[str], offset: int, places: _Places) -> list[float] | None:
    """Return the misfit of each column's new values; None as soon as too many do not fit."""
    pairs = [(name, run[(k + offset) % len(run)]) for k, name in enumerate(run)]
    most = (1 - PART_THAT_FITS) * len(run)
    # What is plainly off is quickly seen, and mostly enough.
    if _has_more(most, (places.is_off(*pair) for pair in pairs)):
        return None
    if _has_more(most, (places.misfit(*pair) >= 1.0 for pair in pairs)):
        return None
    return [places.misfit(*pair) for pair in pairs]


def _has_more(most: float, off: Iterable[bool]) -> bool:
    """Whether more than so many are off; no more are asked than it takes to see that."""
    return any(count > most for count in accumulate(int(each) for each in off))


def _runs(reference: Reference, names: list[str], bad: list[str]) -> list[list[str]]:
    """Return the runs of columns that may have moved: from first misfit to last, of all columns or of numbers."""
    runs = []
    for order in (*_orders(reference, names), bad):
        inside = [k for k, name in enumerate(order) if name in bad]
        if len(inside) >= FEWEST_COLUMNS:
            runs.append(order[inside[0] : inside[-1] + 1])
            runs.append(order)
    return runs


def _orders(reference: Reference, names: list[str]) -> list[list[str]]:
    """Return the orders of columns in which values may have moved: of all, of numbers, of numbers of many values."""
    numbers = [name for name in names if reference.column(name).role is Role.NUMBER]
    many = [
        name for name in numbers if (profile := reference.column(name).numbers) is not None and profile.distinct > 10
    ]
    return [order for k, order in enumerate((names, numbers, many)) if order not in (names, numbers)[:k]]


def _undone(
    frame: pd.DataFrame, gain: float, run: list[str], offset: int, rows: Mask, *, is_certain: bool
) -> tuple[pd.DataFrame, list[Finding]]:
    source = {name: run[(k + offset) % len(run)] for k, name in enumerate(run)}
    whole = bool(rows.all())
    fixed = with_columns(
        frame,
        {name: frame[other] if whole else _taken(frame[name], frame[other], rows) for name, other in source.items()},
    )
    where = "" if whole else f"in {int(rows.sum())} of {len(rows)} rows "
    evidence = (f"{where}{len(run)} columns fit the place {-offset:+d} columns away and not their own",)

    def put(columns: Mapping[str, Any]) -> dict[str, Any]:
        return {other: columns[name] for name, other in source.items()}

    finding = Finding(
        "column_shift",
        tuple(run),
        {"offset": -offset, "holds": {other: name for name, other in source.items()}},
        float(rows.mean()),
        min(gain * 10, 500.0),
        is_certain,
        evidence,
        rows,
        {},
        put,
        gain=1e6,
    )
    return fixed, [finding]


def _taken(own: pd.Series[Any], other: pd.Series[Any], rows: Mask) -> pd.Series[Any]:
    """Return a column with the values of another one in some rows."""
    if pd.api.types.is_numeric_dtype(own.dtype) and pd.api.types.is_numeric_dtype(other.dtype):
        return own.where(~rows, other)
    return own.astype(object).where(~rows, other.astype(object)).infer_objects()
