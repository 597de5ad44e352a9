"""Processes that die, hang and misbehave while requests are under way."""

import concurrent.futures
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import httpx
import pytest
from load import Load
from running import MODELS, eventually

from tallystick.control.database import VERSION_TABLE

CHAOS = {"entity_name": str(MODELS / "chaos.py"), "name": "chaos"}
ECHO = {"dataframe_records": [{"op": "echo", "x": 1.0}]}
BATCHED = {"TALLYSTICK_BATCHING": "on", "TALLYSTICK_REQUEST_TIMEOUT_S": "3"}


def echoes(answer) -> bool:
    return answer.json() == {"predictions": [1.0]}


@pytest.fixture(scope="module")
def chaos(server):
    """Three workers, batched, three seconds: with one input two of them can be ended, and one is left."""
    server.deploy(
        "chaos",
        CHAOS | {"max_provisioned_concurrency": 12, "min_provisioned_concurrency": 12, "environment_vars": BATCHED},
    )
    return "chaos"


def entity_id(server, name):
    return server.api("GET", f"/{name}")["config"]["served_entities"][0]["id"]


def ready_workers(server, name):
    views = server.workers(entity_id(server, name))
    return [view for view in views if view["phase"] == "running" and view["state"] == "ready"]


def all_ready(server, name, count=3):
    return eventually(lambda: (found := ready_workers(server, name)) and len(found) == count and found, 40)


def test_killed_workers_cost_no_request(server, chaos):
    all_ready(server, chaos)
    with Load(server, chaos, ECHO, clients=8, check=echoes) as load:
        for _ in range(4):
            load.wait_for(100)
            os.kill(all_ready(server, chaos)[0]["pid"], signal.SIGKILL)
        load.wait_for(200)
    assert not load.failures, load.failures[:5]


def test_one_that_hangs_with_the_interpreter_lock_is_cut_at_its_deadline_and_nobody_else_waits(server, chaos):
    pids = {view["pid"] for view in all_ready(server, chaos)}
    with Load(server, chaos, ECHO, clients=6, check=echoes) as load:
        load.wait_for(50)
        began = time.monotonic()
        hung = server.chaos(chaos, "hang", timeout=20)
        took = time.monotonic() - began
        load.wait_for(50)
    assert hung.status_code == 504
    assert hung.json()["error_code"] == "DEADLINE_EXCEEDED"
    assert 2.9 < took < 4.0
    assert not load.failures, load.failures[:5]
    assert max(took for _, _, _, took in load.answers) < 3.0, "others waited for the deadline of the one that hangs"
    eventually(lambda: {view["pid"] for view in all_ready(server, chaos)} != pids)
    log = server.api("GET", f"/{chaos}/served-models/chaos/logs")["logs"]
    assert "killed by the gateway: it ran an invocation past its deadline" in log


def test_one_that_hangs_is_replaced_though_its_caller_has_left(server, chaos):
    pids = {view["pid"] for view in all_ready(server, chaos)}
    with pytest.raises(httpx.TimeoutException):
        server.chaos(chaos, "hang", timeout=0.5)
    eventually(lambda: {view["pid"] for view in all_ready(server, chaos)} != pids)
    assert {server.chaos(chaos, "echo").status_code for _ in range(10)} == {200}


def test_on_threads_too_an_input_that_ends_its_worker_takes_nobody_with_it(server):
    server.deploy("threads", CHAOS | {"environment_vars": {"TALLYSTICK_BATCHING": "off"}})
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        good = [pool.submit(server.chaos, "threads", "sleep", 1.5 + n / 100, timeout=60) for n in range(3)]
        time.sleep(0.4)
        bad = pool.submit(server.chaos, "threads", "exit", timeout=60)
    assert [answer.result().status_code for answer in good] == [200, 200, 200]
    assert bad.result().status_code == 400


