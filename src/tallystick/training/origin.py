"""Where a model is from: the machine and packages that it was trained with, its commit, its run, its data."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tallystick.gate.environment import observe, required_packages

#: Packages that numbers of tabular models go through, if the model brings them in or not.
_ALWAYS = ("numpy", "pandas", "scipy", "scikit-learn", "xgboost", "lightgbm")


def environment(model: Any, requirements: Path) -> dict[str, str]:
    """Return what of this machine can change a number: Python, processor, BLAS, threads, locale, packages.

    Packages (`package:<name>` -> version) are those of the model's requirements file, of the classes that its steps
    are of, and the usual ones.
    """
    return observe(sorted({*_ALWAYS, *map(str.lower, required_packages(requirements)), *_packages_of(model)}))


def unpinned(requirements: Path) -> list[str]:
    """Return the requirements that name no single version."""
    return [line for line in _lines(requirements) if "==" not in line and " @ " not in line]


def lineage(frame: pd.DataFrame, rows: int, run_id: str | None, folder: Path) -> dict[str, str]:
    """Return git commit, run, digest of the captured data, rows that were given, time of capture (UTC)."""
    found = {
        "captured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": str(rows),
        "data_digest": data_digest(frame),
        "git_commit": git_commit(folder),
        "run_id": run_id or "",
    }
    return {key: value for key, value in found.items() if value}


def data_digest(frame: pd.DataFrame) -> str:
    """Return a digest of names and values, in order; empty for values that have no hash, such as lists."""
    try:
        hashes = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    except TypeError:
        return ""
    whole = hashlib.blake2b(digest_size=16)
    whole.update("\0".join(map(str, frame.columns)).encode())
    whole.update(np.ascontiguousarray(hashes).tobytes())
    return whole.hexdigest()


def git_commit(folder: Path) -> str:
    """Return the commit that is checked out around `folder`; empty where there is none. Runs no program."""
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        try:
            if git.is_file():  # a worktree: the file says where its own files are
                git = parent / git.read_text().removeprefix("gitdir:").strip()
            head = (git / "HEAD").read_text().strip()
        except OSError:
            continue
        return _ref(git, head.removeprefix("ref: ")) if head.startswith("ref: ") else head
    return ""


def _ref(git: Path, name: str) -> str:
    common = git / "commondir"
    roots = [git, git / common.read_text().strip()] if common.is_file() else [git]
    for root in roots:
        if (root / name).is_file():
            return (root / name).read_text().strip()
        packed = root / "packed-refs"
        if packed.is_file():
            found = re.search(rf"^([0-9a-f]+) {re.escape(name)}$", packed.read_text(), re.MULTILINE)
            if found:
                return found[1]
    return ""


def _lines(requirements: Path) -> list[str]:
    try:
        lines = requirements.read_text().splitlines()
    except OSError:
        return []
    bare = (line.partition("#")[0].partition(";")[0].strip() for line in lines)
    return [line for line in bare if line and not line.startswith("-")]


def _packages_of(model: Any) -> set[str]:
    """Return packages of the classes of a model and its steps; most are named as their module is."""
    roots = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    for attribute in ("steps", "transformers_", "transformer_list"):
        parts = getattr(model, attribute, None)
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, tuple) and len(part) > 1 and not isinstance(part[1], str):
                roots |= _packages_of(part[1])
    return {"scikit-learn" if root == "sklearn" else root for root in roots} - {"builtins", "__main__", "tallystick"}
