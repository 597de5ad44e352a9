"""What all unit tests share: the tree of commands, which Typer would make anew for each call of the command line."""

import functools

import pytest
import typer.main


@pytest.fixture(scope="session", autouse=True)
def one_command_tree():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield
