"""The files of a Delta table for Arrow: where they are, and what is known of what is in them."""

from __future__ import annotations

import functools
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as fs
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler

#: Columns that files are told apart by.
RANGED = ("request_time", "feedback_time", "served_entity_id")
_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def filesystem(table: DeltaTable) -> fs.FileSystem:
    """Return the table's folder as a file system."""
    location = table.table_uri
    if location.startswith("file://"):
        location = unquote(location.removeprefix("file://"))
    if "://" in location:
        return fs.PyFileSystem(DeltaStorageHandler.from_table(table._table))
    return fs.SubTreeFileSystem(location, fs.LocalFileSystem())


def with_known_ranges(table: DeltaTable, dataset: ds.FileSystemDataset) -> ds.FileSystemDataset:
    """Return the dataset with what is really known of each file, so that conditions on other columns find their rows.

    delta-rs tells Arrow that a column without statistics is "at least null"; a condition on such a column is then taken
    to be false for the whole file. Our writer, like others, has statistics for some columns only.
    """
    actions = pa.table(table.get_add_actions(flatten=True))
    kept = [name for name in actions.column_names if name.startswith("partition.") or name.partition(".")[2] in RANGED]
    known = {row["path"]: row for row in actions.select(["path", *kept]).to_pylist()}
    # Paths are URL-encoded in a log.
    known |= {unquote(path): row for path, row in known.items()}
    fragments = []
    for fragment in dataset.get_fragments():
        row = known.get(fragment.path)
        if row is None:
            fragments.append(fragment)
            continue
        condition = _condition(row, dataset.schema)
        fragments.append(dataset.format.make_fragment(fragment.path, dataset.filesystem, condition))
    return ds.FileSystemDataset(fragments, dataset.schema, dataset.format, dataset.filesystem)


def _condition(row: dict[str, Any], schema: pa.Schema) -> pc.Expression | None:
    parts = []
    for name, value in row.items():
        kind, _, column = name.partition(".")
        if column not in schema.names or value is None or kind not in ("partition", "min", "max"):
            continue
        bound = pa.scalar(value, schema.field(column).type)
        field = ds.field(column)
        parts.append(field == bound if kind == "partition" else field >= bound if kind == "min" else field <= bound)
    return functools.reduce(lambda one, other: one & other, parts) if parts else None


def partition_of(day: str) -> pc.Expression | None:
    """Return the condition that all rows of a file of this `request_date` meet."""
    if not day or day == _NO_PARTITION:
        return None
    return ds.field("request_date") == pa.scalar(day).cast(pa.date32())
