"""One system call for all that is written to a connection in one turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class JoinedWrites:
    """A transport that sends what is written in one turn of the loop with one system call.

    uvicorn writes headers and body of an answer one after the other; sent apart, they cost a tenth of the
    throughput of a small answer. `before_sending` is called before any byte of a turn goes out. `lingers` may take
    over a close: it returns whether it did.
    """

    __slots__ = ("_before_sending", "_is_closed", "_lingers", "_loop", "_pieces", "_transport", "given_bytes")

    def __init__(
        self,
        transport: asyncio.BaseTransport,
        loop: asyncio.AbstractEventLoop,
        before_sending: Callable[[], None],
        lingers: Callable[[], bool],
    ) -> None:
        self._transport: Any = transport
        self._loop = loop
        self._before_sending = before_sending
        self._lingers = lingers
        self._pieces: list[bytes] = []
        self._is_closed = False
        #: Bytes handed to the transport in all.
        self.given_bytes = 0

    def write(self, data: bytes) -> None:
        """Send `data` at the end of this turn; after `close`, drop it."""
        if self._is_closed:
            return
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def close(self) -> None:
        """Close when what was written is out."""
        if self._is_closed:
            return
        self._is_closed = True
        self._flush()
        if not self._lingers():
            self._transport.close()

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._is_closed or self._transport.is_closing()

    def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces:
            self._before_sending()
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self.given_bytes += len(data)
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
