"""What becomes of feedback: which lines name an invocation that is in the inference table, and which repeat a line.

Of the two tables it reads the few columns that it needs, batch by batch, newest days first, and of the inference table
only until every id was seen. Writes nothing and drops nothing: a line that matches nothing, or repeats another one, is
kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

#: Column of an id, by whether the server gave it or the client did.
_COLUMNS = {True: "databricks_request_id", False: "client_request_id"}
#: Rows that are held at one time, and batches that are read ahead of the one that is looked at.
_BATCH_ROWS, _READAHEAD = 64 * 1024, 2

#: An id, and whether the server gave it.
_Id = tuple[str, bool]
#: What a line is about: the id, the row, and the name.
_Key = tuple[_Id, int, str]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How many lines of feedback found their invocation.

    `matched` and `unknown` sum to all lines; a duplicate is one of either.
    """

    matched: int = 0
    #: Name no invocation of the table: never made, not recorded, left out by sampling, or deleted by now.
    unknown: int = 0
    #: Say again what an earlier line says of the same row and name. The last one counts.
    duplicate: int = 0


def count_outcomes(lines: pa.Table, payload: pads.Dataset | None, feedback: pads.Dataset | None) -> Outcomes:
    """Return what becomes of `lines`, which have the columns of FEEDBACK_SCHEMA.

    `payload` is the inference table; what arrived before `lines` has to be in it. `feedback` is the table of feedback
    without `lines`. Either is None while there is none. Memory holds the ids of `lines` and a few batches.
    """
    keys = list(_keys(lines))
    known = _known_ids({key[0] for key in keys}, payload)
    matched = sum(key[0] in known for key in keys)
    return Outcomes(matched, len(keys) - matched, _count_duplicates(keys, feedback))


def _keys(lines: pa.Table | pa.RecordBatch) -> Iterator[_Key]:
    server, client, rows, names = (lines.column(name).to_pylist() for name in (*_COLUMNS.values(), "row", "name"))
    for by_server, by_client, row, name in zip(server, client, rows, names, strict=True):
        yield (by_server, True) if by_server is not None else (by_client or "", False), row, name


def _known_ids(ids: set[_Id], payload: pads.Dataset | None) -> set[_Id]:
    missing = set(ids)
    if payload is None or not missing:
        return set()
    wanted = _wanted(ids)
    for batch in _scan(payload, [_COLUMNS[is_server] for is_server in wanted]):
        for is_server, values in wanted.items():
            column = batch.column(_COLUMNS[is_server])
            found = column.filter(pc.is_in(column, value_set=values)).to_pylist()
            missing.difference_update((one, is_server) for one in found)
        if not missing:
            break
    return ids - missing


def _count_duplicates(keys: Sequence[_Key], feedback: pads.Dataset | None) -> int:
    seen: set[_Key] = set()
    if feedback is not None and keys:
        asked, wanted = set(keys), _wanted({key[0] for key in keys})
        for batch in _scan(feedback, [*_COLUMNS.values(), "row", "name"]):
            masks = [pc.is_in(batch.column(_COLUMNS[is_server]), value_set=ids) for is_server, ids in wanted.items()]
            candidates = batch.filter(masks[0] if len(masks) == 1 else pc.or_(*masks))
            # The keys of `lines` at most, however often the table has them.
            seen.update(key for key in _keys(candidates) if key in asked)
    duplicates = 0
    for key in keys:
        duplicates += key in seen
        seen.add(key)
    return duplicates


def _wanted(ids: set[_Id]) -> dict[bool, pa.Array]:
    """Return the ids to look for, by whether the server gave them; kinds without any are left out."""
    by_kind = {kind: sorted(one for one, is_server in ids if is_server is kind) for kind in _COLUMNS}
    return {kind: pa.array(found, pa.string()) for kind, found in by_kind.items() if found}


def _scan(dataset: pads.Dataset, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield a table's columns in batches, newest day first, as most feedback is about what was just asked."""
    for fragment in sorted(dataset.get_fragments(), key=_day, reverse=True):
        yield from fragment.to_batches(
            schema=dataset.schema,
            columns=columns,
            batch_size=_BATCH_ROWS,
            batch_readahead=_READAHEAD,
        )


def _day(fragment: pads.Fragment) -> str:
    keys = pads.get_partition_keys(fragment.partition_expression)
    return str(keys.get("request_date") or keys.get("feedback_date") or "")
