"""Which senders are looked at by themselves, and what becomes of what their rows show."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tallystick.monitor.explain import Explained, Looked
from tallystick.monitor.rare import ENOUGH_ROWS, MOST_SENDERS, Moved, few_of, with_few
from tallystick.monitor.rows import LiveRows, Senders
from tallystick.monitor.sent import Sent
from tallystick.parity.kinds import Family, Status
from tallystick.parity.verdict import Verdict

START = pd.Timestamp("2026-01-31 14:00", tz="UTC")


def verdict(status: Status, share: float = 1.0, **segment: Any) -> Explained:
    family = Family.PREPROCESSING if status is Status.CAUSE_FOUND else Family.NONE
    given: dict[str, Any] = {"kind": "unit", "features": ("temp",), "share": share, "rows": 150, "segment": segment}
    return Explained(Verdict(status=status, family=family, **given))


def senders(*clients: str) -> Senders:
    return Senders(pd.DataFrame({"client": clients}), pd.Series(pd.date_range(START, periods=len(clients), freq="s")))


def looked(clients: dict[str, int], *found: Explained) -> Looked:
    who = senders(*[name for name, rows in clients.items() for _ in range(rows)])
    return Looked(found or (verdict(Status.CONSISTENT),), True, who)


def rows_of(client: str, rows: int) -> Sent:
    who = senders(*[client] * rows)
    frame = pd.DataFrame({"temp": np.zeros(rows)})
    return Sent(LiveRows(frame, who.segments, who.times, pd.Series(["r"] * rows)), np.zeros(rows, dtype=bool))


IOS, WEB = Moved(0.002, "client", "ios/4.2"), Moved(0.6, "client", "web/1.0")


def test_a_sender_with_few_of_the_judged_rows_is_looked_at_unless_it_is_blamed_already() -> None:
    judged = {"ios/4.2": ENOUGH_ROWS - 1, "web/1.0": ENOUGH_ROWS}
    assert few_of([IOS, WEB], looked(judged)) == [IOS]
    blamed = verdict(Status.CAUSE_FOUND, column="client", value="ios/4.2")
    assert few_of([IOS, WEB], looked(judged, blamed)) == []


def test_many_senders_take_turns_and_new_ones_come_first() -> None:
    early, late = datetime(2026, 1, 31, 14, tzinfo=UTC), datetime(2026, 1, 31, 15, tzinfo=UTC)
    large, before = Moved(0.2, "client", "large", late), Moved(0.01, "client", "before", early)
    new, rare = Moved(0.05, "client", "new"), Moved(0.001, "client", "rare")
    assert few_of([large, before, rare, new], looked({})) == [new, rare, before, large]


def test_senders_without_a_turn_are_told() -> None:
    many = [Moved((9 - number) / 100, "client", f"c{number}") for number in range(MOST_SENDERS + 2)]
    asked: list[tuple[str, str]] = []
    found = with_few(looked({}), many, lambda sender: asked.append(sender), lambda _: verdict(Status.CONSISTENT))
    assert [value for _, value in asked] == ["c0", "c1", "c2"]
    assert found.alone == {("client", "c0"), ("client", "c1"), ("client", "c2")}
    assert found.found[0].verdict.degraded == (
        "moved too, with too few of the judged rows to tell why; each has its turn in the next looks: "
        "client c3, client c4",
    )


def test_what_its_rows_show_is_its_own_and_says_how_it_was_judged() -> None:
    found = with_few(
        looked({"web/1.0": 500}), [IOS], lambda _: rows_of("ios/4.2", 150), lambda _: verdict(Status.CAUSE_FOUND)
    )
    (only,) = found.found
    assert only.verdict.segment == {
        "column": "client",
        "value": "ios/4.2",
        "share_of_rows": 0.002,
        "affected_inside": 1.0,
        "affected_outside": 0.0,
    }
    assert only.verdict.degraded == (
        "judged by the newest 150 rows of client ios/4.2 alone: the newest rows of all have too few of its own",
    )
    # Its rows were looked at, so an incident of its own can close.
    assert found.senders()["client", "ios/4.2"] == 150
    assert found.is_clean


def test_who_sent_most_of_the_judged_rows_is_judged_by_these_however_few_they_are() -> None:
    ann, ios = Moved(1.0, "requester", "ann"), Moved(0.3, "client", "ios/4.2")
    clients = senders(*["ios/4.2"] * 15, *["web/1.0"] * 35)
    who = Senders(clients.segments.assign(requester="ann"), clients.times)
    assert few_of([ann, ios], Looked((verdict(Status.CONSISTENT),), True, who)) == [ios]


def test_a_cause_that_rows_of_a_sender_show_in_another_who_is_blamed_for_it_is_told_once() -> None:
    first = verdict(Status.CAUSE_FOUND, column="client", value="ios/4.2")
    ann = Moved(0.1, "requester", "ann")
    before = looked({"ios/4.2": 500}, first)
    same = with_few(before, [ann], lambda _: rows_of("ios/4.2", 150), lambda _: first)
    assert same.found == before.found
    other = verdict(Status.CAUSE_FOUND, column="client", value="web/1.0")
    found = with_few(before, [ann], lambda _: rows_of("web/1.0", 150), lambda _: other)
    assert [each.verdict.segment["value"] for each in found.found] == ["ios/4.2", "ann"]


def test_causes_of_others_stay_first() -> None:
    other = verdict(Status.CAUSE_FOUND, column="client", value="web/1.0")
    found = with_few(
        looked({"web/1.0": 500}, other), [IOS], lambda _: rows_of("ios/4.2", 150), lambda _: verdict(Status.CAUSE_FOUND)
    )
    assert [each.verdict.segment["value"] for each in found.found] == ["web/1.0", "ios/4.2"]


@pytest.mark.parametrize("sent", [None, rows_of("ios/4.2", 5)])
def test_too_few_rows_say_nothing(sent: Sent | None) -> None:
    before = looked({"web/1.0": 500})
    found = with_few(before, [IOS], lambda _: sent, lambda _: verdict(Status.CAUSE_FOUND))
    assert found.found == before.found


def test_whole_rows_of_it_leave_the_verdict_and_are_counted() -> None:
    before = looked({"web/1.0": 500})
    found = with_few(before, [IOS], lambda _: rows_of("ios/4.2", 150), lambda _: verdict(Status.CONSISTENT))
    assert found.found == before.found
    assert found.senders()["client", "ios/4.2"] == 150
