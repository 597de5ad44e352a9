"""What the monitor does when there is something to do. Imported then: pandas, scipy and the readers of tables."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tallystick.errors import TallystickError
from tallystick.monitor.explain import Explained, load_reference
from tallystick.monitor.incidents import (
    Book,
    Change,
    Diagnosis,
    IncidentFiles,
    close_silent,
    is_same,
    note,
    time_text,
)
from tallystick.monitor.line import MonitorLine
from tallystick.monitor.ondemand import Asked, as_document, diagnose_endpoint
from tallystick.monitor.places import WatchedEndpoint, WatchedEntity
from tallystick.monitor.watch import Watch
from tallystick.monitor.webhook import Webhook
from tallystick.parity.kinds import Status
from tallystick.parity.verdict import render
from tallystick.parity.words import headline
from tallystick.protocol.monitoring import Diagnose, EndpointParity, EntityParity
from tallystick.settings import Settings

_log = logging.getLogger("tallystick.monitor")


class Work:
    """The watches of all endpoints, and their incidents."""

    def __init__(self, settings: Settings, line: MonitorLine) -> None:
        self._settings, self._line = settings, line
        self._webhook = Webhook()
        #: By endpoint id.
        self._books: dict[str, Book] = {}
        self._watches: dict[str, Watch] = {}
        #: Latest diagnosis, by served entity id: its status, and when.
        self._latest: dict[str, tuple[str, str]] = {}

    def turn(self, watched: Mapping[str, WatchedEndpoint]) -> None:
        """Look at what is new in each endpoint."""
        for endpoint in watched.values():
            if not (endpoint.is_watched and endpoint.table and any(each.reference for each in endpoint.entities)):
                continue
            try:
                self._look(endpoint)
            except (TallystickError, OSError) as error:
                # Its table is away or damaged; the others go on, and this one is looked at again.
                text = error.message if isinstance(error, TallystickError) else type(error).__name__
                _log.warning("the rows of %s could not be looked at: %s", endpoint.name, text)
            except Exception:  # noqa: BLE001  nor does what nobody thought of keep the others from being looked at
                _log.exception("the rows of %s could not be looked at", endpoint.name)
        gone = self._watches.keys() - {each.id for each in watched.values()}
        for endpoint_id in gone:
            del self._watches[endpoint_id]
            self._books.pop(endpoint_id, None)

    def _look(self, endpoint: WatchedEndpoint) -> None:
        watch = self._watches.get(endpoint.id)
        if watch is None:
            watch = self._watches[endpoint.id] = Watch(endpoint)
        now = datetime.now(UTC)
        due = watch.advance(endpoint, now)
        for entity in due:
            try:
                found = diagnose_endpoint(endpoint, entity.name, Asked(since=watch.span(entity.id)), self._line, now)
            except TallystickError as error:
                _log.warning("%s of %s could not be diagnosed: %s", entity.name, endpoint.name, error.message)
                continue
            for each, explained in found:
                watch.diagnosed(each.id, explained.verdict, now)
                self._note(endpoint, each, explained, now)
        book = self._book(endpoint)
        self._keep(endpoint, *close_silent(book, (each.id for each in endpoint.entities), now))

    def diagnose(self, endpoint: WatchedEndpoint, asked: Diagnose) -> bytes:
        """Return the verdicts that were asked for, as JSON. Raises NotFound and InvalidParameter."""
        now = datetime.now(UTC)
        since = timedelta(seconds=asked.since_s) if asked.since_s else None
        wanted = Asked(since, asked.rows, asked.html, (asked.key,) if asked.key else ())
        documents = []
        for entity, explained in diagnose_endpoint(endpoint, asked.served_entity, wanted, self._line, now):
            incident_id = self._asked_incident(endpoint, entity, explained, since, now)
            reference = load_reference(entity.reference) if asked.html else None
            documents.append(as_document(explained, entity.name, incident_id, reference, wanted))
        return msgspec.json.encode({"verdicts": documents})

    def _asked_incident(
        self,
        endpoint: WatchedEndpoint,
        entity: WatchedEntity,
        explained: Explained,
        since: timedelta | None,
        now: datetime,
    ) -> int | None:
        """Return the incident of a verdict; a proof in the newest rows opens one. What is long ago opens none."""
        if since is None and endpoint.is_watched and explained.verdict.status is Status.CAUSE_FOUND:
            self._note(endpoint, entity, explained, now)
        diagnosis = _diagnosis(entity, explained)
        if not diagnosis.is_claim:
            return None
        return next((each.id for each in self._book(endpoint).open if is_same(each, diagnosis)), None)

    def standing(self, watched: Mapping[str, WatchedEndpoint]) -> dict[str, EndpointParity]:
        """Return how all endpoints stand."""
        return {name: self._standing(endpoint) for name, endpoint in watched.items()}

    def close(self) -> None:
        """Keep what the watches know."""
        for watch in self._watches.values():
            watch.save()

    def _standing(self, endpoint: WatchedEndpoint) -> EndpointParity:
        watch = self._watches.get(endpoint.id)
        entities = {}
        for each in endpoint.entities:
            status, at = self._latest.get(each.id, ("", ""))
            counted = watch.counted(each.id) if watch is not None else EntityParity()
            problem = each.problem if endpoint.is_watched else "Watching is off for this endpoint."
            entities[each.name] = msgspec.structs.replace(counted, problem=problem, status=status, diagnosed_at=at)
        incidents = tuple(each.summary() for each in self._book(endpoint).open)
        return EndpointParity(endpoint.id, entities, incidents)

    def _note(self, endpoint: WatchedEndpoint, entity: WatchedEntity, explained: Explained, now: datetime) -> None:
        self._latest[entity.id] = (explained.verdict.status.value, time_text(now))
        self._keep(endpoint, *note(self._book(endpoint), _diagnosis(entity, explained), now))

    def _keep(self, endpoint: WatchedEndpoint, book: Book, changes: tuple[Change, ...]) -> None:
        self._books[endpoint.id] = book
        if not changes:
            return
        try:
            IncidentFiles(endpoint.incidents, endpoint.name).save(changes)
        except OSError as error:
            _log.error("incidents of %s could not be kept: %s", endpoint.name, error.strerror)
        for change in changes:
            if change.is_news and endpoint.webhook:
                self._webhook.post(endpoint.webhook, change.incident)

    def _book(self, endpoint: WatchedEndpoint) -> Book:
        if endpoint.id not in self._books:
            self._books[endpoint.id] = IncidentFiles(endpoint.incidents, endpoint.name).load()
        return self._books[endpoint.id]


def _diagnosis(entity: WatchedEntity, explained: Explained) -> Diagnosis:
    rows: tuple[dict[str, Any], ...] = tuple(msgspec.to_builtins(list(explained.examples)))
    return Diagnosis(
        entity.name,
        entity.id,
        msgspec.to_builtins(explained.verdict),
        render(explained.verdict),
        headline(explained.verdict),
        rows,
    )
