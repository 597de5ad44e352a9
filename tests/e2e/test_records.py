"""The inference table against the ledger of its clients, while what serves it is killed, fills up and is stopped."""

import base64
import contextlib
import gzip
import io
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter

import duckdb
import httpx
import polars
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from ledger import Ledger, check, kill_all, kill_one, rows_of, seed_of, server_status, table_rows
from running import MODELS, Server, eventually

CHAOS = {"entity_name": str(MODELS / "chaos.py"), "name": "chaos"}
#: Two workers: one dies, the other one answers.
TWO_WORKERS = CHAOS | {"max_provisioned_concurrency": 8, "min_provisioned_concurrency": 8}
PLAIN = {"entity_name": str(MODELS / "plain.py"), "name": "plain"}
WORDS = {"entity_name": str(MODELS / "streaming.py"), "name": "words"}
SEED = seed_of("TALLYSTICK_SEED")


def record(server, endpoint: str, **values) -> None:
    """Say what is recorded, and wait until the gateways do it."""
    server.api("PUT", f"/{endpoint}/inference-table", values)
    eventually(lambda: server_status(server)["is_applied"])


def row_of(server, endpoint: str, answer) -> dict:
    """Return the one row of an answer."""
    rows = rows_of(server, endpoint)
    (row,) = [row for row in rows if row["databricks_request_id"] == answer.headers["x-request-id"]]
    return row


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A server for the tests that change what is recorded, or kill a part of it; the last one stops it."""
    server = Server(tmp_path_factory.mktemp("records") / "data", "--gateways", "2")
    models = {"m": TWO_WORKERS, "n": CHAOS, "plain": PLAIN, "words": WORDS}
    for name, entity in models.items():
        server.deploy(name, entity, wait=False)
    for name in models:
        server.settled(name)
    yield server
    if server.process.poll() is None:
        server.stop()


@pytest.fixture
def defaults(recorded):
    """The same, recording as it does by itself, and again so afterwards."""
    yield recorded
    record(recorded, "m", enabled=True, sampling_fraction=1.0, durability="process-crash", required=False)


def test_whatever_is_killed_an_acknowledged_invocation_has_exactly_one_row(recorded):
    print(f"TALLYSTICK_SEED={SEED}")
    draw, killed = random.Random(SEED), Counter()
    before = {row["databricks_request_id"] for row in rows_of(recorded, "m", "n")}
    victims = ["gateway-0", "gateway-1", "records", "records", "worker", "control"]
    with Ledger(recorded, "m", "n", seed=SEED) as ledger:
        ledger.wait_for(50)
        for turn in range(10):
            if turn == 5:
                kill_all(recorded)
                recorded.start()
                ledger.wait_for(50, 60)
            # The short ones hit processes that have only just begun.
            time.sleep(draw.uniform(0.02, 0.5))
            killed[kill_one(recorded, draw, victims)] += 1
        ledger.wait_for(50, 60)
    rows = [row for row in rows_of(recorded, "m", "n") if row["databricks_request_id"] not in before]
    verdict = check(ledger.lines, rows)
    assert not verdict, f"seed {SEED}, {dict(killed)}, {ledger}: {verdict}"
    assert ledger.count("ok") > 200


@pytest.fixture
def small_disk(tmp_path):
    """A data directory whose journal is on a disk of 400 KiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    folder = tmp_path / "data" / "journal"
    folder.mkdir(mode=0o700, parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    yield folder.parent
    subprocess.run(["umount", "-l", str(folder)], check=True)


def dropped(server) -> int:
    return server_status(server)["journals"]["gateway-0"]["dropped"].get("disk_full", 0)


def test_a_full_disk_costs_counted_rows_or_where_a_row_is_required_the_answer(own_server, small_disk):
    # Without an access log only invocations are in a gateway's journal, so that its drops can be counted.
    server = own_server("--no-access-log", data_dir=small_disk)
    server.deploy("m", TWO_WORKERS, wait=False)
    server.deploy("r", CHAOS)
    server.settled("m")
    record(server, "r", required=True)
    recorder = server.children()["records"]
    os.kill(recorder, signal.SIGSTOP)
    try:
        with Ledger(server, "m", padding=2000, seed=1) as free:
            eventually(lambda: dropped(server) > 0)
            free.wait_for(100)
        with Ledger(server, "r", padding=2000, clients=1, seed=2) as strict:
            eventually(lambda: strict.count("no") > 30)
        began = time.monotonic()
        # Larger than the others: what is as large may still find room.
        large = {"dataframe_records": [{"op": "sleep", "x": 0.5}], "usage_context": {"padding": "x" * 6000}}
        slow = [server.invoke("r", large) for _ in range(10)]
        took_s = time.monotonic() - began
    finally:
        os.kill(recorder, signal.SIGCONT)
    assert {line.status for line in free.lines} == {200, 400}, "where no row is required, nobody notices"
    refused = [line for line in strict.lines if line.status == 503]
    assert len(refused) > 20
    assert json.loads(refused[0].response)["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert {answer.status_code for answer in slow} == {503}
    # One now and then runs, and finds out whether there is room again.
    assert took_s < 3, "models ran for answers that could not leave"
    # The recorder makes room, and all goes on by itself.
    probes = []
    eventually(lambda: probes.append(server.chaos("r", "echo")) or probes[-1].status_code == 200)
    with Ledger(server, "m", "r", clients=2, seed=3) as after:
        after.wait_for(50)
    rows = rows_of(server, "m", "r")
    lines = free.lines + strict.lines + after.lines
    others = {answer.headers["x-request-id"] for answer in (*slow, *probes)}
    verdict = check(lines, [row for row in rows if row["databricks_request_id"] not in others])
    assert (verdict.dup, verdict.ghost, verdict.wrong) == ([], [], []), str(verdict)
    lost = set(verdict.lost)
    assert {line.endpoint for line in lines if line.request_id in lost} == {"m"}
    # A refusal is recorded as well, where it can be.
    missing = len(lines) + len(others) - len(rows)
    eventually(lambda: dropped(server) == missing)
    shown = f'tallystick_journal_dropped_records_total{{process="gateway-0",reason="disk_full"}} {float(missing)}'
    assert shown in server.http.get("/metrics").text
    # The recorder's own files fill the disk as well now and then; the next record finds that there is room again.
    eventually(
        lambda: (
            server.chaos("r", "echo").status_code == 200
            and not server_status(server)["journals"]["gateway-0"]["problem"]
        )
    )


LEVELS = [(durability, required) for durability in ("process-crash", "power-loss") for required in (False, True)]


@pytest.mark.parametrize(("durability", "required"), [("none", False), *LEVELS])
def test_every_level_of_durability_records_each_invocation_once(defaults, durability, required):
    record(defaults, "m", durability=durability, required=required)
    with Ledger(defaults, "m", seed=SEED) as ledger:
        ledger.wait_for(100)
    # What is written soon after the answer is written within a tick.
    eventually(lambda: not _of(ledger, defaults).lost, 5)
    verdict = _of(ledger, defaults)
    assert not verdict, f"seed {SEED}, {ledger}: {verdict}"


def _of(ledger, server):
    """Compare a ledger with its own rows."""
    return check(ledger.lines, ledger.own(rows_of(server, "m")))


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, to count syncs")
def test_answers_that_wait_for_a_sync_share_it(defaults, tmp_path):
    record(defaults, "m", durability="power-loss")
    calls = tmp_path / "calls"
    gateways = [f"--attach={pid}" for name, pid in defaults.children().items() if name.startswith("gateway")]
    argv = ["strace", "-f", "-e", "trace=fdatasync", "-o", str(calls), *gateways]
    trace = subprocess.Popen(argv, stderr=subprocess.PIPE)
    try:
        if b"attached" not in trace.stderr.readline():
            pytest.skip("strace may not look at processes here")
        with Ledger(defaults, "m", clients=12, seed=SEED) as ledger:
            ledger.wait_for(200)
    finally:
        trace.send_signal(signal.SIGINT)
        trace.wait(10)
    syncs = sum("fdatasync(" in line for line in calls.read_text().splitlines())
    assert 0 < syncs < 0.8 * len(ledger.lines), f"{syncs} syncs for {len(ledger.lines)} invocations"
    assert not (verdict := _of(ledger, defaults)), str(verdict)


def test_a_sample_is_recorded_where_a_share_is_asked_for_and_nothing_where_it_is_off(defaults):
    record(defaults, "m", sampling_fraction=0.5)
    with Ledger(defaults, "m", seed=SEED) as half:
        half.wait_for(400)
    record(defaults, "m", enabled=False)
    with Ledger(defaults, "m", seed=SEED) as off:
        off.wait_for(50)
    rows = {row["request"].encode(): row for row in rows_of(defaults, "m")}
    found = [rows[line.request] for line in half.lines if line.request in rows]
    # Seven standard deviations of a binomial: a false alarm in 10^12 runs.
    assert abs(len(found) - len(half.lines) / 2) < 7 * 0.5 * len(half.lines) ** 0.5
    assert {row["sampling_fraction"] for row in found} == {0.5}
    assert not (verdict := _of(half, defaults)).dup + verdict.ghost + verdict.wrong, str(verdict)
    assert not [line for line in off.lines if line.request in rows]


ODD_BODIES = {
    "NUL": b'{"inputs": [[1.0, 2.0]], "client_request_id": "a\\u0000b\x00"}',
    "lone surrogate": b'{"inputs": [[1.0, 2.0]], "client_request_id": "\\ud800"}',
    "NaN": b'{"inputs": [[NaN, 2.0]]}',
    "text": '{"inputs": [[1.0, 2.0]], "usage_context": {"who": "\u202e\U0001f4a9\u00e9"}}'.encode(),
    "spaces": b' \r\n\t{ "inputs" :[[1.0,2.0]]}\n ',
    "nothing": b"",
    "not JSON": b"'; DROP TABLE plain_payload; --",
    "nested": b"[" * 5000,
}


@pytest.mark.parametrize("name", ODD_BODIES)
def test_a_body_that_is_text_is_recorded_byte_for_byte(recorded, name):
    body = ODD_BODIES[name]
    answer = recorded.invoke("plain", content=body, headers={"Content-Type": "application/json"})
    row = row_of(recorded, "plain", answer)
    assert row["request"].encode() == body
    assert row["response"].encode() == answer.content
    assert (row["status_code"], row["request_bytes"], row["logging_error_codes"]) == (answer.status_code, len(body), [])


def test_a_body_that_is_no_text_is_recorded_as_base64(recorded):
    stream = io.BytesIO()
    table = pa.table({"op": ["echo", "echo"], "x": [1.0, 2.0]})
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    bodies = {"application/vnd.apache.arrow.stream": stream.getvalue(), "application/json": b'{"inputs": ["\xff\xfe"]}'}
    for content_type, body in bodies.items():
        answer = recorded.invoke("m", content=body, headers={"Content-Type": content_type})
        row = row_of(recorded, "m", answer)
        assert row["logging_error_codes"] == ["REQUEST_AS_BASE64"]
        assert base64.b64decode(row["request"]) == body
        assert (row["request_content_type"], row["status_code"]) == (content_type, answer.status_code)


def test_a_csv_is_recorded_as_it_is_and_a_compressed_body_as_it_was_read(recorded):
    csv = b"op,x\r\necho,4\r\n"
    answer = recorded.invoke("m", content=csv, headers={"Content-Type": "text/csv"})
    row = row_of(recorded, "m", answer)
    # This model takes none; the row says so.
    assert (row["request"].encode(), row["status_code"], row["error_code"]) == (csv, 400, "BAD_REQUEST")
    body = json.dumps({"inputs": [[1.0, 2.0]] * 1000}).encode()
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = recorded.invoke("plain", content=gzip.compress(body), headers=headers)
    row = row_of(recorded, "plain", answer)
    assert answer.status_code == 200
    assert (row["request"].encode(), row["request_bytes"], row["request_rows"]) == (body, len(body), 1000)


@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 8 << 20])
def test_a_body_over_the_limit_is_named_and_measured_and_never_silently_left_out(recorded, size):
    body = b'{"inputs": [[1.0, 2.0]]}'
    body += b" " * (size - len(body))
    answer = recorded.invoke("plain", content=body, headers={"Content-Type": "application/json"})
    row = row_of(recorded, "plain", answer)
    assert (answer.status_code, row["request_bytes"], row["status_code"]) == (200, size, 200)
    if size <= 1 << 20:
        assert (row["request"].encode(), row["logging_error_codes"]) == (body, [])
    else:
        assert (row["request"], row["logging_error_codes"]) == (None, ["MAX_REQUEST_SIZE_EXCEEDED"])
    assert row["response"].encode() == answer.content


