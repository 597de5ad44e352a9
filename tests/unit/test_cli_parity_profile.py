"""`tallystick parity profile`, against a server in memory that answers as the monitor does."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from monitor_rows import frame
from profile_rows import NOON, live_rows, watched

from builders.cli_server import Asked, Output, Run
from tallystick.commands.parity_profile import remarks, row_of
from tallystick.errors import TallystickError
from tallystick.monitor.places import WatchedEndpoint
from tallystick.monitor.profiles import profile_of
from tallystick.parity import Reference
from tallystick.protocol.monitoring import AskProfile, Window

PLACE = WatchedEndpoint("i", "churn", "", (), Path("/nowhere"), hidden=frozenset({"hum"}))


class FakeServer:
    """Rows of which a third is of a client that sends another unit and levels of its own."""

    def __init__(self) -> None:
        rows = frame(300, 1).assign(note=[f"of {number}" for number in range(300)])
        trained = Reference.from_frame(frame(600, 2).assign(note=[f"{number}" for number in range(600)]))
        ios = np.arange(300) % 3 == 0
        rows.loc[ios, "temp"] *= 100
        rows.loc[np.arange(300) % 9 == 0, "kind"] = "hot\x1b[2J"
        self.watch = watched(trained, live_rows(rows, ["ios/4.2.17" if each else "web/1.0" for each in ios]))
        self.queries: list[dict[str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("GET", "/api/2.0/serving-endpoints/churn/parity/profile")
        query = dict(request.url.params)
        self.queries.append(query)
        asked = AskProfile(
            1, "churn", "", Window(query["window"]), int(query["ago"]), query["segment"], query["column"]
        )
        try:
            found = profile_of(PLACE, "m", self.watch, asked, int(NOON.timestamp()))
        except TallystickError as error:
            return httpx.Response(error.status, json=error.to_body())
        return httpx.Response(200, json={"profiles": [found]})


@pytest.fixture(scope="module")
def fake() -> FakeServer:
    return FakeServer()


@pytest.fixture
def server(asked: Asked, fake: FakeServer) -> FakeServer:
    return asked(fake)


def test_columns_stand_beside_training_and_those_that_are_far_come_first(
    server: FakeServer, run: Run, capsys: Output
) -> None:
    assert run("parity", "profile", "churn", "--segment", "client=ios/4.2") == 0
    out = capsys.readouterr().out
    head, names, *lines = out.splitlines()
    assert head == "churn/m, day from 2026-11-26 00:00 UTC until now, client=ios/4.2: 100 rows"
    assert names.split("\t")[0] == "column"
    assert [line.split("\t")[0] for line in lines[:5]] == ["temp", "kind", "hum", "wind", "note"]
    assert "FAR: 100 % of rows lie elsewhere; 100 % out of training's range" in lines[0]
    # What a terminal would obey is shown, not done.
    assert "34 % never seen in training: hot\\x1b[2J 34 %" in lines[1]
    assert lines[2].split("\t")[1:] == ["-", "-", "-", "-", "its values are not recorded"]
    assert lines[4].endswith("values of free text are not kept")
    assert lines[5] == "Far from training: temp, kind. Why: tallystick diagnose churn"


def test_who_sends_is_told_where_all_rows_are_shown(server: FakeServer, run: Run, capsys: Output) -> None:
    assert run("parity", "profile", "churn", "--window", "hour") == 0
    out = capsys.readouterr().out
    assert "told apart by --segment: requester=ann (300), client=web/1.0 (200), client=ios/4.2 (100)" in out


def test_one_column_is_told_whole(server: FakeServer, run: Run, capsys: Output) -> None:
    assert run("parity", "profile", "churn", "--column", "temp", "--segment", "client=web/1.0") == 0
    out = capsys.readouterr().out
    assert "temp (number)" in out
    words = [line.split("\t")[0] for line in out.splitlines()]
    assert words[words.index("rows") : words.index("where rows lie")] == [
        "rows", "null", "distinct values", "smallest", "p1", "p5", "p25", "p50", "p75", "p95", "p99", "largest",
        "decimals", "whole numbers",
    ]  # fmt: skip
    assert "rows\t200\t600" in out
    assert [word[:5] for word in words[words.index("where rows lie") + 1 : -1]] == ["up to"] + ["above"] * 13
    assert words[-1] == "Not far from training."
    assert run("parity", "profile", "churn", "--column", "kind") == 0
    out = capsys.readouterr().out
    assert "level\tlive\ttraining\nhot\\x1b[2J\t11 %\tnew\nwarm\t" in out


def test_no_rows_are_told_with_where_there_are_some_and_what_is_not_there_exits_with_5(
    server: FakeServer, run: Run, capsys: Output
) -> None:
    assert run("parity", "profile", "churn", "--window", "hour", "--ago", "2") == 0
    assert capsys.readouterr().out.splitlines() == [
        "churn/m, hour from 2026-11-26 10:00 UTC to 2026-11-26 11:00: 0 rows",
        "  no rows were counted in this hour; the newest are of the hour from 2026-11-26T12:00:00Z (ago=0)",
    ]
    assert run("parity", "profile", "churn", "--segment", "client=nokia") == 5
    assert "There are client=ios/4.2, client=web/1.0, requester=ann." in capsys.readouterr().err


def test_json_is_the_servers_answer(server: FakeServer, run: Run, capsys: Output) -> None:
    assert run("parity", "profile", "churn", "--json", "--column", "wind") == 0
    (found,) = json.loads(capsys.readouterr().out)["profiles"]
    assert [column["name"] for column in found["columns"]] == ["wind"]
    assert server.queries[-1]["column"] == "wind"


def test_times_of_several_days_are_told_by_their_days() -> None:
    days = {"p5": "2026-11-24T08:15:00Z", "p50": "2026-11-25T08:15:00Z", "p95": "2026-11-26T08:15:00Z"}
    one = dict.fromkeys(days, "2026-11-26T08:15:00Z")
    column = {
        "name": "at", "is_far": False, "moved_share": 0.0, "violations": {}, "withheld": "",
        "live": {"rows": 10, "null_share": 0.1, "quantiles": days},
        "training": {"null_share": 0.0, "quantiles": one},
    }  # fmt: skip
    assert row_of(column) == (
        "at", "2026-11-24 · 2026-11-25 · 2026-11-26", "2026-11-26 08:15 · 08:15 · 08:15", "10 %", "0 %", "",
    )  # fmt: skip


def test_a_number_that_is_filled_in_is_told_with_its_shares() -> None:
    spike = {"value": -999.0, "rows": 12, "live": 0.12, "training": 0.0004}
    column = {
        "is_far": False, "moved_share": 0.1, "live": {"rows": 100}, "violations": {}, "withheld": "", "spikes": [spike],
    }  # fmt: skip
    assert list(remarks(column)) == ["spike: -999 in 12 %, was <0.1 %"]


def test_what_is_not_sent_has_no_share_that_moved() -> None:
    column = {
        "is_far": True, "moved_share": None, "live": {"rows": 10}, "violations": {"missing": 10}, "withheld": "",
    }  # fmt: skip
    assert list(remarks(column)) == ["FAR", "100 % not sent"]
