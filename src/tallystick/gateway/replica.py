"""The gateway's connection to one worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from tallystick.errors import BadRequest
from tallystick.gateway.call import Call
from tallystick.protocol.board import read_board
from tallystick.protocol.frame import Answer, BrokenFrame, FrameReader, Hello, Invoke, Kind, render_frame
from tallystick.protocol.routes import Replica

#: Pauses between attempts to reach a worker: when somebody waits for it, and when nobody does (growing).
CONNECT_SOON_S, CONNECT_LATER_S, CONNECT_RARELY_S = 0.02, 0.1, 5.0

#: A call that waited longer is sent with what is left of its time.
_WAITED_S = 0.01

_encode_invoke = msgspec.msgpack.Encoder().encode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode
_decode_hello = msgspec.msgpack.Decoder(Hello).decode


class ReplicaLink(asyncio.Protocol):
    """Sends calls to one worker and hands back its answers. Connects again by itself until it is closed."""

    def __init__(
        self,
        replica: Replica,
        shared_by: int,
        *,
        on_room: Callable[[], None],
        on_lost: Callable[[ReplicaLink, list[Call], frozenset[int]], None],
        is_wanted: Callable[[], bool],
    ) -> None:
        self.replica = replica
        self.hello: Hello | None = None
        self.in_flight: dict[int, Call] = {}
        #: Calls that were taken back or given up, and that the worker has not answered yet: number -> deadline.
        #: They still take its time, and one that never ends is a reason to replace it though nobody waits.
        self.orphans: dict[int, float] = {}
        #: The call that is to be alone with this worker while it is in flight.
        self._lone = 0
        #: Loop time since when there is a connection without a hello; 0 with one, or without a connection.
        self.unheard_since = 0.0
        #: Loop time of the last frame from it, or of the first call after a pause.
        self.heard_at = 0.0
        #: Gets no new calls: it ran one past its deadline and will be killed. Loop time, or 0.
        self.condemned_at = 0.0
        #: Gets no new calls until it is heard of again.
        self.is_silent = False
        #: Gets no new calls: its config is no longer routed.
        self.is_retired = False
        self._shared_by = shared_by
        self._on_room = on_room
        self._on_lost = on_lost
        self._is_wanted = is_wanted
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader()
        self._nudged = asyncio.Event()
        self._lost = asyncio.Event()
        self._task = asyncio.create_task(self._stay_connected(), name=f"link {replica.id}")

    @property
    def room(self) -> int:
        """How many more calls this worker should get now."""
        if self.hello is None or self.condemned_at or self.is_silent or self.is_retired:
            return 0
        if self._lone in self.in_flight:
            return 0
        # A worker's window is over all gateways; each takes its part, and at least one call.
        window = max(1, self.hello.window // self._shared_by)
        return window - len(self.in_flight) - len(self.orphans)

    @property
    def is_empty(self) -> bool:
        """Whether the worker has nothing of ours."""
        return not self.in_flight and not self.orphans

    def nudge(self) -> None:
        """Somebody waits: try to connect now."""
        self._nudged.set()

    def send(self, call: Call, now: float) -> None:
        """Give the worker a call."""
        assert self._transport is not None
        if self.is_empty:
            self.heard_at = now
        if call.alone:
            self._lone = call.number
        call.link, call.sent_at = self, now
        call.sent_times += 1
        call.sent_first_at = call.sent_first_at or time.monotonic()
        self.in_flight[call.number] = call
        meta = call.meta
        left_s = call.deadline - now
        if call.alone or meta.time_left_s - left_s > _WAITED_S:
            meta = Invoke(meta.content_type, meta.accept, left_s, meta.strict, meta.request_id, call.alone, meta.trace)
        self._transport.write(render_frame(call.number, Kind.INVOKE, _encode_invoke(meta), call.body))

    def forget(self, call: Call) -> None:
        """Take a call back; if the worker answers it all the same, that is dropped."""
        if self.in_flight.pop(call.number, None) is not None and self._transport is not None:
            self._transport.write(render_frame(call.number, Kind.CANCEL))
            self.orphans[call.number] = call.deadline
        call.link = None

    def running(self) -> frozenset[int]:
        """The calls that the worker says it is running. Reads a small file in memory."""
        return read_board(self.replica.board) & (self.in_flight.keys() | self.orphans.keys())

    def retire(self) -> None:
        """Send nothing more; close when the last answer is in."""
        self.is_retired = True
        self._close_if_done()

    def close(self) -> None:
        """Close now. Calls in flight are handed to `on_lost`."""
        self._task.cancel()
        if self._transport is not None:
            self._transport.close()

    async def _stay_connected(self) -> None:
        loop, pause_s = asyncio.get_running_loop(), CONNECT_LATER_S
        while not self.is_retired:
            self._lost.clear()
            try:
                await loop.create_unix_connection(lambda: self, self.replica.socket)
                await self._lost.wait()
                pause_s = CONNECT_LATER_S
            except OSError:  # not there yet, or just gone
                pass
            if self._is_wanted():
                await asyncio.sleep(CONNECT_SOON_S)
                pause_s = CONNECT_LATER_S
                continue
            self._nudged.clear()
            try:
                await asyncio.wait_for(self._nudged.wait(), pause_s)
            except TimeoutError:
                pause_s = min(pause_s * 1.5, CONNECT_RARELY_S)

    # -- asyncio.Protocol ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The worker listens; it says hello next."""
        self._transport = transport  # type: ignore[assignment]
        self.unheard_since = asyncio.get_running_loop().time()
        self._reader = FrameReader()

    def data_received(self, data: bytes) -> None:
        """Deliver answers, each to its own caller."""
        try:
            self._take(self._reader.feed(data))
        except (BrokenFrame, msgspec.MsgspecError):
            assert self._transport is not None
            self._transport.abort()
            return
        self._on_room()
        self._close_if_done()

    def _take(self, frames: list[tuple[int, Kind, bytes, bytes]]) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        self.is_silent = False
        for number, kind, meta, body in frames:
            if kind is Kind.ANSWER:
                answer = _decode_answer(meta)
                self.orphans.pop(number, None)
                call = self.in_flight.pop(number, None)
                if call is not None:
                    call.finish(answer, body)
            elif kind is Kind.CHUNK:
                call = self.in_flight.get(number)
                if call is not None and call.on_chunk is not None:
                    call.on_chunk(body)
                elif call is not None:
                    call.fail(BadRequest('Write the key "stream" as it is, without escapes, to get a streamed answer.'))
            elif kind is Kind.HELLO:
                self.hello = _decode_hello(meta)
                self.unheard_since = 0.0
                self.condemned_at = 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        """The worker ended or died: hand back what it had not answered."""
        calls, self.in_flight, self.orphans = list(self.in_flight.values()), {}, {}
        self.unheard_since = 0.0
        ran = read_board(self.replica.board) if calls else frozenset()
        self.hello, self._transport, self.is_silent = None, None, False
        self._lost.set()
        for call in calls:
            call.link = None
        self._on_lost(self, calls, ran)

    def _close_if_done(self) -> None:
        if self.is_retired and not self.in_flight:
            self.close()
