"""Start of the recorder: ``python -m tallystick.records SETTINGS.json``."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import msgspec
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from tallystick.control_line import ControlLine
from tallystick.errors import TallystickError
from tallystick.journal.format import Access, Context, Invocation
from tallystick.journal.reader import Entry
from tallystick.lifeline import Lifeline, die_with_parent
from tallystick.protocol.routes import Flush, Flushed, Recorded
from tallystick.records.access_log import AccessLog, Line, access_line
from tallystick.records.beat import Beat
from tallystick.records.delta import DeltaWriter
from tallystick.records.recorder import FeedbackLines, Recorder
from tallystick.records.redact import Redaction, compile_redaction, load_hash_key
from tallystick.records.tracing import Traces, open_traces
from tallystick.records.upkeep import MEMORY_FILE, Upkeep
from tallystick.settings import Settings, read_settings

#: Pause when there is nothing to read; what is read then is what came meanwhile.
_PAUSE_S = 0.1
_STATUS_EVERY_S = 1.0
#: A flush reads on for so long; further behind, it is not to be had.
_FLUSH_S = 5.0
#: A stop moves what is left in the journal for so long; the rest waits for the next start.
_DRAIN_S = 8.0

#: A tenth of the processor when all want it: several times what recording takes.
_NICE = 10

_log = logging.getLogger("tallystick.records")


class RecorderLine(ControlLine[Recorded | Flushed, Flush]):
    """The line to control: says how far the recorder is, hears who wants what was just written."""

    def __init__(self, path: Path, hello: Recorded) -> None:
        super().__init__(path, hello, Flush)
        self.flushes: queue.SimpleQueue[int] = queue.SimpleQueue()

    def heard(self, message: Flush) -> None:
        """Keep the number of who waits."""
        self.flushes.put(message.number)
        self.woken.set()


class RequestLog:
    """Leaves a line in the access log, and a span where traces are made, for every request."""

    def __init__(self, log: AccessLog | None, traces: Traces | None) -> None:
        self._log, self._traces = log, traces

    def see(self, stream_id: str, entries: list[Entry]) -> None:
        """Take what was read from one stream, in order."""
        if self._log is not None:
            lines: list[tuple[int, Line]] = [
                (sequence, access_line(record, context))
                for sequence, record, context in entries
                if isinstance(record, Invocation | Access)
            ]
            if lines:
                self._log.write(stream_id, lines)
        if self._traces is not None:
            for _, record, context in entries:
                if isinstance(record, Invocation) and context is not None:
                    self._traces.add(record, context)


class Redactions:
    """How the rows of each context are redacted; worked out once for each."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._known: dict[tuple[tuple[str, ...], tuple[str, ...]], Redaction | None] = {}

    def __call__(self, context: Context) -> Redaction | None:
        """Return how to redact, or None for what stays as it is."""
        if not context.drop and not context.hash:
            return None
        wish = (context.drop, context.hash)
        if wish not in self._known:
            self._known[wish] = self._compile(context)
        return self._known[wish]

    def _compile(self, context: Context) -> Redaction:
        if not context.hash:
            return compile_redaction(context.drop, (), b"")
        try:
            return compile_redaction(context.drop, context.hash, load_hash_key(self._data_dir))
        except (TallystickError, OSError) as error:
            _log.error(
                "what %s should hash is dropped until the recorder starts anew: %s", context.endpoint_name, error
            )
            return compile_redaction((*context.drop, *context.hash), (), b"")


