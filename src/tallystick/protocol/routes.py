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
from tallystick.protocol.counts import EntityCounts
from tallystick.protocol.monitoring import AskReplay, Diagnosed, Watching


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
    #: SHA-256 over the model's files, which are kept under it; empty until a worker has found the model.
    digest: str = ""


class RateLimit(msgspec.Struct, frozen=True):
    """Calls a minute, of the whole endpoint, of each user, or of one principal."""

    calls: int
    key: str = "endpoint"  # endpoint | user | user_group | service_principal
    principal: str = ""


class Durability(StrEnum):
    """What a row of the inference table survives, once its invocation was answered."""

    #: Written soon after the answer.
    NONE = "none"
    #: Written before the answer: survives the death of any process.
    PROCESS_CRASH = "process-crash"
    #: Written and synced before the answer: survives a power cut.
    POWER_LOSS = "power-loss"


class Capture(msgspec.Struct, frozen=True):
    """What is recorded of an endpoint's invocations."""

    #: The inference table, relative to the root of all tables; empty: nothing is recorded.
    table: str = ""
    sampling_fraction: float = 1.0
    durability: Durability = Durability.PROCESS_CRASH
    #: Whether an invocation that cannot be recorded fails (503) instead of going unrecorded.
    is_required: bool = False
    max_payload_bytes: int = 1 << 20
    #: Columns left out or hashed: of the table, or of the model's input as ``request.<column>``.
    drop: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()
    #: Days after which rows are deleted; 0: never.
    retention_days: int = 0


class ParityRoute(msgspec.Struct, frozen=True):
    """How an endpoint's live rows are watched for differences to training."""

    monitor: bool = True
    #: URL that opened and closed incidents are posted to; empty: none.
    webhook: str = ""
    #: Column that is sent, or `usage_context.<name>`, that says whom a row is about; empty: none.
    key: str = ""


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
    capture: Capture = Capture()
    parity: ParityRoute = ParityRoute()
    #: Served entities that take no invocations yet, but replays of golden rows.
    pending: tuple[EntityRoute, ...] = ()


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


class JournalView(msgspec.Struct, frozen=True):
    """How the journal of a process stands. Counters are since the process started."""

    bytes: int
    #: Records that were not written, by reason: disk_full, read_only, io_error, disk_slow, journal_full.
    dropped: dict[str, int]
    sync_failures: int
    #: What is wrong now; empty when all is well.
    problem: str = ""


class Load(msgspec.Struct, frozen=True, array_like=True):
    """Invocations of one served entity that one gateway has now: with workers, and waiting for one with room."""

    in_flight: int
    waiting: int


class Activity(msgspec.Struct, frozen=True, tag=True):
    """Gateway -> control, once a second: what has come since the last report, and how it stands now."""

    gateway: int
    #: Served entities (by id) with invocations in flight, or since the last report.
    entities: dict[str, int]
    #: By served entity id: what has become of invocations since the last report.
    counts: dict[str, EntityCounts] = {}
    #: Requests since then that reached no served entity: HTTP status -> error code -> how many.
    refusals: dict[int, dict[str, int]] = {}
    #: By served entity id; left out where nothing is under way.
    load: dict[str, Load] = {}
    open_connections: int = 0
    journal: JournalView | None = None


class TableStatus(msgspec.Struct, frozen=True):
    """How the recorder stands with one table."""

    rows: int = 0
    #: Rows read from the journal that are not in the table yet.
    waiting_rows: int = 0
    #: Age of the oldest of them, seconds.
    lag_s: float = 0.0
    version: int = -1
    #: Why nothing can be written to it at the moment; empty when all is well.
    problem: str = ""


class Recorded(msgspec.Struct, frozen=True, tag=True):
    """Recorder -> control, once a second: how far it is. Counters are since the recorder started."""

    pid: int
    #: Age of the oldest record that is in no table yet, seconds.
    lag_s: float
    #: Bytes of journal on disk, and of those what was not read yet.
    journal_bytes: int
    unread_bytes: int
    rows_total: int
    commits_total: int
    #: Bytes of torn tails that were cut off, and of damaged segments that were set aside.
    torn_bytes_total: int
    damaged_bytes_total: int
    #: By table, relative to the root of all tables.
    tables: dict[str, TableStatus] = {}
    #: Endpoint -> outcome (matched, unknown, duplicate) -> lines of feedback.
    feedback: dict[str, dict[str, int]] = {}
    #: Records that no table could take as they are, or that lack their context.
    left_out_total: int = 0


class Flush(msgspec.Struct, frozen=True, tag=True):
    """Control -> recorder: write what is in the journal now, without waiting for more; then say `Flushed`."""

    number: int


class Flushed(msgspec.Struct, frozen=True, tag=True):
    """Recorder -> control: what was in the journal when `Flush` came is in the tables, but for those with a problem."""

    number: int
    #: What kept it from finishing at all.
    problem: str = ""
    #: Table -> why it cannot be written.
    tables: dict[str, str] = {}


ToGateway = Publish
ToRecorder = Publish | Flush
ToControl = Applied | Activity | Recorded | Flushed | Watching | Diagnosed | AskReplay
