"""An inference table as people read it: streams, the decoded view, feedback, SQL, and the command."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

import tallystick
from tallystick import cli, client
from tallystick.discovery import Server
from tallystick.errors import InvalidParameter, NotFound
from tallystick.records import reading, schema
from tallystick.records.reading import InferenceTable
from tallystick.records.redact import compile_redaction
from tallystick.tables import find_table

START = datetime(2026, 1, 31, 23, 0, tzinfo=UTC)
PAGE = (Path(__file__).parents[3] / "docs" / "inference-table.md").read_text()


def signature_json(outputs: str = "double", **inputs: str) -> str:
    entries = [{"name": name, "type": kind, "required": True} for name, kind in inputs.items()]
    return json.dumps({"inputs": json.dumps(entries), "outputs": json.dumps([{"type": outputs}])})


def invocation(number: int, rows: list[dict[str, Any]], **values: Any) -> dict[str, Any]:
    moment = START + timedelta(minutes=number)
    return {
        "databricks_request_id": f"r{number}",
        "client_request_id": f"c{number}",
        "request_date": moment.date(),
        "request_time": moment,
        "status_code": 200,
        "request": json.dumps({"dataframe_records": rows}),
        "response": json.dumps({"predictions": [number + 0.5 for _ in rows]}),
        "served_entity_id": "e1",
        "served_entity_name": "churn-1",
        "model_version": "1",
        "requester": "ann",
        "arm": "live",
        "latency_ms": float(number),
        "request_rows": len(rows),
        **values,
    }


def line(number: int, request: str | None, row: int, name: str, value: Any, **more: Any) -> dict[str, Any]:
    moment = START + timedelta(hours=1, minutes=number)
    return {
        "feedback_id": f"f{number}",
        "feedback_date": moment.date(),
        "feedback_time": moment,
        "databricks_request_id": request,
        "row": row,
        "name": name,
        "text" if isinstance(value, str) else "value": value,
        **more,
    }


def write(root: Path, table: str, columns: pa.Schema, rows: list[dict[str, Any]], partition: str | None = None) -> None:
    full = [{name: row.get(name) for name in columns.names} for row in rows]
    write_deltalake(
        str(root / table),
        pa.Table.from_pylist(full, schema=columns),
        mode="append",
        partition_by=None if partition is None else [partition],
    )


def write_invocations(root: Path, rows: list[dict[str, Any]]) -> None:
    write(root, "churn_payload", schema.INFERENCE_SCHEMA, rows, "request_date")


def write_entity(root: Path, entity: str, signature: str, minute: int = 0) -> None:
    row = {"served_entity_id": entity, "signature": signature, "change_time": START + timedelta(minutes=minute)}
    write(root, "served_entities", schema.ENTITY_SCHEMA, [row])


def write_feedback(root: Path, *lines: dict[str, Any]) -> None:
    write(root, "churn_feedback", schema.FEEDBACK_SCHEMA, list(lines), "feedback_date")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tables = tmp_path / "tables"
    tables.mkdir()
    write_entity(tables, "e1", signature_json(age="long", plan="string"))
    some = [{"age": 41, "plan": "a"}, {"age": 42, "plan": "b"}]
    write_invocations(
        tables,
        [
            invocation(0, some),
            invocation(1, some[:1], status_code=400, response='{"error_code": "BAD_REQUEST"}'),
            invocation(90, some[:1]),
        ],
    )
    return tables


def open_table(root: Path) -> InferenceTable:
    return InferenceTable(str(root / "churn_payload"))


def test_decoded_view_has_a_line_for_each_row_of_input_that_was_answered(root: Path) -> None:
    table = open_table(root)
    rows = table.to_arrow().sort_by([("_request_time", "ascending"), ("_row", "ascending")])
    assert rows.select(["age", "plan", "prediction", "_request_id", "_row", "_model_version"]).to_pylist() == [
        {"age": 41, "plan": "a", "prediction": 0.5, "_request_id": "r0", "_row": 0, "_model_version": "1"},
        {"age": 42, "plan": "b", "prediction": 0.5, "_request_id": "r0", "_row": 1, "_model_version": "1"},
        {"age": 41, "plan": "a", "prediction": 90.5, "_request_id": "r90", "_row": 0, "_model_version": "1"},
    ]
    assert rows.schema.field("age").type == pa.int64()
    assert rows["label"].null_count == 3
    assert not table.undecoded


def test_feedback_is_joined_by_either_id_and_the_last_wins(root: Path) -> None:
    write_feedback(
        root,
        line(0, "r0", 0, "label", 0.0),
        line(2, "r0", 0, "label", 1.0),
        line(1, None, 0, "label", 5.0, client_request_id="c0"),
        line(9, None, 0, "label", 7.0, client_request_id="c90"),
        line(3, "r0", 1, "why", "too dear"),
        line(4, "nobody", 0, "label", 9.0),
    )
    rows = open_table(root).to_arrow(columns=["_request_id", "_row", "label", "why"])
    assert {(r["_request_id"], r["_row"]): (r["label"], r["why"]) for r in rows.to_pylist()} == {
        ("r0", 0): (1.0, None),
        ("r0", 1): (None, "too dear"),
        ("r90", 0): (7.0, None),
    }
    assert "label" not in open_table(root).decoded(feedback=False).schema.names
    assert open_table(root).feedback().read_all().num_rows == 6


def test_input_keeps_its_name_where_ours_is_the_same(root: Path, tmp_path: Path) -> None:
    write_entity(tmp_path, "e1", signature_json(prediction="double", label="double", _row="double"))
    write_invocations(tmp_path, [invocation(0, [{"prediction": 1, "label": 2, "_row": 3}])])
    write_feedback(tmp_path, line(0, "r0", 0, "label", 4.0), line(1, "r0", 0, "prediction", 5.0))
    (row,) = open_table(tmp_path).to_arrow().to_pylist()
    assert (row["prediction"], row["label"], row["_row"]) == (1.0, 2.0, 3.0)
    assert (row["_prediction"], row["_label"], row["__row"], row["__prediction"]) == (0.5, 4.0, 0, 5.0)


def test_models_with_other_signatures_share_one_view(root: Path) -> None:
    write_entity(root, "e2", signature_json(age="double", plan="boolean", city="string"))
    row = {"age": 41.5, "plan": True, "city": "Bern"}
    write_invocations(root, [invocation(5, [row], served_entity_id="e2", served_entity_name="churn-2")])
    table = open_table(root)
    rows = table.to_arrow(columns=["age", "plan", "city", "_served_entity"])
    assert rows.schema.types[:3] == [pa.float64(), pa.string(), pa.string()]
    assert {"age": 41.5, "plan": "true", "city": "Bern", "_served_entity": "churn-2"} in rows.to_pylist()
    assert {"age": 42.0, "plan": "b", "city": None, "_served_entity": "churn-1"} in rows.to_pylist()
    assert table.to_arrow(served_entity="churn-2").num_rows == 1


def test_the_last_signature_of_a_served_entity_counts(root: Path) -> None:
    write_entity(root, "e1", signature_json(age="double", plan="string"), minute=5)
    assert open_table(root).decoded().schema.field("age").type == pa.float64()


def test_a_served_entity_that_nobody_wrote_down_is_read_by_what_its_bodies_say(tmp_path: Path) -> None:
    write_invocations(
        tmp_path, [invocation(0, [{"age": 1, "plan": "x"}]), invocation(1, [], request="broken", request_rows=None)]
    )
    table = open_table(tmp_path)
    (row,) = table.to_arrow(columns=["age", "plan", "prediction"]).to_pylist()
    assert row == {"age": 1.0, "plan": "x", "prediction": 0.5}
    assert table.undecoded == {"request cannot be decoded": 1}


def test_rows_that_cannot_be_decoded_are_left_out_and_counted(root: Path) -> None:
    withheld = invocation(2, [], request=None, request_rows=3, logging_error_codes=["MAX_REQUEST_SIZE_EXCEEDED"])
    write_invocations(root, [withheld, invocation(3, [{"age": 1, "plan": "x"}], response="no JSON")])
    table = open_table(root)
    assert table.to_arrow().num_rows == 4
    assert table.undecoded == {"request over the payload limit": 3, "answer cannot be decoded": 1}
    table.to_arrow(until=START + timedelta(minutes=1))
    assert not table.undecoded


@pytest.mark.parametrize("plan", ["string", "double"])
def test_a_table_of_which_no_body_can_be_decoded_has_no_rows(tmp_path: Path, plan: str) -> None:
    write_entity(tmp_path, "e1", signature_json(age="double", plan=plan))
    withheld = invocation(2, [], request=None, request_rows=3, logging_error_codes=["MAX_REQUEST_SIZE_EXCEEDED"])
    write_invocations(tmp_path, [withheld])
    table = open_table(tmp_path)
    assert table.to_arrow().num_rows == 0
    assert table.undecoded == {"request over the payload limit": 3}


def test_columns_that_are_hashed_or_dropped_on_record_do_not_cost_the_row(tmp_path: Path) -> None:
    write_entity(tmp_path, "e1", signature_json(age="long", ssn="long", plan="string"))
    key = compile_redaction((), ("request.ssn",), b"0" * 32)
    write_invocations(
        tmp_path,
        [
            invocation(
                number, [], request=json.dumps({"dataframe_records": [{"age": number, "ssn": key.hash(number)}]})
            )
            for number in range(20)
        ],
    )
    table = open_table(tmp_path)
    rows = table.to_arrow(columns=["age", "ssn", "plan"])
    assert rows["age"].to_pylist() == list(range(20))
    assert rows["ssn"].to_pylist() == [key.hash(number) for number in range(20)]
    assert rows["plan"].null_count == 20
    assert not table.undecoded


def test_since_and_until_open_only_the_partitions_they_need(root: Path) -> None:
    table = open_table(root)
    (second_day,) = (root / "churn_payload").glob("request_date=2026-02-01/*.parquet")
    second_day.unlink()
    assert table.to_arrow(until=START + timedelta(minutes=1)).num_rows == 2
    assert table.invocations(columns=["status_code"], until=START + timedelta(minutes=2)).read_all().num_rows == 2


def test_invocations_are_picked_by_time_column_and_condition(root: Path) -> None:
    table = open_table(root)
    assert table.schema.names == schema.INFERENCE_SCHEMA.names
    found = table.invocations(["databricks_request_id"], since=START + timedelta(minutes=1)).read_all()
    assert sorted(found["databricks_request_id"].to_pylist()) == ["r1", "r90"]
    failed = table.invocations(["databricks_request_id"], where=ds.field("status_code") == 400).read_all()
    assert failed["databricks_request_id"].to_pylist() == ["r1"]
    assert table.newest(2)["databricks_request_id"].to_pylist() == ["r90", "r1"]
    with pytest.raises(InvalidParameter, match="no column 'nope'; it has databricks_request_id"):
        table.invocations(["nope"])
    with pytest.raises(InvalidParameter, match="no column 'nope'; it has age"):
        table.decoded(["nope"])


def test_batches_come_one_by_one_and_no_larger_than_asked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_STEP_INVOCATIONS", 1)
    reader = open_table(root).decoded(batch_rows=1)
    assert [batch.num_rows for batch in reader] == [1, 1, 1]


def test_many_small_files_are_decoded_together(root: Path) -> None:
    for number in range(2, 6):
        write_invocations(root, [invocation(number, [{"age": number, "plan": "x"}])])
    assert [batch.num_rows for batch in open_table(root).decoded()] == [7]


def test_sql_sees_the_table_by_its_endpoint_and_the_views_beside_it(root: Path) -> None:
    table = open_table(root)
    assert table.sql("SELECT count(*) AS n, max(latency_ms) AS m FROM churn").to_pylist() == [{"n": 3, "m": 90.0}]
    query = (
        "SELECT a.plan, avg(b.prediction) AS p FROM decoded a JOIN decoded b USING (_request_id) GROUP BY 1 ORDER BY 1"
    )
    assert table.sql(query).to_pylist() == [{"plan": "a", "p": pytest.approx(30.5)}, {"plan": "b", "p": 0.5}]
    query = "SELECT count(*) AS n FROM invocations JOIN served_entities USING (served_entity_id)"
    assert table.sql(query).to_pylist() == [{"n": 3}]
    assert table.sql("SELECT count(*) AS n FROM feedback").to_pylist() == [{"n": 0}]
    odd = InferenceTable(table.location, name="churn-eu.1")
    assert odd.sql('SELECT count(*) AS n FROM "churn-eu.1"').to_pylist() == [{"n": 3}]
    with pytest.raises(InvalidParameter, match="nope"):
        table.sql("SELECT nope FROM churn")


def test_a_table_that_is_not_there_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no inference table for .churn. at .*churn_payload. It begins with the first"):
        _ = open_table(tmp_path).schema


def test_a_relative_path_is_taken_from_the_folder_that_it_is_read_in(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    assert InferenceTable("./churn_payload").to_arrow(columns=["age"]).num_rows == 3
    assert InferenceTable("churn_payload").decoded().schema.field("age").type == pa.int64()


def test_served_entities_are_found_above_a_table_that_has_folders_of_its_own(root: Path) -> None:
    (root / "main" / "prod").mkdir(parents=True)
    (root / "churn_payload").rename(root / "main" / "prod" / "churn_payload")
    table = open_table(root / "main" / "prod")
    assert table.decoded().schema.field("age").type == pa.int64()


def test_page_describes_every_column() -> None:
    for fields in (schema.INFERENCE_FIELDS, schema.FEEDBACK_FIELDS, schema.ENTITY_FIELDS):
        for field in fields:
            assert f"| `{field.name}` | {type_words(field.type)} | {field.meaning} |" in PAGE
    for name in reading.IDENTITY:
        assert f"| `{name}` |" in PAGE


def type_words(kind: pa.DataType) -> str:
    """Return a type as the page writes it."""
    return (
        str(kind).replace("timestamp[us, tz=UTC]", "timestamp (µs, UTC)").replace("element: ", "").replace("[day]", "")
    )


# Finding a table, and the command.


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the server was asked; it says 404 unless the endpoint is `known`."""
    seen: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.url.path))
        if "/known/" not in request.url.path:
            return httpx.Response(404, json={"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"})
        if request.url.path.endswith("/flush"):
            return httpx.Response(503, json={"error_code": "TEMPORARILY_UNAVAILABLE", "message": "busy"})
        return httpx.Response(200, json={"location": "s3://b/known_payload", "table": "known_payload"})

    real = client.Client

    def connect(server: Server) -> client.Client:
        return real(server, transport=httpx.MockTransport(answer))

    monkeypatch.setattr(client, "Client", connect)
    return seen


