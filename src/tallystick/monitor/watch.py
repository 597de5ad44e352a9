"""The watch of one endpoint: reads what is new, counts it, and says what should be diagnosed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset as ds

from tallystick.errors import InvalidParameter, NotFound
from tallystick.monitor import keeping
from tallystick.monitor.counters import Counters, Violation, nothing, observe, tally
from tallystick.monitor.explain import load_reference
from tallystick.monitor.keyed import without_keys
from tallystick.monitor.places import WatchedEndpoint, WatchedEntity
from tallystick.monitor.rings import DAY, HOUR, MINUTE, SEGMENT_LENGTHS, Rings
from tallystick.monitor.rows import LiveRows, is_traffic, read_rows
from tallystick.monitor.screening import WHOLE, Flag, screen
from tallystick.parity.kinds import Status
from tallystick.parity.reference import Reference
from tallystick.parity.verdict import Verdict
from tallystick.protocol.monitoring import MAX_COUNTED_COLUMNS, OTHER_COLUMNS, EntityParity
from tallystick.records.added import Added
from tallystick.records.reading import InferenceTable

#: Rows of one served entity that are decoded in one turn; of more, a fair sample is.
BUDGET_ROWS = 2000
#: Segments of one served entity that are told apart; one that was not seen for two days makes room.
MAX_SEGMENTS = 24
#: Rows that a diagnosis of a turn looks back for; how long a cause stands until it is looked at again, and how long a
#: change without a cause does: each time replicas have to predict golden rows.
SPAN, AGAIN_S, UNCHANGED_S = timedelta(minutes=15), 300.0, 3600.0
#: A row more than this in the future is one with a clock that is wrong; it counts as of now.
_AHEAD_S = 60

_log = logging.getLogger("tallystick.monitor")


@dataclass
class EntityWatch:
    """What is known of one served entity."""

    digest: str
    reference: Reference | None
    rings: Rings = field(default_factory=Rings.empty)
    #: (column, value) -> rings.
    segments: dict[tuple[str, str], Rings] = field(default_factory=dict)
    rows: int = 0
    passed_over: int = 0
    total: Counters | None = None
    flags: frozenset[Flag] = frozenset()
    #: Flags that the latest diagnosis was about, and when it was.
    diagnosed: frozenset[Flag] = frozenset()
    diagnosed_at: datetime | None = None
    #: Whether the latest diagnosis named a cause: then it is looked at again until it is gone.
    is_claimed: bool = False

    def is_due(self, now: datetime, got_rows: bool) -> bool:
        """Whether it should be diagnosed: something new moved, or what was found may have gone."""
        if not got_rows:
            return False
        if self.flags - self.diagnosed:
            return True
        age_s = np.inf if self.diagnosed_at is None else (now - self.diagnosed_at).total_seconds()
        return age_s >= AGAIN_S if self.is_claimed else bool(self.flags) and age_s >= UNCHANGED_S


class Watch:
    """The watch of one endpoint."""

    def __init__(self, endpoint: WatchedEndpoint) -> None:
        self._folder: Path = endpoint.folder
        self._endpoint = endpoint
        self._random = np.random.default_rng()
        kept = keeping.load(self._folder)
        self._table_id, self._version = kept.table_id, kept.version
        self._kept = dict(kept.entities)
        self.entities: dict[str, EntityWatch] = {}

    def advance(self, endpoint: WatchedEndpoint, now: datetime) -> list[WatchedEntity]:
        """Read what is new; return the served entities to diagnose. Raises NotFound when there is no table."""
        self._endpoint = endpoint
        table = InferenceTable(endpoint.table, name=endpoint.name)
        try:
            added = table.added(self._version, self._table_id)
        except NotFound:
            # It begins with the first invocation.
            return []
        if not added.is_whole and self._table_id:
            _log.warning("some rows of %s are gone before they were looked at", endpoint.name)
        got: set[str] = set()
        if added.files:
            got = self._read(table, added, endpoint, now)
        is_other = (added.table_id, added.version) != (self._table_id, self._version)
        self._table_id, self._version = added.table_id, added.version
        if is_other:
            # Also when no row of it counts: the place is kept with it.
            self.save()
        return [each for each in endpoint.entities if self._is_due(each, now, each.id in got)]

    def diagnosed(self, entity_id: str, verdict: Verdict, now: datetime) -> None:
        """Note that a served entity was diagnosed."""
        watch = self.entities.get(entity_id)
        if watch is not None:
            watch.diagnosed, watch.diagnosed_at = watch.flags, now
            watch.is_claimed = verdict.status in (Status.CAUSE_FOUND, Status.SUSPECTED)

    def span(self, entity_id: str) -> timedelta | None:
        """Return how far back a diagnosis should look: not beyond what was found before, so that its end is seen."""
        watch = self.entities.get(entity_id)
        return SPAN if watch is not None and watch.is_claimed else None

    def counted(self, entity_id: str) -> EntityParity:
        """Return what was counted of a served entity."""
        watch = self.entities.get(entity_id)
        if watch is None or watch.reference is None:
            return EntityParity()
        violations = {} if watch.total is None else violations_of(watch.reference, watch.total)
        return EntityParity(rows=watch.rows, passed_over=watch.passed_over, violations=violations)

    def save(self) -> None:
        """Keep what is known, so that a restart goes on from here."""
        entities = {key: keeping.to_kept(watch) for key, watch in self.entities.items()}
        try:
            keeping.save(self._folder, keeping.Kept(self._table_id, self._version, self._kept | entities))
        except OSError as error:
            _log.error("the live profile of %s could not be kept: %s", self._endpoint.name, error.strerror)

    def _is_due(self, entity: WatchedEntity, now: datetime, got_rows: bool) -> bool:
        watch = self.entities.get(entity.id)
        return watch is not None and watch.is_due(now, got_rows)

    def _read(self, table: InferenceTable, added: Added, endpoint: WatchedEndpoint, now: datetime) -> set[str]:
        watched = {each.id: each for each in endpoint.entities if each.reference is not None}
        chosen = choose(table, added, set(watched), self._random)
        got = set()
        for entity_id, picked in chosen.items():
            watch = self._entity(watched[entity_id])
            if watch.reference is None:
                continue
            where = ds.field("databricks_request_id").isin(picked.ids)
            rows = read_rows(table, entity_id, watch.reference.names, where=where, added=added, feedback=False)
            # Keys tell senders apart too, but whom a row is about is neither counted nor kept.
            rows = without_keys(rows, (endpoint.key,))
            if len(rows) > BUDGET_ROWS:
                kept = np.sort(self._random.choice(len(rows), BUDGET_ROWS, replace=False))
                rows = rows.taken(kept)
            watch.passed_over += max(0, picked.rows - len(rows))
            if len(rows):
                count(watch, watch.reference, rows, now)
                watch.flags = screen(watch.reference, {WHOLE: watch.rings, **watch.segments}, _seconds(now))
                got.add(entity_id)
        serving = {each.id for each in endpoint.entities}
        for gone in [each for each in self.entities if each not in serving]:
            del self.entities[gone]
        self._kept = {key: kept for key, kept in self._kept.items() if key in serving}
        return got

    def _entity(self, entity: WatchedEntity) -> EntityWatch:
        watch = self.entities.get(entity.id)
        if watch is None or watch.digest != entity.digest:
            reference = None
            try:
                reference = load_reference(entity.reference)
            except InvalidParameter as error:
                _log.warning("%s: %s", entity.name, error.message)
            watch = EntityWatch(entity.digest, reference)
            kept = self._kept.get(entity.id)
            if reference is not None and kept is not None:
                keeping.restore(watch, reference, kept)
            self.entities[entity.id] = watch
        return watch


@dataclass
class Picked:
    """The invocations of one served entity that are decoded, and how many rows there are in all."""

    ids: list[str] = field(default_factory=list)
    rows: int = 0


def choose(table: InferenceTable, added: Added, entity_ids: set[str], random: np.random.Generator) -> dict[str, Picked]:
    """Return a fair sample of the new invocations of each served entity, of about BUDGET_ROWS rows."""
    wanted = is_traffic() & (ds.field("status_code") == 200) & ds.field("served_entity_id").isin(sorted(entity_ids))
    columns = ["served_entity_id", "databricks_request_id", "request_rows"]
    kept: dict[str, pd.DataFrame] = {}
    totals: Counter[str] = Counter()
    for batch in table.invocations(columns=columns, where=wanted, added=added):
        frame = batch.to_pandas()
        frame["request_rows"] = frame["request_rows"].fillna(1).clip(lower=1)
        # Those with the least draws are a fair sample, however many batches there are.
        frame["draw"] = random.random(len(frame))
        for entity_id, part in frame.groupby("served_entity_id"):
            key = str(entity_id)
            totals[key] += int(part["request_rows"].sum())
            both = pd.concat([kept[key], part]) if key in kept else part
            kept[key] = both.nsmallest(BUDGET_ROWS, "draw")
    found = {}
    for key, frame in kept.items():
        # One large request alone may be more than the budget.
        before = frame["request_rows"].cumsum() - frame["request_rows"]
        ids = frame.loc[before < BUDGET_ROWS, "databricks_request_id"].tolist()
        found[key] = Picked(ids, totals[key])
    return found


def count(watch: EntityWatch, reference: Reference, rows: LiveRows, now: datetime) -> None:
    """Add rows to the profiles of a served entity and its segments, each to the minute that it came in."""
    observed = observe(reference, rows.frame)
    at_s = (pd.to_datetime(rows.times, utc=True).astype("datetime64[s, UTC]").astype("int64")).to_numpy()
    at_s = np.minimum(at_s, _seconds(now) + _AHEAD_S)
    minutes = at_s // MINUTE
    for minute in np.unique(minutes):
        picked = minutes == minute
        watch.rings.add(int(minute) * MINUTE, tally(observed, picked))
    whole = tally(observed)
    coerced = _coerced(reference, rows.coercions or {})
    if coerced is not None:
        watch.rings.add(int(at_s.max()), coerced)
        whole = whole + coerced
    watch.total = whole if watch.total is None else watch.total + whole
    watch.rows += len(rows)
    hours = at_s // HOUR
    for key, picked in _segments(watch, rows, _seconds(now)).items():
        rings = watch.segments.setdefault(key, Rings.empty(SEGMENT_LENGTHS))
        for hour in np.unique(hours[picked]):
            rings.add(int(hour) * HOUR, tally(observed, picked & (hours == hour)))


def _segments(watch: EntityWatch, rows: LiveRows, now_s: int) -> dict[tuple[str, str], np.ndarray]:
    """Return which rows belong to which segment; a segmentation with one value says nothing that all rows do not."""
    for stale in [key for key, rings in watch.segments.items() if rings.newest_s < now_s - 2 * DAY]:
        del watch.segments[stale]
    found: dict[tuple[str, str], np.ndarray] = {}
    for column in rows.segments.columns:
        values = rows.segments[column].astype(str)
        known = {value for name, value in watch.segments if name == column}
        if values.nunique() < 2 and not known - set(values.unique()):
            # Counted all the same, for the time when a second one comes.
            pass
        for value in values.value_counts().index:
            key = (str(column), str(value)[:128])
            if key in watch.segments or len(watch.segments) + len(found) < MAX_SEGMENTS:
                found[key] = (values == value).to_numpy()
    return found


def _coerced(reference: Reference, coercions: Mapping[str, Mapping[str, int]]) -> Counters | None:
    """Return counters of no rows, with the values that the ledger counted; None when it has none."""
    counters = nothing(reference)
    for j, name in enumerate(reference.names):
        counters.contract[j, Violation.COERCED] = sum((coercions.get(name) or {}).values())
    return counters if counters.contract.any() else None


def violations_of(reference: Reference, total: Counters) -> dict[str, dict[str, int]]:
    """Return column -> kind of violation -> values; of many columns, those with the most."""
    found = {
        name: {kind.name.lower(): int(total.contract[j, kind]) for kind in Violation if total.contract[j, kind]}
        for j, name in enumerate(reference.names)
    }
    found = {name: kinds for name, kinds in found.items() if kinds}
    if len(found) <= MAX_COUNTED_COLUMNS:
        return found
    order = sorted(found, key=lambda name: -sum(found[name].values()))
    rest: Counter[str] = Counter()
    for name in order[MAX_COUNTED_COLUMNS:]:
        rest.update(found[name])
    return {name: found[name] for name in order[:MAX_COUNTED_COLUMNS]} | {OTHER_COLUMNS: dict(rest)}


def _seconds(when: datetime) -> int:
    return int(when.timestamp())