class FeedbackCounts:
    """How many lines of feedback found their invocation, by endpoint, since the recorder started."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.by_endpoint: dict[str, Counter[str]] = {}

    def count(self, lines: FeedbackLines) -> None:
        """Look lines up in their tables. What cannot be read now is not counted."""
        # 20 MB of libraries that most recorders never need.
        from tallystick.records.matching import count_outcomes

        try:
            payload = None
            # Feedback of an endpoint that never recorded anything is unknown, not an error.
            with contextlib.suppress(TableNotFoundError):
                payload = DeltaTable(f"{self._root}/{lines.payload_table}").to_pyarrow_dataset()
            before = None
            if lines.version_before >= 0:
                before = DeltaTable(f"{self._root}/{lines.feedback_table}", version=lines.version_before)
            outcomes = count_outcomes(lines.rows, payload, before.to_pyarrow_dataset() if before else None)
        except (DeltaError, OSError, pa.ArrowException) as error:
            _log.warning("feedback of %s could not be looked up: %s", lines.endpoint_name, type(error).__name__)
            return
        counts = self.by_endpoint.setdefault(lines.endpoint_name, Counter())
        counts.update(matched=outcomes.matched, unknown=outcomes.unknown, duplicate=outcomes.duplicate)


def run(settings: Settings, lifeline: Lifeline) -> None:
    """Record until SIGTERM, then move what is left."""
    stop = threading.Event()
    line: RecorderLine | None = None

    def on_signal(*_: object) -> None:
        stop.set()
        if line is not None:
            line.woken.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    # Killed like this nothing is lost: the journal has what no table has.
    threading.Thread(target=lifeline.end_with_supervisor, daemon=True, name="lifeline").start()
    settings.journal_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _take_lock(settings.journal_dir)
    feedback = FeedbackCounts(settings.tables_root)
    logs = settings.data_dir / "logs"
    traces = open_traces(settings.otlp_endpoint)
    requests = RequestLog(AccessLog(logs / "access.jsonl") if settings.access_log else None, traces)
    upkeep = Upkeep(settings.tables_root, settings.data_dir / MEMORY_FILE)
    recorder = Recorder(
        settings.journal_dir,
        lambda table, schema, partition: DeltaWriter(f"{settings.tables_root}/{table}", schema, partition),
        Redactions(settings.data_dir),
        (requests,),
        on_feedback=feedback.count,
        on_commit=upkeep.note_commit,
    )
    pid = os.getpid()
    line = RecorderLine(settings.run_dir / "link.sock", recorder.status(pid))
    line.start()
    # What is there now stays; full collections then look at rows only.
    gc.collect()
    gc.freeze()
    # Rows come and go by the thousand and hold no cycles.
    gc.set_threshold(100_000, 20, 50)
    beat = Beat()
    lifeline.report("ready")
    next_status = 0.0
    while not stop.is_set():
        _turn(recorder, line, beat)
        upkeep.tick()
        now = time.monotonic()
        if now >= next_status:
            next_status = now + _STATUS_EVERY_S
            upkeep.learn(settings.data_dir)
            counts = {endpoint: dict(found) for endpoint, found in feedback.by_endpoint.items()}
            line.send(msgspec.structs.replace(recorder.status(pid), feedback=counts))
    recorder.drain(time.monotonic() + _DRAIN_S)
    if traces is not None:
        traces.close()
    os.close(lock)


def _turn(recorder: Recorder, line: RecorderLine, beat: Beat) -> None:
    """Read and write once; answer those who wait for it; rest when there is nothing to do."""
    line.woken.clear()
    flushes = []
    with contextlib.suppress(queue.Empty):
        while True:
            flushes.append(line.flushes.get_nowait())
    with beat.during():
        is_behind = recorder.step(flush=bool(flushes))
    until = time.monotonic() + _FLUSH_S
    while flushes and is_behind and time.monotonic() < until:
        is_behind = recorder.step(flush=True)
    problem = "The recorder is too far behind; it goes on." if is_behind else ""
    for number in flushes:
        line.send(Flushed(number, problem, recorder.problems))
    if not is_behind:
        line.woken.wait(_PAUSE_S)


class _WithoutPandas:
    """Arrow imports pandas when it is there, at the first list that it converts: 40 MB that nothing here uses."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Raise ModuleNotFoundError for pandas; leave all others to those who find them."""
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")


def _take_lock(folder: Path) -> int:
    """Keep a second recorder away: it would write the same rows. Waits for one that is ending."""
    descriptor = os.open(folder / "recorder.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def main(arguments: list[str]) -> None:
    """Run the recorder."""
    die_with_parent()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    sys.meta_path.insert(0, _WithoutPandas)
    # Commits are small: more threads would take the processors from invocations.
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    lifeline = Lifeline()
    try:
        run(read_settings(arguments[0]), lifeline)
    except TallystickError as error:
        lifeline.report("failed", error.message)
        sys.exit(3)


if __name__ == "__main__":
    main(sys.argv[1:])
