"""A process's line to control: says how it stands, hears what is asked of it, and is made anew when it breaks."""

from __future__ import annotations

import socket
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Generic, TypeVar

from tallystick.protocol.message import BrokenMessage, MessageReader, render_message

_RECONNECT_S = 0.5
Said = TypeVar("Said")
Heard = TypeVar("Heard")


class ControlLine(ABC, Generic[Said, Heard]):
    """One connection to control, on a thread of its own.

    `hello` is the first message of each connection; a later one of its kind takes its place. `kind` is what is heard.
    """

    def __init__(self, path: Path, hello: Said, kind: Any) -> None:
        self._path, self._hello, self._kind = path, hello, kind
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        #: Set when something was heard that somebody has to see to.
        self.woken = threading.Event()

    def start(self) -> None:
        """Begin to connect."""
        threading.Thread(target=self._stay_connected, daemon=True, name="control-line").start()

    def send(self, message: Said) -> bool:
        """Send, or drop it when control is away. Returns whether it was sent."""
        with self._lock:
            if isinstance(message, type(self._hello)):
                self._hello = message
            if self._socket is None:
                return False
            try:
                self._socket.sendall(render_message(message))
            except OSError:
                return False
            return True

    @abstractmethod
    def heard(self, message: Heard) -> None:
        """Take a message. Called on the line's thread."""

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
        messages: MessageReader[Heard] = MessageReader(self._kind)
        while data := peer.recv(1 << 16):
            for message in messages.feed(data):
                self.heard(message)
