"""Control's end of the line to the gateways: publish a route table, know who uses which."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from tallystick.protocol.message import BrokenMessage, MessageReader, render_message
from tallystick.protocol.routes import Activity, Applied, Publish, RouteTable, ToControl, table_path

#: Coercions are counted for this many columns of a served entity.
_MAX_COUNTED_COLUMNS = 1000
#: What may wait for a gateway that does not read its tables.
_MAX_UNREAD_BYTES = 64 << 20


class GatewayLinks:
    """The gateways that are connected, and the table that they should route by."""

    def __init__(self, data_dir: Path, gateways: int, on_change: Callable[[], None]) -> None:
        self._path = table_path(data_dir)
        self._gateways = gateways
        self._on_change = on_change
        self._writers: set[asyncio.StreamWriter] = set()
        self._applied: dict[int, int] = {}
        self._latest: dict[int, asyncio.StreamWriter] = {}
        #: Monotonic seconds of the last invocation, by served entity id.
        self.used_at: dict[str, float] = {}
        #: Served entity -> column -> kind -> values changed to fit the signature, since control started.
        self.coercions: dict[str, dict[str, Counter[str]]] = {}
        self.table = RouteTable()

    async def listen(self, path: Path) -> asyncio.Server:
        """Take gateways on a unix socket."""
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
        await asyncio.to_thread(_write_durably, self._path, msgspec.msgpack.encode(table))
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

    def _count(self, coercions: dict[str, dict[str, dict[str, int]]]) -> None:
        for entity_id, columns in coercions.items():
            known = self.coercions.setdefault(entity_id, {})
            for column, kinds in columns.items():
                if column in known or len(known) < _MAX_COUNTED_COLUMNS:
                    known.setdefault(column, Counter()).update(kinds)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        messages: MessageReader[ToControl] = MessageReader(ToControl)
        index: int | None = None
        self._writers.add(writer)
        if self.table.version:
            writer.write(render_message(Publish(self.table)))
        try:
            while data := await reader.read(1 << 16):
                for message in messages.feed(data):
                    if isinstance(message, Applied):
                        index = message.gateway
                        self._applied[index] = message.version
                        self._latest[index] = writer
                        self._on_change()
                    elif isinstance(message, Activity):
                        now = time.monotonic()
                        self.used_at.update(dict.fromkeys(message.entities, now))
                        self._count(message.coercions)
        except (ConnectionError, BrokenMessage):
            pass  # its supervisor starts it again, and it will tell what it routes by
        finally:
            self._writers.discard(writer)
            if index is not None and self._latest.get(index) is writer:
                # Until it is back nothing is known of it, so nothing counts as applied.
                self._applied.pop(index, None)
            with contextlib.suppress(OSError):
                writer.close()


def _write_durably(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
