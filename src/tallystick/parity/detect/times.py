"""Times: the unit of the epoch, day and month exchanged, hours of another zone.

Source: ISO 8601 and POSIX time; hours are compared on the circle. False positives: hours of the day differ between
populations as anything does, so a shift needs the other columns (they know morning from evening) or hours that training
never had.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tallystick.parity.columns import EPOCH_UNITS, Floats, Mask, Times, epoch_unit, read_numbers, read_times
from tallystick.parity.density import fit_share, log_density, mixed, mixture_z, posterior
from tallystick.parity.detect.calendar import lag_nats, month_table, odd_dates, off_the_clock, read_dates, zone_of
from tallystick.parity.detect.finding import CLAIM_NATS, Finding, binomial_nats, odd_rows, trusted_nats
from tallystick.parity.live import Live
from tallystick.parity.profile import ColumnProfile, cdf

_DAY_S = 86400.0
FORM_NATS = 12.0
#: Nats that the months' word costs: it is counted on few rows.
MONTH_COST = 1.0
#: Nats of a date on a day that training never had, and the part of such dates that may not be exchangeable.
STRANGE_NATS, ODD_TOO = 5.0, 0.25


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
        ends = cdf(numbers, np.array([low, high]))
        usual = float(ends[1] - ends[0]) + 2.0 / len(numbers.grid)
        count, known = int(rows.sum()), int(np.isfinite(seconds).sum())
        is_spread = len(np.unique(seconds[rows])) > count / 2
        if usual < 0.2 and is_spread and binomial_nats(count, known, usual) > 2 * CLAIM_NATS:
            scaled = np.where(rows, seconds * 10.0**power, seconds)
            return scaled, [_epoch(profile, rows, f"10^{-power}", {"factor": 10.0**-power})]
    return seconds, []


def _read(profile: ColumnProfile, series: pd.Series[Any]) -> tuple[Times | None, list[Finding]]:
    stamps = pd.api.types.is_datetime64_any_dtype(series.dtype)
    numeric = pd.api.types.is_numeric_dtype(series.dtype)
    if stamps or profile.encoding.startswith("epoch_"):
        numbers = series if stamps or numeric else pd.Series(read_numbers(series).values)
        if not stamps and profile.encoding.startswith("epoch_"):
            per_second = EPOCH_UNITS[profile.encoding.removeprefix("epoch_")]
            return Times(read_numbers(numbers).values / per_second, profile.encoding), []
        return read_times(numbers, profile.encoding), []
    if numeric:
        values = read_numbers(series).values
        unit = epoch_unit(values) or "s"
        finding = _epoch(profile, np.isfinite(values), unit, {"from": profile.encoding, "to": f"epoch {unit}"})
        return Times(values / EPOCH_UNITS[unit], f"epoch_{unit}"), [finding]
    wanted = profile.encoding if profile.encoding.startswith("text:") else None
    read = read_times(series, wanted)
    if read is None or np.isnan(read.seconds).mean() > 0.5:
        other = read_times(series)
        read = other if other is not None else read
    return read, []


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
    """Return day/month exchanges and hour shifts in a column of times."""
    shifted = _ahead_of_requests(live, column) or _off_the_clock(live, column) or _shifted_hours(live, column)
    found = [_swapped_days(live, column), shifted]
    return [finding for finding in found if finding is not None]


def _swapped_days(live: Live, column: int) -> Finding | None:
    profile = live.reference.columns[column]
    assert profile.numbers is not None
    seconds = live.numbers(column)
    dates = read_dates(seconds)
    can, undone = dates.can, dates.turned
    if can.sum() < 5:
        return None
    strange, still = odd_dates(profile, seconds), odd_dates(profile, undone)
    if (~can).any() and strange[~can].mean() > ODD_TOO * strange[can].mean():
        # Dates that cannot be exchanged are as strange: these are other days, not another order.
        strange, still = np.zeros_like(strange), np.zeros_like(still)
    ratio = log_density(profile.numbers, None, undone) - log_density(profile.numbers, None, seconds)
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
        said = trusted_nats(z, float(mixed(weight, heard[can]).sum())) - MONTH_COST
    odd = int((odd_rows(profile, seconds) | strange)[can].sum())
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
    return shift_finding(live, column, 24, lambda shift: seconds - 3600.0 * shift)


def detect_cycle(live: Live, column: int) -> list[Finding]:
    """Return the shift of a column that counts the hours of a day from 0 to 23."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    if numbers is None or not numbers.is_lattice or numbers.minimum < 0 or numbers.maximum != 23:
        return []
    if len(numbers.lattice) < 18 or numbers.decimals != 0:
        return []
    hours = live.numbers(column)
    if np.nanmean((hours < 0) | (hours > 23)) > 0.05:
        return []
    found = shift_finding(live, column, 24, lambda shift: np.mod(hours - shift, 24.0))
    return [] if found is None else [found]


def shift_finding(live: Live, column: int, period: int, undo: Any) -> Finding | None:
    """Return the shift, of all rows or of a share, that values and other columns agree on."""
    from tallystick.parity.profile import cells_of

    profile = live.reference.columns[column]
    table = live.table(column)
    rows = np.arange(live.rows)
    known = live.known(column)
    shares = np.append(np.log(profile.cell_shares + 0.5 / profile.rows), -12.0)
    here = live.cells(column)
    marginal, heard = [], []
    for shift in range(1, period):
        there = cells_of(profile, undo(shift))
        marginal.append(shares[there] - shares[here])
        heard.append(table[rows, there] - table[rows, here])
    both = np.stack(marginal) + np.stack(heard)
    parts, gains = fit_share(both[:, known])
    best = int(np.argmax(gains))
    share = float(parts[best])
    weight = posterior(np.stack(marginal)[best], share)
    before = table[rows, here]
    z = mixture_z(weight[known], before[known], (heard[best] + before)[known])
    said = float(mixed(weight, heard[best])[known].sum())
    impossible = int((known & (shares[here] < np.log(1.5 / profile.rows))).sum())
    # 23 shifts were tried: the best of as many normal deviates is about 2 by chance.
    nats = trusted_nats(max(z - 1.0, 0.0), said - np.log(period)) + 2.0 * impossible
    if nats < CLAIM_NATS or z < 2.0 or gains[best] < 8:
        return None
    whole = share > 0.85
    affected = known if whole else known & (posterior(both[best], share) > 0.5)
    hours = best + 1 if best + 1 <= period // 2 else best + 1 - period
    evidence = (f"the other columns agree with undoing {hours:+d} h (z = {z:.1f}, best of {period - 1} shifts)",)
    repaired = np.where(affected, undo(best + 1), live.numbers(column))
    return Finding(
        "time_zone",
        (profile.name,),
        {"hours": hours},
        1.0 if whole else share,
        nats,
        False,
        evidence,
        affected,
        {column: repaired},
        gain=float(gains[best]),
    )
