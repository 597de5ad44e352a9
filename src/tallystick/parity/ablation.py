"""Ablation of the environment: which package, put back to training's version, gives training's predictions again.

A search that decides (`search`, `ablate`) and a shell that builds environments with uv and runs the model in them
(`UvRunner`). Takes a build for each question, so minutes: never beside live traffic, but in a process that can wait.
The model runs in a process of its own; rows and predictions pass as JSON.
"""

from __future__ import annotations

import json
import platform
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
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


class Because(Enum):
    """What a failure is of."""

    #: Packages could not be reached, time was up, memory was short: that says nothing of versions.
    CIRCUMSTANCES = auto()
    #: These versions do not go together.
    VERSIONS = auto()
    #: The model raises with these versions.
    MODEL = auto()


class AblationFailed(TallystickError):
    """An environment could not be built, or the model did not answer in it.

    `message` has the last words of whoever failed, for who runs the command; `brief` neither a stack trace nor what
    the model said of rows, for a verdict.
    """

    def __init__(self, message: str, brief: str = "", because: Because = Because.CIRCUMSTANCES) -> None:
        super().__init__(message)
        self.brief = brief or message
        self.because = because


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
    known = compared(trained, serving)
    levers = levers_of(known, trained)
    before, after = _versions(serving), _versions(trained)
    if not levers:
        return replace(known, is_cleared=not known.relevant, ruling=no_lever(known))
    here = _or_nothing(runner, before)
    if _is_equal(golden, here):
        return replace(known, is_cleared=True, ruling=_BUILT_AGAIN)
    pulled, there = _as_in_training(runner, before, after, levers)
    if not _is_equal(golden, there):
        is_same = _is_alike(golden, here, there)
        if len(pulled) < len(levers):
            return replace(known, ruling=(_NOT_PACKAGES if is_same else _NOT_ALONE) + f" {_NO_PYTHON}")
        return replace(known, is_cleared=is_same, ruling=_NOT_THE_CAUSE if is_same else _NOT_ALONE)
    tries = search(pulled)
    try:
        asked = next(tries)
        for _ in range(most_builds - 2 - (len(pulled) < len(levers))):
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

_NOT_PACKAGES = "Training's packages give the same predictions as those here: they are not the cause."
_NO_PYTHON = "Training's Python is another one, and could not be had."


def compared(trained: Mapping[str, str], serving: Mapping[str, str]) -> Environment:
    """Return what differs between two environments, as golden files have them."""
    keys = sorted(set(trained) | set(serving))
    found = read_environment({key: (trained.get(key, ""), serving.get(key, "")) for key in keys})
    assert found is not None
    return found


def levers_of(known: Environment, trained: Mapping[str, str]) -> list[str]:
    """Return the names of what differs and may be put back to training's version: Python and packages."""
    return [each.name for each in known.relevant if _is_lever(each.name, trained) and each.training]


def _or_nothing(runner: Runner, versions: Mapping[str, str]) -> list[list[Any]]:
    """Return predictions; none where the model raises, which in training it did not."""
    try:
        return runner.predict(versions)
    except AblationFailed as error:
        if error.because is not Because.MODEL:
            raise
        return []


def _as_in_training(
    runner: Runner, before: Mapping[str, str], after: Mapping[str, str], levers: list[str]
) -> tuple[list[str], list[list[Any]]]:
    """Return which levers could be pulled, and what is predicted then: all, or all but Python, which is no package.

    Packages come from an index, which many servers reach that cannot fetch another Python.
    """
    try:
        return levers, runner.predict({**before, **{name: after[name] for name in levers}})
    except AblationFailed:
        packages = [name for name in levers if name != "python"]
        if not packages or len(packages) == len(levers):
            raise
    return packages, runner.predict({**before, **{name: after[name] for name in packages}})


