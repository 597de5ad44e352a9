"""What `/metrics` and an endpoint's export show, read by Prometheus' own parser."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from tallystick.auth import Principal
from tallystick.control.api import create_app
from tallystick.control.api_rules import principal_by_token
from tallystick.control.link_server import GatewayLinks
from tallystick.control.memory_store import MemoryStore
from tallystick.control.metrics.api import ENDPOINT_PATH, SERVER_PATH, add_metrics_routes
from tallystick.control.metrics.export import Served, Shares, export
from tallystick.control.metrics.gate import GateTally, Place
from tallystick.control.metrics.names import METRICS, Kind
from tallystick.control.metrics.processes import Processes, Usage, probe, processors
from tallystick.control.metrics.samples import View, samples
from tallystick.control.metrics.source import MetricsSource
from tallystick.control.metrics.standing import recording
from tallystick.control.metrics.tally import GatewayNow, Tally
from tallystick.control.metrics.text import CONTENT_TYPE, render
from tallystick.control.service import Service, build_service
from tallystick.entities import Endpoint, EndpointConfig, EndpointId, Route, entity
from tallystick.gate.report import GateReport, Outcome
from tallystick.protocol.counts import MAX_COUNTED_COLUMNS, OTHER, REQUESTS, SECONDS, Distribution, EntityCounts
from tallystick.protocol.monitoring import EndpointParity, EntityParity, IncidentState, IncidentSummary, Watching
from tallystick.protocol.routes import (
    Activity,
    EndpointRoute,
    EndpointState,
    EntityRoute,
    JournalView,
    Load,
    Recorded,
    RouteTable,
    TableStatus,
)
from tallystick.protocol.supervise import Phase, ProcessView, Report

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "metrics.md").read_text()
E1, E2 = "1" * 32, "2" * 32
CHURN_1 = {"endpoint": "churn", "served_entity": "churn-1", "model_version": "1"}

Labels = frozenset[tuple[str, str]]


def times(*seconds: float) -> Distribution:
    counts = [0] * (len(SECONDS) + 1)
    for each in seconds:
        counts[next((index for index, bound in enumerate(SECONDS) if each <= bound), len(SECONDS))] += 1
    return Distribution(tuple(counts), sum(seconds))


def batches(*sizes: int) -> Distribution:
    counts = [0] * (len(REQUESTS) + 1)
    for each in sizes:
        counts[next(index for index, bound in enumerate(REQUESTS) if each <= bound)] += 1
    return Distribution(tuple(counts), sum(sizes))


def counts(**fields: Any) -> EntityCounts:
    return EntityCounts(
        **(
            {
                "statuses": {200: 2, 400: 1},
                "duration": times(0.004, 0.020, 0.0001),
                "queue": times(0.001, 0.002),
                "model": times(0.002, 0.010),
                "gateway": times(0.001, 0.008),
                "batch": batches(1, 4),
                "rows": 5,
            }
            | fields
        )
    )


def endpoint(name: str = "churn", entity_id: str = E1, creator: str = "root", **fields: Any) -> Endpoint:
    served = replace(entity("churn", "1"), id=entity_id)
    config = EndpointConfig(3, (served,), (Route("churn-1", 10_000),))
    made = Endpoint(EndpointId(f"id-{name}"), name, creator, 0, 0, active=config)
    return replace(made, **fields)


def shown(text: bytes) -> dict[str, dict[Labels, float]]:
    """Return sample name -> labels -> value, as Prometheus reads them."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            series = found.setdefault(sample.name, {})
            labels = frozenset(sample.labels.items())
            assert labels not in series, f"{sample.name}{sample.labels} is there twice"
            series[labels] = sample.value
    return found


def labelled(**labels: str) -> Labels:
    return frozenset(labels.items())


