"""Incidents: one for each cause in one place, from its first diagnosis until it stayed away.

| state | event | then | becomes |
|---|---|---|---|
| none | a cause that is proven or strong | a new incident is opened | open |
| none | a weak suspicion, for the second time in a row | a new incident is opened | open |
| open | the same cause again | last seen, rows and share are brought up to date | open |
| open | a look that does not find it, before `CLEAN_S` are over | nothing | open |
| any | a look that says nothing of it | nothing | as it was |
| open | a look that does not find it, `CLEAN_S` after it was last seen | it is closed | closed |
| open | nothing that finds it or speaks against it for `SILENT_S` | it is closed, and says so | closed |
| closed | the same cause again | a new incident is opened | open |

The same cause is the same kind of fault in the same served entity, with a column in common, from the same sender as
far as one is named. A look says nothing of a cause when there are too few rows to tell, or rows that no found cause
explains are not clean, or its sender sent too few of them, or, for one in a replica, no replica was asked. So what one
sender does wrong holds up no incident of another's, and a sender that stays away is not one that was mended. Pure, but
for `IncidentFiles`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from tallystick.protocol.monitoring import IncidentState, IncidentSummary

#: How long a cause has to stay away, and how long no row may come, until its incident is closed.
CLEAN_S, SILENT_S = 900.0, 24 * 3600.0
#: Closed incidents that are kept of one endpoint; the oldest go first.
MAX_KEPT = 200
#: Causes of one endpoint that are open at a time; beyond, a new one waits until one closes.
MAX_OPEN = 20
#: Rows of its sender that a cause has to stay away from; fewer, where fewer have shown it.
ENOUGH_ROWS = 30
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
    #: Why it was closed.
    closed_because: str = ""
    #: Diagnoses that found it, and rows that were affected in them, all together.
    seen: int = 1
    rows_affected: int = 0
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
            title=self.title,
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
    #: Rows that were looked at, by sender: (column, value) of a segment.
    senders: Mapping[tuple[str, str], int] = field(default_factory=dict)
    #: Whether replicas said what they hold, and replayed golden rows.
    is_replayed: bool = False


@dataclass(frozen=True)
class Book:
    """The incidents of one endpoint: those that are open, weak suspicions of last time, and the last number."""

    endpoint: str
    open: tuple[Incident, ...] = ()
    suspicions: tuple[Diagnosis, ...] = ()
    last_id: int = 0


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
    for claim in claims:
        book, change = _claimed(book, claim, before, time_text(now))
        changes += change
    again = {change.incident.id for change in changes}
    closed = [
        _closed(each, now, "it was not seen any more")
        for each in book.open
        if each.id not in again and _speaks_against(look, each) and _age_s(each.updated_at, now) >= CLEAN_S
    ]
    return _without(book, closed), (*changes, *(Change(each, True) for each in closed))


def _speaks_against(look: Look, incident: Incident) -> bool:
    """Whether a look that did not find the cause of an incident says that it is gone."""
    verdict = incident.verdict
    if incident.served_entity_id != look.served_entity_id or not look.is_clean:
        return False
    if verdict["stage"].startswith(("routing", "endpoint")):
        return look.is_replayed
    sender = verdict["segment"].get("column"), verdict["segment"].get("value")
    return sender == (None, None) or look.senders.get(sender, 0) >= max(1, min(ENOUGH_ROWS, affected(verdict)))


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


def is_same(incident: Incident, diagnosis: Diagnosis) -> bool:
    """Whether a diagnosis found the cause of an incident again."""
    mine, other = incident.verdict, diagnosis.verdict
    if incident.served_entity_id != diagnosis.served_entity_id or mine["kind"] != other["kind"]:
        return False
    columns = set(mine["features"]), set(other["features"])
    if any(columns) and not columns[0] & columns[1]:
        return False
    senders = [(each["segment"].get("column"), each["segment"].get("value")) for each in (mine, other)]
    return senders[0] == senders[1] or (None, None) in senders


def _claimed(
    book: Book, diagnosis: Diagnosis, before: Sequence[Diagnosis], stamp: str
) -> tuple[Book, tuple[Change, ...]]:
    """Return the book with a claim; `before` are the weak suspicions of the look before."""
    known = next((each for each in book.open if is_same(each, diagnosis)), None)
    if known is not None:
        updated = _updated(known, diagnosis, stamp)
        return _with(book, known, updated), (Change(updated, False),)
    is_clear = diagnosis.verdict["status"] == "cause_found" or diagnosis.verdict["strength"] == "strong"
    was_there = any(_is_alike(each, diagnosis) for each in before)
    if not (is_clear or was_there) or len(book.open) >= MAX_OPEN:
        return replace(book, suspicions=(*book.suspicions, diagnosis)), ()
    opened = Incident(
        id=book.last_id + 1,
        endpoint=book.endpoint,
        served_entity=diagnosis.served_entity,
        served_entity_id=diagnosis.served_entity_id,
        state=IncidentState.OPEN,
        opened_at=stamp,
        updated_at=stamp,
        rows_affected=affected(diagnosis.verdict),
        verdict=diagnosis.verdict | {"reproduce": _command(book.endpoint, book.last_id + 1)},
        title=diagnosis.title,
        text=_with_command(diagnosis, book.endpoint, book.last_id + 1),
        rows=diagnosis.rows,
    )
    book = replace(book, open=(*book.open, opened), last_id=opened.id)
    return book, (Change(opened, True),)


def _command(endpoint: str, number: int) -> str:
    return f"tallystick diagnose {endpoint} --incident {number} --rows"


def _with_command(diagnosis: Diagnosis, endpoint: str, number: int) -> str:
    """Return the text of a diagnosis with the command that shows the incident in place of the one that asks anew."""
    asked = diagnosis.verdict["reproduce"]
    return diagnosis.text.replace(asked, _command(endpoint, number)) if asked else diagnosis.text


def affected(verdict: dict[str, Any]) -> int:
    """Return how many of the judged rows are affected."""
    return round(float(verdict["share"]) * int(verdict["rows"]))


def _updated(incident: Incident, diagnosis: Diagnosis, stamp: str) -> Incident:
    ranks = {"proof": 2, "strong": 1}
    is_clearer = ranks.get(diagnosis.verdict["strength"], 0) >= ranks.get(incident.verdict["strength"], 0)
    verdict = incident.verdict
    if is_clearer:
        # When it began was seen best by the first diagnosis: later ones have later rows only.
        began = verdict["first_seen"] or diagnosis.verdict["first_seen"]
        verdict = diagnosis.verdict | {"reproduce": _command(incident.endpoint, incident.id), "first_seen": began}
    else:
        verdict = verdict | {key: diagnosis.verdict[key] for key in ("share", "rows")}
    return msgspec.structs.replace(
        incident,
        updated_at=stamp,
        seen=incident.seen + 1,
        rows_affected=incident.rows_affected + affected(diagnosis.verdict),
        verdict=verdict,
        title=diagnosis.title if is_clearer else incident.title,
        text=_with_command(diagnosis, incident.endpoint, incident.id) if is_clearer else incident.text,
        rows=diagnosis.rows if is_clearer and diagnosis.rows else incident.rows,
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


def _is_alike(one: Diagnosis, other: Diagnosis) -> bool:
    return (
        one.served_entity_id == other.served_entity_id
        and one.verdict["kind"] == other.verdict["kind"]
        and bool(set(one.verdict["features"]) & set(other.verdict["features"]) or not one.verdict["features"])
    )


def time_text(when: datetime) -> str:
    """Return a time as incidents have it.

    >>> from datetime import UTC
    >>> time_text(datetime(2026, 1, 31, 14, 2, 11, 500_000, tzinfo=UTC))
    '2026-01-31T14:02:11Z'
    """
    return f"{when:%Y-%m-%dT%H:%M:%S}Z"


def _age_s(stamp: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(stamp)) / timedelta(seconds=1)


class IncidentFiles:
    """The incidents of one endpoint on disk: a JSON file each. What cannot be read is passed over, and kept."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self._folder, self._endpoint = folder, endpoint

    def load(self) -> Book:
        """Return the book: all that are open, and the last number."""
        found = list(self._all())
        return Book(
            self._endpoint,
            tuple(each for each in found if each.state is IncidentState.OPEN),
            last_id=max((number for number, _ in self._paths()), default=0),
        )

    def save(self, changes: Iterable[Change]) -> None:
        """Write what changed; forget the oldest of those that are closed. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for change in changes:
            path = self._folder / f"{change.incident.id}.json"
            temporary = path.with_suffix(".tmp")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(change.incident))
            temporary.replace(path)
        paths = sorted(self._paths())
        if len(paths) <= MAX_KEPT + MAX_OPEN:
            return
        # The newest number stays, since it must never be given twice.
        closed = [each.id for each in self._all() if each.state is IncidentState.CLOSED]
        for number in sorted(closed)[: len(paths) - MAX_KEPT]:
            with contextlib.suppress(OSError):
                (self._folder / f"{number}.json").unlink()

    def _all(self) -> Iterable[Incident]:
        for _, path in sorted(self._paths()):
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                yield msgspec.json.decode(path.read_bytes(), type=Incident)

    def _paths(self) -> list[tuple[int, Path]]:
        return [(int(path.stem), path) for path in self._folder.glob("*.json") if path.stem.isdecimal()]
