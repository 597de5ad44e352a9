"""Control as a client of its own server: a token that gateways take, the address, and replays when they are due."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tallystick.auth import StoredToken, new_token
from tallystick.control.gatekeeper import Gatekeeper
from tallystick.control.incidents import Monitor, get_incident, list_incidents
from tallystick.control.parity import Parity
from tallystick.control.plan import replica_id
from tallystick.control.service import Service
from tallystick.entities import Endpoint, ResolvedModel, ServedEntity, ServedEntityId
from tallystick.gate.report import GateReport, Policy
from tallystick.protocol.routes import RouteTable
from tallystick.settings import Settings

if TYPE_CHECKING:
    from tallystick.control.replay import Replayer

#: Who replays golden rows, as far as gateways are concerned.
PRINCIPAL = "parity"


class OwnReplays:
    """Sends golden rows through the public port. The token lives as long as this process."""

    def __init__(self, settings: Settings, now_ms: int) -> None:
        self._settings = settings
        self._token, stored = new_token(PRINCIPAL, is_admin=True, now_ms=now_ms, comment="replays of golden rows")
        self.tokens: dict[str, StoredToken] = {stored.id: stored}
        self._replayer: Replayer | None = None

    async def __call__(
        self, endpoint: Endpoint, entity: ServedEntity, resolved: ResolvedModel, policy: Policy
    ) -> dict[str, GateReport]:
        """Return a report for each replica of a served entity, by its number."""
        from tallystick.control.replay import Target

        replicas = tuple(str(replica_id(entity, number)) for number in range(entity.workers))
        target = Target(endpoint.name, entity.name, replicas, resolved.digest, resolved.local_path)
        return await self._opened().replay(target, policy)

    async def predict(self, endpoint_name: str, entity: ServedEntity, body: bytes) -> bytes:
        """Return the answer of a served entity's first replica to a JSON body. Raises InvalidParameter."""
        from tallystick.control.replay import Target

        target = Target(endpoint_name, entity.name, (str(replica_id(entity, 0)),), "", "")
        return await self._opened().predict(target, body)

    def _opened(self) -> Replayer:
        from tallystick.control.replay import Replayer

        if self._replayer is None:
            self._replayer = Replayer(own_url(self._settings), self._token, self._settings.tls_cert)
        return self._replayer


def own_url(settings: Settings) -> str:
    """Return the URL of the gateways, from this machine.

    >>> from pathlib import Path
    >>> own_url(Settings(Path("/d"), host="::", port=8080, tls_cert="/c.pem"))
    'https://[::1]:8080'
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.host, settings.host)  # noqa: S104
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"


def is_known(table: RouteTable, endpoint_name: str, entity_id: ServedEntityId) -> bool:
    """Whether a route table has a served entity, routed or not."""
    route = table.endpoints.get(endpoint_name)
    return route is not None and any(entity.id == entity_id for entity in (*route.entities, *route.pending))


def parity_of(gatekeeper: Gatekeeper, service: Service, monitor: Monitor, data_dir: Path) -> Parity:
    """Return what the service asks of parity."""
    return Parity(
        gate=gatekeeper.described,
        check=lambda endpoint, entity_name: gatekeeper.check(endpoint, entity_name, service.resolved()),
        live=lambda endpoint: monitor.live(endpoint.name),
        # From memory: those that are closed are on disk, and listed by a route of their own.
        incidents=lambda endpoint: msgspec.to_builtins(list(monitor.open_for(endpoint.name))),
        kept=lambda endpoint: list_incidents(data_dir, endpoint.id),
        incident=lambda endpoint, number: get_incident(data_dir, endpoint.id, number),
        diagnose=lambda endpoint, asked: monitor.diagnose(endpoint.name, **asked),
        profile=lambda endpoint, asked: monitor.profile(endpoint.name, **asked),
    )
