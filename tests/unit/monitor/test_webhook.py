"""Notices of incidents: what is sent, how often, and where not to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest
from incidents import incident

from tallystick.monitor import webhook as webhooks
from tallystick.monitor.webhook import PAUSES_S, Webhook, payload
from tallystick.protocol.monitoring import IncidentState

URL = "https://hooks.example.org/T0/secret"


async def no_pause(_: float) -> None:
    """Go on at once."""


class Listener:
    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.got: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.got.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer, headers={"location": "http://169.254.169.254/"} if answer == 307 else {})


@pytest.mark.parametrize(
    ("answers", "tries", "is_taken"),
    [
        ((200,), 1, True),
        ((500, 204), 2, True),
        ((httpx.ConnectError("no"), 429, 200), 3, True),
        ((500, 502, 503), 3, False),
        ((httpx.ReadTimeout("slow"),) * 3, 3, False),
        ((404,), 1, False),
        ((307,), 1, False),
    ],
)
def test_a_notice_is_tried_three_times_and_no_redirect_is_followed(
    answers: tuple[int | Exception, ...], tries: int, is_taken: bool
) -> None:
    listener, pauses = Listener(*answers), list[float]()

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)

    webhook = Webhook(transport=httpx.MockTransport(listener), sleep=sleep)
    assert asyncio.run(webhook.deliver(URL, payload(incident()))) is is_taken
    assert len(listener.got) == tries
    assert pauses == list(PAUSES_S)[: tries - 1]
    assert {request.url.host for request in listener.got} == {"hooks.example.org"}


def test_a_notice_has_the_verdict_and_no_rows() -> None:
    body = json.loads(payload(incident()))
    assert (body["event"], body["incident"]["id"]) == ("parity_incident_opened", 7)
    assert "rows" not in body["incident"]
    closed = msgspec.structs.replace(incident(), state=IncidentState.CLOSED)
    assert json.loads(payload(closed))["event"] == "parity_incident_closed"
    again = msgspec.structs.replace(incident(), seen=2)
    assert json.loads(payload(again))["event"] == "parity_incident_changed"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/x", "gopher://x", "/relative"])
def test_only_http_is_posted_to(url: str, caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener()
    Webhook(transport=httpx.MockTransport(listener)).post(url, incident())
    assert listener.got == []
    assert "no http or https URL" in caplog.text


def test_what_fails_is_logged_without_the_path_which_may_be_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    webhook = Webhook(transport=httpx.MockTransport(Listener(404)))
    asyncio.run(webhook.deliver(URL, b"{}"))
    assert "hooks.example.org" in caplog.text
    assert "secret" not in caplog.text


class Endless(httpx.AsyncByteStream):
    def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("the answer's body is of no interest, and may never end")


def test_an_answer_is_not_read_beyond_its_status() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Endless()))
    assert asyncio.run(Webhook(transport=transport).deliver(URL, b"{}"))


def test_what_waits_is_bounded_for_each_receiver_and_in_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhooks, "MAX_WAITING_EACH", 2)
    monkeypatch.setattr(webhooks, "MAX_WAITING", 3)
    taken: list[str] = []

    async def flood() -> None:
        webhook = Webhook()

        async def deliver(url: str, body: bytes) -> bool:
            taken.append(url)
            return True

        monkeypatch.setattr(webhook, "deliver", deliver)
        for url in ("a", "a", "a", "b", "b", "c"):
            webhook._take(url, b"{}", f"one of {url}")
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(flood())
    assert sorted(taken) == ["a", "a", "b"]
    assert [record.getMessage().split(" is ")[0] for record in caplog.records] == ["one of a", "one of b", "one of c"]
