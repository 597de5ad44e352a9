"""What the endpoint says of itself: digests of replicas, its environment, golden rows that were sent already."""

import pandas as pd
import pytest
from parity_rows import rows_of

from tallystick.errors import InvalidParameter
from tallystick.gate.report import Difference, GateReport, Outcome, Rung, RungReport
from tallystick.parity import Family, Status, diagnose
from tallystick.parity.endpoint import Environment, read_environment
from tallystick.parity.intervene import Replay, replay_of

SAME = {"1": ("aa", "aa"), "2": ("aa", "aa"), "3": ("aa", "aa")}
DIFFERS = Replay(equal=400, rows=512, largest=0.3, kind="prediction_differs")
EQUAL = Replay(equal=512, rows=512, largest=0.0)
PINS = {"package:numpy": ("1.26.4", "2.1.0"), "package:scikit-learn": ("1.4.2", "1.7.0"), "threads": ("4", "2")}


def test_a_replica_with_another_digest_convicts_routing_alone(reference, live):
    verdict = diagnose(reference, live, identity={**SAME, "2": ("aa", "bb")}, replayed=DIFFERS, environment=PINS)
    assert (verdict.family, verdict.kind, verdict.status) == (Family.ROUTING, "wrong_version", Status.CAUSE_FOUND)
    assert verdict.transformation["replicas"] == {"2": {"wanted": "aa", "served": "bb"}}
    assert verdict.share == pytest.approx(1 / 3)
    assert (verdict.also, verdict.stage) == ((), "routing")


def test_a_wrong_replica_is_told_before_any_row_came(reference, live):
    assert diagnose(reference, live.head(0), identity={"1": ("aa", "bb")}).kind == "wrong_version"


def test_routing_is_cleared_in_words(reference, live):
    for rows in (live, live.assign(fare=live.fare * 100), live.head(5), live[live.temp > 15]):
        verdict = diagnose(reference, rows, identity=SAME)
        assert "routing (3/3 replicas serve the digest that was asked for)" in verdict.ruled_out
        assert verdict.family is not Family.ROUTING


def test_without_digests_routing_is_neither_convicted_nor_cleared(reference, live):
    for identity in (None, {}, {**SAME, "2": ("aa", "")}):
        verdict = diagnose(reference, live, identity=identity, replayed=DIFFERS)
        assert verdict.kind == "prediction_differs"
        assert not any("routing" in line for line in verdict.ruled_out)


def test_golden_rows_and_versions_that_differ_convict_the_environment(reference, live):
    verdict = diagnose(reference, live, environment=PINS, replayed=DIFFERS)
    assert (verdict.family, verdict.kind) == (Family.ENVIRONMENT, "environment_differs")
    assert (verdict.status, verdict.strength) == (Status.CAUSE_FOUND, "strong")
    assert verdict.transformation["packages"] == ["scikit-learn", "numpy"]
    assert verdict.transformation["serving"]["numpy"] == "2.1.0"
    assert "one package at a time" in verdict.settle[0]


def test_versions_that_change_no_prediction_are_no_fault(reference, live):
    verdict = diagnose(reference, live, environment=PINS, replayed=EQUAL)
    assert verdict.status is Status.CONSISTENT
    assert any("scikit-learn 1.4.2 → 1.7.0 changes no prediction" in line for line in verdict.ruled_out)


def test_what_reckons_nothing_convicts_nothing(reference, live):
    environment = {"threads": ("4", "2"), "package:pip": ("24", "25")}
    verdict = diagnose(reference, live, environment=environment, replayed=DIFFERS)
    assert verdict.kind == "prediction_differs"
    assert "environment (no relevant difference)" in verdict.ruled_out


def test_an_ablation_names_the_package_and_proves_it(reference, live):
    known = read_environment(PINS)
    guilty = Environment(known.differences, guilty=("numpy",))
    verdict = diagnose(reference, live, environment=guilty, replayed=DIFFERS)
    assert (verdict.strength, verdict.transformation["packages"]) == ("proof", ["numpy"])
    cleared = diagnose(reference, live, environment=Environment(known.differences, is_cleared=True), replayed=DIFFERS)
    assert cleared.kind == "prediction_differs"
    assert any(line.startswith("environment (built again") for line in cleared.ruled_out)


def test_a_step_that_differs_outweighs_a_time_zone_but_not_a_library(reference, live):
    stepped = Replay(400, 512, 0.3, "step_differs", step="prep/num/scale", column="fare")
    named = diagnose(reference, live, environment={"time_zone": ("CET", "UTC")}, replayed=stepped)
    assert (named.kind, named.features, named.transformation["step"]) == ("step_differs", ("fare",), "prep/num/scale")
    assert named.stage == "endpoint, step prep/num/scale"
    library = diagnose(reference, live, environment=PINS, replayed=stepped)
    assert (library.kind, library.transformation["step"]) == ("environment_differs", "prep/num/scale")


def test_exchanged_classes_are_not_blamed_on_versions(reference, live):
    replayed = Replay(0, 512, 0.9, "class_order")
    assert diagnose(reference, live, environment=PINS, replayed=replayed).kind == "class_order"


def _report(*rungs: RungReport) -> GateReport:
    return GateReport(
        Outcome.FAILED if any(r.outcome is Outcome.FAILED for r in rungs) else Outcome.PASSED, rungs=rungs, rows=100
    )


def test_a_check_of_a_replica_is_read_as_a_replay():
    passed = replay_of(_report(RungReport(Rung.PREDICTION, Outcome.PASSED)))
    assert (passed.equal, passed.is_equal) == (100, True)
    step = RungReport(Rung.STEPS, Outcome.FAILED, difference=Difference(step="prep/cat", column="kind", share=0.2))
    failed = replay_of(_report(step, RungReport(Rung.PREDICTION, Outcome.FAILED)))
    assert (failed.equal, failed.kind, failed.step, failed.column) == (80, "step_differs", "prep/cat", "kind")
    wire = RungReport(Rung.WIRE, Outcome.FAILED, difference=Difference(encoding="csv", column="kind", share=0.001))
    assert (replay_of(_report(wire)).encoding, replay_of(_report(wire)).is_equal) == ("csv", False)
    assert replay_of(GateReport(Outcome.SKIPPED)) is None


def test_pairs_of_another_form_are_refused_by_name(reference, live):
    with pytest.raises(InvalidParameter, match=r"identity.*2 has none"):
        diagnose(reference, live, identity={"1": ("a", "a"), "2": "aa"})
    with pytest.raises(InvalidParameter, match="environment"):
        diagnose(reference, live, environment=pd.Series([1]))


def test_a_changed_population_asks_for_the_earlier_rungs_first(reference, live):
    """Training again is not spoken of while the endpoint may be the cause, and not advised after that either."""
    rows = rows_of(1200, 77)
    warm = rows[rows.temp > 15].head(200).reset_index(drop=True)
    first = diagnose(reference, warm)
    assert first.status is Status.POPULATION_CHANGED
    assert [text.split()[0] for text in first.settle] == ["digests", "golden"]
    rest = diagnose(reference, warm, identity=SAME, replayed=EQUAL)
    assert rest.settle == ("the environment compared with training's",)
    assert diagnose(reference, warm, identity=SAME, replayed=EQUAL, environment={}).settle == ()
    assert "retrain" not in str(first) + str(rest)
