"""Notices of incidents over real sockets: receivers that are slow, and hosts that are none."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from incidents import incident

from tallystick.monitor import webhook as webhooks
from tallystick.monitor.webhook import Webhook


async def no_pause(_: float) -> None:
    """Go on at once."""


@pytest.mark.parametrize("url", ["http://a..b/", f"http://{'a' * 70}.com/", "http://xn--zz/"])
def test_a_host_that_is_no_name_does_not_end_the_sending(url: str) -> None:
    assert not asyncio.run(Webhook(sleep=no_pause).deliver(url, b"{}"))


@contextlib.contextmanager
def receiver(*, drips: bool) -> Iterator[tuple[str, threading.Event]]:
    """A server that takes notices, or one that answers with a byte of a header now and then, for ever."""
    got, stop = threading.Event(), threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            got.set()
            connection.sendall(b"HTTP/1.1 " if drips else b"HTTP/1.1 204 No Content\r\n\r\n")
            while drips and not stop.wait(0.02):
                connection.sendall(b"2")

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/hook", got
    finally:
        stop.set()
        listening.close()


def test_a_receiver_that_drips_its_answer_is_left_at_the_deadline_and_delays_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 0.1)
    with receiver(drips=True) as (slow, slow_got), receiver(drips=False) as (quick, quick_got):
        assert not asyncio.run(Webhook(sleep=no_pause).deliver(slow, b"{}"))
        assert "TimeoutError" in caplog.text
        monkeypatch.setattr(webhooks, "TIMEOUT_S", 60.0)
        slow_got.clear()
        webhook = Webhook(sleep=no_pause)
        webhook.post(slow, incident())
        assert slow_got.wait(10)
        webhook.post(quick, incident())
        # The slow one is waited for still.
        assert quick_got.wait(10)
