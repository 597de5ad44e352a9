"""Ctrl-C ends the demo, whatever handlers a library has put before Python's."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WAITING = """
import pathlib, signal, subprocess, sys
from tallystick import demo

class Server(subprocess.Popen):
    # Tells that it is being waited for, in whatever way.
    is_told = False

    def _tell(self):
        if not self.is_told:
            self.is_told = True
            print("waiting", flush=True)

    def poll(self):
        self._tell()
        return super().poll()

    def wait(self, timeout=None):
        self._tell()
        return super().wait(timeout)

signal.siginterrupt(signal.SIGINT, {interrupts})
server = Server([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
try:
    demo._wait(server, pathlib.Path("server.log"))
    print("ended")
finally:
    server.kill()
"""


@pytest.mark.parametrize("interrupts", [True, False])
def test_ctrl_c_ends_the_wait_also_where_calls_go_on_after_a_signal(interrupts: bool) -> None:
    given = [sys.executable, "-c", WAITING.format(interrupts=interrupts)]
    with subprocess.Popen(given, stdout=subprocess.PIPE, text=True, start_new_session=True) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "waiting\n"
        waiting.send_signal(signal.SIGINT)
        try:
            assert waiting.communicate(timeout=20)[0] == "ended\n"
        finally:
            waiting.kill()
