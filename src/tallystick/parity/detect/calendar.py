"""Dates against what surrounds them: the month that the other columns know, and the time of the request.

Source: the joint of `joint`, with months as cells, counted on golden rows; and the lag from a time to its request. Days
above 12 cannot be exchanged, so their lags show what is usual. False positives: a population of other months changes
months as sent and as undone alike, and needs the other columns; lags need no model, but a narrow usual range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tallystick.parity.columns import Floats, Mask, Role
from tallystick.parity.joint import cell_means, log_likelihood, paired_z, temper_of, tempered
from tallystick.parity.live import Live
from tallystick.parity.profile import ColumnProfile, Ints
from tallystick.parity.yardsticks import binomial_nats, trusted_nats, z_nats

MONTHS = 12
DAY_S, HOUR_S = 86400.0, 3600.0
#: Golden rows that months are counted on.
FEWEST_ROWS = 100
#: Days that the usual lag may vary over to say anything of a date, and rows that it is taken from.
WIDEST_LAG_DAYS, FEWEST_LAGS = 20.0, 10
#: Nats of one row whose lag is usual only when undone: usual lags are nine in ten.
LAG_NATS = 2.0
#: Part of dates far from their requests that come near them by chance when exchanged: the widest lags, of a year.
BY_CHANCE = 0.15
#: Rows a day from which those of one day are one observation of its month.
ROWS_A_DAY = 3
#: Seconds that lags of one shift may lie apart, and the part of rows that must.
SAME_LAG_S, SAME_LAG_PART = 600.0, 0.8
#: Cells of the calendar that training never had are telling where it would have had so many of its quantiles in each.
FEWEST_IN_CELL = 5.0
#: Times of the day up to which a column holds dates, not times, and rows off them that tell; zones are whole quarters
#: of an hour apart, 10 h before to 14 h after.
FEWEST_OFF = 3
FEW_CLOCKS, QUARTER_S, LATEST_S = 3, 900.0, 14 * 3600.0


@dataclass(frozen=True)
class Dates:
    """Day and month of each time, and the times with both exchanged where that gives a date."""

    day: Ints
    month: Ints
    can: Mask
    turned: Floats


def read_dates(seconds: Floats) -> Dates:
    """Return day and month, and the seconds with them exchanged."""
    dates = pd.to_datetime(pd.Series(seconds), unit="s")
    day, month, year = (
        np.asarray(part.fillna(0), dtype=np.int64) for part in (dates.dt.day, dates.dt.month, dates.dt.year)
    )
    can = np.isfinite(seconds) & (day <= MONTHS) & (day != month) & (day > 0)
    # The day as month, counted from 1970, and the month as day.
    months = (MONTHS * (year[can] - 1970) + day[can] - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]").astype(np.int64) + month[can] - 1
    turned = seconds.copy()
    turned[can] = days * int(DAY_S) + seconds[can] % DAY_S
    return Dates(day, month, can, turned)


def odd_dates(profile: ColumnProfile, seconds: Floats) -> Mask:
    """Return which times are on a day of the week or of the month that training never had: trade knows no Sundays."""
    assert profile.numbers is not None
    odd = np.zeros(len(seconds), dtype=bool)
    grid = np.unique(profile.numbers.grid)
    known = np.isfinite(seconds)
    for cell_of, count in ((_weekday, 7), (_day_of_month, 31)):
        if len(grid) < FEWEST_IN_CELL * count:
            continue
        never = np.bincount(cell_of(grid), minlength=count)[:count] == 0
        odd[known] |= never[cell_of(seconds[known])]
    return odd


def _weekday(seconds: Floats) -> Ints:
    return np.asarray(np.mod(np.floor(seconds / DAY_S), 7), dtype=np.int64)


def _day_of_month(seconds: Floats) -> Ints:
    days = np.floor(seconds).astype("datetime64[s]").astype("datetime64[D]")
    return np.asarray((days - days.astype("datetime64[M]")).astype(np.int64))


def off_the_clock(profile: ColumnProfile, seconds: Floats) -> tuple[float, Mask] | None:
    """Return by how many hours dates are off the time of day that all of training had, and which; None if they are not.

    Midnight in another zone is another time, and mostly another day.
    """
    assert profile.numbers is not None
    clocks = np.unique(np.mod(profile.numbers.grid, DAY_S))
    if len(clocks) > FEW_CLOCKS or profile.rows < FEWEST_ROWS:
        return None
    known = np.isfinite(seconds)
    clock = np.mod(np.where(known, seconds, clocks[0]), DAY_S)
    off = known & ~np.isin(clock, clocks)
    if off.sum() < FEWEST_OFF:
        return None
    apart = np.mod(clock[off][:, None] - clocks[None, :], DAY_S)
    values, counts = np.unique(apart, return_counts=True)
    shift = float(values[int(np.argmax(counts))])
    alike = off & np.isin(np.mod(clock - shift, DAY_S), clocks)
    if shift % QUARTER_S or alike.sum() < SAME_LAG_PART * off.sum():
        return None
    return (shift if shift <= LATEST_S else shift - DAY_S) / HOUR_S, alike


@dataclass(frozen=True)
class _Months:
    """What golden rows tell of the months of a time: mean scores and share of each, and the power to believe it to."""

    means: Floats
    shares: Floats
    power: float


def month_table(live: Live, column: int) -> Floats | None:
    """Return rows x 13: how well the other columns fit each month, in nats; None where the reference keeps few rows."""
    trained = live.of_training(f"months of {column}", lambda: _months(live, column))
    if trained is None:
        return None
    joint = live.reference.joint
    left_out = live.absent | live.broken | (live.suspects - {column})
    # Hours of the same time know nothing of months, and another time column may share the fault.
    left_out |= {j for j, profile in enumerate(live.reference.columns) if profile.role is Role.TIME and j != column}
    table = log_likelihood(
        trained.means, trained.shares, joint.covariance, joint.owners, column, live.scores(), frozenset(left_out)
    )
    return tempered(table, trained.power, trained.shares)


def _months(live: Live, column: int) -> _Months | None:
    golden, joint = live.golden(), live.reference.joint
    if golden is None:
        return None
    seconds = golden.numbers(column)
    known = np.isfinite(seconds)
    month = read_dates(seconds).month[known] - 1
    scores = golden.scores()[known]
    shares = np.bincount(month, minlength=MONTHS) / max(1, len(month))
    if len(np.unique(month)) < 3:
        return None
    halves = []
    half = np.arange(len(month)) % 2 == 0
    for mine in (half, ~half):
        means = cell_means(month[mine], scores[mine], MONTHS)
        table = log_likelihood(means, shares, joint.covariance, joint.owners, column, scores[~mine])
        halves.append((table, month[~mine]))
    return _Months(cell_means(month, scores, MONTHS), shares, temper_of(halves, shares))


def said_by_day(seconds: Floats, apart: Floats, z: float) -> float:
    """Return what rows say, in nats, where those of one day say it once: they share its weather, and its events.

    Source: cluster-robust standard errors (Liang & Zeger 1986), here with one sum a day.
    """
    days, places = np.unique(np.floor(seconds / DAY_S), return_inverse=True)
    if len(days) * ROWS_A_DAY >= len(seconds):
        return trusted_nats(z, float(apart.sum()))
    sums: Floats = np.bincount(places, weights=apart).astype(np.float64)
    return z_nats(min(z, paired_z(sums)))


def lag_nats(seconds: Floats, dates: Dates, requests: Floats | None) -> float:
    """Return how much lags to the request speak for day and month exchanged, in nats; 0 where they say nothing."""
    found = _usual_lags(seconds, dates, requests, lambda width: DAY_S)
    if found is None:
        return 0.0
    sent, turned = found
    return LAG_NATS * float((turned & ~sent).sum() - (sent & ~turned).sum())


def exchanged_in_part(seconds: Floats, dates: Dates, requests: Floats | None) -> tuple[float, Mask]:
    """Return the dates whose lag to the request is usual only when exchanged, and what they speak for that, in nats.

    Of dates that are far from their requests for another reason, few come near them when exchanged.
    """
    # No day's slack: what is a month old, on the day after the month's own, would be a day off when exchanged.
    found = _usual_lags(seconds, dates, requests, lambda width: max(HOUR_S, width / 5))
    if found is None:
        return 0.0, np.zeros(len(seconds), dtype=bool)
    sent, turned = found
    return binomial_nats(int((turned & ~sent).sum()), int((dates.can & ~sent).sum()), BY_CHANCE), turned & ~sent


def _usual_lags(
    seconds: Floats, dates: Dates, requests: Floats | None, slack_of: Callable[[float], float]
) -> tuple[Mask, Mask] | None:
    """Return which dates that can be exchanged have a usual lag as sent, and which exchanged; of no request, both.

    `slack_of` says how far beyond the middle of usual lags, of which it is given the width, one may be. None where lags
    say nothing.
    """
    if requests is None:
        return None
    sure = np.isfinite(seconds) & np.isfinite(requests) & (dates.day > MONTHS)
    lags = (requests - seconds)[sure]
    if len(lags) < FEWEST_LAGS:
        # Rows of a few days, none of which tells: times about their requests are usual.
        lags = (requests - dates.turned)[dates.can & np.isfinite(requests)]
        lags = lags[np.abs(lags) <= WIDEST_LAG_DAYS * DAY_S]
    if len(lags) < FEWEST_LAGS:
        return None
    low, high = np.quantile(lags, (0.05, 0.95))
    if high - low > WIDEST_LAG_DAYS * DAY_S:
        return None
    slack = slack_of(float(high - low))
    untold = dates.can & ~np.isfinite(requests)

    def usual(times: Floats) -> Mask:
        with np.errstate(invalid="ignore"):
            lag = requests - times
            return np.asarray(untold | (dates.can & (lag >= low - slack) & (lag <= high + slack)))

    return usual(seconds), usual(dates.turned)


def zone_of(seconds: Floats, requests: Floats | None) -> tuple[float, Mask] | None:
    """Return the whole hours by which times are later than their requests, and of which rows; None where they are not.

    A time after its request has not happened yet. Lags must be whole hours to minutes, and alike.
    """
    if requests is None:
        return None
    ahead = seconds - requests
    known = np.isfinite(ahead)
    late = known & (ahead > HOUR_S / 2)
    if late.sum() < FEWEST_LAGS:
        return None
    hours = float(np.round(np.median(ahead[late]) / HOUR_S))
    if not 1 <= hours <= 14:
        return None
    # A little less than the shift, for the time that passes until the request.
    alike = late & (ahead <= hours * HOUR_S + 60.0) & (ahead > hours * HOUR_S - SAME_LAG_S)
    return (hours, late) if alike.sum() >= SAME_LAG_PART * late.sum() else None
