"""Constant load from several clients, with a ledger of what each request came to."""

import asyncio
import contextlib
import json
import re
import socket
import threading
import time
from collections import Counter

import httpx


class Load:
    """Sends requests from `clients` threads until it is left; then `failures` and `answers` say how they went."""

    def __init__(self, server, name: str, body: dict, clients: int = 8, check=None) -> None:
        self.server, self.path, self.body, self.check = server, f"/serving-endpoints/{name}/invocations", body, check
        self.answers: list[tuple[float, str, int, float]] = []
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._pause_s = 0.0
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a request hangs"

    @contextlib.contextmanager
    def resting(self):
        """Send some hundred requests a second instead of all that two cores can: for waits, which they would prolong."""
        self._pause_s = 0.02
        yield
        self._pause_s = 0.0

    def _run(self):
        headers = {"Authorization": f"Bearer {self.server.token}"}
        with httpx.Client(base_url=self.server.url, headers=headers, timeout=30) as client:
            while not self._stop.wait(self._pause_s):
                began = time.monotonic()
                try:
                    answer = client.post(self.path, json=self.body)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                took = time.monotonic() - began
                if answer.status_code != 200 or (self.check and not self.check(answer)):
                    self.failures.append(f"{answer.status_code} {answer.text[:200]}")
                self.answers.append((began, answer.headers.get("served-model-name", ""), answer.status_code, took))

    def wait_for(self, more: int, timeout_s: float = 30) -> None:
        """Wait until so many more requests have been answered."""
        target, end = len(self.answers) + more, time.monotonic() + timeout_s
        while len(self.answers) < target:
            assert time.monotonic() < end, f"only {len(self.answers)} of {target}; {self.failures[:3]}"
            time.sleep(0.01)

    def served(self, since: float = 0.0) -> Counter:
        """Count who answered the requests that began after `since`."""
        return Counter(name for began, name, _, _ in self.answers if began >= since)


def raw_request(server, name: str, body: dict) -> bytes:
    """Return the bytes of one invocation, for a socket."""
    payload = json.dumps(body).encode()
    head = (
        f"POST /serving-endpoints/{name}/invocations HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


def leave_at_once(server, name: str, body: dict) -> None:
    """Send an invocation and be gone before its answer."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(raw_request(server, name, body))
        time.sleep(0.01)


async def count_answers(server, name: str, body: dict, *, requests: int, connections: int) -> Counter:
    """Send many requests over raw sockets (a full client would take ten times as long); count who answered."""
    request, counts = raw_request(server, name, body), Counter()

    async def ask(times: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(times):
            writer.write(request)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(re.search(r"content-length: (\d+)", answer)[1]))
            assert answer.startswith("http/1.1 200"), answer
            counts[re.search(r"served-model-name: (\S+)", answer)[1]] += 1
        writer.close()

    await asyncio.gather(*(ask(requests // connections) for _ in range(connections)))
    return counts
