"""Metrics of a real server: what was invoked is what is shown, to Prometheus and to the Databricks client."""

import os
import shutil
import signal
import subprocess
import time

import pytest
from databricks.sdk import WorkspaceClient
from prometheus_client.parser import text_string_to_metric_families
from running import MODELS, eventually

PLAIN = {"entity_name": str(MODELS / "plain.py")}
ONE = {"inputs": [[1.0, 2.0]]}
TWO = {"inputs": [[1.0, 2.0], [3.0, 4.0]]}
ENDED = "tallystick_invocations_total"


def scrape(server, path="/metrics", **kwargs):
    """Return (name, labels without those in `kwargs`) -> value, of the samples that have those labels."""
    answer = server.http.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return {
        (
            sample.name,
            frozenset((key, value) for key, value in sample.labels.items() if key not in kwargs),
        ): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if kwargs.items() <= sample.labels.items()
    }


def values(found, name):
    return [value for (sample, _), value in found.items() if sample == name]


def by(found, name, label):
    return {dict(labels)[label]: value for (sample, labels), value in found.items() if sample == name}


@pytest.fixture(scope="module")
def counted(server):
    """An endpoint with two served entities, with 20 invocations at the first and 5 + 3 bad ones at the other."""
    name = f"counted{time.monotonic_ns()}"
    found = server.deploy(name, PLAIN | {"name": "a"}, PLAIN | {"name": "b"}, routes={"a": 100, "b": 0})
    assert found["state"]["ready"] == "READY", found
    for _ in range(20):
        answer = server.invoke(name, TWO)
        assert answer.status_code == 200, answer.text
    for _ in range(5):
        assert server.invoke(name, ONE, entity="b").status_code == 200
    for _ in range(3):
        assert server.invoke(name, {"neither": 1}, entity="b").status_code == 400
    yield name
    server.api("DELETE", f"/{name}")


def test_the_databricks_client_reads_the_last_minute(server, counted):
    client = WorkspaceClient(host=server.url, token=server.token)

    def read():
        return client.serving_endpoints.export_metrics(counted).contents.read().decode()

    def values_of(text, name):
        families = {family.name: family for family in text_string_to_metric_families(text)}
        return {sample.labels.get("served_entity_name", ""): sample.value for sample in families[name].samples}

    eventually(lambda: sum(values_of(read(), "request_count_total").values()) == 28)
    text = read()
    assert values_of(text, "request_4xx_count_total") == {"a": 0, "b": 3}
    assert values_of(text, "provisioned_concurrent_requests_total") == {"a": 4, "b": 4}
    told_ms = {line.split()[-1] for line in text.splitlines() if not line.startswith("#")}
    assert len(told_ms) == 1
    assert abs(int(told_ms.pop()) / 1000 - time.time()) < 60


def test_counts_are_exactly_what_was_invoked(server, counted):
    eventually(lambda: sum(values(scrape(server, endpoint=counted), ENDED)) == 28)
    found = scrape(server, endpoint=counted)
    a, b = (scrape(server, endpoint=counted, served_entity=name) for name in "ab")
    assert by(a, ENDED, "status") == {"200": 20}
    assert by(b, ENDED, "status") == {"200": 5, "400": 3}
    assert sum(values(found, "tallystick_invocation_duration_seconds_count")) == 28
    for part in ("queue", "model", "gateway"):
        assert sum(values(found, f"tallystick_invocation_{part}_seconds_count")) == 25
    assert values(a, "tallystick_invocation_rows_total") == [40]
    assert values(b, "tallystick_invocation_rows_total") == [5]
    (duration,) = values(a, "tallystick_invocation_duration_seconds_sum")
    parts = sum(sum(values(a, f"tallystick_invocation_{part}_seconds_sum")) for part in ("queue", "model", "gateway"))
    assert duration == pytest.approx(parts, rel=0.01)
    assert 0 < duration < 20
    assert values(found, "tallystick_invocations_in_flight") == [0, 0]
    assert by(found, "tallystick_route_share_ratio", "served_entity") == {"a": 1, "b": 0}
    assert values(found, "tallystick_worker_ready") == [1, 1]
    memory = eventually(
        lambda: values(scrape(server, endpoint=counted), "tallystick_worker_resident_memory_bytes"), timeout_s=15
    )
    assert all(value > 1 << 20 for value in memory)


def test_series_go_away_with_their_endpoint(server):
    server.deploy("fleeting", PLAIN | {"name": "a"})
    assert scrape(server, endpoint="fleeting")
    server.api("DELETE", "/fleeting")
    assert not scrape(server, endpoint="fleeting")


def test_what_is_refused_is_counted_without_its_endpoint(server):
    before = scrape(server)
    for number in range(7):
        assert server.invoke(f"nowhere-{number}", ONE).status_code == 404

    def came():
        now = by(scrape(server, status="404"), "tallystick_refusals_total", "error_code")
        then = {
            dict(labels)["error_code"]: value
            for (name, labels), value in before.items()
            if name == "tallystick_refusals_total" and dict(labels)["status"] == "404"
        }
        return sum(now.values()) - sum(then.values()) == 7

    eventually(came)
    assert "nowhere" not in server.http.get("/metrics").text


def test_the_server_tells_of_its_processes(server):
    def seen():
        found = scrape(server)
        names = set(by(found, "tallystick_process_resident_memory_bytes", "process"))
        return found if {"supervisor", "control", "gateway-0"} <= names else None

    found = eventually(seen)
    assert values(found, "tallystick_gateway_route_table_version") == values(found, "tallystick_route_table_version")
    assert values(found, "tallystick_gateways_connected") == [1]
    assert by(found, "tallystick_process_cpu_seconds_total", "process")["gateway-0"] > 0


def test_counts_wait_while_control_is_away(own_server):
    server = own_server()
    server.deploy("m", PLAIN | {"name": "a"})
    assert server.invoke("m", ONE).status_code == 200
    eventually(lambda: sum(values(scrape(server, endpoint="m"), ENDED)) == 1)
    pid = server.children()["control"]
    os.kill(pid, signal.SIGSTOP)
    try:
        # Two reports' time, and more: nothing may be lost meanwhile.
        end = time.monotonic() + 2.5
        sent = 0
        while time.monotonic() < end:
            assert server.invoke("m", ONE).status_code == 200
            sent += 1
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: sum(values(scrape(server, endpoint="m"), ENDED)) == 1 + sent)
    os.kill(pid, signal.SIGKILL)
    for _ in range(10):
        assert server.invoke("m", ONE).status_code == 200
    eventually(lambda: server.children().get("control") not in (None, pid))

    def read():
        # Until control is back, the gateway says that it is away.
        return server.http.get("/metrics").status_code == 200 and sum(values(scrape(server, endpoint="m"), ENDED)) == 10

    eventually(read)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is in Debian's package prometheus")
def test_promtool_finds_nothing_to_say(server, counted):
    eventually(lambda: sum(values(scrape(server, endpoint=counted), ENDED)) == 28)
    text = server.http.get("/metrics").content
    told = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (told.returncode, told.stdout + told.stderr) == (0, b"")
