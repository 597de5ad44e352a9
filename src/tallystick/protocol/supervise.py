"""What the supervisor is asked and what it says.

The supervisor keeps processes running and knows nothing of models. A process tells how it stands on its
*lifeline*, one end of a socket pair that it inherits: JSON lines up; end of file down means that the supervisor
is gone and the process must go too.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

#: Environment variable with the number of the inherited lifeline.
LIFELINE_FD = "TALLYSTICK_LIFELINE_FD"
#: Environment variable with the number of the public listening socket, for gateways.
LISTEN_FD = "TALLYSTICK_LISTEN_FD"


class Phase(StrEnum):
    """How a process of the table stands, as the supervisor sees it."""

    RUNNING = "running"
    #: Died; will be started again when its back-off is over.
    BACKOFF = "backoff"
    #: Stopped on purpose, started again by `Wake`.
    PARKED = "parked"
    #: Asked to end; in its grace.
    STOPPING = "stopping"
    #: Ended of its own will with one of `final_exit_codes`; not started again.
    ENDED = "ended"


class Report(msgspec.Struct, frozen=True):
    """One line on a lifeline."""

    #: starting | resolving | loading | checking | ready | failed | needs_environment
    state: str
    message: str = ""
    #: What else the process has to tell, as JSON; read by whoever started it, not by the supervisor.
    detail: str = "null"


class ProcessSpec(msgspec.Struct, frozen=True):
    """A process to keep running."""

    id: str
    argv: tuple[str, ...]
    env: dict[str, str]
    #: Where its standard output and error go, capped and rotated.
    log_file: str
    #: With these exit codes it has said all it has to say and is not started again.
    final_exit_codes: tuple[int, ...] = ()


class ProcessView(msgspec.Struct, frozen=True):
    """One line of the process table."""

    id: str
    phase: Phase
    pid: int = 0
    #: The last report of the process that runs now, or of the last one that ran.
    report: Report | None = None
    #: Times it was started again after dying.
    restarts: int = 0
    #: How the last one ended, in words: "exit status 1", "killed by SIGSEGV".
    last_exit: str = ""


# -- requests ------------------------------------------------------------------------------------------------


class Ensure(msgspec.Struct, frozen=True, tag=True):
    """Keep this process running. Nothing happens when one with its id is in the table."""

    spec: ProcessSpec


class Stop(msgspec.Struct, frozen=True, tag=True):
    """End a process (SIGTERM, after `grace_s` SIGKILL for its whole group) and forget it."""

    id: str
    grace_s: float


class Park(msgspec.Struct, frozen=True, tag=True):
    """End a process, but keep its line, so that `Wake` can start it again."""

    id: str
    grace_s: float


class Wake(msgspec.Struct, frozen=True, tag=True):
    """Start a parked process. Nothing happens when it runs."""

    id: str


class Kill(msgspec.Struct, frozen=True, tag=True):
    """SIGKILL a process that no longer answers, if `pid` is still the one that runs; it is started again.

    `pid` 0 stands for any: the process never got to say its own.
    """

    id: str
    pid: int
    reason: str


class Watch(msgspec.Struct, frozen=True, tag=True):
    """Send the process table now, and again after every change."""


Request = Ensure | Stop | Park | Wake | Kill | Watch


class Table(msgspec.Struct, frozen=True, tag=True):
    """Supervisor -> watcher: all processes but the supervisor's own children (gateways, control)."""

    processes: tuple[ProcessView, ...]
