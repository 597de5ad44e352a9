"""What a table got since it was looked at, in batches: every request, or a fair sample where there are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from tallystick.monitor.rows import BESIDE, REFUSED_STATUS, LiveRows, Senders, is_traffic, live_rows, senders_of
from tallystick.parity.columns import Mask
from tallystick.parity.reference import Reference
from tallystick.records.added import Added
from tallystick.records.reading import InferenceTable

#: Rows and values that are decoded and counted at a time: some tens of megabytes, however many columns there are.
BATCH_ROWS, BATCH_VALUES = 16_384, 500_000
#: Part of one processor that may go into counting an endpoint's rows, and the least and most seconds of it in a turn.
CPU_SHARE, LEAST_CPU_S, MOST_CPU_S = 0.1, 1.0, 6.0
#: Seconds of it that a value takes, and a request that was refused, as long as it was not measured.
_VALUE_S, _REFUSED_S = 7e-7, 2e-6
#: Rows of a turn from which their time says what one takes; of fewer, most goes into opening the table.
ENOUGH_ROWS = 10_000

#: Of how many requests, which are looked at.
Sample = Callable[[int], Mask]


@dataclass(frozen=True)
class New:
    """What is new of one served entity: rows of requests that were answered, and requests that were refused."""

    rows: int = 0
    refused: int = 0


def new_rows(table: InferenceTable, added: Added, entity_ids: set[str]) -> dict[str, New]:
    """Return what is new by served entity, of those that have something. Bodies are not read."""
    is_judged = ds.field("status_code").isin([200, REFUSED_STATUS])
    wanted = is_traffic() & is_judged & ds.field("served_entity_id").isin(sorted(entity_ids))
    columns = ["served_entity_id", "status_code", "request_rows"]
    if not entity_ids:
        return {}
    rows: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for batch in table.invocations(columns=columns, where=wanted, added=added):
        for (entity_id, status), part in batch.to_pandas().groupby(columns[:2])["request_rows"]:
            if status == REFUSED_STATUS:
                refused[entity_id] += len(part)
            else:
                rows[entity_id] += int(part.fillna(1).clip(lower=1).sum())
    return {key: New(rows[key], refused[key]) for key in sorted(rows.keys() | refused.keys())}


def first_row_s(columns: int) -> float:
    """Return how many seconds of processor a row is taken to need before it was measured."""
    return _VALUE_S * max(1, columns)


def next_row_s(row_s: float, rows: int, took_s: float) -> float:
    """Return how many seconds a row needs, after a turn over so many rows."""
    return (row_s + took_s / rows) / 2 if rows >= ENOUGH_ROWS else row_s


def share_of(new: Mapping[str, New], row_s: Mapping[str, float], elapsed_s: float) -> float:
    """Return which part of what is new there is time to count, the same of all served entities. 1 as a rule.

    `row_s` are seconds of processor that a row of each takes; `elapsed_s` is how long ago the turn before was.
    """
    needed_s = sum(each.rows * row_s[key] + each.refused * _REFUSED_S for key, each in new.items())
    there_s = min(MOST_CPU_S, max(LEAST_CPU_S, CPU_SHARE * elapsed_s))
    return 1.0 if needed_s <= there_s else there_s / needed_s


def sampling(share: float, random: np.random.Generator) -> Sample | None:
    """Return a sample of that part of all requests, whoever sent them; None for all of them."""
    return None if share >= 1 else lambda count: np.asarray(random.random(count) < share)


def batches(
    table: InferenceTable, entity_id: str, reference: Reference, added: Added, sample: Sample | None
) -> Iterator[LiveRows]:
    """Yield the rows of a served entity's answered requests, as the model saw them, in the order of the files."""
    reader = table.decoded(
        served_entity=entity_id,
        feedback=False,
        batch_rows=min(BATCH_ROWS, 1 + BATCH_VALUES // max(1, len(reference.names))),
        prediction=False,
        where=is_traffic(),
        beside=BESIDE,
        added=added,
        sample=sample,
    )
    own, names = dict(table.own_names), set(reference.names)
    for batch in reader:
        if len(batch):
            yield live_rows(pa.Table.from_batches([batch]), own, names)


def refused_senders(table: InferenceTable, entity_id: str, added: Added, sample: Sample | None) -> Senders:
    """Return who sent the requests that were refused for their input, and when; their bodies are not read."""
    is_wanted = is_traffic() & (ds.field("status_code") == REFUSED_STATUS) & (ds.field("served_entity_id") == entity_id)
    columns = ["user_agent", "requester", "usage_context", "request_time"]
    found = table.invocations(columns=columns, where=is_wanted, added=added).read_all()
    return senders_of(found if sample is None else found.filter(pa.array(sample(len(found)))))
