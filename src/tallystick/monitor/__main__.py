"""Start of the monitor: ``python -m tallystick.monitor SETTINGS.json``."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from tallystick.errors import NotFound, TallystickError
from tallystick.lifeline import Lifeline, die_with_parent
from tallystick.monitor.line import MonitorLine
from tallystick.monitor.routes import Routes, drop_old_sketches
from tallystick.protocol.monitoring import AskProfile, Diagnose, Diagnosed, Watching
from tallystick.settings import Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.monitor.places import WatchedEndpoint
    from tallystick.monitor.work import Work

#: Behind the recorder, and all that answers.
_NICE = 15
#: Without rows and incidents for so long the process begins anew, small.
IDLE_S = 900.0

_log = logging.getLogger("tallystick.monitor")


class Monitor:
    """Looks every so often, and when it is asked to."""

    def __init__(self, settings: Settings, line: MonitorLine, is_stopped: Callable[[], bool] = lambda: False) -> None:
        self._settings, self._line, self._is_stopped = settings, line, is_stopped
        self._routes = Routes(settings.data_dir, settings.tables_root)
        self._work: Work | None = None
        self._busy_at = 0.0

    def turn(self) -> None:
        """Look at all that is new. Imports what it takes only when something is."""
        watched = self._routes.read()
        drop_old_sketches(watched, time.time())
        if self._work is None and not self._routes.has_work(watched):
            self._line.send(Watching(os.getpid(), self._routes.standing(watched)))
            return
        work = self._worker()
        if self._routes.has_work(watched):
            self._busy_at = time.monotonic()
        # A turn may take longer than somebody waits, the first one of a process above all.
        work.turn(watched, self.answer_waiting)
        if work.is_busy:
            self._busy_at = time.monotonic()
        self._tell(watched)

    def answer_waiting(self) -> None:
        """Answer all that is asked for by now."""
        with contextlib.suppress(queue.Empty):
            while not self._is_stopped():
                self.answer(self._line.wanted.get_nowait())

    def answer(self, asked: Diagnose | AskProfile) -> None:
        """Diagnose or describe now, and tell control."""
        watched = self._routes.read()
        endpoint = watched.get(asked.endpoint)
        if endpoint is None:
            problem = f"'{asked.endpoint[:80]}' is not deployed."
            self._line.send(Diagnosed(asked.number, problem=problem, error_code=NotFound.error_code))
            return
        try:
            work = self._worker()
            self._busy_at = time.monotonic()
            body = work.diagnose(endpoint, asked) if isinstance(asked, Diagnose) else work.profile(endpoint, asked)
            answer = Diagnosed(asked.number, body)
        except TallystickError as error:
            answer = Diagnosed(asked.number, problem=error.message, error_code=error.error_code)
        except Exception:  # noqa: BLE001  the boundary of the process: whoever waits is told
            what = "diagnosis" if isinstance(asked, Diagnose) else "profile"
            _log.exception("a %s of %s failed", what, asked.endpoint)
            answer = Diagnosed(asked.number, problem=f"The {what} failed; the server's log says more.")
        self._line.send(answer)
        if self._work is not None:
            self._tell(watched)

    @property
    def is_idle(self) -> bool:
        """Whether what was imported was of no use for a while."""
        return self._work is not None and time.monotonic() - self._busy_at > IDLE_S

    def close(self) -> None:
        """Keep what is known."""
        if self._work is not None:
            self._work.close()

    def _tell(self, watched: dict[str, WatchedEndpoint]) -> None:
        if self._work is not None:
            standing = self._work.standing(watched)
            self._routes.keep(standing)
            self._line.send(Watching(os.getpid(), standing))

    def _worker(self) -> Work:
        if self._work is None:
            from tallystick.monitor.work import Work

            self._work = Work(self._settings, self._line)
        return self._work


def run(settings: Settings, lifeline: Lifeline) -> None:
    """Watch until SIGTERM."""
    stop = threading.Event()
    line = MonitorLine(settings.run_dir / "link.sock", Watching(os.getpid()))

    def on_signal(*_: object) -> None:
        stop.set()
        line.woken.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    threading.Thread(target=lifeline.end_with_supervisor, daemon=True, name="lifeline").start()
    line.start()
    monitor = Monitor(settings, line, stop.is_set)
    lifeline.report("ready")
    next_turn = time.monotonic() + min(settings.monitor_every_s, 1.0)
    while not stop.is_set():
        line.woken.wait(max(0.0, next_turn - time.monotonic()))
        line.woken.clear()
        monitor.answer_waiting()
        if time.monotonic() >= next_turn and not stop.is_set():
            # From its end: a turn that takes long does not follow itself.
            _guarded_turn(monitor)
            next_turn = time.monotonic() + settings.monitor_every_s
            if monitor.is_idle and not stop.is_set():
                monitor.close()
                lifeline.hand_down()
                os.execv(sys.executable, sys.orig_argv)  # noqa: S606  this very process, as it was started
    monitor.close()


def _guarded_turn(monitor: Monitor) -> None:
    try:
        monitor.turn()
    except Exception:  # noqa: BLE001  the boundary of the process: one table that cannot be read does not end the watch
        _log.exception("a turn of the monitor failed")


def main(arguments: list[str]) -> None:
    """Run the monitor."""
    die_with_parent()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    lifeline = Lifeline()
    try:
        run(read_settings(arguments[0]), lifeline)
    except TallystickError as error:
        lifeline.report("failed", error.message)
        sys.exit(3)


if __name__ == "__main__":
    main(sys.argv[1:])
