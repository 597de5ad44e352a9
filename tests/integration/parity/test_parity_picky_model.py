"""A model that refuses rows as models with a signature do: that costs an intervention, and never the verdict."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose
from tallystick.parity.diagnose import examine

TYPES = {"reach": "int64", "age": "int32", "fee": "float32", "rest": "float64"}


class Refused(Exception):
    """None of Python's own errors, as MLflow's is none."""


def trips(count: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"reach": random.gamma(3, 200, count).round(), "age": random.integers(18, 90, count)})
    return frame.assign(fee=random.normal(10, 3, count), rest=random.normal(size=count)).astype(TYPES)


def answer(frame: pd.DataFrame) -> np.ndarray:
    return 1 / (1 + np.exp((500 - frame["reach"].to_numpy(dtype=float)) / 200))


def picky(frame: pd.DataFrame) -> np.ndarray:
    other = [name for name, dtype in TYPES.items() if str(frame[name].dtype) != dtype]
    if other:
        raise Refused(f"cannot safely convert {other}")
    return answer(frame)


@pytest.fixture(scope="module")
def stored() -> Reference:
    frame = trips(2000, 1)
    y = (np.random.default_rng(2).random(2000) < answer(frame)).astype(int)
    return Reference.from_frame(frame, picky, y)


def questions(verdict) -> list[str]:
    return [each.question for each in verdict.evidence]


def test_whole_numbers_are_asked_in_training_s_types(stored):
    live = trips(400, 3)
    verdict = diagnose(stored, live.assign(reach=live["reach"] * 1000))
    assert (verdict.status, verdict.kind, verdict.strength) == (Status.CAUSE_FOUND, "unit", "proof")
    assert questions(verdict).count("intervention") == 2
    assert not [limit for limit in verdict.degraded if "raised" in limit]


def test_refused_rows_that_undoing_does_not_change_are_not_asked_about(stored):
    """They would be refused again, and the others with them."""
    live = trips(400, 3)
    sent = live.assign(reach=live["reach"] * 1000).astype(object)
    refused = np.arange(len(sent)) % 130 == 7
    sent.loc[refused] = None
    asked, without = (examine(stored, sent, rescore=picky, refused=each).verdict for each in (refused, None))
    assert (asked.kind, questions(asked).count("intervention")) == ("unit", 2)
    assert not [limit for limit in asked.degraded if "raised" in limit]
    assert (without.kind, questions(without).count("intervention")) == ("unit", 1)


def test_rows_that_the_model_refuses_cost_the_interventions_and_are_a_limit(stored):
    live = trips(400, 3)
    verdict = diagnose(stored, live.assign(reach=live["reach"] / 1.609))
    assert verdict.kind == "unit"
    assert "intervention" not in questions(verdict)
    assert "what undoing the cause does to predictions is not known: to predict these rows raised Refused" in (
        verdict.degraded
    )


def test_a_model_that_refuses_the_rows_as_sent_leaves_answers_uncompared(stored):
    live = trips(400, 3)
    verdict = diagnose(stored, live.assign(reach=live["reach"] + 0.5), predictions=np.full(400, 0.5))
    assert "predictions were not compared with the model's own: to predict these rows raised Refused" in (
        verdict.degraded
    )


def test_an_endpoint_that_raises_on_golden_rows_is_not_asked_again(stored):
    asked = []

    def gone(frame):
        asked.append(len(frame))
        raise Refused

    live = trips(400, 3)
    verdict = diagnose(stored, live.assign(reach=live["reach"] * 1000), rescore=gone)
    assert (verdict.status, len(asked)) == (Status.CAUSE_FOUND, 1)
    assert "golden rows were not replayed: to predict these rows raised Refused" in verdict.degraded
