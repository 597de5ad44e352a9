"""Files that nobody else may read, each put in the place of the old one at once, so that no reader sees half of it."""

from __future__ import annotations

import os
from pathlib import Path


def replace_private(path: Path, content: bytes, *, is_synced: bool = False) -> None:
    """Write a file of mode 0600 beside the path, then put it there; `is_synced` waits for the disk. Raises OSError."""
    temporary = path.with_name(f"{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        if is_synced:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
