"""One Delta table, written so that nothing is lost or doubled by a crash, on a local disk not even by a power cut.

delta-rs syncs nothing, and its own checkpoints can leave a table that does not open after a power cut. So: commits
carry the journal's sequences as application transactions (Delta protocol, "Transaction Identifiers"), which are read
before each commit; what a commit made is synced before anything is taken from the journal; checkpoints are made here,
synced before they are announced; and what a power cut tore is mended before the table is opened.

On a local disk data files are written by Arrow and synced before they are committed; elsewhere, and for tables that
somebody gave other features or columns, delta-rs writes them, which takes some 70 MB more.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

#: Versions between two checkpoints. delta-rs reads all entries since the last one with each commit: 0.4 ms for each.
CHECKPOINT_EVERY = 25
#: Where torn files are moved to, inside the table's folder; Delta readers skip names that start with "_".
SET_ASIDE = "_set_aside"
#: LZ4 costs a third of the processor time of Snappy and ZSTD; compaction writes ZSTD.
_HOT = WriterProperties(compression="LZ4_RAW")
_COLD = WriterProperties(compression="ZSTD", max_row_group_size=100_000)
_NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_CONFIGURATION = {
    # What the journal has forgotten needs no transaction any more; its segments live for seconds, or until repaired.
    "delta.setTransactionRetentionDuration": "interval 365 days",
    "delta.logRetentionDuration": "interval 2 days",
    "delta.deletedFileRetentionDuration": "interval 1 days",
}
#: Files below this size are joined with others.
_SMALL_FILE_BYTES, COMPACTED_BYTES = 32 << 20, 128 << 20
_VACUUM_AFTER_H = 24
_APP = "tallystick-"
#: The newest writer version of the Delta protocol that asks nothing of us (append-only is what we do anyway).
_PLAIN_WRITER = 2
#: Columns of few different values, and those that people look for a range of.
_REPETITIVE = (
    "status_code", "sampling_fraction", "served_entity_id", "requester", "endpoint_name", "served_entity_name",
    "model_name", "model_version", "config_version", "route", "assignment_probability", "arm", "attempt", "user_agent",
    "error_code", "request_content_type", "response_content_type", "request_rows", "batch_requests", "name",
)  # fmt: skip
_RANGED = ("databricks_request_id", "request_time", "served_entity_id", "status_code", "feedback_time")

_log = logging.getLogger("tallystick.records")


class TableProblem(Exception):
    """The table cannot be written to now; the text says why, for whoever runs the server."""


class DeltaWriter:
    """Writes one table. The table is opened, mended or made when it is first needed, and anew after a failure."""

    def __init__(self, uri: str, schema: pa.Schema, partition: str | None) -> None:
        self.uri = uri
        self._schema, self._partition = schema, partition
        self._folder = None if "://" in uri else Path(uri)
        self._table: DeltaTable | None = None
        self._checkpointed = 0

    @property
    def version(self) -> int:
        """Version of the table as last seen; -1 when it was not opened."""
        return self._table.version() if self._table is not None else -1

    def committed(self, stream_id: str) -> int:
        """Return the highest sequence of a journal stream that is in the table; 0 for none. Raises TableProblem."""
        try:
            return self._open().transaction_version(_APP + stream_id) or 0
        except _FAILURES as error:
            raise self._problem(error) from error

    def append(self, rows: pa.Table, sequences: Mapping[str, int]) -> None:
        """Add rows, and with them for each stream the sequence up to which it is in the table, in one commit.

        When this returns, rows and commit are on disk. Raises TableProblem; then it is not known whether they are,
        and `committed` tells.
        """
        transactions = [Transaction(_APP + stream, last) for stream, last in sequences.items()]
        commit = CommitProperties(app_transactions=transactions)
        try:
            table = self._open()
            before = table.version()
            self._refuse_other_types(table)
            if self._folder is not None and self._is_plain(table):
                actions: list[AddAction | RemoveAction] = [
                    self._write_file(self._folder, part, rows_of_it) for part, rows_of_it in self._parts(rows)
                ]
                table.create_write_transaction(
                    actions,
                    "append",
                    table.schema(),
                    partition_by=[self._partition] if self._partition else [],
                    commit_properties=commit,
                    post_commithook_properties=_NO_HOOKS,
                )
                table.update_incremental()
            else:
                # Columns that an older version of us did not have are added; files stay as they are.
                write_deltalake(
                    table,
                    rows,
                    mode="append",
                    schema_mode="merge",
                    writer_properties=_HOT,
                    commit_properties=commit,
                    post_commithook_properties=_NO_HOOKS,
                )
            self._make_safe(before, table.version())
            if table.version() - self._checkpointed >= CHECKPOINT_EVERY:
                self._checkpoint(table)
        except _FAILURES as error:
            raise self._problem(error) from error

    def _refuse_other_types(self, table: DeltaTable) -> None:
        """Raise TableProblem when the table has a column of ours with another type: delta-rs would make it fit."""
        theirs = pa.schema(table.schema().to_arrow())
        for field in self._schema:
            if field.name in theirs.names and theirs.field(field.name).type != field.type:
                raise TableProblem(
                    f"column {field.name!r} has type {theirs.field(field.name).type}, expected {field.type}; "
                    "move the table away, or give the endpoint another one"
                )

    def _is_plain(self, table: DeltaTable) -> bool:
        """Whether the table is as we make it: our columns, and no feature that a writer would have to know."""
        protocol, metadata = table.protocol(), table.metadata()
        if protocol.min_writer_version > _PLAIN_WRITER or protocol.min_reader_version > 1:
            return False
        if list(metadata.partition_columns) != ([self._partition] if self._partition else []):
            return False
        return bool(pa.schema(table.schema().to_arrow()).equals(self._schema))

    def _parts(self, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        """Yield the rows of each partition, without its column."""
        if self._partition is None:
            yield "", rows
            return
        column = rows.column(self._partition)
        for value in pc.unique(column):
            part = rows if len(pc.unique(column)) == 1 else rows.filter(pc.equal(column, value))
            yield str(value.as_py()), part.drop_columns([self._partition])

    def _write_file(self, folder: Path, part: str, rows: pa.Table) -> AddAction:
        """Write one data file, synced; return the action that adds it."""
        name = f"part-{uuid.uuid4()}.parquet"
        if part:
            name = f"{self._partition}={part}/{name}"
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        pq.write_table(
            rows,
            path,
            compression="lz4",
            use_dictionary=[each for each in _REPETITIVE if each in rows.column_names],
            write_statistics=[each for each in _RANGED if each in rows.column_names],
        )
        _sync(path)
        return AddAction(
            name,
            path.stat().st_size,
            {self._partition: part} if self._partition else {},
            int(time.time() * 1000),
            True,
            json.dumps(_statistics(rows)),
        )

    def maintain(self, today: date, retention_days: int) -> None:
        """Join small files, delete what is past its retention, remove files that nothing names. Raises TableProblem."""
        try:
            if not DeltaTable.is_deltatable(self.uri):
                return  # somebody removed it; it is made again when there is a row for it
            # Not mended first: that is for whoever writes the rows, which may be at it now.
            table = DeltaTable(self.uri)
            before = table.version()
            if retention_days and self._partition:
                self._delete_old(table, today, retention_days)
            self._compact(table)
            if table.version() != before:
                self._make_safe(before, table.version())
                self._checkpoint(table)
            table.vacuum(
                retention_hours=_VACUUM_AFTER_H,
                dry_run=False,
                enforce_retention_duration=False,
                post_commithook_properties=_NO_HOOKS,
            )
            table.cleanup_metadata()
        except _FAILURES as error:
            raise self._problem(error) from error

    def _delete_old(self, table: DeltaTable, today: date, retention_days: int) -> None:
        oldest = date.fromordinal(max(1, today.toordinal() - retention_days))
        dates = {action["partition." + str(self._partition)] for action in _adds(table)}
        if any(each is not None and _as_date(each) < oldest for each in dates):
            # A predicate on the partition alone removes files and rewrites none.
            table.delete(f"{self._partition} < DATE '{oldest.isoformat()}'", post_commithook_properties=_NO_HOOKS)

    def _compact(self, table: DeltaTable) -> None:
        small: dict[Any, int] = {}
        for action in _adds(table):
            if action["size_bytes"] < _SMALL_FILE_BYTES:
                key = action.get(f"partition.{self._partition}")
                small[key] = small.get(key, 0) + 1
        for partition, count in small.items():
            if count < 2 or partition is None:
                continue
            table.optimize.compact(
                partition_filters=[(str(self._partition), "=", _as_date(partition).isoformat())],
                target_size=COMPACTED_BYTES,
                max_concurrent_tasks=1,
                writer_properties=_COLD,
                post_commithook_properties=_NO_HOOKS,
            )

    # -- opening ---------------------------------------------------------------------------------------------

    def _open(self) -> DeltaTable:
        if self._table is not None and self._is_still_there(self._table):
            self._table.update_incremental()
            return self._table
        if self._table is not None:
            _log.error("the table %s is gone; it is made anew, and goes on with what is in the journal", self.uri)
        self._table = None
        if self._folder is not None:
            mend(self._folder)
        try:
            table = DeltaTable(self.uri)
        except TableNotFoundError:
            self._create()
            table = DeltaTable(self.uri)
        self._checkpointed = table.version()
        self._table = table
        return table

    def _create(self) -> None:
        if self._folder is not None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        table = DeltaTable.create(
            self.uri,
            self._schema,
            mode="ignore",
            partition_by=[self._partition] if self._partition else None,
            configuration=_CONFIGURATION,
            post_commithook_properties=_NO_HOOKS,
        )
        if self._folder is not None:
            self._make_safe(-1, table.version())
            for folder in (self._folder, *list(self._folder.parents)[:4]):
                with contextlib.suppress(PermissionError):
                    _sync(folder)

    def _is_still_there(self, table: DeltaTable) -> bool:
        """Whether the log still holds the version that we know.

        Without it a commit would make a table that begins in the middle.
        """
        if self._folder is None:
            return bool(DeltaTable.is_deltatable(self.uri))
        log = self._folder / "_delta_log"
        version = table.version()
        return (log / f"{version:020}.json").exists() or (log / f"{version:020}.checkpoint.parquet").exists()

    def _problem(self, error: BaseException) -> TableProblem:
        self._table = None
        text = " ".join(str(error).split())[:300]
        return TableProblem(f"{type(error).__name__}: {text}")

    # -- safety ----------------------------------------------------------------------------------------------

    def _make_safe(self, before: int, after: int) -> None:
        """Sync what the commits after version `before` made: data files, log entries, folders."""
        if self._folder is None:
            return
        log = self._folder / "_delta_log"
        folders = {log, self._folder}
        for version in range(before + 1, after + 1):
            path = log / f"{version:020}.json"
            for added, _ in added_files(path.read_bytes()):
                file = self._folder / added
                with contextlib.suppress(FileNotFoundError):  # compacted and vacuumed by another writer
                    _sync(file)
                    folders.add(file.parent)
            _sync(path)
        for folder in sorted(folders, reverse=True):
            _sync(folder)

    def _checkpoint(self, table: DeltaTable) -> None:
        """Write a checkpoint. Its file is safe before `_last_checkpoint` can outlive it."""
        table.create_checkpoint()
        self._checkpointed = table.version()
        if self._folder is not None:
            log = self._folder / "_delta_log"
            for path in log.glob(f"{table.version():020}.checkpoint*"):
                _sync(path)
            _sync(log / "_last_checkpoint")
            _sync(log)
        # Opened anew, it begins with the checkpoint.
        self._table = DeltaTable(self.uri)


#: What delta-rs and Arrow raise for a table that cannot be read or written.
_FAILURES = (DeltaError, OSError, pa.ArrowException, ValueError, KeyError)


def _statistics(rows: pa.Table) -> dict[str, Any]:
    """Return what readers may skip the file by (Delta protocol, "Per-file Statistics")."""
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    for name in _RANGED:
        if name not in rows.column_names or rows.column(name).null_count == len(rows):
            continue
        ends = pc.min_max(rows.column(name)).as_py()
        for found, value in ((least, ends["min"]), (most, ends["max"])):
            found[name] = value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
    return {"numRecords": len(rows), "minValues": least, "maxValues": most, "nullCount": {}}


def _adds(table: DeltaTable) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    return rows


def _as_date(value: Any) -> date:
    return value if isinstance(value, date) else date.fromisoformat(str(value))


def added_files(entry: bytes) -> list[tuple[str, int]]:
    """Return (path relative to the table, bytes) of the files that a log entry adds. Raises ValueError.

    >>> added_files(b'{"add":{"path":"d=1/a%20b.parquet","size":7}}')
    [('d=1/a b.parquet', 7)]
    """
    found = []
    for line in entry.splitlines():
        action = json.loads(line)
        if not isinstance(action, dict):
            raise ValueError("not an action of a Delta log")
        if "add" in action:
            # Paths in a log are URL-encoded (Delta protocol, "Add File").
            found.append((unquote(action["add"]["path"]), int(action["add"]["size"])))
    return found


def mend(folder: Path) -> list[str]:
    """Move aside what a power cut tore in a local table; return the names.

    That is: checkpoints that cannot be read, a `_last_checkpoint` that names none, and log entries at the end that are
    empty, cut, or name files that are missing or short. Their rows are still in the journal: a segment is taken away
    only when the table was synced.
    """
    log = folder / "_delta_log"
    if not log.is_dir():
        return []
    torn = [path for path in log.glob("*.checkpoint*.parquet") if not _is_readable(path)]
    last = log / "_last_checkpoint"
    if last.exists() and not _names_a_checkpoint(last, {path.name for path in torn}):
        torn.append(last)
    newest_checkpoint = max(
        (_version(path) for path in log.glob("*.checkpoint*.parquet") if path not in torn), default=-1
    )
    for path in _entries_from_the_end(log):
        if _version(path) <= newest_checkpoint or _is_sound(folder, path):
            break
        torn.append(path)
    if torn:
        keep = folder / SET_ASIDE
        keep.mkdir(exist_ok=True)
        for path in torn:
            _log.error("the table %s was torn by a power cut; %s is set aside", folder.name, path.name)
            path.rename(keep / f"{time.time_ns()}-{path.name}")
        _sync(log)
    return [path.name for path in torn]


def _entries_from_the_end(log: Path) -> Iterator[Path]:
    yield from sorted((path for path in log.glob("*.json") if path.stem.isdigit()), reverse=True)


def _version(path: Path) -> int:
    stem = path.name.partition(".")[0]
    return int(stem) if stem.isdigit() else -1


def _is_readable(path: Path) -> bool:
    try:
        pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return False
    return True


def _names_a_checkpoint(last: Path, torn: set[str]) -> bool:
    try:
        version = int(json.loads(last.read_bytes())["version"])
    except (ValueError, KeyError, TypeError):
        return False
    return any(path.name not in torn for path in last.parent.glob(f"{version:020}.checkpoint*.parquet"))


def _is_sound(folder: Path, entry: Path) -> bool:
    data = entry.read_bytes()
    if not data.strip():
        return False
    try:
        files = added_files(data)
    except (ValueError, KeyError, TypeError):
        return False
    for path, size in files:
        try:
            if (folder / path).stat().st_size != size or not _is_readable(folder / path):
                return False
        except OSError:
            return False
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
