"""`tallystick diagnose`, against a server that is a table of answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from builders.cli_server import Asked, Output, Run

VERDICT = {
    "served_entity": "churn-3",
    "incident_id": 7,
    "text": "CAUSE FOUND (proof)   preprocessing · unit · column temp",
    "verdict": {"status": "cause_found", "first_seen": "2026-01-31 14:02:11Z"},
    "rows": [
        {
            "request_id": "r1",
            "request_time": "2026-01-31 14:02:11Z",
            "client": "ios/4.2",
            "sent": {"temp": 2010.0},
            "expected": {"temp": 20.1},
        }
    ],
}
INCIDENT = {
    "id": 7,
    "state": "open",
    "served_entity": "churn-3",
    "opened_at": "2026-01-31T14:02:30Z",
    "updated_at": "2026-01-31T15:00:30Z",
    "last_seen": "2026-01-31T15:00:00Z",
    "closed_at": "",
    "closed_because": "",
}
LISTED = INCIDENT | {
    "family": "preprocessing",
    "kind": "unit",
    "strength": "proof",
    "features": ["temp"],
    "segment": {"column": "client", "value": "ios/4.2"},
    "first_seen": "2026-01-31 14:02:11Z",
}


class Api:
    """Answers, and what was asked."""

    def __init__(self) -> None:
        self.verdicts: list[dict[str, Any]] = [VERDICT]
        self.incidents: list[dict[str, Any]] = [LISTED]
        self.asked: list[Any] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/2.0/serving-endpoints/churn/parity/")
        if path == "/api/2.0/serving-endpoints/churn":
            served = [{"name": f"churn-{version}", "entity_version": version} for version in ("3", "4")]
            return httpx.Response(200, json={"name": "churn", "config": {"served_entities": served}})
        if path == "diagnose":
            self.asked.append(json.loads(request.content))
            return httpx.Response(200, json={"verdicts": self.verdicts})
        if path == "incidents":
            return httpx.Response(200, json={"incidents": self.incidents})
        if path == "incidents/7":
            return httpx.Response(200, json=INCIDENT | {name: VERDICT[name] for name in ("text", "verdict", "rows")})
        return httpx.Response(404, json={"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "There is none."})


Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def api(asked: Asked) -> Api:
    return asked(Api())


@pytest.fixture
def said(run: Run, capsys: Output) -> Said:
    """Run `tallystick diagnose` with these words; return its exit code and what it wrote."""

    def said(*arguments: str) -> tuple[int, str, str]:
        code = run("diagnose", *arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return said


def test_a_verdict_is_told_in_words_with_its_incident(api: Api, said: Said) -> None:
    code, out, _ = said("churn", "--since", "2h", "--served-entity", "churn-3", "--rows")
    assert code == 0
    assert out.startswith("churn · churn-3 · incident 7\nCAUSE FOUND (proof)")
    assert "2010 → 20.1" in out
    (asked,) = api.asked
    assert asked == {"served_entity": "churn-3", "rows": True, "html": False, "since_s": pytest.approx(7200, abs=2)}


def test_a_served_entity_is_named_by_its_version_as_elsewhere(api: Api, said: Said) -> None:
    assert said("churn", "--entity", "4")[0] == 0
    assert said("churn", "--served-entity", "churn-4")[0] == 0
    assert [each["served_entity"] for each in api.asked] == ["churn-4", "churn-4"]
    code, _, err = said("churn", "--entity", "9")
    assert (code, "No served entity is called '9'. There are churn-3" in err, len(api.asked)) == (2, True, 2)


@pytest.mark.parametrize(
    "since", ["yesterday", "2hours", "2w", "", "2026-13-01", "-1h", "9" * 12 + "d", "2999-01-01", "0", "0h"]
)
def test_a_since_that_is_no_time_is_refused_with_the_forms_that_are(api: Api, said: Said, since: str) -> None:
    code, _, err = said("churn", f"--since={since}")
    assert (code, api.asked) == (2, [])
    assert f"--since '{since}'" in err
    assert all(form in err for form in ("30m", "2h", "7d", "2026-01-31T12:00"))


def test_the_key_of_rows_is_passed_on_and_a_source_is_read_here_only(api: Api, said: Said, tmp_path: Path) -> None:
    assert said("churn", "--key", "usage_context.device")[0] == 0
    assert api.asked[-1]["key"] == "usage_context.device"
    code, _, err = said("churn", "--key", "a", "--history", str(tmp_path / "features.parquet"))
    assert (code, "--reference MODEL" in err) == (2, True)
    assert said("churn", "--key", "a", "--key", "b")[0] == 2
    assert len(api.asked) == 1


def test_json_is_the_servers_answer_without_pages(api: Api, said: Said, tmp_path: Path) -> None:
    api.verdicts = [VERDICT | {"html": "<html>"}]
    page = tmp_path / "report.html"
    code, out, err = said("churn", "--json", "--html", str(page))
    assert (code, json.loads(out)) == (0, {"verdicts": [VERDICT]})
    assert page.read_text() == "<html>"
    assert f"Wrote {page}" in err


def test_each_verdict_on_a_served_entity_has_a_page(api: Api, said: Said, tmp_path: Path) -> None:
    pages = ["churn-3", "churn-3", "churn-4", "churn-3"]
    api.verdicts = [VERDICT | {"served_entity": name, "html": f"<{k}>"} for k, name in enumerate(pages)]
    assert said("churn", "--html", str(tmp_path / "a.html"))[0] == 0
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {
        "a.html": "<0>",
        "a-churn-3-2.html": "<1>",
        "a-churn-4.html": "<2>",
        "a-churn-3-3.html": "<3>",
    }


def test_a_page_that_could_not_be_written_is_refused_before_there_is_a_verdict(
    api: Api, said: Said, tmp_path: Path
) -> None:
    code, _, err = said("churn", "--html", str(tmp_path / "none" / "a.html"))
    assert (code, f"there is no folder {tmp_path / 'none'}" in err) == (2, True)
    code, _, err = said("churn", "--html", str(tmp_path))
    assert (code, "is a folder; name a file in it" in err) == (2, True)
    code, _, err = said("churn", "--html", str(tmp_path / ("a" * 300)))
    assert (code, "cannot be written: File name too long" in err) == (2, True)
    assert api.asked == []


@pytest.mark.skipif(sys.platform != "linux", reason="a file that is always full")
def test_a_page_that_was_not_written_after_all_loses_no_verdict(api: Api, said: Said) -> None:
    api.verdicts = [VERDICT | {"html": "<html>"}]
    code, out, err = said("churn", "--html", "/dev/full")
    assert (code, "CAUSE FOUND" in out, "cannot be written: No space left on device" in err) == (2, True, True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["churn", "--incidents", "--since", "2h"], "--since is of a diagnosis"),
        (["churn", "--incidents", "--rows"], "--rows is of a diagnosis"),
        (
            ["churn", "--incident", "7", "--served-entity", "churn-3", "--key", "a"],
            "--served-entity and --key are of a",
        ),
        (["./table", "--reference", "m", "--served-entity", "churn-3"], "--served-entity is of endpoints"),
        (["./table", "--reference", "m", "--incident", "0"], "--incident is of endpoints"),
        (["churn", "--history-time", "at"], "--history-time is a column of --history"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(api: Api, said: Said, options: list[str], told: str) -> None:
    code, out, err = said(*options)
    assert (code, out, told in err) == (2, "", True), err


@pytest.mark.parametrize("chosen", [["--incident", "7"], ["--incidents"]])
def test_a_page_of_an_incident_is_refused_not_forgotten(api: Api, said: Said, chosen: list[str]) -> None:
    code, _, err = said("churn", *chosen, "--html", "a.html")
    assert (code, "--html is of a diagnosis" in err) == (2, True)


@pytest.mark.parametrize(
    ("sent", "expected", "shown"),
    [
        ("12.5", 12.5, '"12.5" → 12.5'),
        ("summer ", "summer", '"summer " → summer'),
        ("SUMMER", "summer", "SUMMER → summer"),
        ("", None, '""'),
        ("NaN", None, '"NaN"'),
        (True, "True", 'True → "True"'),
        (None, 3.5, "null → 3.5"),
        ("(hidden)", "(hidden)", "(hidden)"),
    ],
)
def test_a_text_is_told_from_what_it_reads_as(api: Api, said: Said, sent: Any, expected: Any, shown: str) -> None:
    row = VERDICT["rows"][0] | {"sent": {"temp": sent}, "expected": {"temp": expected}}
    api.verdicts = [VERDICT | {"rows": [row]}]
    assert f"\t{shown}\t" in said("churn", "--rows")[1]


def test_a_column_that_was_not_sent_is_not_called_null(api: Api, said: Said) -> None:
    row = VERDICT["rows"][0] | {"sent": {"temp": None}, "expected": {"temp": None}}
    api.verdicts = [VERDICT | {"rows": [row], "verdict": {"kind": "missing_column"}}]
    assert "\tnot sent\t" in said("churn", "--rows")[1]


def test_a_page_that_cannot_be_made_is_said(api: Api, said: Said, tmp_path: Path) -> None:
    code, _, err = said("churn", "--html", str(tmp_path / "report.html"))
    assert (code, "No page was written" in err, list(tmp_path.iterdir())) == (0, True, [])


def test_incidents_are_listed_and_shown(api: Api, said: Said) -> None:
    _, out, _ = said("churn", "--incidents")
    assert "\t2026-01-31 15:00:00Z" in out
    assert "7\topen\tchurn-3\tpreprocessing · unit (proof)\ttemp\tclient ios/4.2\t2026-01-31 14:02:11Z" in out
    _, out, _ = said("churn", "--incident", "7")
    assert out.startswith(
        "churn · churn-3 · incident 7, open; opened 2026-01-31 14:02:30Z, "
        "seen from 2026-01-31 14:02:11Z to 2026-01-31 15:00:00Z\n"
    )
    assert "2010" not in out
    _, out, _ = said("churn", "--incident", "7", "--rows")
    assert "2010 → 20.1" in out
    assert said("churn", "--incident", "8")[0] == 5
    api.incidents = []
    assert "has no incidents" in said("churn", "--incidents")[1]


def test_incidents_are_told_in_sentences_on_a_terminal_that_no_table_of_them_fits(
    api: Api, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    title = "Since 2026-01-31 14:02:11Z client ios/4.2 (31 % of requests) sends temp 100 times as large as in training."
    api.incidents = [LISTED | {"title": title}, LISTED | {"id": 6, "title": ""}]
    assert said("churn", "--incidents")[1].splitlines() == [
        "incident 7 · open · churn-3 · last seen 2026-01-31 15:00:00Z",
        "    Since 2026-01-31 14:02:11Z client ios/4.2 (31 % of requests) sends temp 100",
        "    times as large as in training.",
        "incident 6 · open · churn-3 · last seen 2026-01-31 15:00:00Z",
        "    preprocessing · unit (proof) temp client ios/4.2",
        "",
        "One of them whole: tallystick diagnose churn --incident 7",
    ]


def test_a_table_needs_a_reference_to_be_compared_with(said: Said, tmp_path: Path) -> None:
    code, _, err = said(str(tmp_path / "churn_payload"))
    assert (code, "--reference" in err) == (2, True)
    code, _, err = said(str(tmp_path / "churn_payload"), "--reference", str(tmp_path))
    assert (code, "There is no reference of training" in err) == (1, True)


def test_ids_of_rows_stay_whole_on_a_narrow_terminal(api: Api, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "3f2b1c9e-8a7d-4e6f-9b0a-1c2d3e4f5a6b"
    sent = {"temperature": 2010.0, "relative_humidity": 55.0, "distance_to_station": 1.25}
    row = VERDICT["rows"][0] | {"request_id": name, "sent": sent, "client": "a-rather-long-name/10.11.12"}
    monkeypatch.setitem(VERDICT, "rows", [row])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")

    _, printed, _ = said("churn", "--rows")

    assert name in printed
    assert "2026-01-31 14:02:11Z from a-rather-long-name/10.11.12" in printed
    assert max(map(len, printed.splitlines())) <= 80


CONTROLS = "\x1b[2J\x1b[31mowned\x9b\x7f\u202e\u2066\u2028"
SHOWN = r"\x1b[2J\x1b[31mowned\x9b\x7f\u202e\u2066"


@pytest.mark.parametrize("arguments", [(), ("--rows",), ("--incidents",), ("--incident", "7", "--rows"), ("--json",)])
def test_what_a_terminal_would_obey_is_printed_escaped(
    api: Api, said: Said, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
):
    row = VERDICT["rows"][0] | {"client": CONTROLS, "sent": {CONTROLS: CONTROLS}, "expected": {CONTROLS: CONTROLS}}
    monkeypatch.setitem(VERDICT, "text", f"CAUSE FOUND\nlevels {CONTROLS}")
    monkeypatch.setitem(VERDICT, "rows", [row])
    api.incidents = [LISTED | {"segment": {"column": "client", "value": CONTROLS}, "features": [CONTROLS]}]

    code, printed, _ = said("churn", *arguments)

    assert code == 0
    assert not set(CONTROLS) & set(printed) - set("[2J31mowned")
    assert (json.dumps(CONTROLS)[1:-1] if arguments == ("--json",) else SHOWN) in printed
