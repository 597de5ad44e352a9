"""Times: the unit of the epoch, day and month exchanged, hours of another zone.

Source: ISO 8601 and POSIX time; hours are compared on the circle. False positives: hours of the day differ between
populations as anything does, so a shift needs the other columns (they know morning from evening) or hours that training
never had.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from tallystick.parity.columns import (
    EPOCH_UNITS,
    Floats,
    Mask,
    Times,
    epoch_unit,
    is_null_word,
    read_numbers,
    read_texts,
    read_times,
)
from tallystick.parity.density import fit_share, log_density, mixed, mixture_z, posterior
from tallystick.parity.detect.calendar import (
    Dates,
    exchanged_in_part,
    lag_nats,
    month_table,
    odd_dates,
    off_the_clock,
    read_dates,
    said_by_day,
    zone_of,
)
from tallystick.parity.detect.clock import coarse_clock
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.hours import shift_finding
from tallystick.parity.detect.streamed import are_in_order
from tallystick.parity.distribution import cdf
from tallystick.parity.live import Live
from tallystick.parity.profile import ColumnProfile
from tallystick.parity.spelled import date_numbers, example_of, read_spelled
from tallystick.parity.yardsticks import CLAIM_NATS, binomial_nats, odd_rows

_DAY_S = 86400.0
FORM_NATS = 12.0
#: Nats that the months' word costs: it is counted on few rows.
MONTH_COST = 1.0
#: Nats of a date on a day that training never had, and the part of such dates that may not be exchangeable.
STRANGE_NATS, ODD_TOO = 5.0, 0.25
#: Dates of which some are exchanged: how many at least, and the part of those that can be from which it is all of them.
FEWEST_EXCHANGED, MOST_IN_PART = 4, 0.85


def read_live_times(profile: ColumnProfile, series: pd.Series[Any]) -> tuple[Floats, list[Finding]]:
    """Return seconds since 1970 with a wrong unit undone, and findings about how the times were written."""
    assert profile.numbers is not None
    read, findings = _read(profile, series)
    if read is None:
        return np.full(len(series), np.nan), findings
    seconds, low, high = read.seconds.copy(), profile.numbers.minimum, profile.numbers.maximum
    slack = max(high - low, 400 * _DAY_S)
    inside = (seconds > low - 5 * slack) & (seconds < high + 5 * slack)
    for power in (3, 6, 9, -3, -6, -9):
        scaled = seconds * 10.0**power
        rows = np.isfinite(seconds) & ~inside & (scaled > low - slack) & (scaled < high + slack)
        if rows.any():
            seconds[rows] = scaled[rows]
            findings.append(_epoch(profile, rows, f"10^{-power}", {"factor": 10.0**-power}))
    if not findings:
        seconds, findings = _collapsed(profile, seconds)
    return seconds, findings


def _collapsed(profile: ColumnProfile, seconds: Floats) -> tuple[Floats, list[Finding]]:
    """Undo a smaller unit read as a larger one where training's range has room for it: all of it within hours of 1970.

    Training may have had such times, too, but few: whole decades lie in so small a part of them.
    """
    numbers = profile.numbers
    assert numbers is not None
    for power in (3, 6, 9):
        low, high = sorted((numbers.minimum / 10.0**power, numbers.maximum / 10.0**power))
        rows = np.isfinite(seconds) & (seconds >= low) & (seconds <= high)
        if not rows.any():
            continue
        ends = cdf(numbers, np.array([low, high]))
        usual = float(ends[1] - ends[0]) + 2.0 / len(numbers.grid)
        count, known = int(rows.sum()), int(np.isfinite(seconds).sum())
        is_spread = len(np.unique(seconds[rows])) > count / 2
        if usual < 0.2 and is_spread and binomial_nats(count, known, usual) > 2 * CLAIM_NATS:
            scaled = np.where(rows, seconds * 10.0**power, seconds)
            return scaled, [_epoch(profile, rows, f"10^{-power}", {"factor": 10.0**-power})]
    return seconds, []


def _read(profile: ColumnProfile, series: pd.Series[Any]) -> tuple[Times | None, list[Finding]]:
    series = series.infer_objects() if series.dtype == object else series
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return read_times(series, profile.encoding), []
    if pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_complex_dtype(series.dtype):
        return _read_counted(profile, read_numbers(series).values)
    return _read_written(profile, series)


def _read_counted(profile: ColumnProfile, values: Floats) -> tuple[Times, list[Finding]]:
    """Read numbers: of the epoch, or dates written as numbers."""
    numbers, known = profile.numbers, np.isfinite(values)
    assert numbers is not None
    slack = max(numbers.maximum - numbers.minimum, 400 * _DAY_S)
    dates = date_numbers(values, numbers.minimum - slack, numbers.maximum + slack)
    if dates is not None:
        form, seconds = dates
        finding = _epoch(profile, known, form, {"from": profile.encoding, "to": form})
        text = f"{int(known.sum())} of {len(known)} times are numbers that write dates as {form}; so read, they lie"
        finding = replace(finding, evidence=(f"{text} about training's range",))
        return Times(seconds, f"number:{form}", known & np.isnan(seconds)), [finding]
    if profile.encoding.startswith("epoch_"):
        return Times(values / EPOCH_UNITS[profile.encoding.removeprefix("epoch_")], profile.encoding), []
    unit = epoch_unit(values) or "s"
    finding = _epoch(profile, known, unit, {"from": profile.encoding, "to": f"epoch {unit}"})
    return Times(values / EPOCH_UNITS[unit], f"epoch_{unit}"), [finding] if known.any() else []


def _read_written(profile: ColumnProfile, series: pd.Series[Any]) -> tuple[Times | None, list[Finding]]:
    """Read text in training's notation, then in any other; what is left is told."""
    if profile.encoding.startswith("epoch_"):
        read, findings = _read_counted(profile, read_numbers(series).values)
        seconds = read.seconds.copy()
    else:
        numbered, findings = _numbers_among(profile, series)
        usual = _read_as_usual(profile, series if numbered is None else series.where(np.isnan(numbered)))
        seconds = np.full(len(series), np.nan) if usual is None else usual.seconds.copy()
        seconds = seconds if numbered is None else np.where(np.isnan(numbered), seconds, numbered)
    given, texts = series.notna().to_numpy(), read_texts(series)
    left = given & ~np.isfinite(seconds)
    if left.any():
        seconds[left], counted = read_spelled(texts[left])
        rows = np.zeros(len(series), dtype=bool)
        rows[left] = counted
        if rows.any():
            findings = [*findings, _form(profile, "numeric_as_text", series, rows, "times are numbers in text")]
    return Times(seconds, profile.encoding), [*findings, *_unread(profile, series, given & ~np.isfinite(seconds))]


