"""What control and the monitor tell each other, over the socket that gateways and the recorder use.

The monitor says what it found, and answers when a diagnosis or a profile is asked for; it asks back for what only
control may have done, a replay on one replica.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

#: Folder below the data directory with a folder for each endpoint, by id: its incidents and its live profiles.
PARITY_FOLDER = "parity"
INCIDENTS_FOLDER = "incidents"
#: Beside them a folder with what building training's environments again came to: `<digest of the model>-<key>.json`.
ABLATIONS_FOLDER = "ablations"
#: Columns of one served entity that are told apart in counts; the rest is `OTHER_COLUMNS`.
MAX_COUNTED_COLUMNS = 50
OTHER_COLUMNS = "(other)"


class IncidentState(StrEnum):
    """How an incident stands."""

    OPEN = "open"
    CLOSED = "closed"


class IncidentSummary(msgspec.Struct, frozen=True):
    """An incident in short: one cause in one place, from when it was first seen until it stayed away."""

    #: Counted from 1 within the endpoint; never given twice.
    id: int
    served_entity: str
    state: IncidentState
    #: Those of the verdict.
    status: str
    family: str
    kind: str
    features: tuple[str, ...]
    segment: dict[str, Any]
    strength: str
    #: Part of the judged rows that is affected, 0 to 1, and how many rows were judged, all together.
    share: float
    rows: int
    #: ISO 8601, UTC; `closed_at` is empty while it is open.
    opened_at: str
    updated_at: str
    closed_at: str = ""
    #: When the first of its affected rows came, as the verdict tells it, and the last one; a diagnosis opens it after
    #: that. Empty where no single rows are affected, or nobody knows.
    first_seen: str = ""
    is_older: bool = False
    last_seen: str = ""
    #: The verdict in a sentence, and what else was found.
    title: str = ""
    also: tuple[str, ...] = ()


class EntityParity(msgspec.Struct, frozen=True):
    """How the live rows of one served entity stand beside its training."""

    #: Why it is not watched; empty when it is.
    problem: str = ""
    #: Rows that were counted, and rows that were passed over as there was no time to count them.
    rows: int = 0
    passed_over: int = 0
    #: Status of the latest diagnosis, and when it was; empty before the first one.
    status: str = ""
    diagnosed_at: str = ""
    #: Column -> kind of violation of training's contract -> values, since the monitor first saw the served entity.
    violations: dict[str, dict[str, int]] = {}


class EndpointParity(msgspec.Struct, frozen=True):
    """One endpoint that is watched."""

    id: str
    #: By name of the served entity.
    entities: dict[str, EntityParity] = {}
    #: Those that are open.
    incidents: tuple[IncidentSummary, ...] = ()


class Watching(msgspec.Struct, frozen=True, tag=True):
    """Monitor -> control, when it begins, after each turn, and when something changes: all that it knows."""

    pid: int
    #: By name of the endpoint.
    endpoints: dict[str, EndpointParity] = {}


class Window(StrEnum):
    """Whole hours and days, UTC, that profiles are kept of."""

    HOUR = "hour"
    DAY = "day"


class Diagnose(msgspec.Struct, frozen=True, tag=True):
    """Control -> monitor: diagnose an endpoint's recorded rows now; then say `Diagnosed`."""

    number: int
    endpoint: str
    #: Empty: all that the endpoint serves.
    served_entity: str = ""
    #: How far back rows are taken from; 0: the monitor chooses.
    since_s: float = 0.0
    #: Whether a report in HTML, and example rows, are wanted beside the verdict.
    html: bool = False
    rows: bool = False
    #: What says whom a row is about, in place of the endpoint's setting; empty: that one.
    key: str = ""


class AskProfile(msgspec.Struct, frozen=True, tag=True):
    """Control -> monitor: how do an endpoint's live rows look beside training? Then say `Diagnosed`."""

    number: int
    endpoint: str
    #: Empty: all that the endpoint serves.
    served_entity: str = ""
    window: Window = Window.DAY
    #: How many windows before the current one.
    ago: int = 0
    #: Column and value, as in `client=ios/4.2`; empty: all rows.
    segment: str = ""
    #: Empty: all columns.
    column: str = ""


class Diagnosed(msgspec.Struct, frozen=True, tag=True):
    """Monitor -> control: the verdicts or profiles that were asked for as JSON, or why there are none."""

    number: int
    body: bytes = b""
    problem: str = ""
    #: What kind of problem it is, as clients are told it; one that nobody names is a fault of ours.
    error_code: str = "INTERNAL_ERROR"


class Replaying(StrEnum):
    """What the monitor may ask control to do with replicas."""

    #: Replay golden rows on each replica, and say what each loaded.
    CHECK = "check"
    #: Predict rows on one replica, past routes, records and limits.
    PREDICT = "predict"


class AskReplay(msgspec.Struct, frozen=True, tag=True):
    """Monitor -> control: do this with an endpoint's replicas; then say `Replayed`."""

    number: int
    what: Replaying
    endpoint: str
    served_entity: str
    #: JSON body of an invocation, for PREDICT.
    body: bytes = b""


class Replayed(msgspec.Struct, frozen=True, tag=True):
    """Control -> monitor: the answer's body, or why there is none."""

    number: int
    body: bytes = b""
    problem: str = ""


ToMonitor = Diagnose | AskProfile | Replayed
FromMonitor = Watching | Diagnosed | AskReplay
