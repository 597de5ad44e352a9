"""How old training's values were: the lag of its rows to the source, and how often a key's values change.

A few numbers for each column, made from keys, times and, where there is one, the source. Neither keys nor times are
kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from tallystick.parity.columns import Floats, Role
from tallystick.parity.history import Asked, align
from tallystick.parity.joint import Values
from tallystick.parity.lags import DAY, Lag, compared, lag_of
from tallystick.parity.parameters import percent, span
from tallystick.parity.profile import ColumnProfile, Ints
from tallystick.parity.windows import Window, trained_window
from tallystick.printable import named

#: Rows of one key are apart by up to a minute, an hour, a day, a week, or more: rates of change are counted by that.
GAPS_S = (60.0, 3600.0, DAY, 7 * DAY)
#: Rows that training's lag is taken from, the latest ones: the source rarely goes back further.
LAG_ROWS = 20_000


class Timing(msgspec.Struct, frozen=True):
    """One column: `pairs` of a key's consecutive rows by their distance (see `GAPS_S`), and those that `changed`."""

    pairs: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()
    #: Half of the rows carry a value that the key had for longer than that, in seconds; None where rows are too few.
    age_s: float | None = None
    #: None without a source, or where training's values are not the source's at any lag.
    lag: Lag | None = None
    #: Of a column of counts, where the source is a table of events that explains them.
    window: Window | None = None


def timings(
    profiles: Sequence[ColumnProfile], values: Sequence[Values], asked: Asked, source: Mapping[str, Any]
) -> dict[str, Timing]:
    """Return each column's timing; empty without keys and times. `source` are its columns, read as the values are."""
    if asked.keys is None or asked.times is None:
        return {}
    aligned, picked = None, np.argsort(asked.times, kind="stable")[-LAG_ROWS:]
    if asked.history is not None:
        aligned = align(asked.history, asked.keys[picked], asked.times[picked])
    codes, _ = pd.factorize(asked.keys)
    found = {}
    for profile, column in zip(profiles, values, strict=True):
        pairs, changed, age_s = changes(column, codes, asked.times)
        lag, window = None, None
        if aligned is not None and asked.history is not None and _may_count(profile):
            window = trained_window(aligned, np.asarray(column[picked], dtype=np.float64), asked.history.first_s)
        if aligned is not None and profile.name in source:
            lag = lag_of(compared(aligned, source[profile.name], column[picked], digits_of(profile)))
        found[profile.name] = Timing(tuple(pairs.tolist()), tuple(changed.tolist()), age_s, lag, window)
    return found


def _may_count(profile: ColumnProfile) -> bool:
    numbers = profile.numbers
    return profile.role is Role.NUMBER and numbers is not None and numbers.decimals <= 0 <= numbers.minimum


def digits_of(profile: ColumnProfile) -> int | None:
    """Return the decimals of training's numbers, None for other columns."""
    is_number = profile.role is Role.NUMBER and profile.numbers is not None
    return profile.numbers.decimals if is_number and profile.numbers is not None else None


def changes(values: Values, codes: Ints, times: Floats) -> tuple[Ints, Ints, float | None]:
    """Return, by distance in time, pairs of a key's consecutive rows, those that changed, and the median age.

    `codes` are keys as numbers, negative where there is none. A value's age counts from the key's first row with it.
    """
    usable = np.flatnonzero((codes >= 0) & np.isfinite(times))
    order = usable[np.lexsort((times[usable], codes[usable]))]
    column = np.asarray(values)
    numbers = pd.factorize(column)[0] if column.dtype == object else column.astype(np.float64)
    ordered, whose, when = numbers[order], codes[order], times[order]
    is_pair = whose[1:] == whose[:-1]
    with np.errstate(invalid="ignore"):
        is_same = (ordered[1:] == ordered[:-1]) | ((ordered[1:] != ordered[1:]) & (ordered[:-1] != ordered[:-1]))
    gap = when[1:] - when[:-1]
    place = np.searchsorted(np.array(GAPS_S), gap, side="left")
    size = len(GAPS_S) + 1
    pairs = np.bincount(place[is_pair], minlength=size)
    changed = np.bincount(place[is_pair & ~is_same], minlength=size)
    begins = np.concatenate([[True], ~(is_pair & is_same)]) if len(order) else np.zeros(0, dtype=bool)
    starts = when[begins][np.cumsum(begins) - 1] if len(order) else when
    return pairs, changed, float(np.median(when - starts)) if pairs.sum() >= 30 else None


def from_the_future(timing: Mapping[str, Timing]) -> list[str]:
    """Return one sentence for each column that training took from after its rows' times."""
    found = []
    for name, each in timing.items():
        lag = each.lag
        if lag is not None and lag.is_told and lag.lag_s < 0:
            found.append(
                f"{named(name)}: equals the source's value {span(-lag.lag_s)} AFTER the row's time in "
                f"{percent(lag.share)} of rows, and its value at that time in {percent(lag.share_without)}; "
                "serving will not know it: join as of the row's time"
            )
    return found
