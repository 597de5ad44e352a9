"""Minutes and hours that moved, where the newest rows do not show it: what was wrong for a while, or comes and goes.

The judged rows are the newest of all. On a busy endpoint they are of a second or two, so what is over by then is not
among them. The counts of its minute tell that something was there; a fair sample of that minute's rows tells what. Of
what is longer ago there are hours, with a fair sample that was taken while they went on (`reservoir`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pyarrow as pa

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
#: Requests of a time of which a sample is not at hand that are read to find one, at most.
MOST_REQUESTS = 200_000


@dataclass(frozen=True)
class Moment:
    """A time whose counts are not as in training, from `begin` until before `end`, and the columns that moved.

    A window of a ring, or two that a fault went on over.
    """

    begin: datetime
    end: datetime
    columns: tuple[str, ...]
    width_s: int = MINUTE
    requests: int = 0
    #: A fair sample of its requests, as the table has them; None where none was held.
    held: pa.Table | None = field(default=None, repr=False, compare=False)

    @property
    def is_lost(self) -> bool:
        """Whether no sample of it is at hand, and to find one takes reading too much."""
        return self.held is None and self.requests > MOST_REQUESTS

    def told(self) -> str:
        """Return when it was, and that it moved.

        >>> Moment(datetime(2026, 1, 31, 12, 26), datetime(2026, 1, 31, 12, 28), ("temp",)).told()
        '12:26 and 12:27 UTC, as these minutes moved'
        >>> Moment(datetime(2026, 1, 31, 3), datetime(2026, 1, 31, 4), ("temp",), 3600).told()
        '2026-01-31 03:00 to 04:00 UTC, as this hour moved'
        """
        last = self.end - timedelta(seconds=self.width_s)
        is_one = last <= self.begin
        if self.width_s > MINUTE:
            which = "this hour" if is_one else "these hours"
            return f"{self.begin:%F %H:%M} to {self.end:%H:%M} UTC, as {which} moved"
        if is_one:
            return f"{self.begin:%H:%M} UTC, as this minute moved"
        return f"{self.begin:%H:%M} and {last:%H:%M} UTC, as these minutes moved"


def moved_moments(reference: Reference, ring: Ring, since_s: float, until_s: float = np.inf) -> list[Moment]:
    """Return the latest window that moved, and the one that moved most clearly, from `since_s` on.

    Of those that begin before `until_s`. Each with the one before or after it that moved, too: a few seconds may be of
    two minutes. With rows as in training, the chance that any of the windows is called moved is at most `ALPHA`.
    """
    width_s = ring.width_s
    windows = {
        number: counters
        for number, counters in sorted(ring.windows.items())
        if (number + 1) * width_s > since_s and number * width_s < until_s and counters.rows >= FEWEST_ROWS
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
    numbers = [latest] if latest == clearest else [latest, clearest]
    return [_moment(ring, each, found, since_s) for each in numbers]


def _around(found: Mapping[int, tuple[float, tuple[str, ...]]], number: int) -> tuple[int, ...]:
    """Return a window with the neighbour that moved more clearly, where one did in the same columns."""
    columns = found[number][1]
    beside = [each for each in (number - 1, number + 1) if each in found and set(found[each][1]) & set(columns)]
    return tuple(sorted([number, *sorted(beside, key=lambda each: -found[each][0])[:1]]))


def _moment(
    ring: Ring, numbers: Sequence[int], found: Mapping[int, tuple[float, tuple[str, ...]]], since_s: float
) -> Moment:
    begin_s, end_s = (each * ring.width_s for each in (numbers[0], numbers[-1] + 1))
    return Moment(
        datetime.fromtimestamp(max(begin_s, since_s) if ring.width_s > MINUTE else begin_s, UTC),
        datetime.fromtimestamp(end_s, UTC),
        tuple(dict.fromkeys(name for each in numbers for name in found[each][1])),
        ring.width_s,
        sum(ring.windows[each].requests for each in numbers),
    )


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
    who, lost = [looked.who], []
    for moment in moments:
        unlike = set(moment.columns) - judged
        if unlike and moment.is_lost:
            lost.append(moment)
            continue
        sent = rows_of(moment) if unlike else None
        if sent is None or len(sent) < FEWEST_ROWS:
            continue
        explained = explain(sent)
        who.append(Senders(sent.rows.segments, sent.rows.times))
        if is_claim(explained.verdict) and unlike & set(explained.verdict.features):
            found = (_past(explained, moment), *looked.found[1:])
            return replace(looked, found=found, who=Senders.joined(who))
    return replace(looked, found=(_with_lost(looked.found[0], lost), *looked.found[1:])) if lost else looked


def _with_lost(explained: Explained, lost: Sequence[Moment]) -> Explained:
    """Return a verdict with the times that nobody looked at."""
    notes = [
        f"{each.told()}, was not looked at: no sample of its {count(each.requests, 'request')} is held" for each in lost
    ]
    verdict = explained.verdict
    return replace(explained, verdict=msgspec.structs.replace(verdict, degraded=(*verdict.degraded, *notes)))


def _past(explained: Explained, moment: Moment) -> Explained:
    verdict = explained.verdict
    last = "" if explained.last_at is None else short_time(str(explained.last_at))
    note = f"judged by {count(verdict.rows, 'row')} of {moment.told()}; the newest rows of all do not show it"
    changed = msgspec.structs.replace(verdict, last_seen=last, degraded=(*verdict.degraded, note))
    return replace(explained, verdict=changed, is_past=True)
