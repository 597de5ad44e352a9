"""Control's replay of golden rows against a server in memory: what it sends, and what it makes of the answers."""

import gzip
import json

import httpx
import numpy as np
import pytest

from tallystick.control import replay as replaying
from tallystick.control.replay import Replayer, Target
from tallystick.gate import golden as format_
from tallystick.gate.golden import Column, Golden, Matrix, Wire
from tallystick.gate.report import Difference, GateReport, Outcome, Policy, Rung, RungReport

DIGEST = "d" * 64
VALUES = [0.5, 1.25, -3.0]
GOLDEN = Golden(
    3,
    (Column("x", "float64", (1.0, 2.0, 3.0)),),
    Matrix.of(np.array(VALUES)),
    (
        Wire("dataframe_records", "application/json", 3, b'{"dataframe_records": []}'),
        Wire("csv", "text/csv", 2, b"x\n1\n2\n"),
    ),
    model_kind="linear",
)


class Replicas:
    """Two replicas of one served entity; each may have files or answers of its own."""

    def __init__(self):
        self.digests, self.answers, self.requests = {}, {}, []
        self.steps = Outcome.PASSED
        self.busy = 0
        self.lossy = ()
        self.environment = {"python": "3.12.1"}

    def __call__(self, request):
        replica, trace = (request.headers.get(f"x-tallystick-{name}", "") for name in ("replica", "trace"))
        body = request.content
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.requests.append((replica, trace, request.headers.get("content-type", ""), body))
        if self.busy:
            self.busy -= 1
            return httpx.Response(503, json={"error_code": "TEMPORARILY_UNAVAILABLE", "message": "starting"})
        if trace:
            difference = Difference(step="prep/num", column="x", row=1, expected="2", got="3")
            rung = RungReport(Rung.STEPS, self.steps, "Step prep/num, column x, row 1.", difference)
            identity = {"digest": self.digests.get(replica, DIGEST), "pid": 1}
            report = GateReport(self.steps, rungs=(rung,), environment=self.environment)
            return httpx.Response(
                200,
                content=replaying.msgspec.json.encode(
                    {"identity": identity, "closeness": 0, "lossy": self.lossy, "report": report}
                ),
            )
        rows = next(wire.rows for wire in GOLDEN.wires if wire.body == body)
        answer = self.answers.get(replica, VALUES)
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(200, json={"predictions": answer[:rows]})


@pytest.fixture
def replicas():
    return Replicas()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / format_.FOLDER).mkdir()
    (tmp_path / format_.FOLDER / format_.FILE).write_bytes(format_.render(GOLDEN))
    return tmp_path


async def replay(replicas, folder):
    replayer = Replayer("http://test", "tsk_x", transport=httpx.MockTransport(replicas))
    target = Target("churn", "churn-3", ("e-0", "e-1"), DIGEST, str(folder))
    return await replayer.replay(target, Policy.AUTO)


async def test_each_replica_gets_each_encoding_and_one_of_them_compressed(replicas, folder):
    reports = await replay(replicas, folder)
    assert {number: report.outcome for number, report in reports.items()} == {"0": "passed", "1": "passed"}
    for replica in ("e-0", "e-1"):
        sent = [(trace, kind) for name, trace, kind, _ in replicas.requests if name == replica]
        assert sent == [
            ("identity", ""),
            ("golden", "application/json"),
            ("", "application/json"),
            ("", "text/csv"),
            ("", "application/json"),
        ]
    assert "3 rows over HTTP as dataframe_records, csv, dataframe_records (gzip)" in reports["0"].rungs[1].text


async def test_an_encoding_that_cannot_carry_the_rows_is_not_sent(replicas, folder):
    replicas.lossy = ("csv",)
    assert (await replay(replicas, folder))["0"].outcome is Outcome.PASSED
    assert "text/csv" not in {kind for _, _, kind, _ in replicas.requests}


async def test_a_replica_with_other_files_is_convicted_by_its_digest_and_asked_nothing_more(replicas, folder):
    replicas.digests["e-1"] = "e" * 64
    reports = await replay(replicas, folder)
    assert reports["0"].outcome is Outcome.PASSED
    failure = reports["1"].first_failure
    assert (reports["1"].outcome, failure.rung, reports["1"].digest) == (Outcome.FAILED, Rung.IDENTITY, "e" * 64)
    assert failure.text == "Replica e-1 serves eeeeeeeeeeee, dddddddddddd was asked for."
    assert [trace for name, trace, _, _ in replicas.requests if name == "e-1"] == ["identity"]


async def test_other_answers_over_http_fail_with_encoding_and_row_and_what_the_replica_says_of_its_steps(
    replicas, folder
):
    replicas.answers["e-0"], replicas.steps = [0.5, 9.0, -3.0], Outcome.FAILED
    report = (await replay(replicas, folder))["0"]
    found = {rung.rung: rung for rung in report.rungs}
    difference = found[Rung.PREDICTION].difference
    assert (difference.encoding, difference.row, difference.expected, difference.got) == (
        "dataframe_records", 1, "1.25", "9",
    )  # fmt: skip
    assert report.first_failure.rung is Rung.STEPS
    assert report.environment == {"python": "3.12.1"}


async def test_a_refusal_is_told_with_its_status_and_words(replicas, folder):
    replicas.answers["e-0"] = httpx.Response(400, json={"error_code": "X", "message": "column x is missing"})
    report = (await replay(replicas, folder))["0"]
    assert report.first_failure.rung is Rung.WIRE
    assert "refused with status 400: column x is missing" in report.summary()


async def test_an_answer_that_is_no_table_fails(replicas, folder):
    replicas.answers["e-0"] = httpx.Response(200, content=json.dumps({"predictions": {"a": 1}}))
    assert "no table" in (await replay(replicas, folder))["0"].summary()


async def test_a_server_that_is_starting_is_asked_again(replicas, folder, monkeypatch):
    monkeypatch.setattr(replaying, "_AGAIN_S", 0.0)
    replicas.busy = 3
    assert {report.outcome for report in (await replay(replicas, folder)).values()} == {Outcome.PASSED}


async def test_a_replay_ends_in_time_and_says_so(replicas, folder, monkeypatch):
    monkeypatch.setattr(replaying, "TIMEOUT_S", 0.05)
    monkeypatch.setattr(replaying, "_AGAIN_S", 0.001)
    replicas.busy = 10**6
    report = (await replay(replicas, folder))["0"]
    assert report.outcome is Outcome.FAILED
    assert "did not answer within 0.05 s" in report.summary()


async def test_without_golden_rows_only_files_are_compared(replicas, tmp_path):
    replicas.digests["e-1"] = "e" * 64
    reports = await replay(replicas, tmp_path)
    assert [report.outcome for report in reports.values()] == [Outcome.SKIPPED, Outcome.FAILED]
    assert {trace for _, trace, _, _ in replicas.requests} == {"identity"}
