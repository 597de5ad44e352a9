"""Ablation of the environment: which package, put back to training's version, gives training's predictions again.

A search that decides (`search`, `ablate`) and a shell that builds environments with uv and runs the model in them
(`UvRunner`). Takes a build for each question, so minutes: on demand only, never beside live traffic. The model runs in
a process of its own; rows and predictions pass as JSON.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tallystick.errors import TallystickError
from tallystick.gate.environment import PACKAGE
from tallystick.gate.golden import Golden
from tallystick.parity.endpoint import Environment, read_environment
from tallystick.parity.intervene import FLIP_SHARE, SAME
from tallystick.protocol.scrub import without_secrets

#: Environments that one ablation may build: a search over 30 packages for one guilty takes about seven.
MOST_BUILDS = 12
BUILD_TIMEOUT_S = 600.0
PREDICT_TIMEOUT_S = 120.0
#: Needed to load the model, whatever the golden file lists.
_LOADER = "mlflow-skinny"
_SCRIPT = Path(__file__).with_name("predict_golden.py")


class AblationFailed(TallystickError):
    """An environment could not be built, or the model did not answer in it."""


class Runner(Protocol):
    """Predicts golden rows in an environment of these versions (`python` and package names)."""

    def predict(self, versions: Mapping[str, str]) -> list[list[Any]]:
        """Return rows x outputs. Blocks for as long as a build takes; raises AblationFailed."""


def ablate(golden: Golden, serving: Mapping[str, str], runner: Runner, most_builds: int = MOST_BUILDS) -> Environment:
    """Return the differences between training's and serving's environment, and which of them change predictions.

    `serving` has the keys of a golden file's environment. `guilty` is the least set found that, at training's versions
    within serving's environment, gives training's predictions; empty when none was found within `most_builds` builds.
    `is_cleared` when the environments, built again, predict alike. `ruling` says in words what came out, whichever it
    was. Raises AblationFailed when either cannot be built.
    """
    trained = golden.environment
    keys = sorted(set(trained) | set(serving))
    known = read_environment({key: (trained.get(key, ""), serving.get(key, "")) for key in keys})
    assert known is not None
    levers = [each.name for each in known.relevant if _is_lever(each.name, trained) and each.training]
    before, after = _versions(serving), _versions(trained)
    if not levers:
        return replace(known, is_cleared=not known.relevant, ruling=_no_lever(known))
    here = runner.predict(before)
    if _is_equal(golden, here):
        return replace(known, is_cleared=True, ruling=_BUILT_AGAIN)
    there = runner.predict({**before, **{name: after[name] for name in levers}})
    if not _is_equal(golden, there):
        is_same = _is_alike(golden, here, there)
        return replace(known, is_cleared=is_same, ruling=_NOT_THE_CAUSE if is_same else _NOT_ALONE)
    tries = search(levers)
    try:
        asked = next(tries)
        for _ in range(most_builds - 2):
            asked = tries.send(_restores(golden, runner, before, after, asked))
    except StopIteration as done:
        found = replace(known, guilty=done.value)
        return replace(found, ruling=_guilty(found))
    return replace(
        known, ruling=f"Not found within {most_builds} environments; the cause is in: {_told_levers(known)}."
    )


_BUILT_AGAIN = "This environment, built again, gives training's predictions: its versions are not the cause."
_NOT_THE_CAUSE = "Training's environment gives the same predictions as this one: the environment is not the cause."
_NOT_ALONE = (
    "Training's environment gives other predictions than this one, and not training's either: it is not the only cause."
)


def _no_lever(known: Environment) -> str:
    if not known.relevant:
        return "No package differs: the environment is not the cause."
    names = ", ".join(each.name for each in known.relevant)
    return f"No package differs, and what does cannot be built again here: {names}."


def _guilty(found: Environment) -> str:
    named = [each for each in found.relevant if each.name in found.guilty]
    versions = ", ".join(f"{each.name} {each.training} (here {each.serving or 'none'})" for each in named)
    return f"With training's {versions} this environment gives training's predictions again."


def _told_levers(known: Environment) -> str:
    return ", ".join(str(each) for each in known.relevant)


def search(levers: Sequence[str]) -> Generator[frozenset[str], bool, tuple[str, ...]]:
    """Yield sets of levers to pull, be told whether each restores the predictions, and return the guilty ones.

    All together are known to restore them. The shortest sufficient beginning of the list is found by halving; its last
    member is guilty. With that one pulled the rest is searched again, until the guilty alone suffice (a bisection in
    the manner of Zeller & Hildebrandt 2002). For g guilty of n: about g (1 + log2 n) questions, if pulling more levers
    never undoes what fewer restored.

    >>> ask = search(["numpy", "scipy", "pandas"])
    >>> sorted(next(ask))
    ['numpy', 'scipy']
    """
    guilty: list[str] = []
    rest = list(levers)
    while rest:
        low, high = 0, len(rest)
        # rest[:high] with the guilty is enough, rest[:low] is not.
        while high - low > 1:
            middle = (low + high + 1) // 2
            if (yield frozenset([*guilty, *rest[:middle]])):
                high = middle
            else:
                low = middle
        guilty.append(rest[high - 1])
        rest = rest[: high - 1]
        if not rest or (yield frozenset(guilty)):
            break
    return tuple(sorted(guilty, key=list(levers).index))


def _restores(
    golden: Golden, runner: Runner, before: Mapping[str, str], after: Mapping[str, str], pulled: frozenset[str]
) -> bool:
    try:
        answer = runner.predict({**before, **{name: after[name] for name in sorted(pulled)}})
    except AblationFailed:
        # Versions that do not go together answer nothing; more levers must be pulled.
        return False
    return _is_equal(golden, answer)


def _is_lever(name: str, trained: Mapping[str, str]) -> bool:
    return name == "python" or PACKAGE + name in trained


def _versions(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `python` and the packages of an environment, by bare name."""
    found = {key.removeprefix(PACKAGE): text for key, text in environment.items() if key.startswith(PACKAGE) and text}
    return {**found, **({"python": environment["python"]} if environment.get("python") else {})}


