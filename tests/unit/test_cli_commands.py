"""The commands against a server in memory: what they send, print and exit with."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer.main

from builders.cli_server import URL, Asked, Output, Run
from tallystick import cli, client
from tallystick.commands import words
from tallystick.commands.durations import parse_duration
from tallystick.commands.endpoints import added
from tallystick.commands.query import as_request
from tallystick.errors import NotFound, PermissionDenied, TallystickError, Unauthenticated
from tallystick.protocol.ledger import Coercion


class FakeServer:
    """Endpoints in memory: a config is active at once, or fails with `failure`."""

    def __init__(self) -> None:
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.failure = ""
        self.message = ""
        self.logs = ""
        self.refusal: TallystickError | None = None
        self.answer = httpx.Response(200, json={"predictions": [1, 0]}, headers={"served-model-name": "churn-3"})

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        path = request.url.path
        self.requests.append((request.method, path, body))
        if self.refusal is not None:
            return self._refused(self.refusal)
        if path.endswith("/invocations"):
            return self.answer
        try:
            return httpx.Response(200, json=self._control(request.method, path, body))
        except TallystickError as error:
            return self._refused(error)

    def _refused(self, error: TallystickError) -> httpx.Response:
        return httpx.Response(error.status, json=error.to_body())

    def _control(self, method: str, path: str, body: Any) -> Any:
        if found := re.fullmatch(r"/api/2\.0/serving-endpoints(?:/([^/]+))?(/.*)?", path):
            return self._endpoint(method, found[1], found[2] or "", body)
        if path == "/api/2.0/token/create":
            return {"token_value": "tsk_new", "token_info": {"token_id": "abc"}}
        if path == "/api/2.0/tallystick/status":
            worker = {"id": "id-churn-3-0", "phase": "running", "state": "ready", "pid": 42, "restarts": 0}
            return {"route_table_version": 7, "is_applied": True, "workers": [{**worker, "last_exit": ""}]}
        return {}

    def _endpoint(self, method: str, name: str | None, rest: str, body: Any) -> Any:
        if name is None and method == "GET":
            return {"endpoints": list(self.endpoints.values())}
        if name is None:
            return self._deploy({"name": body["name"], "version": 0}, body["config"])
        if name not in self.endpoints:
            raise NotFound(f"Endpoint with name '{name}' does not exist.")
        endpoint = self.endpoints[name]
        match method, rest:
            case "DELETE", _:
                del self.endpoints[name]
                return {}
            case "PUT", "/config":
                return self._deploy(endpoint, body)
            case "POST", "/config:stop":
                endpoint["state"]["suspend"] = "STOPPED"
        if rest.endswith("logs"):
            return {"logs": self.logs or f"text of {rest}\n"}
        return endpoint

    def _deploy(self, endpoint: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        version = endpoint["version"] + 1
        outcome = "DEPLOYMENT_FAILED" if self.failure else "DEPLOYMENT_READY"
        entities = [
            {
                "id": f"id-{entity['name']}",
                "creator": "admin",
                "state": {"deployment": outcome, "deployment_state_message": self.failure or self.message},
                **entity,
            }
            for entity in body["served_entities"]
        ]
        config = {**body, "served_entities": entities, "config_version": version}
        update = "UPDATE_FAILED" if self.failure else "NOT_UPDATING"
        endpoint = {
            **endpoint,
            "version": version,
            "creator": "admin",
            "permission_level": "CAN_MANAGE",
            "last_updated_timestamp": 0,
            "state": {"ready": "READY", "config_update": update, "suspend": "NOT_SUSPENDED"},
            ("pending_config" if self.failure else "config"): config,
        }
        self.endpoints[endpoint["name"]] = endpoint
        return endpoint

    def split(self, name: str) -> dict[str, float]:
        routes = self.endpoints[name]["config"]["traffic_config"]["routes"]
        return {route["served_entity_name"]: route["traffic_percentage"] for route in routes}


@pytest.fixture
def server(asked: Asked) -> FakeServer:
    return asked(FakeServer())


def test_a_version_goes_beside_the_old_one_and_gets_its_traffic_by_split(
    server: FakeServer, run: Run, capsys: Output
) -> None:
    assert run("deploy", "churn", "models:/churn/3") == 0
    assert server.split("churn") == {"churn-3": 100}
    assert run("deploy", "churn", "churn/4", "--size", "large") == 0
    assert server.split("churn") == {"churn-3": 100, "churn-4": 0}
    assert "tallystick split churn 3=90 4=10" in capsys.readouterr().out
    assert run("split", "churn", "3=90", "4=10") == 0
    assert server.split("churn") == {"churn-3": 90, "churn-4": 10}
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1:] == ["churn-3\t100 %\t90 %", "churn-4\t0 %\t10 %"]
    assert "In force after" in captured.err


def test_what_is_deployed_is_what_the_options_say(server: FakeServer, run: Run) -> None:
    options = "--as best --concurrency 8 --scale-to-zero --strict --env A=b=c --secret-env KEY=prod/db"
    assert run("deploy", "churn", "churn/4", *options.split()) == 0
    assert server.requests[1] == (
        "POST",
        "/api/2.0/serving-endpoints",
        {
            "name": "churn",
            "config": {
                "served_entities": [
                    {
                        "name": "best",
                        "entity_name": "churn",
                        "entity_version": "4",
                        "min_provisioned_concurrency": 0,
                        "max_provisioned_concurrency": 8,
                        "scale_to_zero_enabled": True,
                        "environment_vars": {
                            "TALLYSTICK_ENFORCEMENT": "strict",
                            "A": "b=c",
                            "KEY": "{{secrets/prod/db}}",
                        },
                    }
                ],
                "traffic_config": {"routes": [{"served_entity_name": "best", "traffic_percentage": 100}]},
            },
        },
    )


def test_a_version_that_is_deployed_again_is_asked_to_be_fetched_anew_and_the_others_are_not(
    server: FakeServer, run: Run
) -> None:
    for version in ("churn/4", "churn/3", "churn/3"):
        assert run("deploy", "churn", version) == 0
    asked = [body for method, _, body in server.requests if method == "PUT"][-1]
    flags = {entity["name"]: entity.get("fetch_anew") for entity in asked["served_entities"]}
    assert flags == {"churn-4": None, "churn-3": True}
    assert all("environment_vars" not in entity for entity in asked["served_entities"])


def test_a_version_whose_workers_go_on_is_told_so(server: FakeServer, run: Run, capsys: Output) -> None:
    for said in ("churn-3 is up after", "churn-3 was served already; its workers go on"):
        assert run("deploy", "churn", "churn/3") == 0
        assert said in capsys.readouterr().out


def test_replace_leaves_the_new_one_alone(server: FakeServer, run: Run) -> None:
    run("deploy", "churn", "churn/3")
    assert run("deploy", "churn", "churn/4", "--replace") == 0
    assert server.split("churn") == {"churn-4": 100}


def test_a_deployment_that_fails_says_why_and_shows_the_logs(server: FakeServer, run: Run, capsys: Output) -> None:
    server.failure = "There is no version 9."
    assert run("deploy", "churn", "churn/9") == 1
    captured = capsys.readouterr()
    assert "Error: churn-9: There is no version 9." in captured.err
    assert "end of the build log of churn-9" in captured.err
    assert "end of the log of churn-9" in captured.err
    assert captured.out == ""


def test_what_is_in_both_logs_of_a_failure_is_shown_once(server: FakeServer, run: Run, capsys: Output) -> None:
    server.failure, server.logs = "Parity gate: steps differs.", "  steps       FAILED   Step prep\n"
    assert run("deploy", "churn", "churn/9") == 1
    assert capsys.readouterr().err.count("Step prep") == 1


def test_a_deployment_says_what_the_gate_found(server: FakeServer, run: Run, capsys: Output) -> None:
    server.message = "Parity gate: steps differs from training."
    assert run("deploy", "churn", "churn/3", "--parity-gate", "warn") == 0
    assert capsys.readouterr().out.splitlines()[1] == "Parity gate: steps differs from training."


@pytest.mark.parametrize(
    "arguments",
    [
        ["deploy", "churn", "churn/3"],
        ["split", "churn", "3=100"],
        ["split", "churn"],
        ["query", "churn", '{"age": 1}'],
        ["endpoints", "list"],
        ["endpoints", "get", "churn"],
        ["endpoints", "stop", "churn"],
        ["endpoints", "delete", "churn", "--yes"],
        ["logs", "churn"],
        ["status"],
        ["token", "create", "bob"],
        ["token", "list"],
        ["token", "revoke", "abc"],
        ["secret", "list"],
        ["secret", "delete", "a/b"],
        ["endpoints", "get", "nope"],
    ],
)
def test_json_is_one_document_and_nothing_else(
    server: FakeServer, run: Run, capsys: Output, arguments: list[str]
) -> None:
    run("deploy", "churn", "churn/3")
    capsys.readouterr()
    code = run(*arguments, "--json")
    document = json.loads(capsys.readouterr().out)
    assert ("error_code" in document) == (code != 0) == (arguments[-1] == "nope")


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Unauthenticated("no"), 4),
        (PermissionDenied("no"), 4),
        (NotFound("no"), 5),
        (client.WaitTimedOut("no"), 6),
        (TallystickError("no"), 1),
    ],
)
def test_a_refusal_has_its_exit_code_and_one_line(
    server: FakeServer, run: Run, capsys: Output, refusal: TallystickError, code: int
) -> None:
    server.refusal = refusal
    assert run("endpoints", "get", "churn") == code
    assert capsys.readouterr().err == "Error: no\n"


def test_a_name_that_is_none_is_told_with_where_names_are(server: FakeServer, run: Run, capsys: Output) -> None:
    assert run("endpoints", "get", "chrun") == 5
    first, second = capsys.readouterr().err.splitlines()
    assert first == "Error: Endpoint with name 'chrun' does not exist."
    assert second.strip() == "'tallystick endpoints list' shows those that this token may see."


@pytest.mark.parametrize("host", ["http://localhost:notaport", "ht tp://x", "ftp://x", "http://", "[::1", "a:99999"])
def test_what_is_no_address_is_wrong_usage_with_one_that_is(
    server: FakeServer, run: Run, capsys: Output, host: str
) -> None:
    assert run("status", "--host", host, "--token", "tsk_x") == 2
    assert capsys.readouterr().err == (
        f"Error: '{host}' is no address of a server. Give --host, TALLYSTICK_HOST or DATABRICKS_HOST one such as "
        "127.0.0.1:8080 or https://serving.example.org.\n"
    )


def test_no_server_has_its_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TALLYSTICK_HOST", "DATABRICKS_HOST", "TALLYSTICK_TOKEN", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TALLYSTICK_DATA_DIR", str(tmp_path))
    assert run("status") == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["deploy", "churn", "churn"],
        ["deploy", "churn", "churn/3", "--size", "Huge"],
        ["deploy", "churn", "churn/3", "--size", "Small", "--concurrency", "4"],
        ["deploy", "churn", "churn/3", "--env", "A"],
        ["deploy", "churn", "churn/3", "--secret-env", "A=b"],
        ["deploy", "churn", "churn/3", "--traffic", "101"],
        ["deploy", "churn", "churn/3", "--replace", "--traffic", "10"],
        ["deploy", "churn", "churn/3", "--timeout", "soon"],
        ["query", "churn"],
        ["query", "churn", "{"],
        ["query", "churn", "@/nowhere.json"],
        ["logs", "churn", "--follow", "--json"],
        ["token", "create", "bob", "--expires", "x"],
        ["token", "create", "bob", "--can-query", "a", "--can-manage", "a"],
        ["secret", "put", "nameonly"],
        ["nonsense"],
        ["serve", "--host", "0.0.0.0"],
        ["serve", "--tls-cert", "/nowhere.pem"],
        ["serve", "--request-timeout", "0"],
    ],
)
def test_wrong_usage_is_told_before_anything_is_sent(server: FakeServer, run: Run, arguments: list[str]) -> None:
    assert run(*arguments) == 2
    assert server.requests == []


def test_a_split_that_cannot_be_meant_changes_nothing(server: FakeServer, run: Run) -> None:
    run("deploy", "churn", "churn/3")
    assert run("split", "churn", "3=90") == 2
    assert server.split("churn") == {"churn-3": 100}


def test_a_stopped_endpoint_is_not_deployed_to(server: FakeServer, run: Run, capsys: Output) -> None:
    run("deploy", "churn", "churn/3")
    run("endpoints", "stop", "churn")
    assert run("deploy", "churn", "churn/4") == 1
    assert "tallystick endpoints start churn" in capsys.readouterr().err


def test_deleting_without_a_terminal_needs_yes(server: FakeServer, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("deploy", "churn", "churn/3")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert run("endpoints", "delete", "churn") == 2
    assert "churn" in server.endpoints


def test_query_shows_predictions_and_warns_of_what_was_changed(server: FakeServer, run: Run, capsys: Output) -> None:
    server.answer.headers["x-tallystick-coercions"] = "age;fraction_dropped=1"
    assert run("query", "churn", '[{"age": 1.5}, {"age": 2}]') == 0
    assert server.requests[-1][2] == {"dataframe_records": [{"age": 1.5}, {"age": 2}]}
    captured = capsys.readouterr()
    assert captured.out.startswith("row\tprediction\n0\t1\n1\t0\n\nserved by churn-3")
    assert "age: fraction dropped" in captured.err


def test_query_of_one_served_entity_goes_past_the_split(server: FakeServer, run: Run) -> None:
    assert run("query", "churn", "[[1]]", "--entity", "churn-4") == 0
    assert server.requests[-1][1] == "/serving-endpoints/churn/served-models/churn-4/invocations"
    run("deploy", "churn", "churn/3")
    assert run("query", "churn", "[[1]]", "--entity", "3") == 0
    assert server.requests[-1][1] == "/serving-endpoints/churn/served-models/churn-3/invocations"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ('{"dataframe_split": {"data": [[1]]}}', '{"dataframe_split": {"data": [[1]]}}'),
        ('{"inputs":  [1.10]}', '{"inputs":  [1.10]}'),
        ('{"params": {}}', '{"params": {}}'),
        ('{"age": 1}', '{"dataframe_records": [{"age": 1}]}'),
        ('[{"age": 1}]', '{"dataframe_records": [{"age": 1}]}'),
        ("[[1, 2]]", '{"instances": [[1, 2]]}'),
        ("[]", '{"instances": []}'),
    ],
)
def test_rows_become_a_request_and_a_request_stays_as_it_is(given: str, sent: str) -> None:
    assert as_request(given.encode(), "the request") == sent.encode()


def test_records_may_be_a_list_or_one_row_a_line(server: FakeServer, run: Run, tmp_path: Path) -> None:
    for text in ('[{"a": 1}, {"a": 2}]', '{"a": 1}\n{"a": 2}\n'):
        (tmp_path / "rows").write_text(text)
        assert run("query", "churn", "--records", str(tmp_path / "rows")) == 0
        assert server.requests[-1][2] == {"dataframe_records": [{"a": 1}, {"a": 2}]}


def test_rights_are_granted_only_when_all_endpoints_exist(server: FakeServer, run: Run) -> None:
    run("deploy", "churn", "churn/3")
    server.requests.clear()
    assert run("token", "create", "bob", "--can-query", "churn", "--can-query", "nope") == 5
    assert {method for method, _, _ in server.requests} == {"GET"}


def test_a_token_is_made_for_its_name_and_never_an_admins_by_accident(
    server: FakeServer, run: Run, capsys: Output
) -> None:
    run("deploy", "churn", "churn/3")
    server.requests.clear()
    capsys.readouterr()
    assert run("token", "create", "bob", "--can-query", "churn", "--expires", "30d") == 0
    assert server.requests[1:] == [
        (
            "PATCH",
            "/api/2.0/permissions/serving-endpoints/churn",
            {"access_control_list": [{"user_name": "bob", "permission_level": "CAN_QUERY"}]},
        ),
        (
            "POST",
            "/api/2.0/token/create",
            {"principal": "bob", "is_admin": False, "comment": "", "lifetime_seconds": 30 * 86400},
        ),
    ]
    assert capsys.readouterr().out == f"export DATABRICKS_HOST={URL}\nexport DATABRICKS_TOKEN=tsk_new\n"


def test_a_secret_is_read_from_stdin_without_its_last_newline(
    server: FakeServer, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\nb\n"))
    assert run("secret", "put", "prod/db/password") == 0
    assert server.requests[-1][2] == {"scope": "prod", "key": "db/password", "string_value": "a\nb"}
    assert "a\nb" not in capsys.readouterr().out


def test_status_shows_workers_beside_what_they_serve(server: FakeServer, run: Run, capsys: Output) -> None:
    run("deploy", "churn", "churn/3")
    capsys.readouterr()
    assert run("status") == 0
    assert "churn\tchurn-3\tchurn/3\t100 %\tready\tpid 42" in capsys.readouterr().out


def test_a_fault_of_ours_is_one_line_without_a_trace(
    server: FakeServer, run: Run, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: object) -> None:
        raise ValueError("oh")

    monkeypatch.delenv("TALLYSTICK_DEBUG", raising=False)
    monkeypatch.setattr(FakeServer, "split", broken)
    monkeypatch.setattr("tallystick.commands.status.condition", broken)
    run("deploy", "churn", "churn/3")
    capsys.readouterr()
    assert run("status") == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ValueError: oh\n")
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("30m", 1800), ("12h", 43200), ("2d", 172800), ("5 ms", 0.005)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_a_log_that_was_cut_at_its_beginning_goes_on_where_it_was() -> None:
    assert added("", "abc") == "abc"
    assert added("abc", "abc") == ""
    assert added("line 1\nline 2\n", "line 2\nline 3\n") == "line 3\n"
    assert added("abc", "xyz") == "xyz"


def test_every_kind_of_coercion_has_its_words() -> None:
    assert set(words.WORDS) == set(Coercion)


DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


def options_of(command: Any) -> set[str]:
    """Return every option of a command and of those below it, by its longest name."""
    below = getattr(command, "commands", {}).values()
    own = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    return own.union(*map(options_of, below))


def test_every_command_and_option_is_in_the_docs() -> None:
    text, root = DOCS.read_text(), typer.main.get_command(cli.app)
    shell = {"--install-completion", "--show-completion"}
    assert {
        option for option in options_of(root) - shell if f"`{option}`" not in text and f"{option}`" not in text
    } == set()
    commands = root.commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        assert f"## `tallystick {name}" in text
        for inner in getattr(command, "commands", {}):
            assert f"`{name} {inner}" in text


def test_ctrl_c_while_waiting_says_that_the_server_goes_on(
    server: FakeServer, run: Run, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tallystick.commands.session.Session.client", WaitingClient(wait))
    assert run("deploy", "churn", "churn/3") == 130
    assert "the server goes on" in capsys.readouterr().err


class WaitingClient:
    """A server that takes a deployment and never has it up."""

    def __init__(self, wait: Callable[..., None]) -> None:
        self.wait = wait

    def find_endpoint(self, _name: str) -> None:
        return None

    def create_endpoint(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"name": body["name"], "pending_config": {"config_version": 1}}
