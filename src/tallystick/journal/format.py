"""The journal on disk: streams of segments, segments of frames, frames of records. Pure.

A *stream* is what one process appends in one life; its id is random, so nothing has to be remembered across lives.
A *segment* starts with a header and goes on with frames::

    header   8 bytes magic | 16 bytes stream id, ASCII
    frame    u32 length | u32 crc32 | u64 sequence | u8 kind | msgpack

Integers are little-endian; `length` counts kind and msgpack, the checksum covers sequence, kind and msgpack.
Sequences start at 1 and grow by one a record over the whole stream; a frame whose sequence was seen before is a
repetition (written again after a failed sync) and is skipped. A `Context` has sequence 0 and holds for its segment.

What follows the last whole frame of a segment whose writer is gone is a torn tail. What looks like a frame and fails
its checksum before that is damage: framing beyond it cannot be trusted, so the rest is set aside.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

import msgspec

from tallystick.errors import TallystickError
from tallystick.protocol.frame import Answer

MAGIC = b"TALLYJ\x00\x01"
STREAM_ID_BYTES = 16
HEADER_BYTES = len(MAGIC) + STREAM_ID_BYTES
#: Larger than any record (two bodies of the largest allowed size), small enough to know damage by.
MAX_RECORD_BYTES = 1 << 30

_HEAD = struct.Struct("<IIQB")
FRAME_OVERHEAD = _HEAD.size
_START, _CHECKED = struct.Struct("<II"), struct.Struct("<QB")


class Kind(IntEnum):
    """What a frame holds."""

    CONTEXT = 1
    INVOCATION = 2
    FEEDBACK = 3
    ENTITY = 4
    ACCESS = 5


class Context(msgspec.Struct, frozen=True, array_like=True):
    """What invocations of one served entity under one endpoint config have in common.

    Written once per segment, before the first invocation that names its `number`.
    """

    number: int
    endpoint_name: str
    endpoint_id: str
    served_entity_id: str
    served_entity_name: str
    model_name: str
    model_version: str
    config_version: int
    #: Name of the route of the traffic split.
    route: str
    #: Chance that a request which is not pinned comes here: the share of the route, 0 to 1.
    probability: float
    #: The inference table, relative to the root of all tables; empty when nothing is recorded.
    table: str
    sampling_fraction: float = 1.0
    #: Columns left out or hashed: of the table, or of the model's input as ``request.<column>``.
    drop: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()
    retention_days: int = 0


class Invocation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One invocation as the gateway saw it, when its answer was ready or its caller had left."""

    context: int
    request_id: str
    #: When the request was complete, microseconds since the epoch.
    time_us: int
    #: From then to the answer.
    latency_ms: float
    status: int
    #: live | pinned | shadow
    arm: str
    requester: str
    user_agent: str
    content_type: str
    response_content_type: str
    #: Workers that were given it: 0 when none was, 2 when the first one died.
    attempt: int
    request_bytes: int
    response_bytes: int
    #: The bodies; None when they are over the limit, or are not recorded.
    request: bytes | None
    response: bytes | None
    #: Whether it gets a row in the inference table (sampling); the access log has it in any case.
    is_captured: bool = True
    #: W3C trace context of the request, as it came.
    traceparent: str = ""
    #: Keyed hash of the sticky key.
    sticky_key_hash: str = ""
    #: What the worker said of it; None when no worker answered.
    answer: Answer | None = None
    #: Part of `latency_ms` that it waited in the gateway for a worker with room.
    waited_ms: float = 0.0


class Feedback(msgspec.Struct, frozen=True, array_like=True):
    """A label, an outcome or any named value for one row of an earlier invocation."""

    feedback_id: str
    endpoint_name: str
    #: Table of the endpoint's feedback, relative to the root of all tables.
    table: str
    time_us: int
    #: One of the two names the invocation: the id that the server gave, or the one that the client sent.
    request_id: str | None
    client_request_id: str | None
    #: Row of the request's input that this is about.
    row: int
    #: label | outcome | any other name
    name: str
    #: A number (true is 1), or a text that is none.
    value: float | None
    text: str | None
    requester: str
    #: The inference table that holds the invocation.
    payload_table: str = ""
    #: Days after which it is deleted; 0: never.
    retention_days: int = 0


