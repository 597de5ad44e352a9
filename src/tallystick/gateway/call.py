"""One invocation on its way through the gateway, from the queue to its answer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from tallystick.errors import TallystickError
from tallystick.protocol.frame import Answer, Invoke

if TYPE_CHECKING:
    from tallystick.gateway.replica import ReplicaLink


#: (call, answer, body, None) or (call, None, b"", error).
OnEnd = Callable[["Call", Answer | None, bytes, TallystickError | None], None]


class Call:
    """An invocation that waits, or is with a worker.

    Ends exactly once: with an answer, an error, or because its caller left. An answer that comes after that is
    dropped, so a worker may be given up at any moment.
    """

    __slots__ = (
        "alone",
        "answer",
        "attempts",
        "body",
        "deadline",
        "is_over",
        "link",
        "meta",
        "number",
        "on_chunk",
        "on_end",
        "on_left",
        "on_over",
        "replica",
        "sent_at",
        "sent_first_at",
        "sent_times",
        "was_moved",
    )

    def __init__(self, number: int, meta: Invoke, body: bytes, deadline: float, on_end: OnEnd | None = None) -> None:
        self.number = number
        self.meta = meta
        self.body = body
        #: Loop time.
        self.deadline = deadline
        #: Told of the answer or the error, but not when the caller leaves. Must not raise.
        self.on_end = on_end
        #: For callers who wait instead: the same, as a future.
        self.answer: asyncio.Future[tuple[Answer, bytes]] | None = None
        if on_end is None:
            self.answer = asyncio.get_running_loop().create_future()
        self.link: ReplicaLink | None = None
        self.sent_at = 0.0
        #: Workers that were given it, and when the first was (`time.monotonic`: a loop's time has milliseconds only).
        self.sent_times, self.sent_first_at = 0, 0.0
        #: Workers that died, or were killed, while they ran it.
        self.attempts = 0
        #: To be run in a call of the model of its own.
        self.alone = False
        #: Was taken from a silent worker once.
        self.was_moved = False
        #: The only replica that may answer; '' for any.
        self.replica = ""
        self.is_over = False
        #: Set by a caller who takes a streamed answer.
        self.on_chunk: Callable[[bytes], None] | None = None
        self.on_over: Callable[[Call], None] | None = None
        #: Told when the caller leaves before the end. Must not raise.
        self.on_left: Callable[[Call], None] | None = None

    def finish(self, answer: Answer, body: bytes) -> None:
        """Give the caller the answer."""
        if not self._end():
            return
        if self.on_end is not None:
            self.on_end(self, answer, body, None)
        elif self.answer is not None and not self.answer.done():
            self.answer.set_result((answer, body))

    def fail(self, error: TallystickError) -> None:
        """Give the caller an error."""
        if not self._end():
            return
        if self.on_end is not None:
            self.on_end(self, None, b"", error)
        elif self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)

    def abandon(self) -> None:
        """The caller has left."""
        if not self._end():
            return
        if self.on_left is not None:
            self.on_left(self)
        if self.answer is not None:
            self.answer.cancel()

    def _end(self) -> bool:
        if self.is_over:
            return False
        self.is_over = True
        if self.on_over is not None:
            self.on_over(self)
        return True

    def fingerprint(self, entity_id: str) -> bytes:
        """What two invocations have in common that would harm the same model in the same way."""
        return hashlib.blake2b(self.body, digest_size=16, key=entity_id.encode()[:64]).digest()