def no_lever(known: Environment) -> str:
    """Return in words why nothing can be built that would tell more."""
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
    except AblationFailed as error:
        if error.because is Because.CIRCUMSTANCES:
            raise
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

    Without network, `offline` takes packages from uv's cache and `find_links` from folders of wheels. `scratch` is
    where the temporary folders are made; None: where the system has such. The times are of one build, and of one load
    with the predictions.
    """

    model: Path
    golden: Golden
    uv: str = ""
    offline: bool = False
    find_links: tuple[str, ...] = ()
    scratch: Path | None = None
    build_timeout_s: float = BUILD_TIMEOUT_S
    predict_timeout_s: float = PREDICT_TIMEOUT_S

    def predict(self, versions: Mapping[str, str]) -> list[list[Any]]:
        """Return predictions of the golden rows in an environment of these versions; raises AblationFailed."""
        with tempfile.TemporaryDirectory(prefix="tallystick-ablation-", dir=self.scratch) as name:
            folder = Path(name)
            for argv in self.commands(versions, folder):
                failure = f"an environment with {_told(versions)} could not be built"
                _run(argv, self.build_timeout_s, failure, Because.VERSIONS)
            rows, answer = folder / "rows.json", folder / "answer.json"
            columns = [{"name": c.name, "dtype": c.dtype, "values": c.values} for c in self.golden.columns]
            rows.write_text(json.dumps(columns))
            # Isolated: neither this process's paths nor its environment variables for Python reach the other. And no
            # bytecode: code in the model's folder would get files that change its digest.
            python = [str(folder / "venv/bin/python"), "-I", "-B"]
            argv = [*python, str(_SCRIPT), str(self.model), str(rows), str(answer)]
            failure = f"the model gave no predictions with {_told(versions)}"
            _run(argv, self.predict_timeout_s, failure, Because.MODEL)
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


def _words_of_uv(said: str) -> str:
    """Return what uv could not and the last reason, without what a package that it built printed.

    >>> _words_of_uv("error: Failed to build `a==1`\\n  cause: exit status 1\\n[stderr]\\nTraceback (most recent …")
    'Failed to build `a==1`: exit status 1'
    """
    told = re.split(r"\[std(?:out|err)\]|Traceback \(|\bhint:", said)[0]
    first, *causes = (" ".join(part.split()) for part in re.split(r"\bcaused? by:|\bcause:", told, flags=re.IGNORECASE))
    return ": ".join([first.removeprefix("error: "), *causes[-1:]])


def _words_of_python(said: str) -> str:
    """Return which exception ended a program; what it says only where that names a module.

    >>> _words_of_python("Traceback …\\nModuleNotFoundError: No module named 'mine'")
    "ModuleNotFoundError: No module named 'mine'"
    >>> _words_of_python("Traceback …\\nValueError: could not convert string to float: 'Ann'")
    'ValueError'
    """
    last = next((line for line in reversed(said.splitlines()) if re.match(r"[A-Za-z_][\w.]*(?::|$)", line)), "")
    name = last.partition(":")[0].rpartition(".")[2]
    return last if name in ("ModuleNotFoundError", "ImportError") else name


def _run(argv: list[str], timeout_s: float, failure: str, because: Because) -> None:
    brief = _words_of_python if because is Because.MODEL else _words_of_uv
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise AblationFailed(f"{failure}: it took longer than {timeout_s:g} s") from error
    except OSError as error:
        raise AblationFailed(f"{failure}: {error}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace")
        words = without_secrets(" ".join(said.split())[-1000:])[-500:]
        why = without_secrets(brief(said)[:1000])[:300] or f"exit status {done.returncode}"
        raise AblationFailed(
            f"{failure}: {words}{_hint(words)}",
            f"{failure}: {why}{_hint(words, is_server=True)}",
            because if done.returncode != -signal.SIGKILL and not _hint(words) else Because.CIRCUMSTANCES,
        )


def _hint(words: str, *, is_server: bool = False) -> str:
    """Return what to do where packages could not be reached; `is_server` for who sets variables and calls nothing."""
    signs = ("dns error", "connect", "offline", "network", "timed out", "Failed to fetch")
    if not any(sign.lower() in words.lower() for sign in signs):
        return ""
    if is_server:
        return " (without network: UV_OFFLINE=1 takes packages from uv's cache, UV_FIND_LINKS from a folder of wheels)"
    return (
        " (without network: packages from uv's cache with offline=True or UV_OFFLINE=1, "
        "from a folder of wheels with find_links or UV_FIND_LINKS)"
    )
