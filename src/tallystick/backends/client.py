"""Control's line to the supervisor: the process table in, requests out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tallystick.protocol.message import BrokenMessage, MessageReader, render_message
from tallystick.protocol.supervise import ProcessView, Table, Watch

_RECONNECT_S = 0.2


class SupervisorClient:
    """The processes of this machine, as the supervisor last told."""

    def __init__(self, path: Path, on_change: Callable[[], None]) -> None:
        self._path = path
        self._on_change = on_change
        self._writer: asyncio.StreamWriter | None = None
        #: None until the first table is in: an empty table would look as if nothing ran.
        self.processes: dict[str, ProcessView] | None = None

    def send(self, request: Any) -> None:
        """Send a request, or drop it while there is no connection: plans are made again and again."""
        if self._writer is not None:
            self._writer.write(render_message(request))

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(self._path)
                messages: MessageReader[Table] = MessageReader(Table)
                self.send(Watch())
                while data := await reader.read(1 << 16):
                    tables = messages.feed(data)
                    if tables:
                        self.processes = {view.id: view for view in tables[-1].processes}
                        self._on_change()
            except (OSError, BrokenMessage):
                pass
            self._writer, self.processes = None, None
            await asyncio.sleep(_RECONNECT_S)
