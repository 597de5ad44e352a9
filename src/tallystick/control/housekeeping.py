"""Files that nothing refers to any more: logs of deleted endpoints, copies of models that nobody serves."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection
from pathlib import Path

#: A copy of a model is left alone for so long: a worker may be fetching it before control knows of it.
UNUSED_AFTER_S = 24 * 3600.0


def remove_unused(data_dir: Path, entity_ids: Collection[str], digests: Collection[str]) -> list[Path]:
    """Remove the logs of served entities not in `entity_ids` and old copies of models not in `digests`.

    Returns what was removed. Blocks.
    """
    removed = []
    for path in (data_dir / "logs").glob("*.log*"):
        # <entity id>.build.log, <entity id>-<number>.log, and their older halves.
        if path.name.split(".")[0].split("-")[0] not in entity_ids:
            path.unlink(missing_ok=True)
            removed.append(path)
    oldest = time.time() - UNUSED_AFTER_S
    for path in (data_dir / "models").glob("*"):
        if path.name not in digests and path.stat().st_mtime < oldest:
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
    return removed
