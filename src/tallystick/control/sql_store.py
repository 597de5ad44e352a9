"""The store in SQLite (one server, the default) or Postgres. See `store` for what each method promises."""

# ruff: noqa: D102  the port tells
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import sqlalchemy as sa
from sqlalchemy import exc

from tallystick.auth import StoredToken
from tallystick.control import tables
from tallystick.control.database import WRITES, open_engine
from tallystick.control.store import SecretInfo, entity_ids_of, no_endpoint_of, no_scope_named
from tallystick.entities import Endpoint, EndpointId, ResolvedModel, ServedEntityId
from tallystick.errors import AlreadyExists, InternalError, NotFound, TallystickError, TemporarilyUnavailable

_TABLE_VERSION = "table_version"


def open_store(url: str, data_dir: Path) -> SqlStore:
    """Open the config store, and make it first where there never was one. Raises UnusableDatabase."""
    return SqlStore(open_engine(url, data_dir))


class SqlStore:
    """A `ConfigStore` over SQLAlchemy Core."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        # SQLite has one writer at a time and no queue for the others; waiting here is fair, there it is not.
        self._writing = threading.Lock()

    def add_endpoint(self, endpoint: Endpoint) -> None:
        taken = f"Endpoint with name '{endpoint.name}' already exists."
        row = {"id": endpoint.id, "name": endpoint.name, "document": _document(endpoint)}
        self._insert(tables.endpoints.insert().values(row), taken)

    def endpoints(self) -> tuple[Endpoint, ...]:
        with self._reads() as connection:
            rows = connection.execute(sa.select(tables.endpoints.c.document)).scalars().all()
        # Sorted here: the order of text differs between databases.
        return tuple(sorted(map(_endpoint, rows), key=lambda endpoint: endpoint.name))

    def endpoint(self, endpoint_id: str) -> Endpoint | None:
        return self._endpoint_where(tables.endpoints.c.id == endpoint_id)

    def endpoint_named(self, name: str) -> Endpoint | None:
        return self._endpoint_where(tables.endpoints.c.name == name)

    def update_endpoint(self, endpoint_id: EndpointId, change: Callable[[Endpoint], Endpoint]) -> Endpoint:
        with self._writes() as connection:
            stored = _locked_endpoint(connection, endpoint_id)
            changed = change(stored)
            if changed != stored:
                row = tables.endpoints.update().where(tables.endpoints.c.id == endpoint_id)
                connection.execute(row.values(document=_document(changed)))
        return changed

    def delete_endpoint(self, endpoint_id: EndpointId, check: Callable[[Endpoint], None]) -> None:
        with self._writes() as connection:
            stored = _locked_endpoint(connection, endpoint_id)
            check(stored)
            connection.execute(tables.endpoints.delete().where(tables.endpoints.c.id == endpoint_id))
            known = tables.resolved_models
            connection.execute(known.delete().where(known.c.served_entity_id.in_(entity_ids_of(stored))))

    def add_token(self, token: StoredToken) -> None:
        self._insert(tables.tokens.insert().values(msgspec.to_builtins(token)), "The token id is taken.")

    def tokens(self) -> dict[str, StoredToken]:
        with self._reads() as connection:
            rows = connection.execute(sa.select(tables.tokens)).mappings().all()
        return {row["id"]: StoredToken(**row) for row in rows}

    def delete_token(self, token_id: str) -> bool:
        return self._delete(tables.tokens, tables.tokens.c.id == token_id)

    def add_scope(self, scope: str) -> None:
        taken = f"Secret scope '{scope}' already exists."
        self._insert(tables.secret_scopes.insert().values(name=scope), taken)

    def scopes(self) -> tuple[str, ...]:
        with self._reads() as connection:
            return tuple(sorted(connection.execute(sa.select(tables.secret_scopes.c.name)).scalars()))

    def delete_scope(self, scope: str) -> bool:
        return self._delete(tables.secret_scopes, tables.secret_scopes.c.name == scope)

    def put_secret(self, scope: str, key: str, sealed: str, now_ms: int) -> None:
        secrets = tables.secrets
        with self._writes() as connection:
            _require_scope(connection, scope)
            # Delete and insert, as "upsert" is spelled differently by each database.
            connection.execute(secrets.delete().where(secrets.c.scope == scope, secrets.c.key == key))
            connection.execute(secrets.insert().values(scope=scope, key=key, sealed=sealed, last_updated_ms=now_ms))

    def secret_infos(self, scope: str) -> tuple[SecretInfo, ...]:
        secrets = tables.secrets
        with self._reads() as connection:
            _require_scope(connection, scope)
            columns = sa.select(secrets.c.key, secrets.c.last_updated_ms)
            rows = connection.execute(columns.where(secrets.c.scope == scope)).all()
        return tuple(SecretInfo(key, at_ms) for key, at_ms in sorted((key, at_ms) for key, at_ms in rows))

    def secret(self, scope: str, key: str) -> str | None:
        secrets = tables.secrets
        with self._reads() as connection:
            sealed = sa.select(secrets.c.sealed).where(secrets.c.scope == scope, secrets.c.key == key)
            return connection.execute(sealed).scalar_one_or_none()

    def delete_secret(self, scope: str, key: str) -> bool:
        secrets = tables.secrets
        return self._delete(secrets, sa.and_(secrets.c.scope == scope, secrets.c.key == key))

    def save_resolved(self, entity_id: ServedEntityId, model: ResolvedModel) -> None:
        known = tables.resolved_models
        with self._writes() as connection:
            connection.execute(known.delete().where(known.c.served_entity_id == entity_id))
            connection.execute(known.insert().values(served_entity_id=entity_id, document=_document(model)))

    def resolved(self) -> Mapping[ServedEntityId, ResolvedModel]:
        known = tables.resolved_models
        with self._reads() as connection:
            rows = connection.execute(sa.select(known.c.served_entity_id, known.c.document)).all()
        return {ServedEntityId(key): msgspec.json.decode(text, type=ResolvedModel) for key, text in rows}

    def keep_resolved_only(self, entity_ids: frozenset[ServedEntityId]) -> None:
        known = tables.resolved_models
        with self._writes() as connection:
            connection.execute(known.delete().where(known.c.served_entity_id.not_in(entity_ids)))

    def next_table_version(self) -> int:
        counters = tables.counters
        named = counters.c.name == _TABLE_VERSION
        with self._writes() as connection:
            grown = connection.execute(counters.update().where(named).values(value=counters.c.value + 1))
            if grown.rowcount == 0:
                connection.execute(counters.insert().values(name=_TABLE_VERSION, value=1))
            return int(connection.execute(sa.select(counters.c.value).where(named)).scalar_one())

    def close(self) -> None:
        self._engine.dispose()

    def _endpoint_where(self, condition: sa.ColumnElement[bool]) -> Endpoint | None:
        with self._reads() as connection:
            text = connection.execute(sa.select(tables.endpoints.c.document).where(condition)).scalar_one_or_none()
        return None if text is None else _endpoint(text)

    def _insert(self, statement: sa.Insert, taken: str) -> None:
        try:
            with self._writes() as connection:
                connection.execute(statement)
        except exc.IntegrityError as error:
            raise AlreadyExists(taken) from error

    def _delete(self, table: sa.Table, condition: sa.ColumnElement[bool]) -> bool:
        with self._writes() as connection:
            return connection.execute(table.delete().where(condition)).rowcount > 0

    @contextmanager
    def _reads(self) -> Iterator[sa.Connection]:
        with _faults_told("read"), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _writes(self) -> Iterator[sa.Connection]:
        with (
            _faults_told("written"),
            self._writing,
            self._engine.execution_options(**{WRITES: True}).begin() as connection,
        ):
            yield connection


@contextmanager
def _faults_told(verb: str) -> Iterator[None]:
    """Turn the database's faults into ours. IntegrityError is left to who knows what it means."""
    try:
        yield
    except (TallystickError, exc.IntegrityError):
        raise
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
        # Disk full, locked, read-only, server away: passes, or is put right outside.
        reason = error.orig if isinstance(error, exc.DBAPIError) else error
        text = f"The config store cannot be {verb} now: {reason}. Nothing was changed; endpoints go on serving."
        raise TemporarilyUnavailable(text, retry_after_s=5) from error
    except exc.DBAPIError as error:
        raise InternalError(
            f"The config store cannot be {verb}: {error.orig}. Nothing was changed; endpoints go on serving."
        ) from error


def _document(value: Endpoint | ResolvedModel) -> str:
    return msgspec.json.encode(value).decode()


def _endpoint(text: str) -> Endpoint:
    return msgspec.json.decode(text, type=Endpoint)


def _locked_endpoint(connection: sa.Connection, endpoint_id: EndpointId) -> Endpoint:
    """Read a row to change it: on Postgres the row is locked, on SQLite the transaction has the write lock."""
    wanted = sa.select(tables.endpoints.c.document).where(tables.endpoints.c.id == endpoint_id)
    text = connection.execute(wanted.with_for_update()).scalar_one_or_none()
    if text is None:
        raise NotFound(no_endpoint_of(endpoint_id))
    return _endpoint(text)


def _require_scope(connection: sa.Connection, scope: str) -> None:
    wanted = sa.select(tables.secret_scopes.c.name).where(tables.secret_scopes.c.name == scope)
    if connection.execute(wanted.with_for_update()).scalar_one_or_none() is None:
        raise NotFound(no_scope_named(scope))
