"""The reading face of an inference table: its rows, the decoded view, SQL. All of it streams Arrow batches.

The decoded view has one line for each *row of input* of an invocation that was answered 200: the model's input columns
as it saw them (`decode`), its prediction (`predictions`), and what feedback said since (`labels`). Writes nothing, and
asks no server: finding a table by its endpoint's name is `tallystick.tables`.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as fs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from numpy.typing import NDArray

from tallystick.errors import InvalidParameter, NotFound
from tallystick.records import schema
from tallystick.records.added import Added, added_since
from tallystick.records.bodies import connect
from tallystick.records.damage import READ_ERRORS, damaged_table, has_lost_its_log
from tallystick.records.files import with_known_ranges
from tallystick.records.labels import Labels
from tallystick.records.view import (
    BODY_COLUMNS,
    IDENTITY,
    PREDICTION,
    QUERY_COLUMNS,
    Model,
    View,
    decode,
    head,
    model_of,
    plan_view,
)

if TYPE_CHECKING:
    import pandas as pd

#: A moment, or how long ago.
When: TypeAlias = datetime | timedelta

BATCH_ROWS = 65_536
#: Invocations, and bytes of bodies, that are decoded at a time: enough for all cores, little beside any memory.
_STEP_INVOCATIONS = 65_536
_STEP_BYTES = 64 << 20
#: What a row of a Parquet file is when it is read, for each of its bytes in the file. Bodies pack well.
_UNPACKED = 5


class InferenceTable:
    """An endpoint's inference table, with what belongs to it.

    `location` is a folder or a URL; `storage_options` are those of delta-rs. Each read sees the table as it is then.
    """

    def __init__(self, location: str, *, name: str = "", storage_options: Mapping[str, str] | None = None) -> None:
        self.location = location.rstrip("/") if "://" in location else str(Path(location).absolute())
        self.name = name or self.location.rpartition("/")[2].removesuffix(schema.PAYLOAD_SUFFIX)
        self._options = dict(storage_options or {})
        self._pinned: dict[str, tuple[DeltaTable, ds.Dataset]] | None = None
        #: Rows that the latest read of the decoded view left out, and values that are null for it, by reason.
        self.undecoded: Counter[str] = Counter()
        #: What is ours in the latest decoded view, by its usual name -> by the name it has there.
        self.own_names: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"InferenceTable({self.name!r}, {self.location!r})"

    def pinned(self) -> InferenceTable:
        """Return this table as it is when it is read first: many small reads then open it once, and see one version."""
        table = InferenceTable(self.location, name=self.name, storage_options=self._options)
        table._pinned = {}
        return table

    def holding(self, rows: pa.Table) -> InferenceTable:
        """Return this table with `rows` in the place of its own: some of them that a reader kept. Feedback is as it is.

        Raises NotFound when there is no table.
        """
        table = self.pinned()
        table._pinned = {self.location: (self._open(self.location)[0], ds.dataset(rows))}
        return table

    @property
    def schema(self) -> pa.Schema:
        """The columns of the inference table. Raises NotFound when there is no table."""
        return self._dataset().schema

    def invocations(
        self,
        columns: Sequence[str] | None = None,
        since: When | None = None,
        until: When | None = None,
        where: ds.Expression | None = None,
        added: Added | None = None,
    ) -> pa.RecordBatchReader:
        """Return the rows of the inference table, from `since` until before `until`, as a stream.

        With `added` only those of these files. Raises NotFound when there is no table, InvalidParameter for a column
        that it does not have.
        """
        table, dataset = self._open(self.location)
        if added is not None:
            dataset = added.dataset(table, dataset)
        unknown = [name for name in columns or () if name not in dataset.schema.names]
        if unknown:
            raise InvalidParameter(
                f"The inference table has no column {unknown[0]!r}; it has {_listed(dataset.schema)}."
            )
        wanted = _all_of(_between(since, until), where)
        return _scan(table, dataset, list(columns) if columns is not None else None, wanted)

    def decoded(
        self,
        columns: Sequence[str] | None = None,
        since: When | None = None,
        until: When | None = None,
        served_entity: str | None = None,
        feedback: bool = True,
        batch_rows: int = BATCH_ROWS,
        *,
        prediction: bool = True,
        where: ds.Expression | None = None,
        beside: Sequence[str] = (),
        added: Added | None = None,
        sample: Callable[[int], NDArray[np.bool_]] | None = None,
    ) -> pa.RecordBatchReader:
        """Return the decoded view as a stream of batches of at most `batch_rows` rows.

        Without `prediction` there is no such column, and no answer is read. `where` is a condition on columns of the
        inference table, and `beside` names some of them to be shown too, with an underscore before their name. With
        `added` only the rows of those files are read. `sample` is asked, for so many invocations, which of them are
        decoded.

        Raises NotFound when there is no table, InvalidParameter for a column that the view does not have. A row that
        cannot be decoded is left out and counted in `undecoded`, which begins anew here.
        """
        undecoded: Counter[str] = Counter()
        self.undecoded = undecoded
        table, dataset = self._open(self.location)
        if added is not None:
            dataset = added.dataset(table, dataset)
        wanted = _all_of(_between(since, until), ds.field("status_code") == 200, _is_entity(served_entity), where)
        connection = connect()
        identity = IDENTITY | {f"_{name}": name for name in beside}
        view = self._view(table, dataset, wanted, connection, feedback, since, identity)
        left_out = () if prediction else (view.names[PREDICTION],)
        own = {**view.names, **view.label_names}
        self.own_names = {name: shown for name, shown in own.items() if shown not in left_out}
        unknown = [name for name in columns or () if name not in view.schema.names]
        if unknown:
            raise InvalidParameter(f"The decoded view has no column {unknown[0]!r}; it has {_listed(view.schema)}.")
        names = [name for name in view.schema.names if name not in left_out] if columns is None else columns
        shown = pa.schema([view.schema.field(name) for name in names])
        bodies = BODY_COLUMNS if view.names[PREDICTION] in names else QUERY_COLUMNS
        source = (*bodies, *(name for name in identity.values() if name and name not in bodies))
        batches = _steps(_scan(table, dataset, list(source), wanted), batch_rows)
        if sample is not None:
            batches = (batch.filter(pa.array(sample(batch.num_rows))) for batch in batches)
        return pa.RecordBatchReader.from_batches(shown, decode(batches, view, shown, max(1, batch_rows), undecoded))

    def to_arrow(self, **options: Any) -> pa.Table:
        """Return the decoded view as one table; `options` are those of `decoded`."""
        return self.decoded(**options).read_all()

    def to_pandas(self, **options: Any) -> pd.DataFrame:
        """Return the decoded view as a pandas DataFrame; `options` are those of `decoded`."""
        frame: pd.DataFrame = self.to_arrow(**options).to_pandas()
        return frame

    def feedback(self) -> pa.RecordBatchReader:
        """Return all lines of feedback, also those that a later one replaces; an empty stream when none came."""
        return self._side_table(schema.feedback_table(self.location), schema.FEEDBACK_SCHEMA)

    def served_entities(self) -> pa.RecordBatchReader:
        """Return what is known of all served entities of the server; an empty stream when nothing is."""
        return self._side_table(self._entities_location() or "", schema.ENTITY_SCHEMA)

    def added(self, version: int, table_id: str = "") -> Added:
        """Return the files with new rows after `version`. Raises NotFound when there is no table."""
        return added_since(self._open(self.location)[0], version, table_id)

    def newest(self, limit: int, since: When | None = None, until: When | None = None) -> pa.Table:
        """Return the newest invocations, the newest first. Bodies of others are not read."""
        table, dataset = self._open(self.location)
        wanted = _between(since, until)
        # Times alone are little to read; with the earliest of the wanted ones, most files are not opened again.
        times = np.zeros(0, np.int64)
        for batch in _scan(table, dataset, ["request_time"], wanted):
            times = np.concatenate([times, batch.column(0).cast(pa.int64()).to_numpy(zero_copy_only=False)])
            if len(times) > limit:
                times = np.partition(times, len(times) - limit)[len(times) - limit :] if limit else times[:0]
        if not len(times):
            return dataset.schema.empty_table()
        earliest = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(times.min()))
        found = _scan(table, dataset, None, _all_of(wanted, _between(earliest, None))).read_all()
        return found.sort_by([("request_time", "descending")]).slice(0, limit)

    def sql(self, query: str) -> pa.Table:
        """Return the answer to a DuckDB query.

        The inference table is there under its endpoint's name and as `invocations`; beside it `decoded`, `feedback`
        and `served_entities`. Raises InvalidParameter when the query cannot be run, NotFound when there is no table.
        """
        connection = duckdb.connect()
        try:
            connection.execute("SET TimeZone = 'UTC'")
            self._register(connection, query)
            result = connection.sql(query)
            return pa.table({}) if result is None else result.to_arrow_table()
        except duckdb.Error as error:
            raise InvalidParameter(f"The query cannot be run: {error}") from error
        finally:
            connection.close()

    def _register(self, connection: duckdb.DuckDBPyConnection, query: str) -> None:
        dataset = self._dataset()
        connection.register("invocations", dataset)
        if self.name not in ("invocations", "decoded", "feedback", "served_entities"):
            connection.register(self.name, dataset)
        views = {"decoded": self.decoded, "feedback": self.feedback, "served_entities": self.served_entities}
        for name, read in views.items():
            # To plan the decoded view takes a look at the table, so it is there only for queries that name it.
            if re.search(rf"\b{name}\b", query, re.IGNORECASE):
                connection.register(name, _Stream(read))

    def _dataset(self) -> ds.Dataset:
        return self._open(self.location)[1]

    def _open(self, location: str) -> tuple[DeltaTable, ds.Dataset]:
        if self._pinned is None:
            return self._newest(location)
        if location not in self._pinned:
            self._pinned[location] = self._newest(location)
        return self._pinned[location]

    def _newest(self, location: str) -> tuple[DeltaTable, ds.Dataset]:
        try:
            table = DeltaTable(location, storage_options=self._options or None)
            return table, with_known_ranges(table, table.to_pyarrow_dataset(filesystem=_local_files(location)))
        except TableNotFoundError as error:
            if has_lost_its_log(location):
                raise damaged_table(location, error) from error
            raise NotFound(
                f"There is no inference table for '{self.name}' at {location}. It begins with the first invocation."
            ) from error
        except READ_ERRORS as error:
            raise damaged_table(location, error) from error

    def _open_if_there(self, location: str) -> tuple[DeltaTable, ds.Dataset] | None:
        if not location or not _is_table(location, self._options):
            return None
        return self._open(location)

    def _side_table(self, location: str, columns: pa.Schema) -> pa.RecordBatchReader:
        opened = self._open_if_there(location)
        if opened is None:
            return pa.RecordBatchReader.from_batches(columns, [])
        return _scan(*opened, None, None)

    def _entities_location(self) -> str | None:
        """Return the table of served entities: beside this one, or above where a table has folders of its own."""
        # A table may be at <catalog>/<schema>/<prefix>_payload below the root.
        folder = self.location
        for _ in range(3):
            folder = folder.rpartition("/")[0]
            if folder and _is_table(f"{folder}/{schema.ENTITY_TABLE}", self._options):
                return f"{folder}/{schema.ENTITY_TABLE}"
        return None

    def _signatures(self) -> dict[str, str]:
        """Return the signature of each served entity as JSON; the last that was recorded."""
        rows = self.served_entities().read_all().select(["served_entity_id", "change_time", "signature"])
        return {row["served_entity_id"]: row["signature"] or "" for row in rows.sort_by("change_time").to_pylist()}

    def _view(
        self,
        table: DeltaTable,
        dataset: ds.Dataset,
        wanted: ds.Expression,
        connection: duckdb.DuckDBPyConnection,
        with_feedback: bool,
        since: When | None,
        identity: Mapping[str, str],
    ) -> View:
        opened = self._open_if_there(schema.feedback_table(self.location)) if with_feedback else None
        lines = None if opened is None else opened[1]
        if lines is not None and since is not None:
            # What is said of an invocation is said after it.
            first = _moment(since)
            lines = lines.filter((ds.field("feedback_date") >= first.date()) & (ds.field("feedback_time") >= first))
        labels = Labels(connection, lines)
        signatures = self._signatures()
        models: dict[str, Model] = {}
        shared: dict[str, Model] = {}
        for entity in _distinct(table, dataset, wanted):
            text = signatures.get(entity, "")
            if text and text in shared:
                models[entity] = shared[text]
                continue
            samples = head(dataset, _all_of(wanted, ds.field("served_entity_id") == entity))
            models[entity] = shared[text] = model_of(text, samples, connection)
        return plan_view(models, labels, with_feedback, identity)


class _Stream:
    """A view for DuckDB, which may scan it more than once."""

    def __init__(self, read: Any) -> None:
        self._read = read

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._read().__arrow_c_stream__(requested_schema)


def _local_files(location: str) -> fs.FileSystem | None:
    """Return Arrow's own view of a local folder; None for a URL, which delta-rs reads.

    The files that delta-rs gives are read by way of Python, from threads of Arrow; one that is still at it when the
    interpreter ends takes the process down with it (SIGABRT), now and then.
    """
    if "://" in location:
        return None
    return fs.SubTreeFileSystem(location, fs.LocalFileSystem())


def _is_table(location: str, options: Mapping[str, str]) -> bool:
    try:
        return DeltaTable.is_deltatable(location, storage_options=dict(options) or None)
    except (DeltaError, OSError):
        return False


def _moment(when: When) -> datetime:
    if isinstance(when, timedelta):
        return datetime.now(UTC) - when
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _between(since: When | None, until: When | None) -> ds.Expression | None:
    """Return the condition on `request_time`, and on `request_date` so that other partitions are not opened."""
    wanted: ds.Expression | None = None
    if since is not None:
        first = _moment(since)
        wanted = (ds.field("request_date") >= first.date()) & (
            ds.field("request_time") >= pa.scalar(first, schema.TIMESTAMP)
        )
    if until is not None:
        last = _moment(until)
        before = (ds.field("request_date") <= last.date()) & (
            ds.field("request_time") < pa.scalar(last, schema.TIMESTAMP)
        )
        wanted = _all_of(wanted, before)
    return wanted


def _is_entity(name: str | None) -> ds.Expression | None:
    return None if name is None else (ds.field("served_entity_name") == name) | (ds.field("served_entity_id") == name)


def _all_of(*conditions: ds.Expression | None) -> ds.Expression | None:
    given = [condition for condition in conditions if condition is not None]
    return functools.reduce(lambda one, other: one & other, given) if given else None


def _listed(columns: pa.Schema) -> str:
    return ", ".join(columns.names)


def _scan(
    table: DeltaTable, dataset: ds.Dataset, columns: list[str] | None, wanted: ds.Expression | None
) -> pa.RecordBatchReader:
    """Return a stream that holds a few batches at a time, whatever the size of the bodies."""
    actions = pa.table(table.get_add_actions(flatten=True))
    files_bytes = pc.sum(actions["size_bytes"]).as_py() or 0
    # A writer may leave the counts out.
    records = pc.sum(actions["num_records"]).as_py() if "num_records" in actions.column_names else None
    records = records or _STEP_INVOCATIONS
    rows = int(_STEP_BYTES // max(1, files_bytes * _UNPACKED // records))
    return dataset.scanner(
        columns=columns,
        filter=wanted,
        batch_size=min(_STEP_INVOCATIONS, max(64, rows)),
        batch_readahead=1,
        fragment_readahead=1,
    ).to_reader()


def _steps(reader: pa.RecordBatchReader, most: int) -> Iterator[pa.RecordBatch]:
    """Yield batches that are worth decoding at a time, of up to `most` invocations: those of small files joined."""
    most = min(_STEP_INVOCATIONS, max(1, most))
    held: list[pa.RecordBatch] = []
    rows = size = 0
    pieces = (batch.slice(start, most) for batch in reader for start in range(0, batch.num_rows, most))
    for batch in pieces:
        if held and (rows + batch.num_rows > most or size + batch.nbytes > _STEP_BYTES):
            yield _joined(held)
            held, rows, size = [], 0, 0
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
    if held:
        yield _joined(held)


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _distinct(table: DeltaTable, dataset: ds.Dataset, wanted: ds.Expression | None) -> list[str]:
    """Return the ids of the served entities that answered, as they first appear."""
    found: dict[str, None] = {}
    for batch in _scan(table, dataset, ["served_entity_id"], wanted):
        found |= dict.fromkeys(pc.unique(batch.column(0)).to_pylist())
    return [entity for entity in found if entity]
