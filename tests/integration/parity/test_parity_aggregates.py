"""Counts over another window and sums for means: named, and not confused with busier times."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose
from tallystick.parity.detect.drawn import other_window

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


def months(count: int, seed: int, over: int = 1) -> pd.DataFrame:
    """Orders of a month, which are a new draw each month, and the mean of their prices, kept with two digits."""
    rng = np.random.default_rng(seed)
    orders = 1 + rng.poisson(1.9, (count, 12))
    prices = [np.round(rng.gamma(4, 60, size), 2) for size in orders[:, 0]]
    items = np.array([rng.integers(1, 9, size).sum() for size in orders[:, 0]])
    return pd.DataFrame(
        {
            "orders": orders[:, :over].sum(axis=1),
            "items": items,
            "mean_items": items / orders[:, 0],
            "mean_price": np.round([each.mean() for each in prices], 2),
            "sum_price": np.round([each.sum() for each in prices], 2),
        }
    )


@pytest.fixture(scope="module")
def monthly() -> Reference:
    return Reference.from_frame(months(3000, 0).drop(columns="sum_price"))


@pytest.mark.parametrize("over", [3, 12])
def test_a_longer_window_is_named_though_each_window_is_a_new_draw(monthly, over):
    """The other columns know the month's count, and no longer that one."""
    verdict = diagnose(monthly, months(200, 1, over).drop(columns="sum_price"))
    assert (verdict.kind, verdict.features) == ("window_changed", ("orders",))
    assert verdict.transformation["factor"] == pytest.approx(over, rel=0.02)


def test_a_mean_that_training_rounded_is_told_from_its_sum(monthly):
    live = months(200, 2)
    verdict = diagnose(monthly, live.assign(mean_price=live.sum_price).drop(columns="sum_price"))
    assert (verdict.kind, verdict.features) == ("aggregate_changed", ("mean_price",))


def hours(count: int, seed: int, over: int = 1) -> pd.DataFrame:
    """Rides of an hour, which are unlike at night and at noon, and of a day, which are all alike."""
    rng = np.random.default_rng(seed)
    hour = rng.integers(0, 24, count)
    rate = 400 * (1.05 + np.sin((hour - 9) / 24 * 2 * np.pi)) * rng.gamma(20, 0.05, count)
    day = 400 * 1.05 * over * rng.gamma(20, 0.05, count)
    rides = rng.poisson(day if over > 1 else rate)
    return pd.DataFrame({"rides": rides, "hour": hour, "temp": np.round(15 + rate / 80 + rng.normal(0, 3, count), 1)})


def test_a_day_for_an_hour_is_a_window_and_no_unit():
    """Hours of a day are unlike each other, so that the sum is not distributed as any one of them times 24."""
    verdict = diagnose(Reference.from_frame(hours(3000, 0)), hours(200, 1, over=24))
    assert (verdict.kind, verdict.features) == ("window_changed", ("rides",))
    assert verdict.transformation["factor"] == 24


def test_a_third_of_counts_over_another_window_is_traced_to_its_client(shop):
    sound, longer = customers(300, 5), customers(300, 5, days=28.0)
    client = np.where(np.arange(300) % 3 == 0, "ios", "web")
    live = sound.assign(orders=np.where(client == "ios", longer.orders, sound.orders))
    verdict = diagnose(shop, live, segments=pd.Series(client, name="client"))
    assert (verdict.kind, verdict.features) == ("window_changed", ("orders",))
    assert verdict.segment["value"] == "ios"


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


@pytest.mark.parametrize("size", [1e290, 1e304])
def test_whole_numbers_beyond_any_count_are_compared_all_the_same(size):
    random = np.random.default_rng(0)
    trained = pd.DataFrame({"mass": random.integers(0, 50, 2000) * size, "age": random.normal(40, 9, 2000)})
    known, live = Reference.from_frame(trained), trained.sample(300, random_state=1)
    assert diagnose(known, live).status is Status.CONSISTENT
    assert diagnose(known, live.assign(mass=live.mass / 3)).features == ("mass",)


def orders(rows: int, seed: int, counts: tuple[int, int], decimals: int) -> pd.DataFrame:
    """Orders with a number of items, and a mean price that another column knows."""
    random = np.random.default_rng(seed)
    price = np.round(np.exp(random.normal(2.5, 0.6, rows)), decimals)
    other = np.round(price * random.normal(1, 0.2, rows), 1)
    return pd.DataFrame({"items": random.integers(*counts, rows), "mean_price": price, "other": other})


