"""What clients know of their invocations, compared with what the inference table says of them.

Each invocation is sent once, with a client_request_id and a number of its own that the model echoes. It ends as
`ok` (a complete 2xx), `no` (a complete answer that says no) or `maybe` (reset, timeout, partial: nobody can tell).
"""

import contextlib
import http.client
import itertools
import json
import os
import random
import secrets
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass

import polars
from running import eventually

#: Longer than the server lets anything wait.
TIMEOUT_S = 70


@dataclass(frozen=True, slots=True)
class Line:
    """One invocation, as its client saw it."""

    outcome: str  # ok | no | maybe
    endpoint: str
    client_request_id: str
    request: bytes
    status: int = 0
    #: `x-request-id` of the answer.
    request_id: str = ""
    response: bytes = b""
    #: Whether the answer is the one to this request.
    is_echo: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """Ids of invocations with which something is wrong; all empty when the promise was kept."""

    lost: list[str]
    dup: list[str]
    ghost: list[str]
    wrong: list[str]

    def __bool__(self) -> bool:
        return bool(self.lost or self.dup or self.ghost or self.wrong)

    def __str__(self) -> str:
        kinds = {"LOST": self.lost, "DUP": self.dup, "GHOST": self.ghost, "WRONG": self.wrong}
        return " ".join(f"{kind} {len(found)}" for kind, found in kinds.items()) + "".join(
            f"\n  {kind}: {found[:5]}" for kind, found in kinds.items() if found
        )


def check(lines: list[Line], rows: list[dict]) -> Verdict:
    """Compare what clients saw with the rows of all their endpoints' tables.

    LOST: `ok` without a row. DUP: more than one row of an invocation. GHOST: a row that no invocation accounts for.
    WRONG: a row that says something else than its client sent and got, or an answer to another request.
    A `no` may have a row or none: what was refused before its endpoint was known has none.
    """
    by_id = {line.request_id: line for line in lines if line.request_id}
    # No two requests are equal: the unreadable ones, which have no id, hold a number as well.
    unanswered = {line.request: line for line in lines if line.outcome == "maybe"}
    counts = Counter(row["databricks_request_id"] for row in rows)
    sent = Counter((row["request"] or "").encode() for row in rows)
    dup = [key for key, count in counts.items() if count > 1]
    dup += [f"sent once: {key!r}" for key, count in sent.items() if count > 1 and key]
    ghost, wrong = [], [line.client_request_id for line in lines if not line.is_echo]
    for row in rows:
        request_id = row["databricks_request_id"]
        line = by_id.get(request_id)
        if line is None:
            line = unanswered.get((row["request"] or "").encode())
            if line is None:
                ghost.append(request_id)
            elif not _is_of(row, line):
                wrong.append(request_id)
        elif not _is_of(row, line) or not _is_answer(row, line):
            wrong.append(request_id)
    lost = [line.request_id for line in lines if line.outcome == "ok" and line.request_id not in counts]
    return Verdict(lost, dup, ghost, wrong)


def _is_of(row: dict, line: Line) -> bool:
    has_id = row["client_request_id"] == line.client_request_id or b"broken" in line.request
    return has_id and row["endpoint_name"] == line.endpoint and (row["request"] or "").encode() == line.request


def _is_answer(row: dict, line: Line) -> bool:
    return row["status_code"] == line.status and (row["response"] or "").encode() == line.response