SERVER = {"TALLYSTICK_HOST": "http://127.0.0.1:1", "TALLYSTICK_TOKEN": "tsk_t", "TALLYSTICK_DATA_DIR": "/data"}


def test_the_server_says_where_a_table_is_and_is_asked_to_flush(asked: list[tuple[str, str]]) -> None:
    assert find_table("known", environ=SERVER).location == "s3://b/known_payload"
    path = "/api/2.0/serving-endpoints/known/inference-table"
    assert asked == [("GET", path), ("POST", path + "/flush")]
    asked.clear()
    find_table("known", environ=SERVER, flush=False)
    assert asked == [("GET", path)]


def test_without_an_answer_the_data_directory_has_it(asked: list[tuple[str, str]]) -> None:
    assert find_table("churn", environ=SERVER).location == "/data/tables/churn_payload"
    assert find_table("churn", environ={"TALLYSTICK_DATA_DIR": "/data"}).location == "/data/tables/churn_payload"
    with pytest.raises(NotFound):
        find_table("churn", environ=SERVER, host="http://127.0.0.1:1")
    asked.clear()
    assert find_table("s3://b/t", environ=SERVER).location == "s3://b/t"
    assert not asked


def test_python_opens_a_table_by_its_path(root: Path) -> None:
    assert tallystick.table(str(root / "churn_payload")).to_pandas()["age"].sort_values().tolist() == [41, 41, 42]
    with pytest.raises(AttributeError, match="no attribute 'tables_of'"):
        _ = tallystick.tables_of


