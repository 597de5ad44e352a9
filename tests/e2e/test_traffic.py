"""Splits and updates under load: nothing is lost, and nobody answers who was not routed."""

import asyncio
import itertools
import time

import pytest
from load import Load, count_answers
from running import MODELS
from scipy import stats

PLAIN = {"entity_name": str(MODELS / "plain.py")}
ONE = {"inputs": [[1.0, 2.0]]}


@pytest.fixture
def split(server):
    name = "split"
    a, b = PLAIN | {"name": "a"}, PLAIN | {"name": "b"}
    server.deploy(name, a, b, routes={"a": 90, "b": 10})
    return name, a, b


def test_the_split_over_20_000_requests_is_what_the_weights_say(server, split):
    """False alarms: one run in 1,000."""
    name, a, b = split
    server.deploy(name, a, b, routes={"a": 87.66, "b": 12.34})

    counts = asyncio.run(count_answers(server, name, ONE, requests=20_000, connections=8))
    assert sum(counts.values()) == 20_000
    expected = [20_000 * 0.8766, 20_000 * 0.1234]
    assert stats.chisquare([counts["a"], counts["b"]], expected).pvalue > 0.001, counts


def test_pinned_calls_are_not_drawn_and_a_route_without_traffic_is_reachable(server, split):
    name, a, b = split
    server.deploy(name, a, b, routes={"a": 100, "b": 0})
    assert {server.invoke(name, ONE).headers["served-model-name"] for _ in range(50)} == {"a"}
    assert {server.invoke(name, ONE, entity="b").headers["served-model-name"] for _ in range(50)} == {"b"}
    assert server.invoke(name, ONE, entity="c").status_code == 404


def test_weights_change_in_under_a_second_without_touching_workers(server, split):
    name, a, b = split
    before = {view["id"]: view["pid"] for view in server.workers()}
    took = []
    for shares in ({"a": 0, "b": 100}, {"a": 100, "b": 0}, {"a": 0, "b": 100}):
        began = time.monotonic()
        server.deploy(name, a, b, routes=shares)
        took.append(time.monotonic() - began)
        wanted = max(shares, key=shares.get)
        assert {server.invoke(name, ONE).headers["served-model-name"] for _ in range(20)} == {wanted}
    assert min(took) < 1.0
    assert {view["id"]: view["pid"] for view in server.workers() if view["id"] in before} == before


def test_versions_and_weights_change_under_load_and_no_request_is_lost(server):
    name = "swap"
    versions = [PLAIN | {"name": f"v{n}"} for n in range(4)]
    server.deploy(name, versions[0])
    with Load(server, name, ONE, check=lambda answer: answer.json() == {"predictions": [6.0]}) as load:
        load.wait_for(100)
        for old, new in itertools.pairwise(versions):
            with load.resting():
                server.deploy(name, old, new, routes={old["name"]: 100, new["name"]: 0})
            for share in (1, 50, 100):
                server.deploy(name, old, new, routes={old["name"]: 100 - share, new["name"]: share})
            server.deploy(name, new)
            settled = time.monotonic()
            load.wait_for(100)
            late = load.served(since=settled)
            assert set(late) == {new["name"]}, "answered by a version that was not routed any more"
    assert not load.failures, load.failures[:5]
    assert len(load.answers) > 500


def test_a_stopped_endpoint_refuses_and_starts_again(server):
    server.deploy("pause", PLAIN | {"name": "m"})
    server.api("POST", "/pause/config:stop")
    stopped = server.api("GET", "/pause")
    assert stopped["state"]["suspend"] == "STOPPED"
    refused = server.invoke("pause", ONE)
    assert (refused.status_code, "stopped" in refused.json()["message"]) == (400, True)
    server.api("POST", "/pause/config:start")
    assert server.settled("pause")["state"]["ready"] == "READY"
    assert server.invoke("pause", ONE).status_code == 200


def test_a_deleted_endpoint_is_gone_with_its_workers(server):
    from running import eventually

    server.deploy("gone", PLAIN | {"name": "m"})
    entity_id = server.api("GET", "/gone")["config"]["served_entities"][0]["id"]
    assert server.workers(entity_id)
    server.api("DELETE", "/gone")
    eventually(lambda: server.invoke("gone", ONE).status_code == 404)
    eventually(lambda: not server.workers(entity_id))


def test_rate_limits_hold_and_say_when_to_come_back(server):
    server.deploy("limited", PLAIN | {"name": "m"})
    server.api(
        "PUT", "/limited/rate-limits", {"rate_limits": [{"calls": 3, "key": "endpoint", "renewal_period": "minute"}]}
    )
    from running import eventually

    refused = eventually(lambda: next((r for r in [server.invoke("limited", ONE)] if r.status_code == 429), None))
    assert refused.json()["error_code"] == "REQUEST_LIMIT_EXCEEDED"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
