"""The watch of one endpoint: reads what is new, counts it, and says what should be diagnosed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from tallystick.errors import InvalidParameter, NotFound
from tallystick.monitor import keeping
from tallystick.monitor.batches import (
    New,
    Sample,
    batches,
    first_row_s,
    new_rows,
    next_row_s,
    refused_senders,
    sampling,
    share_of,
)
from tallystick.monitor.counting import count, count_refused, seconds_of, violations_of
from tallystick.monitor.entity_watch import EntityWatch
from tallystick.monitor.explain import load_reference
from tallystick.monitor.frequent import Segment
from tallystick.monitor.keyed import without_keys
from tallystick.monitor.moments import Moment
from tallystick.monitor.places import WatchedEndpoint, WatchedEntity, oldest_s, withheld_of
from tallystick.monitor.rare import Moved
from tallystick.monitor.reservoir import Reservoir, hold
from tallystick.monitor.rings import DAY
from tallystick.monitor.routes import PROFILE_FILE, SKETCHES_FILE
from tallystick.monitor.screening import REFUSED, WHOLE, screen
from tallystick.protocol.monitoring import EntityParity
from tallystick.records.added import Added
from tallystick.records.damage import telling_damage
from tallystick.records.reading import InferenceTable

#: How far back a diagnosis of a turn looks.
SPAN = timedelta(minutes=15)
#: How often sketches are written to disk: they are larger than counts.
SKETCHES_EVERY_S = 300.0

_log = logging.getLogger("tallystick.monitor")


class Watch:
    """The watch of one endpoint."""

    def __init__(self, endpoint: WatchedEndpoint, cpu: Callable[[], float] = time.process_time) -> None:
        self._folder: Path = endpoint.folder
        self._endpoint = endpoint
        self._random = np.random.default_rng()
        self._cpu = cpu
        #: When rows were counted last.
        self._counted_at: datetime | None = None
        kept = keeping.load(self._folder)
        self._table_id, self._version = kept.table_id, kept.version
        self._kept = dict(kept.entities)
        #: Sketches of served entities that were not looked at yet, and when sketches were kept last.
        self._sketches = keeping.load_sketches(self._folder)
        self._sketched_at: datetime | None = None
        #: Columns without sketches, and the end of the windows that have none; not yet as it is on disk.
        self._withheld: frozenset[str] = frozenset()
        self._dropped_s = 0
        self._on_disk = kept.withheld, kept.oldest_s
        #: Served entities with rows that no diagnosis was due for yet.
        self._got: set[str] = set()
        self.entities: dict[str, EntityWatch] = {}

    def advance(self, endpoint: WatchedEndpoint, now: datetime, open_ids: Collection[str] = ()) -> list[WatchedEntity]:
        """Read what is new; return the served entities to diagnose. Raises DamagedTable when it cannot be read.

        `open_ids` are the served entities with open incidents.
        """
        self.count_new(endpoint, now)
        for entity_id, watch in self.entities.items():
            watch.is_open = entity_id in open_ids
        due = [each for each in endpoint.entities if self._is_due(each, now, each.id in self._got)]
        # What is due stays so until it was diagnosed: a diagnosis may fail.
        self._got = {each.id for each in due}
        return due

    def count_new(self, endpoint: WatchedEndpoint, now: datetime) -> None:
        """Read and count what is new; what that makes due is told by the next `advance`. Raises DamagedTable."""
        self.keep_to(endpoint, now)
        table = InferenceTable(endpoint.table, name=endpoint.name)
        try:
            added = table.added(self._version, self._table_id)
            if not added.is_whole and self._table_id:
                _log.warning("some rows of %s are gone before they were looked at", endpoint.name)
            if added.table_id != self._table_id:
                # Whoever deleted the table before wanted it gone.
                for watch in self.entities.values():
                    watch.reservoir = Reservoir()
            if added.files:
                with telling_damage(endpoint.table):
                    self._got |= self._read(table, added, endpoint, now)
        except NotFound:
            # It begins with the first invocation.
            return
        is_other = (added.table_id, added.version) != (self._table_id, self._version)
        self._table_id, self._version = added.table_id, added.version
        if is_other:
            # Also when no row of it counts: the place is kept with it.
            is_long_ago = self._sketched_at is None or (now - self._sketched_at).total_seconds() >= SKETCHES_EVERY_S
            self.save(sketches=is_long_ago)
            self._sketched_at = now if is_long_ago else self._sketched_at

    def keep_to(self, endpoint: WatchedEndpoint, now: datetime) -> None:
        """Take an endpoint's settings as they are now; forget what they say is not to be kept."""
        self._endpoint = endpoint
        has_had = self._prune({each.id for each in endpoint.entities})
        if endpoint.key:
            has_had |= self._forget(endpoint.key)
        names, before_s = withheld_of(endpoint), oldest_s(endpoint, now.timestamp())
        has_had |= self._withhold(names, before_s)
        for watch in self.entities.values():
            watch.reservoir = watch.reservoir.kept(seconds_of(now)) if endpoint.table else Reservoir()
        # A monitor that starts later reads from the file whether there is anything to forget.
        is_told = names <= self._on_disk[0] and before_s <= self._on_disk[1]
        if has_had or (not is_told and any((self._folder / each).exists() for each in (PROFILE_FILE, SKETCHES_FILE))):
            self.save()

    def diagnosed(self, entity_id: str, *, is_claimed: bool, now: datetime, alone: Collection[Segment] = ()) -> None:
        """Note that a served entity was diagnosed, and which senders were looked at by themselves."""
        self._got.discard(entity_id)
        watch = self.entities.get(entity_id)
        if watch is not None:
            watch.alone_at = {key: at for key, at in watch.alone_at.items() if key in watch.segments}
            watch.alone_at |= dict.fromkeys(alone, now)
            watch.diagnosed, watch.diagnosed_at = watch.flags, now
            watch.is_claimed = is_claimed

    def diagnosed_at(self, entity_id: str) -> datetime | None:
        """Return when a served entity was diagnosed last; None when that is not known."""
        watch = self.entities.get(entity_id)
        return None if watch is None else watch.diagnosed_at

    def span(self, entity_id: str) -> timedelta | None:
        """Return how far back a diagnosis should look: not beyond what was found before, so that its end is seen."""
        watch = self.entities.get(entity_id)
        return SPAN if watch is not None and watch.is_followed else None

    def moved(self, entity_id: str, also: Collection[Segment] = ()) -> list[Moved]:
        """Return the senders whose counts moved, and those of `also`, with the part of all rows that each sent."""
        watch = self.entities.get(entity_id)
        if watch is None:
            return []
        senders = {(each.segment, each.value) for each in watch.flags if each.segment and each.column != REFUSED}
        found = []
        for column, value in (senders | set(also)) & watch.segments.keys():
            own = watch.segments[column, value].by_width[DAY].windows
            newest = max(own, default=0)
            whole = watch.rings.by_width[DAY].windows.get(newest)
            if newest and whole is not None and own[newest].rows:
                share, looked_at = own[newest].rows / whole.rows, watch.alone_at.get((column, value))
                found.append(Moved(share, column, value, looked_at))
        return found

    def moments(self, entity_id: str, since_s: float) -> list[Moment]:
        """Return what moved since then: the latest minute and that which moved most clearly, and such hours before."""
        watch = self.entities.get(entity_id)
        return [] if watch is None else watch.moments(since_s)

    def news(self, entity_id: str, now: datetime, floor: datetime | None = None) -> list[Moment]:
        """Return the minutes that moved since the latest diagnosis and `floor`, where the hour or the day did, too.

        What moves for less than that is no alarm: where senders take turns some minute is always unlike the others.
        """
        watch = self.entities.get(entity_id)
        if watch is None or not any(not each.segment and each.column != REFUSED for each in watch.flags):
            return []
        begin = max(now - SPAN, watch.diagnosed_at or now - SPAN, floor or now - SPAN)
        return self.moments(entity_id, begin.timestamp())

    def counted(self, entity: WatchedEntity) -> EntityParity:
        """Return what was counted of a served entity, before a restart too, and what was said of it last."""
        watch = self.entities.get(entity.id)
        if watch is None and entity.id in self._kept and entity.reference is not None:
            watch = self._entity(entity)
        if watch is None:
            return EntityParity()
        status, at = watch.latest
        if watch.reference is None:
            return EntityParity(status=status, diagnosed_at=at)
        violations = {} if watch.total is None else violations_of(watch.reference, watch.total)
        return EntityParity("", watch.rows, watch.passed_over, status, at, violations)

    def of(self, entity: WatchedEntity) -> EntityWatch:
        """Return what is known of a served entity, also before any of its rows was looked at."""
        return self._entity(entity)

    def save(self, *, sketches: bool = True) -> None:
        """Keep what is known, so that a restart goes on from here; counts first, and `sketches` if they are wanted."""
        # Of one whose reference cannot be read there is nothing.
        known = {key: watch for key, watch in self.entities.items() if watch.reference is not None}
        entities = {key: keeping.to_kept(watch) for key, watch in known.items()}
        try:
            place = keeping.Kept(self._table_id, self._version, self._kept | entities)
            now = self._withheld, self._dropped_s
            # Until sketches are written too, that is sure which is so before and after.
            self._on_disk = self._on_disk[0] & now[0], min(self._on_disk[1], now[1])
            keeping.save(self._folder, keeping.forgetting(place, *self._on_disk))
            if sketches:
                made = {key: keeping.to_kept_sketches(watch) for key, watch in known.items()}
                keeping.save_sketches(self._folder, self._sketches | made)
                if self._on_disk != now:
                    keeping.save(self._folder, keeping.forgetting(place, *now))
                    self._on_disk = now
        except OSError as error:
            _log.error("the live profile of %s could not be kept: %s", self._endpoint.name, error.strerror)

    def _forget(self, column: str) -> bool:
        """Keep no value of what has become a key: whatever came before it was one; return whether there was any."""
        kept = {key: keeping.without_column(each, column) for key, each in self._kept.items()}
        has_had = any(kept[key] is not each for key, each in self._kept.items())
        self._kept = kept
        for watch in self.entities.values():
            has_had |= watch.forget(column)
        return has_had

    def _withhold(self, names: frozenset[str], before_s: int) -> bool:
        """Keep no value of columns that are kept off the records, or of rows that are too old.

        Return whether there was any.
        """
        if names <= self._withheld and before_s <= self._dropped_s:
            self._withheld = names
            return False
        self._withheld, self._dropped_s = names, before_s
        kept = {key: keeping.without_sketches(each, names, before_s) for key, each in self._sketches.items()}
        has_had = kept != self._sketches
        self._sketches = kept
        for watch in self.entities.values():
            has_had |= watch.withhold(names, before_s)
        return has_had

    def _prune(self, serving: set[str]) -> bool:
        """Keep nothing of what is served no longer; return whether there was any."""
        # An endpoint that serves nothing may be about to serve the same again.
        if not serving or serving >= self.entities.keys() | self._kept.keys() | self._sketches.keys():
            return False
        for gone in self.entities.keys() - serving:
            del self.entities[gone]
        self._kept = {key: kept for key, kept in self._kept.items() if key in serving}
        self._sketches = {key: kept for key, kept in self._sketches.items() if key in serving}
        return True

    def _is_due(self, entity: WatchedEntity, now: datetime, got_rows: bool) -> bool:
        watch = self.entities.get(entity.id)
        return watch is not None and watch.is_due(now, got_rows)

    def _read(self, table: InferenceTable, added: Added, endpoint: WatchedEndpoint, now: datetime) -> set[str]:
        """Count what is new; return the ids of served entities that have something."""
        watched = {each.id: each for each in endpoint.entities if each.reference is not None}
        references = {key: self._entity(each).reference for key, each in watched.items()}
        known = {key: reference for key, reference in references.items() if reference is not None}
        new = new_rows(table, added, set(known))
        elapsed_s = np.inf if self._counted_at is None else (now - self._counted_at).total_seconds()
        self._counted_at = now
        sample = sampling(share_of(new, {key: self.entities[key].row_s for key in new}, elapsed_s), self._random)
        before = {key: self.entities[key].copied() for key in new}
        try:
            for entity_id, there in new.items():
                self._count(table, watched[entity_id], added, there, sample, now)
        except BaseException:
            # They are read again, so what was counted of them does not count.
            self.entities |= before
            raise
        return set(new)

    def _count(
        self,
        table: InferenceTable,
        entity: WatchedEntity,
        added: Added,
        new: New,
        sample: Sample | None,
        now: datetime,
    ) -> None:
        """Count what is new of one served entity."""
        watch = self._entity(entity)
        reference = watch.reference
        assert reference is not None
        # Keys tell senders apart too, but whom a row is about is neither counted nor kept.
        keys = (self._endpoint.key,)
        before, began_s = watch.rows, self._cpu()
        for rows in batches(table, entity.id, reference, added, sample):
            count(watch, reference, without_keys(rows, keys), now, self._withheld)
        counted = watch.rows - before
        watch.row_s = next_row_s(watch.row_s, counted, self._cpu() - began_s)
        if sample is not None:
            # Else what is missing could not be decoded.
            watch.passed_over += max(0, new.rows - counted)
        if new.refused:
            refused = refused_senders(table, entity.id, added, sample)
            count_refused(watch, reference, without_keys(refused, keys), now)
        hold(watch.reservoir, table, entity.id, added, seconds_of(now))
        # Rows may be older than what is kept, as where a table is read for the first time.
        watch.withhold((), self._dropped_s)
        watch.flags = screen(reference, {WHOLE: watch.rings, **watch.segments}, seconds_of(now))

    def _entity(self, entity: WatchedEntity) -> EntityWatch:
        watch = self.entities.get(entity.id)
        if watch is None or watch.digest != entity.digest:
            reference = None
            try:
                reference = load_reference(entity.reference)
            except InvalidParameter as error:
                _log.warning("%s: %s", entity.name, error.message)
            watch = EntityWatch(entity.digest, reference)
            watch.row_s = first_row_s(len(reference.columns)) if reference is not None else 0.0
            kept = self._kept.get(entity.id)
            if reference is not None and kept is not None:
                keeping.restore(watch, reference, kept)
            if reference is not None and entity.id in self._sketches:
                keeping.restore_sketches(watch, self._sketches.pop(entity.id))
            self.entities[entity.id] = watch
        return watch
