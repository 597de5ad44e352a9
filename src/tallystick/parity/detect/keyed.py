"""Values of another time, told by the rows of one key alone: a lag within key, and a cache that stands still.

Source: the lag scan of `detect.stale`, with a key's own later rows in place of the next ones of the table: a column
that lags shows the value that goes with a row some rows, or some time, later. And the rate at which a key's values
change, beside training's at the same distance in time.
False positives: rows of one key are alike, so that each key counts once for the spread of the evidence. A column that
leads does not exist: only later values are tried, for the partners of a late column look early. Where a fault has
ended, later values mend earlier rows; but they go with their own rows, which late ones do not. Keys that rest, and
requests that are sent again, change nothing in any column: a column stands still only where another one moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tallystick.parity.columns import Floats, Mask, Role
from tallystick.parity.detect.finding import Finding
from tallystick.parity.lags import DAY
from tallystick.parity.live import Live
from tallystick.parity.parameters import percent, span
from tallystick.parity.profile import Ints
from tallystick.parity.screen import ColumnScreen
from tallystick.parity.spans import roundest
from tallystick.parity.timing import GAPS_S, changes
from tallystick.parity.yardsticks import CLAIM_NATS, binomial_nats, z_nats

#: A key's later rows that are tried, and times after a row; a row that is as late to a fifth of it counts.
LAG_ROWS = (1, 2, 3, 4, 5, 6, 8, 12, 24)
LAG_TIMES_S = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 6 * 3600.0, 12 * 3600.0, DAY, 2 * DAY, 3 * DAY, 7 * DAY)
NEAR = 0.2
#: Rows that have such a later one, and agreement with the others that the column has in training, in nats a row.
FEWEST_PAIRS, LEAST_COHERENCE = 40, 0.03
#: Keys from which each is one observation; of fewer, blocks of so many rows are.
FEWEST_KEYS, BLOCK_ROWS = 20, 8
#: Pairs that training must have at a distance; changes that are due; part of them from which a column moves, or not.
TRAINED_PAIRS, FEWEST_DUE, MOVES, STANDS = 50, 10.0, 0.5, 0.2
#: Pairs of one key that count at most: whether it moves is one fact.
PAIRS_PER_KEY = 3


@dataclass(frozen=True)
class _Lag:
    """For each row the place of the row of its key that is so much later; -1 where there is none."""

    later: Ints
    rows: int | None = None
    seconds: float | None = None


def detect_keyed(live: Live, screened: Sequence[ColumnScreen]) -> list[Finding]:
    """Return the column that lags behind its key the clearest, and those that stand still."""
    if live.asked is None or live.asked.keys is None or live.asked.times is None:
        return []
    codes, _ = pd.factorize(live.asked.keys)
    return [*_lagging(live, screened, codes, live.asked.times), *_standing(live, codes, live.asked.times)]


def _lagging(live: Live, screened: Sequence[ColumnScreen], codes: Ints, times: Floats) -> list[Finding]:
    tried = [lag for lag in _lags(codes, times) if (lag.later >= 0).sum() >= FEWEST_PAIRS]
    # A lag leaves a column's distribution as it was; with another one, something else is the matter.
    usual = [part for part in screened if part.p > 0.001 and part.odd_p > 0.001]
    columns = [part.column for part in usual if _is_told(live, part.column)]
    clusters = _clusters(codes, times)
    best: tuple[float, int, _Lag] | None = None
    for j in columns:
        for lag in tried:
            z = _z(live, j, lag, clusters)
            if best is None or z > best[0]:
                best = z, j, lag
    if best is None:
        return []
    z, j, lag = best
    nats = z_nats(z) - float(np.log(max(1, len(columns) * len(tried))))
    return [_lagging_finding(live, j, lag, z, nats, times)] if nats > 2 * CLAIM_NATS else []


def _is_told(live: Live, j: int) -> bool:
    is_open = j not in live.absent and j not in live.broken
    is_role = live.reference.columns[j].role in (Role.NUMBER, Role.LEVEL)
    return is_open and is_role and float(live.reference.joint.coherence[j][0]) >= LEAST_COHERENCE


def _lags(codes: Ints, times: Floats) -> list[_Lag]:
    usable = np.flatnonzero((codes >= 0) & np.isfinite(times))
    order = usable[np.lexsort((times[usable], codes[usable]))]
    whose, when = codes[order], times[order]
    found = []
    for rows in LAG_ROWS:
        later = np.full(len(codes), -1)
        if rows < len(order):
            same = whose[rows:] == whose[:-rows]
            later[order[:-rows][same]] = order[rows:][same]
        found.append(_Lag(later, rows=rows))
    # Times of one key after those of another: where a row that is so much later would stand.
    width = (float(when.max() - when.min()) if len(when) else 0.0) + 2 * LAG_TIMES_S[-1]
    line = whose * width + (when - (when.min() if len(when) else 0.0))
    for seconds in LAG_TIMES_S:
        later = np.full(len(codes), -1)
        if len(order):
            right = np.clip(np.searchsorted(line, line + seconds), 0, len(line) - 1)
            left = np.maximum(right - 1, 0)
            nearest = np.where(np.abs(line[left] - line - seconds) <= np.abs(line[right] - line - seconds), left, right)
            near = (np.abs(line[nearest] - line - seconds) <= NEAR * seconds) & (whose[nearest] == whose)
            near &= nearest != np.arange(len(line))
            later[order[near]] = order[nearest[near]]
        found.append(_Lag(later, seconds=seconds))
    return found


def _clusters(codes: Ints, times: Floats) -> Ints:
    if len(np.unique(codes[codes >= 0])) >= FEWEST_KEYS:
        return np.asarray(codes)
    order = np.lexsort((times, codes))
    whose = codes[order]
    starts = np.searchsorted(whose, whose, side="left")
    block = (np.arange(len(codes)) - starts) // BLOCK_ROWS
    clusters = np.empty(len(codes), dtype=np.int64)
    clusters[order] = pd.factorize(whose * (len(codes) + 1) + block)[0]
    return clusters


def _z(live: Live, j: int, lag: _Lag, clusters: Ints) -> float:
    """Return how much better the others fit the later value than the row's own, in standard errors over keys.

    Where a fault has ended, a later value mends a row too, but goes with its own row as well. A late one does not.
    """
    rows = np.flatnonzero(lag.later >= 0)
    later = lag.later[rows]
    table, cells = live.table(j), live.cells(j)
    fits = table[rows, cells[later]]
    return min(
        _over_keys(fits - table[rows, cells[rows]], clusters[rows]),
        _over_keys(fits - table[later, cells[later]], clusters[rows]),
    )


def _over_keys(difference: Floats, clusters: Ints) -> float:
    """Return a mean in standard errors, of rows that are alike within clusters."""
    sums = np.bincount(clusters, weights=difference - difference.mean())
    # Few rows that differ at all have a spread of their own.
    spread = max(float(np.sqrt(np.sum(sums**2))), 1e-3 * len(difference), float(np.abs(difference).max()))
    return float(difference.sum()) / spread


def _lagging_finding(live: Live, j: int, lag: _Lag, z: float, nats: float, times: Floats) -> Finding:
    rows = lag.later >= 0
    gaps = times[lag.later[rows]] - times[rows]
    low, high = (float(edge) for edge in np.quantile(gaps, (0.1, 0.9)))
    given: dict[str, Any] = {}
    if lag.rows is not None:
        given["lag_rows"] = lag.rows
    if lag.seconds is not None or high - low <= 2 * NEAR * high:
        given["lag_s"] = lag.seconds if lag.seconds is not None else roundest(low - 1e-6, high)
    what = f"{lag.rows} rows" if lag.rows is not None and lag.rows > 1 else "one row"
    when = f"about {span(lag.seconds)}" if lag.seconds is not None else what
    undone: Any = np.array(live.values[j], copy=True)
    undone[rows] = live.values[j][lag.later[rows]]
    evidence = (
        f"the other columns fit the value that the same key has {when} later better than the row's own "
        f"(z = {z:.1f} over keys, best of {len(LAG_ROWS) + len(LAG_TIMES_S)} lags)",
        f"{int(rows.sum()):,} of {live.rows:,} rows have a row of their key so much later",
    )
    return Finding(
        "stale",
        (live.reference.names[j],),
        {**given, "within": "key"},
        1.0,
        nats,
        False,
        evidence,
        np.ones(live.rows, dtype=bool),
        {j: undone},
        gain=nats,
        is_partly_undone=True,
    )


def _standing(live: Live, codes: Ints, times: Floats) -> list[Finding]:
    """Return the columns whose values change much more rarely than in training, where others change as they did."""
    due: dict[int, tuple[float, float, int]] = {}
    for j, profile in enumerate(live.reference.columns):
        timing = live.reference.timing.get(profile.name)
        if timing is None or not timing.pairs or j in live.absent or j in live.broken:
            continue
        pairs, changed, _ = changes(live.values[j], codes, times)
        trained, rate = np.array(timing.pairs), np.array(timing.changed) / np.maximum(1, np.array(timing.pairs))
        used = (trained >= TRAINED_PAIRS) & (pairs > 0)
        expected = float((pairs * rate)[used].sum())
        if len(trained) == len(GAPS_S) + 1 and expected >= FEWEST_DUE:
            due[j] = float(changed[used].sum()), expected, int(pairs[used].sum())
    moving = [j for j, (seen, expected, _) in due.items() if seen >= MOVES * expected]
    still = [j for j, (seen, expected, _) in due.items() if seen <= STANDS * expected]
    if not moving or len(still) > len(due) / 2:
        return []
    keys = len(np.unique(codes[codes >= 0]))
    found = [_standing_finding(live, j, *due[j], keys, len(moving)) for j in still]
    return [finding for finding in found if finding.nats > 2 * CLAIM_NATS]


def _standing_finding(live: Live, j: int, seen: float, expected: float, pairs: int, keys: int, moving: int) -> Finding:
    counted = min(pairs, PAIRS_PER_KEY * keys)
    nats = binomial_nats(round((1 - seen / pairs) * counted), counted, min(0.999, max(0.001, 1 - expected / pairs)))
    nats -= float(np.log(len(live.reference.columns)))
    everything: Mask = np.ones(live.rows, dtype=bool)
    evidence = (
        f"from row to row of one key the value changes in {percent(seen / pairs)} of {pairs:,} pairs; in training, at "
        f"the same distances in time, it would in {percent(expected / pairs)}",
        f"{moving} other columns of the same rows change as they did in training",
    )
    given = {"change_rate": seen / pairs, "training_change_rate": expected / pairs}
    share = float(np.clip(1 - seen / expected, 0.0, 1.0))
    return Finding("stale", (live.reference.names[j],), given, share, nats, False, evidence, everything, {}, gain=nats)
