"""What keeps the desired state: the port that `service` writes through. Twins: `sql_store`, `memory_store`.

A store knows no rules but uniqueness; it makes each change whole. Every method blocks on the disk or the
network, so an event loop calls them in a thread; all may be called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tallystick.auth import StoredToken
from tallystick.entities import Endpoint, EndpointId, ResolvedModel, ServedEntityId


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """A secret as it is listed: never with its value."""

    key: str
    last_updated_ms: int


class ConfigStore(Protocol):
    """Desired state, tokens, secrets and what was learned of models.

    Writes are durable when the call returns. Raises TemporarilyUnavailable when the disk is full or the
    database is away or busy: nothing was changed then.
    """

    def add_endpoint(self, endpoint: Endpoint) -> None:
        """Keep a new endpoint. Raises AlreadyExists when its name is taken."""

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return every endpoint, by name."""

    def endpoint(self, endpoint_id: str) -> Endpoint | None:
        """Return the endpoint of this id."""

    def endpoint_named(self, name: str) -> Endpoint | None:
        """Return the endpoint of this name."""

    def update_endpoint(self, endpoint_id: EndpointId, change: Callable[[Endpoint], Endpoint]) -> Endpoint:
        """Replace an endpoint by `change` of what is stored, in one transaction, and return the new value.

        Of two at a time the second sees what the first wrote. What `change` raises is passed on and nothing is
        stored; it must be quick and must not call the store. Id and name cannot be changed. Raises NotFound.
        """

    def delete_endpoint(self, endpoint_id: EndpointId, check: Callable[[Endpoint], None]) -> None:
        """Forget an endpoint and what was learned of its models, unless `check` raises. Raises NotFound."""

    def add_token(self, token: StoredToken) -> None:
        """Keep a token."""

    def tokens(self) -> dict[str, StoredToken]:
        """Return every token by id, revoked ones no longer, expired ones still."""

    def delete_token(self, token_id: str) -> bool:
        """Revoke a token; return whether there was one."""

    def add_scope(self, scope: str) -> None:
        """Make a secret scope. Raises AlreadyExists."""

    def scopes(self) -> tuple[str, ...]:
        """Return the names of the secret scopes, sorted."""

    def delete_scope(self, scope: str) -> bool:
        """Forget a scope with its secrets; return whether there was one."""

    def put_secret(self, scope: str, key: str, sealed: str, now_ms: int) -> None:
        """Keep a sealed value, over an earlier one of the same key. Raises NotFound when there is no scope."""

    def secret_infos(self, scope: str) -> tuple[SecretInfo, ...]:
        """Return what is in a scope, by key. Raises NotFound when there is no such scope."""

    def secret(self, scope: str, key: str) -> str | None:
        """Return a sealed value."""

    def delete_secret(self, scope: str, key: str) -> bool:
        """Forget a secret; return whether there was one."""

    def save_resolved(self, entity_id: ServedEntityId, model: ResolvedModel) -> None:
        """Keep what was learned of a served entity's model, over what was known."""

    def resolved(self) -> Mapping[ServedEntityId, ResolvedModel]:
        """Return what was learned of models, by served entity id."""

    def keep_resolved_only(self, entity_ids: frozenset[ServedEntityId]) -> None:
        """Forget what was learned of every other served entity's model."""

    def next_table_version(self) -> int:
        """Return a route table version above all given out before, 1 at first."""

    def close(self) -> None:
        """Give up connections. The store is not used afterwards."""


def entity_ids_of(endpoint: Endpoint) -> frozenset[ServedEntityId]:
    """Return the ids of the served entities in an endpoint's configs."""
    configs = [config for config in (endpoint.active, endpoint.pending, endpoint.failed) if config is not None]
    return frozenset(entity.id for config in configs for entity in config.served_entities)


def no_endpoint_of(endpoint_id: str) -> str:
    """Return the text for an endpoint id that is unknown."""
    return f"Endpoint with id '{endpoint_id}' does not exist."


def no_scope_named(scope: str) -> str:
    """Return the text for a secret scope that is unknown."""
    return f"Secret scope '{scope}' does not exist."
