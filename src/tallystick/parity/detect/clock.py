"""Times that lost their time of day, their minutes or their seconds.

Source: the share of times on whole days, hours and minutes (binomial against training's). False positives: a part of
the population whose times are dates only looks the same; what training has of them is allowed for, with a quarter more.
So does a part of the day where whole ones are popular: of those, training's next times are there as well, and rounding
brings whole ones from all over the day.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import kolmogorov

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.detect.finding import Finding
from tallystick.parity.live import Live
from tallystick.parity.matched import matched
from tallystick.parity.profile import NumberProfile
from tallystick.parity.yardsticks import CLAIM_NATS, binomial_nats, upper_share

UNITS = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))
#: Rows that tell, different times among them, and training's own share from which the unit says nothing.
FEWEST_ROWS, FEWEST_TIMES, USUAL = 5, 3, 0.8
#: Nats that a claim needs, and training's share below which nothing else gives such times.
LEAST_NATS, SELDOM = 1.5 * CLAIM_NATS, 0.2
#: Seconds by which a whole time may be off, for the errors of floats.
ON_UNIT_S = 1e-5
#: By how much a finer unit must tell more rows to be the one.
FINER = 1.02
#: Chance of the other times under which they are those of a part of the unit.
PART_P = 0.01
#: Part of training's times, and how many times as many as are whole, that are next to whole ones on either side.
NEXT_PART, NEXT_TIMES = 0.01, 3.0


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
        nats = binomial_nats(count, rows, _most_usual(usual, trained))
        if nats < LEAST_NATS or (best is not None and nats < FINER * best.gain):
            continue
        if _is_part_of_the_day(profile.numbers, seconds[known], length) or _is_of_the_mix(live, column, length):
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


def _most_usual(share: float, rows: float) -> float:
    """Return the share of whole times that another sample, or part, of the population may have."""
    return min(0.97, max(1.25 * share + 0.01, upper_share(share, rows)))


def _is_part_of_the_day(numbers: NumberProfile, seconds: Floats, length: float) -> bool:
    """Whether times lie in another part of the unit than training's, with no more whole ones than belong there."""
    own, rest = (np.mod(times[~_whole(times, length)], length) for times in (numbers.grid, seconds))
    if not len(own) or not len(rest):
        return False
    at = np.concatenate((own, rest))
    shares = [np.searchsorted(np.sort(each), at, side="right") / len(each) for each in (own, rest)]
    distance, size = float(np.abs(shares[0] - shares[1]).max()), len(own) * len(rest) / len(at)
    return kolmogorov(distance * np.sqrt(size)) < PART_P and _next_nats(numbers, seconds, length) < LEAST_NATS


def _next_nats(numbers: NumberProfile, seconds: Floats, length: float) -> float:
    """Return what speaks for rounding among whole times and those that are next to them in training, in nats.

    Each side by itself, as a part of the day may end at a whole time.
    """
    trained, sent = _off(numbers.grid, length), _off(seconds, length)
    whole, least = int((trained == 0).sum()), np.inf
    for side in (1.0, -1.0):
        own = np.sort(side * trained[side * trained > 0])
        if not len(own):
            continue
        needed = int(np.ceil(max(NEXT_PART * len(trained), NEXT_TIMES * whole)))
        last = own[min(needed, len(own)) - 1]
        beside = int((own <= last).sum())
        count = int((sent == 0).sum())
        rows = count + int(((side * sent > 0) & (side * sent <= last)).sum())
        share = whole / (whole + beside)
        least = min(least, binomial_nats(count, rows, _most_usual(share, min(numbers.rows, whole + beside))))
    return least


def _off(seconds: Floats, length: float) -> Floats:
    """Return by how much times are after the nearest whole unit, or before it where below 0."""
    off = seconds - np.round(seconds / length) * length
    return np.asarray(np.where(np.abs(off) < ON_UNIT_S, 0.0, off))


def _is_of_the_mix(live: Live, column: int, length: float) -> bool:
    """Whether training rows that are like the live ones in other columns are as often whole, too."""
    mix = matched(live, column)
    if mix is None:
        return False
    own, seconds = mix.golden.numbers(column), live.numbers(column)
    usual, _ = mix.mean(_whole(own, length).astype(np.float64), np.isfinite(own))
    known = np.isfinite(seconds)
    count = int(_whole(seconds[known], length).sum())
    return binomial_nats(count, int(known.sum()), _most_usual(usual, mix.size)) < LEAST_NATS


def _whole(seconds: Floats, length: float) -> Mask:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(seconds - np.round(seconds / length) * length) < ON_UNIT_S)


def _forward(name: str, length: float) -> Any:
    def put(columns: Mapping[str, Any]) -> dict[str, Any]:
        return {name: np.floor(np.asarray(columns[name], dtype=np.float64) / length) * length}

    return put
