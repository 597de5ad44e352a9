"""What control writes into the journal, and when it counts as written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tallystick.control.journal import EntityRecords, MemoryJournal, StreamJournal, unwritten_entities
from tallystick.entities import Endpoint, EndpointConfig, EndpointId, ResolvedModel, ServedEntity, ServedEntityId
from tallystick.errors import TemporarilyUnavailable
from tallystick.journal.format import HEADER_BYTES, Entity, Record, read_records
from tallystick.journal.writer import Journal

ENTITY = ServedEntity(ServedEntityId("e1"), "churn-1", "churn", "1", 4, 4, creator="ann", creation_timestamp_ms=7)
MODEL = ResolvedModel("/m", "d" * 64, "models:/churn/1", "run", {"inputs": "[]"}, ("sklearn",))
CONFIG = EndpointConfig(3, (ENTITY,), ())


def endpoint(**fields: Any) -> Endpoint:
    return Endpoint(EndpointId("id"), "churn", "root", 0, 0, **fields)


def record(number: int = 1) -> Entity:
    return Entity(
        f"e{number}",
        "churn",
        "id",
        "churn-1",
        "churn",
        "1",
        3,
        7000,
        '{"inputs": "[]"}',
        "d" * 64,
        "run",
        "ann",
        ("sklearn",),
    )


def test_a_served_entity_is_recorded_once_it_serves() -> None:
    serving, pending = endpoint(active=CONFIG), endpoint(pending=CONFIG)
    resolved = {ENTITY.id: MODEL}
    assert unwritten_entities([serving], resolved, ()) == [record()]
    assert unwritten_entities([pending], resolved, ()) == []
    assert unwritten_entities([serving], {}, ()) == []
    assert unwritten_entities([serving], resolved, {ENTITY.id}) == []


async def test_entities_are_recorded_once_and_again_after_a_start_or_a_refusal() -> None:
    journal, resolved = MemoryJournal(is_broken=True), {ENTITY.id: MODEL}
    records = EntityRecords(journal)

    async def look(records: EntityRecords) -> int:
        records.update([endpoint(active=CONFIG)], resolved)
        for _ in range(3):
            await asyncio.sleep(0)
        return len(journal.records)

    assert await look(records) == 0
    journal.is_broken = False
    assert await look(records) == 1
    assert await look(records) == 1
    assert await look(EntityRecords(journal)) == 2


class Appender:
    """A journal's writer that tells nobody anything until it is asked to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[bool], None]] = []
        self.answer: bool | None = True

    def __call__(self, record: Record, *, on_done: Callable[[bool], None], is_durable: bool) -> None:
        assert is_durable
        if self.answer is None:
            self.waiting.append(on_done)
        else:
            on_done(self.answer)


@pytest.mark.parametrize("count", [0, 1, 1200])
async def test_writing_ends_when_every_record_is_safe(count: int) -> None:
    await StreamJournal(Appender()).write([record()] * count)


async def test_one_record_that_is_lost_fails_them_all() -> None:
    appender, told = Appender(), 0

    def append(record: Record, *, on_done: Callable[[bool], None], is_durable: bool) -> None:
        nonlocal told
        told += 1
        on_done(told != 2)

    with pytest.raises(TemporarilyUnavailable, match="cannot store"):
        await StreamJournal(append).write([record()] * 3)
    appender.answer = False
    with pytest.raises(TemporarilyUnavailable):
        await StreamJournal(appender).write([record()])


async def test_a_disk_that_does_not_answer_is_not_waited_for() -> None:
    appender = Appender()
    appender.answer = None
    with pytest.raises(TemporarilyUnavailable):
        await StreamJournal(appender, timeout_s=0).write([record()])
    # It answers after all; nobody is there to be told.
    for on_done in appender.waiting:
        on_done(True)


async def test_twin_keeps_or_refuses_whole() -> None:
    twin = MemoryJournal()
    await twin.write([record(1), record(2)])
    twin.is_broken = True
    with pytest.raises(TemporarilyUnavailable):
        await twin.write([record(3)])
    assert twin.records == [record(1), record(2)]


async def test_records_are_on_disk_in_order_when_writing_ends(tmp_path: Path) -> None:
    stream = Journal(tmp_path, "control")
    await StreamJournal(stream.append).write([record(number) for number in range(1200)])
    (segment,) = tmp_path.glob("control-*/*.journal")
    found = read_records(segment.read_bytes(), HEADER_BYTES)
    assert [one.served_entity_id for _, one in found.records] == [f"e{number}" for number in range(1200)]  # type: ignore[union-attr]
    await stream.close()


async def test_a_full_disk_is_told(tmp_path: Path) -> None:
    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    stream = Journal(tmp_path, "control", write=full)
    with pytest.raises(TemporarilyUnavailable):
        await StreamJournal(stream.append).write([record()])
    await stream.close()
