"""Since when a cause is there: on a busy endpoint the judged rows are of the last seconds, and it may be days old.

A few rows at a time are looked at, further and further back until they are without the cause, then between the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

#: Looks at rows before the judged ones, at most: each takes a tenth of a second or some.
MOST_LOOKS = 24
#: How far before the first affected row the second look is, at least, and how much further each one after it.
FIRST_STEP, GROWTH = timedelta(minutes=1), 4
#: A beginning is told to the second, or to this part of how long ago it was.
EXACT, EXACT_SHARE = timedelta(seconds=1), 1e-4


@dataclass(frozen=True)
class Seen:
    """What some rows that came in a row show: whether the cause is in them, and from which on."""

    #: When the row in the middle came.
    middle: datetime
    #: When the first row with the cause came; None where the rows are without it.
    since: datetime | None = None
    #: Whether the rows before that one are without it.
    is_step: bool = False


@dataclass(frozen=True)
class Began:
    """When a cause began; with `is_older` it was there by then, and nobody looked at all that came before."""

    at: datetime
    is_older: bool = False


#: The newest rows before the first moment and not before the second; None where there are none.
Look = Callable[[datetime, datetime], Seen | None]


class TooManyRows(Exception):
    """There are too many rows to look for those of one sender among them."""


def began(first: datetime, now: datetime, floor: datetime, look: Look) -> Began:
    """Return since when a cause is there that was seen in a row of the time `first`; not before about `floor`.

    A cause that comes and goes began when it came the last time, as far as looks in ever longer steps can tell.
    """
    try:
        return _searched(first, now, floor, look)
    except TooManyRows:
        return Began(first, is_older=True)


def _searched(first: datetime, now: datetime, floor: datetime, look: Look) -> Began:
    # Beyond the floor, so that what is there when a look comes to it is seen.
    end = floor - (now - floor)
    sick, sound, middle = first, end, first
    step = max(FIRST_STEP, now - first)
    at = first
    for number in range(MOST_LOOKS):
        seen = look(at, sound)
        if seen is None or seen.since is None:
            if number == 0:
                return Began(first)
            # The newest rows before then are sound, if there are any.
            sound = at
        elif seen.is_step:
            return Began(seen.since)
        else:
            sick, middle = min(sick, seen.since), seen.middle
        if sick - sound <= max(EXACT, EXACT_SHARE * (now - sick)):
            # Of rows that nearly all have it, nobody tells the few that do not: as many before as after tell it.
            final = look(middle, end)
            return Began(sick if final is None or final.since is None or not final.is_step else final.since)
        if sick <= floor:
            break
        if sound == end:
            at, step = sick - step, step * GROWTH
        else:
            at = sound + (sick - sound) / 2
    return Began(sick, is_older=True)
