"""One process of the supervisor's table: spawn, watch, start again with back-off, stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import msgspec

from tallystick.protocol.supervise import LIFELINE_FD, Phase, ProcessSpec, ProcessView, Report

#: First pause before a process that died is started again, and the longest.
BACKOFF_FIRST_S, BACKOFF_LAST_S = 0.1, 30.0
#: A process that ran this long was well; its next death starts the back-off anew.
WELL_AFTER_S = 30.0
#: A log file is cut over to `.1` at this size; one old one is kept.
LOG_BYTES = 1 << 20
_READ_BYTES = 1 << 16


def backoff_s(deaths: int, spread: float) -> float:
    """Return the pause before the next start after `deaths` deaths in a row; `spread` is uniform in [0, 1).

    >>> [backoff_s(n, 0.5) for n in (1, 2, 5, 50)]
    [0.1, 0.2, 1.6, 30.0]
    """
    base: float = min(BACKOFF_LAST_S, BACKOFF_FIRST_S * 2.0 ** min(deaths - 1, 20))
    return base * (0.8 + 0.4 * spread)


def describe_exit(status: int) -> str:
    """Say how a process ended, from its return code.

    >>> describe_exit(-11), describe_exit(0)
    ('killed by SIGSEGV', 'exit status 0')
    """
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


class LogFile:
    """Standard output and error of a process, capped: a model that prints for ever fills no disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._open()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, data: bytes) -> None:
        """Append; a full disk loses log lines and nothing else."""
        with contextlib.suppress(OSError):
            if os.fstat(self._file).st_size + len(data) > LOG_BYTES:
                os.close(self._file)
                self._path.replace(self._path.with_suffix(self._path.suffix + ".1"))
                self._file = self._open()
            os.write(self._file, data)

    def note(self, text: str) -> None:
        """Append a line of the supervisor's own."""
        self.write(f"[tallystick {datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z] {text}\n".encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Process:
    """Keeps one process running as its spec says. All methods run on the supervisor's loop."""

    def __init__(
        self,
        spec: ProcessSpec,
        on_change: Callable[[], None],
        *,
        pass_fds: tuple[int, ...] = (),
        capture: bool = True,
    ) -> None:
        self.spec = spec
        self._on_change = on_change
        self._pass_fds = pass_fds
        self._log = LogFile(Path(spec.log_file)) if capture else None
        self._child: subprocess.Popen[bytes] | None = None
        self._ended = asyncio.Event()
        self._phase = Phase.PARKED
        self._wanted = asyncio.Event()
        self._report: Report | None = None
        self._restarts = 0
        self._last_exit = ""
        self._task: asyncio.Task[None] | None = None

    @property
    def view(self) -> ProcessView:
        """Line of the table for this process."""
        pid = self._child.pid if self._child is not None and self._phase is not Phase.BACKOFF else 0
        return ProcessView(self.spec.id, self._phase, pid, self._report, self._restarts, self._last_exit)

    def start(self) -> None:
        """Start it, also when it is parked or in its back-off."""
        self._wanted.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep_running(), name=f"keep {self.spec.id}")

    def kill(self, pid: int, reason: str) -> None:
        """SIGKILL it, if `pid` is what runs; it is started again."""
        if self._child is None or pid not in (0, self._child.pid) or self._phase is not Phase.RUNNING:
            return
        pid = self._child.pid
        self._note(f"killed by the gateway: {reason}")
        _signal_group(pid, signal.SIGKILL)

    async def stop(self, grace_s: float, *, phase: Phase = Phase.STOPPING) -> None:
        """End it: SIGTERM, and after `grace_s` SIGKILL to all of its process group."""
        self._wanted.clear()
        self._phase = Phase.STOPPING
        self._on_change()
        child = self._child
        if child is not None and child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._ended.wait(), grace_s)
            except TimeoutError:
                self._note(f"did not end within {grace_s:g} s and was killed")
                _signal_group(child.pid, signal.SIGKILL)
        if self._task is not None:
            if self._child is None:
                self._task.cancel()  # it only waits for its back-off
            await asyncio.wait([self._task])
        self._phase = phase
        self._on_change()

    def close(self) -> None:
        """Release what a stopped process holds."""
        if self._log is not None:
            self._log.close()

    async def _keep_running(self) -> None:
        deaths = 0
        while self._wanted.is_set():
            started = time.monotonic()
            status = await self._run_once()
            if not self._wanted.is_set():
                return
            if status in self.spec.final_exit_codes:
                self._wanted.clear()
                self._phase = Phase.ENDED
                self._on_change()
                return
            deaths = 1 if time.monotonic() - started > WELL_AFTER_S else deaths + 1
            self._restarts += 1
            self._phase = Phase.BACKOFF
            self._on_change()
            pause_s = backoff_s(deaths, random.random())  # noqa: S311  spreads restarts, keeps no secret
            said = f"ended ({self._last_exit}); starts again in {pause_s:.1f} s"
            self._note(said)
            if self._log is None:
                # A part of the server itself: what it wrote went to the server's stderr, and so does its death.
                sys.stderr.write(f"WARNING tallystick: {self.spec.id} {said}\n")
            await asyncio.sleep(pause_s)

    async def _run_once(self) -> int:
        ours, theirs = socket.socketpair()
        environment = self.spec.env | {LIFELINE_FD: str(theirs.fileno())}
        self._report = None
        self._ended.clear()
        try:
            child = subprocess.Popen(  # noqa: S603, ASYNC220  argv of our own; returns once it has forked
                self.spec.argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self._log else None,
                stderr=subprocess.STDOUT if self._log else None,
                pass_fds=(theirs.fileno(), *self._pass_fds),
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            ours.close()
            self._last_exit = f"could not be started: {error.strerror}"
            return 127
        finally:
            theirs.close()
        self._child = child
        self._phase = Phase.RUNNING
        self._note(f"started, pid {child.pid}")
        self._on_change()
        readers = [asyncio.create_task(_read(ours, self._take_reports()))]
        if child.stdout is not None:
            readers.append(asyncio.create_task(_read(child.stdout, self._copy_output)))
        try:
            status = await _exit_of(child)
        finally:
            _signal_group(child.pid, signal.SIGKILL)  # what a model left behind
            # Its last words are read; a grandchild that holds the pipe open is not waited for.
            await asyncio.wait(readers, timeout=0.2)
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            ours.close()
            if child.stdout is not None:
                child.stdout.close()
        self._last_exit = describe_exit(status)
        self._note(self._last_exit)
        self._child = None
        self._ended.set()
        return status

    def _take_reports(self) -> Callable[[bytes], None]:
        buffer = b""

        def take(data: bytes) -> None:
            nonlocal buffer
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                with contextlib.suppress(msgspec.MsgspecError):  # not ours: the model wrote to a descriptor
                    self._report = msgspec.json.decode(line, type=Report)
            self._on_change()

        return take

    def _copy_output(self, data: bytes) -> None:
        assert self._log is not None
        self._log.write(data)

    def _note(self, text: str) -> None:
        if self._log is not None:
            self._log.note(text)


async def _read(source: socket.socket | IO[bytes], take: Callable[[bytes], None]) -> None:
    """Hand what can be read from `source` to `take`, until its end."""
    loop, number = asyncio.get_running_loop(), source.fileno()
    os.set_blocking(number, False)
    ready = asyncio.Event()
    loop.add_reader(number, ready.set)
    try:
        while True:
            await ready.wait()
            ready.clear()
            with contextlib.suppress(BlockingIOError, ConnectionResetError):
                while data := os.read(number, _READ_BYTES):
                    take(data)
                    # Others have their turn between two reads of one that prints without end.
                    await asyncio.sleep(0)
                return
    finally:
        loop.remove_reader(number)


async def _exit_of(child: subprocess.Popen[bytes]) -> int:
    """Wait for the process itself; asyncio's own subprocesses also wait until all of its pipes are closed."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    if hasattr(os, "pidfd_open"):
        descriptor = os.pidfd_open(child.pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
    else:

        def wait() -> None:
            child.wait()
            loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=wait, daemon=True).start()
        await ended.wait()
    return child.wait()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
