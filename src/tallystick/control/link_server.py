"""Control's end of the lines to gateways and recorder: publish a route table, know who uses which and how far all are.

All connect to one socket and say by their first message what they are. Numbers are handed to `metrics.tally`, and what
the monitor says to `incidents`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from tallystick.control.incidents import Monitor
from tallystick.control.metrics.tally import Tally
from tallystick.private_file import replace_private
from tallystick.protocol.message import BrokenMessage, MessageReader, render_message
from tallystick.protocol.monitoring import AskReplay, Diagnosed, Watching
from tallystick.protocol.routes import (
    Activity,
    Applied,
    Flush,
    Flushed,
    Publish,
    Recorded,
    RouteTable,
    ToControl,
    table_path,
)

#: What may wait for a gateway that does not read its tables.
_MAX_UNREAD_BYTES = 64 << 20


class GatewayLinks:
    """The gateways that are connected, the table that they should route by, and the recorder."""

    def __init__(self, data_dir: Path, gateways: int, on_change: Callable[[], None]) -> None:
        self._path = table_path(data_dir)
        self._gateways = gateways
        self._on_change = on_change
        self._writers: set[asyncio.StreamWriter] = set()
        self._applied: dict[int, int] = {}
        self._latest: dict[int, asyncio.StreamWriter] = {}
        #: Monotonic seconds of the last invocation, by served entity id.
        self.used_at: dict[str, float] = {}
        #: What gateways report.
        self.tally = Tally()
        #: The monitor, and what it said.
        self.monitor = Monitor()
        #: What the recorder said last, and when (monotonic seconds); None until it was there.
        self.recorded: Recorded | None = None
        self.recorded_at = 0.0
        self._recorder: asyncio.StreamWriter | None = None
        #: Flushes that are waited for, by number.
        self._flushes: dict[int, asyncio.Future[Flushed]] = {}
        self._flush_numbers = itertools.count(1)
        self.table = RouteTable()

    async def listen(self, path: Path) -> asyncio.Server:
        """Take gateways and the recorder on a unix socket."""
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, path)
        path.chmod(0o600)
        return server

    def last_published_version(self) -> int:
        """Return the version of the table on disk; 0 when there is none."""
        try:
            return msgspec.msgpack.decode(self._path.read_bytes(), type=RouteTable).version
        except (FileNotFoundError, msgspec.MsgspecError):
            return 0

    async def publish(self, table: RouteTable) -> None:
        """Keep the table on disk, then send it to every gateway."""
        await asyncio.to_thread(replace_private, self._path, msgspec.msgpack.encode(table), is_synced=True)
        self.table = table
        data = render_message(Publish(table))
        for writer in list(self._writers):
            if writer.transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
                # It does not read; it takes the newest table when it is back.
                writer.transport.abort()
            else:
                writer.write(data)

    @property
    def is_applied(self) -> bool:
        """Whether every gateway routes by the published table."""
        return len(self._applied) >= self._gateways and all(
            version >= self.table.version for version in self._applied.values()
        )

    @property
    def is_recorder_connected(self) -> bool:
        """Whether there is a recorder."""
        return self._recorder is not None

    async def flush(self, timeout_s: float, tables: Collection[str]) -> str:
        """Have all that is in the journal now written to the tables.

        Returns what is in the way of `tables`; empty: they have it.
        """
        if self._recorder is None:
            return "The recorder is not running; it is started again by itself. Ask again in a few seconds."
        number = next(self._flush_numbers)
        done: asyncio.Future[Flushed] = asyncio.get_running_loop().create_future()
        self._flushes[number] = done
        self._recorder.write(render_message(Flush(number)))
        try:
            async with asyncio.timeout(timeout_s):
                flushed = await done
        except TimeoutError:
            return f"The recorder did not finish within {timeout_s:g} s; it goes on. Ask again later."
        finally:
            del self._flushes[number]
        # Others' tables and their troubles are nobody else's business.
        return flushed.problem or "; ".join(flushed.tables[table] for table in tables if table in flushed.tables)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        messages: MessageReader[ToControl] = MessageReader(ToControl)
        index: int | None = None
        try:
            while data := await reader.read(1 << 16):
                for message in messages.feed(data):
                    match message:
                        case Applied():
                            index = message.gateway
                            self._applied_by(writer, message)
                        case Activity():
                            now = time.monotonic()
                            self.used_at.update(dict.fromkeys(message.entities, now))
                            self.tally.take(message, now)
                        case Recorded():
                            self._recorder = writer
                            self.recorded, self.recorded_at = message, time.monotonic()
                        case Flushed():
                            self._flushed(message)
                        case Watching() | Diagnosed() | AskReplay():
                            self.monitor.take(writer, message)
        except (ConnectionError, BrokenMessage):
            pass  # its supervisor starts it again, and it will tell what it routes by, or how far it is
        except asyncio.CancelledError:
            pass  # control ends; asyncio would print a trace for each peer that is still there
        finally:
            self._left(writer, index)
            with contextlib.suppress(OSError):
                writer.close()

    def _applied_by(self, writer: asyncio.StreamWriter, message: Applied) -> None:
        if writer not in self._writers:
            self._writers.add(writer)
            if self.table.version:
                writer.write(render_message(Publish(self.table)))
        self._applied[message.gateway] = message.version
        self._latest[message.gateway] = writer
        self.tally.applied(message.gateway, message.pid, message.version)
        self._on_change()

    def _flushed(self, message: Flushed) -> None:
        done = self._flushes.get(message.number)
        if done is not None and not done.done():
            done.set_result(message)

    def _left(self, writer: asyncio.StreamWriter, index: int | None) -> None:
        self._writers.discard(writer)
        if index is not None and self._latest.get(index) is writer:
            # Until it is back nothing is known of it, so nothing counts as applied.
            self._applied.pop(index, None)
            self.tally.left(index)
        self.monitor.left(writer)
        if self._recorder is writer:
            self._recorder = None
            for number in list(self._flushes):
                self._flushed(Flushed(number, "The recorder ended before it had finished; it is started again."))
