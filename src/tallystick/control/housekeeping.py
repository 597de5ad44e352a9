"""Files that nothing refers to any more: logs of deleted endpoints, copies of models that nobody serves."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection
from pathlib import Path

from tallystick.protocol.monitoring import ABLATIONS_FOLDER, PARITY_FOLDER

#: A copy of a model is left alone for so long: a worker may be fetching it before control knows of it.
UNUSED_AFTER_S = 24 * 3600.0
#: A younger file may be that of an endpoint which was created while we looked.
SETTLED_AFTER_S = 600.0


def remove_unused(
    data_dir: Path,
    run_dir: Path,
    entity_ids: Collection[str],
    digests: Collection[str],
    endpoint_ids: Collection[str],
) -> list[Path]:
    """Remove what was kept for what is not named: logs of served entities, copies of models, incidents of endpoints.

    Returns what was removed. Blocks.
    """
    removed = []
    now = time.time()
    # <entity id>.build.log, <entity id>-<number>.log, and their older halves.
    for path in (data_dir / "logs").glob("*.log*"):
        if path.name.split(".")[0].split("-")[0] not in entity_ids:
            removed.append(path)
    # w-<entity id>-<number>.board and <entity id>-<number>.json.
    for path in [*run_dir.glob("w-*.board"), *(run_dir / "specs").glob("*.json")]:
        if path.stem.removeprefix("w-").rpartition("-")[0] not in entity_ids:
            removed.append(path)
    # What is known of environments is of a model, and goes with the last copy of it.
    ablations = data_dir / PARITY_FOLDER / ABLATIONS_FOLDER
    removed += [path for path in ablations.glob("*.json*") if path.name.split("-")[0] not in digests]
    removed = [path for path in removed if now - path.stat().st_mtime > SETTLED_AFTER_S]
    for path in removed:
        path.unlink(missing_ok=True)
    kept = [(path, UNUSED_AFTER_S) for path in (data_dir / "models").glob("*") if path.name not in digests]
    kept += [
        (path, SETTLED_AFTER_S)
        for path in (data_dir / PARITY_FOLDER).glob("*")
        if path.name not in endpoint_ids and path != ablations
    ]
    for path, least_s in kept:
        if now - path.stat().st_mtime > least_s:
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
    return removed
