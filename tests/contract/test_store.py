"""One behaviour for every config store: memory, SQLite, Postgres; then what only a database can get wrong.

The Postgres case starts a server of its own, as nothing less tells whether our SQL means the same there.
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tallystick.auth import StoredToken
from tallystick.control import database, tables
from tallystick.control.database import UnusableDatabase, sqlite_engine
from tallystick.control.memory_store import MemoryStore
from tallystick.control.sql_store import SqlStore, open_store
from tallystick.control.store import ConfigStore
from tallystick.entities import (
    Deployment,
    Endpoint,
    EndpointConfig,
    EndpointId,
    EntityStatus,
    Grant,
    Level,
    ResolvedModel,
    Route,
    ServedEntityId,
    entity,
)
from tallystick.errors import AlreadyExists, Conflict, InternalError, NotFound, TemporarilyUnavailable

# -- values -----------------------------------------------------------------------------------------------


def an_endpoint(name: str = "churn", **fields: object) -> Endpoint:
    config = EndpointConfig(
        1,
        (entity("churn", "1", id=ServedEntityId(f"{name}-entity"), environment_vars={"A": "1"}),),
        (Route("churn-1", 10_000),),
        start_time_ms=5,
        auto_capture={"enabled": True},
    )
    values: dict[str, object] = {
        "id": EndpointId(f"id-of-{name}"),
        "name": name,
        "creator": "root",
        "creation_timestamp_ms": 1,
        "last_updated_timestamp_ms": 2,
        "active": config,
        "tags": {"team": None, "ü": "☃"},
        "extras": {"rate_limits": [{"calls": 5, "key": "user", "renewal_period": "minute"}]},
        "grants": (Grant("user_name", "bob", Level.CAN_QUERY),),
        "entity_status": {f"{name}-entity": EntityStatus(Deployment.FAILED, 'it "failed"\nbadly')},
    }
    return Endpoint(**(values | fields))  # type: ignore[arg-type]


def a_token(token_id: str = "0123456789ab") -> StoredToken:
    return StoredToken(token_id, "f" * 64, "bob", False, 3, None, "for tests")


def a_model(path: str = "/models/1") -> ResolvedModel:
    return ResolvedModel(path, "d" * 64, "models:/churn/1", signature={"inputs": "[]"}, flavors=("sklearn",))


# -- stores -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Postgres server that lives as long as the session."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = str(found[-1]) if found else shutil.which("initdb")
    if initdb is None:
        pytest.skip("no Postgres server programs: neither /usr/lib/postgresql/*/bin nor initdb on PATH")
    if os.getuid() == 0 and not shutil.which("runuser"):
        pytest.skip("Postgres refuses to run as root, and there is no runuser to become somebody else")
    as_user = ["runuser", "-u", "nobody", "--"] if os.getuid() == 0 else []
    # Not below pytest's folder: that is closed to other users.
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/tallystick-pg-XXXXXX"], text=True).strip())
    try:
        if as_user:
            shutil.chown(folder, "nobody")
        binaries, data = Path(initdb).resolve().parent, folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]

        def run(*command: str) -> None:
            subprocess.run([*as_user, *command], check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=60)

        run(str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", "tallystick", "-N", "-E", "UTF8")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        log = str(folder / "log")
        run(str(binaries / "pg_ctl"), "-D", str(data), "-w", "-l", log, "-o", options, "start")
        try:
            yield f"postgresql://tallystick@127.0.0.1:{port}/"
        finally:
            run(str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: str, tmp_path: Path) -> Iterator[str]:
    """URL of a fresh database."""
    name = f"t{abs(hash(tmp_path))}"
    admin = sa.create_engine(
        sa.make_url(postgres + "postgres").set(drivername="postgresql+pg8000"), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield postgres + name
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ConfigStore]:
    made: ConfigStore
    if request.param == "memory":
        made = MemoryStore()
    elif request.param == "sqlite":
        made = open_store(f"sqlite:///{tmp_path / 'store.db'}", tmp_path)
    else:
        made = open_store(request.getfixturevalue("postgres_url"), tmp_path)
    yield made
    made.close()


# -- behaviour --------------------------------------------------------------------------------------------


def test_endpoint_comes_back_as_it_was(store: ConfigStore) -> None:
    endpoint = an_endpoint()
    store.add_endpoint(endpoint)
    assert store.endpoint(endpoint.id) == endpoint
    assert store.endpoint_named("churn") == endpoint
    assert store.endpoint("churn") is None
    assert store.endpoint_named("id-of-churn") is None


def test_endpoints_come_by_name(store: ConfigStore) -> None:
    for name in ("b", "a", "C", "a-1", "a_1"):
        store.add_endpoint(an_endpoint(name))
    assert [endpoint.name for endpoint in store.endpoints()] == ["C", "a", "a-1", "a_1", "b"]


def test_taken_name_is_refused(store: ConfigStore) -> None:
    store.add_endpoint(an_endpoint())
    with pytest.raises(AlreadyExists, match="'churn' already exists"):
        store.add_endpoint(an_endpoint(id=EndpointId("another")))
    assert store.endpoints() == (an_endpoint(),)


def test_name_is_free_after_delete(store: ConfigStore) -> None:
    store.add_endpoint(an_endpoint())
    store.delete_endpoint(EndpointId("id-of-churn"), lambda _: None)
    assert store.endpoints() == ()
    store.add_endpoint(an_endpoint(id=EndpointId("another")))


def test_update_returns_and_keeps_the_new_value(store: ConfigStore) -> None:
    store.add_endpoint(an_endpoint())
    changed = store.update_endpoint(EndpointId("id-of-churn"), lambda endpoint: replace(endpoint, description="new"))
    assert changed.description == "new"
    assert store.endpoint("id-of-churn") == changed


def test_refused_update_changes_nothing(store: ConfigStore) -> None:
    store.add_endpoint(an_endpoint())

    def refuse(_: Endpoint) -> Endpoint:
        raise Conflict("no")

    with pytest.raises(Conflict, match="no"):
        store.update_endpoint(EndpointId("id-of-churn"), refuse)
    assert store.endpoint("id-of-churn") == an_endpoint()


def test_update_and_delete_of_unknown_endpoint_are_refused(store: ConfigStore) -> None:
    with pytest.raises(NotFound):
        store.update_endpoint(EndpointId("x"), lambda endpoint: endpoint)
    with pytest.raises(NotFound):
        store.delete_endpoint(EndpointId("x"), lambda _: None)


def test_refused_delete_changes_nothing(store: ConfigStore) -> None:
    store.add_endpoint(an_endpoint())

    def refuse(_: Endpoint) -> None:
        raise Conflict("no")

    with pytest.raises(Conflict):
        store.delete_endpoint(EndpointId("id-of-churn"), refuse)
    assert store.endpoints() == (an_endpoint(),)


def test_one_of_two_concurrent_updates_wins(store: ConfigStore) -> None:
    store.add_endpoint(an_endpoint())
    meet = threading.Barrier(8)

    def claim(endpoint: Endpoint) -> Endpoint:
        if endpoint.description:
            raise Conflict("taken")
        return replace(endpoint, description=threading.current_thread().name)

    def attempt(_: int) -> bool:
        meet.wait()
        try:
            store.update_endpoint(EndpointId("id-of-churn"), claim)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(attempt, range(8))) == 1


def test_concurrent_updates_lose_nothing(store: ConfigStore) -> None:
    store.add_endpoint(an_endpoint(last_config_version=0))

    def count(_: int) -> None:
        store.update_endpoint(
            EndpointId("id-of-churn"),
            lambda endpoint: replace(endpoint, last_config_version=endpoint.last_config_version + 1),
        )

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, range(40)))
    found = store.endpoint("id-of-churn")
    assert found is not None
    assert found.last_config_version == 40


def test_concurrent_creation_of_one_name_makes_one(store: ConfigStore) -> None:
    def attempt(number: int) -> bool:
        try:
            store.add_endpoint(an_endpoint(id=EndpointId(str(number))))
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(attempt, range(8))) == 1


def test_tokens_come_back_and_can_be_revoked(store: ConfigStore) -> None:
    first, second = a_token(), replace(a_token("ba9876543210"), expiry_time_ms=2**40, is_admin=True)
    store.add_token(first)
    store.add_token(second)
    assert store.tokens() == {first.id: first, second.id: second}
    assert store.delete_token(first.id)
    assert not store.delete_token(first.id)
    assert store.tokens() == {second.id: second}


def test_secret_is_kept_over_an_earlier_one(store: ConfigStore) -> None:
    store.add_scope("prod")
    store.put_secret("prod", "key", "sealed-1", 1)
    store.put_secret("prod", "key", "sealed-2", 2)
    store.put_secret("prod", "b", "sealed-3", 3)
    assert store.secret("prod", "key") == "sealed-2"
    assert [(info.key, info.last_updated_ms) for info in store.secret_infos("prod")] == [("b", 3), ("key", 2)]
    assert store.secret("prod", "other") is None
    assert store.secret("other", "key") is None


def test_scope_takes_its_secrets_along(store: ConfigStore) -> None:
    store.add_scope("prod")
    store.put_secret("prod", "key", "sealed", 1)
    assert store.delete_scope("prod")
    assert not store.delete_scope("prod")
    store.add_scope("prod")
    assert store.secret_infos("prod") == ()
    assert store.secret("prod", "key") is None


def test_unknown_and_taken_scopes_are_refused(store: ConfigStore) -> None:
    with pytest.raises(NotFound, match="'prod' does not exist"):
        store.put_secret("prod", "key", "sealed", 1)
    with pytest.raises(NotFound):
        store.secret_infos("prod")
    store.add_scope("prod")
    with pytest.raises(AlreadyExists):
        store.add_scope("prod")
    assert store.scopes() == ("prod",)


def test_secret_can_be_forgotten(store: ConfigStore) -> None:
    store.add_scope("prod")
    store.put_secret("prod", "key", "sealed", 1)
    assert store.delete_secret("prod", "key")
    assert not store.delete_secret("prod", "key")
    assert store.secret("prod", "key") is None


def test_resolved_models_come_back(store: ConfigStore) -> None:
    store.save_resolved(ServedEntityId("a"), a_model("/1"))
    store.save_resolved(ServedEntityId("a"), a_model("/2"))
    store.save_resolved(ServedEntityId("b"), a_model("/3"))
    assert store.resolved() == {"a": a_model("/2"), "b": a_model("/3")}
    store.keep_resolved_only(frozenset({ServedEntityId("b")}))
    assert store.resolved() == {"b": a_model("/3")}
    store.keep_resolved_only(frozenset())
    assert store.resolved() == {}


def test_deleted_endpoint_takes_its_resolved_models_along(store: ConfigStore) -> None:
    store.add_endpoint(an_endpoint())
    store.save_resolved(ServedEntityId("churn-entity"), a_model())
    store.save_resolved(ServedEntityId("other"), a_model())
    store.delete_endpoint(EndpointId("id-of-churn"), lambda _: None)
    assert set(store.resolved()) == {"other"}


def test_table_version_only_grows(store: ConfigStore) -> None:
    with ThreadPoolExecutor(4) as threads:
        given = list(threads.map(lambda _: store.next_table_version(), range(20)))
    assert sorted(given) == list(range(1, 21))


# -- the same database, opened again ----------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgres"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], SqlStore]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'store.db'}"
    else:
        url = request.getfixturevalue("postgres_url")
    return lambda: open_store(url, tmp_path)


def test_what_was_stored_is_there_after_a_restart(reopen: Callable[[], SqlStore]) -> None:
    first = reopen()
    first.add_endpoint(an_endpoint())
    first.add_token(a_token())
    first.next_table_version()
    first.close()
    second = reopen()
    assert second.endpoints() == (an_endpoint(),)
    assert second.tokens() == {a_token().id: a_token()}
    assert second.next_table_version() == 2
    second.close()


def test_two_processes_do_not_overwrite_each_other(reopen: Callable[[], SqlStore]) -> None:
    first, second = reopen(), reopen()
    first.add_endpoint(an_endpoint(last_config_version=0))

    def count(number: int) -> None:
        (first, second)[number % 2].update_endpoint(
            EndpointId("id-of-churn"),
            lambda endpoint: replace(endpoint, last_config_version=endpoint.last_config_version + 1),
        )

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, range(20)))
    found = second.endpoint("id-of-churn")
    assert found is not None
    assert found.last_config_version == 20
    first.close()
    second.close()


def test_schema_of_the_migrations_is_the_one_in_the_tables(reopen: Callable[[], SqlStore]) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    opened = reopen()
    with opened._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": tables.VERSION_TABLE})
        assert compare_metadata(context, tables.metadata) == []
        assert context.get_current_revision() == str(tables.SCHEMA_REVISION)
    opened.close()


def test_database_of_a_newer_version_is_refused(reopen: Callable[[], SqlStore]) -> None:
    opened = reopen()
    with opened._writes() as connection:
        connection.execute(sa.text(f"UPDATE {tables.VERSION_TABLE} SET version_num = '99'"))
    opened.close()
    with pytest.raises(UnusableDatabase, match=r"newer version \(schema 99"):
        reopen()


def test_database_of_another_installation_is_refused(reopen: Callable[[], SqlStore], tmp_path: Path) -> None:
    reopen().close()
    marker = tmp_path / database.MARKER
    marker.write_text("somebody-else\n")
    with pytest.raises(UnusableDatabase, match="another installation"):
        reopen()
    marker.unlink()
    reopen().close()
    assert marker.read_text().strip() not in ("", "somebody-else")


def test_postgres_database_that_lost_everything_is_not_an_empty_start(postgres_url: str, tmp_path: Path) -> None:
    opened = open_store(postgres_url, tmp_path)
    tables.metadata.drop_all(opened._engine)
    with opened._writes() as connection:
        connection.execute(sa.text(f"DROP TABLE {tables.VERSION_TABLE}"))
    opened.close()
    with pytest.raises(UnusableDatabase, match="is empty, though this server had one"):
        open_store(postgres_url, tmp_path)


def test_postgres_database_of_something_else_is_refused(postgres_url: str, tmp_path: Path) -> None:
    engine = sa.create_engine(sa.make_url(postgres_url).set(drivername="postgresql+pg8000"))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE endpoints (id int)"))
    engine.dispose()
    with pytest.raises(UnusableDatabase, match="something else"):
        open_store(postgres_url, tmp_path)
    assert not (tmp_path / database.MARKER).exists()


def test_unreachable_postgres_is_told_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(UnusableDatabase) as raised:
        open_store("postgresql://me:sesame@127.0.0.1:1/db", tmp_path)
    assert "sesame" not in raised.value.message


# -- SQLite files -----------------------------------------------------------------------------------------


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """The file of a store that was used and closed."""
    path = tmp_path / "store.db"
    opened = open_store(f"sqlite:///{path}", tmp_path)
    for number in range(20):
        opened.add_endpoint(an_endpoint(f"e{number}", description="x" * 500))
    opened.close()
    return path


def refusal(path: Path) -> str:
    """Open the store, and return why it was refused. The file must stay as it was."""
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(UnusableDatabase) as raised:
        open_store(f"sqlite:///{path}", path.parent)
    assert (path.read_bytes() if path.exists() else None) == before
    return raised.value.message


def test_file_of_no_bytes_is_not_an_empty_start(used: Path) -> None:
    used.write_bytes(b"")
    assert "is empty (0 bytes)" in refusal(used)


def test_file_of_no_bytes_is_refused_on_the_first_start_too(tmp_path: Path) -> None:
    (tmp_path / "store.db").touch()
    assert "is empty (0 bytes)" in refusal(tmp_path / "store.db")


def test_missing_file_is_not_an_empty_start(used: Path) -> None:
    used.unlink()
    assert "is gone, though this server had one" in refusal(used)


def test_garbage_is_refused(used: Path) -> None:
    used.write_bytes(b"garbage " * 1000)
    assert "damaged, or not a SQLite file" in refusal(used)


def test_half_a_file_is_refused(used: Path) -> None:
    used.write_bytes(used.read_bytes()[: used.stat().st_size // 2])
    assert "damaged" in refusal(used)


def test_flipped_bytes_are_refused(used: Path) -> None:
    content = bytearray(used.read_bytes())
    for at in range(4096, len(content), 512):
        content[at] ^= 0xFF
    used.write_bytes(content)
    assert "damaged" in refusal(used)


def test_file_of_something_else_is_refused(used: Path) -> None:
    used.unlink()
    other = sqlite3.connect(used)
    other.execute("CREATE TABLE tallystick_endpoints (id)")
    other.commit()
    other.close()
    assert "something else" in refusal(used)


def test_file_without_the_schema_revision_is_refused(used: Path) -> None:
    connection = sqlite3.connect(used)
    connection.execute(f"DROP TABLE {tables.VERSION_TABLE}")
    connection.commit()
    connection.close()
    assert "does not tell its schema revision" in refusal(used)


def test_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.db").mkdir()
    with pytest.raises(UnusableDatabase, match="cannot be read"):
        open_store(f"sqlite:///{tmp_path / 'store.db'}", tmp_path)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://x/y", "nonsense"])
def test_unusable_urls_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableDatabase):
        open_store(url, tmp_path)


@pytest.mark.parametrize("step", range(6))
def test_first_start_that_dies_at_any_step_can_be_repeated(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps: schema, id, rename of the file, its folder, marker, rename of the marker."""
    countdown = iter(range(step, -1, -1))

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def step_or_die(*arguments: object) -> object:
            if next(countdown, 1) == 0:
                raise SystemExit("killed")
            return real(*arguments)

        return step_or_die

    with monkeypatch.context() as patched:
        for name in ("_migrate", "_make_schema", "_sync_folder", "_write_marker"):
            patched.setattr(database, name, dying(getattr(database, name)))
        for name in ("rename", "replace"):
            patched.setattr(Path, name, dying(getattr(Path, name)))
        with pytest.raises(SystemExit):
            open_store(f"sqlite:///{tmp_path / 'store.db'}", tmp_path)
    opened = open_store(f"sqlite:///{tmp_path / 'store.db'}", tmp_path)
    opened.add_endpoint(an_endpoint())
    opened.close()
    again = open_store(f"sqlite:///{tmp_path / 'store.db'}", tmp_path)
    assert again.endpoints() == (an_endpoint(),)
    again.close()