def _is_equal(golden: Golden, answer: Sequence[Sequence[Any]]) -> bool:
    """Whether predictions are training's, but for rounding and for leaves that flip."""
    return _is_alike(golden, golden.predictions.values().tolist(), answer)


def _is_alike(golden: Golden, one: Sequence[Sequence[Any]], other: Sequence[Sequence[Any]]) -> bool:
    if [len(row) for row in one] != [len(row) for row in other]:
        return False
    if golden.predictions.texts:
        a, b = (
            np.array([[None if value is None else str(value) for value in row] for row in answer], dtype=object)
            for answer in (one, other)
        )
        return bool(np.mean(np.any(a != b, axis=1)) <= FLIP_SHARE)
    try:
        expected, numbers = (np.array(answer, dtype=np.float64).reshape(len(answer), -1) for answer in (one, other))
    except (TypeError, ValueError):
        return False
    spread = float(np.nanstd(expected)) if len(expected) else 0.0
    allowed = max(SAME, 3 * golden.noise) * np.maximum(np.abs(expected), spread)
    equal = (np.abs(numbers - expected) <= np.maximum(allowed, 1e-12)) | (np.isnan(numbers) & np.isnan(expected))
    return bool(np.mean(~equal.all(axis=1)) <= FLIP_SHARE)


@dataclass(frozen=True)
class UvRunner:
    """Builds each environment with uv in a temporary folder and runs the model at `model` there.

    Without network, `offline` takes packages from uv's cache and `find_links` from folders of wheels.
    """

    model: Path
    golden: Golden
    uv: str = ""
    offline: bool = False
    find_links: tuple[str, ...] = ()

    def predict(self, versions: Mapping[str, str]) -> list[list[Any]]:
        """Return predictions of the golden rows in an environment of these versions; raises AblationFailed."""
        with tempfile.TemporaryDirectory(prefix="tallystick-ablation-") as name:
            folder = Path(name)
            for argv in self.commands(versions, folder):
                _run(argv, BUILD_TIMEOUT_S, f"an environment with {_told(versions)} could not be built")
            rows, answer = folder / "rows.json", folder / "answer.json"
            columns = [{"name": c.name, "dtype": c.dtype, "values": c.values} for c in self.golden.columns]
            rows.write_text(json.dumps(columns))
            # Isolated: neither this process's paths nor its environment variables for Python reach the other.
            argv = [str(folder / "venv/bin/python"), "-I", str(_SCRIPT), str(self.model), str(rows), str(answer)]
            _run(argv, PREDICT_TIMEOUT_S, f"the model gave no predictions with {_told(versions)}")
            answered: list[list[Any]] = json.loads(answer.read_text())
            return answered

    def commands(self, versions: Mapping[str, str], folder: Path) -> list[list[str]]:
        """Return the commands that build the environment in `folder`."""
        uv = self.uv or _uv()
        target = folder / "venv"
        common = ["--no-progress", "--quiet", *(["--offline"] if self.offline else [])]
        pins = [f"{name}=={text}" for name, text in sorted(versions.items()) if name != "python"]
        if not any(pin.startswith(("mlflow==", f"{_LOADER}==")) for pin in pins):
            pins.append(_LOADER)
        links = [part for link in self.find_links for part in ("--find-links", link)]
        python = ["--python", _interpreter(versions["python"])] if "python" in versions else []
        interpreter = ["--python", str(target / "bin/python")]
        return [
            [uv, "venv", *common, *python, str(target)],
            [uv, "pip", "install", *common, *links, *interpreter, *pins],
        ]


def _interpreter(version: str) -> str:
    """Return what uv is asked for: this process's own Python where it will do, which is there without network."""
    return sys.executable if version == platform.python_version() else version


def _told(versions: Mapping[str, str]) -> str:
    shown = [f"{name} {text}" for name, text in list(versions.items())[:4]]
    return ", ".join(shown) + (", …" if len(versions) > 4 else "")


def _uv() -> str:
    try:
        from uv import find_uv_bin
    except ImportError as error:
        raise AblationFailed("uv is not installed: it builds the environments that are compared") from error
    return str(find_uv_bin())


def _run(argv: list[str], timeout_s: float, failure: str) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, timeout=timeout_s, check=False)  # noqa: S603 - our own words
    except subprocess.TimeoutExpired as error:
        raise AblationFailed(f"{failure}: it took longer than {timeout_s:g} s") from error
    except OSError as error:
        raise AblationFailed(f"{failure}: {error}") from error
    if done.returncode:
        words = without_secrets(" ".join(done.stderr.decode(errors="replace").split())[-1000:])[-500:]
        raise AblationFailed(f"{failure}: {words}{_hint(words)}")


def _hint(words: str) -> str:
    """Return what to do where packages could not be reached."""
    signs = ("dns error", "connect", "offline", "network", "timed out", "Failed to fetch")
    if not any(sign.lower() in words.lower() for sign in signs):
        return ""
    return (
        " (without network: packages from uv's cache with offline=True or UV_OFFLINE=1, "
        "from a folder of wheels with find_links or UV_FIND_LINKS)"
    )
