"""Times as a stream of requests has them: all of one day, or of days that came after training.

Live rows are mostly newer than training's and mostly of few days. That one date, or one time of a day, is in many of
them is then no default, and that it is none of training's is no fault. False negatives: a default within the very days
that the rows are of; the time of day must then come more often than any comes in training.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tallystick.parity.columns import Floats, Mask, Role
from tallystick.parity.detect.calendar import DAY_S, HOUR_S, WIDEST_LAG_DAYS, Dates
from tallystick.parity.distribution import quantiles_of
from tallystick.parity.live import Live
from tallystick.parity.profile import ColumnProfile, NumberProfile
from tallystick.parity.yardsticks import CLAIM_NATS, binomial_nats

#: Part of training's span at its end, and the share of rows there from which times were cut off by the day training was
#: made, and go on after it. Dates that thin out, as those of births do, end by themselves.
LAST_PART, LAST_SHARE = 0.1, 0.03
#: Training's rows a day from which one day's rows are a part of it, and how much of its span is a short one.
FEWEST_A_DAY, SHORT = 1.0, 0.25
#: How many times training's span, or this many days, live rows may come after it: years 9999 are defaults.
SPANS_AFTER, DAYS_AFTER = 5.0, 400.0
#: How much more often one time of day may come on one day than on all.
ONE_DAYS = 2.0
#: Share of rows whose times must be near their requests, and different dates that are worth a word on their order.
NEARLY_ALL, FEWEST_DATES = 0.9, 3
#: How much less spread the dates may be as sent than as undone: months that are days lie a month apart.
NARROWER = 0.5


def goes_on(numbers: NumberProfile) -> bool:
    """Whether training's times are as many at their end as before: later ones are what comes next."""
    low, high = quantiles_of(numbers, np.array([0.01, 0.99]))
    return float(np.mean(numbers.grid >= high - LAST_PART * (high - low))) > LAST_SHARE


def is_what_comes_next(profile: ColumnProfile, seconds: Floats) -> Mask:
    """Return which values are times that come after training's, but not by ages, where training's go on."""
    numbers = profile.numbers
    if profile.role is not Role.TIME or numbers is None or not goes_on(numbers):
        return np.zeros(len(seconds), dtype=bool)
    span = max(numbers.maximum - numbers.minimum, DAYS_AFTER * DAY_S)
    with np.errstate(invalid="ignore"):
        return np.asarray((seconds > numbers.maximum) & (seconds < numbers.maximum + SPANS_AFTER * span))


def is_of_its_day(live: Live, column: int, value: Any, holds: Mask) -> bool:
    """Whether the rows that share a time share it as rows of one day do: the others are of the same days."""
    profile = live.reference.columns[column]
    numbers = profile.numbers
    if profile.role is not Role.TIME or numbers is None or not goes_on(numbers):
        return False
    seconds = live.numbers(column)
    known = np.isfinite(seconds)
    low, high = _stretch(seconds[known & ~holds & _is_placed(profile, seconds)], value)
    reach = max(high - low, DAY_S)
    if not low - reach <= value <= high + reach or high - low > SHORT * (numbers.maximum - numbers.minimum):
        return False
    if not (_is_part(profile, value) if live.requests is None else are_requested(live, seconds, known)):
        return False
    width = max(high, value) - min(low, value)
    return binomial_nats(int(holds.sum()), int(known.sum()), _share_of_clock(profile, value, width)) < CLAIM_NATS


def is_one_of_later_days(live: Live, column: int, value: Any, holds: Mask) -> bool:
    """Whether rows that share a time after training's share it as rows of a busy day do, among others of later days."""
    profile = live.reference.columns[column]
    if profile.role is not Role.TIME:
        return False
    later = is_what_comes_next(profile, live.numbers(column))
    if not later[holds].all():
        return False
    days = np.floor(live.numbers(column)[later] / DAY_S)
    rest = len(np.unique(days)) - 1
    others = int((later & ~holds).sum())
    if rest < FEWEST_DATES or others < holds.sum():
        return False
    usual = others / rest / later.sum() * _busiest(profile)
    nats = binomial_nats(int(holds.sum()), int(later.sum()), min(0.5, usual)) - float(np.log(rest))
    return nats < CLAIM_NATS


def _busiest(profile: ColumnProfile) -> float:
    """Return how many times the rows of a usual day training's busiest one has, as far as it is known."""
    numbers = profile.numbers
    assert numbers is not None
    if numbers.is_lattice:
        return max(ONE_DAYS, float(numbers.counts.max() / numbers.counts.mean()))
    days = len(np.unique(np.floor(numbers.grid / DAY_S)))
    return max(ONE_DAYS, float(numbers.heap_shares.max(initial=0.0)) * min(days, numbers.distinct))


def _is_part(profile: ColumnProfile, value: float) -> bool:
    """Whether the rows of one day may be a part of the population: training had rows for each day, or ends before."""
    assert profile.numbers is not None
    span = profile.numbers.maximum - profile.numbers.minimum
    return bool(_is_placed(profile, np.array([value]))[0]) and profile.rows * DAY_S > FEWEST_A_DAY * span


def _is_placed(profile: ColumnProfile, seconds: Floats) -> Mask:
    numbers = profile.numbers
    assert numbers is not None
    with np.errstate(invalid="ignore"):
        inside = (seconds >= numbers.minimum) & (seconds <= numbers.maximum)
    return np.asarray(inside | is_what_comes_next(profile, seconds))


def _stretch(rest: Floats, value: float) -> tuple[float, float]:
    """Return where nearly all of the other times are, as an hour at least; of no others, the value."""
    if not len(rest):
        return value, value
    low, high = np.quantile(rest, (0.05, 0.95))
    short = max(0.0, HOUR_S - (high - low))
    return float(low) - short / 2, float(high) + short / 2


def _share_of_clock(profile: ColumnProfile, value: float, width: float) -> float:
    """Return the share of rows within a stretch of so many seconds that may have one time of one day."""
    assert profile.numbers is not None
    clocks = np.mod(profile.numbers.grid, DAY_S)
    # Half a second: grids are quantiles, and floats.
    alike = int((np.abs(clocks - value % DAY_S) < 0.5).sum())
    share = (alike + 2) / len(clocks)
    return float(min(1.0, ONE_DAYS * share * DAY_S / (width or DAY_S)))


def are_requested(live: Live, seconds: Floats, rows: Mask) -> bool:
    """Whether the times of these rows are about those of their requests, as far as those are known."""
    if live.requests is None:
        return False
    told = rows & np.isfinite(seconds) & np.isfinite(live.requests)
    if not told.any():
        return False
    return bool(np.mean(np.abs(live.requests - seconds)[told] <= WIDEST_LAG_DAYS * DAY_S) >= NEARLY_ALL)


def are_in_order(live: Live, dates: Dates, seconds: Floats) -> bool:
    """Whether dates whose day and month can be exchanged are right as they are: of few days, or about their requests.

    A stream has dates that follow each other. Exchanged they would lie months apart, all on one day of the month.
    """
    can = dates.can
    if are_requested(live, seconds, can):
        return True
    if live.requests is not None and are_requested(live, dates.turned, can):
        return False
    sent, turned = np.floor(seconds[can] / DAY_S), np.floor(dates.turned[can] / DAY_S)
    return len(np.unique(sent)) < FEWEST_DATES or _spread(sent) < NARROWER * _spread(turned)


def _spread(days: Floats) -> float:
    low, high = np.quantile(days, (0.05, 0.95))
    return float(high - low)