@pytest.mark.parametrize(("op", "reason"), [("exit", "exit status 9"), ("segfault", "killed by SIGSEGV")])
def test_an_input_that_ends_its_worker_is_refused_after_two_and_the_others_live(server, chaos, op, reason):
    all_ready(server, chaos)
    restarts = sum(view["restarts"] for view in server.workers(entity_id(server, chaos)))
    with Load(server, chaos, ECHO, clients=4, check=echoes) as load:
        load.wait_for(50)
        first = server.chaos(chaos, op, timeout=40)
        again = [server.chaos(chaos, op) for _ in range(5)]
        load.wait_for(50)
    assert first.status_code == 400
    assert "ended the process" in first.json()["message"]
    assert {answer.status_code for answer in again} == {400}
    assert not load.failures, load.failures[:5]
    views = server.workers(entity_id(server, chaos))
    assert sum(view["restarts"] for view in views) - restarts == 2
    assert reason in server.api("GET", f"/{chaos}/served-models/chaos/logs")["logs"]
    all_ready(server, chaos)


@pytest.mark.parametrize(("op", "words"), [("raise", "ValueError"), ("sysexit", "SystemExit")])
def test_an_exception_is_its_callers_alone(server, chaos, op, words):
    pids = {view["pid"] for view in all_ready(server, chaos)}
    with Load(server, chaos, ECHO, clients=6, check=echoes) as load:
        load.wait_for(20)
        refused = [server.chaos(chaos, op) for _ in range(20)]
    assert {answer.status_code for answer in refused} == {400}
    assert words in refused[0].json()["message"]
    assert not load.failures, load.failures[:5]
    assert {view["pid"] for view in ready_workers(server, chaos)} == pids


def test_a_model_that_forks_or_prints_without_end_hurts_nobody(server, chaos):
    all_ready(server, chaos)
    with Load(server, chaos, ECHO, clients=4, check=echoes) as load:
        load.wait_for(20)
        assert server.chaos(chaos, "fork").json() == {"predictions": [1.0]}
        assert server.chaos(chaos, "print", timeout=20).json() == {"predictions": [1.0]}
        load.wait_for(20)
    assert not load.failures, load.failures[:5]
    logs = server.data_dir / "logs"
    assert all(path.stat().st_size <= 1 << 20 for path in logs.glob("*.log*"))


def test_a_bad_row_and_a_caller_who_leaves_touch_nobody_in_their_batch(server, chaos):
    all_ready(server, chaos)
    with Load(server, chaos, ECHO, clients=6, check=echoes) as load:
        for _ in range(30):
            assert server.invoke(chaos, {"dataframe_records": [{"op": "echo"}, 7]}).status_code == 400
            with pytest.raises(httpx.TimeoutException):
                server.chaos(chaos, "sleep", 0.05, timeout=0.01)
        load.wait_for(20)
    assert not load.failures, load.failures[:5]


def test_more_than_the_queue_holds_is_refused_at_once(server):
    server.deploy("narrow", CHAOS | {"environment_vars": {"TALLYSTICK_BATCHING": "off"}})
    limit = 4 + 4 * 16
    with concurrent.futures.ThreadPoolExecutor(limit + 40) as pool:
        began = time.monotonic()
        answers = list(pool.map(lambda _: server.chaos("narrow", "sleep", 0.3), range(limit + 40)))
    by_status = {status: [a for a in answers if a.status_code == status] for status in (200, 429)}
    assert len(by_status[200]) + len(by_status[429]) == len(answers)
    assert by_status[429], "nothing was refused"
    assert len(by_status[200]) >= limit
    assert by_status[429][0].headers["retry-after"] == "1"
    assert "concurren" in by_status[429][0].json()["message"]
    assert time.monotonic() - began < 20


def test_a_killed_gateway_costs_only_what_it_held_and_control_costs_nothing(own_server):
    server = own_server("--gateways", "2")
    server.deploy("m", CHAOS | {"environment_vars": BATCHED})
    held = 8
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
            eventually(lambda: len([name for name in server.children() if name.startswith("gateway")]) == 2)
        before = len(load.failures)
        for _ in range(3):
            os.kill(eventually(lambda: server.children().get("control")), signal.SIGKILL)
            load.wait_for(200)
            eventually(lambda: server.http.get("/api/2.0/serving-endpoints").status_code == 200)
        assert load.failures[before:] == []
    server.deploy("m", CHAOS | {"name": "second", "environment_vars": BATCHED})
    assert server.invoke("m", ECHO).headers["served-model-name"] == "second"


