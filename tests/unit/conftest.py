"""What all unit tests share: the command line, as a process of its own would see it, and its server in memory."""

import functools
import sys
from pathlib import Path

import httpx
import pytest
import typer.main

from builders.cli_server import URL, Answers, Asked, Run
from tallystick import cli, client
from tallystick.discovery import Server


@pytest.fixture(scope="session", autouse=True)
def one_command_tree():
    """The tree of commands, which Typer would make anew for each call of the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    real = client.Client

    def ask(answers: Answers) -> Answers:
        def connect(found: Server) -> client.Client:
            return real(found, transport=httpx.MockTransport(answers))

        monkeypatch.setattr(client, "Client", connect)
        return answers

    for name in ("TALLYSTICK_HOST", "DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TALLYSTICK_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TALLYSTICK_HOST", URL)
    monkeypatch.setenv("TALLYSTICK_TOKEN", "tsk_t")
    return ask


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["tallystick", *arguments])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return run
