"""What a client calls itself, in the words of one header of each of its requests."""

from __future__ import annotations

import pytest

from tallystick.monitor.rows import client_of


def recorded(header: bytes) -> str:
    """Return a header as the gateway records it."""
    return header.decode("latin-1")


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("böd/1.0".encode(), "böd/1.0"),
        ("böd/1.0".encode("latin-1"), "böd/1.0"),
        ("アプリ/2.3.1 (iPhone)".encode(), "アプリ/2.3"),
        ("naïve\N{NO-BREAK SPACE}app/1".encode(), "naïve\N{NO-BREAK SPACE}app/1"),
        (b"My%20App/12 CFNetwork/1410.0.3", "My%20App/12"),
        (b"c++client!/v3.1", "c++client!/3.1"),
        (b"app;build=3", "app"),
        (b"app(iPhone)", "app"),
        (b"(iPhone)", "(other)"),
        (b"", "(none)"),
    ],
)
def test_a_product_is_named_whole(header: bytes, client: str) -> None:
    assert client_of(recorded(header)) == client


def test_a_text_that_was_read_already_stays_as_it_is() -> None:
    assert client_of("アプリ/2.3") == "アプリ/2.3"


def test_a_name_is_short_and_nothing_that_a_terminal_obeys() -> None:
    assert client_of(recorded("a\N{RIGHT-TO-LEFT OVERRIDE}b\x1b[2J/1.0".encode())) == "a\\u202eb\\x1b"
    assert len(client_of("é" * 1000 + "/" + "1" * 100 + "." + "2" * 100)) == 64 + len("/12345678.12345678")
