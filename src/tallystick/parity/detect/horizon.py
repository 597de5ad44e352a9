"""Counts over another window than training's, counted again from the events themselves.

Source: recomputing a feature from raw events for the same key and time, with a scan of the horizon; the window itself
is found by counting spans (`parity.windows`). As `detect.source`, this is a replay.
False positives: a busier population has other counts over the same window, and those are the events' own. Counts that
no window explains are left to `detect.window`, which knows training's distribution only.
"""

from __future__ import annotations

import numpy as np

from tallystick.parity.columns import Role
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.source import SURE_NATS
from tallystick.parity.history import Asked
from tallystick.parity.lags import FEWEST_ROWS, is_off
from tallystick.parity.live import Live
from tallystick.parity.parameters import percent, span
from tallystick.parity.windows import Counted, Window, window_of
from tallystick.parity.yardsticks import CLAIM_NATS, binomial_nats


def detect_horizon(live: Live, asked: Asked) -> list[Finding]:
    """Return the columns of counts whose window is not training's. Needs a reference that knows training's."""
    found = [_judge(live, j, column, trained) for j, column, trained in _counted(live, asked)]
    return sorted((each for each in found if each is not None), key=lambda each: -each.nats)


def held_windows(live: Live, asked: Asked) -> frozenset[str]:
    """Return the columns whose counts are those of training's window, counted again: whatever moved, not the window."""
    held = set()
    for j, column, trained in _counted(live, asked):
        fair = column.comparable(trained.window_s)
        off = fair & (column.served != column.at(trained.window_s))
        if int(fair.sum()) >= FEWEST_ROWS and not is_off(off, int(fair.sum())):
            held.add(live.reference.names[j])
    return frozenset(held)


def _counted(live: Live, asked: Asked) -> list[tuple[int, Counted, Window]]:
    windows = {name: timing.window for name, timing in live.reference.timing.items() if timing.window is not None}
    aligned = asked.aligned if windows else None
    if asked.history is None or aligned is None:
        return []
    found = []
    for name, trained in windows.items():
        j = live.reference.names.index(name)
        if j not in live.absent and live.reference.columns[j].role is Role.NUMBER:
            column = Counted(aligned, live.numbers(j), asked.history.first_s, trained.is_before)
            found.append((j, column, trained))
    return found


def _judge(live: Live, j: int, column: Counted, trained: Window) -> Finding | None:
    fair, due = column.comparable(trained.window_s), column.at(trained.window_s)
    off = fair & (column.served != due)
    if int(fair.sum()) < FEWEST_ROWS or not is_off(off, int(fair.sum())):
        return None
    # Rows that another window changes nothing in have its count too: all rows tell the window, or those that are off.
    found = window_of(column) or window_of(column, off)
    if found is None or (found.low_s < trained.high_s and found.high_s > trained.low_s):
        return None
    sent = column.at(found.window_s)
    late = off & (column.served == sent)
    distinct = len(np.unique(np.column_stack([column.aligned.codes[off], due[off]]), axis=0))
    explained = float(late.sum() / off.sum())
    nats = binomial_nats(round(explained * distinct), distinct, min(0.95, max(1e-3, found.by_chance)))
    nats -= float(np.log(max(1, found.looks)))
    if explained < 0.7 or nats < CLAIM_NATS:
        return None
    differs = fair & (sent != due)
    to, usual = span(found.window_s), span(trained.window_s)
    evidence = (
        f"{int(late.sum()):,} of {int(off.sum()):,} rows that have not the count of {usual} have that of {to}, counted "
        "again from the source's events",
        f"windows from {span(found.low_s)} to {span(found.high_s)} fit as well; other keys' events give such counts in "
        f"{percent(found.by_chance)} of rows",
        f"training had the count of {usual} in {percent(trained.share)} of {trained.rows:,} rows",
    )
    factor = found.window_s / trained.window_s
    return Finding(
        "window_changed",
        (live.reference.names[j],),
        {
            "factor": factor,
            "to": to,
            "from": usual,
            "window_s": found.window_s,
            "training_window_s": trained.window_s,
            "interval": [round(found.low_s, 1), round(found.high_s, 1)],
        },
        float(late.sum() / max(1, differs.sum())),
        nats,
        explained >= 0.9 and nats >= SURE_NATS,
        evidence,
        late,
        {j: np.where(late, due, live.numbers(j))},
        gain=nats,
        is_replayed=True,
    )
