"""A process's line to its supervisor: says how it stands, and ends the process when the supervisor is gone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys

import msgspec

from tallystick.protocol.supervise import LIFELINE_FD, Report

_PR_SET_PDEATHSIG = 1


class Lifeline:
    """One end of the socket pair that the supervisor made.

    A process started by hand has none; then reports are dropped.
    """

    def __init__(self) -> None:
        number = os.environ.pop(LIFELINE_FD, "")
        self.socket = socket.socket(fileno=int(number)) if number else None
        if self.socket is not None:
            # Children of a model must not hold the line open.
            self.socket.set_inheritable(False)

    def hand_down(self) -> None:
        """Leave the line to the program that this process is about to become."""
        if self.socket is not None:
            self.socket.set_inheritable(True)
            os.environ[LIFELINE_FD] = str(self.socket.fileno())

    def report(self, state: str, message: str = "", detail: str = "null") -> None:
        """Tell the supervisor how this process stands."""
        if self.socket is None:
            return
        try:
            self.socket.sendall(msgspec.json.encode(Report(state, message, detail)) + b"\n")
        except OSError:
            # The supervisor is gone; the reading side will see the end of file and stop this process.
            return

    def end_with_supervisor(self) -> None:
        """Wait for the supervisor to be gone, then end this process at once. For a thread."""
        if self.socket is None:
            return
        with contextlib.suppress(OSError):
            self.socket.recv(1)
        os._exit(1)

    async def end_with_supervisor_on_loop(self) -> None:
        """Do as `end_with_supervisor`, for a task."""
        if self.socket is None:
            return
        # Only for those who have a loop: recorder, monitor and workers do without.
        import asyncio

        self.socket.setblocking(False)
        await asyncio.get_running_loop().sock_recv(self.socket, 1)
        os._exit(1)


def outlive_server_signals() -> None:
    """Let what follows `uvicorn.Server.serve` run: it raises the signal that ended it once more when it is done."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux). A model that hangs cannot prevent it."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os._exit(1)
