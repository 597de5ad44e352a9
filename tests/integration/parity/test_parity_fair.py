"""Fair samples of columns of many shapes, few rows and many: nothing is claimed of any."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose
from tallystick.parity.profile import BUCKET_DIGITS, BUCKETS


def table(count: int, seed: int) -> pd.DataFrame:
    """Columns as tables have them: free text, ids, long tails, sums that are often 0, many levels, dates, codes."""
    random = np.random.default_rng(seed)
    common = random.normal(size=count)
    return pd.DataFrame(
        {
            "note": [f"word {number} text" for number in random.integers(0, 10**6, count)],
            "user": random.integers(0, 10**9, count),
            "tail": np.round(np.exp(random.normal(2, 1.5, count) + 0.3 * common), 2),
            "often_zero": np.where(random.random(count) < 0.7, 0.0, np.round(random.gamma(2, 30, count), 2)),
            "size": -np.round(np.abs(random.normal(0, 10, count) + common), 1),
            "hits": random.zipf(1.8, count).clip(0, 10**6),
            "shop": random.choice([f"u{number}" for number in range(230)], count),
            "day": pd.to_datetime(random.choice(pd.date_range("2024-01-01", periods=90).values, count)),
            "at": pd.Timestamp("2023-01-01") + pd.to_timedelta(random.integers(0, 700 * 86_400, count), unit="s"),
            "epoch": 1_600_000_000 + random.integers(0, 30_000_000, count),
            "coded": np.where(random.random(count) < 0.03, -999.0, np.round(random.normal(30, 8, count))),
            "zip": random.choice(["10001", "94105", "60601", "02139"], count),
            "flag": random.random(count) < 0.05,
            "two": np.round(
                np.where(random.random(count) < 0.5, random.normal(10, 1, count), random.normal(100, 5, count)), 1
            ),
            "single": (random.normal(0, 1, count) + common).astype(np.float32),
        }
    )


@pytest.fixture(scope="module")
def whole() -> pd.DataFrame:
    return table(9000, 5)


@pytest.mark.parametrize("rows", [60, 400, 2000])
def test_a_fair_sample_of_any_size_is_no_fault(whole: pd.DataFrame, rows: int) -> None:
    reference = Reference.from_frame(whole.head(1500))
    for begin in (1500, 4000, 6500):
        sample = whole.iloc[begin : begin + rows].reset_index(drop=True)
        verdict = diagnose(reference, sample)
        assert verdict.status in (Status.CONSISTENT, Status.POPULATION_CHANGED), (verdict.kind, verdict.features)


@pytest.mark.parametrize("privacy", ["hashed", "none"])
def test_a_fair_sample_is_no_fault_where_the_reference_keeps_values_to_itself(
    whole: pd.DataFrame, privacy: str
) -> None:
    reference = Reference.from_frame(whole.head(1500), privacy=privacy)
    for begin, rows in ((1500, 60), (4000, 400), (6500, 2000)):
        sample = whole.iloc[begin : begin + rows].reset_index(drop=True)
        verdict = diagnose(reference, sample)
        assert verdict.status in (Status.CONSISTENT, Status.POPULATION_CHANGED), (verdict.kind, verdict.features)


def test_faults_of_columns_in_buckets_are_found(whole: pd.DataFrame) -> None:
    reference = Reference.from_frame(whole.head(1500), privacy="bucketed")
    sample = whole.iloc[4000:4200].reset_index(drop=True)
    for broken, kind, column in (
        (sample.assign(coded=sample.coded * 100), "unit", "coded"),
        (sample.assign(two=sample.two.where(np.arange(200) % 3 > 0)), "nulls", "two"),
        (sample.assign(epoch=sample.epoch * 1000), "epoch_unit", "epoch"),
        (sample.assign(single=sample.single.astype(str)), "numeric_as_text", "single"),
    ):
        verdict = diagnose(reference, broken)
        assert (verdict.kind, verdict.features) == (kind, (column,))


def test_what_is_kept_of_a_column_in_buckets_are_bounds_of_two_digits(whole: pd.DataFrame) -> None:
    reference = Reference.from_frame(whole.head(1500), privacy={"epoch": "bucketed", "tail": "bucketed"})
    for name in ("epoch", "tail"):
        numbers = reference.column(name).numbers
        assert numbers is not None
        kept = (numbers.grid[:: (len(numbers.grid) - 1) // BUCKETS] - numbers.origin) / numbers.unit
        digits = {f"{abs(value):.0f}".rstrip("0") for value in kept}
        assert all(len(each) <= BUCKET_DIGITS for each in digits), digits
        assert not len(numbers.lattice)
        assert not len(numbers.atoms)


@pytest.mark.parametrize("change", [lambda pay: 4321.87, lambda pay: np.minimum(pay, 3456.78)])
def test_what_is_done_to_a_column_in_buckets_is_not_laid_on_its_partner(change) -> None:
    def rows(count: int, seed: int) -> pd.DataFrame:
        random = np.random.default_rng(seed)
        pay = random.gamma(3, 1000, count).round(2)
        return pd.DataFrame(
            {
                "pay": pay,
                "age": random.integers(18, 90, count),
                "rate": (pay / 50 + random.normal(0, 5, count)).round(1),
            }
        )

    reference = Reference.from_frame(rows(4000, 1), privacy={"pay": "bucketed"})
    live = rows(300, 2)
    verdict = diagnose(reference, live.assign(pay=change(live.pay)))
    assert verdict.status not in (Status.CAUSE_FOUND, Status.SUSPECTED), (verdict.kind, verdict.features)


@pytest.mark.parametrize("secret", ["city", "km"])
def test_fair_rows_are_as_in_training_beside_a_column_of_which_nothing_is_kept(secret: str) -> None:
    random = np.random.default_rng(0)
    city = random.integers(0, 60, 5000)
    frame = pd.DataFrame(
        {
            "city": [f"C{each}" for each in city],
            "km": random.permutation(np.arange(200, 1700, 25))[city],
            "shop": [f"S{each}" for each in np.where(random.random(5000) < 0.9, city % 6, random.integers(0, 6, 5000))],
            "x": random.normal(size=5000),
        }
    )
    reference = Reference.from_frame(frame[:3000], privacy={secret: "none"})
    for start in range(3000, 5000, 400):
        assert diagnose(reference, frame[start : start + 400].reset_index(drop=True)).status is Status.CONSISTENT


def heaped(count: int, seed: int) -> pd.DataFrame:
    """Numbers that people round, some more than others: pay, prices, times of day, weights."""
    random = np.random.default_rng(seed)
    wealth, how = random.normal(size=count), random.random(count)
    pay = np.exp(10.5 + 0.5 * wealth + 0.3 * random.normal(size=count))
    price = np.round(np.exp(3 + 0.8 * wealth + 0.5 * random.normal(size=count)), 2)
    weight = np.round(70 + 12 * wealth + 8 * random.normal(size=count), 1)
    minutes = np.where(how < 0.5, random.choice([0, 15, 30, 45], count), random.integers(0, 60, count))
    return pd.DataFrame(
        {
            "pay": np.where(how < 0.35, pay.round(-3), np.where(how < 0.6, pay.round(-2), pay.round())),
            "price": np.where(random.random(count) < 0.5, np.floor(price) + 0.99, price),
            "clock": np.clip(np.round(random.normal(13, 4, count)), 0, 23) * 100 + minutes,
            "weight": np.where(random.random(count) < 0.3, np.round(weight / 5) * 5, weight),
        }
    )


@pytest.mark.parametrize("rows", [400, 1000, 2000, 5000])
def test_round_numbers_that_training_had_more_often_than_others_are_no_fault(rows: int) -> None:
    reference = Reference.from_frame(heaped(20_000, 0))
    for seed in range(1, 4):
        assert diagnose(reference, heaped(rows, seed)).status is Status.CONSISTENT


def test_a_bound_and_a_default_on_a_round_number_are_found() -> None:
    reference, live = Reference.from_frame(heaped(20_000, 0)), heaped(400, 1)
    found = diagnose(reference, live.assign(pay=live["pay"].clip(upper=60_000)))
    assert (found.kind, found.features) == ("clipped", ("pay",))
    filled = diagnose(reference, live.assign(pay=live["pay"].where(np.arange(400) % 4 > 0, 30_000.0)))
    assert (filled.kind, filled.transformation["value"]) == ("default_fill", 30_000.0)


@pytest.mark.parametrize("rows", [400, 2000])
def test_people_who_round_more_than_others_fill_nothing_in(rows: int) -> None:
    reference = Reference.from_frame(heaped(20_000, 0))
    for seed in range(1, 5):
        live = heaped(4 * rows, seed)
        live = live[(live["pay"] % 1000 == 0) | (live["pay"] % 100 > 0)].head(rows).reset_index(drop=True)
        assert diagnose(reference, live).status not in (Status.CAUSE_FOUND, Status.SUSPECTED)
