"""The reading end of a journal: streams in order, while they are written and after their writers are gone.

A reader never changes a segment. It is told what is safe elsewhere (`forget`), and then takes whole segments away.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tallystick.journal.format import (
    HEADER_BYTES,
    BrokenJournal,
    Context,
    Invocation,
    Record,
    read_records,
    read_stream_id,
)
from tallystick.journal.writer import LOCK_NAME

#: Read at a time; more only for a record that is larger.
_CHUNK_BYTES = 1 << 20
#: An empty stream is left alone for so long: its writer may be about to begin.
_YOUNG_S = 60.0
#: Folder, beside the streams, for segments that hold damage.
DAMAGED = "damaged"

_log = logging.getLogger("tallystick.journal")


class Entry(NamedTuple):
    """One record of a stream, with the context that it names, if it names one."""

    sequence: int
    record: Record
    context: Context | None


@dataclass
class _Segment:
    number: int
    path: Path
    offset: int = 0
    last_sequence: int = 0
    #: Nothing more will be read from it.
    is_done: bool = False
    is_damaged: bool = False
    contexts: dict[int, Context] = field(default_factory=dict)


class StreamReader:
    """Reads one stream. Not for use by two threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stream_id = folder.name.rpartition("-")[2]
        self._segments: dict[int, _Segment] = {}
        #: Highest sequence that was returned; lower ones that come later are repetitions.
        self.last_sequence = 0
        #: Whether the last `read` stopped for its limit.
        self.is_behind = False
        #: Why the last `read` got no further; empty when it did.
        self.problem = ""
        #: Bytes that were cut off or set aside, since this reader was made.
        self.torn_bytes = self.damaged_bytes = 0
        #: Records whose context is not there.
        self.orphaned_records = 0

    def read(self, max_bytes: int) -> list[Entry]:
        """Return the next records, from about `max_bytes` of journal; [] when there is nothing new.

        A segment that the disk does not give stops this stream and is tried again; `problem` says so meanwhile.
        """
        entries: list[Entry] = []
        # In this order: who made a segment that was seen held the lock by then, so a lock that is free says that its
        # writer is gone. And before the segments are read: what is written later belongs to a later call.
        self._look()
        is_over = not self.is_written()
        numbers = sorted(self._segments)
        for number in numbers:
            segment = self._segments[number]
            if segment.is_done:
                continue
            is_closed = is_over or number != numbers[-1]
            try:
                max_bytes -= self._read_segment(segment, is_closed, max_bytes, entries)
                self.problem = ""
            except OSError as error:
                if not self.problem:
                    _log.error("%s cannot be read: %s", segment.path, error.strerror)
                self.problem = f"a segment of the journal cannot be read: {error.strerror}"
                break
            if max_bytes <= 0 or not segment.is_done:
                break
        self.is_behind = max_bytes <= 0
        return entries

    def rewind(self) -> None:
        """Start again with the oldest record that is still on disk."""
        self._segments.clear()
        self.last_sequence = 0

    def forget(self, before: int) -> None:
        """Take away segments whose records all have sequences below `before` and were all read."""
        for number in sorted(self._segments):
            segment = self._segments[number]
            if not segment.is_done or segment.last_sequence >= before:
                return
            try:
                if segment.is_damaged:
                    keep = self.folder.parent / DAMAGED
                    keep.mkdir(mode=0o700, exist_ok=True)
                    segment.path.rename(keep / f"{self.folder.name}-{segment.path.name}")
                else:
                    segment.path.unlink(missing_ok=True)
            except OSError as error:
                _log.warning("a segment of the journal cannot be taken away: %s", error.strerror)
                return
            del self._segments[number]

    def remove_if_over(self) -> bool:
        """Remove the stream when its writer is gone and nothing is left in it. Returns whether it is gone."""
        try:
            self._look()
            if self._segments or self.is_written() or time.time() - self.folder.stat().st_mtime < _YOUNG_S:
                return False
            (self.folder / LOCK_NAME).unlink(missing_ok=True)
            self.folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def is_written(self) -> bool:
        """Whether the process that writes this stream lives."""
        try:
            descriptor = os.open(self.folder / LOCK_NAME, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def size(self) -> tuple[int, int]:
        """Return (bytes on disk, bytes of them that were not read yet)."""
        total = unread = 0
        with contextlib.suppress(OSError):
            self._look()
            for segment in self._segments.values():
                with contextlib.suppress(FileNotFoundError):
                    size = segment.path.stat().st_size
                    total += size
                    unread += 0 if segment.is_done else max(0, size - segment.offset)
        return total, unread

    def _look(self) -> None:
        """Take notice of new segments."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as found:
            for entry in found:
                stem, _, kind = entry.name.partition(".")
                if kind == "journal" and stem.isdigit() and int(stem) not in self._segments:
                    self._segments[int(stem)] = _Segment(int(stem), Path(entry.path))

    def _read_segment(self, segment: _Segment, is_closed: bool, max_bytes: int, entries: list[Entry]) -> int:
        """Add what the segment holds to `entries`; return how many bytes that was."""
        read = 0
        try:
            descriptor = os.open(segment.path, os.O_RDONLY)
        except FileNotFoundError:
            segment.is_done = True
            return 0
        try:
            status = os.fstat(descriptor)
            size = status.st_size
            # Its writer has left it, though no later segment may be there: on a full disk none can be begun.
            is_closed = is_closed or not status.st_mode & stat.S_IWUSR
            if not segment.offset and not self._read_header(descriptor, segment, size, is_closed):
                return 0
            wanted = _CHUNK_BYTES
            while read < max_bytes and segment.offset < size:
                data = os.pread(descriptor, wanted, segment.offset)
                piece = read_records(data)
                self._take(segment, piece.records, entries)
                segment.offset += piece.end
                read += piece.end
                if piece.is_damaged:
                    if is_closed:
                        self._set_aside(segment, size)
                    return read
                if piece.end:
                    wanted = _CHUNK_BYTES
                elif len(data) < wanted:
                    break
                else:
                    wanted *= 2
            if is_closed and read < max_bytes:
                if segment.offset < size:
                    self._cut(segment, size)
                segment.is_done = True
        finally:
            os.close(descriptor)
        return read

    def _read_header(self, descriptor: int, segment: _Segment, size: int, is_closed: bool) -> bool:
        header = os.pread(descriptor, HEADER_BYTES, 0)
        if len(header) < HEADER_BYTES:
            if is_closed:
                self._cut(segment, size)
                segment.is_done = True
            return False
        try:
            is_ours = read_stream_id(header) == self.stream_id
        except BrokenJournal:
            is_ours = False
        if not is_ours:
            self._set_aside(segment, size)
            return False
        segment.offset = HEADER_BYTES
        return True

    def _take(self, segment: _Segment, records: list[tuple[int, Record | Context]], entries: list[Entry]) -> None:
        contexts, last = segment.contexts, self.last_sequence
        for sequence, record in records:
            if isinstance(record, Context):
                contexts[record.number] = record
                continue
            if sequence > segment.last_sequence:
                segment.last_sequence = sequence
            if sequence <= last:
                continue
            last = sequence
            context = None
            if isinstance(record, Invocation):
                context = contexts.get(record.context)
                if context is None:
                    self.orphaned_records += 1
                    _log.error("a record of the journal names a context that is not there; it is left out")
                    continue
            entries.append(Entry(sequence, record, context))
        self.last_sequence = last

    def _cut(self, segment: _Segment, size: int) -> None:
        lost = size - segment.offset
        self.torn_bytes += lost
        if lost:
            _log.warning("%s ends in the middle of a record (%d bytes); it was never acknowledged", segment.path, lost)

    def _set_aside(self, segment: _Segment, size: int) -> None:
        """Leave what follows damage unread. Zeros to the end are what a power cut leaves of a write."""
        segment.is_done = True
        if _is_zero(segment.path, segment.offset, size):
            self._cut(segment, size)
            return
        segment.is_damaged = True
        self.damaged_bytes += size - segment.offset
        _log.error(
            "%s is damaged at byte %d; the %d bytes from there on are set aside unread in %s",
            segment.path,
            segment.offset,
            size - segment.offset,
            self.folder.parent / DAMAGED,
        )


def _is_zero(path: Path, start: int, end: int) -> bool:
    with path.open("rb") as file:
        file.seek(start)
        while start < end:
            data = file.read(min(_CHUNK_BYTES, end - start))
            if not data or data.strip(b"\0"):
                return not data
            start += len(data)
    return True


def find_streams(folder: Path) -> Iterator[Path]:
    """Yield the folders of all streams below a journal's folder."""
    with contextlib.suppress(FileNotFoundError):
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and entry.name != DAMAGED and "-" in entry.name:
                yield entry
