"""Digits that were lost on the way: with a scaling or another unit, in columns of one value, and alone."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose


def stays(count: int, seed: int) -> pd.DataFrame:
    """Places of six decimals, days ahead of which many are none, a wait that hardly anybody has, people, and rates."""
    rng = np.random.default_rng(seed)
    zone = rng.integers(0, 4, count)
    ahead = np.where(rng.random(count) < 0.15, 0, np.round(rng.gamma(1.1, 80, count))).astype(int)
    return pd.DataFrame(
        {
            "lat": np.round(np.array([-30.0, 10.0, 35.0, 48.0])[zone] + rng.normal(0, 4, count), 6),
            "ahead": ahead,
            "wait": np.where(rng.random(count) < 0.005, rng.integers(5, 120, count), 0),
            "people": np.round(np.exp(rng.normal(10, 1.2, count))).astype(int),
            "rate": rng.choice([6.92, 7.89, 9.17, 10.99, 13.33, 15.61, 18.25, 22.99], count),
            "zone": np.array(["s", "e", "w", "n"])[zone],
        }
    )


@pytest.fixture(scope="module")
def trained() -> pd.DataFrame:
    return stays(3000, 0)


@pytest.fixture(scope="module")
def known(trained) -> Reference:
    return Reference.from_frame(trained)


def some(share: float, rows: int = 200) -> np.ndarray:
    return np.random.default_rng(5).random(rows) < share


@pytest.mark.parametrize("share", [1.0, 0.35])
def test_a_scaling_that_was_rounded_is_no_loss_of_digits(known, trained, share):
    """Scaled places are places that training had; that they have three decimals tells that something was done."""
    sent = stays(200, 1)
    mean, sd = trained["lat"].mean(), trained["lat"].std(ddof=0)
    scaled = ((sent["lat"] - mean) / sd).round(3)
    verdict = diagnose(known, sent.assign(lat=sent["lat"].where(~some(share), scaled)))
    assert (verdict.kind, verdict.features) == ("standardized", ("lat",))
    assert verdict.transformation["mean"] == pytest.approx(mean, rel=0.01)


def test_ten_times_as_many_people_in_some_rows_are_no_rounding_to_tens(known):
    sent = stays(200, 1)
    verdict = diagnose(known, sent.assign(people=sent.people.where(~some(0.3), sent.people * 10)))
    assert (verdict.kind, verdict.features) == ("unit", ("people",))
    assert verdict.transformation["factor"] == 10


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_raw_values_are_told_by_their_digits_where_training_was_scaled(trained, share):
    """They lie where scaled ones do, and no other column knows them."""
    sent, size = stays(200, 1), trained.rate.std(ddof=0)
    spread = pd.Series(np.round(np.random.default_rng(8).normal(3, 1.2, 3200), 2))
    raw, mean, sd = spread[3000:].reset_index(drop=True), spread[:3000].mean(), spread[:3000].std(ddof=0)
    reference = Reference.from_frame(trained.assign(rate=trained.rate / size, far=(spread[:3000] - mean) / sd))
    live = sent.assign(rate=sent.rate / size, far=raw.where(some(share), (raw - mean) / sd))
    verdict = diagnose(reference, live)
    assert (verdict.kind, verdict.features) == ("not_standardized", ("far",))


def test_lost_digits_alone_are_still_that(known):
    sent = stays(200, 1)
    verdict = diagnose(known, sent.assign(lat=sent["lat"].where(~some(0.3), sent["lat"].round(2))))
    assert (verdict.kind, verdict.transformation["decimals"]) == ("rounded", 2)


def test_whole_rates_are_a_cast_and_no_scaling_that_is_nearly_one(known):
    """A scaler of another column may have a deviation near 1 and a mean below it."""
    sent = stays(200, 1)
    near = stays(3000, 0).assign(steps=np.random.default_rng(2).normal(0.74, 0.99, 3000))
    reference = Reference.from_frame(near)
    live = sent.assign(rate=np.floor(sent.rate), steps=np.random.default_rng(3).normal(0.74, 0.99, 200))
    assert diagnose(reference, live).kind == "lossy_cast"


@pytest.mark.parametrize("share", [1.0, 0.3])
@pytest.mark.parametrize("factor", [0.01, 0.001, 100])
def test_a_power_of_ten_is_not_taken_for_a_unit_near_it(known, factor, share):
    """Rounded to the digits that it was sent with, any factor near it leads back to whole numbers, and to the usual."""
    sent = stays(200, 1)
    verdict = diagnose(known, sent.assign(ahead=(sent.ahead * factor).where(some(share), sent.ahead)))
    assert verdict.kind == "unit"
    assert verdict.transformation["factor"] == pytest.approx(factor)


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_the_one_value_of_a_column_is_told_when_it_is_scaled(known, trained, share):
    """Nearly all rows are 0, which is one value when it is scaled: the mean over the deviation, to the last digit."""
    sent = stays(200, 1).assign(wait=0)
    mean, sd = trained.wait.mean(), trained.wait.std(ddof=0)
    verdict = diagnose(known, sent.assign(wait=((sent.wait - mean) / sd).where(some(share), sent.wait)))
    assert (verdict.kind, verdict.features) == ("standardized", ("wait",))


def test_any_other_single_value_of_such_a_column_is_no_scaling(known):
    sent = stays(200, 1).assign(wait=0)
    verdict = diagnose(known, sent.assign(wait=sent.wait.where(~some(0.3), -0.07)))
    assert verdict.kind in ("default_fill", "constant")


@pytest.mark.parametrize("seed", range(4))
def test_fair_stays_lose_nothing(known, seed):
    assert diagnose(known, stays(200, 40 + seed)).status is Status.CONSISTENT


def heights(count: int, seed: int) -> pd.DataFrame:
    """Heights of which two in five are 0 and a few are 1, with a long tail; incomes of a range of nearly a thousand."""
    rng = np.random.default_rng(seed)
    high = np.round(np.exp(rng.normal(6.3, 1.6, count)), -1)
    zero = rng.random(count)
    return pd.DataFrame(
        {
            "height": np.where(zero < 0.4, 0.0, np.where(zero < 0.41, 1.0, high)),
            "income": np.clip(np.round(np.exp(rng.normal(4.8, 0.5, count))), 9, 960),
        }
    )


@pytest.fixture(scope="module")
def tall() -> pd.DataFrame:
    return heights(3000, 0)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_rounded_beside_many_zeros_is_one_of_them(seed):
    """Undone, a scaled and rounded 0 may be nearer to 1, which hardly any row had."""
    trained, sent = heights(3000, seed), heights(200, 50 + seed)
    mean, sd = trained.height.mean(), trained.height.std(ddof=0)
    verdict = diagnose(Reference.from_frame(trained), sent.assign(height=((sent.height - mean) / sd).round(3)))
    assert (verdict.kind, verdict.features) == ("standardized", ("height",))


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_thousandths_are_no_scaling_by_a_range_of_about_a_thousand(tall, share):
    sent = heights(200, 1)
    verdict = diagnose(
        Reference.from_frame(tall), sent.assign(income=(sent.income / 1000).where(some(share), sent.income))
    )
    assert (verdict.kind, verdict.transformation["factor"]) == ("unit", pytest.approx(0.001))


@pytest.mark.parametrize("seed", range(4))
def test_a_line_that_makes_one_value_of_all_is_none(seed):
    """Of a column in which nearly all rows have one value, twelve times as much are twelve times as much."""
    rng = np.random.default_rng(seed)
    usual = rng.random(3200) < 0.95 + 0.01 * seed
    frame = pd.DataFrame({"limit": np.where(usual, 45.0, np.round(rng.uniform(14, 44, 3200), 2))})
    frame["other"] = rng.normal(0, 1, 3200)
    live = frame.iloc[3000:].reset_index(drop=True)
    verdict = diagnose(Reference.from_frame(frame.iloc[:3000]), live.assign(limit=12 * live.limit))
    assert (verdict.kind, verdict.transformation["factor"]) == ("unit", pytest.approx(12))


def test_a_cast_may_lead_below_the_least_value():
    """18.0004 is the least age, and 18 when it is cut: no yards in metres, though nearly all would be ages, too."""
    rng = np.random.default_rng(2)
    ages = 18.0004 + 41.9 * rng.random(3200)
    frame = pd.DataFrame({"age": np.append(18.0004, ages[1:]), "other": rng.normal(0, 1, 3200)})
    live = frame.iloc[3000:].reset_index(drop=True)
    verdict = diagnose(Reference.from_frame(frame.iloc[:3000]), live.assign(age=np.trunc(live.age)))
    assert verdict.kind == "lossy_cast"
