"""Frames between gateway and worker, and how a stream is cut back into them.

A frame is ``u32 length | u64 invocation | u8 kind | u32 meta length | meta | body``; all integers little-endian,
`length` counts what follows it. `meta` is msgpack, `body` is bytes as they came from or go to the caller. Pure.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable
from enum import IntEnum

import msgspec

from tallystick.errors import TallystickError

#: Larger than any body a server may be told to accept, small enough to refuse a stream that is not ours.
MAX_FRAME_BYTES = 1 << 30

_HEAD = struct.Struct("<IQBI")
_COUNTED = _HEAD.size - 4


class Kind(IntEnum):
    """What a frame means."""

    HELLO = 0  # worker -> gateway, once per connection
    INVOKE = 1  # gateway -> worker
    CANCEL = 2  # gateway -> worker: nobody waits for this one any more
    ANSWER = 3  # worker -> gateway, ends the invocation
    CHUNK = 4  # worker -> gateway: part of a streamed answer; an ANSWER follows


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """What a gateway needs to know of the worker that it has reached."""

    pid: int
    #: Frames that this worker wants in its hands at a time, over all gateways.
    window: int
    can_batch: bool
    model_version: str = ""


#: What may be asked of one replica: what becomes of golden rows, or only which files it has.
GOLDEN, IDENTITY = "golden", "identity"


class Invoke(msgspec.Struct, frozen=True, array_like=True):
    """How to treat the body that follows."""

    content_type: str
    accept: str
    #: Seconds left until the caller is told that it took too long.
    time_left_s: float
    strict: bool
    request_id: str
    #: Answer this one in a call of its own: an earlier attempt ended with its worker.
    alone: bool = False
    #: `golden`: the body is golden rows; answer with what becomes of them, rung by rung. `identity`: with the digest.
    trace: str = ""


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How to answer, with the body that follows."""

    status: int
    content_type: str
    #: Rows in the request; -1 where it did not come that far.
    rows: int = -1
    #: Times the model was called with others' rows in the same call are joined batches; 1 means alone.
    batch_requests: int = 1
    queue_ms: float = 0.0
    model_ms: float = 0.0
    #: Column -> kind -> count of values that were changed to fit the signature.
    coercions: dict[str, dict[str, int]] = {}
    #: Top-level keys and columns of the request that nothing reads.
    ignored: tuple[str, ...] = ()
    #: What the body said of itself.
    client_request_id: str | None = None
    usage_context: dict[str, str] | None = None


#: Longer ones are cut: they are names, and whoever holds them holds many.
MAX_CLIENT_REQUEST_ID, MAX_USAGE_CONTEXT = 256, 4096
#: Ignored keys that an answer names, and characters of each.
MAX_IGNORED = 100


def short_identity(
    client_request_id: str | None, usage_context: dict[str, str] | None
) -> tuple[str | None, dict[str, str] | None]:
    """Return what a body says of itself, cut to what may be kept: 256 characters; a context of 4,096, or none."""
    if client_request_id is not None:
        client_request_id = client_request_id[:MAX_CLIENT_REQUEST_ID]
    if usage_context is not None and sum(len(k) + len(v) for k, v in usage_context.items()) > MAX_USAGE_CONTEXT:
        usage_context = None
    return client_request_id, usage_context


def short_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the first hundred names, each cut to a hundred characters.

    >>> short_names(["x" * 200])[0] == "x" * 100
    True
    """
    return tuple(name[:MAX_IGNORED] for name in itertools.islice(names, MAX_IGNORED))


class BrokenFrame(TallystickError):
    """The stream does not hold frames of ours. The connection is of no further use."""


def render_frame(invocation: int, kind: Kind, meta: bytes = b"", body: bytes | memoryview = b"") -> bytes:
    """Return the bytes of one frame."""
    head = _HEAD.pack(_COUNTED + len(meta) + len(body), invocation, kind, len(meta))
    return b"".join((head, meta, body))


class FrameReader:
    """Cuts a stream into frames. Keeps at most one incomplete frame."""

    __slots__ = ("_buffer", "_wanted")

    def __init__(self) -> None:
        self._buffer = bytearray()
        #: Bytes that the buffer must hold before it is worth looking at again: a 16 MB body arrives in some
        #: hundred pieces, and looking at each would copy it as often.
        self._wanted = 0

    def feed(self, data: bytes) -> list[tuple[int, Kind, bytes, bytes]]:
        """Add `data`; return (invocation, kind, meta, body) of each frame that is now complete.

        Raises BrokenFrame when the stream cannot be ours.
        """
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._wanted:
                return []
            data = bytes(self._buffer)
            self._buffer.clear()
        frames = []
        start, end = 0, len(data)
        self._wanted = 0
        while end - start >= _HEAD.size:
            length, invocation, kind, meta_length = _HEAD.unpack_from(data, start)
            if not _COUNTED + meta_length <= length <= MAX_FRAME_BYTES or kind > Kind.CHUNK:
                raise BrokenFrame(f"not a frame: length {length}, kind {kind}, meta {meta_length}")
            stop = start + 4 + length
            if stop > end:
                self._wanted = stop - start
                break
            middle = start + _HEAD.size + meta_length
            frames.append((invocation, Kind(kind), data[start + _HEAD.size : middle], data[middle:stop]))
            start = stop
        if start < end:
            self._buffer += data[start:]
        return frames
