"""A change of weights: from the PUT to the first answer by the new split."""

from __future__ import annotations

import http.client
import statistics
import threading
import time

from benchmarks.bench import Bench, Row
from benchmarks.servers import Tallystick, ask_on, split_config

TOPIC = "change"
_ENDPOINT = "split"
_NAMES = ("one", "two")
_TIMEOUT_S = 10.0


def run(bench: Bench) -> None:
    entities = [
        {"name": name, "entity_name": "cancer", "entity_version": version}
        for name, version in zip(_NAMES, ("1", "2"), strict=True)
    ]
    server, body = bench.server, bench.models.body()
    server.deploy(_ENDPOINT, *entities, routes={_NAMES[0]: 100, _NAMES[1]: 0})
    in_force, ended = [], []
    for turn in range(bench.plan.changes):
        to = _NAMES[(turn + 1) % 2]
        config = {
            "served_entities": entities,
            "traffic_config": split_config({name: 100 if name == to else 0 for name in _NAMES}),
        }
        force_ms, ended_ms = _change(server, config, to, body)
        in_force.append(force_ms)
        ended.append(ended_ms)
    count = f"median of {len(in_force)}"
    bench.rows += [
        Row(TOPIC, f"PUT config until the new split is in force, {count}", statistics.median(in_force), "ms"),
        Row(TOPIC, "the slowest of them", max(in_force), "ms"),
        Row(TOPIC, f"PUT config until config_update is NOT_UPDATING, {count}", statistics.median(ended), "ms"),
    ]


def _change(server: Tallystick, config: dict[str, object], to: str, body: bytes) -> tuple[float, float]:
    """Send all traffic to `to`; return milliseconds until it answers, and until the update is said to have ended."""
    failed: list[Exception] = []

    def put() -> None:
        try:
            server.api("PUT", f"/{_ENDPOINT}/config", config)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            failed.append(error)

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_TIMEOUT_S)
    request = server.request(_ENDPOINT, body)
    thread = threading.Thread(target=put)
    try:
        ask_on(connection, request)
        began = time.perf_counter()
        thread.start()
        while True:
            status, headers, _ = ask_on(connection, request)
            took_s = time.perf_counter() - began
            if status != 200:
                raise RuntimeError(f"an invocation during the change was answered {status}")
            if headers["served-model-name"] == to:
                break
            if failed or took_s > _TIMEOUT_S:
                raise RuntimeError(f"the new split is not in force: {failed}")
    finally:
        thread.join()
        connection.close()
    server.wait_ready(_ENDPOINT)
    return took_s * 1000, (time.perf_counter() - began) * 1000
