"""What a verdict on golden rows says before, while and after training's environment was built again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from questions import SERVING, TRAINED, differing

from tallystick.gate.report import Rung
from tallystick.monitor.ablation_records import Ablated, Standing
from tallystick.monitor.replays import Checked, failed_replay
from tallystick.parity.ablation import compared
from tallystick.parity.verdict import Verdict, render

KNOWN = compared(TRAINED, SERVING)
GUILTY = Ablated(replace(KNOWN, guilty=("scales",), ruling="With training's scales 1.0 …"), Standing.DONE, builds=3)
CLEARED = Ablated(replace(KNOWN, is_cleared=True, ruling="Training's environment gives the same."), Standing.DONE)
RUNGS = (Rung.ENVIRONMENT, Rung.STEPS, Rung.PREDICTION)


def verdict(ablated: Ablated | None, rung: Rung = Rung.ENVIRONMENT, how: str = "prediction_differs") -> Verdict:
    known = {} if ablated is None else {"0": ablated}
    found = failed_replay(Checked({"0": differing(rung=rung)}, ablated=known), lambda: (how, None))
    assert found is not None
    return found


def test_that_packages_are_the_reason_is_no_proof_before_they_were_built():
    found = verdict(None)
    assert (found.status, found.strength, found.kind) == ("cause_found", "strong", "environment_differs")
    assert verdict(None, Rung.PREDICTION).strength == "proof"


@pytest.mark.parametrize("rung", RUNGS)
def test_the_guilty_package_is_proven_with_both_versions(rung):
    found = verdict(GUILTY, rung)
    assert (found.kind, found.strength, found.features, found.settle) == ("environment_differs", "proof", (), ())
    assert found.transformation["packages"] == ["scales"]
    assert (found.transformation["training"], found.transformation["serving"]) == ({"scales": "1.0"}, {"scales": "2.0"})
    assert found.fix.endswith("(scales==1.0)")
    assert "scales 2.0 where training had 1.0" in render(found)
    assert found.transformation.get("step", "") == ("prep/scale" if rung is Rung.STEPS else "")


def test_an_environment_that_makes_no_difference_is_ruled_out_and_what_is_left_is_named():
    kinds = [verdict(CLEARED, rung).kind for rung in RUNGS]
    assert kinds == ["prediction_differs", "step_differs", "prediction_differs"]
    for rung in RUNGS:
        found = verdict(CLEARED, rung)
        assert found.ruled_out == ("environment (built again, it makes no difference to golden rows)",)
        assert (found.strength, "Likely cause" in render(found)) == ("proof", False)
    assert "versions are not the reason" in verdict(CLEARED).fix


def test_who_asks_meanwhile_is_told_to_ask_again():
    for standing in (Standing.DUE, Standing.UNDER_WAY):
        found = verdict(Ablated(KNOWN, standing))
        assert (found.strength, "is being built" in found.settle[0]) == ("strong", True)


def test_why_nothing_came_out_is_said_with_what_to_do():
    found = verdict(Ablated(KNOWN, Standing.FAILED, "uv is not installed", "2026-02-01 14:00Z"))
    assert found.degraded == (
        "training's environment could not be compared: uv is not installed; it is tried again after 2026-02-01 14:00Z",
    )
    off = verdict(Ablated(KNOWN, Standing.OFF))
    assert "--no-ablation" in off.degraded[0]
    assert all("tallystick parity check MODEL --ablate" in each.settle[0] for each in (found, off))


def test_what_cannot_be_told_is_said():
    undecided = Ablated(replace(KNOWN, ruling="Not found within 12 environments."), Standing.DONE)
    assert (verdict(undecided).strength, verdict(undecided).degraded) == ("strong", (undecided.environment.ruling,))
    lever = Ablated(replace(KNOWN, ruling="cannot be built again here: cpu."), Standing.NO_LEVER)
    assert verdict(lever).degraded == ("cannot be built again here: cpu.",)


def test_exchanged_classes_are_no_doing_of_packages():
    assert verdict(GUILTY, Rung.PREDICTION, "class_order").kind == "class_order"
