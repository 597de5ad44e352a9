"""The nouns of the system, as frozen values: endpoints, their configs, served entities and routes.

Pure: no I/O, no clock, no randomness. Field names follow the Databricks serving API where it has the noun, so
that a config reads the same on the wire, in the store and here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, NewType

EndpointId = NewType("EndpointId", str)
ServedEntityId = NewType("ServedEntityId", str)
ReplicaId = NewType("ReplicaId", str)

#: Shares are counted in slots of 0.01 %: integers add up exactly, floats do not.
SLOTS = 10_000

#: Endpoint and served entity names: what databricks-sdk puts into a path unescaped.
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")

#: One worker process answers this many units of provisioned concurrency (Databricks sizes GPU replicas so).
CONCURRENCY_PER_WORKER = 4

#: Provisioned concurrency (lowest, highest) of the named sizes.
WORKLOAD_SIZES = {"Small": (4, 4), "Medium": (8, 16), "Large": (16, 64)}


class Level(IntEnum):
    """What a principal may do with an endpoint. Each level holds the ones below it."""

    NONE = 0
    CAN_VIEW = 1
    CAN_QUERY = 2
    CAN_MANAGE = 3


class Ready(StrEnum):
    """Whether the active config can answer."""

    READY = "READY"
    NOT_READY = "NOT_READY"


class ConfigUpdate(StrEnum):
    """How the latest config change stands. Waiters return on NOT_UPDATING and raise on the last two."""

    NOT_UPDATING = "NOT_UPDATING"
    IN_PROGRESS = "IN_PROGRESS"
    UPDATE_FAILED = "UPDATE_FAILED"
    UPDATE_CANCELED = "UPDATE_CANCELED"


class Deployment(StrEnum):
    """How a served entity stands."""

    CREATING = "DEPLOYMENT_CREATING"
    RECOVERING = "DEPLOYMENT_RECOVERING"
    READY = "DEPLOYMENT_READY"
    FAILED = "DEPLOYMENT_FAILED"
    ABORTED = "DEPLOYMENT_ABORTED"


class Enforcement(StrEnum):
    """What happens to a value that does not fit the signature without loss."""

    #: Do what MLflow does, and count it.
    FLAG = "flag"
    #: Refuse the request, naming every such value.
    STRICT = "strict"


class Batching(StrEnum):
    """Whether requests may share one call of the model; `auto` asks the model's input example."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class EnvironmentChoice(StrEnum):
    """Which Python a model runs in; `auto` takes the running one when the requirements are met."""

    AUTO = "auto"
    RUNNING = "running"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Settings of a served entity that Databricks has no field for.

    They travel as `environment_vars` named ``TALLYSTICK_<FIELD>``, so that unmodified clients can send them.
    """

    enforcement: Enforcement = Enforcement.FLAG
    batching: Batching = Batching.AUTO
    max_batch_rows: int = 256
    batch_wait_ms: float = 0.0
    environment: EnvironmentChoice = EnvironmentChoice.AUTO
    request_timeout_s: float | None = None
    load_timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class ServedEntity:
    """One model version with its resources, under an endpoint."""

    id: ServedEntityId
    name: str
    #: Registry name, or a URI (``models:/``, ``runs:/``), an absolute folder, or an absolute ``.py`` file.
    entity_name: str
    entity_version: str | None
    min_concurrency: int
    max_concurrency: int
    workload_size: str | None = None
    workload_type: str = "CPU"
    scale_to_zero_enabled: bool = False
    environment_vars: dict[str, str] = field(default_factory=dict)
    options: WorkerOptions = field(default_factory=WorkerOptions)
    creator: str = ""
    creation_timestamp_ms: int = 0

    @property
    def workers(self) -> int:
        """How many worker processes its provisioned concurrency asks for."""
        return max(1, -(-self.max_concurrency // CONCURRENCY_PER_WORKER))

    @property
    def model_uri(self) -> str:
        """The model as one URI or path.

        >>> entity("churn", "3").model_uri
        'models:/churn/3'
        """
        if ":/" in self.entity_name or self.entity_name.startswith("/"):
            return self.entity_name
        return f"models:/{self.entity_name}/{self.entity_version}"

    @property
    def may_have_moved(self) -> bool:
        """Whether the same words may mean another model by now: an alias, a folder or a file."""
        return "@" in self.entity_name or self.entity_name.startswith("/")

    def runs_the_same_as(self, other: ServedEntity) -> bool:
        """Whether workers of `other` can go on serving this one: same model, same process environment."""
        return (
            self.model_uri == other.model_uri
            and self.workload_type == other.workload_type
            and self.environment_vars == other.environment_vars
        )


def entity(entity_name: str, entity_version: str | None = None, **fields: Any) -> ServedEntity:
    """Build a served entity with the defaults of the API: a short name, size Small."""
    values: dict[str, Any] = {
        "id": ServedEntityId(""),
        "name": default_entity_name(entity_name, entity_version),
        "min_concurrency": 4,
        "max_concurrency": 4,
    }
    return ServedEntity(**(values | {"entity_name": entity_name, "entity_version": entity_version} | fields))


def default_entity_name(entity_name: str, entity_version: str | None) -> str:
    """Return the name of a served entity that was given none: last part of the model, dash, version.

    >>> default_entity_name("main.x.claim_risk_model", "1")
    'claim_risk_model-1'
    >>> default_entity_name("models:/churn@champion", None)
    'churn-champion'
    """
    last = re.split(r"[/.:]", entity_name.removesuffix(".py").rstrip("/"))
    if ":/" in entity_name:
        last = [part for part in re.split(r"[/:@]", entity_name)[1:] if part][-2:]
        stem = "-".join(last)
    else:
        stem = last[-1]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_") or "model"
    return (f"{stem}-{entity_version}" if entity_version else stem)[:63]


@dataclass(frozen=True, slots=True)
class Route:
    """The share of an endpoint's traffic that one served entity gets, in slots of 0.01 %."""

    served_entity_name: str
    share_slots: int


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """The whole desired state of an endpoint. `version` only grows."""

    version: int
    served_entities: tuple[ServedEntity, ...]
    routes: tuple[Route, ...]
    start_time_ms: int = 0
    #: `auto_capture_config` as the client sent it; kept for the inference table.
    auto_capture: dict[str, Any] | None = None

    def entity_named(self, name: str) -> ServedEntity | None:
        """Return the served entity of that name, if there is one."""
        return next((entity for entity in self.served_entities if entity.name == name), None)


