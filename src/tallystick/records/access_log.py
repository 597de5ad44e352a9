"""The access log: one JSON line for each request, written by the recorder from the journal.

It holds names, numbers and the client's word for itself; no token, no body and no piece of one. It is made after the
fact, so that a full disk or a slow one costs lines, which are counted, and never a request.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from tallystick.journal.format import Access, Context, Invocation
from tallystick.private_file import replace_private
from tallystick.records.tracing import parse_traceparent

_log = logging.getLogger("tallystick.records")

#: Characters of a `user-agent` that are kept.
_MAX_AGENT = 200
#: Streams whose position is remembered: one is a process's life, and the recorder reads the newest ones.
_MAX_STREAMS = 256
#: Where a torn line is looked for; several times the longest one.
_TAIL_BYTES = 64 * 1024
_WARN_EVERY_S = 60.0
#: msgspec leaves out a default that is this very object, not one that is equal.
_ZERO = 0.0
#: Positions go to a file of this suffix beside the log.
POSITIONS_SUFFIX = ".positions"


class InvocationLine(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One invocation. What is not known, or is zero where that says nothing, is left out."""

    #: When the request was complete: RFC 3339, UTC, milliseconds.
    time: str
    request_id: str
    endpoint: str
    status: int
    latency_ms: float
    served_entity: str = ""
    model_version: str = ""
    #: Waiting for its turn, in the gateway and in the worker.
    queue_ms: float = _ZERO
    model_ms: float = _ZERO
    rows: int = -1
    attempt: int = 0
    #: live | pinned | shadow
    arm: str = ""
    requester: str = ""
    user_agent: str = ""
    request_bytes: int = 0
    response_bytes: int = 0
    #: Of an answer that is an error; its text is left out, as it may repeat values.
    error_code: str = ""
    #: Values that were changed to fit the signature.
    coerced_values: int = 0
    trace_id: str = ""


