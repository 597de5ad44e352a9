"""Rows as they were sent: what bodies say that the decoded view does not, and what is nobody's fault."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from monitor_rows import ENTITY, Line, Table, endpoint, frame

from tallystick.gate.report import GateReport, Outcome, Rung, RungReport
from tallystick.monitor import sent as sending
from tallystick.monitor.bodies import column_of, rows_of
from tallystick.monitor.explain import Explained, Place, cast_to_training, explain_each
from tallystick.monitor.ondemand import Asked, diagnose_endpoint, rows_to_judge, sent_to_judge
from tallystick.monitor.places import WatchedEndpoint, watched_endpoints
from tallystick.monitor.replays import split_body
from tallystick.parity import Reference
from tallystick.parity.kinds import Family, Status
from tallystick.parity.words import headline
from tallystick.protocol.monitoring import Replayed, Replaying
from tallystick.protocol.routes import Capture, EndpointRoute, EndpointState, RouteTable
from tallystick.records import schema
from tallystick.records.delta import DeltaWriter
from tallystick.records.reading import InferenceTable

REFUSAL = {
    "status_code": 400,
    "error_code": "BAD_REQUEST",
    "response": '{"error_code": "BAD_REQUEST", "message": "Column \'temp\': got \'12,5\', expected a number (double)."}',
}
TYPES = {"temp": "double", "hum": "double", "wind": "double", "kind": "string", "trips": "long", "day": "datetime"}


def rides(rows: int, seed: int = 0) -> pd.DataFrame:
    """Rows with a count of many values and a date beside numbers and a level."""
    found = frame(rows, seed)
    random = np.random.default_rng(seed + 1000)
    found["trips"] = (5000 + 80 * found["temp"] + random.normal(0, 300, rows)).round().astype("int64")
    found["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 300, rows), unit="D")
    return found


@pytest.fixture(scope="module")
def trained() -> Reference:
    return Reference.from_frame(rides(3000, 100))


@pytest.fixture
def place(tmp_path: Path, trained: Reference) -> WatchedEndpoint:
    trained.save(tmp_path / "models" / ("d" * 64) / "parity")
    made = endpoint(tmp_path)
    # The signature is what makes the decoded view blunt.
    columns = json.dumps([{"type": kind, "name": name, "required": False} for name, kind in TYPES.items()])
    row = dict.fromkeys(schema.ENTITY_SCHEMA.names) | {
        "served_entity_id": ENTITY,
        "change_time": datetime.now(UTC) - timedelta(days=1),
        "signature": json.dumps({"inputs": columns}),
    }

    location = str(Path(made.table).parent / schema.ENTITY_TABLE)
    writer = DeltaWriter(location, schema.ENTITY_SCHEMA, None)
    writer.append(pa.Table.from_pylist([row], schema=schema.ENTITY_SCHEMA), {"e": 1})
    return made


class Sender:
    """Clients that send rows, each row by itself."""

    def __init__(self, place: WatchedEndpoint) -> None:
        self._table = Table(place)

    def send(self, rows: pd.DataFrame, agent: str, **values: Any) -> None:
        for name in rows.columns:
            if str(rows[name].dtype).startswith("datetime"):
                rows = rows.assign(**{name: rows[name].dt.strftime("%Y-%m-%dT%H:%M:%S")})
        self._table.add(rows, agent, **values)


@pytest.fixture
def sender(place: WatchedEndpoint) -> Sender:
    return Sender(place)


def diagnosed(place: WatchedEndpoint) -> Explained:
    ((_, looked),) = diagnose_endpoint(place, "", Asked(timedelta(hours=1)), None, datetime.now(UTC))
    return looked.found[0]


# -- bodies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"a": 1, "b": "2,5"}, {"a": None, "b": "x"}]},
        {"dataframe_split": {"columns": ["a", "b"], "index": [7, 8], "data": [[1, "2,5"], [None, "x"]]}},
        {"inputs": {"a": [1, None], "b": ["2,5", "x"]}, "params": {"p": 1}},
        {"inputs": [{"a": 1, "b": "2,5"}, {"a": None, "b": "x"}]},
        {"instances": [{"a": 1, "b": "2,5"}, {"a": None, "b": "x"}]},
    ],
)
def test_each_form_of_a_body_gives_the_same_raw_rows(body: Any) -> None:
    assert rows_of(json.dumps(body).encode()) == [{"a": 1, "b": "2,5"}, {"a": None, "b": "x"}]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1, 2]",
        b"\xff",
        b"[" * 100_000,
        b'{"inputs": [[1.0, 2.0]]}',
        b'{"inputs": {"a": [1], "b": [1, 2]}}',
        b'{"instances": [1, 2]}',
        b'{"instances": [{"a": 1}], "inputs": {"a": [1]}}',
        b'{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}',
        b'{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}',
        b'{"dataframe_split": []}',
        b'{"dataframe_records": 3}',
    ],
)
def test_what_is_no_json_of_named_columns_has_no_rows(body: bytes) -> None:
    assert rows_of(body) is None


@pytest.mark.parametrize(
    ("name", "values", "dtype"),
    [
        ("temp", [1, 2], "float64"),
        ("temp", [1, None, 2.5], "float64"),
        ("trips", [1, 2.0], "int64"),
        ("trips", [1, None], "Int64"),
        ("trips", [0.005, 1], "float64"),
        ("trips", [2**80, 10**400], "float64"),
        ("temp", ["12.5", 1.0], "object"),
        ("kind", ["ice", 1, None], "object"),
        ("day", ["2024-01-31", "2024-01-31T13:45:00", None], "datetime64"),
        ("day", [1.7e9, 1.8e9], "float64"),
    ],
)
def test_values_of_trainings_type_end_as_its_dtype_and_others_stay_as_they_are(
    trained: Reference, name: str, values: list[Any], dtype: str
) -> None:
    made = column_of(values, trained.column(name))
    assert str(made.dtype).partition("[")[0] == dtype
    if dtype == "object":
        assert made.tolist() == values


# -- sound traffic -------------------------------------------------------------------------------------------


def floats_for_longs(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(trips=rows["trips"].astype("float64"))


def ints_for_doubles(rows: pd.DataFrame) -> pd.DataFrame:
    whole = rows["wind"] == rows["wind"].round()
    return rows.assign(wind=[int(v) if w else v for v, w in zip(rows["wind"].tolist(), whole, strict=True)])


@pytest.mark.parametrize("changed", [lambda rows: rows, floats_for_longs, ints_for_doubles])
def test_sound_rows_have_the_same_verdict_as_sent_and_as_the_model_saw_them(
    place: WatchedEndpoint, sender: Sender, trained: Reference, changed: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    sender.send(changed(rides(150, 1)), "android/7.1")
    sender.send(changed(rides(150, 2)), "ios/4.2")
    table, now = InferenceTable(place.table), datetime.now(UTC)
    rows, _ = rows_to_judge(table, ENTITY, trained, timedelta(hours=1), now)
    sent, _ = sent_to_judge(table, ENTITY, trained, timedelta(hours=1), now)
    assert sent.rows.frame.dtypes.astype(str).to_dict() == rows.frame[list(trained.names)].dtypes.astype(str).to_dict()
    seen, as_sent = (explain_each(trained, each, Place("", ""), None).found[0].verdict for each in (rows, sent))
    assert seen.status is Status.CONSISTENT
    assert (as_sent.status, as_sent.kind, as_sent.rows) == (seen.status, seen.kind, seen.rows)


def test_nulls_are_nulls_however_they_are_read(place: WatchedEndpoint, sender: Sender, trained: Reference) -> None:
    rows = rides(200, 1).astype({"kind": object, "temp": object})
    rows.loc[::3, ["kind", "temp"]] = None
    sender.send(rows, "android/7.1")
    table, now = InferenceTable(place.table), datetime.now(UTC)
    seen, _ = rows_to_judge(table, ENTITY, trained, timedelta(hours=1), now)
    as_seen = explain_each(trained, seen, Place("", ""), None).found[0].verdict
    as_sent = diagnosed(place).verdict
    assert (as_seen.kind, set(as_seen.features)) == ("nulls", {"kind", "temp"})
    assert (as_sent.kind, as_sent.features, as_sent.share) == (as_seen.kind, as_seen.features, as_seen.share)


# -- faults of form ------------------------------------------------------------------------------------------


def test_numbers_sent_as_text_are_seen_though_the_model_got_numbers(place: WatchedEndpoint, sender: Sender) -> None:
    sender.send(rides(120, 1), "android/7.1")
    sender.send(rides(60, 2).assign(temp=lambda rows: rows["temp"].astype(str)), "ios/4.2")
    verdict = diagnosed(place).verdict
    assert (verdict.status, verdict.kind, verdict.features) == (Status.CAUSE_FOUND, "numeric_as_text", ("temp",))
    assert verdict.segment["value"] == "ios/4.2"


def test_a_decimal_comma_that_is_refused_is_found_with_its_client_and_the_refusal(
    place: WatchedEndpoint, sender: Sender
) -> None:
    sender.send(rides(120, 1), "android/7.1")
    comma = rides(60, 2).assign(temp=lambda rows: rows["temp"].astype(str).str.replace(".", ","))
    sender.send(comma, "ios/4.2", request_rows=None, **REFUSAL)
    explained = diagnosed(place)
    verdict = explained.verdict
    assert (verdict.kind, verdict.features, verdict.rows) == ("decimal_comma", ("temp",), 180)
    assert verdict.segment["value"] == "ios/4.2"
    assert verdict.evidence[-1].text == (
        "60 of 60 requests of this client were refused with 400: BAD_REQUEST Column 'temp': got '…', "
        "expected a number (double)"
    )
    assert all("," in row.sent["temp"] for row in explained.examples)


def test_only_refused_requests_are_judged_too(place: WatchedEndpoint, sender: Sender) -> None:
    sender.send(rides(60, 2).assign(temp="12,5"), "ios/4.2", request_rows=None, **REFUSAL)
    verdict = diagnosed(place).verdict
    assert verdict.kind == "decimal_comma"
    assert verdict.evidence[-1].text.startswith(
        "60 of 60 requests were refused with 400, all of client ios/4.2: BAD_REQUEST"
    )


def test_refused_requests_without_a_fault_leave_the_others_verdict_alone(
    place: WatchedEndpoint, sender: Sender
) -> None:
    sender.send(rides(120, 1), "android/7.1")
    sender.send(rides(5, 2), "curl/8.1", request="{", **REFUSAL)
    verdict = diagnosed(place).verdict
    assert (verdict.status, verdict.rows) == (Status.CONSISTENT, 120)
    assert verdict.evidence[-1].text.startswith("5 of 125 requests were refused")
    assert any("bodies of 5 refused requests" in limit for limit in verdict.degraded)


@pytest.mark.parametrize("status", [200, 400])
def test_a_list_in_one_request_takes_out_its_row_and_blinds_nobody(
    place: WatchedEndpoint, sender: Sender, status: int
) -> None:
    sender.send(rides(120, 1), "android/7.1")
    sender.send(rides(80, 2).assign(kind=lambda rows: rows["kind"].str.upper()), "ios/4.2")
    odd = rides(1, 3).assign(kind=[["x"]])
    sender.send(odd, "curl/8.1", **(REFUSAL | {"request_rows": None} if status == 400 else {}))
    verdict = diagnosed(place).verdict
    assert (verdict.status, verdict.kind, verdict.features) == (Status.CAUSE_FOUND, "letter_case", ("kind",))
    assert verdict.rows == 200
    assert "1 row not compared, for lists or objects in kind" in verdict.degraded
    assert not any("not recorded as they were sent" in limit for limit in verdict.degraded)


ZONED = REFUSAL | {
    "request_rows": None,
    "response": json.dumps(
        {
            "error_code": "BAD_REQUEST",
            "message": "The input does not fit the model's signature: dataframe_records[0].day: got text "
            "'2024-01-27T15:51:00.000Z', expected a date without a zone",
        }
    ),
}


def zoned(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(day=rows["day"].dt.strftime("%Y-%m-%dT%H:%M:%S.000Z"))


def test_a_client_that_is_always_refused_is_named_first_and_nothing_is_consistent(
    place: WatchedEndpoint, sender: Sender
) -> None:
    sender.send(rides(80, 1), "android/7.1")
    sender.send(zoned(rides(80, 2)), "webapp/3.1", **ZONED)
    verdict = diagnosed(place).verdict
    assert (verdict.status, verdict.family, verdict.kind) == (Status.CANNOT_TELL, Family.SCHEMA, "")
    assert verdict.segment["value"] == "webapp/3.1"
    assert "80 of 80 requests of client webapp/3.1 are refused with 400: BAD_REQUEST" in verdict.evidence[0].text
    assert headline(verdict).startswith("Requests of client webapp/3.1")
    assert "].day:" in verdict.evidence[0].text
    assert "15:51" not in str(verdict)
    assert "webapp/3.1 send day " in verdict.fix
    assert "webapp/3.1" in " ".join(str(verdict).splitlines()[:3])


def test_a_client_that_is_always_refused_is_told_beside_anothers_cause(place: WatchedEndpoint, sender: Sender) -> None:
    sender.send(rides(120, 1), "android/7.1")
    sender.send(rides(80, 2).assign(kind=lambda rows: rows["kind"].str.upper()), "ios/4.2")
    sender.send(zoned(rides(40, 3)), "webapp/3.1", **ZONED)
    verdict = diagnosed(place).verdict
    assert (verdict.status, verdict.kind) == (Status.CAUSE_FOUND, "letter_case")
    (also,) = verdict.also
    assert also.startswith("40 of 40 requests of client webapp/3.1 are refused with 400: BAD_REQUEST")


def test_a_refusal_that_the_cause_explains_is_told_once(place: WatchedEndpoint, sender: Sender) -> None:
    sender.send(rides(120, 1), "android/7.1")
    sender.send(rides(60, 2).assign(temp="12,5"), "ios/4.2", request_rows=None, **REFUSAL)
    verdict = diagnosed(place).verdict
    assert (verdict.kind, verdict.also) == ("decimal_comma", ())


def test_another_clients_refused_rows_take_the_prediction_again_from_nobody(
    place: WatchedEndpoint, sender: Sender
) -> None:
    # With a model whose predictions were kept, so that what undoing does to them is asked for.
    known = Reference.from_frame(rides(3000, 100), lambda rows: rows["temp"].to_numpy(dtype=float))
    known.save(place.folder.parents[1] / "models" / ("d" * 64) / "parity")
    sender.send(rides(100, 1), "web/2.1")
    sender.send(rides(80, 2).assign(temp=lambda sent: sent.temp * 100), "ios/4.2")
    nulls = json.dumps({"dataframe_records": [dict.fromkeys(TYPES)]})
    sender.send(rides(3, 3), "etl/2.0", **REFUSAL | {"request_rows": None, "request": nulls})

    class Replica(Line):
        def ask(self, what: Replaying, endpoint: str, served_entity: str, body: bytes = b"", **_: Any) -> Replayed:
            if what is Replaying.CHECK:
                rungs = (RungReport(Rung.ENVIRONMENT, Outcome.PASSED), RungReport(Rung.PREDICTION, Outcome.PASSED))
                report = GateReport(Outcome.PASSED, digest="d" * 64, rows=64, rungs=rungs)
                return Replayed(1, msgspec.json.encode({"one": report}))
            rows = [dict(zip(TYPES, row, strict=False)) for row in json.loads(body)["dataframe_split"]["data"]]
            if any(row["temp"] is None for row in rows):
                return Replayed(1, problem="data[177][0] is null")
            return Replayed(1, json.dumps({"predictions": [row["temp"] for row in rows]}).encode())

    asked = Asked(timedelta(hours=1))
    ((_, looked),) = diagnose_endpoint(place, "", asked, Replica(), datetime.now(UTC))
    verdict = looked.found[0].verdict
    assert (verdict.kind, verdict.segment["value"]) == ("unit", "ios/4.2")
    assert "intervention" in {each.question for each in verdict.evidence}
    assert not [limit for limit in verdict.degraded if "predict" in limit]


@pytest.mark.parametrize("answers", [["warm", "cold"], [1.0, 2.0]])
def test_a_refused_request_takes_no_prediction_from_the_others(
    place: WatchedEndpoint, sender: Sender, trained: Reference, answers: list[Any]
) -> None:
    for number, answer in enumerate(answers):
        sender.send(rides(3, number), "android/7.1", response=json.dumps({"predictions": [answer]}))
    sender.send(rides(1, 9).assign(temp="12,5"), "ios/4.2", request_rows=None, **REFUSAL)
    table = InferenceTable(place.table)
    sent, _ = sent_to_judge(table, ENTITY, trained, timedelta(hours=1), datetime.now(UTC))
    given = [None if pd.isna(value) else value for value in sent.rows.predictions]
    # Rows of one moment stand in any order.
    assert Counter(given) == {answers[0]: 3, answers[1]: 3, None: 1}
    answered = sent.taken(np.flatnonzero(~sent.is_refused)).rows.predictions.tolist()
    assert Counter(answered) == {answers[0]: 3, answers[1]: 3}


def test_a_count_sent_in_thousands_is_a_unit_and_no_default(place: WatchedEndpoint, sender: Sender) -> None:
    sender.send(rides(200, 1), "android/7.1")
    sender.send(rides(100, 2).assign(trips=lambda rows: rows["trips"] / 1e6), "ios/4.2")
    verdict = diagnosed(place).verdict
    assert (verdict.kind, verdict.features) == ("unit", ("trips",))
    assert verdict.transformation["factor"] == pytest.approx(1e-6)
    assert verdict.segment["value"] == "ios/4.2"


@pytest.mark.parametrize(
    ("change", "kind", "features"),
    [
        ({"drop": ["temp"]}, "missing_column", ("temp",)),
        ({"drop": ["temp", "kind"]}, "missing_column", ("temp", "kind")),
        ({"rename": {"temp": "temperature"}}, "renamed_column", ("temp",)),
        ({"rename": {"temp": "t2"}}, "renamed_column", ("temp",)),
        ({"more": "build"}, "extra_column", ("build",)),
    ],
)
@pytest.mark.parametrize("is_refused", [False, True])
def test_other_columns_in_one_of_two_clients_are_named_with_it(
    place: WatchedEndpoint,
    sender: Sender,
    change: dict[str, Any],
    kind: str,
    features: tuple[str, ...],
    is_refused: bool,
) -> None:
    rows = rides(100, 2)
    rows = rows.drop(columns=change.get("drop", [])).rename(columns=change.get("rename", {}))
    rows = rows.assign(**{change["more"]: 7}) if "more" in change else rows
    sender.send(rides(200, 1), "android/7.1")
    sender.send(rows, "ios/4.2", **(REFUSAL if is_refused else {}))
    verdict = diagnosed(place).verdict
    assert (verdict.status, verdict.kind, verdict.features) == (Status.CAUSE_FOUND, kind, features)
    segment = verdict.segment
    assert (segment["column"], segment["value"]) == ("client", "ios/4.2")
    assert segment["share_of_rows"] == pytest.approx(1 / 3)
    assert (segment["affected_inside"], segment["affected_outside"]) == (1.0, 0.0)
    assert "client ios/4.2 (33 % of requests)" in str(verdict)


def test_a_column_that_nobody_sends_is_missing_and_no_client_is_named(place: WatchedEndpoint, sender: Sender) -> None:
    sender.send(rides(60, 1).drop(columns="temp"), "android/7.1")
    sender.send(rides(60, 2).drop(columns="temp"), "ios/4.2")
    verdict = diagnosed(place).verdict
    assert (verdict.kind, verdict.features, verdict.segment) == ("missing_column", ("temp",), {})


def test_a_column_that_few_rows_of_several_clients_lack_is_missing_and_not_null(
    place: WatchedEndpoint, sender: Sender
) -> None:
    sender.send(rides(300, 1), "android/7.1")
    for client in ("curl/8.1", "httpie/3.2"):
        sender.send(rides(4, 2).drop(columns="temp"), client, request_rows=None, **REFUSAL)
    verdict = diagnosed(place).verdict
    assert (verdict.family, verdict.kind, verdict.features) == (Family.SCHEMA, "missing_column", ("temp",))
    assert (verdict.transformation, verdict.fix) == ({"columns": ["temp"]}, "send the column")


def test_a_stronger_cause_elsewhere_is_not_hidden_by_a_column_that_is_more(
    place: WatchedEndpoint, sender: Sender
) -> None:
    sender.send(rides(200, 1).assign(temp=lambda rows: rows["temp"] * 100), "android/7.1")
    sender.send(rides(100, 2).assign(build=7), "ios/4.2")
    assert diagnosed(place).verdict.kind == "unit"


# -- what is not on record -----------------------------------------------------------------------------------


def test_dropped_and_hashed_columns_are_not_accused(place: WatchedEndpoint, sender: Sender) -> None:
    hidden = replace(place, hidden=frozenset({"temp", "kind"}))
    recorded = rides(200, 1).drop(columns="temp").assign(kind="0a1b2c3d4e5f6071")
    sender.send(recorded, "android/7.1")
    verdict = diagnosed(hidden).verdict
    assert verdict.status is Status.CONSISTENT
    assert any("not recorded as they were sent: kind, temp" in limit for limit in verdict.degraded)
    # Without knowing of it, they would be.
    assert diagnosed(place).verdict.kind == "missing_column"


def test_a_fault_beside_a_dropped_column_is_found(place: WatchedEndpoint, sender: Sender) -> None:
    hidden = replace(place, hidden=frozenset({"kind"}))
    sender.send(rides(200, 1).drop(columns="kind").assign(temp=lambda rows: rows["temp"] * 100), "android/7.1")
    verdict = diagnosed(hidden).verdict
    assert (verdict.kind, verdict.features) == ("unit", ("temp",))


def test_columns_that_look_hashed_are_not_accused_by_a_table_alone(place: WatchedEndpoint, sender: Sender) -> None:
    sender.send(rides(100, 1).assign(kind=[f"a{n:015x}" for n in range(100)]), "android/7.1")
    verdict = diagnosed(place).verdict
    assert verdict.status is Status.CONSISTENT
    assert any("not recorded as they were sent: kind" in limit for limit in verdict.degraded)


def test_the_settings_of_capture_say_which_columns_are_hidden(tmp_path: Path) -> None:
    capture = Capture(table="t", drop=("request.ssn", "requester"), hash=("request.name",))
    route = EndpointRoute("i", "churn", "root", EndpointState.SERVING, 1, (), capture=capture)
    found = watched_endpoints(RouteTable(1, {"churn": route}), tmp_path, str(tmp_path))["churn"]
    assert found.hidden == {"ssn", "name"}


# -- bounds and replicas -------------------------------------------------------------------------------------


def test_refused_rows_bytes_and_columns_are_bounded(
    place: WatchedEndpoint, sender: Sender, trained: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "MAX_REFUSED_ROWS", 10)
    monkeypatch.setattr(sending, "MAX_REQUEST_ROWS", 4)
    monkeypatch.setattr(sending, "MAX_EXTRA", 3)
    many = [{"temp": "1,5", **{f"x{n}": 1 for n in range(20)}}] * 50
    sender.send(rides(40, 1), "android/7.1")
    sender.send(rides(8, 2), "ios/4.2", request=json.dumps({"dataframe_records": many}), **REFUSAL)

    def read() -> Any:
        return sent_to_judge(InferenceTable(place.table), ENTITY, trained, None, datetime.now(UTC))[0]

    sent = read()
    assert (len(sent), int(sent.is_refused.sum()), len(sent.extra)) == (50, 10, 3)
    assert sent.refusals.refused == {"ios/4.2": 8}
    monkeypatch.setattr(sending, "MAX_BYTES", 0)
    sender.send(rides(3, 1), "android/7.1", request_bytes=1000)
    sent = read()
    assert any("3 rows were compared as the model saw them" in note for note in sent.notes)


def test_other_bodies_than_json_are_compared_as_the_model_saw_them(place: WatchedEndpoint, sender: Sender) -> None:
    rows = rides(80, 1)
    csv = rows.to_csv(index=False)
    sender.send(rows.head(1), "r/4.3", request=csv, request_content_type="text/csv", request_rows=80)
    verdict = diagnosed(place).verdict
    assert (verdict.status, verdict.rows) == (Status.CONSISTENT, 80)
    assert any("80 rows were compared as the model saw them" in limit for limit in verdict.degraded)


def test_rows_as_sent_are_cast_before_a_replica_gets_them(trained: Reference) -> None:
    rows = rides(3, 1).assign(trips=[0.005, np.nan, 7.0])
    body = json.loads(split_body(cast_to_training(trained, rows)))["dataframe_split"]
    place = body["columns"].index("trips")
    assert [row[place] for row in body["data"]] == [0, None, 7]


# -- several senders -----------------------------------------------------------------------------------------


def test_each_client_with_a_fault_of_its_own_gets_its_verdict(place, sender):
    """Told together, the stronger would hide the other, and only one of them would be mended."""
    sender.send(rides(150, 1), "web/2.1")
    sender.send(rides(120, 2).assign(temp=lambda sent: sent.temp * 100), "ios/4.2")
    sender.send(rides(120, 3).assign(kind=lambda sent: sent.kind.str.upper()), "android/7.1")
    ((_, looked),) = diagnose_endpoint(place, "", Asked(timedelta(hours=1)), None, datetime.now(UTC))
    told = {(each.verdict.kind, each.verdict.features, each.verdict.segment.get("value")) for each in looked.found}
    assert looked.is_clean
    assert looked.senders()["client", "ios/4.2"] == 120
    assert looked.senders(datetime.now(UTC)) == {}
    assert told == {("unit", ("temp",), "ios/4.2"), ("letter_case", ("kind",), "android/7.1")}


def test_two_clients_with_faults_of_one_kind_get_a_verdict_each(place, sender):
    sender.send(rides(150, 1), "web/2.1")
    sender.send(rides(120, 2).assign(temp=lambda sent: sent.temp * 100), "ios/4.2")
    sender.send(rides(120, 3).assign(wind=lambda sent: sent.wind * 1000), "android/7.1")
    ((_, looked),) = diagnose_endpoint(place, "", Asked(timedelta(hours=1)), None, datetime.now(UTC))
    told = {(each.verdict.kind, each.verdict.features, each.verdict.segment.get("value")) for each in looked.found}
    assert told == {("unit", ("temp",), "ios/4.2"), ("unit", ("wind",), "android/7.1")}
    first, second = (each.verdict for each in looked.found)
    assert [round(each.segment["share_of_rows"], 2) for each in (first, second)] == [0.31, 0.31]
    assert f"judged without the 120 rows of client {first.segment['value']}, where unit was found" in second.degraded
