"""What a worker is told when it starts, and what it tells on its lifeline. Values only."""

from __future__ import annotations

from typing import Any

import msgspec

from tallystick.entities import ResolvedModel, WorkerOptions
from tallystick.gate.report import GateReport, Policy

#: The model could not be resolved, loaded or checked; `Report.message` says why. Not started again by itself.
EXIT_FAILED = 3
#: The model needs other packages than the worker's interpreter has; `NeedsEnvironment` says which.
EXIT_NEEDS_ENVIRONMENT = 4


class WorkerSpec(msgspec.Struct, frozen=True):
    """One worker process, as a file that it reads at start."""

    replica_id: str
    socket: str
    board: str
    #: What was asked for; see `ServedEntity.model_uri`.
    model_uri: str
    model_version: str
    #: Folder that models are copied to.
    cache_dir: str
    options: WorkerOptions
    #: Requests that the worker answers at a time when they cannot be joined.
    threads: int
    #: Set when an earlier replica brought the model up: the local copy is used, no registry is asked.
    resolved: ResolvedModel | None = None
    #: Names of environment variables whose values must not reach a caller.
    secret_variables: tuple[str, ...] = ()
    tracking_uri: str = ""
    registry_uri: str = ""
    #: The interpreter was built for this model; its packages are not checked again.
    is_own_environment: bool = False
    #: What becomes of a model that does not give training's answers for its golden rows.
    policy: Policy = Policy.AUTO


class NeedsEnvironment(msgspec.Struct, frozen=True):
    """Detail of a `needs_environment` report."""

    resolved: ResolvedModel
    requirements: tuple[str, ...]
    #: As the model was logged with: "3.11.7"; empty when it does not say.
    python: str
    #: Why the running environment will not do, one line a package.
    reasons: tuple[str, ...]


class ReadyDetail(msgspec.Struct, frozen=True):
    """Detail of a `ready` report."""

    resolved: ResolvedModel
    load_s: float
    window: int
    #: How its golden rows came out; None where the gate is off.
    gate: GateReport | None = None


class FailedDetail(msgspec.Struct, frozen=True):
    """Detail of a `failed` report where it was the parity gate that refused."""

    gate: GateReport


class OfflineCheck(msgspec.Struct, frozen=True):
    """What a model that was checked with no server running came to."""

    resolved_uri: str = ""
    report: GateReport | None = None
    #: Why the interpreter is not the one that the model asks for, one line a package.
    environment: tuple[str, ...] = ()
    #: Why it could not be checked; empty when it was.
    problem: str = ""
    #: Where its files are on this machine, as they were checked.
    local_path: str = ""


def render_detail(detail: Any) -> str:
    """Return a detail as a report carries it."""
    return msgspec.json.encode(detail).decode()
