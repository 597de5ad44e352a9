"""What there is to watch: from the published route table and the copies of models. Pure, but for looking for files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tallystick.protocol.monitoring import INCIDENTS_FOLDER, PARITY_FOLDER
from tallystick.protocol.routes import EndpointRoute, EntityRoute, RouteTable

#: Folder of a model with its reference, and the file that is there when the reference is whole.
REFERENCE_FOLDER, REFERENCE_FILE = "parity", "reference.msgpack"
#: A column of capture's settings with this prefix is one of the model's input.
INPUT_PREFIX = "request."
#: Sketches of live values are kept for so many days, and no longer than rows are.
SKETCH_DAYS = 14
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class WatchedEntity:
    """A served entity, and the folder of its reference; None when its model has none."""

    id: str
    name: str
    model_version: str
    digest: str
    reference: Path | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class WatchedEndpoint:
    """An endpoint whose rows can be compared with training, and where what is known of it is kept."""

    id: str
    name: str
    #: Folder or URL of its inference table; empty when nothing is recorded.
    table: str
    entities: tuple[WatchedEntity, ...]
    folder: Path
    is_watched: bool = True
    webhook: str = ""
    #: Columns of the input that are dropped or hashed before they are recorded.
    hidden: frozenset[str] = frozenset()
    #: Column that is sent, or `usage_context.<name>`, that says whom a row is about; empty: not known.
    key: str = ""
    #: Days after which its rows are deleted; 0: never.
    retention_days: int = 0

    @property
    def incidents(self) -> Path:
        """Folder of its incidents."""
        return self.folder / INCIDENTS_FOLDER


def watched_endpoints(routes: RouteTable, data_dir: Path, tables_root: str) -> dict[str, WatchedEndpoint]:
    """Return all endpoints, by name, with why one cannot be watched. Looks for references on disk."""
    return {name: _endpoint(route, data_dir, tables_root) for name, route in routes.endpoints.items()}


def withheld_of(endpoint: WatchedEndpoint) -> frozenset[str]:
    """Return the columns of which no value may be kept: those kept off the records, and the key."""
    return endpoint.hidden | ({endpoint.key} if endpoint.key else frozenset())


def oldest_s(endpoint: WatchedEndpoint, now_s: float) -> int:
    """Return the time of the oldest rows that may have sketches, in seconds: whole days, UTC."""
    days = min(SKETCH_DAYS, endpoint.retention_days or SKETCH_DAYS)
    return (int(now_s) // _DAY_S - days) * _DAY_S


def _endpoint(route: EndpointRoute, data_dir: Path, tables_root: str) -> WatchedEndpoint:
    table = f"{tables_root}/{route.capture.table}" if route.capture.table else ""
    return WatchedEndpoint(
        id=route.id,
        name=route.name,
        table=table,
        entities=tuple(_entity(entity, data_dir, route.name, is_recorded=bool(table)) for entity in route.entities),
        folder=data_dir / PARITY_FOLDER / route.id,
        is_watched=route.parity.monitor,
        webhook=route.parity.webhook,
        hidden=_inputs((*route.capture.drop, *route.capture.hash)),
        key=route.parity.key,
        retention_days=route.capture.retention_days,
    )


def _inputs(names: tuple[str, ...]) -> frozenset[str]:
    """Return the columns of the input among columns that are not recorded."""
    return frozenset(name.removeprefix(INPUT_PREFIX) for name in names if name.startswith(INPUT_PREFIX))


def _entity(entity: EntityRoute, data_dir: Path, endpoint: str, *, is_recorded: bool) -> WatchedEntity:
    folder = data_dir / "models" / entity.digest / REFERENCE_FOLDER if entity.digest else None
    has_reference = folder is not None and (folder / REFERENCE_FILE).is_file()
    problem = ""
    if not has_reference:
        problem = (
            "Its model has no reference of training to compare with. Log it with tallystick.log_model(…, X=X_train), "
            "or add one to a version that is there: tallystick reference add MODEL --data train.parquet; then deploy "
            f"it again: tallystick deploy {endpoint} MODEL."
        )
    elif not is_recorded:
        problem = (
            "Its invocations are not recorded, so there are no rows to look at. "
            f"Turn that on: tallystick endpoints inference-table {endpoint} --on."
        )
    return WatchedEntity(
        entity.id, entity.name, entity.model_version, entity.digest, folder if has_reference else None, problem
    )
