"""The recorder: journals in, tables out, each record exactly once.

It remembers nothing of its own. How far a stream is in a table is in the table, written in the same commit as the rows;
what is not yet safe in its table is still in the journal. So it may die anywhere and begins again at the oldest segment
that is left. Memory is bounded however far behind it is: it reads as much as it may hold, commits, and reads on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import msgspec
import pyarrow as pa

from tallystick.journal.format import Access, Context, Entity, Feedback, Invocation, Record
from tallystick.journal.reader import Entry, StreamReader, find_streams
from tallystick.protocol.routes import Recorded, TableStatus
from tallystick.records.delta import TableProblem
from tallystick.records.rows import Redactions, entity_rows, feedback_rows, invocation_rows
from tallystick.records.schema import ENTITY_SCHEMA, ENTITY_TABLE, FEEDBACK_SCHEMA, INFERENCE_SCHEMA
from tallystick.records.sink import RETRY_FIRST_S, RETRY_LAST_S, Sink, Waiting, Writer

#: Rows and bytes of bodies that one commit holds at most; two such commits are in memory at a time.
COMMIT_ROWS, COMMIT_BYTES = 20_000, 6 << 20
#: Rows wait at most this long for others, unless commits of many tables take too much of the time.
COMMIT_AFTER_S = 2.0
#: Commits may take this share of the time before they wait longer for more rows, up to the last figure.
_COMMIT_SHARE, _COMMIT_AFTER_MAX_S = 0.2, 60.0
#: Journal that is read between two looks at what is to be committed.
_READ_BYTES = 2 << 20
#: Pieces of feedback that wait to be looked up, while their inference table has a problem or much is left to read.
_MAX_UNCOUNTED = 64
#: Records that are added between two looks at whether a commit is due.
_ADD_RECORDS = 256

_log = logging.getLogger("tallystick.records")


class Observer(Protocol):
    """Sees every record once or, after a crash, again."""

    def see(self, stream_id: str, entries: list[Entry]) -> None:
        """Take what was read from one stream, in order. Must not raise."""


@dataclass(frozen=True, slots=True)
class FeedbackLines:
    """Lines of feedback that are in their table now."""

    endpoint_name: str
    payload_table: str
    feedback_table: str
    #: Version of the feedback table before them.
    version_before: int
    rows: pa.Table


OnFeedback = Callable[[FeedbackLines], None]
#: (table, partition column, retention in days)
OnCommit = Callable[[str, str | None, int], None]
#: (table, schema, partition column) -> its writer
OpenTable = Callable[[str, pa.Schema, str | None], Writer]


class Recorder:
    """Moves records of all streams below one folder into tables. One process, one thread."""

    def __init__(
        self,
        journal_dir: Path,
        open_table: OpenTable,
        redactions: Redactions,
        observers: tuple[Observer, ...] = (),
        *,
        on_feedback: OnFeedback = lambda lines: None,
        on_commit: OnCommit = lambda table, partition, retention_days: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._journal_dir = journal_dir
        self._open_table, self._redactions, self._observers = open_table, redactions, observers
        self._on_feedback, self._on_commit = on_feedback, on_commit
        self._clock, self._wall = clock, wall
        self._streams: dict[str, StreamReader] = {}
        self._sinks: dict[str, Sink] = {}
        self._torn_bytes = self._damaged_bytes = 0
        self._last_read_us = 0
        self._left_out = 0
        #: Feedback that is looked up once the invocations that came before it are in their tables.
        self._uncounted: list[FeedbackLines] = []

    # -- one turn --------------------------------------------------------------------------------------------

    def step(self, *, flush: bool = False) -> bool:
        """Read a piece of the journal and commit what is due; with `flush`, all of it, once nothing is left to read.

        Returns whether there is more to read at once. Blocks for as long as commits take.
        """
        self._find_streams()
        is_behind = False
        for reader in list(self._streams.values()):
            entries = reader.read(_READ_BYTES)
            is_behind = is_behind or (reader.is_behind and not reader.problem)
            if entries:
                self._take(reader.stream_id, entries)
                for observer in self._observers:
                    observer.see(reader.stream_id, entries)
            self._commit_due(False)
        self._commit_due(flush and not is_behind)
        self._retry()
        if not is_behind:
            self._count_feedback()
        self._forget()
        return is_behind

    @property
    def problems(self) -> dict[str, str]:
        """Return table -> why it cannot be written, of those that cannot."""
        return {sink.table: sink.problem for sink in self._sinks.values() if sink.problem}

    @property
    def left_out(self) -> int:
        """Records that no table could take as they are, or that lack their context."""
        return self._left_out + sum(reader.orphaned_records for reader in self._streams.values())

    def drain(self, deadline: float) -> bool:
        """Move all that is in the journal now, until `deadline` (of the clock). Returns whether that was done."""
        while self._clock() < deadline:
            if not self.step(flush=True):
                return not self.problems
        return False

    def status(self, pid: int) -> Recorded:
        """Return how far it is."""
        now, wall = self._clock(), self._wall()
        sizes = [reader.size() for reader in self._streams.values()]
        total, unread = (sum(column) for column in zip(*sizes, strict=True)) if sizes else (0, 0)
        oldest = [us for sink in self._sinks.values() for us in (sink.oldest_us, sink.stuck_us) if us]
        lags = [max(0.0, wall - us / 1e6) for us in oldest]
        if unread and self._last_read_us:
            lags.append(max(0.0, wall - self._last_read_us / 1e6))
        return Recorded(
            pid=pid,
            lag_s=max(lags, default=0.0),
            journal_bytes=total,
            unread_bytes=unread,
            rows_total=sum(sink.rows_total for sink in self._sinks.values()),
            commits_total=sum(sink.commits for sink in self._sinks.values()),
            left_out_total=self.left_out,
            torn_bytes_total=self._torn_bytes + sum(reader.torn_bytes for reader in self._streams.values()),
            damaged_bytes_total=self._damaged_bytes + sum(reader.damaged_bytes for reader in self._streams.values()),
            tables={
                sink.table: TableStatus(
                    rows=sink.rows_total,
                    waiting_rows=len(sink.waiting) + sink.stuck_rows,
                    lag_s=sink.lag_s(now),
                    version=sink.writer.version,
                    problem=sink.problem,
                )
                for sink in self._sinks.values()
            },
        )

    # -- reading ---------------------------------------------------------------------------------------------

    def _find_streams(self) -> None:
        for folder in find_streams(self._journal_dir):
            if folder.name not in self._streams:
                self._streams[folder.name] = StreamReader(folder)

    def _take(self, stream_id: str, entries: list[Entry]) -> None:
        by_table: dict[str, list[Entry]] = {}
        for entry in entries:
            context = entry.context
            if context is not None:
                # The common case, without a call.
                table = context.table if entry.record.is_captured else ""  # type: ignore[union-attr]
            else:
                table = _table_of(entry.record)
            if table:
                found = by_table.get(table)
                if found is None:
                    by_table[table] = [entry]
                else:
                    found.append(entry)
        for table, mine in by_table.items():
            sink = self._sinks.get(table) or self._new_sink(table, mine[0].record)
            self._add(sink, stream_id, mine)
        self._last_read_us = getattr(entries[-1].record, "time_us", self._last_read_us)

    def _add(self, sink: Sink, stream_id: str, entries: list[Entry]) -> None:
        """Let records of one stream wait for their commit, but for those that are in the table already."""
        if sink.problem:
            self._pass_over(sink, stream_id, entries)
            return
        committed = sink.committed.get(stream_id)
        if committed is None:
            try:
                committed = sink.committed[stream_id] = sink.writer.committed(stream_id)
            except TableProblem as problem:
                self._block(sink, str(problem))
                self._pass_over(sink, stream_id, entries)
                return
        if entries[0].sequence <= committed:
            entries = [entry for entry in entries if entry.sequence > committed]
        for start in range(0, len(entries), _ADD_RECORDS):
            if sink.problem:
                self._pass_over(sink, stream_id, entries[start:])
                return
            self._add_some(sink, stream_id, entries[start : start + _ADD_RECORDS])

    def _pass_over(self, sink: Sink, stream_id: str, entries: list[Entry]) -> None:
        sink.passed_over.setdefault(stream_id, entries[0].sequence)
        sink.note_stuck(len(entries), self._clock(), getattr(entries[0].record, "time_us", 0))

    def _add_some(self, sink: Sink, stream_id: str, entries: list[Entry]) -> None:
        if not sink.waiting:
            sink.oldest_at, sink.oldest_us = self._clock(), getattr(entries[0].record, "time_us", 0)
        sink.waiting += [(record, context) for _, record, context in entries]
        sink.waiting_bytes += sum([_size(record) for _, record, _ in entries])
        sink.first.setdefault(stream_id, entries[0].sequence)
        sink.last[stream_id] = entries[-1].sequence
        record, context = entries[-1].record, entries[-1].context
        if context is not None:
            sink.retention_days = context.retention_days
        elif isinstance(record, Feedback):
            sink.retention_days = record.retention_days
        if len(sink.waiting) >= COMMIT_ROWS or sink.waiting_bytes >= COMMIT_BYTES:
            self._commit(sink)

    def _new_sink(self, table: str, record: Record) -> Sink:
        schema, partition = _SHAPES[type(record)]
        sink = Sink(table, self._open_table(table, schema, partition))
        self._sinks[table] = sink
        return sink

    # -- committing ------------------------------------------------------------------------------------------

    def _commit_due(self, is_all: bool) -> None:
        waiting = [sink for sink in self._sinks.values() if sink.waiting]
        if not waiting:
            return
        now = self._clock()
        busy_s = sum(sink.commit_s for sink in waiting)
        after_s = min(max(COMMIT_AFTER_S, busy_s / _COMMIT_SHARE), _COMMIT_AFTER_MAX_S)
        for sink in waiting:
            if is_all or now - sink.oldest_at >= after_s:
                self._commit(sink)
        # What all tables hold together is bounded as well.
        while sum(sink.waiting_bytes for sink in self._sinks.values()) > 2 * COMMIT_BYTES:
            self._commit(max(self._sinks.values(), key=lambda sink: sink.waiting_bytes))

    def _commit(self, sink: Sink) -> None:
        started, version_before = self._clock(), sink.writer.version
        rows = self._rows(sink)
        try:
            sink.writer.append(rows, sink.last)
        except TableProblem as problem:
            self._block(sink, str(problem))
            return
        sink.committed.update(sink.last)
        sink.rows_total += rows.num_rows
        sink.commits += 1
        self._on_commit(sink.table, _SHAPES[sink.kind][1], sink.retention_days)
        if sink.kind is Feedback:
            first = sink.waiting[0][0]
            assert isinstance(first, Feedback)
            lines = FeedbackLines(first.endpoint_name, first.payload_table, sink.table, version_before, rows)
            self._uncounted.append(lines)
            del self._uncounted[:-_MAX_UNCOUNTED]
        sink.clear()
        took_s = self._clock() - started
        sink.commit_s = took_s if not sink.commit_s else 0.8 * sink.commit_s + 0.2 * took_s
        sink.retry_s = RETRY_FIRST_S

    def _rows(self, sink: Sink) -> pa.Table:
        tables = list(self._convert_most(sink.kind, sink.waiting))
        return pa.concat_tables(tables) if tables else _SHAPES[sink.kind][0].empty_table()

    def _convert_most(self, kind: type[Record], waiting: Waiting) -> Iterator[pa.Table]:
        """Yield rows; a record that cannot be converted holds up no other, and an invocation has a row in any case."""
        try:
            yield self._convert(kind, waiting)
            return
        except Exception:  # noqa: BLE001  the boundary of a record
            if len(waiting) > 1:
                # Halved, so that one record among thousands costs a dozen attempts.
                middle = len(waiting) // 2
                yield from self._convert_most(kind, waiting[:middle])
                yield from self._convert_most(kind, waiting[middle:])
                return
            _log.exception("a record cannot be converted; what is left of it has ids, times and status")
        self._left_out += 1
        record, context = waiting[0]
        if isinstance(record, Invocation):
            bare = {"request": None, "response": None, "answer": None, "user_agent": "", "traceparent": ""}
            yield self._convert(kind, [(msgspec.structs.replace(record, **bare), context)])

    def _convert(self, kind: type[Record], waiting: Waiting) -> pa.Table:
        if kind is Invocation:
            return invocation_rows(waiting, self._redactions)  # type: ignore[arg-type]
        records = [record for record, _ in waiting]
        if kind is Feedback:
            return feedback_rows(records)  # type: ignore[arg-type]
        return entity_rows(records)  # type: ignore[arg-type]

    def _count_feedback(self) -> None:
        """Look up to which invocations feedback belongs, when those that came before it are in their tables."""
        waiting, self._uncounted = self._uncounted, []
        by_table: dict[str, list[FeedbackLines]] = {}
        for lines in waiting:
            by_table.setdefault(lines.payload_table, []).append(lines)
        for table, pieces in by_table.items():
            payload = self._sinks.get(table)
            if payload is not None and payload.waiting and not payload.problem:
                # All that came before this feedback has been read.
                self._commit(payload)
            if payload is not None and payload.problem:
                self._uncounted += pieces
                continue
            rows = pa.concat_tables([piece.rows for piece in pieces])
            self._on_feedback(replace(pieces[0], rows=rows))

    def _block(self, sink: Sink, problem: str) -> None:
        """The table cannot be written now: its records stay in the journal, and other tables go on."""
        if sink.said != problem:
            _log.error("the table %s cannot be written; its rows stay in the journal: %s", sink.table, problem)
        sink.problem, sink.said, sink.retry_at = problem, problem, self._clock() + sink.retry_s
        sink.note_stuck(len(sink.waiting), sink.oldest_at, sink.oldest_us)
        sink.retry_s = min(sink.retry_s * 2, RETRY_LAST_S)
        for stream_id, sequence in sink.first.items():
            sink.passed_over[stream_id] = min(sequence, sink.passed_over.get(stream_id, sequence))
        # Whether a commit that failed is in the table all the same, only the table can say.
        sink.committed.clear()
        sink.clear()

    def _retry(self) -> None:
        now = self._clock()
        for sink in self._sinks.values():
            if sink.problem and now >= sink.retry_at:
                self._catch_up(sink)

    def _catch_up(self, sink: Sink) -> None:
        """Read again, for one table, what was passed over."""
        sink.problem = ""
        passed_over, sink.passed_over = sink.passed_over, {}
        stuck = (sink.stuck_rows, sink.stuck_at, sink.stuck_us)
        sink.stuck_rows = sink.stuck_us = 0
        for reader in list(self._streams.values()):
            if reader.stream_id not in passed_over:
                continue
            again = StreamReader(reader.folder)
            while not sink.problem and again.last_sequence < reader.last_sequence:
                entries = again.read(_READ_BYTES)
                if not entries:
                    break
                mine = [
                    entry
                    for entry in entries
                    if entry.sequence <= reader.last_sequence and _table_of(entry.record, entry.context) == sink.table
                ]
                if mine:
                    self._add(sink, reader.stream_id, mine)
        if sink.waiting and not sink.problem:
            self._commit(sink)
        if sink.problem:
            for stream_id, sequence in passed_over.items():
                sink.passed_over[stream_id] = min(sequence, sink.passed_over.get(stream_id, sequence))
            # Some may be in the table by now; until it is well again, that is not worth another look.
            sink.stuck_rows, sink.stuck_at, sink.stuck_us = stuck
        else:
            sink.said = ""
            _log.warning("the table %s is written again", sink.table)

    def _forget(self) -> None:
        """Take away what is safe in all its tables."""
        for name, reader in list(self._streams.items()):
            stream_id = reader.stream_id
            unsafe = [
                sequence
                for sink in self._sinks.values()
                for sequence in (sink.first.get(stream_id), sink.passed_over.get(stream_id))
                if sequence is not None
            ]
            reader.forget(min(unsafe, default=reader.last_sequence + 1))
            if not unsafe and reader.remove_if_over():
                self._torn_bytes += reader.torn_bytes
                self._damaged_bytes += reader.damaged_bytes
                del self._streams[name]


_SHAPES: dict[type, tuple[pa.Schema, str | None]] = {
    Invocation: (INFERENCE_SCHEMA, "request_date"),
    Feedback: (FEEDBACK_SCHEMA, "feedback_date"),
    Entity: (ENTITY_SCHEMA, None),
}


def _table_of(record: Record, context: Context | None = None) -> str:
    """Return the table that a record belongs to; '' for those that belong to none."""
    if isinstance(record, Invocation):
        return context.table if context is not None and record.is_captured else ""
    if isinstance(record, Access):
        return ""
    return ENTITY_TABLE if isinstance(record, Entity) else record.table


def _size(record: Record) -> int:
    """Return about how much memory a record takes until it is committed."""
    if isinstance(record, Invocation):
        return 500 + len(record.request or b"") + len(record.response or b"")
    return 1500
