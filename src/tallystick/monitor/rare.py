"""Senders whose rows are few among the judged ones: their newest rows are looked at by themselves.

The judged rows are the newest of all. On a busy endpoint they are of a second or two, and of a client with one request
in a thousand there are hardly any among them. Its counts tell that something moved; its own rows tell what.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pandas as pd

from tallystick.monitor.explain import Explained, Looked, is_claim
from tallystick.monitor.rows import Senders
from tallystick.monitor.sent import Sent
from tallystick.parity.conclude import FEWEST_ROWS

#: Rows of a sender among the judged ones from which these speak for him.
ENOUGH_ROWS = 100
#: Senders that are looked at by themselves in one diagnosis: each takes a second or so.
MOST_SENDERS = 3


@dataclass(frozen=True, order=True)
class Moved:
    """A sender (column and value of a segment) whose counts moved, and the part of all rows that it sent."""

    share: float
    column: str
    value: str

    @property
    def sender(self) -> tuple[str, str]:
        """Column and value."""
        return self.column, self.value


def few_of(moved: Collection[Moved], looked: Looked) -> list[Moved]:
    """Return the senders that the judged rows say too little of, those with most rows first."""
    blamed = {(str(each.get("column")), str(each.get("value"))) for each in _segments(looked)}
    judged = looked.senders()
    found = [each for each in moved if each.sender not in blamed and judged.get(each.sender, 0) < ENOUGH_ROWS]
    return sorted(found, reverse=True)[:MOST_SENDERS]


def with_few(
    looked: Looked,
    moved: Collection[Moved],
    rows_of: Callable[[tuple[str, str]], Sent | None],
    explain: Callable[[Sent], Explained],
) -> Looked:
    """Return what was found with the causes of senders whose own rows show one.

    `rows_of` gives the newest rows of a sender, `explain` says what some rows show.
    """
    found, who = [], [looked.who]
    for each in few_of(moved, looked):
        sent = rows_of(each.sender)
        if sent is None or len(sent) < FEWEST_ROWS:
            continue
        explained = explain(sent)
        who.append(Senders(sent.rows.segments, sent.rows.times))
        if is_claim(explained.verdict):
            found.append(_blaming(explained, each))
    if len(who) == 1:
        return looked
    claims = [each for each in looked.found if is_claim(each.verdict)]
    return replace(looked, found=(*claims, *found) or looked.found, who=_joined(who))


def _segments(looked: Looked) -> list[dict[str, Any]]:
    return [each.verdict.segment for each in looked.found if is_claim(each.verdict)]


def _blaming(explained: Explained, moved: Moved) -> Explained:
    verdict = explained.verdict
    segment = {
        "column": moved.column,
        "value": moved.value,
        "share_of_rows": moved.share,
        "affected_inside": verdict.share,
        "affected_outside": 0.0,
    }
    whose = f"{moved.column} {moved.value}"
    note = f"judged by the newest {verdict.rows} rows of {whose} alone: the newest rows of all have too few of its own"
    changed = msgspec.structs.replace(verdict, segment=segment, degraded=(*verdict.degraded, note))
    return replace(explained, verdict=changed)


def _joined(who: list[Senders]) -> Senders:
    """Return the senders of all rows that were looked at."""
    segments = pd.concat([each.segments for each in who], ignore_index=True).fillna("(none)")
    times = pd.concat([pd.to_datetime(each.times, utc=True) for each in who], ignore_index=True)
    return Senders(segments, times)
