"""Counts over another window and sums for means: named, and not confused with busier times."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose
from tallystick.parity.detect.aggregate import other_window

CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)


def customers(count: int, seed: int, days: float = 7.0, busier: float = 1.0) -> pd.DataFrame:
    """Orders of the last week: a rate that age and spending know too."""
    rng = np.random.default_rng(seed)
    rate = busier * np.exp(rng.normal(-0.9, 0.8, count))
    items = rng.poisson(1 + 2 * rate) + 1
    price = np.round(np.exp(rng.normal(3, 0.5, count)), 2)
    return pd.DataFrame(
        {
            "orders": rng.poisson(rate * days),
            "visits": rng.poisson(6 * rate * 7),
            "spent": np.round(rate * 90 * np.exp(rng.normal(0, 0.2, count)), 2),
            "items": items,
            "mean_price": price,
            "discount": np.round(0.3 * price + rng.normal(0, 1, count), 2),
            "age": rng.integers(18, 80, count),
        }
    )


@pytest.fixture(scope="module")
def shop() -> Reference:
    return Reference.from_frame(customers(3000, 0))


@pytest.mark.parametrize(("days", "factor"), [(1.0, 1 / 7), (28.0, 4.0), (2.0, 2 / 7)])
def test_counts_over_another_window(shop, days, factor):
    verdict = diagnose(shop, customers(300, 1, days=days))
    assert (verdict.kind, verdict.features) == ("window_changed", ("orders",))
    assert verdict.transformation["factor"] == pytest.approx(factor, rel=0.15)


def test_busier_times_are_a_population(shop):
    """Stated: of 12 samples at half to double the usual rate none is claimed."""
    for seed in range(12):
        rows = customers(300, 10 + seed, busier=(0.5, 0.7, 1.5, 2.0)[seed % 4])
        assert diagnose(shop, rows).status not in CLAIMS


def test_a_sum_for_a_mean(shop):
    live = customers(300, 3)
    verdict = diagnose(shop, live.assign(mean_price=np.round(live.mean_price * live["items"], 2)))
    assert (verdict.kind, verdict.features) == ("aggregate_changed", ("mean_price",))
    assert verdict.transformation == {"sent": "sum for mean", "by": "items"}


def test_a_total_in_another_unit_is_a_unit(shop):
    live = customers(300, 4)
    assert diagnose(shop, live.assign(spent=live.spent * 100)).kind == "unit"
    assert diagnose(shop, live.assign(visits=live.visits * 100)).kind == "unit"


def test_counts_beyond_any_integer_are_no_error():
    assert np.all(np.isfinite(other_window(np.array([1e30, 3.0, 9e18]), 0.5)))
    assert np.all(np.isfinite(other_window(np.array([1e30, 3.0, 9e18]), 7.0)))
