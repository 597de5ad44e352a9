"""Incidents: one for each cause in one place, from its first diagnosis until it stayed away.

| state | event | then | becomes |
|---|---|---|---|
| none | a cause that is proven or strong | a new incident is opened | open |
| none | a weak suspicion, for the second time in a row | a new incident is opened | open |
| open | the same cause again | last seen, rows and share are brought up to date | open |
| open | the same cause again, with another one beside it | the same, and that is told | open |
| open | golden rows differ again, and by now it is proven why | the same, and that is told | open |
| none | the cause that was told beside an open incident's, which is gone | a new incident is opened | open |
| open | a look that does not find it, before `CLEAN_S` are over | nothing | open |
| any | a look that says nothing of it | nothing | as it was |
| open | a look that does not find it, `CLEAN_S` after it was last seen | it is closed | closed |
| open | nothing that finds it or speaks against it for `SILENT_S` | it is closed, and says so | closed |
| closed | the same cause again, in rows that came since | a new incident is opened | open |

The same cause is the same kind of fault in the same served entity, with a column in common, from the same sender as
far as one is named (`alike`); two causes of one look are never one incident. Several causes in the same rows are one
incident, under the first of them; which is the first may change from look to look.

A look says nothing of a cause when there are too few rows to tell, or rows that no found cause explains are not clean,
or another cause is in its columns, or one of these was not compared, or, for one in a replica, no replica was asked.
For one that names its sender, rows of this sender are counted since it was last found: it is closed when as many came
as have shown it, or `ENOUGH_ROWS`. So what one sender does wrong holds up no incident of another's, and a sender that
stays away is not one that was mended. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tallystick.monitor.alike import (
    NOBODY,
    are_alike,
    cause_of,
    causes_of,
    incidents_of,
    is_beside,
    sender_of,
    told_beside,
)
from tallystick.protocol.monitoring import IncidentState, IncidentSummary

#: How long a cause has to stay away, and how long no row may come, until its incident is closed.
CLEAN_S, SILENT_S = 900.0, 24 * 3600.0
#: Causes of one endpoint that are open at a time; beyond, a new one waits until one closes.
MAX_OPEN = 20
#: Rows of its sender that a cause has to stay away from; fewer, where fewer have shown it.
ENOUGH_ROWS = 30
#: Why an incident is closed whose cause stayed away.
NOT_SEEN = "it was not seen any more"
_CLAIMED = ("cause_found", "suspected")


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """An incident as it is kept, and as REST gives it."""

    id: int
    endpoint: str
    served_entity: str
    served_entity_id: str
    state: IncidentState
    opened_at: str
    updated_at: str
    closed_at: str = ""
    #: When the last of its affected rows came that was looked at; when it was found, where no single rows are affected.
    last_seen: str = ""
    #: Why it was closed.
    closed_because: str = ""
    #: Diagnoses that found it, and rows that were affected in them, all together.
    seen: int = 1
    rows_affected: int = 0
    #: Rows of its sender that came since it was last found, as far as they were looked at.
    clean_rows: int = 0
    #: The verdict of the clearest diagnosis; a proof is never replaced by a suspicion.
    verdict: dict[str, Any]
    #: The verdict in a sentence, and as text.
    title: str = ""
    text: str = ""
    #: Up to three redacted example rows.
    rows: tuple[dict[str, Any], ...] = ()

    def summary(self) -> IncidentSummary:
        """Return it in short."""
        verdict = self.verdict
        return IncidentSummary(
            id=self.id,
            served_entity=self.served_entity,
            state=self.state,
            status=verdict["status"],
            family=verdict["family"],
            kind=verdict["kind"],
            features=tuple(verdict["features"]),
            segment=dict(verdict["segment"]),
            strength=verdict["strength"],
            share=float(verdict["share"]),
            rows=int(verdict["rows"]),
            opened_at=self.opened_at,
            updated_at=self.updated_at,
            closed_at=self.closed_at,
            first_seen=verdict.get("first_seen", ""),
            is_older=verdict.get("is_older", False),
            last_seen=self.last_seen,
            title=self.title,
            also=tuple(verdict.get("also", ())),
        )


@dataclass(frozen=True)
class Diagnosis:
    """What one diagnosis of one served entity came to, in plain values."""

    served_entity: str
    served_entity_id: str
    verdict: dict[str, Any]
    text: str
    title: str = ""
    rows: tuple[dict[str, Any], ...] = ()
    #: When the last of the affected rows came; None where no single rows are.
    last_at: datetime | None = None

    def seen_until(self, stamp: str) -> str:
        """Return until when the cause was seen, by a look at the time of the stamp."""
        return stamp if self.last_at is None else time_text(self.last_at)

    @property
    def is_claim(self) -> bool:
        """Whether it names a cause. A column that is more changes no prediction: it is told, and is no incident."""
        return self.verdict["status"] in _CLAIMED and self.verdict["kind"] != "extra_column"


@dataclass(frozen=True)
class Look:
    """One look at the rows of a served entity: what it found, and how far it speaks of what it did not find."""

    served_entity_id: str
    found: tuple[Diagnosis, ...] = ()
    #: Whether the rows that no cause found here explains were judged, and nothing is broken in them.
    is_clean: bool = False
    #: Rows that came since the look before, by sender: (column, value) of a segment.
    senders: Mapping[tuple[str, str], int] = field(default_factory=dict)
    #: Whether replicas said what they hold, and replayed golden rows.
    is_replayed: bool = False
    #: Columns that were not compared.
    withheld: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Book:
    """The incidents of one endpoint: those that are open, weak suspicions of last time, and the last number."""

    endpoint: str
    open: tuple[Incident, ...] = ()
    suspicions: tuple[Diagnosis, ...] = ()
    last_id: int = 0
    #: Served entity -> when an incident of it was closed last, as its cause stayed away.
    closed_at: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """An incident that was opened, brought up to date or closed."""

    incident: Incident
    is_news: bool


def note(book: Book, look: Look, now: datetime) -> tuple[Book, tuple[Change, ...]]:
    """Return the book after a look, and what changed in it."""
    claims = [each for each in look.found if each.is_claim]
    before = [each for each in book.suspicions if each.served_entity_id == look.served_entity_id]
    if claims or look.is_clean:
        others = tuple(each for each in book.suspicions if each not in before)
        book = replace(book, suspicions=others)
    changes: list[Change] = []
    for claim, known in zip(claims, incidents_of(book, claims), strict=True):
        book, change = _claimed(book, claim, known, before, time_text(now))
        changes += change
    again = {change.incident.id for change in changes}
    for each in book.open:
        if each.id not in again and any(is_beside(each, claim) for claim in claims):
            touched = msgspec.structs.replace(each, updated_at=time_text(now), seen=each.seen + 1, clean_rows=0)
            book = _with(book, each, touched)
            changes.append(Change(touched, False))
            again.add(each.id)
    for each in book.open:
        if each.id not in again and _speaks_against(look, each):
            book, change = _not_found(book, each, look, now)
            changes += change
    return book, tuple(changes)


def _not_found(book: Book, incident: Incident, look: Look, now: datetime) -> tuple[Book, tuple[Change, ...]]:
    """Return the book after a look that should have found an incident's cause, and did not."""
    sender = sender_of(incident.verdict)
    clean_rows = incident.clean_rows + look.senders.get(sender, 0)
    is_rows_matter = not _is_in_replica(incident.verdict) and sender != NOBODY
    is_enough = not is_rows_matter or clean_rows >= max(1, min(ENOUGH_ROWS, affected(incident.verdict)))
    if is_enough and _age_s(incident.updated_at, now) >= CLEAN_S:
        closed = _closed(incident, now, NOT_SEEN)
        return with_closed(_without(book, (closed,)), (closed,)), (Change(closed, True),)
    if clean_rows == incident.clean_rows:
        return book, ()
    counted = msgspec.structs.replace(incident, clean_rows=clean_rows)
    return _with(book, incident, counted), (Change(counted, False),)


