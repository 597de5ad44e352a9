"""Parts of the population that one column picks, and what is then another in columns that go with it."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose

CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)
OTHERS = {"north": "city", "city": "north", "coast": "hill", "hill": "coast"}


def visits(count: int, seed: int) -> pd.DataFrame:
    """Visits by van: in the wet most warmth is written in whole degrees, and far away hours go otherwise with vans."""
    rng = np.random.default_rng(seed)
    km = np.round(np.exp(rng.normal(3, 1, count)), 1)
    vans = ["north", "coast", "hill", "city"]
    van = np.where(
        km > 60, rng.choice(vans, count, p=[0.6, 0.1, 0.3, 0]), rng.choice(vans, count, p=[0.1, 0.2, 0.1, 0.6])
    )
    usual = np.select([van == "city", van == "coast"], [1.0, 4.0], 2.0)
    hours = np.where(km > 60, np.where(van == "coast", 2.0, 6.0), usual) * rng.lognormal(0, 0.2, count)
    wet = np.where(rng.random(count) < 0.1, np.round(rng.exponential(3, count) + 0.1, 1), 0.0)
    warmth = rng.normal(14, 6, count) - 2 * (wet > 0)
    is_whole = (wet > 0) & (rng.random(count) < 0.7)
    return pd.DataFrame(
        {
            "km": km,
            "van": van,
            "hours": np.round(hours, 2),
            "wet": wet,
            "warmth": np.where(is_whole, np.round(warmth), np.round(warmth, 1)),
        }
    )


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.from_frame(visits(6000, 0))


def part_of(seed: int, picked: str) -> pd.DataFrame:
    return visits(8000, seed).query(picked).head(500).reset_index(drop=True)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("picked", ["wet > 0", "km > 60"])
def test_a_part_that_one_column_picks_is_no_fault_of_another(reference, picked, seed):
    assert diagnose(reference, part_of(seed, picked)).status not in CLAIMS


def test_digits_that_are_lost_are_told_in_such_a_part_too(reference):
    live = part_of(4, "wet > 0")
    verdict = diagnose(reference, live.assign(hours=live.hours.round(1)))
    assert (verdict.kind, verdict.features, verdict.status) == ("rounded", ("hours",), Status.CAUSE_FOUND)


@pytest.mark.parametrize("picked", ["km > 0", "km > 60"])
def test_levels_that_are_exchanged_are_told_in_all_rows_and_in_a_part(reference, picked):
    live = part_of(5, picked)
    verdict = diagnose(reference, live.assign(van=live.van.map(OTHERS)))
    assert (verdict.kind, verdict.features) == ("category_relabelled", ("van",))