def full_view(**fields: Any) -> View:
    """A server of which everything can be told."""
    route = EntityRoute(E1, "churn-1", "churn", "1", 2500, (), 4, 64, 60.0)
    table = RouteTable(7, {"churn": EndpointRoute("i", "churn", "root", EndpointState.SERVING, 3, (route,))})
    recorded = Recorded(
        pid=9,
        lag_s=1.5,
        journal_bytes=100,
        unread_bytes=40,
        rows_total=11,
        commits_total=2,
        torn_bytes_total=3,
        damaged_bytes_total=4,
        tables={"churn_payload": TableStatus(waiting_rows=6, lag_s=1.5, problem="the disk is full")},
        feedback={"churn": {"matched": 8, "unknown": 1}},
    )
    everything: dict[str, Any] = {
        "endpoints": [endpoint()],
        "sees_all": True,
        "table": table,
        "totals": {E1: counts(coercions={"age": {"overflow": 2}})},
        "refusals": {(401, "UNAUTHENTICATED"): 5},
        "gateways": {
            0: GatewayNow(21, 7, 3, {E1: Load(2, 1)}),
            1: GatewayNow(22, 6, 4, {E1: Load(1, 0)}),
        },
        "journals": {"gateway-0": JournalView(50, {"disk_full": 2}, 1, "no room")},
        "workers": {f"{E1}-0": ProcessView(f"{E1}-0", Phase.RUNNING, 31, Report("ready"), restarts=2)},
        "usage": {
            f"{E1}-0": Usage(31, 12.5, 2000),
            "gateway-0": Usage(21, 1.5, 1000),
            "control": Usage(5, 0.5, 500),
        },
        "recorded": recorded,
        "is_recorder_connected": True,
        "checked": gate_checks().checked,
        "watching": watching(),
        "is_monitor_connected": True,
        "has_monitor": True,
        "version": "1.2.3",
        "python": "3.11.9",
    }
    return View(**(everything | fields))


def gate_checks() -> GateTally:
    tally = GateTally()
    tally.add(E1, Place.WORKER, GateReport(Outcome.FAILED, seconds=0.75))
    tally.add(E1, Place.WORKER, GateReport(Outcome.PASSED, seconds=0.5))
    tally.add(E1, Place.HTTP, GateReport(Outcome.PASSED, seconds=0.25))
    return tally


def watching(endpoint: str = "churn", problem: str = "") -> Watching:
    incident = IncidentSummary(
        7,
        "churn-1",
        IncidentState.OPEN,
        "cause_found",
        "preprocessing",
        "unit",
        ("temp",),
        {},
        "proof",
        0.3,
        200,
        "",
        "",
    )
    entity = EntityParity(problem, 120, 30, "cause_found", "2026-01-31T14:02:11Z", {"temp": {"out_of_range": 40}})
    return Watching(77, {endpoint: EndpointParity("i", {"churn-1": entity}, (incident,))})


def text_of(view: View) -> dict[str, dict[Labels, float]]:
    return shown(render(samples(view)))


# -- /metrics --------------------------------------------------------------------------------------------------


def test_every_metric_is_shown_under_its_name_with_its_type_help_and_labels() -> None:
    families = {family.name: family for family in text_string_to_metric_families(render(samples(full_view())).decode())}
    assert set(families) == {metric.name.removesuffix("_total") for metric in METRICS}
    for metric in METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind.value, metric.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), sample