def _numbers_among(profile: ColumnProfile, series: pd.Series[Any]) -> tuple[Floats | None, list[Finding]]:
    """Return the seconds of dates that are written as numbers in some rows, NaN in others; None where there are none.

    A parser of times would take them for nanoseconds since 1970.
    """
    rows = np.array([isinstance(value, int | float | np.number) and value == value for value in series], dtype=bool)
    if not rows.any() or rows.all():
        return None, []
    values = np.where(rows, pd.to_numeric(series.where(rows), errors="coerce").to_numpy(dtype=np.float64), np.nan)
    read, findings = _read_counted(profile, values)
    return (read.seconds, findings) if read.encoding.startswith("number:") else (None, [])


def _read_as_usual(profile: ColumnProfile, series: pd.Series[Any]) -> Times | None:
    wanted = profile.encoding if profile.encoding.startswith("text:") else None
    read = read_times(series, wanted)
    if read is None or np.isnan(read.seconds).mean() > 0.5:
        other = read_times(series)
        read = other if other is not None else read
    return read


def _unread(profile: ColumnProfile, series: pd.Series[Any], rows: Mask) -> list[Finding]:
    """Tell what stands where a time should: words for a missing one, and text that is no time."""
    tokens = rows & np.array([is_null_word(str(value)) for value in series], dtype=bool)
    found = []
    if tokens.any():
        found.append(_form(profile, "null_token", series, tokens, "values are words for a missing one"))
    if (rows & ~tokens).any():
        told = f"values of {profile.name} cannot be read as times"
        found.append(_form(profile, "unreadable", series, rows & ~tokens, told))
    return found


