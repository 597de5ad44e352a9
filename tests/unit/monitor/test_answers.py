"""What the monitor answers when what was asked for cannot be told: why, and whose fault it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import DamagedTable, InvalidParameter, NotFound
from tallystick.monitor.__main__ import Monitor
from tallystick.monitor.line import MonitorLine
from tallystick.monitor.places import WatchedEndpoint, WatchedEntity
from tallystick.monitor.work import Work
from tallystick.protocol.monitoring import AskProfile, Diagnose, Diagnosed, Watching
from tallystick.settings import Settings


class Said:
    """The end of the line: what was sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any) -> bool:
        self.sent.append(message)
        return True


class Failing:
    """Work that cannot be done."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def diagnose(self, *_: object) -> bytes:
        raise self._error

    profile = diagnose

    def standing(self, _: object) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("asked", [Diagnose(3, "churn"), AskProfile(3, "churn")])
@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (NotFound("no such column"), "RESOURCE_DOES_NOT_EXIST", "no such column"),
        (InvalidParameter("no records"), "INVALID_PARAMETER_VALUE", "no records"),
        (DamagedTable("a file is damaged"), "INTERNAL_ERROR", "a file is damaged"),
        (ZeroDivisionError("secret"), "INTERNAL_ERROR", "failed; the server's log says more"),
    ],
)
def test_a_problem_has_the_code_of_what_went_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Any, error: Exception, code: str, text: str
) -> None:
    line = Said()
    monitor = Monitor(Settings(tmp_path), line)  # type: ignore[arg-type]
    place = WatchedEndpoint("i", "churn", "", (), tmp_path)
    monkeypatch.setattr(monitor._routes, "read", lambda: {"churn": place})
    monkeypatch.setattr(monitor, "_work", Failing(error))
    monitor.answer(asked)
    (answer,) = [each for each in line.sent if isinstance(each, Diagnosed)]
    assert (answer.number, answer.error_code, answer.body) == (3, code, b"")
    assert text in answer.problem
    assert "secret" not in answer.problem


def test_an_endpoint_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    line = Said()
    Monitor(Settings(tmp_path), line).answer(AskProfile(3, "churn"))  # type: ignore[arg-type]
    (answer,) = line.sent
    assert (answer.error_code, "not deployed" in answer.problem) == ("RESOURCE_DOES_NOT_EXIST", True)


def test_a_question_too_many_may_be_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line, said = MonitorLine(tmp_path / "none.sock", Watching(1)), Said()
    monkeypatch.setattr(line, "send", said.send)
    number = 0
    while not said.sent:
        number += 1
        line.heard(Diagnose(number, "churn"))
    (answer,) = said.sent
    assert (answer.number, answer.error_code) == (number, "TEMPORARILY_UNAVAILABLE")


def test_what_somebody_waits_for_is_answered_before_the_next_endpoint_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = MonitorLine(tmp_path / "none.sock", Watching(1))
    monitor, work = Monitor(Settings(tmp_path), line), Work(Settings(tmp_path), line)
    entity = WatchedEntity("e", "m", "1", "d", tmp_path)
    places = {name: WatchedEndpoint(name, name, "table", (entity,), tmp_path / name) for name in ("churn", "delay")}
    done = []

    def look(_: Callable[[], None], endpoint: WatchedEndpoint) -> None:
        done.append(f"look at {endpoint.name}")
        line.heard(Diagnose(2, endpoint.name))

    def diagnose(endpoint: WatchedEndpoint, _: Diagnose) -> bytes:
        done.append(f"answer of {endpoint.name}")
        return b"{}"

    monkeypatch.setattr(monitor._routes, "read", lambda: places)
    monkeypatch.setattr(monitor, "_work", work)
    monkeypatch.setattr(work, "_look", look)
    monkeypatch.setattr(work, "diagnose", diagnose)
    line.heard(Diagnose(1, "delay"))
    monitor.turn()
    assert done == ["answer of delay", "look at churn", "answer of churn", "look at delay"]
