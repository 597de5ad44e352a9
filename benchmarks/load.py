"""Constant load on one address: wrk where it is on PATH, else a client of our own, in a process of its own.

    python load.py REQUEST.json        (our own client; used by `run_load`)

Whatever sends the load shares the machine with what it measures, so it has to be light.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CONNECTIONS = 8
_TIMEOUT_S = 30

#: wrk counts as status errors what is above 399; `run_load` is given addresses that were seen to answer 200.
_SCRIPT = """
wrk.method = "POST"
wrk.body = io.open({body}, "rb"):read("*a")
wrk.headers["Content-Type"] = "application/json"
{authorization}
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n{{"requests": %d, "duration_s": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "errors": %d}}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Request:
    """What is sent again and again."""

    port: int
    path: str
    body: bytes
    token: str = ""


@dataclass(frozen=True)
class Load:
    """What came of it."""

    requests: int
    duration_s: float
    p50_ms: float
    p99_ms: float
    #: Connections that failed or timed out, and answers other than 2xx.
    errors: int

    @property
    def per_s(self) -> float:
        return self.requests / self.duration_s


def generator() -> str:
    """Return what sends the load on this machine."""
    if shutil.which("wrk") is None:
        return "benchmarks/load.py (asyncio)"
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return " ".join(said.split()[:2])


def run_load(request: Request, seconds: float, folder: Path, connections: int = CONNECTIONS) -> Load:
    """Send `request` over so many connections, each with one request at a time. Blocks."""
    body = folder / "load-body"
    body.write_bytes(request.body)
    if shutil.which("wrk") is not None:
        return _run_wrk(request, body, max(1, round(seconds)), folder, connections)
    spec = folder / "load.json"
    wanted = asdict(request) | {"body": str(body), "seconds": seconds, "connections": connections}
    spec.write_text(json.dumps(wanted))
    return _parse([sys.executable, "-P", __file__, str(spec)], seconds)


def _run_wrk(request: Request, body: Path, seconds: int, folder: Path, connections: int) -> Load:
    script = folder / "load.lua"
    bearer = f'wrk.headers["Authorization"] = "Bearer {request.token}"' if request.token else ""
    script.write_text(_SCRIPT.format(body=json.dumps(str(body)), authorization=bearer))
    url = f"http://127.0.0.1:{request.port}{request.path}"
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{_TIMEOUT_S}s", "-s", str(script), url]
    return _parse(["wrk", *options], seconds)


def _parse(argv: list[str], seconds: float) -> Load:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds + 2 * _TIMEOUT_S)
    line = next((line for line in done.stdout.splitlines() if line.startswith("{")), None)
    if done.returncode or line is None:
        raise RuntimeError(f"{argv[0]} failed: {done.stdout[-500:]} {done.stderr[-500:]}")
    return Load(**json.loads(line))


def median_of(loads: Sequence[Load]) -> Load:
    """Return the medians of several rounds; requests and errors are the sums.

    >>> median_of([Load(10, 1.0, 1.0, 2.0, 0), Load(30, 1.0, 3.0, 4.0, 1), Load(20, 1.0, 2.0, 9.0, 0)]).per_s
    20.0
    """
    requests = sum(load.requests for load in loads)
    return Load(
        requests,
        requests / statistics.median(load.per_s for load in loads),
        statistics.median(load.p50_ms for load in loads),
        statistics.median(load.p99_ms for load in loads),
        sum(load.errors for load in loads),
    )


# -- our own client -----------------------------------------------------------------------------------------


class _Client(asyncio.Protocol):
    """One connection: sends, waits for the whole answer, sends again."""

    def __init__(self, data: bytes, until: float, took: list[float], over: asyncio.Future[None]) -> None:
        self._data, self._until, self._took, self._over = data, until, took, over
        self._buffer = b""
        self.errors = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        if at < 0:
            self.errors += 1
            self._transport.close()
            return
        length = int(head[at + 15 :].partition(b"\r\n")[0])
        if len(self._buffer) < end + 4 + length:
            return
        now = time.perf_counter()
        self._took.append(now - self._began)
        self.errors += head[9:10] != b"2"
        self._buffer = b""
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        if time.perf_counter() < self._until:
            self.errors += 1
        if not self._over.done():
            self._over.set_result(None)


async def _send_all(spec: dict[str, Any]) -> Load:
    body = Path(spec["body"]).read_bytes()
    bearer = f"Authorization: Bearer {spec['token']}\r\n" if spec["token"] else ""
    head = (
        f"POST {spec['path']} HTTP/1.1\r\nHost: 127.0.0.1:{spec['port']}\r\n{bearer}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    loop, took, clients, ends = asyncio.get_running_loop(), [], [], []
    began = time.perf_counter()
    for _ in range(spec["connections"]):
        over = loop.create_future()
        client = _Client(head.encode() + body, began + spec["seconds"], took, over)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", spec["port"])
        clients.append(client)
        ends.append(over)
    _, late = await asyncio.wait(ends, timeout=spec["seconds"] + _TIMEOUT_S)
    duration_s = time.perf_counter() - began
    took.sort()
    errors = sum(client.errors for client in clients) + len(late)
    if not took:
        return Load(0, duration_s, 0.0, 0.0, max(1, errors))
    p50, p99 = (took[min(len(took) - 1, int(len(took) * share))] * 1000 for share in (0.5, 0.99))
    return Load(len(took), duration_s, p50, p99, errors)


if __name__ == "__main__":
    import uvloop

    print(json.dumps(asdict(uvloop.run(_send_all(json.loads(Path(sys.argv[1]).read_text()))))))