def _form(profile: ColumnProfile, kind: str, series: pd.Series[Any], rows: Mask, told: str) -> Finding:
    example, count = example_of(series, rows), int(rows.sum())
    text = f"{count} of {len(rows)} {told}, such as {example}"
    shown = {"tokens": sorted(set(series[rows].astype(str)))[:10]} if kind == "null_token" else {"example": example}
    return Finding(kind, (profile.name,), shown, float(rows.mean()), FORM_NATS * count, True, (text,), rows, gain=1e6)


def _epoch(profile: ColumnProfile, rows: Mask, unit: str, parameters: dict[str, Any]) -> Finding:
    text = (
        f"{int(rows.sum())} of {len(rows)} times are off by a unit of the epoch ({unit}); "
        "undone, they lie in training's range"
    )
    share = float(rows.mean())
    return Finding(
        "epoch_unit", (profile.name,), parameters, share, FORM_NATS * rows.sum(), True, (text,), rows, gain=1e5
    )


def detect_times(live: Live, column: int) -> list[Finding]:
    """Return day/month exchanges, hour shifts and a lost time of day in a column of times."""
    shifted = _ahead_of_requests(live, column) or _off_the_clock(live, column) or _shifted_hours(live, column)
    found = [_swapped_days(live, column), shifted, coarse_clock(live, column)]
    return [finding for finding in found if finding is not None]


def _swapped_days(live: Live, column: int) -> Finding | None:
    profile = live.reference.columns[column]
    assert profile.numbers is not None
    seconds = live.numbers(column)
    dates = read_dates(seconds)
    can, undone = dates.can, dates.turned
    if can.sum() < 5:
        return None
    in_part = _swapped_in_part(live, column, dates)
    if in_part is not None or are_in_order(live, dates, seconds):
        return in_part
    strange, still = odd_dates(profile, seconds), odd_dates(profile, undone)
    if (~can).any() and strange[~can].mean() > ODD_TOO * strange[can].mean():
        # Dates that cannot be exchanged are as strange: these are other days, not another order.
        strange, still = np.zeros_like(strange), np.zeros_like(still)
    outside = odd_rows(profile, seconds)
    ratio = log_density(profile.numbers, None, undone) - log_density(profile.numbers, None, seconds)
    if (~can).any() and outside[~can].mean() > ODD_TOO * outside[can].mean():
        # So are dates that cannot be exchanged: the rows are of another time.
        ratio, outside = np.zeros_like(ratio), np.zeros_like(outside)
    ratio += STRANGE_NATS * (strange.astype(np.float64) - still)
    heard, said = np.zeros(len(seconds)), 0.0
    table = month_table(live, column)
    if table is not None:
        each = np.arange(len(seconds))
        here, back = table[each, dates.month - 1], table[each, np.minimum(dates.day, 12) - 1]
        heard = np.where(can, back - here, 0.0)
    shares, gains = fit_share((ratio + heard)[None, can])
    weight = posterior(ratio[can], float(shares[0]))
    if table is not None:
        z = mixture_z(weight, here[can], back[can])
        said = said_by_day(seconds[can], mixed(weight, heard[can]), z) - MONTH_COST
    odd = int((outside | strange)[can].sum())
    lags = lag_nats(seconds, dates, live.requests)
    nats = max(float(gains[0]), float(ratio[can].sum())) if odd else 0.0
    nats = max(nats + min(said, 0.0), said, nats + said) + lags
    everywhere = shares[0] > 0.85 or (lags > CLAIM_NATS and shares[0] > 0.5)
    rows = can if everywhere else can & (posterior(ratio + heard, float(shares[0])) > 0.5)
    repaired = np.where(rows, undone, seconds)
    after = (odd_rows(profile, repaired) | (rows & still) | (~rows & strange))[can]
    if nats < CLAIM_NATS or after.sum() > max(1, odd):
        return None
    evidence = [
        f"{odd} dates lie outside training's range or days, {int(after.sum())} with day "
        "and month exchanged; days above 12 are as they were",
    ]
    if said > 1:
        evidence.append(f"the other columns know the month of the exchanged date ({said:.0f} nats)")
    if lags > 1:
        evidence.append("exchanged, the dates are as long before their requests as dates that cannot be exchanged")
    return Finding(
        "day_month_swapped",
        (profile.name,),
        {},
        1.0 if everywhere else float(shares[0]),
        nats,
        odd >= 3 or lags > 2 * CLAIM_NATS,
        tuple(evidence),
        rows,
        {column: repaired},
        gain=max(nats, float(gains[0])) + 2.0 * max(lags, 0.0),
    )


