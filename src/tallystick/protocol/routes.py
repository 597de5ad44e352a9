"""The route table: all that a gateway needs to know to answer an invocation, as one immutable value.

Control publishes it whole, with a version that only grows; a gateway swaps it whole and reports the version
back. It is kept on disk, so that a gateway that starts without control serves what was last published.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec

from tallystick.auth import StoredToken
from tallystick.entities import Enforcement, Grant, ReplicaId


class EndpointState(StrEnum):
    """Whether an endpoint takes invocations."""

    SERVING = "serving"
    STOPPED = "stopped"
    NOT_DEPLOYED = "not_deployed"


class Replica(msgspec.Struct, frozen=True, array_like=True):
    """One worker process, by the unix socket that it listens on once its model is loaded."""

    id: ReplicaId
    socket: str
    board: str


class EntityRoute(msgspec.Struct, frozen=True):
    """A served entity, as far as its invocations go."""

    id: str
    name: str
    model_name: str
    model_version: str
    share_slots: int
    replicas: tuple[Replica, ...]
    #: Invocations that its workers answer at a time, all together.
    concurrency: int
    #: Invocations that may wait beyond those.
    queue_limit: int
    timeout_s: float
    enforcement: Enforcement = Enforcement.FLAG
    scale_to_zero: bool = False


class RateLimit(msgspec.Struct, frozen=True):
    """Calls a minute, of the whole endpoint, of each user, or of one principal."""

    calls: int
    key: str = "endpoint"  # endpoint | user | user_group | service_principal
    principal: str = ""


class EndpointRoute(msgspec.Struct, frozen=True):
    """An endpoint, as far as its invocations go."""

    id: str
    name: str
    creator: str
    state: EndpointState
    config_version: int
    entities: tuple[EntityRoute, ...]
    grants: tuple[Grant, ...] = ()
    rate_limits: tuple[RateLimit, ...] = ()


class RouteTable(msgspec.Struct, frozen=True):
    """Version 0 is the empty table of a server that was never configured."""

    version: int = 0
    endpoints: dict[str, EndpointRoute] = {}
    tokens: dict[str, StoredToken] = {}


def table_path(data_dir: Path) -> Path:
    """Where the last published table is kept, as msgpack."""
    return data_dir / "routes.msgpack"


# -- messages between control and the gateways (one stream per gateway, frames of msgpack) -----------------


class Publish(msgspec.Struct, frozen=True, tag=True):
    """Control -> gateway: serve by this table from now on."""

    table: RouteTable


class Applied(msgspec.Struct, frozen=True, tag=True):
    """Gateway -> control: this version is what new invocations are routed by."""

    gateway: int
    pid: int
    version: int


class Activity(msgspec.Struct, frozen=True, tag=True):
    """Gateway -> control: served entities (by id) with invocations in flight, or since the last report."""

    gateway: int
    entities: dict[str, int]
    #: Served entity -> column -> kind -> values changed to fit the signature since the last report.
    coercions: dict[str, dict[str, dict[str, int]]] = {}


ToGateway = Publish
ToControl = Applied | Activity
