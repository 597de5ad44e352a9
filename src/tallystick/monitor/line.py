"""The line to control: says what is found, hears what is asked for, asks for replays. On its own thread."""

from __future__ import annotations

import contextlib
import itertools
import queue
from pathlib import Path

from tallystick.control_line import ControlLine
from tallystick.errors import TemporarilyUnavailable
from tallystick.protocol.monitoring import (
    AskProfile,
    AskReplay,
    Diagnose,
    Diagnosed,
    Replayed,
    Replaying,
    ToMonitor,
    Watching,
)

#: Diagnoses and profiles that may wait; control has a deadline for each, and refuses more by itself.
_MAX_WAITING = 16


class MonitorLine(ControlLine[Watching | Diagnosed | AskReplay, ToMonitor]):
    """One connection to control, made anew when it breaks."""

    def __init__(self, path: Path, hello: Watching) -> None:
        super().__init__(path, hello, ToMonitor)
        self._numbers = itertools.count(1)
        self._asked: dict[int, queue.SimpleQueue[Replayed]] = {}
        self.wanted: queue.Queue[Diagnose | AskProfile] = queue.Queue(_MAX_WAITING)

    def ask(
        self, what: Replaying, endpoint: str, served_entity: str, body: bytes = b"", timeout_s: float = 20.0
    ) -> Replayed:
        """Return control's answer; one with a `problem` when there is none. Blocks up to `timeout_s`."""
        number = next(self._numbers)
        answer: queue.SimpleQueue[Replayed] = queue.SimpleQueue()
        self._asked[number] = answer
        try:
            if not self.send(AskReplay(number, what, endpoint, served_entity, body)):
                return Replayed(number, problem="control is away")
            return answer.get(timeout=timeout_s)
        except queue.Empty:
            return Replayed(number, problem=f"no answer within {timeout_s:g} s")
        finally:
            del self._asked[number]

    def heard(self, message: ToMonitor) -> None:
        """Give an answer to who waits for it, and keep what is asked for."""
        if isinstance(message, Replayed):
            self._answered(message)
        else:
            self._take(message)

    def _take(self, message: Diagnose | AskProfile) -> None:
        try:
            self.wanted.put_nowait(message)
        except queue.Full:
            problem = "Too many questions wait; ask again later."
            self.send(Diagnosed(message.number, problem=problem, error_code=TemporarilyUnavailable.error_code))
        self.woken.set()

    def _answered(self, message: Replayed) -> None:
        # One that came too late has nobody who waits.
        with contextlib.suppress(KeyError):
            self._asked[message.number].put(message)