def _is_in_replica(verdict: Mapping[str, Any]) -> bool:
    return str(verdict["stage"]).startswith(("routing", "endpoint"))


def _speaks_against(look: Look, incident: Incident) -> bool:
    """Whether a look that did not find the cause of an incident could have."""
    verdict = incident.verdict
    if incident.served_entity_id != look.served_entity_id or not look.is_clean:
        return False
    if _is_in_replica(verdict):
        return look.is_replayed
    sender = sender_of(verdict)
    columns = set(verdict["features"])
    if columns & look.withheld:
        return False
    for claim in look.found:
        whose = sender_of(claim.verdict)
        if (
            claim.is_claim
            and whose in (sender, NOBODY)
            and columns & {name for _, names in causes_of(claim) for name in names}
        ):
            # What is wrong with a column hides what else is.
            return False
    return True


def with_closed(book: Book, incidents: Iterable[Incident]) -> Book:
    """Return the book with when these incidents were closed, where their causes stayed away.

    What came before was judged, so what is wrong in it is told, or is over: it opens nothing again.
    """
    known = dict(book.closed_at)
    for each in incidents:
        if each.state is IncidentState.CLOSED and each.closed_because == NOT_SEEN:
            at = datetime.fromisoformat(each.closed_at)
            known[each.served_entity_id] = max(at, known.get(each.served_entity_id, at))
    return replace(book, closed_at=known)


