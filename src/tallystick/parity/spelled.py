"""Times in notations that training did not use: ISO 8601 with a zone, dates by day or month first, numbers for dates.

What is read here is fair data in other words; what cannot be read stays unread, so that it is told as that and not as
missing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tallystick.parity.columns import EPOCH_RANGE_S, EPOCH_UNITS, Floats, Mask, Texts, seconds_in

_NUMBER = re.compile(r"^\d{9,19}(\.\d+)?$")
_COMPACT = re.compile(r"^(19|20)\d{2}[01]\d[0-3]\d([T ]?\d{6})?Z?$")
_YEAR_FIRST = re.compile(r"^\d{4}([-/.])\d{1,2}\1\d{1,2}([T ].*)?$")
_YEAR_LAST = re.compile(r"^(\d{1,2})([./-])(\d{1,2})\2(\d{4})(?:[T ,]+(\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?))?$")
#: Days from 1899-12-30, where spreadsheets count from, to 1970, and the numbers of days that are dates (1949 to 2119).
EXCEL_EPOCH_DAYS = 25569.0
EXCEL_DAYS = (18_000.0, 80_000.0)
_DAY_S = 86400.0
#: Part of the numbers of a column that must be dates in one notation, and part that must lie about training's range.
NEARLY_ALL, MOST = 0.98, 0.8


def read_spelled(texts: Texts) -> tuple[Floats, Mask]:
    """Return seconds since 1970 of texts, NaN where they are no times, and which were numbers that count the epoch.

    Day or month first is told by all texts of a sign together; dots put the day first.

    >>> read_spelled(np.array(["2025-01-27T15:51:00Z", "soon", "1737993060000"], dtype=object))[0].tolist()
    [1737993060.0, nan, 1737993060.0]
    """
    codes, distinct = pd.factorize(np.array([None if t is None else t.strip() for t in texts], dtype=object))
    month_first = _month_first(distinct.tolist())
    known = np.full(len(distinct) + 1, np.nan)
    counts = np.zeros(len(distinct) + 1, dtype=bool)
    for place, text in enumerate(distinct):
        counts[place] = bool(_NUMBER.match(text)) and not _COMPACT.match(text)
        known[place] = _epoch_of(float(text)) if counts[place] else np.nan
    plain = pd.Series([_iso(text, month_first) for text in distinct], dtype=object)
    dates = ~counts[:-1] & plain.notna().to_numpy()
    known[:-1][dates] = seconds_in(plain[dates])
    counts &= np.isfinite(known)
    return known[codes], counts[codes]


def _epoch_of(number: float) -> float:
    low, high = EPOCH_RANGE_S
    return next((number / unit for unit in EPOCH_UNITS.values() if low * unit < number < high * unit), np.nan)


def _month_first(distinct: Sequence[str]) -> frozenset[str]:
    """Return the signs between the parts of dates that have the month first."""
    parts = [match.groups() for match in map(_YEAR_LAST.match, distinct) if match]
    firsts = {sign: max(int(first) for first, own, *_ in parts if own == sign) for _, sign, *_ in parts}
    seconds = {sign: max(int(second) for _, own, second, *_ in parts if own == sign) for _, sign, *_ in parts}
    return frozenset(sign for sign in firsts if sign != "." and firsts[sign] <= 12 < seconds[sign])


def _iso(text: str, month_first: frozenset[str]) -> str | None:
    """Return a time in ISO 8601, or None where the text is in no notation of times."""
    if _YEAR_FIRST.match(text):
        year, month, rest = re.split(r"[-/.]", text, maxsplit=2)
        day, clock = re.split(r"(?!\d)", rest, maxsplit=1)
        return f"{year}-{month:0>2}-{day:0>2}{clock}"
    if _COMPACT.match(text):
        clock = text[8:].strip("TZ ")
        day = f"{text[:4]}-{text[4:6]}-{text[6:8]}"
        return f"{day}T{clock[:2]}:{clock[2:4]}:{clock[4:]}" if clock else day
    match = _YEAR_LAST.match(text)
    if match is None:
        return None
    first, sign, second, year, clock = match.groups()
    day, month = (second, first) if sign in month_first else (first, second)
    clock = f"T{clock:0>5}" if clock and clock.index(":") == 2 else f"T0{clock}" if clock else ""
    return f"{year}-{month:0>2}-{day:0>2}{clock}"


def date_numbers(values: Floats, low: float, high: float) -> tuple[str, Floats] | None:
    """Return the notation and the seconds of numbers that write dates: `yyyymmdd` or `Excel days`; None for others.

    They are dates only where most of them then lie between `low` and `high`, in seconds since 1970.

    >>> date_numbers(np.array([45000.5, np.nan]), 1.6e9, 1.8e9)
    ('Excel days', array([1.6788816e+09,           nan]))
    """
    known = np.isfinite(values)
    if not known.any():
        return None
    forms: list[tuple[str, Floats]] = []
    if np.mean((values[known] > EXCEL_DAYS[0]) & (values[known] < EXCEL_DAYS[1])) >= NEARLY_ALL:
        forms.append(("Excel days", np.round((values - EXCEL_EPOCH_DAYS) * _DAY_S, 3)))
    is_day = known & (values == np.floor(np.where(known, values, 0.5))) & (values > 19000000) & (values < 21010000)
    if is_day[known].mean() >= NEARLY_ALL:
        seconds = np.full(len(values), np.nan)
        text = pd.Series([f"{int(v)}" for v in values[is_day]], dtype=object)
        seconds[is_day] = read_spelled(text.to_numpy())[0]
        forms.append(("yyyymmdd", seconds))
    for name, seconds in forms:
        inside = (seconds[known] >= low) & (seconds[known] <= high)
        if inside.mean() >= MOST:
            return name, seconds
    return None


def example_of(series: pd.Series[Any], rows: Mask) -> str:
    """Return one of the values as it was sent, shortened."""
    return repr(str(series[rows].iloc[0])[:40])
