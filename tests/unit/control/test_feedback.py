"""Feedback: what is read from JSON and CSV, what is refused, and what reaches the journal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from tallystick.auth import Principal
from tallystick.control import feedback_api
from tallystick.control.api import create_app
from tallystick.control.api_rules import Rule, principal_by_token, rule_of
from tallystick.control.feedback import MAX_VALUES, Line, parse_cell, parse_feedback, records_of
from tallystick.control.feedback_api import PATHS, add_feedback_routes
from tallystick.control.journal import MemoryJournal, Tables
from tallystick.control.memory_store import MemoryStore
from tallystick.control.service import Service, build_service
from tallystick.errors import BadRequest, InvalidInput, InvalidParameter
from tallystick.journal.format import Feedback

ROOT = Principal("root", is_admin=True)
JSON, CSV = "application/json", "text/csv; charset=utf-8"
LABEL = Line("a", None, 0, "label", 1.0)


def of_json(body: Any) -> list[Line]:
    return parse_feedback(JSON, json.dumps(body).encode())


def of_csv(*lines: str) -> list[Line]:
    return parse_feedback(CSV, "\n".join(lines).encode())


# -- JSON ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["request_id", "databricks_request_id"])
def test_a_line_names_an_invocation_by_either_spelling_of_our_id(key: str) -> None:
    assert of_json({key: "a", "label": 1}) == [LABEL]


def test_our_id_goes_before_the_one_of_the_client() -> None:
    assert of_json({"client_request_id": "c", "label": 1}) == [Line(None, "c", 0, "label", 1.0)]
    assert of_json({"request_id": "a", "client_request_id": "c", "label": 1}) == [LABEL]


def test_all_spellings_of_values_may_be_mixed() -> None:
    line = {"request_id": "a", "row": "3", "label": True, "outcome": "left", "name": "spent", "value": 2.5}
    assert of_json(line | {"values": {"days": 30, "note": None}}) == [
        Line("a", None, 3, "label", 1.0),
        Line("a", None, 3, "outcome", "left"),
        Line("a", None, 3, "days", 30.0),
        Line("a", None, 3, "spent", 2.5),
    ]


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ({"label": 1}, "request_id: is missing"),
        ({"request_id": "", "label": 1}, "1 to 256 characters"),
        ({"request_id": "x" * 257, "label": 1}, "1 to 256 characters"),
        ({"request_id": 7, "label": 1}, "expected a string, got number 7"),
        ({"request_id": "a", "databricks_request_id": "b", "label": 1}, "give one of the two"),
        ({"request_id": "a"}, "has no value"),
        ({"request_id": "a", "label": None}, "has no value"),
        ({"request_id": "a", "lable": 1}, "lable: is unknown"),
        ({"request_id": "a", "label": 1, "row": -1}, "row: expected an integer from 0"),
        ({"request_id": "a", "label": 1, "row": 0.5}, "row: expected an integer from 0"),
        ({"request_id": "a", "label": 1, "row": True}, "row: expected an integer from 0"),
        ({"request_id": "a", "label": [1]}, "label: expected a number, true, false or a string, got a list"),
        ({"request_id": "a", "label": "x" * 1025}, "longer than 1024"),
        ({"request_id": "a", "label": 2**53 + 1}, "send it as a string"),
        ({"request_id": "a", "values": {"1x": 1}}, "'1x' is not a name"),
        ({"request_id": "a", "values": [1]}, "values: expected an object"),
        ({"request_id": "a", "name": "x"}, "go together"),
        ({"request_id": "a", "label": 1, "values": {"label": 2}}, "label: is given twice"),
    ],
)
def test_what_is_wrong_with_a_line_is_told_with_its_place(line: dict[str, Any], part: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        of_json({"feedback": [{"request_id": "a", "label": 1}, line]})
    assert part in raised.value.message
    assert "feedback[1]" in raised.value.message
    assert "feedback[0]" not in raised.value.message


def test_every_problem_is_told_up_to_twenty() -> None:
    with pytest.raises(InvalidInput) as raised:
        of_json({"feedback": [{"label": 1}] * 30})
    assert "feedback[19]" in raised.value.message
    assert "feedback[20]" not in raised.value.message
    assert "and 10 more" in raised.value.message


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"1", b'{"feedback": 1}', b'{"feedback": [], "request_id": "a"}', b"[" * 100_000, b"\xff"],
)
def test_what_is_no_feedback_at_all_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_feedback(JSON, body)


def test_empty_feedback_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="no value"):
        of_json({"feedback": []})
    with pytest.raises(InvalidParameter, match="no value"):
        of_csv("request_id,label", "a,")


def test_more_values_than_a_request_may_have_are_refused() -> None:
    assert parse_feedback.__defaults__ == (MAX_VALUES,)
    file = "\n".join(["request_id,label,outcome", *(f"a{number},1,2" for number in range(500))]).encode()
    assert len(parse_feedback(CSV, file, 1000)) == 1000
    with pytest.raises(InvalidParameter, match="More than 1000 values"):
        parse_feedback(CSV, file + b"\nb,1,", 1000)


# -- CSV -----------------------------------------------------------------------------------------------------


def test_every_other_column_is_a_value_and_empty_cells_are_none() -> None:
    found = of_csv(
        "_request_id,_client_request_id,_row,label,spent", "a,,2,yes,", ",c,,,1.5", "a,c,0,007,", "", "z,,,,"
    )
    assert found == [
        Line("a", None, 2, "label", "yes"),
        Line(None, "c", 0, "spent", 1.5),
        Line("a", None, 0, "label", "007"),
    ]


def test_spreadsheets_may_write_a_mark_and_line_ends_of_their_own() -> None:
    assert parse_feedback(CSV, b"\xef\xbb\xbfrequest_id,label\r\na,1\r\n") == [LABEL]
    assert of_csv("request_id,label", '"a","two\nlines"')[0].value == "two\nlines"


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        (["label", "1"], "no column of ids"),
        (["request_id,row", "a,1"], "no column of values"),
        (["request_id,my label", "a,1"], "'my label' is not a name"),
        (["request_id,label,label", "a,1,2"], "there twice"),
        (["request_id,label", "a,1", "b"], "line 3: 1 cells, and the header has 2"),
        (["request_id,label", "a,1", ",1"], "line 3: has no id"),
        (["request_id,label", '"a","x\ny"', ",1"], "line 4: has no id"),
        (["request_id,label", "a" * 257 + ",1"], "1 to 256 characters"),
        (["request_id,row,label", "a,x,1"], "line 2: row: expected an integer from 0, got string 'x'"),
        (["request_id,label", "a," + "x" * 1025], "label: is longer than 1024 characters"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(lines: list[str], part: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        of_csv(*lines)
    assert part in raised.value.message


@pytest.mark.parametrize(
    "body", [b"", b'request_id,label\na,"x', b"request_id,label\na,\xff", b'request_id,label\na,"x"y']
)
def test_a_file_that_is_no_csv_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_feedback(CSV, body)


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "0x10", "1_000", "٣", "12345678901234567890", "1,5"])
def test_cells_that_are_no_exact_number_stay_text(text: str) -> None:
    assert parse_cell(text) == text


def test_ids_of_records_sort_as_the_lines_do() -> None:
    made = records_of(
        [LABEL] * 11, endpoint_name="e", table="e_feedback", payload_table="e_payload", time_us=5, batch="b", by="ann"
    )
    ids = [record.feedback_id for record in made]
    assert ids == sorted(set(ids))


# -- the routes ----------------------------------------------------------------------------------------------


class Logs:
    async def build_log(self, _entity_id: str) -> str:
        return ""

    async def server_log(self, _entity_id: str) -> str:
        return ""


async def status() -> dict[str, Any]:
    return {}


@pytest.fixture
def service(tmp_path: Path) -> Service:
    given = (f"{number:032x}" for number in range(1000))
    made = build_service(
        MemoryStore(), tmp_path, now_ms=lambda: 1000, new_id=lambda: next(given), on_change=lambda: None
    )
    made.create_endpoint(ROOT, {"name": "churn"})
    return made


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


def client_of(service: Service, journal: MemoryJournal, who: str = "ann") -> httpx.AsyncClient:
    app = create_app(service, Logs(), principal_by_token(service), status)
    add_feedback_routes(app, service, journal)
    token = service.token_service.create(ROOT, {"principal": who})["token_value"]
    headers = {"authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", headers=headers)


@pytest.fixture
async def client(service: Service, journal: MemoryJournal) -> AsyncIterator[httpx.AsyncClient]:
    acl = [{"user_name": "ann", "permission_level": "CAN_QUERY"}, {"user_name": "bob", "permission_level": "CAN_VIEW"}]
    service.update_permissions(ROOT, "churn", {"access_control_list": acl})
    async with client_of(service, journal) as made:
        yield made


@pytest.mark.parametrize("path", PATHS)
async def test_feedback_is_in_the_journal_when_it_is_accepted(
    client: httpx.AsyncClient, journal: MemoryJournal, path: str
) -> None:
    # As curl sends it, unless it is told otherwise.
    headers = {"content-type": "application/x-www-form-urlencoded"}
    body = b'{"client_request_id": "c", "row": 2, "label": "left"}'
    answer = await client.post(path.format(name="churn"), content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"accepted": 1})
    (record,) = journal.records
    assert isinstance(record, Feedback)
    assert record == Feedback(
        record.feedback_id, "churn", "churn_feedback", 1_000_000, None, "c", 2, "label", None, "left", "ann", "churn_payload"
    )  # fmt: skip


async def test_csv_is_taken_by_its_content_type(client: httpx.AsyncClient, journal: MemoryJournal) -> None:
    headers = {"content-type": "text/csv"}
    answer = await client.post(
        "/serving-endpoints/churn/feedback", content=b"request_id,label\na,1\nb,0\n", headers=headers
    )
    assert answer.json() == {"accepted": 2}
    assert len(journal.records) == 2


async def test_one_bad_line_keeps_all_others_out(client: httpx.AsyncClient, journal: MemoryJournal) -> None:
    body = {"feedback": [{"request_id": "a", "label": 1}, {"label": 1}]}
    answer = await client.post("/serving-endpoints/churn/feedback", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert journal.records == []


async def test_who_may_not_query_may_not_tell_either(
    service: Service, client: httpx.AsyncClient, journal: MemoryJournal
) -> None:
    body = {"request_id": "a", "label": 1}
    assert (await client.post("/serving-endpoints/none/feedback", json=body)).status_code == 404
    async with client_of(service, journal, "bob") as viewer, client_of(service, journal, "eve") as stranger:
        assert (await viewer.post("/serving-endpoints/churn/feedback", json=body)).status_code == 403
        assert (await stranger.post("/serving-endpoints/churn/feedback", json=body)).status_code == 404
    assert journal.records == []


def test_who_may_is_asked_before_the_body_is_read(service: Service, journal: MemoryJournal) -> None:
    app = create_app(service, Logs(), principal_by_token(service), status)
    add_feedback_routes(app, service, journal)
    rules = {route.path: rule_of(route.endpoint) for route in app.routes if isinstance(route, APIRoute)}
    assert [rules[path] for path in PATHS] == [Rule.QUERY, Rule.QUERY]


async def test_feedback_that_is_not_safe_is_not_accepted(client: httpx.AsyncClient, journal: MemoryJournal) -> None:
    journal.is_broken = True
    answer = await client.post("/serving-endpoints/churn/feedback", json={"request_id": "a", "label": 1})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"


async def test_larger_bodies_than_those_of_other_requests_are_taken_up_to_a_limit(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers, path = {"content-type": "text/csv"}, "/serving-endpoints/churn/feedback"
    line = b"a," + b"x" * 1000 + b"\n"
    body = b"request_id,label\n" + line * (2 * 1024 * 1024 // len(line))
    assert (await client.post(path, content=body, headers=headers)).status_code == 200
    monkeypatch.setattr(feedback_api, "MAX_BODY_BYTES", 1 << 20)
    assert (await client.post(path, content=body, headers=headers)).status_code == 413


async def test_labels_come_late_and_are_taken_when_recording_is_off_by_then(
    service: Service, client: httpx.AsyncClient, journal: MemoryJournal
) -> None:
    service.put_inference_table(ROOT, "churn", {"enabled": False})
    body = {"request_id": "a", "label": 1}
    assert (await client.post("/serving-endpoints/churn/feedback", json=body)).status_code == 200
    without = dataclasses.replace(service, tables=Tables(are_on=False))
    async with client_of(without, journal) as other:
        answer = await other.post("/serving-endpoints/churn/feedback", json=body)
    assert answer.status_code == 400
    assert "no inference tables" in answer.json()["message"]
    assert len(journal.records) == 1
