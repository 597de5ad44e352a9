"""Files that survive a power cut: a name that is kept while its content is not would be a model that never loads."""

from __future__ import annotations

import os
from pathlib import Path


def sync_all(path: Path) -> None:
    """Make a file, or a folder with all below it, survive a power cut."""
    for parent, _, files in os.walk(path):
        for name in files:
            sync_one(Path(parent) / name)
        sync_one(Path(parent))
    if path.is_file():
        sync_one(path)


def sync_one(path: Path) -> None:
    """Sync one file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