def test_values_are_those_that_were_counted() -> None:
    found = text_of(full_view())
    assert found["tallystick_invocations_total"] == {
        labelled(**CHURN_1, status="200"): 2,
        labelled(**CHURN_1, status="400"): 1,
    }
    assert found["tallystick_invocation_duration_seconds_count"] == {labelled(**CHURN_1): 3}
    assert found["tallystick_invocation_duration_seconds_sum"][labelled(**CHURN_1)] == pytest.approx(0.0241)
    assert found["tallystick_invocation_batch_requests_sum"] == {labelled(**CHURN_1): 5}
    assert found["tallystick_invocation_rows_total"] == {labelled(**CHURN_1): 5}
    assert found["tallystick_invocations_in_flight"] == {labelled(**CHURN_1): 3}
    assert found["tallystick_invocations_waiting"] == {labelled(**CHURN_1): 1}
    assert found["tallystick_route_share_ratio"] == {labelled(**CHURN_1): 0.25}
    assert found["tallystick_coercions_total"] == {labelled(**CHURN_1, column="age", kind="overflow"): 2}
    assert found["tallystick_worker_restarts_total"] == {labelled(**CHURN_1, worker=f"{E1}-0"): 2}
    assert found["tallystick_worker_cpu_seconds_total"] == {labelled(**CHURN_1, worker=f"{E1}-0"): 12.5}
    assert found["tallystick_gateway_route_table_version"] == {
        labelled(process="gateway-0"): 7,
        labelled(process="gateway-1"): 6,
    }
    assert found["tallystick_process_resident_memory_bytes"] == {
        labelled(process="gateway-0"): 1000,
        labelled(process="control"): 500,
    }
    assert found["tallystick_endpoint_config_version"] == {labelled(endpoint="churn"): 3}
    assert found["tallystick_journal_dropped_records_total"] == {labelled(process="gateway-0", reason="disk_full"): 2}
    assert found["tallystick_recorder_table_problem"] == {labelled(table="churn_payload"): 1}
    assert found["tallystick_feedback_total"][labelled(endpoint="churn", outcome="matched")] == 8


def test_buckets_are_cumulative_and_hold_what_is_at_their_upper_end() -> None:
    found = text_of(full_view())["tallystick_invocation_duration_seconds_bucket"]
    by_end = {float(dict(labels)["le"]): value for labels, value in found.items()}
    assert set(by_end) == {*SECONDS, float("inf")}
    assert by_end[0.0001] == 1
    assert by_end[0.0025] == 1
    assert by_end[0.005] == 2
    assert by_end[0.025] == by_end[float("inf")] == 3


