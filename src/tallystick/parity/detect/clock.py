"""Times that lost their time of day, their minutes or their seconds.

Source: the share of times on whole days, hours and minutes (binomial against training's). False positives: a part of
the population whose times are dates only looks the same; what training has of them is allowed for, with a quarter more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.detect.finding import Finding
from tallystick.parity.live import Live
from tallystick.parity.yardsticks import CLAIM_NATS, binomial_nats, upper_share

UNITS = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))
#: Rows that tell, different times among them, and training's own share from which the unit says nothing.
FEWEST_ROWS, FEWEST_TIMES, USUAL = 5, 3, 0.8
#: Nats that a claim needs, and training's share below which nothing else gives such times.
LEAST_NATS, SELDOM = 1.5 * CLAIM_NATS, 0.2
#: By how much a finer unit must tell more rows to be the one.
FINER = 1.02


def coarse_clock(live: Live, column: int) -> Finding | None:
    """Return that times are whole days, hours, minutes or seconds where training's were finer."""
    profile, seconds = live.reference.columns[column], live.numbers(column)
    assert profile.numbers is not None
    if profile.numbers.is_coarse:
        # Nothing is known of the unit that training's times had.
        return None
    known = np.isfinite(seconds)
    rows = int(known.sum())
    best: Finding | None = None
    for unit, length in UNITS:
        whole = known & _whole(seconds, length)
        count, usual = int(whole.sum()), float(_whole(profile.numbers.grid, length).mean())
        if rows < FEWEST_ROWS or usual > USUAL or len(np.unique(seconds[whole])) < FEWEST_TIMES:
            continue
        trained = min(profile.numbers.rows, len(profile.numbers.grid))
        nats = binomial_nats(count, rows, min(0.97, max(1.25 * usual + 0.01, upper_share(usual, trained))))
        if nats < LEAST_NATS or (best is not None and nats < FINER * best.gain):
            continue
        share = float(np.clip((count / rows - usual) / (1 - usual), 0.0, 1.0))
        best = Finding(
            "rounded",
            (profile.name,),
            {"unit": unit},
            1.0 if count > 0.99 * rows else share,
            nats,
            usual < SELDOM,
            (f"{count} of {rows} times are whole {unit}s; in training {usual:.1%}",),
            whole,
            {},
            _forward(profile.name, length),
            gain=nats,
        )
    return best


def _whole(seconds: Floats, length: float) -> Mask:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(seconds - np.round(seconds / length) * length) < 1e-5)


def _forward(name: str, length: float) -> Any:
    def put(columns: Mapping[str, Any]) -> dict[str, Any]:
        return {name: np.floor(np.asarray(columns[name], dtype=np.float64) / length) * length}

    return put
