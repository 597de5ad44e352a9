"""Which server, with which token; and that no token goes where it does not belong."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tallystick.discovery import (
    Server,
    ServerUnreachable,
    find_server,
    read_server_file,
    remove_server_file,
    write_server_file,
)
from tallystick.errors import Unauthenticated

LOCAL = "http://127.0.0.1:8080"


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """The data directory of a server that runs."""
    write_server_file(tmp_path, LOCAL)
    (tmp_path / "admin.token").write_text("tsk_admin\n")
    return tmp_path


def test_the_server_that_runs_here_is_found_with_its_token(running: Path) -> None:
    assert find_server({"TALLYSTICK_DATA_DIR": str(running)}) == Server(LOCAL, "tsk_admin")
    assert find_server({}, data_dir=running) == Server(LOCAL, "tsk_admin")


def test_arguments_come_first(running: Path) -> None:
    environ = {"TALLYSTICK_DATA_DIR": str(running), "DATABRICKS_HOST": "http://b:1", "DATABRICKS_TOKEN": "tsk_b"}
    assert find_server(environ, host="http://a:1", token="tsk_a") == Server("http://a:1", "tsk_a")


def test_the_environment_comes_before_the_data_directory(running: Path) -> None:
    data = {"TALLYSTICK_DATA_DIR": str(running)}
    databricks = {"DATABRICKS_HOST": "http://b:1", "DATABRICKS_TOKEN": "tsk_b"}
    ours = {"TALLYSTICK_HOST": "http://c:1", "TALLYSTICK_TOKEN": "tsk_c"}
    assert find_server(data | databricks) == Server("http://b:1", "tsk_b")
    assert find_server(data | databricks | ours) == Server("http://c:1", "tsk_c")
    assert find_server(data | {"DATABRICKS_TOKEN": "tsk_b"}) == Server(LOCAL, "tsk_b")


def test_a_databricks_workspace_is_left_alone(running: Path) -> None:
    workspace = {"DATABRICKS_HOST": "https://adb-1.azuredatabricks.net", "DATABRICKS_TOKEN": "dapi123"}
    assert find_server(workspace | {"TALLYSTICK_DATA_DIR": str(running)}) == Server(LOCAL, "tsk_admin")
    with pytest.raises(ServerUnreachable, match="left alone"):
        find_server(workspace | {"TALLYSTICK_DATA_DIR": str(running / "none")})


def test_the_admin_token_goes_to_its_own_server_only(running: Path) -> None:
    environ = {"TALLYSTICK_DATA_DIR": str(running)}
    assert find_server(environ, host="localhost:8080").token == "tsk_admin"
    for other in ("http://127.0.0.1:9999", "http://ml.example.org:8080", "https://127.0.0.1:8080"):
        with pytest.raises(Unauthenticated, match="No token for"):
            find_server(environ, host=other)


def test_a_token_of_the_environment_goes_to_its_own_host_only(running: Path) -> None:
    environ = {"DATABRICKS_HOST": "http://b:1", "DATABRICKS_TOKEN": "tsk_b", "TALLYSTICK_DATA_DIR": str(running)}
    assert find_server(environ, host="http://b:1").token == "tsk_b"
    with pytest.raises(Unauthenticated):
        find_server(environ, host="http://evil:1")


def test_a_data_directory_that_is_named_wins_over_the_environment(running: Path) -> None:
    environ = {"DATABRICKS_HOST": "http://b:1", "DATABRICKS_TOKEN": "tsk_b"}
    assert find_server(environ, data_dir=running) == Server(LOCAL, "tsk_admin")


def test_without_any_server_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ServerUnreachable, match="tallystick serve"):
        find_server({"TALLYSTICK_DATA_DIR": str(tmp_path)})


def test_the_address_is_for_this_user_and_goes_with_the_server(running: Path) -> None:
    assert stat.S_IMODE((running / "server.json").stat().st_mode) == 0o600
    remove_server_file(running)
    assert read_server_file(running) is None
    remove_server_file(running)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"url": 3}', "\xff"])
def test_a_broken_address_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    assert read_server_file(tmp_path) is None
