"""Posts incidents that open and close to a URL. On a thread of its own: whoever does not answer holds up nobody."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from tallystick.monitor.incidents import Incident
from tallystick.protocol.monitoring import IncidentState

TIMEOUT_S = 5.0
#: Pauses before the second and the third try.
PAUSES_S = (1.0, 5.0)
#: Notices that may wait; beyond, the newest is dropped and logged.
MAX_WAITING = 100

_log = logging.getLogger("tallystick.monitor")


class Webhook:
    """Sends notices one after the other."""

    def __init__(
        self, *, transport: httpx.BaseTransport | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._transport, self._sleep = transport, sleep
        self._waiting: queue.Queue[tuple[str, bytes]] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None

    def post(self, url: str, incident: Incident) -> None:
        """Send a notice soon. Never blocks, never raises."""
        if urlsplit(url).scheme not in ("http", "https"):
            _log.error("the webhook of %s is no http or https URL; nothing is sent", incident.endpoint)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="webhook")
            self._thread.start()
        try:
            self._waiting.put_nowait((url, payload(incident)))
        except queue.Full:
            _log.error("incident %s of %s is not told to its webhook: too many wait", incident.id, incident.endpoint)

    def _run(self) -> None:
        while True:
            self.deliver(*self._waiting.get())

    def deliver(self, url: str, body: bytes) -> bool:
        """Send one notice, up to three times. Returns whether it was taken. Blocks."""
        host = urlsplit(url).hostname or ""
        problem = ""
        for pause_s in (0.0, *PAUSES_S):
            if pause_s:
                self._sleep(pause_s)
            try:
                # A redirect is not followed: it could lead to a host that nobody named. The answer's body is not read:
                # it could go on for ever.
                with (
                    httpx.Client(timeout=TIMEOUT_S, follow_redirects=False, transport=self._transport) as client,
                    client.stream("POST", url, content=body, headers={"content-type": "application/json"}) as answer,
                ):
                    pass
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                # ValueError: a host that cannot be encoded as a name.
                problem = type(error).__name__
                continue
            if answer.is_success:
                return True
            problem = f"status {answer.status_code}"
            if 300 <= answer.status_code < 500 and answer.status_code not in (408, 429):
                # The same again would be refused again.
                break
        # Without its path, which may hold a secret.
        _log.warning("a webhook at %s did not take an incident: %s", host, problem)
        return False


def payload(incident: Incident) -> bytes:
    """Return what is posted: the incident without its example rows, as nobody asked who reads it there."""
    whole: dict[str, Any] = msgspec.to_builtins(incident)
    del whole["rows"]
    return msgspec.json.encode({"event": event_of(incident), "incident": whole})


def event_of(incident: Incident) -> str:
    """Return what is told of an incident."""
    if incident.state is IncidentState.CLOSED:
        return "parity_incident_closed"
    return "parity_incident_opened" if incident.seen == 1 else "parity_incident_changed"
