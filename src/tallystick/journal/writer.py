"""The writing end of a journal: one process, one stream, one `write` for all that a turn of the event loop brings.

Nothing here fails its caller. A disk that is full, read-only or slow costs rows, which are counted by reason; whoever
must not go unrecorded asks for `on_done` and is told. All methods run on the event loop; only syncs run on a thread,
one at a time, and what was appended meanwhile shares the next one (group commit).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import secrets
import stat
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tallystick.journal.format import (
    Context,
    Invocation,
    Kind,
    Record,
    render_header,
    render_payload,
    render_record,
    segment_name,
)
from tallystick.protocol.routes import JournalView

SEGMENT_BYTES, SEGMENT_AGE_S = 32 << 20, 60.0
#: After a write that failed, rows are dropped for this long before the disk is tried again.
RETRY_S = 0.25
#: A write that took longer holds up every invocation of the process; then rows are dropped for `SLOW_PAUSE_S`.
SLOW_S, SLOW_PAUSE_S = 0.25, 5.0
#: What waits for a lazy flush is written at once beyond this.
_MAX_LAZY_BYTES = 4 << 20
#: How often the size of what the recorder has not taken away is looked at.
_LOOK_EVERY_S = 1.0
#: Contexts that each new segment repeats; beyond, they are numbered anew as they are used.
_MAX_CONTEXTS = 4096
LOCK_NAME = "lock"

#: Told whether the record is as safe as was asked for.
OnDone = Callable[[bool], None]

# macOS has no fdatasync.
_sync_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
_encode = msgspec.msgpack.Encoder().encode
_log = logging.getLogger("tallystick.journal")


@dataclass(slots=True)
class _Waiter:
    """A writer who waits to be told."""

    frame: bytes
    on_done: OnDone
    is_durable: bool
    #: Its frame was written once more after a sync that failed.
    is_second_try: bool = False


@dataclass
class _Segment:
    descriptor: int
    path: Path
    opened_at: float
    #: Bytes of whole frames.
    size: int = 0
    is_named_durably: bool = False
    #: Those who wait for a sync of what they wrote here.
    unsynced: list[_Waiter] = field(default_factory=list)


class Journal:
    """Appends records to a stream of its own below `folder`."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        max_bytes: int = 8 << 30,
        segment_bytes: int = SEGMENT_BYTES,
        segment_age_s: float = SEGMENT_AGE_S,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[int, bytes], int] = os.write,
        sync: Callable[[int], None] = _sync_data,
    ) -> None:
        self.stream_id = secrets.token_hex(8)
        self._folder = folder / f"{name}-{self.stream_id}"
        self._max_bytes, self._segment_bytes, self._segment_age_s = max_bytes, segment_bytes, segment_age_s
        self._clock, self._write, self._sync = clock, write, sync
        self._sequence = 0
        self._frames: list[bytes] = []
        self._frames_bytes = 0
        #: Records among the frames; contexts are none.
        self._records = 0
        self._waiting: list[_Waiter] = []
        self._is_flush_due = False
        self._numbers: dict[Context, int] = {}
        self._contexts: dict[int, bytes] = {}
        self._last_number = 0
        #: Grows when numbers of contexts that callers remember are no longer good.
        self.generation = 0
        self._segment: _Segment | None = None
        self._segment_number = 0
        #: Left behind with frames that a sync has yet to cover.
        self._old_segments: list[_Segment] = []
        self._is_syncing = False
        self._executor: ThreadPoolExecutor | None = None
        self._lock: int | None = None
        self._retry_at = self._slow_until = self._next_look = 0.0
        self._bytes = 0
        self.dropped: Counter[str] = Counter()
        self.sync_failures = 0
        self._problem = ""

    # -- what may be asked -----------------------------------------------------------------------------------

    @property
    def is_well(self) -> bool:
        """Whether a record that is appended now will be written, as far as one can know."""
        return not self._problem or self._clock() >= self._retry_at

    def view(self) -> JournalView:
        """Return how it stands."""
        return JournalView(self._bytes, dict(self.dropped), self.sync_failures, self._problem)

    def number_of(self, context: Context) -> int:
        """Return the number that invocations name `context` by, whose own number is not looked at.

        Good until `generation` grows.
        """
        number = self._numbers.get(context)
        if number is None:
            if len(self._numbers) >= _MAX_CONTEXTS:
                self.flush()
                self._numbers.clear()
                self._contexts.clear()
                self.generation += 1
            self._last_number = number = self._last_number + 1
            self._numbers[context] = number
            frame = render_record(0, msgspec.structs.replace(context, number=number))
            self._contexts[number] = frame
            self._frames.append(frame)
        return number

    def append(
        self, record: Record, *, on_done: OnDone | None = None, is_durable: bool = False, is_lazy: bool = False
    ) -> None:
        """Append a record; it is written before anything that this turn of the loop sends.

        With `on_done`, its writer waits and is told: when it is written, or with `is_durable` synced (True), or
        neither (False). Without, a failure is counted only. A lazy one may wait for `tick`.
        """
        if self._slow_until and on_done is None and self._clock() < self._slow_until:
            self.dropped["disk_slow"] += 1
            return
        self._sequence += 1
        kind = Kind.INVOCATION if type(record) is Invocation else None
        if kind is None:
            frame = render_record(self._sequence, record)
        else:
            frame = render_payload(self._sequence, kind, _encode(record))
        self._frames.append(frame)
        self._records += 1
        self._frames_bytes += len(frame)
        if on_done is not None:
            self._waiting.append(_Waiter(frame, on_done, is_durable))
        if self._is_flush_due or (is_lazy and self._frames_bytes < _MAX_LAZY_BYTES):
            return
        self._is_flush_due = True
        asyncio.get_running_loop().call_soon(self.flush)

    def before_sending(self) -> None:
        """Write what must be written before answers of this turn leave; what is lazy waits on."""
        if self._is_flush_due:
            self.flush()

    def flush(self) -> None:
        """Write what was appended. Never raises."""
        self._is_flush_due = False
        if not self._frames:
            return
        frames, self._frames, self._frames_bytes = self._frames, [], 0
        records, self._records = self._records, 0
        waiting, self._waiting = self._waiting, []
        reason = self._put(frames)
        if reason:
            self.dropped[reason] += records
            for waiter in waiting:
                waiter.on_done(False)
            return
        must_sync = False
        for waiter in waiting:
            if waiter.is_durable:
                assert self._segment is not None
                self._segment.unsynced.append(waiter)
                must_sync = True
            else:
                waiter.on_done(True)
        if must_sync:
            self._start_sync()

    def tick(self) -> None:
        """Write what is lazy, and see how much the recorder has left on disk. Called some times a second."""
        self.flush()
        now, segment = self._clock(), self._segment
        if segment is not None and now - segment.opened_at > self._segment_age_s:
            # A segment that nobody writes to any more can be taken away once it is read.
            self._leave_segment()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_EVERY_S
        try:
            with os.scandir(self._folder) as entries:
                self._bytes = sum(entry.stat().st_size for entry in entries)
        except OSError:
            self._bytes = 0

    async def close(self) -> None:
        """Write what is left, wait for syncs under way, and let go of the stream."""
        self.flush()
        while self._is_syncing:  # noqa: ASYNC110  at the end of a process; syncs take milliseconds
            await asyncio.sleep(0.005)
        if self._segment is not None:
            with contextlib.suppress(OSError):
                os.close(self._segment.descriptor)
            self._segment = None
        if self._executor is not None:
            self._executor.shutdown(wait=False)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- writing ---------------------------------------------------------------------------------------------

    def _put(self, frames: list[bytes]) -> str:
        """Write frames; return why not, or ''."""
        now = self._clock()
        if self._problem and now < self._retry_at:
            return self._problem
        if self._bytes > self._max_bytes:
            self._fail("journal_full", now)
            return "journal_full"
        try:
            segment = self._segment
            if segment is None or segment.size >= self._segment_bytes:
                segment = self._open_segment(now)
            self._write_all(segment, b"".join(frames) if len(frames) > 1 else frames[0])
        except OSError as error:
            self._fail(_reason(error), now)
            return self._problem
        if self._problem:
            _log.warning("the journal is written again")
            self._problem = ""
        took_s = self._clock() - now
        if took_s > SLOW_S:
            _log.warning("a write to the journal took %.1f s; rows are dropped for %g s", took_s, SLOW_PAUSE_S)
            self._slow_until = now + took_s + SLOW_PAUSE_S
        return ""

    def _write_all(self, segment: _Segment, data: bytes) -> None:
        done = 0
        try:
            while done < len(data):
                # A disk that fills up takes a part, and refuses the rest with a reason.
                done += self._write(segment.descriptor, data[done:] if done else data)
        except OSError:
            try:
                # Nothing of these records stays: they are counted as dropped. The writer's place moves back with it.
                os.ftruncate(segment.descriptor, segment.size)
            except OSError:
                self._leave_segment()
            raise
        segment.size += done
        self._bytes += done

    def _open_segment(self, now: float) -> _Segment:
        """Begin a segment: header, and the contexts that are in use."""
        self._leave_segment()
        if self._lock is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
            # Held for as long as this process lives: who can take it knows that nothing more is coming. Readers try
            # for a moment only, so this does not wait.
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._lock = lock
        self._segment_number += 1
        path = self._folder / segment_name(self._segment_number)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        segment = _Segment(descriptor, path, now)
        try:
            self._write_all(segment, b"".join((render_header(self.stream_id), *self._contexts.values())))
        except OSError:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        self._segment = segment
        return segment

    def _leave_segment(self) -> None:
        segment, self._segment = self._segment, None
        if segment is None:
            return
        # A mark that needs no room: the reader need not wait for a later segment before it takes this one away.
        with contextlib.suppress(OSError):
            os.fchmod(segment.descriptor, stat.S_IRUSR)
        if segment.unsynced or self._is_syncing:
            self._old_segments.append(segment)
            return
        with contextlib.suppress(OSError):
            os.close(segment.descriptor)

    def _fail(self, reason: str, now: float) -> None:
        if self._problem != reason:
            _log.error("the journal cannot be written: %s; invocations go on, rows are dropped and counted", reason)
        self._problem, self._retry_at = reason, now + RETRY_S
        # Contexts may be among what was not written; the next segment begins with all of them.
        self._leave_segment()

    # -- syncing ---------------------------------------------------------------------------------------------

    def _start_sync(self) -> None:
        if self._is_syncing:
            return
        segments = [*self._old_segments, *([self._segment] if self._segment is not None else [])]
        segments = [segment for segment in segments if segment.unsynced]
        waiters: list[_Waiter] = []
        for segment in segments:
            waiters += segment.unsynced
            segment.unsynced = []
        self._is_syncing = True
        self._executor = self._executor or ThreadPoolExecutor(1, "journal-sync")
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._sync_segments, segments)
        future.add_done_callback(lambda done: self._synced(waiters, done.result()))

    def _sync_segments(self, segments: list[_Segment]) -> bool:
        """On the thread: make segments, and once their names, safe. Returns whether that worked."""
        try:
            for segment in segments:
                self._sync(segment.descriptor)
                if not segment.is_named_durably:
                    _sync_folder(self._folder)
                    _sync_folder(self._folder.parent)
                    segment.is_named_durably = True
        except OSError:
            return False
        return True

    def _synced(self, waiters: list[_Waiter], is_safe: bool) -> None:
        self._is_syncing = False
        if not is_safe:
            self.sync_failures += 1
            _log.error("a sync of the journal failed; a new segment is begun")
            waiters = self._write_again(waiters)
        for waiter in waiters:
            waiter.on_done(is_safe)
        for segment in self._old_segments:
            if not segment.unsynced:
                with contextlib.suppress(OSError):
                    os.close(segment.descriptor)
        self._old_segments = [segment for segment in self._old_segments if segment.unsynced]
        if self._old_segments or (self._segment is not None and self._segment.unsynced):
            self._start_sync()

    def _write_again(self, waiters: list[_Waiter]) -> list[_Waiter]:
        """Write what a sync did not make safe to a new segment, once; return those for whom that was the last try.

        After a failed sync the kernel may have dropped the pages, and a second sync of the same file would lie
        (the fsync errors of PostgreSQL in 2018). Its sequences tell the recorder that it is the same.
        """
        # Those who wrote meanwhile are in the same file.
        if self._segment is not None:
            waiters = waiters + self._segment.unsynced
            self._segment.unsynced = []
        self._leave_segment()
        lost = [waiter for waiter in waiters if waiter.is_second_try]
        again = [waiter for waiter in waiters if not waiter.is_second_try]
        if again and self._put([waiter.frame for waiter in again]):
            return waiters
        for waiter in again:
            assert self._segment is not None
            waiter.is_second_try = True
            self._segment.unsynced.append(waiter)
        if lost:
            self._fail("io_error", self._clock())
        return lost


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "read_only"
    return "io_error"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
