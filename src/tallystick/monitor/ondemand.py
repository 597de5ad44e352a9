"""A diagnosis that somebody asked for: the newest rows of an endpoint, or of a table without any server."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from tallystick.errors import InvalidParameter, NotFound
from tallystick.gate.report import GateReport
from tallystick.monitor.ablation_records import Ablated
from tallystick.monitor.earlier import BACK, Earlier
from tallystick.monitor.explain import Explained, Looked, Place, explain_each, explain_more, load_reference
from tallystick.monitor.keyed import with_keys
from tallystick.monitor.moments import Moment, with_moments
from tallystick.monitor.places import WatchedEndpoint, WatchedEntity
from tallystick.monitor.rare import Moved, with_few
from tallystick.monitor.replays import Asks, Replicas
from tallystick.monitor.rows import LiveRows, newest_rows, no_live_rows
from tallystick.monitor.sent import Sent, sent_rows, span_of
from tallystick.parity.history import History
from tallystick.parity.reference import Reference
from tallystick.parity.report import render_html
from tallystick.parity.verdict import render
from tallystick.printable import count
from tallystick.records.damage import telling_damage
from tallystick.records.reading import InferenceTable

#: Rows that are judged at most, and how many make it worth to look no further back.
MAX_ROWS, ENOUGH_ROWS = 2000, 200
#: Without --since: the last hour, and where that has too little, the newest rows of `BACK`.
RECENT = timedelta(hours=1)
#: Seconds that one diagnosis takes to find when its causes began; the one look that is under way is ended.
DATING_S = 8.0


@dataclass(frozen=True)
class Asked:
    """What was asked for beside the verdict."""

    since: timedelta | None = None
    rows: bool = False
    html: bool = False
    #: Columns that were sent, or `usage_context.<name>`, that say whom a row is about; and the features' source.
    key: tuple[str, ...] = ()
    history: History | None = None
    #: Whether rows before the judged ones are looked at for when a cause began, by the served entity and the cause.
    looks_back: Callable[[WatchedEntity, Explained], bool] = lambda _entity, _explained: True
    #: Senders whose counts moved, of a served entity.
    moved: Callable[[WatchedEntity], Collection[Moved]] = lambda _entity: ()
    #: Minutes whose counts moved, of a served entity: what the newest rows do not show is looked for in them.
    moments: Callable[[WatchedEntity], Sequence[Moment]] = lambda _entity: ()
    #: What is known of the environment that a replica's report is from; it may have it built.
    ablated: Callable[[WatchedEntity, GateReport], Ablated | None] = lambda _entity, _report: None
    #: When an incident of a served entity was closed: without `since`, rows from before then are left out.
    not_before: Callable[[WatchedEntity], datetime | None] = lambda _entity: None


def diagnose_endpoint(
    endpoint: WatchedEndpoint, served_entity: str, asked: Asked, line: Asks | None, now: datetime
) -> list[tuple[WatchedEntity, Looked]]:
    """Return the verdicts on each served entity of an endpoint.

    Raises NotFound, InvalidParameter and DamagedTable, with what to do.
    """
    having = entities_to_look_at(endpoint, served_entity)
    table = InferenceTable(endpoint.table, name=endpoint.name)
    return [(each, _look(table, endpoint, each, asked, line, now)) for each in having]


def entities_to_look_at(endpoint: WatchedEndpoint, served_entity: str = "") -> list[WatchedEntity]:
    """Return what an endpoint serves that has a reference, or the one of a name.

    Raises NotFound and InvalidParameter, with what to do, when there is nothing to look at.
    """
    if not endpoint.table:
        raise InvalidParameter(
            f"Invocations of '{endpoint.name}' are not recorded, so there are no rows to look at. Turn that on: "
            f"tallystick endpoints inference-table {endpoint.name} --on"
        )
    if not endpoint.entities:
        raise InvalidParameter(
            f"'{endpoint.name}' serves nothing, so there is nothing to compare. "
            f"Why that is, says tallystick endpoints get {endpoint.name}"
        )
    chosen = [each for each in endpoint.entities if served_entity in ("", each.name)]
    if not chosen:
        names = ", ".join(each.name for each in endpoint.entities)
        raise NotFound(f"'{endpoint.name}' does not serve '{served_entity[:80]}'; it serves {names}.")
    having = [each for each in chosen if each.reference is not None]
    if not having:
        raise InvalidParameter(f"{chosen[0].name}: {chosen[0].problem}")
    return having


def _look(
    table: InferenceTable,
    endpoint: WatchedEndpoint,
    entity: WatchedEntity,
    asked: Asked,
    line: Asks | None,
    now: datetime,
) -> Looked:
    assert entity.reference is not None
    reference = load_reference(entity.reference)
    with telling_damage(table.location):
        floor = asked.not_before(entity)
        sent, notes = sent_to_judge(table, entity.id, reference, asked.since, now, endpoint.hidden, floor)
    key = asked.key or ((endpoint.key,) if endpoint.key else ())
    sent, more = with_keys(sent, key, reference.names, asked.history)
    notes = (*notes, *more, *_not_read(table))
    place = Place(endpoint.name, entity.name, entity.digest, entity.model_version)
    replicas = None if line is None else Replicas(line, endpoint.name, entity.name, partial(asked.ablated, entity))
    if not len(sent):
        notes = (*notes, no_rows(endpoint.name, entity.name, asked.since))
    looked = explain_each(reference, sent, place, replicas, notes)
    earlier = Earlier(table.pinned(), entity.id, reference, endpoint.hidden, key, asked.history)
    begin = now - asked.since if asked.since else _back(RECENT, now, floor)
    looked = with_few(
        looked,
        asked.moved(entity),
        lambda sender: earlier.newest_of(sender, now, begin),
        lambda some: explain_more(reference, some, place, replicas, notes, looked),
    )
    looked = with_moments(
        looked,
        asked.moments(entity),
        # Counts are of whole minutes: of the first one, what came before then was not asked for.
        lambda moment: earlier.of_moment(moment, begin if floor is None else max(begin, floor)),
        lambda some: explain_more(reference, some, place, replicas, notes, looked),
    )
    return _dated(looked, earlier, now, lambda explained: asked.looks_back(entity, explained))


def _dated(looked: Looked, earlier: Earlier, now: datetime, is_wanted: Callable[[Explained], bool]) -> Looked:
    end = time.monotonic() + DATING_S
    found = [
        earlier.dated(each, now, lambda: time.monotonic() > end) if is_wanted(each) else each for each in looked.found
    ]
    return replace(looked, found=tuple(found))


def no_rows(endpoint: str, served_entity: str, since: timedelta | None) -> str:
    """Return why a diagnosis sees nothing, and what to do."""
    when = "since it was deployed" if since is None else f"in the last {_words(since)}"
    return (
        f"no invocation of {served_entity} was recorded {when}; a route of 0 % gets none, and 'tallystick table "
        f"{endpoint}' shows what there is"
    )


def rows_to_judge(
    table: InferenceTable,
    entity_id: str,
    reference: Reference,
    since: timedelta | None,
    now: datetime,
    floor: datetime | None = None,
) -> tuple[LiveRows, tuple[str, ...]]:
    """Return the newest rows, and what to say of the choice; without `since`, none from before `floor`."""
    try:
        if since is not None:
            return newest_rows(table, entity_id, reference.names, now - since, MAX_ROWS), ()
        rows = newest_rows(table, entity_id, reference.names, _back(RECENT, now, floor), MAX_ROWS)
        if len(rows) >= ENOUGH_ROWS:
            return rows, ()
        more = newest_rows(table, entity_id, reference.names, _back(BACK, now, floor), ENOUGH_ROWS)
    except NotFound:
        # It begins with the first invocation.
        return no_live_rows(reference.names), ()
    if len(more) <= len(rows):
        return rows, ()
    age = now - more.times.iloc[0].to_pydatetime()
    few = count(len(rows), "row")
    note = f"the last {_words(RECENT)} has {few} only: the newest {len(more)} of {_words(age)} were judged"
    return more, (note,)


def sent_to_judge(
    table: InferenceTable,
    entity_id: str,
    reference: Reference,
    since: timedelta | None,
    now: datetime,
    hidden: Collection[str] = (),
    floor: datetime | None = None,
) -> tuple[Sent, tuple[str, ...]]:
    """Return the newest rows as they were sent, those of refused requests with them, and what to say of the choice."""
    rows, notes = rows_to_judge(table, entity_id, reference, since, now, floor)
    recent = now - _back(RECENT, now, floor)
    begin = span_of(rows, since, recent, len(rows) >= MAX_ROWS, now)
    sent = sent_rows(table, entity_id, rows, reference, begin, hidden)
    if not len(sent) and since is None:
        sent = sent_rows(table, entity_id, rows, reference, _back(BACK, now, floor), hidden)
    return sent, notes


def _back(span: timedelta, now: datetime, floor: datetime | None) -> datetime:
    return now - span if floor is None else max(now - span, floor)


def _not_read(table: InferenceTable) -> tuple[str, ...]:
    """Return which recorded invocations were left out of the latest read, and why."""
    return tuple(f"{count:,} were not judged: {reason}" for reason, count in table.undecoded.most_common(3))


def _words(span: timedelta) -> str:
    seconds = span.total_seconds()
    for unit, word in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {word}"
    if seconds == 3600:
        return "hour"
    return "second" if seconds < 1.5 else f"{seconds:.0f} seconds"


def diagnose_table(location: str, model: str, asked: Asked, now: datetime | None = None) -> list[tuple[str, Explained]]:
    """Return the verdicts on a table, without a server: one for each served entity in it.

    `model` is a model's folder, or the folder of a reference. Raises NotFound, InvalidParameter
    and DamagedTable.
    """
    reference = load_reference(Path(model))
    table = InferenceTable(location)
    found: dict[str, str] = {}
    with telling_damage(table.location):
        for batch in table.invocations(columns=["served_entity_id", "served_entity_name"]):
            found |= dict(zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True))
    verdicts: list[tuple[str, Explained]] = []
    for entity_id, name in found.items():
        if not entity_id:
            continue
        with telling_damage(table.location):
            sent, notes = sent_to_judge(table, entity_id, reference, asked.since, now or datetime.now(UTC))
        sent, more = with_keys(sent, asked.key, reference.names, asked.history)
        notes = (*notes, *more)
        if len(sent):
            looked = explain_each(reference, sent, Place("", name), None, notes)
            earlier = Earlier(table.pinned(), entity_id, reference, key=asked.key, history=asked.history)
            looked = _dated(looked, earlier, now or datetime.now(UTC), lambda _explained: True)
            verdicts += [(name or "", explained) for explained in looked.found]
    if not verdicts:
        raise NotFound(f"The table at {table.location} has no rows to judge, or none in the time that was asked for.")
    return verdicts


def as_document(explained: Explained, served_entity: str, incident_id: int | None, reference: Any, asked: Asked) -> Any:
    """Return a verdict as REST and `--json` give it."""
    document: dict[str, Any] = {
        "served_entity": served_entity,
        "incident_id": incident_id,
        "verdict": msgspec.to_builtins(explained.verdict),
        "text": render(explained.verdict),
    }
    if asked.rows:
        document["rows"] = msgspec.to_builtins(list(explained.examples))
    if asked.html:
        document["html"] = html_of(explained, reference, served_entity)
    return document


def html_of(explained: Explained, reference: Reference, title: str) -> str:
    """Return the report as a page."""
    examined = explained.examined
    has_rows = examined is not None and len(examined.sent_frame) > 0
    return render_html(
        explained.verdict,
        reference,
        examined.sent_frame if examined is not None and has_rows else None,
        examined.undone_frame if examined is not None and has_rows else None,
        title=title,
        scores=(explained.predictions, None),
        replays=explained.replays,
        rows=[each.sent for each in explained.examples],
    )