def test_exactly_one_state_of_an_update_is_set() -> None:
    found = text_of(full_view())["tallystick_endpoint_config_update"]
    assert [dict(labels)["state"] for labels, value in found.items() if value] == ["NOT_UPDATING"]
    assert len(found) == 4


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", 'x"} 1\nevil_total{a="', "größe 🎲", "{}", ""])
def test_names_of_columns_are_escaped(name: str) -> None:
    view = full_view(totals={E1: counts(coercions={name: {"overflow": 2}})})
    found = text_of(view)
    assert found["tallystick_coercions_total"] == {labelled(**CHURN_1, column=name, kind="overflow"): 2}
    assert "evil_total" not in found


def test_a_served_entity_without_traffic_starts_at_nothing_and_has_no_histograms() -> None:
    found = text_of(full_view(totals={}))
    assert found["tallystick_invocations_total"] == {labelled(**CHURN_1, status="200"): 0}
    assert "tallystick_invocation_duration_seconds_bucket" not in found


def test_series_of_a_deleted_endpoint_are_gone() -> None:
    found = text_of(full_view(endpoints=[]))
    about = [
        labels for series in found.values() for labels in series if {"endpoint", "served_entity"} & set(dict(labels))
    ]
    assert about == []
    assert "tallystick_build_info" in found


def test_two_served_entities_of_one_name_and_version_are_one_series() -> None:
    active = endpoint()
    assert active.active is not None
    served = replace(active.active.served_entities[0], id=E2)
    updating = replace(active, pending=replace(active.active, version=4, served_entities=(served,)))
    found = text_of(full_view(endpoints=[updating], totals={E1: counts(), E2: counts()}))
    assert found["tallystick_invocations_total"][labelled(**CHURN_1, status="200")] == 4
    assert found["tallystick_invocation_duration_seconds_count"] == {labelled(**CHURN_1): 6}


def test_checks_of_the_gate_are_counted_by_place_and_outcome_and_the_last_is_timed() -> None:
    found = text_of(full_view())
    counts_of = found["tallystick_parity_gate_checks_total"]
    assert {labels: count for labels, count in counts_of.items() if count} == {
        labelled(**CHURN_1, place="worker", outcome="failed"): 1,
        labelled(**CHURN_1, place="worker", outcome="passed"): 1,
        labelled(**CHURN_1, place="http", outcome="passed"): 1,
    }
    assert len(counts_of) == 8  # nothing is a number, too
    assert found["tallystick_parity_gate_seconds"] == {
        labelled(**CHURN_1, place="worker"): 0.5,
        labelled(**CHURN_1, place="http"): 0.25,
    }
    assert "tallystick_parity_gate_checks_total" not in text_of(full_view(checked={}))


def test_a_version_that_the_gate_stopped_is_counted_with_the_one_that_is_tried_again() -> None:
    made = endpoint()
    assert made.active is not None
    again = replace(made.active, served_entities=(replace(made.active.served_entities[0], id=E2),))
    stopped = replace(made, active=None, pending=again, failed=made.active)
    checks = gate_checks()
    checks.add(E2, Place.WORKER, GateReport(Outcome.FAILED, seconds=2.0))
    found = text_of(full_view(endpoints=[stopped], checked=checks.checked))
    assert found["tallystick_parity_gate_checks_total"][labelled(**CHURN_1, place="worker", outcome="failed")] == 2
    # Durations do not add up.
    assert found["tallystick_parity_gate_seconds"][labelled(**CHURN_1, place="worker")] == 2.0


def test_a_worker_that_is_starting_or_dead_is_not_ready() -> None:
    for phase, report, up in ((Phase.RUNNING, Report("loading"), 1), (Phase.BACKOFF, Report("ready"), 0)):
        workers = {f"{E1}-0": ProcessView(f"{E1}-0", phase, 31, report)}
        found = text_of(full_view(workers=workers))
        labels = labelled(**CHURN_1, worker=f"{E1}-0")
        assert (found["tallystick_worker_up"][labels], found["tallystick_worker_ready"][labels]) == (up, 0)


def test_numbers_of_a_process_that_is_gone_are_not_given_to_its_successor() -> None:
    usage = {f"{E1}-0": Usage(30, 12.5, 2000)}
    assert "tallystick_worker_cpu_seconds_total" not in text_of(full_view(usage=usage))


def test_a_caller_sees_tables_and_feedback_of_its_endpoints_only() -> None:
    recorded = Recorded(
        1, 0.0, 0, 0, 0, 0, 0, 0,
        tables=dict.fromkeys(
            ("churn_payload", "churn_feedback", "served_entities", "other_payload", "gone_payload"), TableStatus()
        ),
        feedback={"churn": {"matched": 1}, "other": {"matched": 1}},
    )  # fmt: skip
    found = text_of(full_view(recorded=recorded, sees_all=False))
    tables = {dict(labels)["table"] for labels in found["tallystick_recorder_table_waiting_rows"]}
    assert tables == {"churn_payload", "churn_feedback", "served_entities"}
    assert set(found["tallystick_feedback_total"]) == {labelled(endpoint="churn", outcome="matched")}
    everything = text_of(full_view(recorded=recorded, sees_all=True))
    assert len(everything["tallystick_recorder_table_waiting_rows"]) == 5


def test_the_lag_of_a_silent_recorder_grows() -> None:
    nothing = labelled()
    assert text_of(full_view(recorded_age_s=1.0))["tallystick_recorder_lag_seconds"][nothing] == 1.5
    silent = text_of(full_view(recorded_age_s=60.0, is_recorder_connected=False))
    assert silent["tallystick_recorder_lag_seconds"][nothing] == 61.5
    assert silent["tallystick_recorder_up"][nothing] == 0


def test_a_server_that_records_nothing_has_no_recorder_to_miss() -> None:
    assert "tallystick_recorder_up" not in text_of(full_view(recorded=None, has_recorder=False))
    assert text_of(full_view(recorded=None, is_recorder_connected=False))["tallystick_recorder_up"][labelled()] == 0


def test_a_served_entity_that_is_watched_has_its_incidents_also_when_there_are_none() -> None:
    found = text_of(full_view())
    assert found["tallystick_parity_incidents"] == {
        labelled(**CHURN_1, kind=""): 0,
        labelled(**CHURN_1, kind="unit"): 1,
    }
    assert found["tallystick_parity_status"] == {labelled(**CHURN_1, status="cause_found"): 1}
    assert found["tallystick_parity_violations_total"] == {
        labelled(**CHURN_1, column="temp", violation="out_of_range"): 40
    }


def test_what_is_not_watched_or_another_endpoint_has_no_parity() -> None:
    for told in (watching(problem="no reference"), watching("other"), None):
        assert "tallystick_parity_incidents" not in text_of(full_view(watching=told))
    assert "tallystick_monitor_up" not in text_of(full_view(has_monitor=False))
    assert text_of(full_view(is_monitor_connected=False))["tallystick_monitor_up"][labelled()] == 0


# -- sums ------------------------------------------------------------------------------------------------------


def activity(gateway: int = 0, **fields: Any) -> Activity:
    return Activity(gateway, {}, **fields)


def test_reports_of_gateways_are_added_up() -> None:
    tally = Tally()
    tally.take(activity(0, counts={E1: counts()}, refusals={401: {"A": 1}}), 10.0)
    tally.take(activity(1, counts={E1: counts()}, refusals={401: {"A": 2}, 404: {"B": 1}}), 10.5)
    assert tally.totals[E1].statuses == {200: 4, 400: 2}
    assert tally.totals[E1].duration.count == 6
    assert tally.refusals == {(401, "A"): 3, (404, "B"): 1}


def test_sums_that_were_copied_do_not_change() -> None:
    tally = Tally()
    tally.take(activity(counts={E1: counts(coercions={"x": {"overflow": 1}})}), 1.0)
    copied = dict(tally.totals)
    before = repr(copied)
    tally.take(activity(counts={E1: counts(coercions={"x": {"overflow": 1}})}), 2.0)
    assert repr(copied) == before
    assert tally.totals[E1].coercions == {"x": {"overflow": 2}}


def test_columns_beyond_the_limit_are_summed_up_over_all_reports() -> None:
    tally = Tally()
    for number in range(MAX_COUNTED_COLUMNS + 10):
        tally.take(activity(counts={E1: counts(coercions={f"c{number}": {"overflow": 1}})}), float(number))
    known = tally.totals[E1].coercions
    assert (len(known), known[OTHER]) == (MAX_COUNTED_COLUMNS + 1, {"overflow": 10})


def test_what_a_gateway_has_now_goes_with_it_and_its_journal_stays() -> None:
    tally = Tally()
    tally.applied(0, 100, 1)
    tally.take(activity(0, load={E1: Load(1, 0)}, open_connections=5, journal=JournalView(1, {"x": 2}, 0)), 1.0)
    tally.applied(0, 100, 2)
    assert tally.gateways[0] == GatewayNow(100, 2, 5, {E1: Load(1, 0)})
    tally.applied(0, 101, 2)
    assert tally.gateways[0] == GatewayNow(101, 2)
    tally.left(0)
    assert tally.gateways == {}
    assert tally.journals["gateway-0"].dropped == {"x": 2}


def test_the_last_minute_forgets_what_is_older() -> None:
    tally = Tally()
    for second in range(200):
        tally.take(activity(counts={E1: counts()}), float(second))
    last = tally.last_minute([E1, E2], 199.0)
    # Reports come every second, and the minute is kept to five.
    assert 60 <= last[E1].statuses[400] <= 66
    assert last[E1].duration.count == 3 * last[E1].statuses[400]
    assert last[E2].statuses == {}
    assert tally.last_minute([E1], 1000.0)[E1].statuses == {}


def test_a_young_control_tells_of_all_that_it_has() -> None:
    tally = Tally()
    for second in range(30):
        tally.take(activity(counts={E1: counts()}), float(second))
    assert tally.last_minute([E1], 30.0)[E1].statuses == {200: 60, 400: 30}


def test_the_window_keeps_a_bounded_number_of_copies() -> None:
    tally = Tally()
    for tenth in range(6000):
        tally.take(activity(), tenth / 10)
    assert len(tally._earlier) <= 14


# -- processes -------------------------------------------------------------------------------------------------


def test_share_of_processors_is_over_the_last_minute() -> None:
    processes = Processes(dict)
    for second in range(0, 301, 5):
        processes.note({"w": Usage(1, second * 0.5 if second > 200 else 0.0, 1)}, float(second))
    assert processes.cpu_share("w") == pytest.approx(0.5 / processors())
    assert processes.cpu_share("nobody") is None


def test_share_of_processors_is_not_known_of_a_process_that_was_seen_once() -> None:
    processes = Processes(dict)
    processes.note({"w": Usage(1, 50.0, 1)}, 0.0)
    assert processes.cpu_share("w") is None
    processes.note({"w": Usage(2, 3.0, 1)}, 5.0)
    assert processes.cpu_share("w") is None, "another process of the same name"
    processes.note({"w": Usage(2, 4.0, 1)}, 10.0)
    assert processes.cpu_share("w") == pytest.approx(0.2 / processors())


def test_a_process_that_is_there_is_seen_and_one_that_is_not_is_left_out() -> None:
    import os

    seen = probe(os.getpid())
    assert seen is not None
    assert (seen.pid, seen.cpu_seconds > 0, seen.resident_bytes > 1 << 20) == (os.getpid(), True, True)
    assert probe(2**22 + 1) is None


# -- the export of one endpoint --------------------------------------------------------------------------------

NOW_S = 1_700_000_000.25
SERVED = [Served(E1, "a", 4), Served(E2, "b", 8)]
MINUTE = {E1: counts(statuses={200: 7, 404: 2, 500: 1}), E2: counts(statuses={200: 1})}


def test_export_has_the_names_types_and_times_of_the_contract() -> None:
    text = export("churn", SERVED, MINUTE, [Shares(0.5, 0.1), Shares(0.25, 0.3)], NOW_S).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {name: family.type for name, family in families.items()} == {
        "request_count_total": "gauge",
        "request_4xx_count_total": "gauge",
        "request_5xx_count_total": "gauge",
        "request_latency_ms": "histogram",
        "model_queue_time_ms": "histogram",
        "model_prediction_latency_ms": "histogram",
        "provisioned_concurrent_requests_total": "gauge",
        "cpu_usage_percentage": "gauge",
        "mem_usage_percentage": "gauge",
    }
    for line in text.splitlines():
        assert line.startswith("#") or line.endswith(" 1700000000250"), line
    found = shown(text.encode())
    a = labelled(endpoint_name="churn", served_entity_name="a")
    assert found["request_count_total"][a] == 10
    assert found["request_4xx_count_total"][a] == 2
    assert found["request_5xx_count_total"][a] == 1
    assert sum(found["provisioned_concurrent_requests_total"].values()) == 12
    assert found["cpu_usage_percentage"] == {labelled(endpoint_name="churn"): 37.5}
    assert found["mem_usage_percentage"][labelled(endpoint_name="churn")] == pytest.approx(20)
    assert found["request_latency_ms_sum"][a] == pytest.approx(24.1)


def test_export_has_the_buckets_that_consumers_know() -> None:
    found = shown(export("churn", SERVED[:1], MINUTE, [], NOW_S))["request_latency_ms_bucket"]
    ends = {float(dict(labels)["le"]): value for labels, value in found.items()}
    assert (min(ends), sorted(ends)[-2], max(ends)) == (5.0, 600_000.0, float("inf"))
    # The two that took less than the lowest end are in it.
    assert (ends[5.0], ends[25.0], ends[float("inf")]) == (2, 3, 3)


def test_export_of_an_endpoint_that_is_scaled_to_zero_has_requests_only() -> None:
    found = shown(export("churn", [Served(E1, "a", 0)], {}, [], NOW_S))
    assert {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in found} == {
        "request_count_total",
        "request_4xx_count_total",
        "request_5xx_count_total",
        "request_latency_ms",
    }
    assert set(found["request_count_total"].values()) == {0}


def test_what_is_not_known_of_a_worker_yet_is_left_out() -> None:
    found = shown(export("churn", SERVED, MINUTE, [Shares(None, None), Shares(None, 0.5)], NOW_S))
    assert "cpu_usage_percentage" not in found
    assert list(found["mem_usage_percentage"].values()) == [50]


# -- the routes ------------------------------------------------------------------------------------------------

ADMIN = Principal("root", is_admin=True)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    given = (f"{number:032x}" for number in range(1000))
    return build_service(
        MemoryStore(), tmp_path, now_ms=lambda: 1000, new_id=lambda: next(given), on_change=lambda: None
    )


@pytest.fixture
async def app(service: Service, tmp_path: Path) -> FastAPI:
    async def status() -> dict[str, Any]:
        return {}

    class Logs:
        async def build_log(self, entity_id: str) -> str:
            return entity_id

        server_log = build_log

    links = GatewayLinks(tmp_path, 1, lambda: None)
    made = create_app(service, Logs(), principal_by_token(service), status)
    workers: Mapping[str, ProcessView] = {}

    def journal() -> JournalView:
        return JournalView(11, {"disk_full": 1}, 0)

    add_metrics_routes(made, service, MetricsSource(links, lambda: workers, has_recorder=True, own_journal=journal))
    return made


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as made:
        yield made


def bearer(service: Service, name: str, *, is_admin: bool = False) -> dict[str, str]:
    made = service.token_service.create(ADMIN, {"principal": name, "is_admin": is_admin})
    return {"authorization": f"Bearer {made['token_value']}"}


def create(service: Service, name: str, **grant: str) -> Endpoint:
    config = {"served_entities": [{"entity_name": "churn", "entity_version": "1"}]}
    made = service.create_endpoint(ADMIN, {"name": name, "config": config})
    service.activate(made.id, 1, 0)
    if grant:
        service.update_permissions(ADMIN, made.id, {"access_control_list": [grant]})
    return made


async def test_a_scrape_needs_a_token(client: httpx.AsyncClient) -> None:
    for path in (SERVER_PATH, ENDPOINT_PATH.format(name="churn")):
        refused = await client.get(path)
        assert (refused.status_code, refused.json()["error_code"]) == (401, "UNAUTHENTICATED")


async def test_a_scrape_is_text_of_the_endpoints_that_the_caller_may_view(
    client: httpx.AsyncClient, service: Service
) -> None:
    create(service, "seen", user_name="bob", permission_level="CAN_VIEW")
    create(service, "hidden")
    answer = await client.get("/metrics", headers=bearer(service, "bob"))
    assert answer.headers["content-type"] == CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
    assert set(shown(answer.content)["tallystick_endpoint_ready"]) == {labelled(endpoint="seen")}
    assert b"hidden" not in answer.content
    everything = await client.get("/metrics", headers=bearer(service, "root", is_admin=True))
    assert len(shown(everything.content)["tallystick_endpoint_ready"]) == 2


async def test_the_export_is_for_those_who_may_view_the_endpoint(client: httpx.AsyncClient, service: Service) -> None:
    create(service, "seen", user_name="bob", permission_level="CAN_VIEW")
    create(service, "hidden")
    bob = bearer(service, "bob")
    answer = await client.get(ENDPOINT_PATH.format(name="seen"), headers=bob)
    assert (answer.status_code, answer.headers["content-type"]) == (200, CONTENT_TYPE)
    assert set(shown(answer.content)["request_count_total"].values()) == {0}
    refused = await client.get(ENDPOINT_PATH.format(name="hidden"), headers=bob)
    assert (refused.status_code, refused.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


async def test_the_journal_of_control_is_shown_beside_those_of_gateways(
    client: httpx.AsyncClient, service: Service
) -> None:
    found = shown((await client.get("/metrics", headers=bearer(service, "bob"))).content)
    assert found["tallystick_journal_bytes"] == {labelled(process="control"): 11}


async def test_the_description_has_both_routes(client: httpx.AsyncClient) -> None:
    assert {SERVER_PATH, ENDPOINT_PATH} <= set((await client.get("/openapi.json")).json()["paths"])


def test_status_tells_of_recorder_and_journals() -> None:
    view = full_view()
    told = recording(view.recorded, 2.04, view.journals, is_connected=True)
    assert told["recorder"]["age_s"] == 2.0
    assert told["recorder"]["tables"]["churn_payload"]["problem"] == "the disk is full"
    assert told["journals"]["gateway-0"]["dropped"] == {"disk_full": 2}
    assert recording(None, 0.0, {}, is_connected=False) == {"recorder": None, "journals": {}}
    json.dumps(told)


# -- documents -------------------------------------------------------------------------------------------------


def test_the_page_has_every_metric_as_it_is_defined() -> None:
    rows = re.findall(r"^\| `(tallystick_\w+)` \| (\w+) \| (.*?) ?\| (.+) \|$", PAGE, re.MULTILINE)
    described = [(name, kind, tuple(re.findall(r"`(\w+)`", labels)), text) for name, kind, labels, text in rows]
    assert described == [(metric.name, metric.kind.value, metric.labels, metric.help) for metric in METRICS]


def test_the_page_has_every_name_of_the_export() -> None:
    text = export("churn", SERVED, MINUTE, [Shares(0.5, 0.1)], NOW_S).decode()
    for family in text_string_to_metric_families(text):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert f"| `{family.name}` | {family.type} | {', '.join(f'`{label}`' for label in sorted(labels))} |" in PAGE


def test_the_page_on_the_control_api_has_both_routes() -> None:
    page = (ROOT / "docs" / "control-api.md").read_text()
    assert f"`GET {SERVER_PATH}`" in page
    assert "`GET …/{name}/metrics`" in page


def series_names() -> set[str]:
    """Every name that can stand in an expression."""
    names = set()
    for metric in METRICS:
        suffixes = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        names |= {metric.name + suffix for suffix in suffixes}
    return names


def expressions(value: Any) -> Iterator[str]:
    """Every query of a dashboard, wherever it stands."""
    if isinstance(value, dict):
        yield from (
            text for key, text in value.items() if key in ("expr", "query", "definition") and isinstance(text, str)
        )
        for inner in value.values():
            yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


def dashboard() -> Any:
    return json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())


def test_the_dashboard_asks_for_metrics_and_labels_that_there_are() -> None:
    labels = {label for metric in METRICS for label in metric.labels} | {"le"}
    asked = list(expressions(dashboard()))
    assert len(asked) > 40
    for text in asked:
        assert set(re.findall(r"\btallystick_\w+", text)) <= series_names(), text
        for group in re.findall(r"\b(?:by|on|without) \(([^)]*)\)", text):
            assert set(filter(None, re.split(r"[, ]+", group))) <= labels, text
        for label in re.findall(r"(\w+)\s*=~?\"", text):
            assert label in labels, text


def test_the_dashboard_shows_every_metric() -> None:
    used = set(re.findall(r"\btallystick_\w+", " ".join(expressions(dashboard()))))
    unused = {metric.name for metric in METRICS if not any(name.startswith(metric.name) for name in used)}
    assert unused == set()


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells


def test_the_alerts_name_metrics_that_there_are() -> None:
    text = (ROOT / "deploy" / "prometheus.yml").read_text()
    asked = set(re.findall(r"\btallystick_\w+", text))
    assert asked
    assert asked <= series_names()
