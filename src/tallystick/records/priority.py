"""How the recorder shares the processors: invocations come first."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import sys

#: A tenth of the processor when all want it: several times what recording takes.
NICE = 10
#: Linux lets a process that runs go on for the rest of its slice (some 3 ms) though another one has become ready.
#: With the shortest slice, an invocation waits for a tenth of a millisecond at most.
_SLICE_NS = 100_000
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
_SCHED_OTHER = 0


def be_modest() -> None:
    """Lower the priority of this process, and of the threads that it will start. Does what the system allows."""
    with contextlib.suppress(OSError):
        os.nice(NICE)
    number = _SCHED_SETATTR.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return
    # struct sched_attr of sched_setattr(2): size, policy, flags, nice, priority, runtime, deadline, period. A slice of
    # SCHED_OTHER's own is taken by Linux 6.12 and later, and ignored before.
    attributes = struct.pack("IIQiIQQQ", 48, _SCHED_OTHER, 0, os.nice(0), 0, _SLICE_NS, 0, 0)
    ctypes.CDLL(None, use_errno=True).syscall(number, 0, attributes, 0)
