"""The watch of one endpoint: reads what is new, counts it, and says what should be diagnosed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds

from tallystick.errors import InvalidParameter, NotFound
from tallystick.monitor import keeping
from tallystick.monitor.counters import Counters, Violation, nothing, observe, tally
from tallystick.monitor.explain import load_reference
from tallystick.monitor.frequent import Frequent, Segment
from tallystick.monitor.keyed import without_keys
from tallystick.monitor.places import WatchedEndpoint, WatchedEntity
from tallystick.monitor.rings import DAY, HOUR, MINUTE, SEGMENT_LENGTHS, Rings
from tallystick.monitor.rows import REFUSED_STATUS, LiveRows, Senders, is_traffic, no_live_rows, read_rows, read_senders
from tallystick.monitor.screening import WHOLE, Flag, screen
from tallystick.parity.reference import Reference
from tallystick.protocol.monitoring import MAX_COUNTED_COLUMNS, OTHER_COLUMNS, EntityParity
from tallystick.records.added import Added
from tallystick.records.damage import telling_damage
from tallystick.records.reading import InferenceTable

#: Rows of one served entity that are decoded in one turn; of more, a fair sample is.
BUDGET_ROWS = 2000
#: Segments of one served entity that are told apart, the most frequent ones; one that was not seen for two days is not.
MAX_SEGMENTS = 24
#: Rows that a diagnosis of a turn looks back for; how long a cause stands until it is looked at again, and how long a
#: change without a cause does: each time replicas have to predict golden rows.
SPAN, AGAIN_S, UNCHANGED_S = timedelta(minutes=15), 300.0, 3600.0
#: A row more than this in the future is one with a clock that is wrong; it counts as of now.
_AHEAD_S = 60
#: Characters of a segment's value that are kept.
MAX_NAME = 128

_log = logging.getLogger("tallystick.monitor")


@dataclass
class EntityWatch:
    """What is known of one served entity."""

    digest: str
    reference: Reference | None
    rings: Rings = field(default_factory=Rings.empty)
    #: (column, value) -> rings.
    segments: dict[Segment, Rings] = field(default_factory=dict)
    #: Which segments have rings, and the day up to which that was counted.
    frequent: Frequent = field(default_factory=Frequent)
    day: int = 0
    rows: int = 0
    passed_over: int = 0
    total: Counters | None = None
    flags: frozenset[Flag] = frozenset()
    #: Flags that the latest diagnosis was about, and when it was.
    diagnosed: frozenset[Flag] = frozenset()
    diagnosed_at: datetime | None = None
    #: Whether the latest diagnosis named a cause, or an incident is open: then it is looked at again until it is gone.
    is_claimed: bool = False
    is_open: bool = False

    @property
    def is_followed(self) -> bool:
        """Whether a cause was there, and may have gone."""
        return self.is_claimed or self.is_open

    def forget(self, column: str) -> bool:
        """Tell segments of a column apart no longer; return whether there were any."""
        held = [key for key in {*self.segments, *self.frequent.counts} if key[0] == column]
        for key in held:
            self.segments.pop(key, None)
            self.frequent.forget(key)
        self.flags, self.diagnosed = (
            frozenset(flag for flag in flags if flag.segment != column) for flags in (self.flags, self.diagnosed)
        )
        return bool(held)

    def is_due(self, now: datetime, got_rows: bool) -> bool:
        """Whether it should be diagnosed: something new moved, or what was found may have gone."""
        if not got_rows:
            return False
        if self.flags - self.diagnosed:
            return True
        age_s = np.inf if self.diagnosed_at is None else (now - self.diagnosed_at).total_seconds()
        return age_s >= AGAIN_S if self.is_followed else bool(self.flags) and age_s >= UNCHANGED_S


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

    def advance(self, endpoint: WatchedEndpoint, now: datetime, open_ids: Collection[str] = ()) -> list[WatchedEntity]:
        """Read what is new; return the served entities to diagnose. Raises DamagedTable when it cannot be read.

        `open_ids` are the served entities with open incidents.
        """
        self._endpoint = endpoint
        if endpoint.key:
            self._forget(endpoint.key)
        table = InferenceTable(endpoint.table, name=endpoint.name)
        got: set[str] = set()
        try:
            added = table.added(self._version, self._table_id)
            if not added.is_whole and self._table_id:
                _log.warning("some rows of %s are gone before they were looked at", endpoint.name)
            if added.files:
                with telling_damage(endpoint.table):
                    got = self._read(table, added, endpoint, now)
        except NotFound:
            # It begins with the first invocation.
            return []
        is_other = (added.table_id, added.version) != (self._table_id, self._version)
        self._table_id, self._version = added.table_id, added.version
        if is_other:
            # Also when no row of it counts: the place is kept with it.
            self.save()
        for entity_id, watch in self.entities.items():
            watch.is_open = entity_id in open_ids
        return [each for each in endpoint.entities if self._is_due(each, now, each.id in got)]

    def diagnosed(self, entity_id: str, *, is_claimed: bool, now: datetime) -> None:
        """Note that a served entity was diagnosed."""
        watch = self.entities.get(entity_id)
        if watch is not None:
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

    def is_open(self, entity_id: str) -> bool:
        """Whether an incident of a served entity is open: then it is known since when."""
        watch = self.entities.get(entity_id)
        return watch is not None and watch.is_open

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

    def _forget(self, column: str) -> None:
        """Keep no value of what has become a key: neither here nor on disk, whatever came before it was one."""
        kept = {key: keeping.without_column(each, column) for key, each in self._kept.items()}
        has_had = any(kept[key] is not each for key, each in self._kept.items())
        self._kept = kept
        for watch in self.entities.values():
            has_had |= watch.forget(column)
        if has_had:
            self.save()

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
            rows = self._rows(table, entity_id, watch.reference, picked, added)
            refused = read_senders(table, _ids(picked.refused), added) if picked.refused else None
            # Keys tell senders apart too, but whom a row is about is neither counted nor kept.
            rows, refused = without_keys(rows, (endpoint.key,)), refused and without_keys(refused, (endpoint.key,))
            watch.passed_over += max(0, picked.rows - len(rows))
            if len(rows) or refused is not None:
                count(watch, watch.reference, rows, now, picked, refused)
                watch.flags = screen(watch.reference, {WHOLE: watch.rings, **watch.segments}, _seconds(now))
                got.add(entity_id)
        serving = {each.id for each in endpoint.entities}
        for gone in [each for each in self.entities if each not in serving]:
            del self.entities[gone]
        self._kept = {key: kept for key, kept in self._kept.items() if key in serving}
        return got

    def _rows(
        self, table: InferenceTable, entity_id: str, reference: Reference, picked: Picked, added: Added
    ) -> LiveRows:
        if not picked.ids:
            return no_live_rows(reference.names)
        where = _ids(picked.ids)
        rows = read_rows(table, entity_id, reference.names, where=where, added=added, feedback=False)
        if len(rows) <= BUDGET_ROWS:
            return rows
        return rows.taken(np.sort(self._random.choice(len(rows), BUDGET_ROWS, replace=False)))

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
    """The invocations of one served entity that are looked at, of those that are new."""

    #: Those that are decoded, and rows of all that were answered.
    ids: list[str] = field(default_factory=list)
    rows: int = 0
    #: Those that were refused for their input, and which of `ids` are counted beside them: as fair a sample.
    refused: list[str] = field(default_factory=list)
    beside: frozenset[str] = frozenset()


def choose(table: InferenceTable, added: Added, entity_ids: set[str], random: np.random.Generator) -> dict[str, Picked]:
    """Return a fair sample of the new invocations of each served entity, of about BUDGET_ROWS rows."""
    is_judged = ds.field("status_code").isin([200, REFUSED_STATUS])
    wanted = is_traffic() & is_judged & ds.field("served_entity_id").isin(sorted(entity_ids))
    columns = ["served_entity_id", "databricks_request_id", "request_rows", "status_code"]
    kept: dict[tuple[str, bool], pd.DataFrame] = {}
    totals: Counter[str] = Counter()
    for batch in table.invocations(columns=columns, where=wanted, added=added):
        frame = batch.to_pandas()
        frame["is_refused"] = frame["status_code"] == REFUSED_STATUS
        frame["request_rows"] = frame["request_rows"].fillna(1).clip(lower=1)
        # Those with the least draws are a fair sample, however many batches there are.
        frame["draw"] = random.random(len(frame))
        for (entity_id, is_refused), part in frame.groupby(["served_entity_id", "is_refused"]):
            key = str(entity_id), bool(is_refused)
            totals[key[0]] += 0 if is_refused else int(part["request_rows"].sum())
            both = pd.concat([kept[key], part]) if key in kept else part
            kept[key] = both.nsmallest(BUDGET_ROWS, "draw")
    return {key: _picked(kept.get((key, False)), kept.get((key, True)), rows) for key, rows in totals.items()}


def _picked(answered: pd.DataFrame | None, refused: pd.DataFrame | None, rows: int) -> Picked:
    """Return what is looked at, of the least draws of both kinds in order."""
    parts: list[dict[str, float]] = []
    least = 1.0
    for frame in (answered, refused):
        if frame is None:
            parts.append({})
            continue
        # One large request alone may be more than the budget.
        before = frame["request_rows"].cumsum() - frame["request_rows"]
        some = frame[(before < BUDGET_ROWS).to_numpy()] if frame is answered else frame
        if len(some) < len(frame) or len(frame) >= BUDGET_ROWS:
            least = min(least, float(some["draw"].iloc[-1]))
        parts.append(dict(zip(some["databricks_request_id"], some["draw"], strict=True)))
    # Up to the least of both last draws it is one sample, in which either kind has the share that it has in all.
    one, other = ([key for key, draw in part.items() if draw <= least] for part in parts)
    return Picked(list(parts[0]), rows, other, frozenset(one))


def _ids(ids: list[str]) -> ds.Expression:
    return ds.field("databricks_request_id").isin(ids)


@dataclass(frozen=True)
class _Part:
    """Some of what is counted, who sent it and when; `tally` counts those picked."""

    segments: pd.DataFrame
    at_s: np.ndarray
    tally: Callable[[np.ndarray], Counters]


def count(
    watch: EntityWatch,
    reference: Reference,
    rows: LiveRows,
    now: datetime,
    picked: Picked | None = None,
    refused: Senders | None = None,
) -> None:
    """Add rows to the profiles of a served entity and its segments, each to the minute that it came in.

    Where some requests were `refused`, they and those picked to be counted beside them are added, too.
    """
    parts = []
    if len(rows):
        observed = observe(reference, rows.frame)
        if picked is not None:
            is_first = ~rows.request_ids.duplicated()
            observed = replace(observed, begins=(is_first & rows.request_ids.isin(picked.beside)).to_numpy())
        parts.append(_Part(rows.segments, _at_s(rows.times, now), partial(tally, observed)))
    if refused is not None and len(refused):
        parts.append(
            _Part(refused.segments, _at_s(refused.times, now), lambda some: nothing(reference, int(some.sum())))
        )
    for part in parts:
        _add(watch.rings, part, np.ones(len(part.at_s), dtype=bool), MINUTE)
        whole = part.tally(np.ones(len(part.at_s), dtype=bool))
        watch.total = whole if watch.total is None else watch.total + whole
    coerced = _coerced(reference, rows.coercions)
    if coerced is not None and len(rows):
        watch.rings.add(int(parts[0].at_s.max()), coerced)
        watch.total = coerced if watch.total is None else watch.total + coerced
    watch.rows += len(rows)
    for key, members in _segments(watch, parts, _seconds(now)).items():
        for part, mask in zip(parts, members, strict=True):
            _add(watch.segments[key], part, mask, HOUR)


def _add(rings: Rings, part: _Part, members: np.ndarray, width_s: int) -> None:
    windows = part.at_s // width_s
    for window in np.unique(windows[members]):
        rings.add(int(window) * width_s, part.tally(members & (windows == window)))


def _at_s(times: pd.Series[Any], now: datetime) -> np.ndarray:
    seconds = pd.to_datetime(times, utc=True).astype("datetime64[s, UTC]").astype("int64").to_numpy()
    return np.asarray(np.minimum(seconds, _seconds(now) + _AHEAD_S))


def _segments(watch: EntityWatch, parts: Sequence[_Part], now_s: int) -> dict[Segment, list[np.ndarray]]:
    """Return which segments are told apart, with their members in each part; see to it that these have rings."""
    for stale in [key for key, rings in watch.segments.items() if 0 < rings.newest_s < now_s - 2 * DAY]:
        watch.frequent.forget(stale)
        del watch.segments[stale]
    if watch.day < now_s // DAY:
        watch.frequent.halve()
        watch.day = now_s // DAY
    names = [{str(name): part.segments[name].astype(str).str[:MAX_NAME] for name in part.segments} for part in parts]
    for columns in names:
        for column, values in columns.items():
            watch.frequent.add({(column, str(value)): int(rows) for value, rows in values.value_counts().items()})
    slots = sorted(watch.frequent.most_frequent(MAX_SEGMENTS, watch.segments))
    watch.segments = {key: watch.segments.get(key) or Rings.empty(SEGMENT_LENGTHS) for key in slots}
    nobody = [np.zeros(len(part.at_s), dtype=bool) for part in parts]
    return {
        (column, value): [
            (columns[column] == value).to_numpy() if column in columns else none
            for columns, none in zip(names, nobody, strict=True)
        ]
        for column, value in slots
    }


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
