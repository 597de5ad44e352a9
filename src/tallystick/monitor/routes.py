"""Reads the published route table, and says whether there is anything to do: without a library that is large.

What the monitor last knew of endpoints is kept in a file, so that a monitor that has just started tells it before it
has read a single row.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from tallystick.monitor.places import WatchedEndpoint, oldest_s, watched_endpoints, withheld_of
from tallystick.private_file import replace_private
from tallystick.protocol.monitoring import PARITY_FOLDER, EndpointParity, EntityParity
from tallystick.protocol.routes import RouteTable, table_path

#: Kept by `keeping`, which needs NumPy; of it only the place is read here.
PROFILE_FILE = "live.msgpack"
#: Also kept by `keeping`.
SKETCHES_FILE = "sketches.msgpack"
_STANDING_FILE = "standing.msgpack"


class _Place(msgspec.Struct, frozen=True):
    """How far a table was read, and what was forgotten when this was written."""

    version: int = -1
    withheld: frozenset[str] = frozenset()
    oldest_s: int = 0


class Routes:
    """The route table as it is on disk."""

    def __init__(self, data_dir: Path, tables_root: str, clock: Callable[[], float] = time.time) -> None:
        self._data_dir, self._tables_root, self._clock = data_dir, tables_root, clock
        self._standing_path = data_dir / PARITY_FOLDER / _STANDING_FILE
        self._changed_at = 0
        self._table = RouteTable()
        self._kept: dict[str, EndpointParity] | None = None

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
        """Whether a watched endpoint with a reference has rows that were not read, or an incident that may be over.

        So is what is kept of any endpoint and has to be forgotten.
        """
        now_s = self._clock()
        return any(has_to_forget(each, now_s) for each in watched.values()) or any(
            each.is_watched
            and bool(each.table)
            and any(one.reference for one in each.entities)
            and (has_new_rows(each) or self._may_have_incidents(each))
            for each in watched.values()
        )

    def standing(self, watched: Mapping[str, WatchedEndpoint]) -> dict[str, EndpointParity]:
        """Return how endpoints stand before any row was read: as they stood last."""
        return {name: self._standing(each) for name, each in watched.items()}

    def keep(self, standing: Mapping[str, EndpointParity]) -> None:
        """Keep how endpoints stand, for a successor. What the disk refuses is not kept."""
        self._kept = {each.id: each for each in standing.values()}
        with contextlib.suppress(OSError):
            self._standing_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_private(self._standing_path, msgspec.msgpack.encode(self._kept))

    def _standing(self, endpoint: WatchedEndpoint) -> EndpointParity:
        known = self._known().get(endpoint.id, EndpointParity(endpoint.id))
        entities = {
            one.name: msgspec.structs.replace(known.entities.get(one.name, EntityParity()), problem=one.problem)
            for one in endpoint.entities
        }
        return msgspec.structs.replace(known, entities=entities)

    def _may_have_incidents(self, endpoint: WatchedEndpoint) -> bool:
        known = self._known().get(endpoint.id)
        if known is None:
            return any(endpoint.incidents.glob("*.json"))
        return bool(known.incidents)

    def _known(self) -> dict[str, EndpointParity]:
        if self._kept is None:
            try:
                self._kept = msgspec.msgpack.decode(self._standing_path.read_bytes(), type=dict[str, EndpointParity])
            except (OSError, msgspec.MsgspecError):
                self._kept = {}
        return self._kept


def drop_old_sketches(watched: Mapping[str, WatchedEndpoint], now_s: float) -> None:
    """Delete sketches whose newest rows are too old to be kept: of what gets no rows, nobody else may look for long."""
    for endpoint in watched.values():
        path = endpoint.folder / SKETCHES_FILE
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest_s(endpoint, now_s):
                path.unlink()


def has_to_forget(endpoint: WatchedEndpoint, now_s: float) -> bool:
    """Whether files of an endpoint may have what its settings of today, or its age, say is not to be kept."""
    has_sketches = (endpoint.folder / SKETCHES_FILE).exists()
    if not has_sketches and not (endpoint.folder / PROFILE_FILE).exists():
        return False
    place = _place(endpoint)
    return not withheld_of(endpoint) <= place.withheld or (has_sketches and place.oldest_s < oldest_s(endpoint, now_s))


def has_new_rows(endpoint: WatchedEndpoint) -> bool:
    """Whether a table has another version than was read; of what is not on this disk it is not known, so it may."""
    if "://" in endpoint.table:
        return True
    newest = -1
    try:
        with os.scandir(Path(endpoint.table) / "_delta_log") as entries:
            for entry in entries:
                stem, _, kind = entry.name.partition(".")
                if kind == "json" and stem.isdecimal():
                    newest = max(newest, int(stem))
    except FileNotFoundError:
        return False
    except OSError:
        # Whoever reads it is told why that cannot be done.
        return True
    if newest < 0:
        return False
    return _place(endpoint).version != newest


def _place(endpoint: WatchedEndpoint) -> _Place:
    try:
        return msgspec.msgpack.decode((endpoint.folder / PROFILE_FILE).read_bytes(), type=_Place)
    except (OSError, msgspec.MsgspecError):
        return _Place()
