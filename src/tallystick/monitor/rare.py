"""Senders whose rows are few among the judged ones: their newest rows are looked at by themselves.

The judged rows are the newest of all. On a busy endpoint they are of a second or two, and of a client with one request
in a thousand there are hardly any among them. Its counts tell that something moved; its own rows tell what.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from tallystick.monitor.explain import Explained, Looked, is_claim
from tallystick.monitor.rows import Senders
from tallystick.monitor.sent import Sent
from tallystick.parity.conclude import FEWEST_ROWS
from tallystick.parity.verdict import Verdict
from tallystick.printable import count, printable

#: Rows of a sender among the judged ones from which these speak for him.
ENOUGH_ROWS = 100
#: Senders that are looked at by themselves in one diagnosis: each takes a second or so. Those that are told.
MOST_SENDERS, MOST_TOLD = 3, 5


@dataclass(frozen=True)
class Moved:
    """A sender (column and value of a segment) whose counts moved, and the part of all rows that it sent."""

    share: float
    column: str
    value: str
    #: When it was looked at by itself last; None where it was not.
    looked_at: datetime | None = None

    @property
    def sender(self) -> tuple[str, str]:
        """Column and value."""
        return self.column, self.value


def few_of(moved: Collection[Moved], looked: Looked) -> list[Moved]:
    """Return the senders that the judged rows say too little of: they take turns, those with most rows first.

    Of whom most judged rows are, these say what there is to say, however few they are.
    """
    blamed = {_sender_of(each.verdict) for each in looked.found if is_claim(each.verdict)}
    judged, half = looked.senders(), len(looked.who) / 2
    found = [
        each
        for each in moved
        if each.sender not in blamed and (rows := judged.get(each.sender, 0)) < ENOUGH_ROWS and rows <= half
    ]

    def turn(each: Moved) -> tuple[bool, float, float]:
        at = each.looked_at
        return at is not None, 0.0 if at is None else at.timestamp(), -each.share

    return sorted(found, key=turn)


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
    few = few_of(moved, looked)
    for each in few[:MOST_SENDERS]:
        sent = rows_of(each.sender)
        if sent is None or len(sent) < FEWEST_ROWS:
            continue
        explained = explain(sent)
        who.append(Senders(sent.rows.segments, sent.rows.times))
        if is_claim(explained.verdict) and not _is_told(explained.verdict, looked):
            found.append(_blaming(explained, each))
    claims = [each for each in looked.found if is_claim(each.verdict)]
    first, *rest = (*claims, *found) or looked.found
    alone = frozenset(each.sender for each in few[:MOST_SENDERS])
    told = (_with_left(first, few[MOST_SENDERS:]), *rest)
    return replace(looked, found=told, who=Senders.joined(who), alone=alone)


def _is_told(verdict: Verdict, looked: Looked) -> bool:
    """Whether a cause in the rows of a sender is that of a sender who is blamed for it: both sent the same rows."""
    return any(
        is_claim(each.verdict)
        and each.verdict.kind == verdict.kind
        and bool(set(each.verdict.features) & set(verdict.features))
        and _sender_of(each.verdict) == _sender_of(verdict) != ("", "")
        for each in looked.found
    )


def _sender_of(verdict: Verdict) -> tuple[str, str]:
    """Return the column and the value that a verdict blames; empty where it blames nobody."""
    return str(verdict.segment.get("column", "")), str(verdict.segment.get("value", ""))


def _blaming(explained: Explained, moved: Moved) -> Explained:
    verdict = explained.verdict
    segment = {
        "column": moved.column,
        "value": moved.value,
        "share_of_rows": moved.share,
        "affected_inside": verdict.share,
        "affected_outside": 0.0,
    }
    whose = printable(f"{moved.column} {moved.value}")
    own = count(verdict.rows, "row")
    note = f"judged by the newest {own} of {whose} alone: the newest rows of all have too few of its own"
    changed = msgspec.structs.replace(verdict, segment=segment, degraded=(*verdict.degraded, note))
    return replace(explained, verdict=changed)


def _with_left(explained: Explained, left: Sequence[Moved]) -> Explained:
    """Return a verdict with the senders that nobody looked at."""
    if not left:
        return explained
    names = ", ".join(f"{each.column} {each.value}" for each in left[:MOST_TOLD])
    more = f" and {len(left) - MOST_TOLD} more" if len(left) > MOST_TOLD else ""
    which = "moved too, with too few of the judged rows to tell why; each has its turn in the next looks"
    degraded = (*explained.verdict.degraded, printable(f"{which}: {names}{more}"))
    return replace(explained, verdict=msgspec.structs.replace(explained.verdict, degraded=degraded))
