"""What `tallystick status` says of recording: nothing while all is well."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick.commands.status import LATE_S, messages, recording

WELL: dict[str, Any] = {
    "is_connected": True,
    "age_s": 0.4,
    "lag_s": 1.0,
    "unread_bytes": 0,
    "damaged_bytes": 0,
    "tables": {"churn_payload": {"problem": "", "waiting_rows": 3}},
}
JOURNAL: dict[str, Any] = {"bytes": 10, "dropped": {}, "sync_failures": 0, "problem": ""}


def lines(journal: dict[str, Any] | None = None, **recorder: Any) -> list[str]:
    return recording({"recorder": WELL | recorder, "journals": {"gateway-0": JOURNAL | (journal or {})}})


@pytest.mark.parametrize("server", [{}, {"recorder": None, "journals": {}}, {"recorder": WELL, "journals": {}}])
def test_nothing_is_said_while_all_is_well(server: dict[str, Any]) -> None:
    assert recording(server) == []


def test_drops_are_told_by_reason_and_process() -> None:
    told = lines({"dropped": {"disk_full": 2, "journal_full": 1}, "sync_failures": 4, "problem": "no room"})
    assert told == [
        "gateway-0 cannot write its journal: no room",
        "gateway-0 dropped 2 records (disk_full)",
        "gateway-0 dropped 1 record (journal_full)",
        "gateway-0: 4 syncs of the journal failed",
    ]


def test_a_recorder_that_is_away_or_behind_is_told() -> None:
    assert lines(is_connected=False, age_s=12.3) == ["the recorder is away since 12 s; rows wait in the journal"]
    assert lines(lag_s=LATE_S - 1) == []
    assert lines(lag_s=90.0, unread_bytes=7) == ["the recorder is 90 s behind, 7 bytes unread"]


def test_tables_with_a_problem_are_named() -> None:
    tables = {"a": {"problem": "", "waiting_rows": 0}, "b": {"problem": "the disk is full", "waiting_rows": 5}}
    assert lines(tables=tables) == ["table b: the disk is full (5 rows wait)"]
    tables["b"]["waiting_rows"] = 1
    assert lines(tables=tables) == ["table b: the disk is full (1 row waits)"]
    assert lines(damaged_bytes=9) == ["9 bytes of journal were damaged and are set aside"]


@pytest.mark.parametrize(
    ("message", "is_told"),
    [
        ("Parity gate: steps differs from training. Step prep, column age.", True),
        ("Parity gate: 512 golden rows give training's predictions (0.4 s).", False),
        ("", False),
    ],
)
def test_what_serves_with_a_warning_is_told(message: str, is_told: bool) -> None:
    state = {"deployment": "DEPLOYMENT_READY", "deployment_state_message": message}
    entity = {"id": "e", "name": "churn-4", "state": state}
    endpoint = {"name": "churn", "state": {}, "config": {"served_entities": [entity]}}
    assert messages(endpoint) == ([f"churn/churn-4 ready: {message}"] if is_told else [])