@pytest.fixture
def run(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `tallystick table churn …`; return its exit code."""
    for name in ("TALLYSTICK_HOST", "TALLYSTICK_TOKEN", "DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TALLYSTICK_DATA_DIR", str(root.parent))

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["tallystick", "table", *words])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return run


def test_command_shows_the_newest_invocations(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("churn", "--limit", "2") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("request_time\tserved_entity_name\tstatus_code")
    assert [row.split("\t")[:3] for row in rows] == [
        ["2026-02-01 00:30:00Z", "churn-1", "200"],
        ["2026-01-31 23:01:00Z", "churn-1", "400"],
    ]


def test_command_answers_sql_and_decodes(run: Any, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("churn", "--sql", "select served_entity_name, count(*) n from churn group by 1") == 0
    assert capsys.readouterr().out.splitlines() == ["served_entity_name\tn", "churn-1\t3"]
    write_invocations(root, [invocation(2, [], request=None, request_rows=4)])
    assert run("churn", "--decoded", "--columns", "age,prediction", "--json") == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert {"age": 42, "prediction": 0.5} in document["rows"]
    assert document["undecoded"] == {"request not recorded": 4}
    assert shown.err == "Not shown: 4 (request not recorded).\n"


def test_command_writes_files(run: Any, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run("churn", "--decoded", "--output", str(tmp_path / "rows.parquet")) == 0
    assert sorted(pq.read_table(tmp_path / "rows.parquet")["age"].to_pylist()) == [41, 41, 42]
    assert run("churn", "--format", "csv", "--columns", "databricks_request_id,logging_error_codes") == 0
    head, *rows = capsysbinary.readouterr().out.splitlines()
    assert (head, sorted(rows)[0]) == (b'"databricks_request_id","logging_error_codes"', b'"r0",')
    assert run("churn", "--decoded", "--format", "json", "--columns", "age") == 0
    assert sorted(capsysbinary.readouterr().out.splitlines()) == [b'{"age": 41}', b'{"age": 41}', b'{"age": 42}']
    assert run("churn", "--format", "arrow") == 0
    assert pa.ipc.open_stream(capsysbinary.readouterr().out).read_all().num_rows == 3


def test_command_refuses_what_says_two_things(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("churn", "--sql", "select 1", "--decoded") == 2
    assert run("churn", "--output", "rows.xyz") == 2
    assert run("churn", "--since", "yesterday-ish") == 2
    assert run("absent") == 5
    assert "no inference table for 'absent'" in capsys.readouterr().err
