"""Posts incidents that open, change and close to a URL, on a thread of its own.

Each URL has a queue of its own, so that a slow receiver delays no other's notices; its own come one after the other.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from tallystick.monitor.incidents import Incident
from tallystick.protocol.monitoring import IncidentState

#: All that one try may take, from the name to the status: a receiver that sends a byte now and then is no faster.
TIMEOUT_S = 5.0
#: Pauses before the second and the third try.
PAUSES_S = (1.0, 5.0)
#: Notices that may wait, all together and for one URL; beyond, the newest is dropped and logged.
MAX_WAITING, MAX_WAITING_EACH = 100, 20

_log = logging.getLogger("tallystick.monitor")


class Webhook:
    """Sends notices: those to one URL one after the other, those to others meanwhile."""

    def __init__(
        self,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._transport, self._sleep = transport, sleep
        self._loop: asyncio.AbstractEventLoop | None = None
        #: By URL: what waits, and the task that sends it. Both are of the loop's thread.
        self._waiting: dict[str, deque[bytes]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def post(self, url: str, incident: Incident) -> None:
        """Send a notice soon. Never blocks, never raises."""
        if urlsplit(url).scheme not in ("http", "https"):
            _log.error("the webhook of %s is no http or https URL; nothing is sent", incident.endpoint)
            return
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, daemon=True, name="webhook").start()
        told = f"incident {incident.id} of {incident.endpoint}"
        self._loop.call_soon_threadsafe(self._take, url, payload(incident), told)

    def _take(self, url: str, body: bytes, told: str) -> None:
        waiting = self._waiting.get(url, deque())
        if len(waiting) >= MAX_WAITING_EACH or sum(map(len, self._waiting.values())) >= MAX_WAITING:
            _log.error("%s is not told to its webhook: too many wait", told)
            return
        waiting.append(body)
        self._waiting[url] = waiting
        if url not in self._tasks:
            self._tasks[url] = asyncio.get_running_loop().create_task(self._send_all(url))

    async def _send_all(self, url: str) -> None:
        try:
            while self._waiting[url]:
                await self.deliver(url, self._waiting[url].popleft())
        except Exception:  # noqa: BLE001  the boundary of a receiver's task: later notices begin another
            _log.exception("a notice could not be sent")
        finally:
            del self._waiting[url], self._tasks[url]

    async def deliver(self, url: str, body: bytes) -> bool:
        """Send one notice, up to three times. Returns whether it was taken."""
        host = urlsplit(url).hostname or ""
        problem = ""
        for pause_s in (0.0, *PAUSES_S):
            if pause_s:
                await self._sleep(pause_s)
            try:
                status = await self._post_once(url, body)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, TimeoutError) as error:
                # ValueError: a host that cannot be encoded as a name.
                problem = type(error).__name__
                continue
            if 200 <= status < 300:
                return True
            problem = f"status {status}"
            if 300 <= status < 500 and status not in (408, 429):
                # The same again would be refused again.
                break
        # Without its path, which may hold a secret.
        _log.warning("a webhook at %s did not take an incident: %s", host, problem)
        return False

    async def _post_once(self, url: str, body: bytes) -> int:
        # A redirect is not followed: it could lead to a host that nobody named. The answer's body is not read: it could
        # go on for ever.
        async with (
            asyncio.timeout(TIMEOUT_S),
            httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, transport=self._transport) as client,
            client.stream("POST", url, content=body, headers={"content-type": "application/json"}) as answer,
        ):
            return answer.status_code


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
