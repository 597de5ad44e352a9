"""`tallystick feedback` and `tallystick endpoints inference-table` against a server in memory."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from builders.cli_server import Asked, Output, Run
from tallystick.commands import feedback
from tallystick.commands.inference_table import described
from tallystick.errors import TallystickError, TemporarilyUnavailable

SETTINGS: dict[str, Any] = {
    "enabled": True,
    "sampling_fraction": 0.1,
    "durability": "process-crash",
    "required": True,
    "max_payload_bytes": 1 << 20,
    "drop_columns": ["request.ssn"],
    "hash_columns": [],
    "retention_days": 90,
    "table": "churn_payload",
    "location": "/data/tables/churn_payload",
    "feedback_location": "/data/tables/churn_feedback",
    "state": {"rows": 7, "waiting_rows": 2, "lag_s": 0.5, "version": 4, "problem": "the disk is full"},
    "feedback": {"matched": 3, "unknown": 1},
}


class FakeServer:
    """Takes feedback and settings; says no from the `healthy_requests`th request on."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.healthy_requests = 1000
        self.own: dict[str, Any] = {}
        self.after = SETTINGS

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        path = request.url.path.removeprefix("/api/2.0/serving-endpoints")
        self.requests.append((request.method, path, body))
        if len(self.requests) > self.healthy_requests:
            error: TallystickError = TemporarilyUnavailable("The server cannot store this.")
            return httpx.Response(error.status, json=error.to_body())
        if path.endswith("/feedback"):
            return httpx.Response(200, json={"accepted": len(body["feedback"])})
        if path.endswith("/inference-table"):
            return httpx.Response(200, json=self.after if request.method == "PUT" else SETTINGS)
        return httpx.Response(200, json={"name": "churn", "inference_table": self.own})

    @property
    def lines(self) -> list[Any]:
        return [line for _, _, body in self.requests for line in body["feedback"]]


@pytest.fixture
def server(asked: Asked) -> FakeServer:
    return asked(FakeServer())


