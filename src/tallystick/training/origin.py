"""Where a model is from: the machine and packages that it was trained with, its commit, its run, its data."""

from __future__ import annotations

import hashlib
import locale
import os
import platform
import re
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

#: Packages that numbers of tabular models go through, if the model brings them in or not.
_ALWAYS = ("numpy", "pandas", "scipy", "scikit-learn", "xgboost", "lightgbm")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def environment(model: Any, requirements: Path) -> dict[str, str]:
    """Return what of this machine can change a number: Python, processor, BLAS, threads, locale, packages.

    Packages (`package:<name>` -> version) are those of the model's requirements file, of the classes that its steps
    are of, and the usual ones.
    """
    found = {
        "python": platform.python_version(),
        "platform": platform.system(),
        "machine": platform.machine(),
        "cpu": _processor(),
        "blas": _blas(),
        "threads": next((os.environ[name] for name in _THREAD_VARIABLES if os.environ.get(name)), str(os.cpu_count())),
        "locale": ".".join(part or "C" for part in locale.getlocale()),
        "time_zone": time.tzname[0],
        "pandas_text": str(pd.Series(["a"]).dtype),
    }
    for name in sorted({*_ALWAYS, *_required(requirements), *_packages_of(model)}):
        try:
            found[f"package:{name}"] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {key: value for key, value in found.items() if value}


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


def _required(requirements: Path) -> list[str]:
    names = (re.match(r"[A-Za-z0-9][\w.-]*", line) for line in _lines(requirements))
    return [name[0].lower() for name in names if name]


def _packages_of(model: Any) -> set[str]:
    """Return packages of the classes of a model and its steps; most are named as their module is."""
    roots = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    for attribute in ("steps", "transformers_", "transformer_list"):
        parts = getattr(model, attribute, None)
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, tuple) and len(part) > 1 and not isinstance(part[1], str):
                roots |= _packages_of(part[1])
    return {"scikit-learn" if root == "sklearn" else root for root in roots} - {"builtins", "__main__", "tallystick"}


def _blas() -> str:
    # NumPy's types do not know that this form returns the table.
    built: Any = np.show_config(mode="dicts")  # type: ignore[call-overload,unused-ignore]
    blas = (built or {}).get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', '')} {blas.get('version', '')}".strip()


def _processor() -> str:
    if sys.platform != "linux":
        return platform.processor()
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
