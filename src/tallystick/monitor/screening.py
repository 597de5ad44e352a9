"""The screen of every turn: does anything move? Valid however often it is asked, over all columns and segments.

Each count is tested by an e-value against the rate that training had (`parity.anytime`), each column by their mean, and
columns of all scopes by e-BH (Wang & Ramdas 2022). Refused requests are tested beside the columns, against a rate that
any sender may have: their rows are not read here, and a client of which all are refused has no others.

Windows begin anew each hour and each day; within one, looking again costs nothing. Over a day the chance that a served
entity whose rows are as in training, and of whose requests no more are refused, is flagged at all is at most `ALPHA`.
A flag is not a verdict: it has the rows diagnosed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tallystick.monitor.counters import Counters, Counts, Floats, Violation, is_open
from tallystick.monitor.rings import DAY, HOUR, Rings
from tallystick.parity.anytime import rate_log_e_values
from tallystick.parity.profile import ColumnProfile
from tallystick.parity.reference import Reference

#: Chance of a false flag a day, for each served entity; half for the day's window, half for its 24 hours.
ALPHA = 0.01
ALPHAS: Mapping[int, float] = {DAY: ALPHA / 2, HOUR: ALPHA / 48}
#: Seconds for which a window that is over is screened: a turn later at the most all its rows were counted.
LATE_S = 150
#: What training's own sample leaves open of a rate, in standard errors, and what is too little to care for.
REFERENCE_Z, SLACK = 3.0, 0.003
#: The second key, size: total variation over cells, and share of values that break the contract.
LEAST_DISTANCE, LEAST_VIOLATIONS = 0.05, 0.01
#: Part of a sender's requests that may be refused for their input, for whatever reason, and the name of that count.
REFUSED_RATE, REFUSED = 0.05, "(refused)"
#: Whole traffic, and no segment.
WHOLE = ("", "")


@dataclass(frozen=True, order=True)
class Flag:
    """A column that moved, or `REFUSED`: in which scope (column and value of a segment, both empty for all rows)."""

    column: str
    segment: str = ""
    value: str = ""


def screen(reference: Reference, scopes: Mapping[tuple[str, str], Rings], now_s: int) -> frozenset[Flag]:
    """Return what moved in the current hour or day, by scope; `WHOLE` is all rows.

    One that ended just now is current, too: its last rows were not there when it was looked at last.
    """
    found: set[Flag] = set()
    expected = Expected(reference)
    for width, alpha in ALPHAS.items():
        for at_s in dict.fromkeys(each // width * width for each in (now_s, now_s - LATE_S)):
            windows = [
                (key, rings.by_width[width].at(at_s)) for key, rings in scopes.items() if width in rings.by_width
            ]
            found |= e_bh(_tested_flags(reference, expected, windows), alpha)
    return frozenset(found)


def _tested_flags(
    reference: Reference, expected: Expected, windows: Sequence[tuple[tuple[str, str], Counters | None]]
) -> list[tuple[float, Flag]]:
    """Return the log e-value of each flag, of the counters of scopes in one window."""
    tested: list[tuple[float, Flag]] = []
    for (segment, value), counters in windows:
        if counters is None or not (counters.rows or counters.requests):
            continue
        tested.append((_refused(counters), Flag(REFUSED, segment, value)))
        if not counters.rows:
            # They are tested all the same: what is left out for what it shows would make the others too easy.
            tested += [(-np.inf, Flag(name, segment, value)) for name in reference.names]
            continue
        logs = log_e_values(expected, counters)
        large = is_large(expected, counters)
        for j, name in enumerate(reference.names):
            tested.append((float(logs[j]) if large[j] else -np.inf, Flag(name, segment, value)))
    return tested


def _refused(counters: Counters) -> float:
    """Return the log e-value of "at most `REFUSED_RATE` of the requests are refused"."""
    if counters.refused <= REFUSED_RATE * counters.requests:
        return -np.inf
    rate = np.array(REFUSED_RATE)
    return float(rate_log_e_values(np.array(counters.refused), np.array(counters.requests), rate))


def e_bh(tested: list[tuple[float, Flag]], alpha: float) -> set[Flag]:
    """Return the flags that e-BH rejects at `alpha`, of pairs of log e-value and flag."""
    order = sorted(tested, key=lambda pair: -pair[0])
    most = 0
    for place, (log_e, _) in enumerate(order, start=1):
        if log_e >= np.log(len(order) / (place * alpha)):
            most = place
    return {flag for _, flag in order[:most]}


class Expected:
    """Rates that training had, with what its sample leaves open: columns x cells, and columns x violations."""

    def __init__(self, reference: Reference) -> None:
        self.columns = reference.columns
        width = max((column.cell_count for column in reference.columns), default=0) + 1
        self.shares = np.zeros((len(reference.columns), width))
        self.has_cells = np.zeros((len(reference.columns), width), dtype=bool)
        self.violations = np.zeros((len(reference.columns), len(Violation)))
        for j, profile in enumerate(reference.columns):
            count = profile.cell_count
            if is_open(profile) and count > 1:
                self.shares[j, :count] = profile.cell_shares
                self.shares[j, count] = _outside(profile)
                self.has_cells[j, : count + 1] = True
            self.violations[j] = _violations(profile)
        #: Columns x cells: which of the cells have an order, so that shares below and above each say something.
        self.has_order = np.zeros((len(reference.columns), width), dtype=bool)
        for j, profile in enumerate(reference.columns):
            self.has_order[j, : _ordered_cells(profile)] = is_open(profile)
        rows = max(1, min((column.rows for column in reference.columns), default=1))
        self.upper = upper_rates(self.shares, rows)
        self.violations_upper = upper_rates(self.violations, rows)
        below, above = in_order(np.where(self.has_order, self.shares, 0.0))
        self.below_upper, self.above_upper = upper_rates(below, rows), upper_rates(above, rows)


def upper_rates(rates: Floats, rows: int) -> Floats:
    """Return rates that training's sample does not rule out."""
    return np.asarray(np.minimum(1.0, rates + REFERENCE_Z * np.sqrt(rates * np.maximum(0.0, 1 - rates) / rows) + SLACK))


