"""Gateways, control and whole servers that die, stop and start again. One server, which each test leaves serving."""

import contextlib
import os
import signal
import sqlite3
import threading
import time

import httpx
import pytest
from load import Load
from running import MODELS, Server, eventually, serve

from tallystick.control.database import VERSION_TABLE

CHAOS = {"entity_name": str(MODELS / "chaos.py"), "name": "chaos"}
ECHO = {"dataframe_records": [{"op": "echo", "x": 1.0}]}
BATCHED = {"TALLYSTICK_BATCHING": "on", "TALLYSTICK_REQUEST_TIMEOUT_S": "3"}


def echoes(answer) -> bool:
    return answer.json() == {"predictions": [1.0]}


@pytest.fixture(scope="module")
def breakable(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("breakable") / "data", "--gateways", "2", "--scale-to-zero-after", "1s")
    server.deploy("m", CHAOS | {"environment_vars": BATCHED})
    yield server
    if server.process.poll() is None:
        server.stop()


@pytest.fixture
def serving(breakable):
    """The server, whole: with both gateways and control, and with `m` serving."""
    if breakable.process.poll() is not None:
        breakable.start()
    eventually(lambda: {"gateway-0", "gateway-1", "control"} <= set(breakable.children()))
    eventually(lambda: breakable.invoke("m", ECHO).status_code == 200, 40)
    return breakable


def test_a_killed_gateway_costs_only_what_it_held_and_control_costs_nothing(serving):
    server, held = serving, 8
    with Load(server, "m", ECHO, clients=held, check=echoes) as load:
        load.wait_for(100)
        for _ in range(3):
            gateways = eventually(
                lambda: [pid for name, pid in server.children().items() if name.startswith("gateway")]
            )
            before = len(load.failures)
            os.kill(gateways[0], signal.SIGKILL)
            load.wait_for(100)
            new = load.failures[before:]
            assert len(new) <= held, new
            assert not [failure for failure in new if "ConnectError" in failure or failure[0].isdigit()], new
            with load.resting():
                eventually(lambda: len([name for name in server.children() if name.startswith("gateway")]) == 2)
        before = len(load.failures)
        for _ in range(3):
            os.kill(eventually(lambda: server.children().get("control")), signal.SIGKILL)
            load.wait_for(200)
            with load.resting():
                eventually(lambda: server.http.get("/api/2.0/serving-endpoints").status_code == 200)
        assert load.failures[before:] == []
    server.log.seek(0)
    said = server.log.read()
    assert all(
        f"tallystick: {name} ended (killed by SIGKILL); starts again" in said for name in ("gateway-0", "control")
    )
    server.deploy("m", CHAOS | {"name": "second", "environment_vars": BATCHED})
    assert server.invoke("m", ECHO).headers["served-model-name"] == "second"


def test_a_gateway_without_control_serves_by_its_last_table(serving):
    server = serving
    os.kill(server.children()["control"], signal.SIGSTOP)
    try:
        for name in ("gateway-0", "gateway-1"):
            os.kill(server.children()[name], signal.SIGKILL)
        with httpx.Client(base_url=server.url, headers=server.http.headers, timeout=20) as client:

            def answers() -> bool:
                # A connection that one of the killed has taken is cut.
                with contextlib.suppress(httpx.HTTPError):
                    return client.post("/serving-endpoints/m/invocations", json=ECHO).status_code == 200
                return False

            eventually(answers)
    finally:
        os.kill(server.children()["control"], signal.SIGCONT)


def test_what_sleeps_is_woken_by_a_request(serving):
    server = serving
    server.deploy("sleepy", CHAOS | {"scale_to_zero_enabled": True})
    sleepy = server.api("GET", "/sleepy")["config"]["served_entities"][0]["id"]
    eventually(lambda: server.workers(sleepy)[0]["phase"] == "parked")
    assert server.api("GET", "/sleepy")["state"]["ready"] == "READY"
    began = time.monotonic()
    assert server.invoke("sleepy", ECHO).status_code == 200
    assert time.monotonic() - began < 20


def test_no_process_outlives_a_killed_supervisor(serving):
    server = serving
    pids = [*server.children().values(), *(view["pid"] for view in server.workers())]
    server.stop(signal.SIGKILL)
    eventually(lambda: not [pid for pid in pids if os.path.exists(f"/proc/{pid}")], 5)
    server.start()
    eventually(lambda: server.invoke("m", ECHO).status_code == 200, 40)


def test_a_stop_drains_and_leaves_no_process(serving):
    server = serving
    pids = [*server.children().values(), *(view["pid"] for view in server.workers())]
    answers = []
    slow = threading.Thread(target=lambda: answers.append(server.chaos("m", "sleep", 1.5)))
    slow.start()
    time.sleep(0.5)
    assert server.stop() == 0
    slow.join()
    assert answers[0].status_code == 200
    assert [pid for pid in pids if os.path.exists(f"/proc/{pid}")] == []


def test_a_store_that_is_not_ours_is_never_an_empty_start(own_server):
    """One of each step of a start; every way in which a store can be wrong is in tests/contract/test_store.py."""
    server = own_server()
    server.api("POST", "", {"name": "kept"})
    server.stop()
    store = server.data_dir / "tallystick.db"
    assert not (server.data_dir / "tallystick.db-wal").exists(), "a stop leaves one whole file"
    sound = store.read_bytes()

    def is_refused(words: str) -> None:
        refused = serve("--port", "0", "--data-dir", str(server.data_dir))
        assert refused.returncode != 0
        assert words in refused.stderr
        assert "Traceback" not in refused.stderr

    store.write_bytes(b"")
    is_refused("is empty")
    store.unlink()
    is_refused("tallystick.db")
    store.write_bytes(sound)
    with sqlite3.connect(store) as connection:
        connection.execute(f"update {VERSION_TABLE} set version_num = '9999'")
    is_refused("newer version")
    store.write_bytes(sound)
    for extra in ("-wal", "-shm"):
        (server.data_dir / f"tallystick.db{extra}").unlink(missing_ok=True)
    server.start()
    assert server.api("GET", "/kept")["name"] == "kept"
    server.stop()
