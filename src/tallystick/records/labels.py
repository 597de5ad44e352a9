"""Feedback beside the rows that it is about: for each name the last value that came for a row.

Held as hashes of the ids, sorted, so that a batch of rows finds its values without a join over the whole table: about
40 bytes a line of feedback, plus its text. Reads only what it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from tallystick.records.bodies import Bools, Ints, one_chunk

LABEL = "label"
_Hashes = np.ndarray[Any, np.dtype[np.uint64]]

# Two hashes together have 128 bits: with 10^9 lines, two rows are taken for one with a chance below 10^-20.
_LAST = """
SELECT hash(key, id, "row") AS hash, hash("row", id, key, 1) AS hash_2, epoch_us(feedback_time) AS time,
       name, value, text
FROM (
    SELECT
        CASE WHEN databricks_request_id IS NULL THEN 'c' ELSE 'r' END AS key,
        coalesce(databricks_request_id, client_request_id) AS id,
        coalesce("row", 0) AS "row", feedback_time, feedback_id, name, value, text
    FROM feedback
    WHERE name IS NOT NULL AND coalesce(databricks_request_id, client_request_id) IS NOT NULL
)
QUALIFY row_number() OVER (PARTITION BY name, key, id, "row" ORDER BY feedback_time DESC, feedback_id DESC) = 1
ORDER BY name, hash
"""
_WANTED = """
SELECT hash('r', request, "row") AS r, hash("row", request, 'r', 1) AS r_2,
       hash('c', client, "row") AS c, hash("row", client, 'c', 1) AS c_2
FROM wanted
"""


@dataclass(frozen=True, slots=True)
class _Values:
    """The values of one name, by hash, ascending."""

    hashes: _Hashes
    checks: _Hashes
    times_us: Ints
    values: pa.Array

    def find(self, hashes: _Hashes, checks: _Hashes, is_known: Bools) -> tuple[Ints, Bools]:
        """Return for each hash where its value is, and whether there is one."""
        if not len(self.hashes):
            return np.zeros(len(hashes), np.int64), np.zeros(len(hashes), np.bool_)
        places = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        found = (self.hashes[places] == hashes) & (self.checks[places] == checks) & is_known
        return places, found


class Labels:
    """The feedback of one endpoint, ready to be looked up. `label` is always among its names."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, feedback: Any | None) -> None:
        self._connection = connection
        self._names: dict[str, _Values] = {}
        if feedback is not None:
            connection.register("feedback", feedback)
            try:
                table = connection.sql(_LAST).to_arrow_table()
            finally:
                connection.unregister("feedback")
            self._names = _by_name(table)
        self.fields: dict[str, pa.DataType] = {LABEL: pa.float64()}
        self.fields |= {name: values.values.type for name, values in self._names.items()}

    def look_up(self, request_ids: pa.Array, client_ids: pa.Array, row: Ints) -> dict[str, pa.Array]:
        """Return a column for each name, null where nothing came for a row."""
        missing = {name: pa.nulls(len(row), kind) for name, kind in self.fields.items()}
        if not self._names or not len(row):
            return missing
        wanted = pa.table({"request": request_ids, "client": client_ids, "row": pa.array(row)})
        self._connection.register("wanted", wanted)
        try:
            hashed = self._connection.sql(_WANTED).to_arrow_table()
        finally:
            self._connection.unregister("wanted")
        r, r_2, c, c_2 = (one_chunk(column).to_numpy() for column in hashed.columns)
        has_request = request_ids.is_valid().to_numpy(zero_copy_only=False)
        has_client = client_ids.is_valid().to_numpy(zero_copy_only=False)
        for name, values in self._names.items():
            by_request, is_found = values.find(r, r_2, has_request)
            by_client, is_found_too = values.find(c, c_2, has_client)
            # The last wins, whichever id it names.
            is_later = is_found_too & (~is_found | (values.times_us[by_client] > values.times_us[by_request]))
            places = np.where(is_later, by_client, by_request)
            missing[name] = values.values.take(pa.array(places, mask=~(is_found | is_found_too)))
        return missing


def _by_name(table: pa.Table) -> dict[str, _Values]:
    names = one_chunk(table["name"]).dictionary_encode()
    if not len(names):
        return {}
    codes = names.indices.to_numpy()
    # Ordered by name, so each name is one stretch.
    starts = np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1, [len(codes)]])
    out: dict[str, _Values] = {}
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        part = table.slice(start, stop - start)
        value, text = one_chunk(part["value"]), one_chunk(part["text"])
        if text.null_count < len(text):
            value = pa.compute.coalesce(text, value.cast(pa.string()))
        hashes, checks, times = (one_chunk(part[key]).to_numpy() for key in ("hash", "hash_2", "time"))
        out[names.dictionary[int(codes[start])].as_py()] = _Values(hashes, checks, times, value)
    return out
