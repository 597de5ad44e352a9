"""Where logs are: the supervisor writes what workers print, control what builds and workers report."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

#: What a log request returns at most: the newest lines.
TAIL_BYTES = 256 * 1024
#: A build log is cut over to one old file at this size.
_BUILD_LOG_BYTES = 1 << 20


def worker_log(data_dir: Path, replica_id: str) -> Path:
    """Return the file with what a worker printed."""
    return data_dir / "logs" / f"{replica_id}.log"


class BuildLogs:
    """One file per served entity: how it was brought up."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "logs"
        self._folder.mkdir(parents=True, exist_ok=True)

    def path(self, entity_id: str) -> Path:
        """Return the file of a served entity."""
        return self._folder / f"{entity_id}.build.log"

    def say(self, entity_id: str, text: str) -> None:
        """Append a line, with the time."""
        path = self.path(entity_id)
        if path.exists() and path.stat().st_size > _BUILD_LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("a") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z {text}")


class FileLogs:
    """Reads the logs for the API."""

    def __init__(self, data_dir: Path, builds: BuildLogs) -> None:
        self._data_dir = data_dir
        self._builds = builds

    async def build_log(self, entity_id: str) -> str:
        """Return how the served entity was brought up."""
        return await asyncio.to_thread(_tail, [self._builds.path(entity_id)])

    async def server_log(self, entity_id: str) -> str:
        """Return the newest lines that the served entity's workers printed, worker by worker."""
        return await asyncio.to_thread(self._server_log, entity_id)

    def _server_log(self, entity_id: str) -> str:
        files = sorted((self._data_dir / "logs").glob(f"{entity_id}-*.log"))
        return _tail(files)


def _tail(paths: list[Path]) -> str:
    parts = []
    share = TAIL_BYTES // max(1, len(paths))
    for path in paths:
        old = path.with_suffix(path.suffix + ".1")
        data = b"".join(each.read_bytes()[-share:] for each in (old, path) if each.exists())[-share:]
        text = data.decode(errors="replace")
        parts.append(f"== {path.stem} ==\n{text}" if len(paths) > 1 else text)
    return "\n".join(parts)