def in_order(counts: Floats) -> tuple[Floats, Floats]:
    """Return how much is in each cell or below, and how much is above; columns x cells."""
    below = np.cumsum(counts, axis=1)
    return below, below[:, -1:] - below


def _ordered_cells(profile: ColumnProfile) -> int:
    """Return how many cells, from the first on, are in the order of values."""
    if profile.numbers is None:
        return 0
    bins = len(profile.edges) + 1 if len(profile.edges) or not len(profile.points) else 0
    return bins or len(profile.points)


def _outside(profile: ColumnProfile) -> float:
    """Return the rate of values that fall in no cell, as far as training can tell (Good 1953)."""
    if profile.levels is not None:
        return profile.levels.unseen_rate
    return 2.0 / max(2, profile.rows)


def _violations(profile: ColumnProfile) -> Floats:
    rates = np.zeros(len(Violation))
    rates[Violation.NULL] = profile.null_share
    rates[Violation.UNSEEN] = profile.levels.unseen_rate if profile.levels is not None else 0.0
    # Two of n + 1 ranks are outside of n values.
    rates[Violation.OUT_OF_RANGE] = 2.0 / (profile.rows + 1)
    if profile.dtype == "object" or profile.encoding:
        # Training may have had it written in several ways, too.
        rates[Violation.TYPE] = 1.0
    return rates


def log_e_values(expected: Expected, counters: Counters) -> Floats:
    """Return the log e-value of each column: the mean of those of cells, order, violations, and bets on fit."""
    fit = _log_mean(counters.fit, np.full(len(counters.fit), counters.fit.shape[1]))
    return _mean_of(*_own_log_e_values(expected, counters), fit)


def are_far(expected: Expected, counters: Counters) -> np.ndarray:
    """Return which columns are far from training by their own values, and surely so; how others fit does not count.

    With rows as in training, the chance that any column ever is, is at most `ALPHA`.
    """
    logs = _mean_of(*_own_log_e_values(expected, counters))
    return np.asarray(is_moved(expected, counters) & (logs >= np.log(max(1, len(logs)) / ALPHA)))


def _own_log_e_values(expected: Expected, counters: Counters) -> tuple[Floats, Floats, Floats]:
    """Return the log e-values of each column's cells, their order, and violations."""
    by_cell = _tested(counters.cells, counters.rows, expected.upper, expected.has_cells)
    broken = np.minimum(counters.contract, counters.rows)
    by_kind = _tested(broken, counters.rows, expected.violations_upper, np.ones(broken.shape, dtype=bool))
    below, above = in_order(np.where(expected.has_order, counters.cells, 0))
    by_order = [
        _tested(counts, counters.rows, upper, expected.has_order)
        for counts, upper in ((below, expected.below_upper), (above, expected.above_upper))
    ]
    return (
        _log_mean(by_cell, np.maximum(1, expected.has_cells.sum(axis=1))),
        _log_mean(np.concatenate(by_order, axis=1), np.maximum(1, 2 * expected.has_order.sum(axis=1))),
        _log_mean(by_kind, np.full(len(by_kind), by_kind.shape[1])),
    )


def _mean_of(*logs: Floats) -> Floats:
    return _log_mean(np.stack(logs, axis=1), np.full(len(logs[0]), len(logs)))


def _tested(hits: Counts | Floats, rows: int, rates: Floats, is_tested: np.ndarray) -> Floats:
    """Return log e-values; 0 for the e-value of rates that are not exceeded, which is less than it could be."""
    places = is_tested & (hits > rows * rates)
    logs = np.full(hits.shape, -np.inf)
    logs[places] = rate_log_e_values(hits[places], np.array(rows), rates[places])
    return logs


def _log_mean(logs: Floats, count: Floats) -> Floats:
    """Return the logarithm of the mean over the last axis of what has these logarithms."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.logaddexp.reduce(logs, axis=1) - np.log(count))


def is_large(expected: Expected, counters: Counters) -> np.ndarray:
    """Return which columns moved far enough to care, or lost their fit with the others."""
    return np.asarray(is_moved(expected, counters) | (counters.fit.max(axis=1) > np.log(1 / ALPHA)))


def is_moved(expected: Expected, counters: Counters) -> np.ndarray:
    """Return which columns moved far enough to care."""
    excess = (counters.contract / max(1, counters.rows) - expected.violations).max(axis=1)
    return np.asarray((moved_shares(expected, counters) > LEAST_DISTANCE) | (excess > LEAST_VIOLATIONS))


def moved_shares(expected: Expected, counters: Counters) -> Floats:
    """Return the share of each column's rows that would have to be in other cells to be as in training."""
    shares = counters.cells / max(1, counters.rows)
    return np.asarray(0.5 * np.abs(np.where(expected.has_cells, shares - expected.shares, 0.0)).sum(axis=1))
