"""Control's end of the lines to gateways and recorder, over a real unix socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.control.link_server import GatewayLinks
from tallystick.protocol.counts import EntityCounts
from tallystick.protocol.message import MessageReader, render_message
from tallystick.protocol.routes import Activity, Applied, Flush, Flushed, Publish, Recorded, RouteTable, ToRecorder

TABLE = RouteTable(version=5)


def recorded(**fields: Any) -> Recorded:
    empty = dict.fromkeys(
        ("journal_bytes", "unread_bytes", "rows_total", "commits_total", "torn_bytes_total", "damaged_bytes_total"), 0
    )
    return Recorded(**({"pid": 7, "lag_s": 0.5} | empty | fields))


class Peer:
    """A process at the other end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._heard: deque[Publish | Flush] = deque()
        self._messages: MessageReader[Publish | Flush] = MessageReader(ToRecorder)

    def say(self, *messages: Any) -> None:
        self._writer.write(b"".join(map(render_message, messages)))

    async def hears(self) -> Publish | Flush:
        while not self._heard:
            async with asyncio.timeout(5):
                data = await self._reader.read(1 << 16)
            assert data, "the line was closed"
            self._heard.extend(self._messages.feed(data))
        return self._heard.popleft()

    def leave(self) -> None:
        self._writer.close()


class Line:
    """The links under test, and those who connect to them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "link.sock"
        self.links = GatewayLinks(folder, 1, lambda: None)
        self.peers: list[Peer] = []

    async def connect(self) -> Peer:
        self.peers.append(Peer(*await asyncio.open_unix_connection(self.path)))
        return self.peers[-1]

    async def recorder(self) -> Peer:
        peer = await self.connect()
        peer.say(recorded())
        await until(lambda: self.links.is_recorder_connected)
        return peer


async def until(check: Any) -> None:
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0)


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    made = Line(tmp_path)
    server = await made.links.listen(made.path)
    yield made
    for peer in made.peers:
        peer.leave()
    server.close()


async def test_a_gateway_gets_the_table_when_it_has_said_who_it_is(line: Line) -> None:
    await line.links.publish(TABLE)
    gateway = await line.connect()
    gateway.say(Applied(0, 100, 0))
    assert await gateway.hears() == Publish(TABLE)
    assert not line.links.is_applied
    gateway.say(Applied(0, 100, 5))
    await until(lambda: line.links.is_applied)
    assert line.links.tally.gateways[0].pid == 100


async def test_the_recorder_is_no_gateway_and_gets_no_tables(line: Line) -> None:
    recorder = await line.recorder()
    await line.links.publish(TABLE)
    assert not line.links.is_applied
    asking = asyncio.create_task(line.links.flush(5, ("churn_payload",)))
    # The first thing that it hears is the flush, though a table was published before.
    assert await recorder.hears() == Flush(1)
    recorder.say(Flushed(1))
    assert await asking == ""
    assert line.links.tally.gateways == {}


async def test_the_last_word_of_the_recorder_is_kept_when_it_is_gone(line: Line) -> None:
    recorder = await line.recorder()
    recorder.say(recorded(rows_total=3))
    await until(lambda: line.links.recorded == recorded(rows_total=3))
    recorder.leave()
    await until(lambda: not line.links.is_recorder_connected)
    assert line.links.recorded == recorded(rows_total=3)
    assert line.links.recorded_at > 0


async def test_flushes_are_told_apart_and_problems_are_passed_on(line: Line) -> None:
    recorder = await line.recorder()
    one, two = (asyncio.create_task(line.links.flush(5, ("churn_payload",))) for _ in range(2))
    assert [await recorder.hears(), await recorder.hears()] == [Flush(1), Flush(2)]
    others = {"other_payload": "is none of our business"}
    recorder.say(
        Flushed(2, tables={"churn_payload": "the disk is full"} | others), Flushed(9), Flushed(1, tables=others)
    )
    assert (await one, await two) == ("", "the disk is full")


async def test_a_flush_without_a_recorder_says_so(line: Line) -> None:
    assert "not running" in await line.links.flush(5, ("churn_payload",))


async def test_a_flush_ends_with_its_recorder(line: Line) -> None:
    recorder = await line.recorder()
    asking = asyncio.create_task(line.links.flush(5, ("churn_payload",)))
    await recorder.hears()
    recorder.leave()
    assert "ended before" in await asking


async def test_a_flush_that_takes_too_long_says_so_and_a_late_answer_harms_nobody(line: Line) -> None:
    recorder = await line.recorder()
    assert "0.001 s" in await line.links.flush(0.001, ())
    recorder.say(Flushed(1), recorded(rows_total=1))
    await until(lambda: line.links.recorded == recorded(rows_total=1))


async def test_a_successor_of_the_recorder_takes_its_place(line: Line) -> None:
    first, second = await line.recorder(), await line.connect()
    second.say(recorded(pid=8))
    await until(lambda: line.links.recorded == recorded(pid=8))
    first.leave()
    asking = asyncio.create_task(line.links.flush(5, ("churn_payload",)))
    assert await second.hears() == Flush(1)
    second.say(Flushed(1))
    assert await asking == ""
    assert line.links.is_recorder_connected


async def test_reports_are_added_up_and_keep_served_entities_awake(line: Line) -> None:
    gateway = await line.connect()
    gateway.say(Applied(0, 100, 0), *(Activity(0, {"e": 1}, {"e": EntityCounts({200: 2})}) for _ in range(3)))
    await until(lambda: "e" in line.links.tally.totals and line.links.tally.totals["e"].statuses == {200: 6})
    assert line.links.used_at["e"] > 0
    gateway.leave()
    await until(lambda: line.links.tally.gateways == {})
    assert line.links.tally.totals["e"].statuses == {200: 6}
