"""The store without a disk, for tests: same behaviour, same errors, gone with the process."""

# ruff: noqa: D102  the port tells

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tallystick.auth import StoredToken
from tallystick.control.store import SecretInfo, entity_ids_of, no_endpoint_of, no_scope_named
from tallystick.entities import Endpoint, EndpointId, ResolvedModel, ServedEntityId
from tallystick.errors import AlreadyExists, NotFound


@dataclass(slots=True)
class MemoryStore:
    """A `ConfigStore` in dictionaries, under one lock."""

    _endpoints: dict[EndpointId, Endpoint] = field(default_factory=dict)
    _tokens: dict[str, StoredToken] = field(default_factory=dict)
    _secrets: dict[str, dict[str, tuple[str, int]]] = field(default_factory=dict)
    _resolved: dict[ServedEntityId, ResolvedModel] = field(default_factory=dict)
    _table_version: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_endpoint(self, endpoint: Endpoint) -> None:
        with self._lock:
            if any(other.name == endpoint.name for other in self._endpoints.values()):
                raise AlreadyExists(f"Endpoint with name '{endpoint.name}' already exists.")
            self._endpoints[endpoint.id] = endpoint

    def endpoints(self) -> tuple[Endpoint, ...]:
        with self._lock:
            return tuple(sorted(self._endpoints.values(), key=lambda endpoint: endpoint.name))

    def endpoint(self, endpoint_id: str) -> Endpoint | None:
        return self._endpoints.get(EndpointId(endpoint_id))

    def endpoint_named(self, name: str) -> Endpoint | None:
        return next((endpoint for endpoint in self.endpoints() if endpoint.name == name), None)

    def update_endpoint(self, endpoint_id: EndpointId, change: Callable[[Endpoint], Endpoint]) -> Endpoint:
        with self._lock:
            if endpoint_id not in self._endpoints:
                raise NotFound(no_endpoint_of(endpoint_id))
            changed = change(self._endpoints[endpoint_id])
            self._endpoints[endpoint_id] = changed
            return changed

    def delete_endpoint(self, endpoint_id: EndpointId, check: Callable[[Endpoint], None]) -> None:
        with self._lock:
            if endpoint_id not in self._endpoints:
                raise NotFound(no_endpoint_of(endpoint_id))
            check(self._endpoints[endpoint_id])
            for entity_id in entity_ids_of(self._endpoints.pop(endpoint_id)):
                self._resolved.pop(entity_id, None)

    def add_token(self, token: StoredToken) -> None:
        with self._lock:
            self._tokens[token.id] = token

    def tokens(self) -> dict[str, StoredToken]:
        with self._lock:
            return dict(self._tokens)

    def delete_token(self, token_id: str) -> bool:
        with self._lock:
            return self._tokens.pop(token_id, None) is not None

    def add_scope(self, scope: str) -> None:
        with self._lock:
            if scope in self._secrets:
                raise AlreadyExists(f"Secret scope '{scope}' already exists.")
            self._secrets[scope] = {}

    def scopes(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(sorted(self._secrets))

    def delete_scope(self, scope: str) -> bool:
        with self._lock:
            return self._secrets.pop(scope, None) is not None

    def put_secret(self, scope: str, key: str, sealed: str, now_ms: int) -> None:
        with self._lock:
            self._scope(scope)[key] = (sealed, now_ms)

    def secret_infos(self, scope: str) -> tuple[SecretInfo, ...]:
        with self._lock:
            return tuple(SecretInfo(key, at_ms) for key, (_, at_ms) in sorted(self._scope(scope).items()))

    def secret(self, scope: str, key: str) -> str | None:
        with self._lock:
            sealed, _ = self._secrets.get(scope, {}).get(key, (None, 0))
            return sealed

    def delete_secret(self, scope: str, key: str) -> bool:
        with self._lock:
            return self._secrets.get(scope, {}).pop(key, None) is not None

    def save_resolved(self, entity_id: ServedEntityId, model: ResolvedModel) -> None:
        with self._lock:
            self._resolved[entity_id] = model

    def resolved(self) -> Mapping[ServedEntityId, ResolvedModel]:
        with self._lock:
            return dict(self._resolved)

    def keep_resolved_only(self, entity_ids: frozenset[ServedEntityId]) -> None:
        with self._lock:
            self._resolved = {key: model for key, model in self._resolved.items() if key in entity_ids}

    def next_table_version(self) -> int:
        with self._lock:
            self._table_version += 1
            return self._table_version

    def close(self) -> None:
        pass

    def _scope(self, scope: str) -> dict[str, tuple[str, int]]:
        if scope not in self._secrets:
            raise NotFound(no_scope_named(scope))
        return self._secrets[scope]
