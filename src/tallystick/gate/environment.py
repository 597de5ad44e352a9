"""What of the machine can change a prediction: packages, Python, processor, threads, locale; and what of it differs.

Capture writes down what `observe` returns, and the gate compares it with what `observe` returns where the model serves.
"""

from __future__ import annotations

import locale
import os
import platform
import re
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tallystick.gate.tolerance import Closeness

PACKAGE = "package:"
#: Compared as the numbers' world; the other keys (threads, locale, time zone) do not change what a CPU computes.
_WORLD = ("python", "platform", "machine", "cpu", "blas")
#: Rows come to every model in these.
_ALWAYS = ("numpy", "pandas")
#: Named by every model that MLflow logs; it loads them, and half of PyPI with them.
_LOADERS = frozenset({"mlflow", "mlflow-skinny"})
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Differing(NamedTuple):
    """One thing that is not as it was."""

    key: str
    then: str
    now: str
    #: Whether the model uses it: a package that it imports, or the world that all numbers live in.
    is_used: bool

    def __str__(self) -> str:
        name = self.key.removeprefix(PACKAGE)
        return f"{name} is {self.now or 'not installed'} here, {self.then} in training"


def observe(packages: Iterable[str]) -> dict[str, str]:
    """Return this process's environment, with the versions of some packages; what is not known is left out.

    Packages are keys `package:<name>`.
    """
    found = {
        "python": platform.python_version(),
        "platform": platform.system(),
        "machine": platform.machine(),
        "threads": next((os.environ[name] for name in _THREAD_VARIABLES if os.environ.get(name)), str(os.cpu_count())),
        "locale": ".".join(part or "C" for part in locale.getlocale()),
        "time_zone": time.tzname[0],
        "cpu": _processor(),
        "blas": _blas(),
        "pandas_text": str(pd.Series(["a"]).dtype),
    }
    found = {key: value for key, value in found.items() if value}
    for name in packages:
        if version := _version(name):
            found[PACKAGE + name] = version
    return found


def packages_of(environment: Mapping[str, str]) -> list[str]:
    """Return the packages that an environment names."""
    return [key.removeprefix(PACKAGE) for key in environment if key.startswith(PACKAGE)]


def differences(then: Mapping[str, str], now: Mapping[str, str], used: Collection[str]) -> list[Differing]:
    """Return what differs, likely causes first: packages that the model uses, its Python, then the rest.

    `used` are names of packages, as pip writes them. Keys that one side does not know are not compared, except for
    packages, which are then not installed.
    """
    names = {canonical_name(name) for name in used}
    found = []
    for key, before in then.items():
        after = now.get(key, "")
        is_package = key.startswith(PACKAGE)
        if not (after or is_package) or _plain(key, before) == _plain(key, after):
            continue
        is_used = canonical_name(key.removeprefix(PACKAGE)) in names if is_package else key in _WORLD
        found.append(Differing(key, before, after, is_used))
    return sorted(found, key=_rank)


def closeness(then: Mapping[str, str], found: Iterable[Differing]) -> Closeness:
    """Return how alike the two machines are, as far as numbers go. One of which nothing is known is another one."""
    if not then:
        return Closeness.OTHER
    keys = {each.key for each in found if each.is_used or not each.key.startswith(PACKAGE)}
    if any(key.startswith(PACKAGE) or key in _WORLD for key in keys):
        return Closeness.OTHER
    return Closeness.THREADS if "threads" in keys else Closeness.SAME


def required_packages(requirements: Path) -> list[str]:
    """Return the packages that a requirements file names; none where there is no such file."""
    try:
        lines = requirements.read_text().splitlines()
    except OSError:
        return []
    return [name for line in lines if (name := _requirement_name(line))]


def used_packages(requirements: Path) -> frozenset[str]:
    """Return the packages that a model computes with: those of its requirements file, and what they require."""
    waiting = [*_ALWAYS, *required_packages(requirements)]
    found: set[str] = set()
    while waiting:
        name = canonical_name(waiting.pop())
        if name in found or name in _LOADERS:
            continue
        found.add(name)
        try:
            wanted = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        # What an extra brings is not what the model asked for.
        waiting += [needed for line in wanted if "extra ==" not in line and (needed := _requirement_name(line))]
    return frozenset(found)


def _rank(each: Differing) -> tuple[bool, bool, str]:
    return (not each.is_used, not each.key.startswith(PACKAGE), each.key)


def _plain(key: str, value: str) -> str:
    # "Linux-6.8.0-generic-x86_64" and "Linux": the kernel computes nothing.
    return re.split(r"[-\s]", value)[0].lower() if key == "platform" else value


def canonical_name(name: str) -> str:
    """Return a package's name as package indexes compare it.

    >>> canonical_name("Scikit_Learn")
    'scikit-learn'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _requirement_name(line: str) -> str:
    match = re.match(r"\s*([A-Za-z0-9][\w.-]*)", line.partition("#")[0])
    return match[1] if match else ""


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _blas() -> str:
    try:
        # NumPy's types do not know that this form returns the table.
        built: Any = np.show_config(mode="dicts")  # type: ignore[call-overload,unused-ignore]
    except TypeError:  # NumPy before 1.25, in a model's own environment
        return ""
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
