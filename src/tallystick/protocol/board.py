"""The board: which invocations a worker is running *now*, readable after it died or while it hangs.

A worker writes the numbers of the invocations that it hands to its model into a small shared file, and clears
them after. That costs a memory write, no system call; and unlike a message it can still be read when the
process holds the interpreter lock for ever, or was killed. So a gateway knows which invocations to blame for a
death, and which ones merely waited behind it and may go to another worker at once.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable
from pathlib import Path

#: One line per predict thread; a line names the invocations of one call of the model.
LINES = 64
PER_LINE = 64
_LINE = struct.Struct(f"<{PER_LINE}Q")
_SIZE = LINES * _LINE.size


class Board:
    """A worker's side of the board. `lines` calls of the model may run at a time."""

    def __init__(self, path: str | Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, 0)
            os.ftruncate(descriptor, _SIZE)
            self._map = mmap.mmap(descriptor, _SIZE)
        finally:
            os.close(descriptor)

    def write(self, line: int, invocations: Iterable[int]) -> None:
        """Name the invocations that the model is about to be called for, at most `PER_LINE`."""
        numbers = tuple(invocations)[:PER_LINE]
        struct.pack_into(f"<{len(numbers)}Q", self._map, line * _LINE.size, *numbers)
        if len(numbers) < PER_LINE:
            struct.pack_into("<Q", self._map, line * _LINE.size + 8 * len(numbers), 0)

    def clear(self, line: int) -> None:
        """Name none: the call is over."""
        struct.pack_into("<Q", self._map, line * _LINE.size, 0)


def read_board(path: str | Path) -> frozenset[int]:
    """Return the invocations that a worker is running, or was running when it died; empty without a board."""
    try:
        data = Path(path).read_bytes()
    except OSError:
        # Not there, or no descriptor left to look with: then nobody is blamed.
        return frozenset()
    found: set[int] = set()
    for start in range(0, len(data) - _LINE.size + 1, _LINE.size):
        for number in _LINE.unpack_from(data, start):
            if not number:
                break
            found.add(number)
    return frozenset(found)
