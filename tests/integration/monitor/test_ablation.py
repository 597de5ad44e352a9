"""From golden rows that differ to an incident that names the package; and the process that builds, with an uv of ours."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from monitor_rows import ENTITY, Line, Table, endpoint, frame
from pretended_uv import put_uv
from questions import EXPECTED, TRAINED, Pretended, differing, golden_rows, model_with

from tallystick.monitor import ablations as ablations_module
from tallystick.monitor.ablating import answered
from tallystick.monitor.ablation_records import Record, Standing
from tallystick.monitor.ablations import Ablations
from tallystick.monitor.places import WatchedEndpoint
from tallystick.monitor.work import Work
from tallystick.protocol.monitoring import Diagnose, Replayed
from tallystick.settings import Settings


class Asked:
    """A process that is pretended: it has its answer before anybody looks."""

    runner = Pretended()

    def __init__(self, arguments: list[str]) -> None:
        path = Path(arguments[0])
        record = msgspec.json.decode(path.read_bytes(), type=Record)
        path.write_bytes(msgspec.json.encode(answered(record, golden_rows(), self.runner)))

    def poll(self) -> int:
        return 0

    def end(self) -> None:
        pass


@pytest.fixture
def place(tmp_path: Path) -> WatchedEndpoint:
    found = endpoint(tmp_path)
    model_with(tmp_path / "models" / ("d" * 64), golden_rows())
    return found


def always_differing() -> Line:
    answer = Replayed(1, msgspec.json.encode({"0": differing()}))
    return Line(*[answer] * 20)


def verdict_of(work: Work, place: WatchedEndpoint) -> dict[str, Any]:
    (document,) = msgspec.json.decode(work.diagnose(place, Diagnose(1, place.name)))["verdicts"]
    verdict: dict[str, Any] = document["verdict"]
    return verdict


def test_an_incident_becomes_a_proof_at_the_next_look_though_no_row_came(
    place: WatchedEndpoint, tmp_path: Path
) -> None:
    Table(place).add(frame(60, 1))
    work = Work(Settings(tmp_path), always_differing(), ablations=Ablations(tmp_path, start=Asked))  # type: ignore[arg-type]
    work.turn({"churn": place})
    before = verdict_of(work, place)
    assert (before["kind"], before["strength"]) == ("environment_differs", "strong")
    assert "is being built" in before["settle"][0]
    (opened,) = work.standing({"churn": place})["churn"].incidents
    assert opened.strength == "strong"
    work.turn({"churn": place})
    (updated,) = work.standing({"churn": place})["churn"].incidents
    assert (updated.id, updated.strength) == (opened.id, "proof")
    assert "scales 2.0 where training had 1.0" in updated.title
    after = verdict_of(work, place)
    assert (after["transformation"]["packages"], after["settle"]) == (["scales"], [])


def test_an_incident_of_an_environment_that_makes_no_difference_goes_on_without_it(
    place: WatchedEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Golden rows are never training's, whatever is installed.
    monkeypatch.setattr(Asked, "runner", Pretended("elsewhere"))
    work = Work(Settings(tmp_path), always_differing(), ablations=Ablations(tmp_path, start=Asked))  # type: ignore[arg-type]
    verdict_of(work, place)
    work.turn({"churn": place})
    (incident,) = work.standing({"churn": place})["churn"].incidents
    assert (incident.id, incident.kind, incident.strength) == (1, "prediction_differs", "proof")
    ruled_out = verdict_of(work, place)["ruled_out"]
    assert "environment (built again, it makes no difference to golden rows)" in ruled_out


def test_a_server_that_may_not_build_says_how_to(place: WatchedEndpoint, tmp_path: Path) -> None:
    work = Work(Settings(tmp_path, ablation=False), always_differing())  # type: ignore[arg-type]
    assert "tallystick parity check MODEL --ablate" in verdict_of(work, place)["settle"][0]
    assert not work.is_busy


# -- the process -----------------------------------------------------------------------------------------------


@pytest.fixture
def with_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put an uv of ours before the real one; it sleeps where it is given a file to mark that with."""

    def made(marker: Path | None = None) -> None:
        right, wrong = ([[value] for value in (EXPECTED + off).tolist()] for off in (0.0, 0.5))
        monkeypatch.setenv("PYTHONPATH", put_uv(tmp_path / "site", "scales==1.0", right, wrong, marker))

    return made


def until(true: Callable[[], Any], seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(group: int) -> bool:
    """Whether a process of the group is there that is no zombie."""
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


def asking(tmp_path: Path) -> Ablations:
    made = Ablations(tmp_path)
    model = model_with(tmp_path / "models" / ("d" * 64), golden_rows())
    assert made.of(("e", ENTITY), "d" * 64, model, differing()) is not None
    made.tick()
    return made


@pytest.mark.timeout(300)
def test_the_process_finds_the_package_and_leaves_nothing(tmp_path: Path, with_uv: Callable[..., None]) -> None:
    with_uv()
    made = asking(tmp_path)

    def is_over() -> bool:
        made.tick()
        return not made.is_busy

    until(is_over)
    found = made.of(("e", ENTITY), "d" * 64, tmp_path / "models" / ("d" * 64), differing())
    assert found is not None
    assert (found.standing, found.environment.guilty) == (Standing.DONE, ("scales",))
    assert not (tmp_path / "parity" / "ablations" / "building").exists()


@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_process_gives_way_and_ends_with_all_that_it_started(
    tmp_path: Path, with_uv: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its standard input is all that holds it: that ends where the monitor does, by whatever signal."""
    marker = tmp_path / "begun"
    with_uv(marker)
    started: list[Any] = []

    class Kept(ablations_module._Started):
        def __init__(self, arguments: list[str]) -> None:
            super().__init__(arguments)
            started.append(self._process)

    monkeypatch.setattr(ablations_module, "_Started", Kept)
    asking(tmp_path)
    until(marker.exists)
    (process,) = started
    assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
    assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "1000\n"
    process.stdin.close()
    assert process.wait(30) == -signal.SIGKILL
    until(lambda: not alive(process.pid), 10)


def test_the_process_ends_when_its_time_is_up_and_says_so(
    tmp_path: Path, with_uv: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "begun"
    with_uv(marker)
    monkeypatch.setattr(ablations_module, "LIMIT_S", 6.0)
    made = asking(tmp_path)
    until(marker.exists)
    # Beyond its limit it ends by itself, and says why before.
    path = next((tmp_path / "parity" / "ablations").glob("*.json"))
    until(lambda: b"it took longer than 0.1 minutes" in path.read_bytes())

    def is_over() -> bool:
        made.tick()
        return not made.is_busy

    until(is_over, 10)
    record = msgspec.json.decode(path.read_bytes(), type=Record)
    assert datetime.fromisoformat(record.ended_at) <= datetime.now(UTC)
    assert record.serving["package:scales"] != TRAINED["package:scales"]