def test_a_streamed_answer_is_recorded_whole(recorded):
    body = {"inputs": [1, 2], "stream": True, "client_request_id": "streamed"}
    answer = recorded.invoke("words", body)
    assert answer.headers["content-type"] == "text/event-stream"
    row = row_of(recorded, "words", answer)
    assert answer.text.count('data: {"word"') == 3
    assert (row["response"], row["response_content_type"]) == (answer.text, "text/event-stream")
    assert (row["status_code"], row["client_request_id"]) == (200, "streamed")


def test_a_caller_that_leaves_has_a_row_that_says_so(recorded):
    body = {"client_request_id": "left", "dataframe_records": [{"op": "sleep", "x": 0.5}]}
    with contextlib.suppress(httpx.TimeoutException):
        recorded.invoke("m", body, timeout=0.1)

    def left():
        return [row for row in rows_of(recorded, "m") if '"left"' in row["request"]]

    (row,) = eventually(left)
    assert (row["status_code"], row["response"]) == (499, "")


def test_a_stop_leaves_an_empty_journal_and_a_whole_table_that_others_read(recorded):
    with Ledger(recorded, "m", seed=SEED) as ledger:
        ledger.wait_for(100)
        assert recorded.stop() == 0
    assert list((recorded.data_dir / "journal").rglob("*.journal")) == []
    verdict = check(ledger.lines, ledger.own(table_rows(recorded.data_dir / "tables", "m")))
    assert not verdict, f"{ledger}: {verdict}"
    # Neither of the two has our package to help it.
    uri = str(recorded.data_dir / "tables" / "m_payload")
    dataset = DeltaTable(uri).to_pyarrow_dataset()
    query = "select count(*), count(distinct databricks_request_id), count(*) filter (status_code = 200) from dataset"
    (counted,) = duckdb.query(query).fetchall()
    frame = polars.scan_delta(uri)
    assert counted == (
        frame.select(polars.len()).collect().item(),
        frame.select(polars.col("databricks_request_id").n_unique()).collect().item(),
        frame.filter(polars.col("status_code") == 200).select(polars.len()).collect().item(),
    )
    assert dataset.schema.names[:12] == COLUMNS


#: As a Databricks inference table has them.
COLUMNS = [
    "databricks_request_id", "client_request_id", "request_date", "request_time", "status_code",
    "execution_duration_ms", "request", "response", "sampling_fraction", "logging_error_codes", "served_entity_id",
    "requester",
]  # fmt: skip