def test_a_gateway_without_control_serves_by_its_last_table(own_server):
    server = own_server()
    server.deploy("m", CHAOS)
    os.kill(server.children()["control"], signal.SIGSTOP)
    try:
        os.kill(server.children()["gateway-0"], signal.SIGKILL)
        with httpx.Client(base_url=server.url, headers=server.http.headers, timeout=20) as client:
            ask = lambda: client.post("/serving-endpoints/m/invocations", json=ECHO).status_code == 200  # noqa: E731
            eventually(lambda: ask())
    finally:
        os.kill(server.children()["control"], signal.SIGCONT)


def test_a_restart_brings_every_endpoint_back_by_itself(own_server, registry):
    server = own_server()
    server.deploy(
        "m", CHAOS | {"name": "a"}, {"entity_name": "cancer", "entity_version": "1"}, routes={"a": 0, "cancer-1": 100}
    )
    before = server.api("GET", "/m")
    assert server.stop() == 0
    server.options = tuple(registry.uri + "-is-away" if option == registry.uri else option for option in server.options)
    server.start()
    after = eventually(lambda: (found := server.api("GET", "/m"))["state"]["ready"] == "READY" and found, 40)
    assert after["config"]["config_version"] == before["config"]["config_version"]
    assert (
        server.invoke("m", {"dataframe_split": registry.frame.head(1).to_dict("split", index=False)}).status_code == 200
    )


def test_what_sleeps_is_woken_by_a_request(own_server):
    server = own_server("--scale-to-zero-after", "1s")
    server.deploy("m", CHAOS | {"scale_to_zero_enabled": True})
    ask = lambda: server.workers(entity_id(server, "m"))[0]["phase"] == "parked"  # noqa: E731
    eventually(ask)
    assert server.api("GET", "/m")["state"]["ready"] == "READY"
    began = time.monotonic()
    assert server.invoke("m", ECHO).status_code == 200
    assert time.monotonic() - began < 20


def test_a_stop_drains_and_leaves_no_process(own_server):
    server = own_server()
    server.deploy("m", CHAOS | {"environment_vars": {"TALLYSTICK_BATCHING": "off"}})
    pids = [*server.children().values(), *(view["pid"] for view in server.workers())]
    answers = []
    slow = threading.Thread(target=lambda: answers.append(server.chaos("m", "sleep", 1.5)))
    slow.start()
    time.sleep(0.5)
    assert server.stop() == 0
    slow.join()
    assert answers[0].status_code == 200
    assert [pid for pid in pids if os.path.exists(f"/proc/{pid}")] == []


def test_no_process_outlives_a_killed_supervisor(own_server):
    server = own_server()
    server.deploy("m", CHAOS)
    pids = [*server.children().values(), *(view["pid"] for view in server.workers())]
    server.stop(signal.SIGKILL)
    eventually(lambda: not [pid for pid in pids if os.path.exists(f"/proc/{pid}")], 5)
    server.start()
    eventually(lambda: server.invoke("m", ECHO).status_code == 200, 40)


def serve(*options):
    argv = [sys.executable, "-m", "tallystick", "serve", *options]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20)


def test_a_taken_port_a_used_folder_and_an_open_address_are_refused_with_a_reason(server, tmp_path):
    port = serve("--port", str(server.port), "--data-dir", str(tmp_path / "new"))
    assert port.returncode != 0
    assert str(server.port) in port.stderr
    folder = serve("--port", "0", "--data-dir", str(server.data_dir))
    assert folder.returncode != 0
    assert "Another server" in folder.stderr
    address = serve("--port", "0", "--host", "0.0.0.0", "--data-dir", str(tmp_path / "open"))
    assert address.returncode != 0
    assert "--allow-plain-http" in address.stderr
    for refused in (port, folder, address):
        assert "Traceback" not in refused.stderr


def test_a_store_that_is_not_ours_is_never_an_empty_start(own_server):
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
    store.write_bytes(b"not a database at all" * 100)
    is_refused("damaged, or not a SQLite file")
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