class AccessLine(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One other request: of the control API, or refused before it found its endpoint."""

    time: str
    request_id: str
    method: str
    path: str
    status: int
    latency_ms: float
    requester: str = ""
    user_agent: str = ""


Line: TypeAlias = InvocationLine | AccessLine


def access_line(record: Invocation | Access, context: Context | None = None) -> Line:
    """Return the line for one record of the journal; an invocation needs its context. Pure.

    Who called and by which client are left out where the endpoint drops or hashes these columns.
    """
    if isinstance(record, Access):
        return AccessLine(
            _rfc3339(record.time_us),
            record.request_id,
            record.method,
            record.path,
            record.status,
            round(record.latency_ms, 3),
            record.requester,
            record.user_agent[:_MAX_AGENT],
        )
    assert context is not None
    status, answer, queue_ms = record.status, record.answer, record.waited_ms
    model_ms, rows, coerced = _ZERO, -1, 0
    if answer is not None:
        queue_ms += answer.queue_ms
        model_ms, rows = answer.model_ms, answer.rows
        if answer.coercions:
            coerced = sum(sum(kinds.values()) for kinds in answer.coercions.values())
    trace = parse_traceparent(record.traceparent) if record.traceparent else None
    line = InvocationLine(
        _rfc3339(record.time_us),
        record.request_id,
        context.endpoint_name,
        status,
        round(record.latency_ms, 3),
        context.served_entity_name,
        context.model_version,
        round(queue_ms, 3) or _ZERO,
        round(model_ms, 3) or _ZERO,
        rows,
        record.attempt,
        record.arm,
        record.requester,
        record.user_agent[:_MAX_AGENT],
        record.request_bytes,
        record.response_bytes,
        error_code(record.response) if status >= 400 and record.response is not None else "",
        coerced,
        trace.trace_id if trace is not None else "",
    )
    if context.drop or context.hash:
        hidden = _PERSONAL.intersection(context.drop + context.hash)
        if hidden:
            return msgspec.structs.replace(line, **dict.fromkeys(hidden, ""))
    return line


#: Columns of the inference table that are fields of a line too.
_PERSONAL = frozenset({"requester", "user_agent"})


def _rfc3339(time_us: int) -> str:
    seconds, micros = divmod(time_us, 1_000_000)
    return f"{_whole_second(seconds)}.{micros // 1000:03d}Z"


# Lines of one second come together; formatting a date would take most of a line's time.
@functools.lru_cache(maxsize=64)
def _whole_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class _ErrorBody(msgspec.Struct):
    error_code: str = ""


_error_decoder = msgspec.json.Decoder(_ErrorBody)
#: A code is a word of ours; anything else in its place could be a value.
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


def error_code(body: bytes) -> str:
    """Return the `error_code` of an error's body, and nothing else of it; empty when there is none.

    >>> error_code(b'{"error_code": "BAD_REQUEST", "message": "age: got 7"}')
    'BAD_REQUEST'
    """
    try:
        code = _error_decoder.decode(body).error_code
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""
    return code if _CODE.fullmatch(code) else ""


_encoder = msgspec.json.Encoder()


def render_lines(lines: Sequence[Line]) -> bytes:
    """Return the lines as bytes: whatever a field holds, one line each, and harmless to a terminal.

    JSON escapes the control characters of ASCII only. DEL, the C1 set, line and paragraph separators, marks that
    turn the direction of writing, and everything else that does not print are escaped here as well.
    """
    try:
        text = _encoder.encode_lines(lines)
    except UnicodeEncodeError:
        # Half of a surrogate pair: no UTF-8, but a legal escape.
        rendered = (json.dumps(msgspec.to_builtins(line), separators=(",", ":")) for line in lines)
        text = "".join(f"{line}\n" for line in rendered).encode("utf-8")
    if text.isascii() and b"\x7f" not in text:
        return text
    return b"".join(map(_printable, text.splitlines(keepends=True)))


def _printable(line: bytes) -> bytes:
    text = line.decode("utf-8").removesuffix("\n")
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "\\u007f" if c == "\x7f" else json.dumps(c)[1:-1] for c in text)
    return text.encode("utf-8") + b"\n"


class AccessLog:
    """A file of lines that is cut over by size, and remembers how far it has come in each stream of the journal.

    The file is opened for each write, so it may be moved or deleted at any time. Not for use by two processes.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = 64 << 20,
        keep: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._max_bytes, self._keep = max_bytes, keep
        self._clock = clock
        self._positions_file = path.with_name(path.name + POSITIONS_SUFFIX)
        self._positions = _read_positions(self._positions_file)
        #: Lines since this object was made.
        self.written_lines = self.dropped_lines = 0
        self._next_warning = clock()

    def write(self, stream_id: str, lines: Sequence[tuple[int, Line]]) -> None:
        """Append the lines of one stream whose sequences are new; `lines` are in order of them. Never raises OSError.

        Lines that the disk does not take are dropped and counted. The position is saved after the lines and not
        synced: a crash in between, which is rare, or a power cut can double lines.
        """
        last = self._positions.get(stream_id, 0)
        fresh = [line for sequence, line in lines if sequence > last]
        if not fresh:
            return
        try:
            self._append(render_lines(fresh))
            self.written_lines += len(fresh)
        except OSError as error:
            self.dropped_lines += len(fresh)
            self._warn(error)
        # The stream that was written last stands last, so the oldest ones are forgotten first.
        self._positions.pop(stream_id, None)
        self._positions[stream_id] = lines[-1][0]
        while len(self._positions) > _MAX_STREAMS:
            del self._positions[next(iter(self._positions))]
        # Without a position the lines are there all the same; a restart may double them.
        with contextlib.suppress(OSError):
            replace_private(self._positions_file, msgspec.json.encode(self._positions))

    def _append(self, text: bytes) -> None:
        descriptor = self._open()
        try:
            size = _cut_torn_line(descriptor)
            if size and size + len(text) > self._max_bytes:
                os.close(descriptor)
                descriptor = -1
                self._cut_over()
                descriptor = self._open()
                size = 0
            try:
                view = memoryview(text)
                while view:
                    view = view[os.write(descriptor, view) :]
            except OSError:
                # Part of a line would spoil the next one; the file has its old length again.
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _open(self) -> int:
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)
        return descriptor

    def _cut_over(self) -> None:
        for number in range(self._keep, 0, -1):
            younger = self._old(number - 1)
            with contextlib.suppress(FileNotFoundError):
                younger.replace(self._old(number))
        if not self._keep:
            self.path.unlink(missing_ok=True)

    def _old(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path

    def _warn(self, error: OSError) -> None:
        if self._clock() >= self._next_warning:
            self._next_warning = self._clock() + _WARN_EVERY_S
            _log.warning("the access log cannot be written: %s; %d lines lost", error.strerror, self.dropped_lines)


def _cut_torn_line(descriptor: int) -> int:
    """Cut off what a crash left of a line at the end of the file; return the size of the file."""
    size = os.fstat(descriptor).st_size
    if not size or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    start = max(0, size - _TAIL_BYTES)
    size = start + os.pread(descriptor, size - start, start).rfind(b"\n") + 1
    os.ftruncate(descriptor, size)
    return size


def _read_positions(path: Path) -> dict[str, int]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except (OSError, ValueError):
        # Absent or damaged: the worst that follows is lines that are there twice.
        return {}
