"""`tallystick parity` and the gate's options, against a server in memory."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from builders.cli_server import Asked, Output, Run
from tallystick.commands import parity

GOOD = {
    "outcome": "passed",
    "digest": "d" * 64,
    "rows": 512,
    "seconds": 0.5,
    "rungs": [{"rung": "wire", "outcome": "passed", "text": "512 rows come out of csv as they went in."}],
}
WRONG = GOOD | {
    "outcome": "failed",
    "rungs": [
        {
            "rung": "steps",
            "outcome": "failed",
            "text": "Step prep/cat, column plan, row 3: expected 1, got 2.",
            "difference": {
                "step": "prep/cat", "column": "plan", "row": 3, "expected": "1", "got": "2", "share": 0.5,
            },
        }
    ],
}  # fmt: skip
SETTINGS = {"gate": "auto", "monitor": True, "webhook": ""}


class FakeServer:
    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.reports = {"0": GOOD, "1": GOOD}
        self.endpoint: dict[str, Any] | None = {
            "name": "churn",
            "state": {"ready": "READY", "config_update": "NOT_UPDATING"},
            "parity": {"webhook": "https://hooks.example.org"},
            "config": {"served_entities": [{"name": "churn-4", "entity_name": "churn", "entity_version": "4"}]},
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        path = request.url.path.removeprefix("/api/2.0/serving-endpoints")
        self.requests.append((request.method, path, body))
        if self.endpoint is None and request.method == "GET":
            return httpx.Response(404, json={"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"})
        if path.endswith("/parity/check"):
            outcomes = {report["outcome"] for report in self.reports.values()}
            outcome = "failed" if "failed" in outcomes else "passed"
            return httpx.Response(200, json={"outcome": outcome, "entities": {"churn-4": self.reports}})
        if path.endswith("/parity"):
            gate = {"churn-4": {"replicas": self.reports, "http": {"0": GOOD}}}
            settings = SETTINGS | (body or {})
            return httpx.Response(200, json={"settings": settings, "gate": gate, "live": {}, "incidents": []})
        return httpx.Response(200, json=self.endpoint or {"name": "churn"})


@pytest.fixture
def server(asked: Asked) -> FakeServer:
    return asked(FakeServer())


def test_a_check_of_an_endpoint_prints_each_replica_and_exits_by_the_outcome_if_asked(
    server: FakeServer, run: Run, capsys: Output
) -> None:
    assert run("parity", "check", "churn", "--exit-code") == 0
    out = capsys.readouterr().out
    assert "churn/churn-4, replica 1: Parity gate: 512 golden rows give training's predictions" in out
    assert "wire\tpassed\t512 rows come out of csv as they went in." in out
    server.reports["1"] = WRONG
    assert run("parity", "check", "churn") == 0
    assert run("parity", "check", "churn", "--exit-code", "--json") == 1
    assert run("parity", "check", "churn", "--entity", "4") == 0
    assert server.requests[-1] == ("POST", "/churn/parity/check", {"served_entity": "churn-4"})


def test_a_replay_shows_the_first_difference_field_by_field(server: FakeServer, run: Run, capsys: Output) -> None:
    server.reports["1"] = WRONG
    assert run("parity", "replay", "churn") == 0
    out = capsys.readouterr().out
    assert "  steps: step prep/cat, column plan, row 3, expected 1, got 2, 50 % of the rows" in out
    assert "replica 0 (dddddddddddd): Parity gate: 512 golden rows" in out


def test_replicas_that_came_out_alike_are_one_line(server: FakeServer, run: Run, capsys: Output) -> None:
    server.reports = {"0": GOOD, "1": GOOD | {"seconds": 0.7}, "2": WRONG, "3": GOOD}
    assert run("parity", "status", "churn") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "replica" in line and "HTTP" not in line]
    assert [line.split(": ")[0].strip() for line in lines] == ["churn-4, replicas 0, 1 and 3", "churn-4, replica 2"]
    assert run("parity", "replay", "churn") == 0
    out = capsys.readouterr().out
    assert "churn/churn-4, replicas 0, 1 and 3 (dddddddddddd): Parity gate: 512 golden rows" in out
    assert out.count("steps: step prep/cat") == 1


def test_the_name_of_a_model_is_taken_for_an_endpoint_and_what_to_say_is_told(
    server: FakeServer, run: Run, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "endpoint", None)
    assert run("parity", "check", "churn", "--entity", "4", "--exit-code") == 5
    assert "To check a model, name its version: churn/1, models:/churn/1." in capsys.readouterr().err


def test_the_status_has_settings_and_reports(server: FakeServer, run: Run, capsys: Output) -> None:
    assert run("parity", "status", "churn") == 0
    out = capsys.readouterr().out
    assert "a version with golden rows has to give training's answers" in out
    assert "  churn-4, replica 0 over HTTP: Parity gate: 512 golden rows" in out


def test_settings_that_no_option_names_stay(server: FakeServer, run: Run, capsys: Output) -> None:
    assert run("endpoints", "parity", "churn", "--gate", "warn", "--no-monitor") == 0
    assert server.requests[-1] == (
        "PUT", "/churn/parity", {"webhook": "https://hooks.example.org", "gate": "warn", "monitor": False},
    )  # fmt: skip
    assert capsys.readouterr().out.splitlines() == [
        "churn: gate is warn: a version that does not give training's answers gets traffic, with a warning",
        "churn: monitor is off",
    ]
    assert run("endpoints", "parity", "churn", "--webhook", "none") == 0
    assert server.requests[-1][2] == {"webhook": ""}
    assert capsys.readouterr().out == "churn: webhook is none (was https://hooks.example.org)\n"
    assert run("endpoints", "parity", "churn", "--webhook", "none", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"settings", "gate", "live", "incidents"}
    assert run("endpoints", "parity", "churn") == 0
    assert server.requests[-1][:2] == ("GET", "/churn/parity")
    assert "replica 0 over HTTP: Parity gate" in capsys.readouterr().out
    assert run("endpoints", "parity", "churn", "--key", "usage_context.device") == 0
    assert server.requests[-1][2]["key"] == "usage_context.device"
    assert run("endpoints", "parity", "churn", "--key", "none") == 0
    assert server.requests[-1][2]["key"] == ""
    assert run("endpoints", "parity", "churn", "--gate", "never") == 2


def test_deploy_says_what_becomes_of_a_version_that_differs(server: FakeServer, run: Run) -> None:
    assert run("deploy", "churn", "churn/5", "--parity-gate", "block", "--no-wait") == 0
    assert server.requests[1] == (
        "PUT", "/churn/parity", {"webhook": "https://hooks.example.org", "gate": "block"},
    )  # fmt: skip
    server.endpoint = None
    assert run("deploy", "churn", "churn/5", "--parity-gate", "off", "--no-wait") == 0
    assert server.requests[-1][2]["parity"] == {"gate": "off"}


@pytest.mark.parametrize(
    ("report", "code"), [(GOOD, 0), (WRONG, 1), ({"outcome": "skipped", "degraded": ["no golden rows"]}, 1), (None, 1)]
)
def test_a_model_that_was_not_shown_to_be_right_does_not_pass_in_ci(
    run: Run, capsys: Output, monkeypatch: pytest.MonkeyPatch, report: Any, code: int
) -> None:
    found = {"resolved_uri": "models:/churn/4", "report": report, "environment": ["numpy: 1 is needed"], "problem": ""}
    monkeypatch.setattr(parity, "offline", lambda _session, _model, _scratch: found)
    assert run("parity", "check", "models:/churn/4", "--exit-code") == code
    out = capsys.readouterr().out
    assert "This Python is not the one that the model asks for: numpy: 1 is needed" in out
    assert "models:/churn/4 is" not in out
    assert run("parity", "check", "models:/churn/4", "--entity", "x") == 2


def test_a_model_is_looked_for_in_the_server_s_store(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def remembered(argv: list[str], **_: Any) -> Any:
        asked.append(json.loads(Path(argv[-1]).read_bytes()))
        return SimpleNamespace(stdout='{"problem": "none of it"}', stderr="", returncode=1)

    monkeypatch.setattr(parity.subprocess, "run", remembered)
    monkeypatch.setenv("TALLYSTICK_TRACKING_URI", "https://mlflow.example.org")
    assert run("parity", "check", "churn/4") == 1
    assert asked[0]["tracking_uri"] == "https://mlflow.example.org"


def test_an_alias_is_of_a_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    found = {"resolved_uri": "models:/churn/4", "report": GOOD, "environment": [], "problem": ""}
    monkeypatch.setattr(parity, "offline", lambda _session, model, _scratch: asked.append(model) or found)
    assert run("parity", "check", "churn@champion", "--exit-code") == 0
    assert asked == ["churn@champion"]


def test_a_model_that_is_not_there_is_told(run: Run, capsys: Output) -> None:
    assert run("parity", "check", "./nowhere") == 2
    assert "There is no file or folder" in capsys.readouterr().err


def test_live_requests_are_told_in_lines_and_not_as_a_document():
    known = {
        "problem": "",
        "rows": 1520,
        "passed_over": 0,
        "status": "cause_found",
        "diagnosed_at": "2026-01-31T14:02:11Z",
    }
    known |= {"violations": {"age, years": {"null": 12, "type": 3}, "ward": {}}, "open_incidents": [7]}
    live = {"monitor": "connected", "served_entities": {"churn-4": known}}
    incident = {"id": 7, "state": "open", "served_entity": "churn-4", "kind": "unit", "features": ["age"]}
    incident |= {"segment": {"column": "client", "value": "ios/4.2"}, "opened_at": "2026-01-31T14:02:30Z"}
    incident |= {"first_seen": "2026-01-31 14:02:11Z", "last_seen": "2026-01-31T14:02:29Z"}
    found = {"settings": SETTINGS, "gate": {}, "live": live, "incidents": [incident]}
    assert list(parity.described("churn", found))[-5:] == [
        "  live      monitor connected",
        "  live      churn-4: 1,520 rows counted, cause found at 2026-01-31 14:02:11Z, open incident 7",
        "              values that are counted; whether training had as many, a diagnosis tells:",
        "              'age, years': 12 without a value, 3 of another type",
        "  incident  7 open, seen since 2026-01-31 14:02:11Z: churn-4, unit, age, client ios/4.2; "
        "see tallystick diagnose churn --incident 7",
    ]
    known["rows"] = 0
    assert "  live      churn-4: no rows counted yet, cause found" in "\n".join(parity.described("churn", found))


def test_what_breaks_the_contract_has_words():
    from tallystick.commands.parity_words import live_lines
    from tallystick.monitor.counters import Violation

    violations = {"age": {kind.name.lower(): 1 for kind in Violation}}
    (told,) = (line for line in live_lines({"served_entities": {"m": {"violations": violations}}}) if " age: " in line)
    assert not any(f"1 {kind.name.lower()}," in f"{told}," for kind in Violation)
