"""Opens the database of the config store: tells ours from others', makes a new one whole, migrates an old one.

An empty start by accident would read as "no endpoints are wanted" and stop every worker. So a database is made
only where there never was one; a file of 0 bytes (which SQLite takes for a healthy database), somebody else's
database, a damaged one, one that was there before and is gone, or one of a newer version are errors that say what
to do. "There was one" is remembered by a marker file in the data directory with the installation's id.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from tallystick.control.tables import APPLICATION_ID, SCHEMA_REVISION, VERSION_TABLE, installation
from tallystick.errors import InternalError

#: How long a write waits for another process to finish its own (a backup, a second control process that starts).
BUSY_TIMEOUT_MS = 5000

#: Execution option of a transaction that writes: it takes SQLite's write lock when it begins, not at its first
#: write, where waiting is no longer possible (the snapshot would be stale) and SQLITE_BUSY comes at once.
WRITES = "tallystick_writes"

MARKER = "initialised"


class UnusableDatabase(InternalError):
    """The config store cannot be used as it is; control does not start on it. The text says what to do."""


def open_engine(url: str, data_dir: Path) -> sa.Engine:
    """Return an engine on a checked database of the newest schema, made first if there never was one.

    Takes `sqlite:///<file>` and `postgresql://…` URLs. Raises UnusableDatabase.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UnusableDatabase(f"The database setting is not a URL: {error}") from error
    marker = data_dir / MARKER
    known_id = marker.read_text().strip() if marker.exists() else ""
    backend = parsed.get_backend_name()
    try:
        if backend == "sqlite":
            engine, found_id = _open_sqlite(parsed, known_id, marker)
        elif backend == "postgresql":
            engine, found_id = _open_postgres(parsed, known_id, marker)
        else:
            raise UnusableDatabase(f"The database setting names '{backend}'; sqlite and postgresql are supported.")
    except ImportError as error:
        raise UnusableDatabase(f"The driver of this database is not installed ({error}).") from error
    except DBAPIError as error:
        shown = parsed.render_as_string(hide_password=True)
        raise UnusableDatabase(f"The config database {shown} cannot be used: {error.orig}") from error
    if known_id and found_id != known_id:
        engine.dispose()
        raise UnusableDatabase(
            f"The config database {parsed.render_as_string(hide_password=True)} belongs to another installation "
            f"({found_id}, this one is {known_id}). To adopt it, remove {marker} and start again."
        )
    if not known_id:
        _write_marker(marker, found_id)
    return engine


def _open_sqlite(url: URL, known_id: str, marker: Path) -> tuple[sa.Engine, str]:
    if not url.database or url.database == ":memory:" or "mode=memory" in url.database:
        raise UnusableDatabase("The config database has to be a file: sqlite:///<path>.")
    path = Path(url.database)
    if path.exists():
        _check_sqlite_file(path)
    elif known_id:
        raise UnusableDatabase(
            f"The config database {path} is gone, though this server had one. Restore it from a backup; or, to "
            f"begin anew without endpoints, tokens and secrets, remove {marker}."
        )
    else:
        _make_sqlite_file(path)
    engine = sqlite_engine(path)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        _migrate_if_older(connection, f"The config database {path}")
        return engine, _installation_id(connection, str(path))


