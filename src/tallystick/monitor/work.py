"""What the monitor does when there is something to do. Imported then: pandas, scipy and the readers of tables."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import numpy as np

from tallystick.errors import InvalidParameter, TallystickError
from tallystick.gate.report import GateReport
from tallystick.monitor.ablation_records import Ablated
from tallystick.monitor.ablations import Ablations
from tallystick.monitor.alike import incidents_of, sender_of
from tallystick.monitor.counting import seconds_of
from tallystick.monitor.explain import Explained, Looked, is_claim, load_reference
from tallystick.monitor.incident_files import IncidentFiles
from tallystick.monitor.incidents import (
    Book,
    Change,
    Diagnosis,
    Look,
    close_silent,
    note,
    time_text,
)
from tallystick.monitor.line import MonitorLine
from tallystick.monitor.moments import Moment
from tallystick.monitor.ondemand import RECENT, Asked, as_document, diagnose_endpoint, entities_to_look_at
from tallystick.monitor.places import WatchedEndpoint, WatchedEntity
from tallystick.monitor.profiles import profile_of
from tallystick.monitor.rare import Moved
from tallystick.monitor.routes import has_new_rows, has_to_forget
from tallystick.monitor.watch import Watch
from tallystick.monitor.webhook import Webhook
from tallystick.parity.kinds import Status
from tallystick.parity.verdict import render
from tallystick.parity.words import title
from tallystick.protocol.monitoring import AskProfile, Diagnose, EndpointParity, EntityParity
from tallystick.settings import Settings

_log = logging.getLogger("tallystick.monitor")


def _utc_now() -> datetime:
    return datetime.now(UTC)


#: A client may send numbers whose sums and squares overflow: that is nothing to print on the server's terminal.
_quietly = np.errstate(all="ignore")


class Work:
    """The watches of all endpoints, and their incidents."""

    def __init__(
        self,
        settings: Settings,
        line: MonitorLine,
        clock: Callable[[], datetime] = _utc_now,
        ablations: Ablations | None = None,
    ) -> None:
        self._settings, self._line, self._clock = settings, line, clock
        self._webhook = Webhook()
        self._ablations = ablations or Ablations(settings.data_dir, is_on=settings.ablation, clock=clock)
        #: By endpoint id.
        self._books: dict[str, Book] = {}
        self._watches: dict[str, Watch] = {}

    @_quietly
    def turn(self, watched: Mapping[str, WatchedEndpoint], first: Callable[[], None] = lambda: None) -> None:
        """Look at what is new in each endpoint; `first` is done before each look that may take seconds."""
        self._ablations.tick()
        for endpoint in watched.values():
            first()
            if endpoint.is_watched and endpoint.table and any(each.reference for each in endpoint.entities):
                self._guarded(partial(self._look, first), endpoint)
            elif endpoint.id in self._watches or has_to_forget(endpoint, self._clock().timestamp()):
                # What is not looked at is forgotten all the same.
                self._guarded(self._keep_to, endpoint)
        gone = self._watches.keys() - {each.id for each in watched.values()}
        for endpoint_id in gone:
            del self._watches[endpoint_id]
            self._books.pop(endpoint_id, None)
        self._ablations.tick()

    @property
    def is_busy(self) -> bool:
        """Whether something is under way that ends with this process."""
        return self._ablations.is_busy

    def _guarded(self, do: Callable[[WatchedEndpoint], None], endpoint: WatchedEndpoint) -> str:
        """Do something with an endpoint; return why it could not be done, empty when it was."""
        try:
            do(endpoint)
        except (TallystickError, OSError) as error:
            # Its table is away or damaged; the others go on, and this one is looked at again.
            text = error.message if isinstance(error, TallystickError) else type(error).__name__
            _log.warning("the rows of %s could not be looked at: %s", endpoint.name, text)
            return text
        except Exception:  # noqa: BLE001  nor does what nobody thought of keep the others from being looked at
            _log.exception("the rows of %s could not be looked at", endpoint.name)
            return "the server's log says why"
        return ""

    def _keep_to(self, endpoint: WatchedEndpoint) -> None:
        self._watch(endpoint).keep_to(endpoint, self._clock())

    def _count(self, endpoint: WatchedEndpoint) -> None:
        self._watch(endpoint).count_new(endpoint, self._clock())

    def _watch(self, endpoint: WatchedEndpoint) -> Watch:
        if endpoint.id not in self._watches:
            self._watches[endpoint.id] = Watch(endpoint)
        return self._watches[endpoint.id]

    def _look(self, first: Callable[[], None], endpoint: WatchedEndpoint) -> None:
        watch = self._watch(endpoint)
        now = self._clock()
        due = watch.advance(endpoint, now, {each.served_entity_id for each in self._book(endpoint).open})
        # What is known of its environment since changes a verdict, whether rows came or not.
        told = self._ablations.ended(endpoint.id) - {each.id for each in due}
        due += [each for each in endpoint.entities if each.id in told and each.reference is not None]
        for entity in due:
            first()
            try:
                asked = Asked(
                    since=None if entity.id in told else watch.span(entity.id),
                    not_before=lambda each: self._book(endpoint).closed_at.get(each.id),
                    looks_back=partial(self._is_news, endpoint),
                    ablated=partial(self._ablated, endpoint),
                    moved=partial(self._moved, endpoint),
                    moments=lambda each: watch.news(each.id, now, self._book(endpoint).closed_at.get(each.id)),
                )
                found = diagnose_endpoint(endpoint, entity.name, asked, self._line, now)
            except TallystickError as error:
                _log.warning("%s of %s could not be diagnosed: %s", entity.name, endpoint.name, error.message)
                continue
            for each, looked in found:
                self._note(endpoint, each, looked, now, watch.diagnosed_at(each.id))
                is_claimed = is_claim(looked.found[0].verdict)
                watch.diagnosed(each.id, is_claimed=is_claimed, now=now, alone=looked.alone)
        book = self._book(endpoint)
        self._keep(endpoint, *close_silent(book, (each.id for each in endpoint.entities), now))

    def _ablated(self, endpoint: WatchedEndpoint, entity: WatchedEntity, report: GateReport) -> Ablated | None:
        """Return what is known of the environment that a report is from; have it built where nothing is."""
        if entity.reference is None:
            return None
        return self._ablations.of((endpoint.id, entity.id), entity.digest, entity.reference.parent, report)

    def _is_news(self, endpoint: WatchedEndpoint, entity: WatchedEntity, explained: Explained) -> bool:
        """Whether no open incident is about a cause: of one that is, it is known since when."""
        return incidents_of(self._book(endpoint), [_diagnosis(entity, explained)])[0] is None

    def _moved(self, endpoint: WatchedEndpoint, entity: WatchedEntity) -> list[Moved]:
        """Return the senders whose rows moved, or did when their incidents were opened."""
        senders = [sender_of(each.verdict) for each in self._book(endpoint).open if each.served_entity_id == entity.id]
        return self._known(endpoint, entity).moved(entity.id, senders)

    def _moments(self, endpoint: WatchedEndpoint, since_s: float, entity: WatchedEntity) -> list[Moment]:
        return self._known(endpoint, entity).moments(entity.id, since_s)

    def _known(self, endpoint: WatchedEndpoint, entity: WatchedEntity) -> Watch:
        """Return the watch of an endpoint, with what a process before this one counted of a served entity."""
        watch = self._watch(endpoint)
        watch.of(entity)
        return watch

    @_quietly
    def diagnose(self, endpoint: WatchedEndpoint, asked: Diagnose) -> bytes:
        """Return the verdicts that were asked for, as JSON. Raises NotFound and InvalidParameter."""
        now = self._clock()
        if endpoint.is_watched and endpoint.table and has_new_rows(endpoint):
            # So that what moved since the latest turn is known; what cannot be counted may be read all the same.
            self._guarded(self._count, endpoint)
        since = timedelta(seconds=asked.since_s) if asked.since_s else None
        key = (asked.key,) if asked.key else ()
        wanted = Asked(
            since,
            asked.rows,
            asked.html,
            key,
            moved=partial(self._moved, endpoint),
            moments=partial(self._moments, endpoint, (now - (since or RECENT)).timestamp()),
            ablated=partial(self._ablated, endpoint),
        )
        documents = []
        for entity, looked in diagnose_endpoint(endpoint, asked.served_entity, wanted, self._line, now):
            if since is None and endpoint.is_watched:
                # What is over says nothing of how it stands now.
                if not looked.found[0].is_past:
                    self._say(endpoint, entity, looked, now)
                # A proof in the newest rows opens an incident. What is long ago opens none, and nothing closes one.
                proven = tuple(
                    each for each in looked.found if each.verdict.status is Status.CAUSE_FOUND and not each.is_past
                )
                if proven:
                    self._note(endpoint, entity, replace(looked, found=proven, is_clean=False), now)
            reference = load_reference(entity.reference) if asked.html else None
            found = incidents_of(self._book(endpoint), [_diagnosis(entity, each) for each in looked.found])
            documents += [
                as_document(explained, entity.name, incident.id if incident else None, reference, wanted)
                for explained, incident in zip(looked.found, found, strict=True)
            ]
        self._ablations.tick()
        return msgspec.json.encode({"verdicts": documents})

    @_quietly
    def profile(self, endpoint: WatchedEndpoint, asked: AskProfile) -> bytes:
        """Return how live rows look beside training, as JSON. Raises NotFound and InvalidParameter.

        What was recorded since the latest turn is counted first; the next turn diagnoses what that makes due.
        """
        having = entities_to_look_at(endpoint, asked.served_entity)
        problem = ""
        if endpoint.is_watched and has_new_rows(endpoint):
            problem = self._guarded(self._count, endpoint)
        watch = self._watch(endpoint)
        now = self._clock()
        watch.keep_to(endpoint, now)
        found = []
        for entity in having:
            known = watch.of(entity)
            if known.reference is None:
                raise InvalidParameter(f"{entity.name}: its reference cannot be read")
            profile = profile_of(endpoint, entity.name, known, asked, seconds_of(now))
            if problem:
                profile["notes"].insert(0, f"what was recorded since is not counted, as it cannot be read: {problem}")
            found.append(profile)
        return msgspec.json.encode({"profiles": found})

    def standing(self, watched: Mapping[str, WatchedEndpoint]) -> dict[str, EndpointParity]:
        """Return how all endpoints stand."""
        return {name: self._standing(endpoint) for name, endpoint in watched.items()}

    def close(self) -> None:
        """Keep what the watches know, and end what is under way."""
        self._ablations.close()
        for watch in self._watches.values():
            watch.save()

    def _standing(self, endpoint: WatchedEndpoint) -> EndpointParity:
        watch = self._watches.get(endpoint.id)
        entities = {}
        for each in endpoint.entities:
            counted = watch.counted(each) if watch is not None else EntityParity()
            problem = each.problem if endpoint.is_watched else "Watching is off for this endpoint."
            entities[each.name] = msgspec.structs.replace(counted, problem=problem)
        incidents = tuple(each.summary() for each in self._book(endpoint).open)
        return EndpointParity(endpoint.id, entities, incidents)

    def _note(
        self,
        endpoint: WatchedEndpoint,
        entity: WatchedEntity,
        looked: Looked,
        now: datetime,
        before: datetime | None = None,
    ) -> None:
        """Note what a look found; `before` is when the look before was."""
        self._say(endpoint, entity, looked, now)
        found = tuple(_diagnosis(entity, each) for each in looked.found)
        is_replayed = any(each.replays for each in looked.found)
        look = Look(entity.id, found, looked.is_clean, looked.senders(before), is_replayed, frozenset(looked.withheld))
        self._keep(endpoint, *note(self._book(endpoint), look, now))

    def _say(self, endpoint: WatchedEndpoint, entity: WatchedEntity, looked: Looked, now: datetime) -> None:
        """Note what is said of a served entity from now on."""
        self._watch(endpoint).of(entity).latest = looked.found[0].verdict.status.value, time_text(now)

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
        title(explained.verdict),
        rows,
        explained.last_at,
    )
