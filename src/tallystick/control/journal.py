"""Control's ends of record keeping: what it appends to its own stream of the journal, and what the recorder tells.

Writes no file itself: `journal.writer` does, and `__main__` joins the two.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tallystick.entities import Endpoint, ResolvedModel, ServedEntityId
from tallystick.errors import TemporarilyUnavailable
from tallystick.journal.format import Entity, Record
from tallystick.protocol.routes import Recorded

#: Name of control's streams in the journal's folder.
STREAM_NAME = "control"
#: A sync takes milliseconds; a disk that takes this long is broken, and callers should know.
WRITE_TIMEOUT_S = 10.0
#: Between so many records others have their turn on the event loop; they share a write.
_TURN = 500


class ControlJournal(Protocol):
    """Takes records for the tables. Twins: `StreamJournal`, `MemoryJournal`."""

    async def write(self, records: Sequence[Record]) -> None:
        """Return when all records survive a power cut, in this order.

        Raises TemporarilyUnavailable when they do not: none, some or all may be found later.
        """


class Append(Protocol):
    """What a journal's writer does with one record; called on the event loop, never raises."""

    def __call__(self, record: Record, *, on_done: Callable[[bool], None], is_durable: bool) -> None:
        """Append a record, and tell `on_done` whether it is as safe as was asked for."""


class StreamJournal:
    """The journal on disk."""

    def __init__(self, append: Append, timeout_s: float = WRITE_TIMEOUT_S) -> None:
        self._append = append
        self._timeout_s = timeout_s

    async def write(self, records: Sequence[Record]) -> None:
        """Append and sync, as `ControlJournal` says."""
        if not records:
            return
        all_safe: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting = len(records)

        def told(is_safe: bool) -> None:
            nonlocal waiting
            waiting -= 1
            if not all_safe.done() and (not is_safe or waiting == 0):
                all_safe.set_result(is_safe)

        try:
            async with asyncio.timeout(self._timeout_s):
                for number, record in enumerate(records, start=1):
                    # Each waits: what nobody waits for is not written again when a sync fails.
                    self._append(record, on_done=told, is_durable=True)
                    if number % _TURN == 0:
                        await asyncio.sleep(0)
                is_stored = await all_safe
        except TimeoutError:
            is_stored = False
        if not is_stored:
            raise not_stored()


@dataclass
class MemoryJournal:
    """Twin of `StreamJournal` for tests."""

    records: list[Record] = field(default_factory=list)
    is_broken: bool = False

    async def write(self, records: Sequence[Record]) -> None:
        """Keep the records, as `ControlJournal` says."""
        if records and self.is_broken:
            raise not_stored()
        self.records.extend(records)


def not_stored() -> TemporarilyUnavailable:
    """Return the error for records that are not safe."""
    return TemporarilyUnavailable(
        "The server cannot store this safely at the moment: its disk is full, read-only or too slow. "
        "Send it again later; what is stored twice counts once.",
        retry_after_s=5,
    )


def _nothing_recorded() -> Recorded | None:
    return None


async def _no_recorder(_timeout_s: float, _tables: Collection[str]) -> str:
    return "No recorder is running."


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables, as far as control knows them."""

    #: Folder or URL below which they all are.
    root: str = "tables"
    #: Whether the server has any; single endpoints can say no.
    are_on: bool = True
    #: What the recorder said last.
    recorded: Callable[[], Recorded | None] = _nothing_recorded
    #: Has the journal written to the tables within so many seconds; returns what kept those named from it, or ''.
    flush: Callable[[float, Collection[str]], Awaitable[str]] = _no_recorder


class EntityRecords:
    """Records each served entity once it serves. After a start all are recorded again, as one may have been lost."""

    def __init__(self, journal: ControlJournal) -> None:
        self._journal = journal
        self._written: set[ServedEntityId] = set()
        self._writing: asyncio.Task[None] | None = None

    def update(self, endpoints: Iterable[Endpoint], resolved: Mapping[ServedEntityId, ResolvedModel]) -> None:
        """Begin to record what is new, without waiting for the disk; what it refuses is begun again by a later call."""
        if self._writing is not None and not self._writing.done():
            return
        found = unwritten_entities(endpoints, resolved, self._written)
        if found:
            self._writing = asyncio.create_task(self._write(found))

    async def _write(self, records: Sequence[Entity]) -> None:
        try:
            await self._journal.write(records)
        except TemporarilyUnavailable:
            # The journal's writer logs why.
            return
        self._written.update(ServedEntityId(record.served_entity_id) for record in records)


def unwritten_entities(
    endpoints: Iterable[Endpoint],
    resolved: Mapping[ServedEntityId, ResolvedModel],
    written: Collection[ServedEntityId],
) -> list[Entity]:
    """Return the records of served entities that serve, with models that are known, but for those in `written`.

    The same entity gives the same record, apart from `config_version`: the config that is active now.
    """
    found = []
    for endpoint in endpoints:
        if endpoint.active is None:
            continue
        for entity in endpoint.active.served_entities:
            model = resolved.get(entity.id)
            if model is None or entity.id in written:
                continue
            found.append(
                Entity(
                    served_entity_id=entity.id,
                    endpoint_name=endpoint.name,
                    endpoint_id=endpoint.id,
                    served_entity_name=entity.name,
                    model_name=entity.entity_name,
                    model_version=entity.entity_version or "",
                    config_version=endpoint.active.version,
                    # Not the time of writing, which is another one after each start of control.
                    time_us=entity.creation_timestamp_ms * 1000,
                    signature=json.dumps(model.signature, sort_keys=True) if model.signature else "",
                    digest=model.digest,
                    run_id=model.run_id or "",
                    creator=entity.creator,
                    flavors=model.flavors,
                )
            )
    return found
