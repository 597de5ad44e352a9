"""Messages between our own processes: ``u32 length | msgpack``, little-endian. Pure.

Used where a message is rare (control, supervisor); invocations go in frames (`frame.py`).
"""

from __future__ import annotations

import struct
from typing import Any, Generic, TypeVar

import msgspec

from tallystick.errors import TallystickError

#: A route table of 1,000 endpoints is about 2 MB.
MAX_MESSAGE_BYTES = 256 * 1024 * 1024

_LENGTH = struct.Struct("<I")
_encoder = msgspec.msgpack.Encoder()
M = TypeVar("M")


class BrokenMessage(TallystickError):
    """The stream does not hold messages of ours."""


def render_message(message: Any) -> bytes:
    """Return the bytes of one message."""
    data = _encoder.encode(message)
    return _LENGTH.pack(len(data)) + data


class MessageReader(Generic[M]):
    """Cuts a stream into messages of one union of tagged structs."""

    def __init__(self, kind: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(kind)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[M]:
        """Add `data`; return the messages that are now complete. Raises BrokenMessage."""
        self._buffer += data
        messages: list[M] = []
        while len(self._buffer) >= 4:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_MESSAGE_BYTES:
                raise BrokenMessage(f"a message of {length} bytes is not one of ours")
            if len(self._buffer) < 4 + length:
                break
            try:
                messages.append(self._decoder.decode(self._buffer[4 : 4 + length]))
            except msgspec.MsgspecError as error:
                raise BrokenMessage(str(error)) from error
            del self._buffer[: 4 + length]
        return messages
