"""Processes that die, hang and misbehave while requests are under way."""

import concurrent.futures
import os
import signal
import time

import httpx
import pytest
from load import Load, leave_at_once
from running import MODELS, eventually, serve

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


def pids_of(views):
    return {view["pid"] for view in views}


def test_killed_workers_cost_no_request(server, chaos):
    killed = set()
    with Load(server, chaos, ECHO, clients=8, check=echoes) as load:
        for _ in range(4):
            with load.resting():
                pids = eventually(lambda: (found := pids_of(all_ready(server, chaos))).isdisjoint(killed) and found, 40)
            load.wait_for(100)
            killed.add(min(pids))
            os.kill(min(pids), signal.SIGKILL)
            load.wait_for(200)
    assert not load.failures, load.failures[:5]


def test_one_that_hangs_with_the_interpreter_lock_is_cut_at_its_deadline_and_nobody_else_waits(server, chaos):
    pids = pids_of(all_ready(server, chaos))
    with Load(server, chaos, ECHO, clients=6, check=echoes) as load:
        load.wait_for(50)
        with load.resting():
            began = time.monotonic()
            hung = server.chaos(chaos, "hang", timeout=20)
            took = time.monotonic() - began
        load.wait_for(50)
    assert hung.status_code == 504
    assert hung.json()["error_code"] == "DEADLINE_EXCEEDED"
    # Far from the 20 seconds that the client would wait, on a busy machine too.
    assert 2.9 < took < 10
    assert not load.failures, load.failures[:5]
    assert max(took for _, _, _, took in load.answers) < 3.0, "others waited for the deadline of the one that hangs"
    eventually(lambda: pids_of(all_ready(server, chaos)) != pids)
    log = server.api("GET", f"/{chaos}/served-models/chaos/logs")["logs"]
    assert "killed by the gateway: it ran an invocation past its deadline" in log


def test_one_that_hangs_is_replaced_though_its_caller_has_left(server, chaos):
    pids = pids_of(all_ready(server, chaos))
    with pytest.raises(httpx.TimeoutException):
        server.chaos(chaos, "hang", timeout=0.5)
    eventually(lambda: pids_of(all_ready(server, chaos)) != pids)
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
    pids = pids_of(all_ready(server, chaos))
    with Load(server, chaos, ECHO, clients=6, check=echoes) as load:
        load.wait_for(20)
        refused = [server.chaos(chaos, op) for _ in range(20)]
    assert {answer.status_code for answer in refused} == {400}
    assert words in refused[0].json()["message"]
    assert not load.failures, load.failures[:5]
    assert pids_of(ready_workers(server, chaos)) == pids


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
            leave_at_once(server, chaos, {"dataframe_records": [{"op": "sleep", "x": 0.05}]})
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


def test_a_restart_brings_every_endpoint_back_by_itself(own_server, registry):
    server = own_server("--tracking-uri", registry.uri)
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
