"""Incidents of one endpoint on disk, so that a successor knows what is open, and control what was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tallystick.monitor.incidents import MAX_OPEN, Book, Change, Incident, with_closed
from tallystick.private_file import replace_private
from tallystick.protocol.monitoring import IncidentState

#: Closed incidents that are kept of one endpoint; the oldest go first.
MAX_KEPT = 200


class IncidentFiles:
    """A JSON file for each incident. What cannot be read is passed over, and kept."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self._folder, self._endpoint = folder, endpoint

    def load(self) -> Book:
        """Return the book: all that are open, the last number, and when the others were closed."""
        found = list(self._all())
        book = Book(
            self._endpoint,
            tuple(each for each in found if each.state is IncidentState.OPEN),
            last_id=max((number for number, _ in self._paths()), default=0),
        )
        return with_closed(book, found)

    def save(self, changes: Iterable[Change]) -> None:
        """Write what changed; forget the oldest of those that are closed. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for change in changes:
            replace_private(self._folder / f"{change.incident.id}.json", msgspec.json.encode(change.incident))
        paths = sorted(self._paths())
        if len(paths) <= MAX_KEPT + MAX_OPEN:
            return
        # The newest number stays, since it must never be given twice.
        closed = [each.id for each in self._all() if each.state is IncidentState.CLOSED]
        for number in sorted(closed)[: len(paths) - MAX_KEPT]:
            with contextlib.suppress(OSError):
                (self._folder / f"{number}.json").unlink()

    def _all(self) -> Iterable[Incident]:
        for _, path in sorted(self._paths()):
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                yield msgspec.json.decode(path.read_bytes(), type=Incident)

    def _paths(self) -> list[tuple[int, Path]]:
        return [(int(path.stem), path) for path in self._folder.glob("*.json") if path.stem.isdecimal()]