def test_start_that_died_while_making_the_file_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "store.db.new").write_bytes(b"half of it")
    opened = open_store(f"sqlite:///{tmp_path / 'store.db'}", tmp_path)
    assert opened.endpoints() == ()
    opened.close()


def test_start_that_died_before_the_marker_can_be_repeated(used: Path) -> None:
    (used.parent / database.MARKER).unlink()
    opened = open_store(f"sqlite:///{used}", used.parent)
    assert len(opened.endpoints()) == 20
    opened.close()
    assert (used.parent / database.MARKER).exists()


def test_file_is_closed_to_others_and_lasting(used: Path) -> None:
    assert used.stat().st_mode & 0o777 == 0o600
    engine = sqlite_engine(used)
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "application_id", "user_version")
        }
        assert (used.parent / "store.db-wal").stat().st_mode & 0o777 == 0o600
    engine.dispose()
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "application_id": tables.APPLICATION_ID,
        "user_version": tables.SCHEMA_REVISION,
    }


def test_start_on_an_existing_file_does_not_import_alembic(used: Path) -> None:
    """In a process of its own: imports cannot be taken back in this one."""
    code = (
        "import sys; from pathlib import Path; from tallystick.control.sql_store import open_store\n"
        f"open_store('sqlite:///{used}', Path('{used.parent}')).close()\n"
        "sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_full_disk_is_told_and_changes_nothing(used: Path) -> None:
    opened = open_store(f"sqlite:///{used}", used.parent)

    @sa.event.listens_for(opened._engine, "begin")
    def no_room(connection: sa.Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    before = opened.endpoints()
    with pytest.raises(TemporarilyUnavailable, match="disk is full") as raised:
        opened.add_endpoint(an_endpoint("large", description="x" * 100_000))
    assert raised.value.retry_after_s
    assert opened.endpoints() == before
    opened.close()


def test_locked_database_is_told_and_changes_nothing(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 1)
    opened = open_store(f"sqlite:///{used}", used.parent)
    other = sqlite3.connect(used, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TemporarilyUnavailable, match="locked"):
        opened.add_token(a_token())
    assert opened.tokens() == {}
    other.execute("ROLLBACK")
    opened.add_token(a_token())
    other.close()
    opened.close()


def test_damage_while_running_is_told(used: Path) -> None:
    opened = open_store(f"sqlite:///{used}", used.parent)
    opened.close()
    with used.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (used.stat().st_size - 4096))
    with pytest.raises(InternalError, match="The config store cannot be read"):
        opened.endpoints()
