"""The servers that are measured, each on a free port of the loopback address, and how they are asked."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import Request
from benchmarks.processes import free_port, running, start, stop, wait_for

_START_S = 60.0


@dataclass(frozen=True)
class Tallystick:
    """A server that runs."""

    pid: int
    port: int
    token: str

    def request(self, endpoint: str, body: bytes) -> Request:
        """Return an invocation, to be sent again and again."""
        return Request(self.port, f"/serving-endpoints/{endpoint}/invocations", body, self.token)

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Return what the control API answers. Raises RuntimeError when it refuses."""
        content = None if body is None else json.dumps(body).encode()
        request = Request(self.port, f"/api/2.0/serving-endpoints{path}", content or b"", self.token)
        status, _, answer = ask(request, method)
        if status != 200:
            raise RuntimeError(f"{method} {path}: {status} {answer.decode()[:500]}")
        return json.loads(answer)

    def deploy(self, name: str, *entities: dict[str, Any], routes: dict[str, int] | None = None) -> None:
        """Create an endpoint and wait until it serves."""
        self.create(name, *entities, routes=routes)
        self.wait_ready(name)

    def create(self, name: str, *entities: dict[str, Any], routes: dict[str, int] | None = None) -> None:
        """Create an endpoint."""
        config: dict[str, Any] = {"served_entities": list(entities)}
        if routes is not None:
            config["traffic_config"] = split_config(routes)
        self.api("POST", "", {"name": name, "config": config})

    def wait_ready(self, name: str) -> None:
        """Wait until the latest config of an endpoint serves, looking every 20 ms. Raises RuntimeError if it fails."""

        def is_ready() -> bool:
            state = self.api("GET", f"/{name}")["state"]
            if state["config_update"] not in ("IN_PROGRESS", "NOT_UPDATING"):
                raise RuntimeError(f"{name}: {state} {self.api('GET', f'/{name}').get('pending_config')}")
            return bool(state["ready"] == "READY" and state["config_update"] == "NOT_UPDATING")

        wait_for(is_ready, f"{name} serves", timeout_s=120)


def split_config(routes: dict[str, int]) -> dict[str, Any]:
    return {"routes": [{"served_entity_name": name, "traffic_percentage": share} for name, share in routes.items()]}


def serve_argv(data_dir: Path, port: int, tracking_uri: str) -> list[str]:
    """Return the command line of a server as a user would start it."""
    options = ["--port", str(port), "--data-dir", str(data_dir), "--tracking-uri", tracking_uri, "--gateways", "1"]
    return [sys.executable, "-m", "tallystick", "serve", *options]


@contextlib.contextmanager
def tallystick(data_dir: Path, tracking_uri: str, *options: str) -> Iterator[Tallystick]:
    """Run Tallystick with one gateway, and with further options, while in the block."""
    port = free_port()
    ready = data_dir / "server.json"
    ready.unlink(missing_ok=True)
    log = data_dir.parent / f"{data_dir.name}.log"
    with running([*serve_argv(data_dir, port, tracking_uri), *options], log) as process:
        wait_for(lambda: ready.exists() or process.poll() is not None, "tallystick serve", _START_S)
        if process.poll() is not None:
            raise RuntimeError(f"tallystick serve ended: {log.read_text()[-2000:]}")
        yield Tallystick(process.pid, port, (data_dir / "admin.token").read_text().strip())


@contextlib.contextmanager
def mlflow_serve(model: Path, log: Path) -> Iterator[int]:
    """Run `mlflow models serve` with one worker on a model's folder; yields its port."""
    port = free_port()
    argv = ["mlflow", "models", "serve", "-m", str(model), "-h", "127.0.0.1", "-p", str(port)]
    with running([*argv, "--env-manager", "local", "-w", "1"], log):
        wait_for(lambda: answers(port, "/ping"), "mlflow models serve", _START_S)
        yield port


@contextlib.contextmanager
def bare_uvicorn(answer: bytes, log: Path) -> Iterator[tuple[int, int]]:
    """Run uvicorn with an app that answers `answer` to everything; yields (port, pid)."""
    port = free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--http", "httptools", "--loop", "uvloop"]
    argv = [sys.executable, "-m", "uvicorn", "benchmarks.bare_app:app", *options, "--no-access-log"]
    env = _with_us() | {"BARE_ANSWER": answer.decode()}
    with running(argv, log, env=env) as process:
        wait_for(lambda: answers(port, "/"), "uvicorn", _START_S)
        yield port, process.pid


@contextlib.contextmanager
def idle_worker(path: Path, log: Path) -> Iterator[None]:
    """Run a process that says hello on a unix socket as a worker would, and is never asked anything."""
    with running([sys.executable, "-m", "benchmarks.idle_worker", str(path)], log, env=_with_us()):
        wait_for(path.exists, "the idle worker")
        yield


def bare_load(model_uri: str, tracking_uri: str, log: Path, calls: int = 0) -> subprocess.Popen[bytes]:
    """Start a bare process that loads a model; returns when it has. To be stopped by the caller."""
    argv = [sys.executable, "-P", str(Path(__file__).with_name("bare_load.py")), model_uri, str(calls)]
    process = start(argv, log, env={"MLFLOW_TRACKING_URI": tracking_uri}, pipes=True)
    try:
        _hear(process, "loaded", log)
    except BaseException:
        stop(process)
        raise
    return process


def call_loaded(process: subprocess.Popen[bytes], log: Path) -> None:
    """Have it call the model; returns when it has."""
    assert process.stdin is not None
    process.stdin.write(b"call\n")
    _hear(process, "called", log)


def _hear(process: subprocess.Popen[bytes], word: str, log: Path) -> None:
    assert process.stdout is not None
    said = process.stdout.readline().decode().strip()
    if said != word:
        raise RuntimeError(f"the bare process said '{said}': {log.read_text()[-2000:]}")


def _with_us() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).parent.parent)}


def answers(port: int, path: str) -> bool:
    """Whether a server answers GET with 200."""
    try:
        return ask(Request(port, path, b""), "GET")[0] == 200
    except OSError:
        return False


def ask(request: Request, method: str = "POST", timeout_s: float = 60.0) -> tuple[int, dict[str, str], bytes]:
    """Send one request on a connection of its own; return (status, headers in lower case, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", request.port, timeout=timeout_s)
    try:
        return ask_on(connection, request, method)
    finally:
        connection.close()


def ask_on(
    connection: http.client.HTTPConnection, request: Request, method: str = "POST"
) -> tuple[int, dict[str, str], bytes]:
    """Send one request; return (status, headers in lower case, body)."""
    headers = {"Content-Type": "application/json"}
    if request.token:
        headers["Authorization"] = f"Bearer {request.token}"
    connection.request(method, request.path, body=request.body or None, headers=headers)
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def checked(request: Request) -> bytes:
    """Return the answer to a request. Raises RuntimeError when it is not 200."""
    status, _, body = ask(request)
    if status != 200:
        raise RuntimeError(f"{request.path}: {status} {body.decode()[:500]}")
    return body


def until_ok(request: Request, method: str = "POST") -> float:
    """Ask until the answer is 200; return the time (perf_counter) when it came."""
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if ask(request, method)[0] == 200:
                return time.perf_counter()
        time.sleep(0.005)
    raise TimeoutError(f"{request.path} did not answer 200 within {_START_S:g} s")
