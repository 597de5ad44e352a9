"""A model's own Python environment, built by uv, kept by the hash of what was asked for."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import tallystick
from tallystick.errors import DeploymentFailed
from tallystick.protocol.scrub import without_secrets
from tallystick.protocol.worker_spec import NeedsEnvironment

#: What the worker itself imports; the model's own pins win where it has any.
_WORKER_NEEDS = {"msgspec": "msgspec>=0.19", "pandas": "pandas", "packaging": "packaging", "pyyaml": "pyyaml"}
_DONE = ".tallystick-complete"
BUILD_TIMEOUT_S = 1800.0
_OLDEST_PYTHON = (3, 11)


def requirement_lines(needs: NeedsEnvironment) -> list[str]:
    """Return what to install: the model's requirements, and what the worker needs besides."""
    lines = list(needs.requirements)
    named = {_name(line) for line in lines}
    lines += [line for name, line in _WORKER_NEEDS.items() if name not in named]
    if not named & {"mlflow", "mlflow-skinny"}:
        lines.append("mlflow-skinny")
    return lines


def _name(line: str) -> str:
    for mark in "[=<>!~;@ ":
        line = line.split(mark, 1)[0]
    return line.strip().lower().replace("_", "-")


def environment_key(lines: list[str], python: str) -> str:
    """Return the name of the folder that holds this environment."""
    text = "\n".join([python, *sorted(lines)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


async def build_environment(needs: NeedsEnvironment, folder: Path, say: Callable[[str], None]) -> str:
    """Build the environment below `folder`, or find it there; return its interpreter.

    Output goes to `say`. Raises DeploymentFailed with the last words of uv.
    """
    lines = requirement_lines(needs)
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = ".".join(needs.python.split(".")[:2]) or running
    if _version(python) < _OLDEST_PYTHON:
        say(f"The model was logged with Python {python}; a worker needs 3.11, so it runs with {running}.\n")
        python = running
    target = folder / environment_key(lines, python)
    interpreter = target / "bin" / "python"
    if (target / _DONE).exists():
        say(f"The environment {target.name} is there already.\n")
        return str(interpreter)
    shutil.rmtree(target, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    for reason in needs.reasons:
        say(f"Not met by the running environment: {reason}\n")
    try:
        await _run([_uv(), "venv", "--python", python, str(target)], say)
    except DeploymentFailed:
        if python == running:
            raise
        say(f"There is no Python {python} here; going on with {running}, with which the model may behave otherwise.\n")
        await _run([_uv(), "venv", "--python", sys.executable, str(target)], say)
    wanted = target / "requirements.txt"
    wanted.write_text("\n".join(lines) + "\n")
    await _run([_uv(), "pip", "install", "--python", str(interpreter), "-r", str(wanted)], say)
    link_ourselves(target)
    # Tens of thousands of files: one sync of all is quicker than one of each, and without it a power cut could
    # leave a finished environment of empty files.
    await asyncio.to_thread(os.sync)
    (target / _DONE).touch()
    return str(interpreter)


def link_ourselves(target: Path) -> None:
    """Let the environment's interpreter import this package as it is now, and nothing else of what surrounds it."""
    (packages,) = (target / "lib").glob("python*/site-packages")
    link, package = packages / "tallystick", Path(tallystick.__file__).parent
    if not link.is_symlink() or link.readlink() != package:
        link.unlink(missing_ok=True)
        link.symlink_to(package)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())


def _uv() -> str:
    from uv import find_uv_bin

    return str(find_uv_bin())


async def _run(argv: list[str], say: Callable[[str], None]) -> None:
    say(without_secrets(f"$ uv {' '.join(argv[1:])}\n"))
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "UV_NO_PROGRESS": "1", "NO_COLOR": "1"},
    )
    assert child.stdout is not None
    last: list[str] = []
    try:
        async with asyncio.timeout(BUILD_TIMEOUT_S):
            async for raw in child.stdout:
                line = without_secrets(raw.decode(errors="replace"))
                say(line)
                last = [*last, line.strip()][-6:]
            status = await child.wait()
    except TimeoutError as error:
        raise DeploymentFailed(f"Building the environment took longer than {BUILD_TIMEOUT_S:g} s.") from error
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if status != 0:
        words = " ".join(line for line in last if line)
        raise DeploymentFailed(f"The model's environment could not be built: {words[-600:]}")