def close_silent(book: Book, served_entity_ids: Iterable[str], now: datetime) -> tuple[Book, tuple[Change, ...]]:
    """Return the book without incidents of served entities that are gone, or that no row came for."""
    serving = set(served_entity_ids)
    changes = []
    for each in book.open:
        if each.served_entity_id not in serving:
            changes.append(_closed(each, now, "it is not served any more"))
        elif _age_s(each.updated_at, now) > SILENT_S:
            changes.append(_closed(each, now, "for a day it was not found, nor could rows that came show it gone"))
    return _without(book, changes), tuple(Change(each, True) for each in changes)


def _claimed(
    book: Book, diagnosis: Diagnosis, known: Incident | None, before: Sequence[Diagnosis], stamp: str
) -> tuple[Book, tuple[Change, ...]]:
    """Return the book with a claim; `known` is its incident, `before` are the weak suspicions of the look before."""
    if known is not None:
        updated = _updated(known, diagnosis, stamp)
        is_news = _has_more(known, updated) or _is_explained(known, updated)
        return _with(book, known, updated), (Change(updated, is_news),)
    told = [(each, other) for each in book.open for other in [told_beside(each, diagnosis)] if other is not None]
    if any(is_beside(each, diagnosis) for each, _ in told):
        # The same two: only which of them is the first is another.
        return book, ()
    is_clear = diagnosis.verdict["status"] == "cause_found" or diagnosis.verdict["strength"] == "strong"
    was_there = bool(told) or any(are_alike(cause_of(each.verdict), cause_of(diagnosis.verdict)) for each in before)
    if not (is_clear or was_there) or len(book.open) >= MAX_OPEN:
        return replace(book, suspicions=(*book.suspicions, diagnosis)), ()
    number = book.last_id + 1
    began = min([other["first_seen"] for _, other in told if other["first_seen"]], default="")
    # A diagnosis told it beside another after its rows had come: when the first of them did may be known by now.
    is_known = len(diagnosis.verdict["first_seen"]) > 0 and diagnosis.verdict["first_seen"] <= began
    opened = Incident(
        id=number,
        endpoint=book.endpoint,
        served_entity=diagnosis.served_entity,
        served_entity_id=diagnosis.served_entity_id,
        state=IncidentState.OPEN,
        opened_at=stamp,
        updated_at=stamp,
        last_seen=diagnosis.seen_until(stamp),
        rows_affected=affected(diagnosis.verdict),
        rows=diagnosis.rows,
        **_told(
            diagnosis,
            book.endpoint,
            number,
            ("" if is_known else began, False),
            _since(diagnosis, diagnosis.verdict, (), stamp),
        ),
    )
    book = replace(book, open=(*book.open, opened), last_id=opened.id)
    return book, (Change(opened, True),)


def _command(endpoint: str, number: int) -> str:
    return f"tallystick diagnose {endpoint} --incident {number} --rows"


