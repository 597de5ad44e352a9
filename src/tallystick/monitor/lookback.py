"""Since when a cause is there: on a busy endpoint the judged rows are of the last seconds, and it may be days old.

A few rows at a time are looked at, further and further back until they are without the cause, then between the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

#: Looks at rows before the judged ones, at most: each takes a tenth of a second or some.
MOST_LOOKS = 24
#: How far before the first affected row the second look is, at least, and how much further each one after it.
FIRST_STEP, GROWTH = timedelta(minutes=1), 4
#: A beginning is told to the second, or to this part of how long ago it was.
EXACT, EXACT_SHARE = timedelta(seconds=1), 1e-4


@dataclass(frozen=True)
class Seen:
    """What some rows that came one after another show: whether the cause is in them, and from which on."""

    #: When the row in the middle came.
    middle: datetime
    #: When the first row with the cause came; None where the rows are without it.
    since: datetime | None = None
    #: Whether the rows before that one are without it.
    is_step: bool = False
    #: Whether the rows are too few to tell.
    is_few: bool = False


@dataclass(frozen=True)
class Began:
    """When a cause began; with `is_older` it was there by then, and nobody saw what came before."""

    at: datetime
    is_older: bool = False


#: The newest rows before a moment; None where there are none.
Look = Callable[[datetime], Seen | None]


class TooManyRows(Exception):
    """There are too many rows to look for as many of one sender among them; `found` are those of the newest ones."""

    def __init__(self, found: Any = None) -> None:
        super().__init__()
        self.found = found


@dataclass
class _Search:
    """What is known so far: the earliest moment with the cause, and the latest one before it that is without."""

    sick: datetime
    sound: datetime
    #: The middle of the rows that `sick` is of.
    middle: datetime
    #: Whether what is called sound are rows too few to tell.
    is_open: bool = False

    def take(self, at: datetime, seen: Seen | None) -> None:
        if seen is not None and seen.since is not None:
            self.sick, self.middle = min(self.sick, seen.since), seen.middle
        else:
            # The newest rows before then are sound, if there are any.
            self.sound, self.is_open = at, seen is not None and seen.is_few


def began(first: datetime, now: datetime, floor: datetime, look: Look, is_over: Callable[[], bool]) -> Began:
    """Return since when a cause is there that was seen in a row of the time `first`; not before about `floor`.

    A cause that comes and goes began when it came the last time, as far as looks in ever longer steps can tell. With
    `is_over` there is no time for another look.
    """
    # Beyond the floor, so that what is there when a look comes to it is seen.
    end = floor - (now - floor)
    known = _Search(first, end, first)
    try:
        return _searched(known, now, floor, look, is_over)
    except TooManyRows:
        return Began(known.sick, is_older=True)


def _searched(known: _Search, now: datetime, floor: datetime, look: Look, is_over: Callable[[], bool]) -> Began:
    end, at, step = known.sound, known.sick, max(FIRST_STEP, now - known.sick)
    for number in range(MOST_LOOKS):
        if is_over() or known.sick <= floor:
            break
        seen = look(at)
        if seen is not None and seen.is_step and seen.since is not None:
            return Began(seen.since)
        known.take(at, seen)
        if known.sick - known.sound <= max(EXACT, EXACT_SHARE * (now - known.sick)):
            if number == 0 or known.is_open:
                return Began(known.sick, known.is_open)
            # Of rows that nearly all have it, nobody tells the few that do not: as many before as after tell it.
            final = look(known.middle)
            return Began(known.sick if final is None or final.since is None or not final.is_step else final.since)
        if known.sound == end:
            at, step = max(floor, known.sick - step), step * GROWTH
        else:
            at = known.sound + (known.sick - known.sound) / 2
    return Began(known.sick, is_older=True)
