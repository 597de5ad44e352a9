"""Minutes that moved, where the newest rows do not show it: what was wrong for a while, or comes and goes.

The judged rows are the newest of all. On a busy endpoint they are of a second or two, so what is over by then is not
among them. The counts of its minute tell that something was there; a fair sample of that minute's rows tells what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np

from tallystick.monitor.examples import short_time
from tallystick.monitor.explain import Explained, Looked, is_claim
from tallystick.monitor.rings import MINUTE, Ring
from tallystick.monitor.rows import Senders
from tallystick.monitor.screening import ALPHA, Expected, is_large, log_e_values
from tallystick.monitor.sent import Sent
from tallystick.parity.conclude import FEWEST_ROWS
from tallystick.parity.parameters import count
from tallystick.parity.reference import Reference

#: Rows of a moment that are judged, of all its requests, and how many of them are read for it: those of one request are
#: often alike, so some of each of many requests are taken.
MOMENT_ROWS, READ_ROWS = 1000, 20_000
MINUTE_LONG = timedelta(seconds=MINUTE)


@dataclass(frozen=True)
class Moment:
    """A time whose counts are not as in training, from `begin` until before `end`, and the columns that moved.

    A minute, or two that a fault went on over.
    """

    begin: datetime
    end: datetime
    columns: tuple[str, ...]

    @property
    def minutes(self) -> int:
        """How many minutes it is."""
        return (self.end - self.begin) // MINUTE_LONG


def moved_moments(reference: Reference, minutes: Ring, since_s: float) -> list[Moment]:
    """Return the latest minute that moved, and the one that moved most clearly; none before `since_s`.

    Each with the one before or after it that moved, too: a few seconds may be of two minutes. With rows as in training,
    the chance that any of the minutes is called moved is at most `ALPHA`.
    """
    windows = {
        number: counters
        for number, counters in sorted(minutes.windows.items())
        if (number + 1) * MINUTE > since_s and counters.rows >= FEWEST_ROWS
    }
    expected = Expected(reference)
    threshold = np.log(max(1, len(windows) * len(reference.names)) / ALPHA)
    found: dict[int, tuple[float, tuple[str, ...]]] = {}
    for number, counters in windows.items():
        logs = np.where(is_large(expected, counters), log_e_values(expected, counters), -np.inf)
        if logs.max(initial=-np.inf) >= threshold:
            columns = tuple(reference.names[j] for j in np.argsort(-logs) if logs[j] >= threshold)
            found[number] = float(logs.max()), columns
    if not found:
        return []
    latest, clearest = _around(found, max(found)), _around(found, max(found, key=lambda number: found[number][0]))
    return [latest] if latest == clearest else [latest, clearest]


def _around(found: Mapping[int, tuple[float, tuple[str, ...]]], number: int) -> Moment:
    """Return a minute with the neighbour that moved more clearly, where one did in the same columns."""
    columns = found[number][1]
    beside = [each for each in (number - 1, number + 1) if each in found and set(found[each][1]) & set(columns)]
    first, *more = sorted([number, *sorted(beside, key=lambda each: -found[each][0])[:1]])
    begin = datetime.fromtimestamp(first * MINUTE, UTC)
    every = dict.fromkeys((*columns, *(name for each in more for name in found[each][1]), *found[first][1]))
    return Moment(begin, begin + timedelta(seconds=MINUTE * (1 + len(more))), tuple(every))


def with_moments(
    looked: Looked,
    moments: Sequence[Moment],
    rows_of: Callable[[Moment], Sent | None],
    explain: Callable[[Sent], Explained],
) -> Looked:
    """Return what was found, with the cause that the rows of a moment show where the newest rows show none.

    What differs in the newest rows, too, was judged there. The first moment that shows a cause in another column that
    moved ends it. `rows_of` gives rows of a moment, `explain` says what they show.
    """
    if any(is_claim(each.verdict) for each in looked.found):
        return looked
    judged = {name for each in looked.found for name in each.verdict.features}
    who = [looked.who]
    for moment in moments:
        unlike = set(moment.columns) - judged
        sent = rows_of(moment) if unlike else None
        if sent is None or len(sent) < FEWEST_ROWS:
            continue
        explained = explain(sent)
        who.append(Senders(sent.rows.segments, sent.rows.times))
        if is_claim(explained.verdict) and unlike & set(explained.verdict.features):
            found = (_past(explained, moment), *looked.found[1:])
            return replace(looked, found=found, who=Senders.joined(who))
    return looked


def _past(explained: Explained, moment: Moment) -> Explained:
    verdict = explained.verdict
    last = "" if explained.last_at is None else short_time(str(explained.last_at))
    minutes = f"{moment.begin:%H:%M}" + (f" and {moment.end - MINUTE_LONG:%H:%M}" if moment.minutes > 1 else "")
    which = "these minutes" if moment.minutes > 1 else "this minute"
    note = (
        f"judged by {count(verdict.rows, 'row')} of {minutes} UTC, as {which} moved; the newest rows of all do not "
        "show it"
    )
    changed = msgspec.structs.replace(verdict, last_seen=last, degraded=(*verdict.degraded, note))
    return replace(explained, verdict=changed, is_past=True)
