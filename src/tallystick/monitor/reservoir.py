"""A fair sample of whole recorded requests of each hour, in memory: what an hour that is long over is judged by.

Counts tell that an hour moved, and only rows tell what was in them. To find some of a busy hour in the table takes
reading all of it; these are at hand. They are what the table has, bodies too, and nothing that it has not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallystick.monitor.rings import HOUR
from tallystick.monitor.rows import hashes_of, is_judged_of
from tallystick.records.added import Added
from tallystick.records.reading import InferenceTable

#: Hours that are held, and requests and bytes of one (and what the last request has beyond that): 16 MB of a served
#: entity as a rule. No retention is shorter.
HOURS, REQUESTS, BYTES = 24, 500, 640 << 10
#: What a request takes beside its bodies, about.
_BESIDE_BYTES = 400
_ID = "databricks_request_id"


@dataclass(frozen=True)
class Held:
    """Requests with the least hashes of their ids, in that order, of so many that were seen: rows of the table."""

    requests: pa.Table
    seen: int


@dataclass
class Reservoir:
    """A fair sample of the requests of each hour, by its number.

    A bottom-k sketch (Cohen & Kaplan 2007, "Summarizing data using bottom-k sketches"). Each request has the same
    chance, in whatever order and batches they come; those of two hours make that of both; and it is the same sample
    that `rows.sampled_between` finds in the table.
    """

    hours: dict[int, Held] = field(default_factory=dict)

    def add(self, requests: pa.Table, now_s: int) -> None:
        """Add rows of the inference table; those of hours that are not held, or to come, are passed over."""
        newest = now_s // HOUR
        at_hour = requests["request_time"].cast(pa.int64()).to_numpy() // (HOUR * 1_000_000)
        for hour in np.unique(at_hour[(at_hour > newest - HOURS) & (at_hour <= newest)]).tolist():
            known, places = self.hours.get(hour), np.flatnonzero(at_hour == hour)
            few = Held(_first(requests, places), len(places))
            self.hours[hour] = _least([few] if known is None else [known, few])
        self.hours = self.kept(now_s).hours

    def between(self, begin: datetime, end: datetime) -> Held | None:
        """Return a fair sample of the requests of some whole hours; None where nothing is held of them."""
        first, last = int(begin.timestamp()) // HOUR, -(-int(end.timestamp()) // HOUR)
        parts = [self.hours[hour] for hour in range(first, last) if hour in self.hours]
        return _least(parts) if parts else None

    def copied(self) -> Reservoir:
        """Return a copy that goes on as it is; tables are values that nobody changes."""
        return Reservoir(dict(self.hours))

    def kept(self, now_s: int) -> Reservoir:
        """Return what is held at a time."""
        return Reservoir({hour: held for hour, held in self.hours.items() if hour > now_s // HOUR - HOURS})


def hold(reservoir: Reservoir, table: InferenceTable, entity_id: str, added: Added, now_s: int) -> None:
    """Add the requests that a served entity got, answered or refused for their input."""
    for batch in table.invocations(where=is_judged_of(entity_id), added=added):
        reservoir.add(pa.Table.from_batches([batch]), now_s)


def _first(requests: pa.Table, places: np.ndarray) -> pa.Table:
    """Return those of some requests that have the least hashes: others cannot be among the least of more."""
    hashes = hashes_of(requests[_ID].take(pa.array(places)))
    if len(places) > REQUESTS:
        few = np.argpartition(hashes, REQUESTS)[:REQUESTS]
        places = places[few]
    return requests.take(pa.array(places))


def _least(parts: Sequence[Held]) -> Held:
    """Return the requests with the least hashes, in their order, as many as there is room for; one at least.

    Bytes are counted in that order too. So what is left out of a part has no room among more requests either, and
    parts can be put together again.
    """
    requests = pa.concat_tables([each.requests for each in parts])
    order = np.argsort(hashes_of(requests[_ID]), kind="stable")[:REQUESTS]
    bodies = (pc.fill_null(pc.binary_length(requests[name]), 0).to_numpy() for name in ("request", "response"))
    sizes = sum(bodies, np.full(len(requests), _BESIDE_BYTES))[order]
    held = order[np.cumsum(sizes) - sizes < BYTES]
    return Held(requests.take(pa.array(held)).combine_chunks(), sum(each.seen for each in parts))
