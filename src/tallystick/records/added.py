"""What a table got since one of its versions: the files that commits added, without those that compaction rewrote.

Rows appear in a table in another order than they have times, so a reader that goes on by time misses some and meets
some twice. A reader that goes on by version does neither: a commit names its files, and says whether they hold new rows
(`dataChange`; Delta protocol, "Add File and Remove File"). Files stay readable for days after compaction replaced them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow.dataset as ds
from deltalake import DeltaTable

from tallystick.records.files import filesystem, partition_of

#: Commits that are looked into one by one; a reader that is further behind passes over the older ones.
MAX_COMMITS = 600


@dataclass(frozen=True)
class Added:
    """New files of a table, up to `version`. `is_whole`: no commit since the asked version is missing here."""

    table_id: str
    version: int
    files: tuple[tuple[str, str], ...]
    is_whole: bool

    def dataset(self, table: DeltaTable, like: ds.Dataset) -> ds.Dataset:
        """Return the files as a dataset with the schema of the table."""
        files = filesystem(table)
        form = ds.ParquetFileFormat()
        fragments = [
            form.make_fragment(path, files, partition_expression=partition_of(day)) for path, day in self.files
        ]
        return ds.FileSystemDataset(fragments, like.schema, form, files)


def added_since(table: DeltaTable, version: int, table_id: str = "") -> Added:
    """Return what came after `version` (-1: all that can be told); a table with another id begins anew."""
    metadata = table.metadata()
    newest = table.version()
    known_id = str(metadata.id)
    if table_id and table_id != known_id:
        version = -1
    first = max(version + 1, newest - MAX_COMMITS + 1)
    is_whole = first == version + 1
    found: list[tuple[str, str]] = []
    source = filesystem(table)
    for number in range(first, newest + 1):
        try:
            with source.open_input_stream(f"_delta_log/{number:020}.json") as stream:
                entry = stream.read()
        except OSError:
            # Cleaned up after a checkpoint.
            is_whole = False
            continue
        found += _files(entry)
    return Added(known_id, newest, tuple(found), is_whole)


def _files(entry: bytes) -> list[tuple[str, str]]:
    """Return path and day of the files with new rows that a log entry adds.

    >>> _files(b'{"add":{"path":"d/a%20b.parquet","partitionValues":{"request_date":"2026-01-31"}}}')
    [('d/a b.parquet', '2026-01-31')]
    """
    found = []
    for line in entry.splitlines():
        action = json.loads(line).get("add")
        if action and action.get("dataChange", True):
            day = (action.get("partitionValues") or {}).get("request_date") or ""
            found.append((unquote(action["path"]), day))
    return found