@dataclass(frozen=True, slots=True)
class Grant:
    """One line of an endpoint's access control list."""

    kind: str  # user_name | group_name | service_principal_name
    name: str
    level: Level


@dataclass(frozen=True, slots=True)
class EntityStatus:
    """How a served entity of an endpoint stands, as last seen by the reconciler."""

    state: Deployment
    message: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A named address that clients call."""

    id: EndpointId
    name: str
    creator: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    #: The config that serves; None until the first one became active.
    active: EndpointConfig | None = None
    #: The config being rolled out, or the one whose first deployment failed.
    pending: EndpointConfig | None = None
    #: The config whose rollout failed while `active` went on serving: shown with its reasons, never deployed.
    failed: EndpointConfig | None = None
    config_update: ConfigUpdate = ConfigUpdate.NOT_UPDATING
    is_stopped: bool = False
    #: Highest config version ever given out.
    last_config_version: int = 0
    description: str = ""
    tags: dict[str, str | None] = field(default_factory=dict)
    route_optimized: bool = False
    #: Objects that are stored and echoed: rate_limits, ai_gateway, email_notifications, telemetry_config, ...
    extras: dict[str, Any] = field(default_factory=dict)
    grants: tuple[Grant, ...] = ()
    #: By served entity id.
    entity_status: dict[str, EntityStatus] = field(default_factory=dict)

    @property
    def is_updating(self) -> bool:
        """Whether a config change is under way; a second one has to wait."""
        return self.config_update is ConfigUpdate.IN_PROGRESS

    @property
    def ready(self) -> Ready:
        """READY when every served entity of the active config is; one scaled to zero counts as ready."""
        if self.active is None or self.is_stopped:
            return Ready.NOT_READY
        states = [self.entity_status.get(entity.id) for entity in self.active.served_entities]
        is_ready = all(status is not None and status.state is Deployment.READY for status in states)
        return Ready.READY if is_ready else Ready.NOT_READY


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """What was learned of a served entity's model when it was first brought up. Survives restarts.

    With it a worker starts from the local copy: no registry is asked again.
    """

    local_path: str
    #: SHA-256 over the model's files, hex.
    digest: str
    resolved_uri: str
    run_id: str | None = None
    #: `signature` of the MLmodel file, as it stands there; None where the model has none.
    signature: dict[str, Any] | None = None
    flavors: tuple[str, ...] = ()
    #: Python interpreter the model needs; None for the one that runs the server.
    python: str | None = None
    can_batch: bool = False
    can_stream: bool = False
    batching_reason: str = ""
    #: Whether it came with golden rows: a copy that lost them is another one.
    has_golden_rows: bool = False