def _told(
    diagnosis: Diagnosis, endpoint: str, number: int, began: tuple[str, bool], others: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return verdict, title and text as an incident has them: since it began, and with the command that shows it.

    `began` is its `first_seen` and `is_older`; empty where nothing is known of it but what the diagnosis saw.
    """
    given = diagnosis.verdict
    first_seen, is_older = began if began[0] else (given["first_seen"], given["is_older"])
    reproduce = _command(endpoint, number)
    title, text = diagnosis.title, diagnosis.text
    pairs = [
        (given["reproduce"], reproduce),
        (_in_words(given["first_seen"], given["is_older"]), _in_words(first_seen, is_older)),
    ]
    for before, after in pairs:
        if before:
            # Once: what began and ended in the same second says it twice.
            title, text = title.replace(before, after, 1), text.replace(before, after, 1)
    changed = {"reproduce": reproduce, "first_seen": first_seen, "is_older": is_older, "others": others}
    return {"verdict": given | changed, "title": title, "text": text}


def _in_words(first_seen: str, is_older: bool) -> str:
    return f"{first_seen} or before" if is_older else first_seen


def _since(
    diagnosis: Diagnosis, verdict: Mapping[str, Any], known: Sequence[Mapping[str, Any]], stamp: str
) -> list[dict[str, Any]]:
    """Return the other causes of a diagnosis with the time when each was first told, but for those of the `verdict`."""
    found = []
    for other in diagnosis.verdict.get("others", ()):
        # The verdict that is kept may be of more columns than this look's: they have their cause.
        features = [name for name in other["features"] if name not in verdict["features"]]
        if other["features"] and not features:
            continue
        before = next((each for each in known if are_alike(cause_of(each), cause_of(other))), None)
        first = stamp.replace("T", " ") if before is None else before["first_seen"]
        found.append(other | {"features": features, "first_seen": first})
    return found


def _has_more(known: Incident, updated: Incident) -> bool:
    """Whether another cause is told beside an incident's that was not."""
    before = [cause_of(each) for each in known.verdict.get("others", ())]
    return not all(
        any(are_alike(cause_of(each), other) for other in before) for each in updated.verdict.get("others", ())
    )


def _is_explained(known: Incident, updated: Incident) -> bool:
    """Whether it is known by now why golden rows differ, where it was supposed only."""
    return _is_in_replica(known.verdict) and (known.verdict["strength"], updated.verdict["strength"]) == (
        "strong",
        "proof",
    )


def affected(verdict: dict[str, Any]) -> int:
    """Return how many of the judged rows are affected."""
    return round(float(verdict["share"]) * int(verdict["rows"]))


def _updated(incident: Incident, diagnosis: Diagnosis, stamp: str) -> Incident:
    ranks = {"proof": 2, "strong": 1}
    known = incident.verdict
    is_kept = ranks.get(diagnosis.verdict["strength"], 0) < ranks.get(known["strength"], 0)
    others = _since(diagnosis, known if is_kept else diagnosis.verdict, known.get("others", ()), stamp)
    told: dict[str, Any] = {"verdict": known | {key: diagnosis.verdict[key] for key in ("share", "rows")}}
    if not is_kept:
        # When it began was seen best by the first diagnosis: later ones have later rows only.
        told = _told(
            diagnosis, incident.endpoint, incident.id, (known["first_seen"], known.get("is_older", False)), others
        )
    elif others:
        told["verdict"] |= {"others": others}
    return msgspec.structs.replace(
        incident,
        updated_at=stamp,
        last_seen=max(incident.last_seen, diagnosis.seen_until(stamp)),
        seen=incident.seen + 1,
        clean_rows=0,
        rows_affected=incident.rows_affected + affected(diagnosis.verdict),
        rows=diagnosis.rows if "title" in told and diagnosis.rows else incident.rows,
        **told,
    )


def _closed(incident: Incident, now: datetime, because: str) -> Incident:
    return msgspec.structs.replace(
        incident, state=IncidentState.CLOSED, closed_at=time_text(now), closed_because=because
    )


def _with(book: Book, old: Incident, new: Incident) -> Book:
    return replace(book, open=tuple(new if each is old else each for each in book.open))


def _without(book: Book, closed: Sequence[Incident]) -> Book:
    ids = {each.id for each in closed}
    return replace(book, open=tuple(each for each in book.open if each.id not in ids))


def time_text(when: datetime) -> str:
    """Return a time as incidents have it.

    >>> from datetime import UTC
    >>> time_text(datetime(2026, 1, 31, 14, 2, 11, 500_000, tzinfo=UTC))
    '2026-01-31T14:02:11Z'
    """
    return f"{when:%Y-%m-%dT%H:%M:%S}Z"


def _age_s(stamp: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(stamp)) / timedelta(seconds=1)
