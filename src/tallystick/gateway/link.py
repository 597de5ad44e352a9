"""The gateway's lines to control (route tables in, activity out) and to the supervisor (wake, kill).

An invocation waits for neither. When control is away the last table stays; when the supervisor is, so do its
processes.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import msgspec

from tallystick.gateway.invoke import Invoker
from tallystick.protocol.message import BrokenMessage, MessageReader, render_message
from tallystick.protocol.routes import Activity, Applied, Publish, RouteTable, table_path
from tallystick.protocol.supervise import Kill, Wake

_RECONNECT_S = 0.2
_ACTIVITY_EVERY_S = 1.0
_log = logging.getLogger("tallystick.gateway")


def read_last_table(data_dir: Path) -> RouteTable | None:
    """Return the route table that was last published here; None when there is none that can be read."""
    path = table_path(data_dir)
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=RouteTable)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        _log.error("%s is not a route table (%s); waiting for control to publish one", path.name, error)
        return None


class _Line:
    """A unix socket connection that is made again whenever it breaks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: asyncio.StreamWriter | None = None

    def send(self, message: Any) -> None:
        """Send, or drop when the other side is away: each message is one that will be sent again if it matters."""
        if self._writer is not None:
            self._writer.write(render_message(message))

    @property
    def is_connected(self) -> bool:
        """Whether there is somebody to send to."""
        return self._writer is not None

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(self._path)
                try:
                    self._connected()
                    while data := await reader.read(1 << 18):
                        self._received(data)
                finally:
                    self._writer.close()
                    self._writer = None
            except (OSError, BrokenMessage):
                pass  # away: its supervisor starts it again
            await asyncio.sleep(_RECONNECT_S)

    def _connected(self) -> None: ...

    def _received(self, data: bytes) -> None: ...


class SupervisorLink(_Line):
    """Asks the supervisor to start a parked worker, or to kill one that hangs."""

    def wake(self, replica_id: str) -> None:
        """Start the worker if it is parked."""
        self.send(Wake(replica_id))

    def kill(self, replica_id: str, pid: int, reason: str) -> None:
        """Kill the worker if `pid` is still what runs."""
        self.send(Kill(replica_id, pid, reason))


class ControlLink(_Line):
    """Takes route tables from control and tells it which one is in use, and what is used."""

    def __init__(self, path: Path, index: int, invoker: Invoker) -> None:
        super().__init__(path)
        self._index = index
        self._invoker = invoker
        self._messages: MessageReader[Publish] = MessageReader(Publish)

    async def run(self) -> None:
        """Stay connected and report activity until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(self._report_activity())

    def _connected(self) -> None:
        self._messages = MessageReader(Publish)
        self._say_applied()

    def _received(self, data: bytes) -> None:
        for message in self._messages.feed(data):
            # A control that was restored from an old copy must not take routes back.
            if message.table.version >= self._invoker.routes.table.version:
                self._invoker.use(message.table)
            self._say_applied()

    def _say_applied(self) -> None:
        self.send(Applied(self._index, os.getpid(), self._invoker.routes.table.version))

    async def _report_activity(self) -> None:
        while True:
            await asyncio.sleep(_ACTIVITY_EVERY_S)
            # While control is away the counts wait here; a control that starts anew begins at nothing.
            if self.is_connected:
                self.send(activity_of(self._index, self._invoker))


def activity_of(index: int, invoker: Invoker) -> Activity:
    """Return what this gateway has to tell of the time since the last report; what was told is not told again."""
    pools = invoker.pools
    counts, refusals = invoker.meters.take()
    return Activity(
        index,
        {entity_id: used for entity_id, pool in pools.items() if (used := pool.take_activity())},
        counts,
        refusals,
        {entity_id: pool.load for entity_id, pool in pools.items() if not pool.is_idle},
        invoker.meters.count_connections(),
        invoker.journal.view() if invoker.journal is not None else None,
    )
