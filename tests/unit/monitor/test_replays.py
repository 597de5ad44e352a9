"""What replicas say of themselves: convicts, clears, or proves nothing."""

from tallystick.gate.report import Difference, GateReport, Outcome, Rung, RungReport
from tallystick.monitor.replays import Checked, as_replay, failed_replay, not_reached, ruled_out, wrong_version

SAME = RungReport(Rung.IDENTITY, Outcome.PASSED)
EQUAL = RungReport(Rung.PREDICTION, Outcome.PASSED)
GOOD = GateReport(Outcome.PASSED, digest="aaaa", rows=300, rungs=(SAME, EQUAL))


def test_a_replica_with_another_digest_is_a_fault_of_routing():
    other = GateReport(
        Outcome.FAILED, digest="bbbb", rungs=(RungReport(Rung.IDENTITY, Outcome.FAILED, "", Difference()),)
    )
    verdict = wrong_version(Checked({"0": GOOD, "1": other}), "aaaa", "3")
    assert verdict is not None
    assert (verdict.family, verdict.kind, verdict.segment["value"]) == ("routing", "wrong_version", "1")
    assert verdict.share == 0.5


def test_equal_digests_clear_the_routing():
    checked = Checked({"0": GOOD, "1": GOOD})
    assert wrong_version(checked, "aaaa", "3") is None
    assert ruled_out(checked, "aaaa")[0] == "routing (2/2 replicas serve the digest that was asked for)"
    assert as_replay(checked).is_equal


def test_a_step_that_differs_is_named_with_its_column():
    place = Difference(step="prep/scale", column="age", row=3, expected="0.1", got="40", share=0.9)
    failed = RungReport(Rung.STEPS, Outcome.FAILED, "Step prep/scale, column age", place)
    verdict = failed_replay(Checked({"0": GateReport(Outcome.FAILED, digest="aaaa", rows=300, rungs=(SAME, failed))}))
    assert verdict is not None
    assert (verdict.kind, verdict.features, verdict.transformation["step"]) == ("step_differs", ("age",), "prep/scale")


def test_a_package_that_is_another_one_outweighs_the_step_that_it_shows_in():
    place = Difference(step="prep/scale", column="age", row=3, expected="0.1", got="40", share=0.9)
    text = "Step prep/scale, column age. Likely cause: scales is 2.0.0 here, 1.0.0 in training; numpy is not installed here, 2.1.0 in training."
    failed = RungReport(Rung.STEPS, Outcome.FAILED, text, place)
    verdict = failed_replay(Checked({"0": GateReport(Outcome.FAILED, digest="aaaa", rows=300, rungs=(SAME, failed))}))
    assert (verdict.family, verdict.kind, verdict.features) == ("environment", "environment_differs", ())
    assert verdict.transformation["step"] == "prep/scale"
    assert verdict.transformation["packages"] == ["scales", "numpy"]
    assert verdict.transformation["training"] == {"scales": "1.0.0", "numpy": "2.1.0"}
    assert verdict.transformation["serving"] == {"scales": "2.0.0", "numpy": ""}


def test_what_answers_differ_by_is_asked_where_only_they_do():
    failed = RungReport(Rung.PREDICTION, Outcome.FAILED, "300 of 300 differ", Difference(row=0, share=1.0))
    checked = Checked({"0": GateReport(Outcome.FAILED, digest="aaaa", rows=300, rungs=(SAME, failed))})
    assert failed_replay(checked).kind == "prediction_differs"
    assert failed_replay(checked, lambda: ("class_order", None)).kind == "class_order"
    rate = failed_replay(checked, lambda: ("sampling_prior", 1.5))
    assert rate.transformation["rate"] == 2.718281828459045**1.5


def test_a_replica_that_could_not_be_asked_proves_nothing():
    away = RungReport(Rung.WIRE, Outcome.FAILED, "Replica e-1 did not answer within 10 s.")
    checked = Checked({"0": GOOD, "1": GateReport(Outcome.FAILED, rows=300, rungs=(away,))})
    assert failed_replay(checked) is None
    assert as_replay(checked) is None
    assert not_reached(checked) == ("replica 1 was not checked: Replica e-1 did not answer within 10 s.",)
