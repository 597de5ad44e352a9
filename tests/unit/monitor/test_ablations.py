"""One question at a time, each once: with a clock and a process that are only pretended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from questions import SERVING, Pretended, differing, golden_rows, model_with

from tallystick.monitor.ablating import answered
from tallystick.monitor.ablation_records import LIMIT_S, Record, Standing
from tallystick.monitor.ablations import Ablations
from tallystick.protocol.monitoring import ABLATIONS_FOLDER, PARITY_FOLDER

ONE, OTHER = "d" * 64, "e" * 64
ASKER = ("endpoint", "entity")


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, 14, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Child:
    """A process that ends when it is told to."""

    def __init__(self, arguments: list[str]) -> None:
        self.arguments, self.status, self.kills = arguments, None, 0

    def poll(self) -> Any:
        return self.status

    def end(self) -> None:
        self.kills += 1

    def answer(self, runner: Pretended, clock: Clock) -> None:
        """Do what the process does."""
        path, model = map(Path, self.arguments[:2])
        record = answered(msgspec.json.decode(path.read_bytes(), type=Record), golden_rows(), runner, clock())
        assert model.is_dir()
        path.write_bytes(msgspec.json.encode(record))
        self.status = 0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def children() -> list[Child]:
    return []


@pytest.fixture
def ablations(tmp_path: Path, clock: Clock, children: list[Child]) -> Ablations:
    return made(tmp_path, clock, children)


def made(data_dir: Path, clock: Clock, children: list[Child], **changes: bool) -> Ablations:
    def start(arguments: list[str]) -> Child:
        children.append(Child(arguments))
        return children[-1]

    return Ablations(data_dir, clock=clock, start=start, **changes)


def ask(ablations: Ablations, tmp_path: Path, digest: str = ONE, asker: tuple[str, str] = ASKER, **changes: Any) -> Any:
    model = model_with(tmp_path / "models" / digest, golden_rows())
    return ablations.of(asker, digest, model, differing(**changes))


def test_a_question_is_asked_once_and_its_answer_is_kept(ablations, children, clock, tmp_path):
    assert ask(ablations, tmp_path).standing is Standing.DUE
    ablations.tick()
    assert ask(ablations, tmp_path).standing is Standing.UNDER_WAY
    ablations.tick()
    assert (len(children), ablations.is_busy, ablations.ended("endpoint")) == (1, True, set())
    children[0].answer(Pretended(), clock)
    ablations.tick()
    found = ask(ablations, tmp_path)
    assert (found.standing, found.environment.guilty, found.builds) == (Standing.DONE, ("scales",), 4)
    assert (ablations.is_busy, ablations.ended("endpoint"), ablations.ended("endpoint")) == (False, {"entity"}, set())
    ablations.tick()
    later = made(tmp_path, clock, children)
    assert ask(later, tmp_path).environment.guilty == ("scales",)
    later.tick()
    assert len(children) == 1


def test_two_questions_are_asked_one_after_the_other(ablations, children, clock, tmp_path):
    ask(ablations, tmp_path)
    ask(ablations, tmp_path, OTHER, ("other", "one"))
    ablations.tick()
    assert len(children) == 1
    children[0].answer(Pretended("numpy"), clock)
    ablations.tick()
    assert (len(children), ablations.ended("endpoint"), ablations.ended("other")) == (2, {"entity"}, set())
    assert ask(ablations, tmp_path).environment.guilty == ("numpy",)


def test_another_version_in_serving_is_another_question(ablations, children, clock, tmp_path):
    ask(ablations, tmp_path)
    ablations.tick()
    children[0].answer(Pretended(), clock)
    ablations.tick()
    found = ask(ablations, tmp_path, serving=SERVING | {"package:scales": "2.1"})
    assert found.standing is Standing.DUE


def test_what_fails_says_why_without_a_trace_and_waits_for_a_day(ablations, children, clock, tmp_path):
    ask(ablations, tmp_path)
    ablations.tick()
    children[0].answer(Pretended(failure="scales 2.0 could not be built"), clock)
    ablations.tick()
    found = ask(ablations, tmp_path)
    assert (found.standing, found.reason) == (Standing.FAILED, "scales 2.0 could not be built")
    assert found.again_at == "2026-02-01 14:00Z"
    assert ablations.ended("endpoint") == {"entity"}
    clock.now += timedelta(days=1)
    assert ask(ablations, tmp_path).standing is Standing.DUE


def test_a_process_that_dies_is_a_failure_that_is_told(ablations, children, tmp_path):
    ask(ablations, tmp_path)
    ablations.tick()
    children[0].status = -9
    ablations.tick()
    found = ask(ablations, tmp_path)
    assert (found.standing, "killed by SIGKILL" in found.reason) == (Standing.FAILED, True)
    # What it had started may have outlived it.
    assert children[0].kills == 1


def test_a_process_that_outlives_its_limit_is_killed(ablations, children, clock, tmp_path):
    ask(ablations, tmp_path)
    ablations.tick()
    clock.now += timedelta(seconds=LIMIT_S + 120)
    ablations.tick()
    assert children[0].kills == 1


def test_a_monitor_that_ends_takes_the_process_with_it_and_its_successor_asks_again(
    ablations, children, clock, tmp_path
):
    ask(ablations, tmp_path)
    ablations.tick()
    scratch = Path(children[0].arguments[2])
    (scratch / "venv").mkdir(parents=True)
    ablations.close()
    assert children[0].kills == 1
    later = made(tmp_path, clock, children)
    assert not scratch.exists()
    assert ask(later, tmp_path).standing is Standing.DUE
    later.tick()
    assert msgspec.json.decode(Path(children[1].arguments[0]).read_bytes(), type=Record).tries == 2


def test_a_server_that_is_told_not_to_asks_nothing(clock, children, tmp_path):
    ablations = made(tmp_path, clock, children, is_on=False)
    assert ask(ablations, tmp_path).standing is Standing.OFF
    ablations.tick()
    assert (children, ablations.is_busy) == ([], False)


def test_a_disk_that_takes_no_record_has_nothing_begun(ablations, children, tmp_path):
    ask(ablations, tmp_path)
    (tmp_path / PARITY_FOLDER).mkdir()
    (tmp_path / PARITY_FOLDER / ABLATIONS_FOLDER).write_text("in the way")
    ablations.tick()
    assert (children, ablations.is_busy, ablations.ended("endpoint")) == ([], False, set())


def test_without_golden_rows_or_an_environment_nothing_is_asked(ablations, tmp_path):
    assert ablations.of(ASKER, ONE, tmp_path / "none", differing()) is None
    assert ask(ablations, tmp_path, serving={}) is None
    broken = tmp_path / "models" / OTHER / "parity"
    broken.mkdir(parents=True)
    (broken / "golden.msgpack").write_bytes(b"no golden file")
    assert ablations.of(ASKER, OTHER, broken.parent, differing()) is None
