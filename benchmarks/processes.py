"""Processes of a run: started in a session of their own, stopped by pid, read in /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

#: Longer than a server's own grace for invocations under way.
_STOP_S = 40.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def environment() -> dict[str, str]:
    """Return the environment of every process of a run: nobody's settings, programs of this venv, no telemetry."""
    strange = ("DATABRICKS_", "TALLYSTICK_", "MLFLOW_", "UVICORN_", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return kept | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "OMP_NUM_THREADS": str(os.cpu_count())}


@contextlib.contextmanager
def running(
    argv: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process while in the block."""
    process = start(argv, log, env=env, pass_fds=pass_fds)
    try:
        yield process
    finally:
        stop(process)


def start(
    argv: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    pipes: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a process; its output goes to `log`, with `pipes` only what it prints on standard error."""
    with log.open("ab") as file:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipes else file,
            stderr=file,
            env=environment() | dict(env or {}),
            pass_fds=tuple(pass_fds),
            start_new_session=True,
            bufsize=0,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started in its session; returns when they are gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
            break
    # What is left of its group, of a server that ended before its children.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def children(parent: int) -> dict[str, int]:
    """Return module -> pid of the Tallystick processes that a server started; of several workers the newest."""
    found = {}
    for pid in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        try:
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if int(status[1]) == parent and status[0] != "Z":
            module = next((arg for arg in argv if arg.startswith("tallystick.")), "")
            found[module.removeprefix("tallystick.")] = pid
    return found


def memory_mb(pid: int) -> tuple[float, float]:
    """Return (RSS, PSS) of a process in MB, 10^6 bytes."""
    rss = _field(Path(f"/proc/{pid}/status"), "VmRSS:")
    return rss, _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(status[11]) + int(status[12])) / _TICKS_PER_S


def wait_for(check, what: str, timeout_s: float = 60.0, every_s: float = 0.02) -> None:
    """Wait until `check()` is true. Raises TimeoutError."""
    end = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(every_s)


def _field(path: Path, name: str) -> float:
    line = next(line for line in path.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / 1e6