def sqlite_engine(path: Path, journal_mode: str = "WAL") -> sa.Engine:
    """Return an engine whose commits survive a power cut (WAL and FULL; NORMAL loses the last ones)."""
    engine = sa.create_engine(URL.create("sqlite", database=str(path)))
    pragmas = (
        f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
        f"PRAGMA journal_mode={journal_mode}",
        "PRAGMA synchronous=FULL",
        "PRAGMA foreign_keys=ON",
    )

    @event.listens_for(engine, "connect")
    def prepare(dbapi_connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own transactions would leave DDL outside of them; we begin and end them ourselves.
        dbapi_connection.isolation_level = None
        for pragma in pragmas:
            dbapi_connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _check_sqlite_file(path: Path) -> None:
    """Raise unless the file is a sound database of ours. Reads only."""
    restore = "Restore it from a backup; control starts on nothing less, as it would take it for 'no endpoints'."
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UnusableDatabase(f"The config database {path} cannot be read: {error.strerror}.") from error
    if not head:
        raise UnusableDatabase(f"The config database {path} is empty (0 bytes). {restore}")
    if head != b"SQLite format 3\0":
        raise UnusableDatabase(f"The config database {path} is damaged, or not a SQLite file. {restore}")
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            application_id = connection.execute("PRAGMA application_id").fetchone()[0]
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        raise UnusableDatabase(f"The config database {path} cannot be opened: {error}.") from error
    except sqlite3.DatabaseError as error:
        raise UnusableDatabase(f"The config database {path} is damaged: {error}. {restore}") from error
    if application_id != APPLICATION_ID:
        raise UnusableDatabase(f"{path} is a database of something else; give Tallystick a file of its own.")
    if verdict != "ok":
        raise UnusableDatabase(f"The config database {path} is damaged: {verdict}. {restore}")


def _make_sqlite_file(path: Path) -> None:
    """Make the database under another name and rename it, so that a crash never leaves half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    # Made here, not by SQLite: it holds token digests and takes the mode over to its -wal and -shm files.
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    engine = sqlite_engine(new, journal_mode="DELETE")
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        _make_schema(connection)
    engine.dispose()
    new.rename(path)
    _sync_folder(path.parent)


def _open_postgres(url: URL, known_id: str, marker: Path) -> tuple[sa.Engine, str]:
    shown = f"The config database {url.render_as_string(hide_password=True)}"
    # The plain URL stands for the driver that we bring; any other is the owner's choice.
    named = url.set(drivername="postgresql+pg8000") if url.drivername == "postgresql" else url
    engine = sa.create_engine(named, pool_pre_ping=True)
    with engine.begin() as connection:
        # Two control processes that start at a time make one schema.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": APPLICATION_ID})
        tables = sa.inspect(connection).get_table_names()
        if VERSION_TABLE in tables:
            _migrate_if_older(connection, shown)
        elif tables:
            raise UnusableDatabase(f"{shown} has tables of something else; give Tallystick a database of its own.")
        elif known_id:
            raise UnusableDatabase(
                f"{shown} is empty, though this server had one. Restore it from a backup; or, to begin anew "
                f"without endpoints, tokens and secrets, remove {marker}."
            )
        else:
            _make_schema(connection)
        return engine, _installation_id(connection, shown)


def _make_schema(connection: sa.Connection) -> None:
    _migrate(connection)
    connection.execute(installation.insert().values(id=uuid.uuid4().hex))


def _migrate_if_older(connection: sa.Connection, shown: str) -> None:
    try:
        # The table is ours and its name a constant.
        found = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    except DBAPIError as error:
        raise UnusableDatabase(f"{shown} is damaged: it does not tell its schema revision.") from error
    revision = int(found) if found and str(found).isdecimal() else 0
    if revision > SCHEMA_REVISION:
        raise UnusableDatabase(
            f"{shown} was written by a newer version (schema {revision}, this one knows {SCHEMA_REVISION}). "
            "Start that version again, or restore a backup made before the upgrade."
        )
    if revision < SCHEMA_REVISION:
        _migrate(connection)


def _migrate(connection: sa.Connection) -> None:
    """Bring the schema to the newest revision, within the caller's transaction."""
    # Costs 0.4 s to import; the everyday start does not need it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "tallystick.control:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA_REVISION}")


def _installation_id(connection: sa.Connection, shown: str) -> str:
    found = connection.execute(sa.select(installation.c.id)).scalar()
    if not found:
        raise UnusableDatabase(f"{shown} is damaged: it has lost the installation's id. Restore it from a backup.")
    return str(found)


def _write_marker(marker: Path, installation_id: str) -> None:
    marker.parent.mkdir(parents=True, exist_ok=True)
    temporary = marker.with_suffix(".tmp")
    with temporary.open("w") as file:
        file.write(installation_id + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(marker)
    _sync_folder(marker.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
