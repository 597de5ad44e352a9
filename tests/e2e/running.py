"""A server that was started as a user would start it, and what tests do to it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

MODELS = Path(__file__).parent / "models"
STARTUP_S = 30


class Server:
    """A server that was started as a user would start it, on a free port."""

    def __init__(self, data_dir: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.data_dir, self.options = data_dir, options
        self.env = {
            name: value for name, value in os.environ.items() if not name.startswith(("DATABRICKS_", "TALLYSTICK_"))
        }
        self.env |= env or {}
        self.port = 0
        self.start()

    def start(self) -> None:
        self.log = (self.data_dir.parent / f"{self.data_dir.name}.log").open("a+")
        argv = [sys.executable, "-m", "tallystick", "serve", "--port", str(self.port), "--data-dir", str(self.data_dir)]
        ready = self.data_dir / "server.json"
        ready.unlink(missing_ok=True)
        self.process = subprocess.Popen([*argv, *self.options], stdout=self.log, stderr=self.log, env=self.env)
        end = time.monotonic() + STARTUP_S
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                self.log.seek(0)
                raise RuntimeError(f"the server did not start: {self.log.read()}")
            time.sleep(0.02)
        self.url = json.loads(ready.read_text())["url"]
        self.port = int(self.url.rpartition(":")[2])
        self.token = (self.data_dir / "admin.token").read_text().strip()
        self.http = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=60)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout)
        self.http.close()
        self.log.close()
        return code

    def children(self) -> dict[str, int]:
        """Return name -> pid of the gateways and control."""
        found = {}
        for pid in map(int, (entry for entry in os.listdir("/proc") if entry.isdigit())):
            try:
                status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if int(status[1]) == self.process.pid and status[0] != "Z":
                module = next((arg for arg in argv if arg.startswith("tallystick.")), "")
                name = module.removeprefix("tallystick.")
                found[name if name != "gateway" else f"gateway-{argv[argv.index(module) + 2]}"] = pid
        return found

    def workers(self, name_or_id: str = "") -> list[dict]:
        views = self.http.get("/api/2.0/tallystick/status").json()["workers"]
        return [view for view in views if view["id"].startswith(name_or_id)]

    def api(self, method: str, path: str, body=None, status: int = 200):
        answer = self.http.request(method, f"/api/2.0/serving-endpoints{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def deploy(self, name: str, *entities: dict, routes: dict[str, float] | None = None, wait: bool = True) -> dict:
        """Create or update an endpoint and wait until it serves."""
        config = {"served_entities": list(entities)}
        if routes:
            config["traffic_config"] = {
                "routes": [{"served_entity_name": key, "traffic_percentage": share} for key, share in routes.items()]
            }
        if self.http.get(f"/api/2.0/serving-endpoints/{name}").status_code == 404:
            self.api("POST", "", {"name": name, "config": config})
        else:
            self.api("PUT", f"/{name}/config", config)
        return self.settled(name) if wait else {}

    def settled(self, name: str, timeout_s: float = 90) -> dict:
        """Wait until the endpoint has ended its update; return it."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = self.api("GET", f"/{name}")
            if found["state"]["config_update"] != "IN_PROGRESS":
                return found
            time.sleep(0.05)
        raise TimeoutError(f"{name} did not settle: {found}")

    def invoke(self, name: str, body=None, entity: str | None = None, **kwargs) -> httpx.Response:
        path = f"/serving-endpoints/{name}/{f'served-models/{entity}/' if entity else ''}invocations"
        return self.http.post(path, json=body, **kwargs) if body is not None else self.http.post(path, **kwargs)

    def chaos(self, name: str, op: str, x: float = 1.0, **kwargs) -> httpx.Response:
        return self.invoke(name, {"dataframe_records": [{"op": op, "x": x}]}, **kwargs)


def eventually(check, timeout_s: float = 20.0):
    """Return what `check` returns once it is true."""
    end = time.monotonic() + timeout_s
    while True:
        found = check()
        if found or time.monotonic() > end:
            assert found, f"{check} stayed {found!r}"
            return found
        time.sleep(0.05)


def serve(*options: str) -> subprocess.CompletedProcess[str]:
    """Start a server that is expected to refuse; return how it ended."""
    argv = [sys.executable, "-m", "tallystick", "serve", *options]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20)
