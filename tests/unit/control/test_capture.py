"""What is recorded of an endpoint's invocations, from all that was said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tallystick.auth import Principal
from tallystick.control import capture, render
from tallystick.control.capture import capture_of, described, feedback_table, payload_table, shared_table, table_problem
from tallystick.control.fields import fields_of
from tallystick.control.memory_store import MemoryStore
from tallystick.control.object_requests import parse_inference_table
from tallystick.control.route_table import desired_routes
from tallystick.control.service import Service, build_service
from tallystick.entities import Endpoint, EndpointConfig, EndpointId, Level
from tallystick.errors import InvalidParameter
from tallystick.protocol.routes import Capture, Durability, Recorded, Replica, TableStatus
from tallystick.records import schema

ROOT = Principal("root", is_admin=True)
CHURN = {"served_entities": [{"entity_name": "churn", "entity_version": "1"}]}
NAMED = {"catalog_name": "main", "schema_name": "ml", "table_name_prefix": "churn"}
FEATURE = "TELEMETRY_FEATURE_INFERENCE_TABLE"


def endpoint(auto_capture: dict[str, Any] | None = None, name: str = "churn", **extras: Any) -> Endpoint:
    config = EndpointConfig(1, (), (), auto_capture=auto_capture)
    return Endpoint(EndpointId(f"id-{name}"), name, "root", 0, 0, active=config, extras=extras)


def captured(auto_capture: dict[str, Any] | None = None, **extras: Any) -> Capture:
    made = endpoint(auto_capture, **extras)
    return capture_of(made, made.active, default_on=True)


def recorded(**tables: TableStatus) -> Recorded:
    feedback = {"churn": {"matched": 3, "unknown": 1}}
    return Recorded(1, 0.0, 0, 0, 0, 0, 0, 0, tables=dict(tables), feedback=feedback)


def test_every_invocation_is_recorded_where_nobody_says_otherwise() -> None:
    assert captured() == Capture(table="churn_payload")
    assert capture_of(replace(endpoint(), active=None), None, default_on=True) == Capture(table="churn_payload")


@pytest.mark.parametrize(
    ("auto_capture", "extras", "table"),
    [
        (NAMED, {}, "main/ml/churn_payload"),
        ({"schema_name": "ml"}, {}, "ml/churn_payload"),
        ({"table_name_prefix": "p"}, {}, "p_payload"),
        (NAMED | {"enabled": False}, {}, ""),
        (NAMED, {"ai_gateway": {"inference_table_config": {"table_name_prefix": "gw", "enabled": True}}}, "gw_payload"),
        (NAMED, {"ai_gateway": {"inference_table_config": {"table_name_prefix": "gw", "enabled": False}}}, ""),
        (NAMED, {"ai_gateway": {"usage_tracking_config": {"enabled": False}}}, "main/ml/churn_payload"),
        (None, {"telemetry_config": {"inference_table_config": {"name": "main.ml.t"}}}, "main/ml/t_payload"),
        (None, {"telemetry_config": {"inference_table_config": {"name": "t_payload"}}}, "t_payload"),
        (None, {"telemetry_config": {"table_names": {"logs_table": "main.ml.logs"}}}, "main/ml/logs_payload"),
        (None, {"telemetry_config": {"enabled_telemetry_features": ["TELEMETRY_FEATURE_LOGS"]}}, ""),
        (None, {"telemetry_config": {"enabled_telemetry_features": []}}, "churn_payload"),
        (
            NAMED | {"enabled": False},
            {"telemetry_config": {"enabled_telemetry_features": [FEATURE]}},
            "main/ml/churn_payload",
        ),
        ({"enabled": False}, {"inference_table": {"enabled": True}}, "churn_payload"),
        (NAMED, {"inference_table": {"enabled": False}}, ""),
    ],
)
def test_the_later_object_counts(auto_capture: Any, extras: dict[str, Any], table: str) -> None:
    assert captured(auto_capture, **extras).table == table


def test_a_server_without_inference_tables_records_nothing_whatever_is_asked() -> None:
    made = endpoint(NAMED | {"enabled": True}, inference_table={"enabled": True})
    assert capture_of(made, made.active, default_on=False) == Capture()
    assert not described(made, made.active, default_on=False, root="/t", recorded=None)["enabled"]


def test_own_object_says_what_databricks_has_no_field_for() -> None:
    own = {
        "sampling_fraction": 0.5,
        "durability": "power-loss",
        "required": True,
        "max_payload_bytes": 10,
        "drop_columns": ["request.ssn"],
        "hash_columns": ["requester"],
        "retention_days": 90,
    }
    telemetry = {"inference_table_config": {"sampling_fraction": 0.1}}
    assert captured(telemetry_config=telemetry).sampling_fraction == 0.1
    assert captured(telemetry_config=telemetry, inference_table=own) == Capture(
        "churn_payload", 0.5, Durability.POWER_LOSS, True, 10, ("request.ssn",), ("requester",), 90
    )


@pytest.mark.parametrize(
    "bad", ["..", ".hidden", "a/b", "a b", "", "x" * 129, "ä", "served_entities", "x_payload", "y_feedback"]
)
def test_folders_that_are_none_or_would_hold_tables_in_tables_are_refused(bad: str) -> None:
    assert capture.folder_problem(bad)
    # What an older server has stored is left aside.
    if bad:
        assert captured({"catalog_name": bad}).table == "churn_payload"


@pytest.mark.parametrize("name", ["a.b.c.d", "a..b", "../b", "", "served_entities.t"])
def test_names_that_are_no_table_are_refused(name: str) -> None:
    assert table_problem(name)


def test_names_of_tables_are_those_that_the_recorder_knows() -> None:
    assert capture.PAYLOAD_SUFFIX == schema.PAYLOAD_SUFFIX
    for table in ("main/ml/churn_payload", "churn_payload"):
        assert feedback_table(table) == schema.feedback_table(table)
    assert capture.folder_problem(schema.ENTITY_TABLE)


def test_two_endpoints_do_not_share_a_table() -> None:
    first, second = endpoint(), endpoint({"table_name_prefix": "churn"}, name="other")
    assert shared_table(second, [first]) == "churn_payload"
    assert shared_table(first, [first]) is None
    assert shared_table(endpoint(name="other"), [first]) is None


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (None, "pending"),
        (TableStatus(version=-1), "pending"),
        (TableStatus(version=3), "ready"),
        (TableStatus(version=3, problem="the disk is full"), "failed"),
    ],
)
def test_auto_capture_is_echoed_with_the_state_of_its_table(status: TableStatus | None, told: str) -> None:
    made = endpoint(NAMED)
    seen = recorded(**({"main/ml/churn_payload": status} if status is not None else {}))
    echoed = render.detailed(
        made, Level.CAN_VIEW, payload_table=lambda config: payload_table(made, config, default_on=True, recorded=seen)
    )["config"]["auto_capture_config"]
    assert echoed == NAMED | {"state": {"payload_table": echoed["state"]["payload_table"]}}
    assert echoed["state"]["payload_table"]["status"] == told
    assert echoed["state"]["payload_table"]["name"] == "main/ml/churn_payload"


def test_what_is_told_names_places_and_how_far_the_recorder_is() -> None:
    made = endpoint(inference_table={"enabled": False})
    seen = recorded(churn_payload=TableStatus(rows=7, waiting_rows=2, lag_s=0.5, version=4))
    found = described(made, made.active, default_on=True, root="/data/tables", recorded=seen)
    assert (found["enabled"], found["durability"], found["retention_days"]) == (False, "process-crash", 0)
    assert (found["location"], found["feedback_location"]) == (
        "/data/tables/churn_payload",
        "/data/tables/churn_feedback",
    )
    assert found["state"] == {"rows": 7, "waiting_rows": 2, "lag_s": 0.5, "version": 4, "problem": ""}
    assert found["feedback"] == {"matched": 3, "unknown": 1}


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"sampling_fraction": 1.5}, "from 0 to 1"),
        ({"durability": "fsync"}, "none, process-crash, power-loss"),
        ({"max_payload_bytes": (16 << 20) + 1}, "max_payload_bytes"),
        ({"retention_days": -1}, "retention_days"),
        ({"drop_columns": ["latency_ms"]}, "expected one of request, response"),
        ({"drop_columns": ["request."]}, "expected one of request, response"),
        ({"drop_columns": ["requester"], "hash_columns": ["requester"]}, "give it once"),
        ({"required": True, "durability": "none"}, "another durability"),
        ({"enabled": 1}, "expected true or false"),
    ],
)
def test_own_object_is_checked(body: dict[str, Any], part: str) -> None:
    fields = fields_of(body)
    parse_inference_table(fields)
    with pytest.raises(InvalidParameter, match=part):
        fields.refuse_if_wrong("The change")


# -- as use cases ---------------------------------------------------------------------------------------------


@pytest.fixture
def service(tmp_path: Path) -> Service:
    given = (f"{number:032x}" for number in range(1000))
    made = build_service(
        MemoryStore(), tmp_path, now_ms=lambda: 1000, new_id=lambda: next(given), on_change=lambda: None
    )
    made.create_endpoint(ROOT, {"name": "churn", "config": CHURN})
    return made


def table_named(name: str) -> dict[str, Any]:
    return {"telemetry_config": {"inference_table_config": {"name": name}}}


def test_own_object_is_replaced_and_cleared_and_taken_at_creation(service: Service) -> None:
    service.put_inference_table(ROOT, "churn", {"enabled": False, "retention_days": "30", "table": "ignored"})
    changed = service.put_inference_table(ROOT, "churn", {"hash_columns": ["request.ssn", "request.ssn"]})
    assert changed.extras["inference_table"] == {"hash_columns": ["request.ssn"]}
    assert "inference_table" not in service.put_inference_table(ROOT, "churn", {}).extras
    made = service.create_endpoint(ROOT, {"name": "off", "inference_table": {"enabled": False}})
    assert made.extras == {"inference_table": {"enabled": False}}


def test_the_table_of_another_endpoint_cannot_be_taken(service: Service) -> None:
    service.create_endpoint(ROOT, {"name": "other", "config": CHURN})
    with pytest.raises(InvalidParameter, match="another endpoint's"):
        service.put_ai_gateway(
            ROOT, "other", {"inference_table_config": {"table_name_prefix": "churn", "enabled": True}}
        )
    with pytest.raises(InvalidParameter, match="another endpoint's"):
        service.create_endpoint(ROOT, {"name": "third", **table_named("churn")})
    assert [endpoint.name for endpoint in service.endpoints()] == ["churn", "other"]
    assert service.get_endpoint(ROOT, "other").extras == {}
    service.patch_tags(ROOT, "other", {"add_tags": [{"key": "a"}]})


@pytest.mark.parametrize(
    "body",
    [
        {"config": CHURN | {"auto_capture_config": {"catalog_name": "../x"}}},
        {"ai_gateway": {"inference_table_config": {"schema_name": "x_payload"}}},
        {"telemetry_config": {"table_names": {"logs_table": "a.b.c.d"}}},
        {"telemetry_config": {"inference_table_config": {"name": "/etc"}}},
    ],
)
def test_names_that_are_no_folders_are_refused_with_their_place(service: Service, body: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter, match=r"catalog_name|schema_name|logs_table|name: "):
        service.create_endpoint(ROOT, {"name": "x", **body})
    assert len(service.endpoints()) == 1


def test_gateways_are_told_what_to_record(service: Service) -> None:
    def routes(**options: bool) -> Capture:
        table = desired_routes(
            service.endpoints(),
            {},
            {},
            place=lambda key: Replica(key, "", ""),  # type: ignore[arg-type]
            timeout_s=1,
            queue_per_concurrency=1,
            **options,
        )
        return table.endpoints["churn"].capture

    service.put_inference_table(ROOT, "churn", {"sampling_fraction": 0.25})
    assert routes() == Capture(table="churn_payload", sampling_fraction=0.25)
    assert routes(inference_tables=False) == Capture()