@pytest.mark.parametrize("counts", [(1, 4), (1, 13), (20, 41)])
@pytest.mark.parametrize("decimals", [0, 2, 6])
def test_a_sum_is_told_from_a_factor_and_a_window_by_its_count(counts, decimals):
    live = orders(200, 1, counts, decimals)
    sums = live.assign(mean_price=np.round(live.mean_price * live["items"], decimals))
    verdict = diagnose(Reference.from_frame(orders(3000, 2, counts, decimals)), sums)
    assert (verdict.kind, verdict.features) == ("aggregate_changed", ("mean_price",))


@pytest.mark.parametrize("decimals", [0, 2, 6])
def test_a_factor_as_large_as_counts_usually_are_is_no_sum(decimals):
    live = orders(200, 3, (20, 41), decimals)
    verdict = diagnose(
        Reference.from_frame(orders(3000, 4, (20, 41), decimals)), live.assign(mean_price=live.mean_price * 30)
    )
    assert (verdict.kind, verdict.features) == ("unit", ("mean_price",))
    assert verdict.transformation["factor"] == pytest.approx(30, rel=0.02)


def family(count: int, seed: int, month: float = 30.0) -> pd.DataFrame:
    """Orders of a week within those of a month within those of a quarter, and what else goes with a customer's rate."""
    random = np.random.default_rng(seed)
    rate = random.gamma(1.2, 0.06, count)
    week, rest, before = random.poisson(rate * 7), random.poisson(rate * 23), random.poisson(rate * 60)
    counted = {30.0: week + rest, 90.0: week + rest + before, 7.0: week}[month]
    return pd.DataFrame(
        {
            "orders_7d": week,
            "orders_30d": counted,
            "orders_90d": week + rest + before,
            "visits_30d": random.poisson(rate * 150) + week + rest,
            "age": random.integers(18, 80, count),
        }
    )


@pytest.fixture(scope="module")
def nested() -> Reference:
    return Reference.from_frame(family(3000, 0))


@pytest.mark.parametrize(("month", "factor"), [(90.0, 3.0), (7.0, 7 / 30)])
def test_a_window_among_others_of_its_events_is_named(nested, month, factor):
    verdict = diagnose(nested, family(200, 1, month))
    assert (verdict.kind, verdict.features) == ("window_changed", ("orders_30d",))
    assert verdict.transformation["factor"] == pytest.approx(factor, rel=0.25)


def test_a_window_in_a_third_of_rows_is_seen_in_all_of_them(nested):
    sound, longer = family(400, 2), family(400, 2, 90.0)
    live = sound.assign(orders_30d=np.where(np.arange(400) % 3 == 0, longer.orders_30d, sound.orders_30d))
    verdict = diagnose(nested, live)
    assert (verdict.kind, verdict.features) == ("window_changed", ("orders_30d",))


def test_rows_picked_by_a_count_are_a_population(nested):
    """A selection by the count alone makes the same counts as another window; the other columns go with them."""
    pool = family(4000, 3)
    for seed, strength in enumerate((-1.5, -1.0, 1.0, 1.5) * 2):
        weight = np.exp(strength * np.minimum(pool.orders_30d / pool.orders_30d.std(), 3))
        picked = np.random.default_rng(seed).choice(len(pool), 200, replace=False, p=weight / weight.sum())
        rows = pool.iloc[picked].reset_index(drop=True)
        assert diagnose(nested, rows).kind != "window_changed"


def test_fewer_whole_counts_are_neither_scaled_nor_logarithms(nested):
    """Nobody rounds a standardized count to a whole number."""
    live = family(60, 4, 7.0)
    verdict = diagnose(nested, live)
    assert verdict.kind in ("window_changed", "")


@pytest.mark.parametrize(("column", "each"), [("orders_30d", 5), ("age", 3)])
def test_zeros_in_some_rows_are_a_default(nested, column, each):
    """A window so short that it has no event would give the same."""
    live = family(300, 5)
    filled = live.assign(**{column: np.where(np.arange(300) % each == 0, 0, live[column])})
    verdict = diagnose(nested, filled)
    assert (verdict.kind, verdict.features) == ("default_fill", (column,))
