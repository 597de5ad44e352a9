"""What `serve` makes of its options, before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.commands.config_edit import BadUsage
from tallystick.commands.serve import absolute_store, address, banner, refuse_unsafe, without_password
from tallystick.settings import Settings

DATA = Path("/data")


def settings(**values: object) -> Settings:
    return Settings(DATA, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "ml.example.org", ""])
def test_plain_http_beyond_this_machine_is_refused_unless_asked_for(host: str) -> None:
    with pytest.raises(BadUsage, match="--allow-plain-http"):
        refuse_unsafe(settings(host=host))
    refuse_unsafe(settings(host=host, allow_plain_http=True))
    refuse_unsafe(settings(host=host, tls_cert="c", tls_key="k"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "localhost", "::1"])
def test_loopback_needs_no_tls(host: str) -> None:
    refuse_unsafe(settings(host=host))


def test_half_of_tls_is_refused() -> None:
    with pytest.raises(BadUsage, match="belong together"):
        refuse_unsafe(settings(tls_cert="c"))


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"host": "0.0.0.0", "port": 80}, "http://127.0.0.1:80"),
        ({"host": "::"}, "http://[::1]:8080"),
        ({"host": "0.0.0.0", "tls_cert": "c", "allowed_hosts": ("ml.example.org",)}, "https://ml.example.org:8080"),
        ({"host": "10.0.0.5"}, "http://10.0.0.5:8080"),
    ],
)
def test_the_address_is_one_that_programs_here_can_use(values: dict[str, object], url: str) -> None:
    assert address(settings(**values)) == url


def test_only_the_first_start_tells_the_token() -> None:
    first = "\n".join(banner(settings(), "http://127.0.0.1:8080", "tsk_new"))
    assert "  export DATABRICKS_HOST=http://127.0.0.1:8080\n  export DATABRICKS_TOKEN=tsk_new\n" in first
    assert "TOKEN" not in "\n".join(banner(settings(), "http://127.0.0.1:8080", None))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ""),
        ("sqlite:///mlflow.db", "sqlite:////srv/mlflow.db"),
        ("sqlite:////abs/mlflow.db", "sqlite:////abs/mlflow.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("./mlruns", "/srv/mlruns"),
        ("file:mlruns", "file:///srv/mlruns"),
        ("file:///mlruns", "file:///mlruns"),
        ("http://mlflow:5000", "http://mlflow:5000"),
        ("postgresql+pg8000://u:p@db/x", "postgresql+pg8000://u:p@db/x"),
        ("databricks", "databricks"),
    ],
)
def test_stores_mean_the_same_in_every_folder(given: str, expected: str) -> None:
    assert absolute_store(given, Path("/srv")) == expected


def test_passwords_are_not_shown() -> None:
    assert without_password("postgresql://me:secret@db/x") == "postgresql://me:***@db/x"
    assert without_password("sqlite:////x.db") == "sqlite:////x.db"