class Entity(msgspec.Struct, frozen=True, array_like=True):
    """A served entity when it began to serve: what later readers need to decode its invocations."""

    served_entity_id: str
    endpoint_name: str
    endpoint_id: str
    served_entity_name: str
    model_name: str
    model_version: str
    config_version: int
    time_us: int
    #: `signature` of the MLmodel file as JSON; empty where the model has none.
    signature: str
    digest: str
    run_id: str
    creator: str
    flavors: tuple[str, ...] = ()


class Access(msgspec.Struct, frozen=True, array_like=True):
    """A request that is no recorded invocation: of the control API, or refused before it found its endpoint."""

    request_id: str
    time_us: int
    latency_ms: float
    method: str
    #: Without its query; at most 256 characters.
    path: str
    status: int
    requester: str
    user_agent: str


Record: TypeAlias = Invocation | Feedback | Entity | Access

_TYPES: dict[int, Any] = {
    Kind.CONTEXT: Context,
    Kind.INVOCATION: Invocation,
    Kind.FEEDBACK: Feedback,
    Kind.ENTITY: Entity,
    Kind.ACCESS: Access,
}
_KINDS = {kind: number for number, kind in _TYPES.items()}
_decoders = {number: msgspec.msgpack.Decoder(kind).decode for number, kind in _TYPES.items()}
_encode = msgspec.msgpack.Encoder().encode
_crc32 = zlib.crc32


class BrokenJournal(TallystickError):
    """A file is not a segment of ours."""


def render_header(stream_id: str) -> bytes:
    """Return the first bytes of a segment."""
    return MAGIC + stream_id.encode("ascii")


def render_record(sequence: int, record: Record | Context) -> bytes:
    """Return the frame of one record."""
    return render_payload(sequence, _KINDS[type(record)], _encode(record))


def render_payload(sequence: int, kind: int, payload: bytes) -> bytes:
    """Return the frame of a record that is encoded already."""
    checked = _CHECKED.pack(sequence, kind) + payload
    return _START.pack(len(payload) + 1, _crc32(checked)) + checked


@dataclass(frozen=True, slots=True)
class Piece:
    """What a stretch of a segment holds."""

    #: (sequence, record) in order; contexts have sequence 0.
    records: list[tuple[int, Record | Context]]
    #: Where the next frame starts.
    end: int
    #: Whether what is there fails its checksum, is no frame, or does not decode.
    is_damaged: bool


def read_records(data: bytes | memoryview, start: int = 0) -> Piece:
    """Return the whole frames in `data` from `start` on.

    Stops at the first incomplete frame, which may be one that is being written, and at the first that is damaged.
    Never raises.
    """
    records: list[tuple[int, Record | Context]] = []
    view, size = memoryview(data), len(data)
    while size - start >= FRAME_OVERHEAD:
        length, checksum, sequence, kind = _HEAD.unpack_from(view, start)
        if not 1 <= length <= MAX_RECORD_BYTES:
            return Piece(records, start, True)
        end = start + FRAME_OVERHEAD - 1 + length
        if end > size:
            break
        decode = _decoders.get(kind)
        if _crc32(view[start + _START.size : end]) != checksum or decode is None:
            return Piece(records, start, True)
        try:
            records.append((sequence, decode(view[start + FRAME_OVERHEAD : end])))
        except msgspec.MsgspecError:
            return Piece(records, start, True)
        start = end
    return Piece(records, start, False)


def read_stream_id(header: bytes) -> str:
    """Return the stream that a segment belongs to. Raises BrokenJournal when it does not start like one of ours."""
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
        raise BrokenJournal("not a segment of a journal, or one of a newer version")
    return header[len(MAGIC) : HEADER_BYTES].decode("ascii", errors="replace")


def segment_name(number: int) -> str:
    """Return the file name of a segment; names sort as the numbers do.

    >>> segment_name(12)
    '00000012.journal'
    """
    return f"{number:08d}.journal"