class Ledger:
    """Sends invocations from `clients` threads while it is open, and writes a line about each."""

    def __init__(self, server, *endpoints: str, clients: int = 6, seed: int = 0, padding: int = 0) -> None:
        self.server, self.endpoints, self.padding = server, endpoints, padding
        self.lines: list[Line] = []
        self._seed, self._numbers = seed, itertools.count(1)
        #: No two ledgers send the same.
        self.name = secrets.token_hex(4)
        self._stop, self._is_cut = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(client,)) for client in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S + 10)
            assert not thread.is_alive(), "a request hangs"

    def cut(self) -> None:
        """From now on the machine counts as dead: whatever still answers is not heard."""
        self._is_cut.set()

    def __str__(self) -> str:
        return ", ".join(f"{self.count(outcome)} {outcome}" for outcome in ("ok", "no", "maybe"))

    def own(self, rows: list[dict]) -> list[dict]:
        """Return the rows of what was sent from here."""
        sent = {line.request for line in self.lines}
        return [row for row in rows if (row["request"] or "").encode() in sent]

    def count(self, outcome: str) -> int:
        """Return how many invocations ended so."""
        return sum(line.outcome == outcome for line in list(self.lines))

    def wait_for(self, more: int, timeout_s: float = 30) -> None:
        """Wait until so many more invocations were ok."""
        target, end = self.count("ok") + more, time.monotonic() + timeout_s
        while self.count("ok") < target:
            assert time.monotonic() < end, f"only {self.count('ok')} of {target} were answered; {self.lines[-3:]}"
            time.sleep(0.02)

    def _run(self, client: int) -> None:
        draw = random.Random(self._seed * 1000 + client)
        connection: http.client.HTTPConnection | None = None
        while not self._stop.is_set():
            try:
                connection = connection or self._connect()
            except OSError:
                # Refused: nothing was sent.
                time.sleep(0.02)
                continue
            line, may_go_on = self._ask(connection, draw)
            self.lines.append(line)
            if not may_go_on:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=TIMEOUT_S)
        connection.connect()
        return connection

    def _ask(self, connection: http.client.HTTPConnection, draw: random.Random) -> tuple[Line, bool]:
        number = next(self._numbers)
        endpoint = draw.choice(self.endpoints)
        name = f"{self.name}-{number}"
        body = _body(name, number, draw.random(), self.padding)
        headers = {"Authorization": f"Bearer {self.server.token}", "Content-Type": "application/json"}
        # Some ask that the connection be closed: the answer then leaves by another path.
        if draw.random() < 0.1:
            headers["Connection"] = "close"
        try:
            connection.request("POST", f"/serving-endpoints/{endpoint}/invocations", body, headers)
            answer = connection.getresponse()
            response = answer.read()
        except (OSError, http.client.HTTPException):
            return Line("maybe", endpoint, name, body), False
        if self._is_cut.is_set():
            return Line("maybe", endpoint, name, body), False
        is_ok = 200 <= answer.status < 300
        is_echo = json.loads(response) == {"predictions": [float(number)]} if is_ok else True
        request_id = answer.headers["x-request-id"]
        outcome = "ok" if is_ok else "no"
        return Line(outcome, endpoint, name, body, answer.status, request_id, response, is_echo), not answer.will_close


def _body(name: str, number: int, draw: float, padding: int) -> bytes:
    record = {"op": "echo", "x": number}
    if draw < 0.9:
        body = {"client_request_id": name, "dataframe_records": [record]}
        if padding:
            body["usage_context"] = {"padding": "x" * padding}
        return json.dumps(body).encode()
    if draw < 0.95:
        return json.dumps({"client_request_id": name, "dataframe_records": [{"op": "echo", "y": number}]}).encode()
    return b'{"broken": "%s", "client' % name.encode()


def server_status(server) -> dict:
    """Return how the server says it stands."""
    return server.http.get("/api/2.0/tallystick/status").json()


def flush(server, endpoint: str, timeout_s: float = 60) -> None:
    """Have all that was answered until now put into the tables."""

    def is_flushed() -> bool:
        answer = server.http.post(f"/api/2.0/serving-endpoints/{endpoint}/inference-table/flush")
        return answer.status_code == 200 and answer.json()["flushed"]

    eventually(is_flushed, timeout_s)


def rows_of(server, *endpoints: str) -> list[dict]:
    """Return all rows of the endpoints' tables, once what was answered until now is in them."""
    flush(server, endpoints[0])
    return table_rows(server.data_dir / "tables", *endpoints)


def table_rows(tables_root, *endpoints: str) -> list[dict]:
    """Return all rows of the endpoints' tables, read by Polars: our package has no part in it."""
    rows = []
    for endpoint in endpoints:
        uri = tables_root / f"{endpoint}_payload"
        if uri.exists():
            rows += polars.read_delta(str(uri)).to_dicts()
    return rows


def kill_one(server, draw: random.Random, victims: list[str]) -> str:
    """Kill one of these processes, one that runs; return its name."""
    children = eventually(lambda: {name: pid for name, pid in server.children().items() if name in victims})
    name = draw.choice([name for name in victims if name in children])
    os.kill(children[name], signal.SIGKILL)
    return name


def kill_all(server) -> None:
    """Kill the whole tree at once."""
    pids = [*server.children().values(), server.process.pid]
    for pid in pids:
        # One that was killed before may be gone since it was listed.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.stop()
    eventually(lambda: not [pid for pid in pids if os.path.exists(f"/proc/{pid}")])


def seed_of(variable: str) -> int:
    """Return the seed that the environment asks for, or a new one."""
    return int(os.environ.get(variable, "0")) or random.SystemRandom().randrange(1, 1 << 20)
