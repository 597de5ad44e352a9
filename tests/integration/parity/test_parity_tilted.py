"""A fault in some rows while the mix of all of them moved: what no mix of training's rows can give is no mix."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose

CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)


def orders(count: int, seed: int, tilt: float = 0.0, spread: float = 0.7) -> pd.DataFrame:
    """Incomes, and amounts and visits that go with them; `tilt` deviations more income than in training."""
    rng = np.random.default_rng(seed)
    income = rng.normal(size=count) + tilt
    return pd.DataFrame(
        {
            "income": np.round(20 + 3 * income, 3),
            "amount": np.round(np.exp(3 + spread * (0.8 * income + 0.6 * rng.normal(size=count))), 2),
            "visits": rng.poisson(np.exp(0.3 * income) + 1),
            "ratio": rng.beta(8, 3, count) + 0.05,
        }
    )


@pytest.fixture(scope="module")
def trained() -> Reference:
    return Reference.from_frame(orders(3000, 0))


FAULTS = {
    "unit": lambda amount: amount * 1024,
    "sign_flip": lambda amount: -amount,
    "standardized": lambda amount: (amount - orders(3000, 0).amount.mean()) / orders(3000, 0).amount.std(),
}


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("tilt", [-1.0, 1.0])
def test_a_fault_in_some_rows_is_told_though_the_mix_moved(trained, kind, tilt):
    fault: Callable[[pd.Series], pd.Series] = FAULTS[kind]
    live, some = orders(200, 1, tilt), np.random.default_rng(1).random(200) < 0.3
    verdict = diagnose(trained, live.assign(amount=live.amount.where(~some, fault(live.amount))))
    assert (verdict.status, verdict.kind, verdict.features) == (Status.CAUSE_FOUND, kind, ("amount",))
    assert verdict.transformation.get("factor", 1024) == 1024 or kind != "unit"
    assert verdict.share == pytest.approx(some.mean(), abs=0.05)


@pytest.mark.parametrize("tilt", [-1.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("spread", [0.7, 2.0])
def test_another_mix_alone_is_no_fault(tilt, spread):
    reference = Reference.from_frame(orders(3000, 0, spread=spread))
    assert diagnose(reference, orders(200, 2, tilt, spread)).status not in CLAIMS


def test_some_values_beyond_training_in_another_mix_are_no_fault(trained):
    """Large customers, of which training had none: their amounts are no others' amounts in another unit."""
    live = orders(200, 3, 1.0)
    live.loc[::12, "amount"] = np.round(np.random.default_rng(0).uniform(400, 1200, len(live[::12])), 2)
    assert diagnose(trained, live).status not in CLAIMS


@pytest.mark.parametrize("share", [0.2, 0.3])
def test_values_below_all_orders_of_magnitude_of_training_are_told(trained, share):
    """No other column knows the ratio, and a thousandth of it is about 0, where its range begins nearly."""
    live, some = orders(200, 4), np.random.default_rng(2).random(200) < share
    verdict = diagnose(trained, live.assign(ratio=live.ratio.where(~some, live.ratio / 1000)))
    assert (verdict.status, verdict.kind, verdict.features) == (Status.CAUSE_FOUND, "unit", ("ratio",))
