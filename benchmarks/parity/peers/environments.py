"""The environment of each tool, made by uv below the cache of ParityBench with the pins of pins.toml."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.parity.data import CACHE

HERE = Path(__file__).parent
FOLDER = CACHE / "peers"
# Run by our own Python, without pins.
OWN = ("tallystick", "by_hand")
# No telemetry, and one core a tool: other work on the machine is not to be slowed.
QUIET = {
    "DO_NOT_TRACK": "1",
    "NML_DISABLE_USAGE_LOGGING": "1",
    "DEEPCHECKS_DISABLE_LATEST": "true",
    "WHYLOGS_NO_ANALYTICS": "True",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONWARNINGS": "ignore",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class DidNotInstall(Exception):
    """The environment of a tool could not be made; the text is the last line of uv."""


class DidNotRun(Exception):
    """The script of a tool ended before its last case; the text is the last line it wrote."""


@dataclass(frozen=True)
class Pins:
    """What a tool is run with: the version of Python, requirements, and the distributions to show."""

    python: str
    requirements: tuple[str, ...]
    shown: tuple[str, ...]


def read_pins(path: Path = HERE / "pins.toml") -> dict[str, Pins]:
    return {
        tool: Pins(given["python"], tuple(given["requirements"]), tuple(given["shown"]))
        for tool, given in tomllib.loads(path.read_text()).items()
    }


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def _uv(*arguments: str) -> str:
    from uv import find_uv_bin

    done = subprocess.run([find_uv_bin(), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DidNotInstall(" ".join(line.strip() for line in done.stderr.splitlines() if line.strip())[-300:])
    return done.stdout


def python_of(tool: str, pins: Pins) -> Path:
    """Return the Python of a tool's environment, making the environment when its pins are new."""
    folder = FOLDER / tool
    stamp = folder / ".made-with"
    wanted = json.dumps([pins.python, *pins.requirements])
    python = folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _uv("venv", "--quiet", "--python", pins.python, str(folder))
        _uv("pip", "install", "--quiet", "--python", str(python), *pins.requirements)
        stamp.write_text(wanted)
    return python


def versions(python: Path, names: tuple[str, ...]) -> str:
    """Return `name version` of distributions in an environment, and its Python."""
    asked = (
        "import sys, platform, importlib.metadata as m;"
        "print(', '.join([f'{n} {m.version(n)}' for n in sys.argv[1:]] + ['Python ' + platform.python_version()]))"
    )
    return subprocess.run([python, "-c", asked, *names], capture_output=True, text=True, check=True).stdout.strip()


def run_adapter(tool: str, python: Path, cases: Path, out: Path, timeout_s: float) -> None:
    """Run a tool's script over all cases. `out` is there when it came to the last one; its log is beside it."""
    script = HERE / "adapters" / f"{tool}_adapter.py"
    log, partial = out.with_suffix(".log"), out.with_suffix(".partial")
    out.unlink(missing_ok=True)
    environment = {**os.environ, **QUIET}
    environment.pop("PYTHONPATH", None)
    with log.open("w") as lines:
        try:
            done = subprocess.run(
                [python, script, cases, partial],
                stdout=lines,
                stderr=lines,
                env=environment,
                cwd=out.parent,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DidNotRun(f"not done after {timeout_s:.0f} s") from error
    if done.returncode:
        raise DidNotRun(_last_line(log.read_text()))
    partial.replace(out)


def own_python() -> Path:
    return Path(sys.executable)
