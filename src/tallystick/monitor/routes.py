"""Reads the published route table, and says whether there is anything to do: without a library that is large."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tallystick.monitor.places import WatchedEndpoint, watched_endpoints
from tallystick.protocol.monitoring import EndpointParity, EntityParity
from tallystick.protocol.routes import RouteTable, table_path


class Routes:
    """The route table as it is on disk."""

    def __init__(self, data_dir: Path, tables_root: str) -> None:
        self._data_dir, self._tables_root = data_dir, tables_root
        self._changed_at = 0
        self._table = RouteTable()

    def read(self) -> dict[str, WatchedEndpoint]:
        """Return all endpoints by name, as they are published now."""
        path = table_path(self._data_dir)
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            changed_at = path.stat().st_mtime_ns
            if changed_at != self._changed_at:
                self._table = msgspec.msgpack.decode(path.read_bytes(), type=RouteTable)
                self._changed_at = changed_at
        return watched_endpoints(self._table, self._data_dir, self._tables_root)

    def has_work(self, watched: Mapping[str, WatchedEndpoint]) -> bool:
        """Whether a watched endpoint has a reference and a table; where tables are, tells their folder."""
        return any(
            each.is_watched and each.table and has_table(each.table) and any(one.reference for one in each.entities)
            for each in watched.values()
        )

    def standing(self, watched: Mapping[str, WatchedEndpoint]) -> dict[str, EndpointParity]:
        """Return how endpoints stand before any row was read."""
        return {
            name: EndpointParity(each.id, {one.name: EntityParity(problem=one.problem) for one in each.entities})
            for name, each in watched.items()
        }


def has_table(location: str) -> bool:
    """Whether there is a table; of what is not on this disk it is not known, so there may be."""
    return "://" in location or (Path(location) / "_delta_log").is_dir()