def _swapped_in_part(live: Live, column: int, dates: Dates) -> Finding | None:
    """Return that some dates are exchanged: those that lie about their requests only when exchanged, others as sent."""
    name, seconds = live.reference.names[column], live.numbers(column)
    nats, rows = exchanged_in_part(seconds, dates, live.requests)
    count, able = int(rows.sum()), int(dates.can.sum())
    if nats < CLAIM_NATS or count < FEWEST_EXCHANGED or count > MOST_IN_PART * able:
        return None
    evidence = (
        f"{count} of {able} dates that can be exchanged lie far from their requests, and exchanged as near to them as "
        "the others do as sent",
    )
    repaired = np.where(rows, dates.turned, seconds)
    is_sure = nats > 2 * CLAIM_NATS
    return Finding(
        "day_month_swapped", (name,), {}, count / able, nats, is_sure, evidence, rows, {column: repaired}, gain=nats
    )


def _ahead_of_requests(live: Live, column: int) -> Finding | None:
    """Return the shift of times that are whole hours later than the requests that carry them."""
    seconds = live.numbers(column)
    found = zone_of(seconds, live.requests)
    if found is None:
        return None
    hours, rows = found
    count, known = int(rows.sum()), int(np.isfinite(seconds).sum())
    evidence = (f"{count} of {known} times are {hours:g} h later than their requests, to minutes",)
    repaired = np.where(rows, seconds - 3600.0 * hours, seconds)
    share = 1.0 if count > 0.97 * known else count / known
    name = live.reference.names[column]
    return Finding(
        "time_zone",
        (name,),
        {"hours": int(hours)},
        share,
        2.0 * count,
        True,
        evidence,
        rows,
        {column: repaired},
        gain=2.0 * count,
    )


def _off_the_clock(live: Live, column: int) -> Finding | None:
    """Return the shift of dates whose time of day was always the same in training."""
    profile, seconds = live.reference.columns[column], live.numbers(column)
    found = off_the_clock(profile, seconds)
    if found is None:
        return None
    hours, rows = found
    count, known = int(rows.sum()), int(np.isfinite(seconds).sum())
    evidence = (f"{count} of {known} times are {hours:+g} h off the time of day that all of training had",)
    return Finding(
        "time_zone",
        (profile.name,),
        {"hours": int(hours) if hours == int(hours) else hours},
        1.0 if count > 0.97 * known else count / known,
        FORM_NATS + 2.0 * count,
        True,
        evidence,
        rows,
        {column: np.where(rows, seconds - 3600.0 * hours, seconds)},
        gain=FORM_NATS + 2.0 * count,
    )


def _shifted_hours(live: Live, column: int) -> Finding | None:
    seconds = live.numbers(column)
    cells = live.cells(column)
    known = np.isfinite(seconds)
    if len(np.unique(cells[known])) < 6:
        return None
    return shift_finding(live, column, 24, lambda values, shift: values - 3600.0 * shift)
