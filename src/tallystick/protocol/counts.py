"""What a gateway counts of the invocations of a served entity, as values that are added up and told apart. Pure.

A gateway sends what has come since its last report (`gateway/meters.py` counts it), control adds it up. It is not
known here what the numbers are shown as.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import add, sub
from typing import TypeVar

import msgspec

#: Upper ends of the buckets of all times, seconds; what is above the last has a bucket of its own. Those from 5 ms on
#: are the ones that consumers of `request_latency_ms` know.
SECONDS = (
    0.0001,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    600.0,
)
#: Upper ends of the buckets of how many requests shared a call of the model.
REQUESTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

#: Columns of a served entity whose coercions are counted by name; those of all others are summed up as `OTHER`.
MAX_COUNTED_COLUMNS = 100
OTHER = "other"

#: Column -> kind -> values that were changed to fit the signature.
Coercions = Mapping[str, Mapping[str, int]]
K = TypeVar("K", int, str)


class Distribution(msgspec.Struct, frozen=True, array_like=True):
    """A histogram: how many fell into each bucket, the last being what is above all bounds, and their sum."""

    counts: tuple[int, ...]
    sum: float = 0.0

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def plus(self, other: Distribution) -> Distribution:
        """Return both together; their buckets are the same."""
        return Distribution(tuple(map(add, self.counts, other.counts)), self.sum + other.sum)

    def since(self, earlier: Distribution) -> Distribution:
        """Return what came after `earlier`, all of which is in here."""
        # Sums of floats: the difference of two that are nearly equal may come out below nothing.
        return Distribution(tuple(map(sub, self.counts, earlier.counts)), max(0.0, self.sum - earlier.sum))


NO_TIMES = Distribution((0,) * (len(SECONDS) + 1))
NO_BATCHES = Distribution((0,) * (len(REQUESTS) + 1))


class EntityCounts(msgspec.Struct, frozen=True, array_like=True):
    """What became of the invocations of one served entity."""

    #: HTTP status -> invocations.
    statuses: dict[int, int] = {}
    #: From the complete request to the answer, seconds, of all invocations.
    duration: Distribution = NO_TIMES
    #: Its parts, of the invocations that the model answered: waiting for a turn, the model, all the rest.
    queue: Distribution = NO_TIMES
    model: Distribution = NO_TIMES
    gateway: Distribution = NO_TIMES
    #: Requests that shared the call of the model, once for each of them.
    batch: Distribution = NO_BATCHES
    #: Rows that the model answered.
    rows: int = 0
    coercions: dict[str, dict[str, int]] = {}


NOTHING = EntityCounts()


def added(one: EntityCounts, other: EntityCounts) -> EntityCounts:
    """Return both together; neither is changed."""
    return EntityCounts(
        statuses=_added_by_key(one.statuses, other.statuses),
        duration=one.duration.plus(other.duration),
        queue=one.queue.plus(other.queue),
        model=one.model.plus(other.model),
        gateway=one.gateway.plus(other.gateway),
        batch=one.batch.plus(other.batch),
        rows=one.rows + other.rows,
        coercions=with_coercions(one.coercions, other.coercions) if other.coercions else one.coercions,
    )


def since(later: EntityCounts, earlier: EntityCounts) -> EntityCounts:
    """Return what came between two sums, of which `later` holds all that `earlier` does. Coercions are left out."""
    statuses = {status: count - earlier.statuses.get(status, 0) for status, count in later.statuses.items()}
    return EntityCounts(
        statuses={status: count for status, count in statuses.items() if count},
        duration=later.duration.since(earlier.duration),
        queue=later.queue.since(earlier.queue),
        model=later.model.since(earlier.model),
        gateway=later.gateway.since(earlier.gateway),
        batch=later.batch.since(earlier.batch),
        rows=later.rows - earlier.rows,
    )


def total(parts: Iterable[EntityCounts]) -> EntityCounts:
    """Return all together."""
    whole = NOTHING
    for part in parts:
        whole = added(whole, part)
    return whole


def with_coercions(counted: Coercions, new: Coercions) -> dict[str, dict[str, int]]:
    """Return both together; columns beyond the first hundred become `other`.

    >>> with_coercions({"age": {"truthy": 1}}, {"age": {"truthy": 2}, "x": {"overflow": 1}})
    {'age': {'truthy': 3}, 'x': {'overflow': 1}}
    """
    whole = {column: dict(kinds) for column, kinds in counted.items()}
    for column, kinds in new.items():
        name = column if column in whole or len(whole) < MAX_COUNTED_COLUMNS else OTHER
        whole[name] = _added_by_key(whole.get(name, {}), kinds)
    return whole


def _added_by_key(one: Mapping[K, int], other: Mapping[K, int]) -> dict[K, int]:
    whole = dict(one)
    for key, count in other.items():
        whole[key] = whole.get(key, 0) + count
    return whole
