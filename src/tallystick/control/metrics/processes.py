"""Processor time and memory of our processes, by pid, looked at every few seconds on a thread.

A process that ends between two looks is simply not seen again; a number that cannot be had is left out.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psutil  # type: ignore[import-untyped]

from tallystick.control.metrics.tally import WINDOW_S

#: A look takes about 0.1 ms a process; consumers scrape at most every few seconds.
LOOK_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process has used, and has now."""

    pid: int
    cpu_seconds: float
    resident_bytes: int


#: Returns how much the process of a pid uses; None when there is none, or it is not ours to look at.
Probe = Callable[[int], "Usage | None"]


def probe(pid: int) -> Usage | None:
    """Return what the process uses, its children not counted. Reads /proc, or asks the system where there is none."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
    except (psutil.Error, OSError):
        return None
    return Usage(pid, times.user + times.system, memory.rss)


@dataclass
class Processes:
    """What the processes of this server used when they were last looked at, and over the last minute."""

    #: Name -> pid of what runs now; asked on the event loop.
    pids: Callable[[], Mapping[str, int]]
    probe: Probe = probe
    clock: Callable[[], float] = time.monotonic
    #: By name.
    usage: dict[str, Usage] = field(default_factory=dict)
    _earlier: deque[tuple[float, dict[str, Usage]]] = field(default_factory=deque)

    async def run(self) -> None:
        """Look, again and again, until cancelled."""
        while True:
            pids = {name: pid for name, pid in self.pids().items() if pid}
            self.note(await asyncio.to_thread(self._look, pids), self.clock())
            await asyncio.sleep(LOOK_EVERY_S)

    def note(self, usage: dict[str, Usage], now: float) -> None:
        """Take what was seen. `now` is monotonic."""
        self.usage = usage
        self._earlier.append((now, usage))
        while len(self._earlier) > 1 and self._earlier[1][0] <= now - WINDOW_S:
            self._earlier.popleft()

    def cpu_share(self, name: str) -> float | None:
        """Return how much of this machine's processors a process took over the last minute, 0 to 1.

        None when it was seen less than twice.
        """
        usage = self.usage.get(name)
        if usage is None:
            return None
        now = self._earlier[-1][0]
        for at, seen in self._earlier:
            before = seen.get(name)
            if before is not None and before.pid == usage.pid and at < now:
                return max(0.0, usage.cpu_seconds - before.cpu_seconds) / (now - at) / processors()
        return None

    def _look(self, pids: Mapping[str, int]) -> dict[str, Usage]:
        seen = {name: self.probe(pid) for name, pid in pids.items()}
        return {name: usage for name, usage in seen.items() if usage is not None}


def processors() -> int:
    """Return how many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Return how much memory this machine has."""
    return int(psutil.virtual_memory().total)