def test_a_csv_file_is_sent_and_the_join_is_named(server: FakeServer, run: Run, capsys: Output, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("request_id,row,label,note\na,0,1,\nb,2,0,late\n")
    assert run("feedback", "churn", str(file)) == 0
    assert [path for _, path, _ in server.requests] == ["/churn/feedback"]
    assert server.lines == [
        {"request_id": "a", "row": 0, "name": "label", "value": 1.0},
        {"request_id": "b", "row": 2, "name": "label", "value": 0.0},
        {"request_id": "b", "row": 2, "name": "note", "value": "late"},
    ]
    out = capsys.readouterr().out
    assert "3 values accepted" in out
    assert "tallystick table churn --decoded" in out


@pytest.mark.parametrize(
    "text",
    [
        '[{"client_request_id": "c", "label": true}]',
        '{"client_request_id": "c", "label": true}',
        "client_request_id,label\nc,true\n",
    ],
)
def test_stdin_is_taken_for_what_it_is(
    server: FakeServer, run: Run, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert run("feedback", "churn", "-") == 0
    assert server.lines == [{"client_request_id": "c", "row": 0, "name": "label", "value": 1.0}]


def test_one_line_can_be_told_by_hand(server: FakeServer, run: Run) -> None:
    assert run("feedback", "churn", "--request-id", "a", "--label", "0.5", "--outcome", "left", "--row", "3") == 0
    assert server.lines == [
        {"request_id": "a", "row": 3, "name": name, "value": value}
        for name, value in (("label", 0.5), ("outcome", "left"))
    ]


def test_a_file_with_a_bad_line_is_not_begun(server: FakeServer, run: Run, capsys: Output, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("request_id,label\na,1\n,1\n")
    assert run("feedback", "churn", str(file)) == 1
    assert "line 3: has no id" in capsys.readouterr().err
    assert server.requests == []


@pytest.mark.parametrize(
    "arguments", [[], ["nowhere.csv"], ["-", "--label", "1"], ["--request-id", "a"], ["--row", "1"]]
)
def test_wrong_usage_sends_nothing(server: FakeServer, run: Run, arguments: list[str]) -> None:
    assert run("feedback", "churn", *arguments) == 2
    assert server.requests == []


def test_a_large_file_goes_in_chunks_and_a_refusal_tells_what_is_stored(
    server: FakeServer, run: Run, capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "_CHUNK_BYTES", 200)
    file = tmp_path / "labels.csv"
    file.write_text("request_id,label\n" + "".join(f"a{number},1\n" for number in range(10)))
    server.healthy_requests = 3
    assert run("feedback", "churn", str(file)) == 1
    sizes = [len(json.dumps(body)) for _, _, body in server.requests]
    assert len(sizes) == 4
    assert max(sizes) < 250
    assert "9 of 10 values are stored" in capsys.readouterr().err


def test_settings_that_no_option_names_stay(server: FakeServer, run: Run) -> None:
    server.own = {"durability": "power-loss", "drop_columns": ["request"], "hash_columns": ["requester"]}
    options = "--on --sampling 0.1 --required --drop request.ssn --hash none --retention 90d --max-payload-kb 64"
    assert run("endpoints", "inference-table", "churn", *options.split()) == 0
    assert server.requests[-1] == (
        "PUT",
        "/churn/inference-table",
        {
            "enabled": True,
            "sampling_fraction": 0.1,
            "durability": "power-loss",
            "required": True,
            "drop_columns": ["request.ssn"],
            "hash_columns": [],
            "retention_days": 90,
            "max_payload_bytes": 64 << 10,
        },
    )


def test_a_change_is_told_with_what_was_before_and_not_the_whole_state(
    server: FakeServer, run: Run, capsys: Output
) -> None:
    server.after = SETTINGS | {"retention_days": 7, "drop_columns": [], "durability": "process-crash"}
    options = "--retention 7d --drop none --durability process-crash"
    assert run("endpoints", "inference-table", "churn", *options.split()) == 0
    assert capsys.readouterr().out.splitlines() == [
        "churn: durability is process-crash",
        "churn: columns left out: none (was: request.ssn)",
        "churn: rows are kept 7 days (was: 90 days)",
        "All settings: tallystick endpoints inference-table churn",
    ]
    assert run("endpoints", "inference-table", "churn", "--retention", "7d", "--json") == 0
    assert json.loads(capsys.readouterr().out) == server.after


def test_a_change_says_when_nothing_is_recorded_all_the_same(server: FakeServer, run: Run, capsys: Output) -> None:
    server.after = SETTINGS | {"enabled": False}
    assert run("endpoints", "inference-table", "churn", "--on") == 0
    assert "Nothing is recorded all the same: this server was started without" in capsys.readouterr().out
    assert run("endpoints", "inference-table", "churn", "--retention", "90d") == 0
    assert "Nothing is recorded.\n" in capsys.readouterr().out
    assert run("endpoints", "inference-table", "churn", "--off") == 0
    assert capsys.readouterr().out.startswith("churn: recording is off (was: on)\nAll settings")


def test_without_options_nothing_is_changed_and_all_is_told(server: FakeServer, run: Run, capsys: Output) -> None:
    assert run("endpoints", "inference-table", "churn") == 0
    assert [method for method, _, _ in server.requests] == ["GET"]
    out = capsys.readouterr().out
    for part in (
        "0.1 of the invocations",
        "/data/tables/churn_feedback",
        "90 days",
        "7 since",
        "disk is full",
        "1 unknown",
    ):
        assert part in out


def test_what_is_off_is_told_as_off() -> None:
    assert described("churn", SETTINGS | {"enabled": False})[0] == "churn: nothing is recorded"


@pytest.mark.parametrize("options", [["--retention", "36h"], ["--durability", "fsync"], ["--sampling", "2"]])
def test_settings_that_mean_nothing_are_refused(server: FakeServer, run: Run, options: list[str]) -> None:
    assert run("endpoints", "inference-table", "churn", *options) == 2
    assert server.requests == []
