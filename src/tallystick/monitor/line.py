"""The line to control: says what is found, hears what is to be diagnosed, asks for replays. On its own thread."""

from __future__ import annotations

import contextlib
import itertools
import queue
import socket
import threading
import time
from pathlib import Path

from tallystick.protocol.message import BrokenMessage, MessageReader, render_message
from tallystick.protocol.monitoring import (
    AskReplay,
    Diagnose,
    Diagnosed,
    Replayed,
    Replaying,
    ToMonitor,
    Watching,
)

_RECONNECT_S = 0.5
#: Diagnoses that may wait; control has a deadline for each, and refuses more by itself.
_MAX_WAITING = 16


class ControlLine:
    """One connection to control, made anew when it breaks."""

    def __init__(self, path: Path, hello: Watching) -> None:
        self._path, self._hello = path, hello
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._asked: dict[int, queue.SimpleQueue[Replayed]] = {}
        self.wanted: queue.Queue[Diagnose] = queue.Queue(_MAX_WAITING)
        self.woken = threading.Event()

    def start(self) -> None:
        """Begin to connect."""
        threading.Thread(target=self._stay_connected, daemon=True, name="control-line").start()

    def send(self, message: Watching | Diagnosed | AskReplay) -> bool:
        """Send, or drop it when control is away. Returns whether it was sent."""
        with self._lock:
            if isinstance(message, Watching):
                self._hello = message
            if self._socket is None:
                return False
            try:
                self._socket.sendall(render_message(message))
            except OSError:
                return False
            return True

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

    def _stay_connected(self) -> None:
        while True:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
                    peer.connect(str(self._path))
                    with self._lock:
                        peer.sendall(render_message(self._hello))
                        self._socket = peer
                    self._listen(peer)
            except (OSError, BrokenMessage):
                pass  # away: its supervisor starts it again
            finally:
                with self._lock:
                    self._socket = None
            time.sleep(_RECONNECT_S)

    def _listen(self, peer: socket.socket) -> None:
        messages: MessageReader[ToMonitor] = MessageReader(ToMonitor)
        while data := peer.recv(1 << 16):
            for message in messages.feed(data):
                if isinstance(message, Replayed):
                    self._answered(message)
                else:
                    self._take(message)

    def _take(self, message: Diagnose) -> None:
        try:
            self.wanted.put_nowait(message)
        except queue.Full:
            self.send(Diagnosed(message.number, problem="Too many diagnoses wait; ask again later."))
        self.woken.set()

    def _answered(self, message: Replayed) -> None:
        # One that came too late has nobody who waits.
        with contextlib.suppress(KeyError):
            self._asked[message.number].put(message)
