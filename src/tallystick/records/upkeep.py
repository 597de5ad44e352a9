"""Keeping tables small: compaction, retention, vacuum. One table at a time, in a process that ends afterwards.

A process of its own, since compaction takes memory by the gigabyte of data, and time in which rows would wait. It and
the recorder commit to the same tables; both are ordinary Delta writers, and neither undoes what the other did.

    python -m tallystick.records.upkeep URI PARTITION RETENTION_DAYS
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from tallystick.lifeline import die_with_parent
from tallystick.protocol.routes import RouteTable, table_path
from tallystick.records.schema import feedback_table

#: A table is looked after this often, sooner when it got this many commits; the first time soon after a start.
EVERY_S, FIRST_S, COMMITS = 3600.0, 600.0, 200
#: Tables that were heard of, so that retention also holds for those that nothing is written to any more.
MEMORY_FILE = "tables.json"
_NICE = 15

_log = logging.getLogger("tallystick.records")


class Child(Protocol):
    """A process that was started, as `subprocess.Popen` has it."""

    def poll(self) -> int | None:
        """Return its exit status; None while it runs."""


class Known(msgspec.Struct, frozen=True):
    """What there is to know of a table to look after it."""

    #: Column that it is partitioned by; empty for none.
    partition: str
    #: Days after which rows are deleted; 0: never.
    retention_days: int


class Upkeep:
    """Says when which table is due, and starts the process that looks after it."""

    def __init__(
        self,
        root: str,
        memory: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        start: Callable[[list[str]], Child] | None = None,
    ) -> None:
        self._root, self._memory, self._clock = root, memory, clock
        self._start = start or _start
        self._tables = _read(memory)
        self._due_at = {table: clock() + FIRST_S for table in self._tables}
        self._commits: dict[str, int] = {}
        self._child: Child | None = None
        self._in_work = ""
        self._learned_of = 0

    def note_commit(self, table: str, partition: str | None, retention_days: int) -> None:
        """A table got new rows."""
        known = Known(partition or "", retention_days)
        if self._tables.get(table) != known:
            self._tables[table] = known
            self._due_at.setdefault(table, self._clock() + FIRST_S)
            _write(self._memory, self._tables)
        self._commits[table] = self._commits.get(table, 0) + 1

    def learn(self, data_dir: Path) -> None:
        """Take over the retention that endpoints ask for now, also of those that nothing is written to."""
        try:
            changed = table_path(data_dir).stat().st_mtime_ns
            if changed == self._learned_of:
                return
            routes = msgspec.msgpack.decode(table_path(data_dir).read_bytes(), type=RouteTable)
        except (OSError, msgspec.MsgspecError):
            return
        self._learned_of = changed
        for endpoint in routes.endpoints.values():
            capture = endpoint.capture
            for table in (capture.table, feedback_table(capture.table)):
                known = self._tables.get(table)
                if known is not None and known.retention_days != capture.retention_days:
                    self._tables[table] = Known(known.partition, capture.retention_days)
                    self._due_at[table] = self._clock()
                    _write(self._memory, self._tables)

    def tick(self) -> None:
        """Start on a table that is due, if none is in work."""
        if self._child is not None:
            status = self._child.poll()
            if status is None:
                return
            if status:
                # Nothing waits for it; the next time is soon enough. Its own words are in the server's log.
                _log.warning("the table %s could not be looked after (exit status %d)", self._in_work, status)
            self._child = None
        now = self._clock()
        for table, known in self._tables.items():
            if now < self._due_at[table] and self._commits.get(table, 0) < COMMITS:
                continue
            self._due_at[table], self._commits[table] = now + EVERY_S, 0
            argv = [
                sys.executable,
                "-m",
                "tallystick.records.upkeep",
                f"{self._root}/{table}",
                known.partition,
                str(known.retention_days),
            ]
            self._child, self._in_work = self._start(argv), table
            return


def _start(argv: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL)  # noqa: S603  our own interpreter and module


def _read(path: Path) -> dict[str, Known]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Known])
    except (OSError, msgspec.MsgspecError):
        return {}


def _write(path: Path, tables: dict[str, Known]) -> None:
    temporary = path.with_suffix(".tmp")
    # On a full disk retention waits for the next change.
    with contextlib.suppress(OSError):
        temporary.write_bytes(msgspec.json.encode(tables))
        temporary.replace(path)


def main(arguments: list[str]) -> int:
    """Look after one table."""
    die_with_parent()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    from tallystick.records.delta import DeltaWriter, TableProblem
    from tallystick.records.schema import ENTITY_SCHEMA, FEEDBACK_SCHEMA, INFERENCE_SCHEMA

    uri, partition, retention_days = arguments
    schema = {"request_date": INFERENCE_SCHEMA, "feedback_date": FEEDBACK_SCHEMA}.get(partition, ENTITY_SCHEMA)
    try:
        DeltaWriter(uri, schema, partition or None).maintain(datetime.now(UTC).date(), int(retention_days))
    except TableProblem as problem:
        _log.warning("%s: %s", uri.rpartition("/")[2], problem)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
