"""The supervisor: the process table of this machine. It decides nothing, and owns no state.

It holds the public listening socket and hands it to the gateways, so that a gateway that dies or is started anew
refuses nobody. Gateways and control are its own; workers are in its table because control asked for them, and
they stay when control dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

from tallystick.backends.process import Process
from tallystick.errors import TallystickError
from tallystick.protocol.message import BrokenMessage, MessageReader, render_message
from tallystick.protocol.supervise import (
    LISTEN_FD,
    Ensure,
    Kill,
    Park,
    Phase,
    ProcessSpec,
    Request,
    Stop,
    Table,
    Wake,
    Watch,
)
from tallystick.settings import Settings, write_settings

_STOP_SLACK_S = 2.0
#: The recorder moves what is left in the journal; what it does not get done waits for the next start.
_RECORD_SLACK_S = 10.0
#: For the recorder's libraries, which start a thread for each processor and keep what was freed.
RECORDER_ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "1048576",
    "MALLOC_TRIM_THRESHOLD_": "8388608",
    "RAYON_NUM_THREADS": "1",
    "TOKIO_WORKER_THREADS": "1",
}
#: For the monitor's: one thread each, as it runs beside invocations and is in no hurry.
MONITOR_ENVIRONMENT = RECORDER_ENVIRONMENT | {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
#: Parts without which invocations are answered all the same.
_BESIDE = ("recorder", "monitor")
_BACKLOG = 2048
#: What may wait for a control that does not read its process tables.
_MAX_UNREAD_BYTES = 16 << 20


class CannotStart(TallystickError):
    """The server cannot start here; the message says why and what would help."""


def prepare(settings: Settings) -> tuple[socket.socket, int]:
    """Take the data directory and the public port. Returns the listening socket and the lock's descriptor.

    Raises CannotStart when another server has either.
    """
    for folder in (settings.data_dir, settings.run_dir, settings.data_dir / "logs"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings.run_dir.stat().st_uid != os.getuid():
        raise CannotStart(f"{settings.run_dir} belongs to another user.")
    settings.run_dir.chmod(0o700)
    lock = os.open(settings.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        raise CannotStart(
            f"Another server (pid {owner}) uses the data directory {settings.data_dir}. "
            "Stop it, or give --data-dir another folder."
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return _listen(settings), lock


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # asyncio does not set it on the connections of a socket that it was handed; they inherit it from here.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        raise CannotStart(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
            "Stop what uses the port, or give --port another number (0 takes a free one)."
        ) from error
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


@dataclass
class Supervisor:
    """Runs until SIGTERM or SIGINT, then stops everything in order: gateways, workers, control, recorder."""

    settings: Settings
    listener: socket.socket
    #: Called once, when every gateway and control say that they are ready.
    on_ready: Callable[[], None]
    #: Called when a part cannot be started at all, with the reason.
    on_failed: Callable[[str], None]
    _own: dict[str, Process] = field(default_factory=dict)
    _workers: dict[str, Process] = field(default_factory=dict)
    _watchers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _is_table_due: bool = False
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _was_ready: bool = False

    async def run(self) -> None:
        """Start gateways and control, serve requests, and end in order."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        write_settings(self.settings)
        path = self.settings.run_dir / "supervisor.sock"
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, path)
        path.chmod(0o600)
        self._start_own()
        await self._stop.wait()
        server.close()
        await self._stop_all()

    def _start_own(self) -> None:
        environment = dict(os.environ)
        file = str(self.settings.settings_file)
        control = ProcessSpec(
            "control", (sys.executable, "-m", "tallystick.control", file), environment, "", final_exit_codes=(3,)
        )
        self._own["control"] = Process(control, self._own_changed, capture=False)
        descriptor = self.listener.fileno()
        for index in range(self.settings.gateways):
            name = f"gateway-{index}"
            spec = ProcessSpec(
                name,
                (sys.executable, "-m", "tallystick.gateway", file, str(index)),
                environment | {LISTEN_FD: str(descriptor)},
                "",
            )
            self._own[name] = Process(spec, self._own_changed, pass_fds=(descriptor,), capture=False)
        if self.settings.keeps_journal:
            argv = (sys.executable, "-m", "tallystick.records", file)
            recorder = ProcessSpec("recorder", argv, RECORDER_ENVIRONMENT | environment, "", final_exit_codes=(3,))
            self._own["recorder"] = Process(recorder, self._own_changed, capture=False)
        if self.settings.monitors:
            argv = (sys.executable, "-m", "tallystick.monitor", file)
            monitor = ProcessSpec("monitor", argv, MONITOR_ENVIRONMENT | environment, "", final_exit_codes=(3,))
            self._own["monitor"] = Process(monitor, self._own_changed, capture=False)
        for process in self._own.values():
            process.start()

    def _own_changed(self) -> None:
        views = [process.view for process in self._own.values()]
        for view in views:
            # A recorder that cannot run costs the tables, not the endpoints; the journal keeps what it can.
            if view.phase is Phase.ENDED and view.id not in _BESIDE and not self._stop.is_set():
                self.on_failed(view.report.message if view.report else f"{view.id}: {view.last_exit}")
                self._stop.set()
        # Nobody waits for these: what the recorder does not read yet is in the journal.
        needed = [view for view in views if view.id not in _BESIDE]
        if not self._was_ready and all(view.report and view.report.state == "ready" for view in needed):
            self._was_ready = True
            self.on_ready()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        messages: MessageReader[Request] = MessageReader(Request)
        try:
            while data := await reader.read(1 << 16):
                for request in messages.feed(data):
                    self._do(request, writer)
        except (ConnectionError, BrokenMessage):
            pass  # a client that died; its requests were carried out or never arrived
        finally:
            self._watchers.discard(writer)
            writer.close()

    def _do(self, request: Request, writer: asyncio.StreamWriter) -> None:
        match request:
            case Ensure(spec):
                process = self._workers.get(spec.id)
                if process is None:
                    process = self._workers[spec.id] = Process(spec, self._changed)
                    process.start()
            case Stop(id, grace_s):
                if id in self._workers:
                    self._spawn(self._end(self._workers[id], grace_s))
            case Park(id, grace_s):
                if id in self._workers:
                    self._spawn(self._workers[id].stop(grace_s, phase=Phase.PARKED))
            case Wake(id):
                if id in self._workers and self._workers[id].view.phase is Phase.PARKED:
                    self._workers[id].start()
            case Kill(id, pid, reason):
                if id in self._workers:
                    self._workers[id].kill(pid, reason)
            case Watch():
                self._watchers.add(writer)
                self._changed()

    async def _end(self, process: Process, grace_s: float) -> None:
        await process.stop(grace_s)
        if self._workers.get(process.spec.id) is process:
            del self._workers[process.spec.id]
        process.close()
        self._changed()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _changed(self) -> None:
        """Send the table to the watchers, once per loop turn."""
        if not self._is_table_due:
            self._is_table_due = True
            asyncio.get_running_loop().call_soon(self._send_table)

    def _send_table(self) -> None:
        self._is_table_due = False
        data = render_message(Table(tuple(process.view for process in self._workers.values())))
        for writer in list(self._watchers):
            if writer.transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
                # It does not read; it will ask for the table when it is back.
                writer.transport.abort()
                self._watchers.discard(writer)
            else:
                writer.write(data)

    async def _stop_all(self) -> None:
        gateways = [process for name, process in self._own.items() if name.startswith("gateway-")]
        limit_s = self.settings.drain_s + _STOP_SLACK_S
        await _stop_each(gateways, limit_s)
        self.listener.close()
        await _stop_each(list(self._workers.values()), _STOP_SLACK_S)
        await _stop_each([self._own[name] for name in ("control", "monitor") if name in self._own], _STOP_SLACK_S)
        # Last: it takes what the others have left in the journal.
        await _stop_each([self._own[name] for name in ("recorder",) if name in self._own], _RECORD_SLACK_S)
        for name in ("supervisor.sock", "control.sock", "link.sock", "settings.json"):
            with contextlib.suppress(OSError):
                Path(self.settings.run_dir / name).unlink(missing_ok=True)


async def _stop_each(processes: list[Process], grace_s: float) -> None:
    if processes:
        await asyncio.gather(*(process.stop(grace_s) for process in processes))
