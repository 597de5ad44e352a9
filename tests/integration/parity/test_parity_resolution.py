"""Live values with more digits than training had: noted, and no fault of anything else."""

import numpy as np
import pytest

from tallystick.parity import Reference, Status, diagnose
from tallystick.parity.intervene import Repair


def jittered(frame, names, seed=0):
    """Rows as a source that does not round would send them."""
    rng = np.random.default_rng(seed)
    return frame.assign(**{name: frame[name] + rng.normal(0, 0.004, len(frame)) for name in names})


def test_more_digits_than_in_training_are_noted_and_accused_of_nothing(training, live):
    rounded = training.round({"fare": 1, "temp": 1, "distance": 1})
    verdict = diagnose(Reference.from_frame(rounded), jittered(live, ["fare", "temp", "distance"]))
    assert verdict.status is Status.CONSISTENT
    assert verdict.also[0].startswith("more digits than in training: ")


def test_a_unit_is_found_beside_columns_with_more_digits(training, live):
    rounded = training.round({"fare": 1, "temp": 1, "distance": 1})
    sent = jittered(live, ["fare", "temp", "distance"])
    verdict = diagnose(Reference.from_frame(rounded), sent.assign(fare=sent.fare * 100))
    assert (verdict.kind, verdict.features) == ("unit", ("fare",))
    assert abs(verdict.transformation["factor"] - 100) < 2


def test_a_unit_that_makes_digits_is_no_finer_resolution(training, live):
    rounded = training.round({"fare": 1})
    verdict = diagnose(Reference.from_frame(rounded), live.assign(fare=live.fare.round(1) * 0.45359237))
    assert (verdict.kind, verdict.features) == ("unit", ("fare",))


@pytest.mark.parametrize("scale", [1.0, 1e-10])
@pytest.mark.parametrize("steps", [30, 2000])
def test_values_that_lost_their_last_digits_on_the_way_are_training_s(training, live, steps, scale):
    """Miles an hour made of whole knots, say: 12 x 1.15078 has 17 digits, and a body has the first dozen of them."""
    knots = steps / training.fare.quantile(0.9)
    in_knots = [frame.assign(fare=(frame.fare * knots).round() * 1.15078 * scale) for frame in (training, live)]
    written = in_knots[1].assign(fare=[float(f"{value:.12g}") for value in in_knots[1].fare])
    assert (written.fare != in_knots[1].fare).any()
    assert diagnose(Reference.from_frame(in_knots[0]), written).status is Status.CONSISTENT


def test_a_repair_that_mends_a_third_of_little_proves_nothing():
    assert not Repair(before=0.17, after=0.11, bound=0.15).is_proof
    assert Repair(before=0.41, after=0.02, bound=0.15).is_proof
