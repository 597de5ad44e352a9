"""Customers whose features change in time: a source that knows their history, and rows that were served from it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tallystick.parity import History

HOUR, DAY = 3600.0, 86_400.0
START = 1_750_000_000.0
FEATURES = ("balance", "visits", "score", "tier")


def source_of(
    seed: int = 0, customers: int = 60, days: int = 40, step_s: float = 6 * HOUR, slow: tuple[str, ...] = ()
) -> pd.DataFrame:
    """A row for each customer every `step_s`: columns that go with each other; `slow` ones hardly ever change."""
    rng = np.random.default_rng(seed)
    steps = int(days * DAY / step_s)
    state = np.zeros((customers, steps))
    shocks = rng.normal(size=(customers, steps))
    state[:, 0] = shocks[:, 0]
    for k in range(1, steps):
        state[:, k] = 0.7 * state[:, k - 1] + 0.71 * shocks[:, k]
    level = 0.5 * rng.normal(size=(customers, 1)) + 0.85 * state
    still = np.repeat(level[:, :1], steps, axis=1)

    def of(name: str) -> np.ndarray:
        return still if name in slow else level

    def noise(name: str, sd: float) -> np.ndarray:
        drawn = rng.normal(0, sd, level.shape)
        return np.repeat(drawn[:, :1], steps, axis=1) if name in slow else drawn

    return pd.DataFrame(
        {
            "customer": np.repeat(np.arange(customers) + 1000, steps),
            # Each customer is updated at a time of its own.
            "at": (START + np.arange(steps) * step_s + rng.uniform(0, step_s, (customers, 1))).ravel(),
            "balance": np.round(np.exp(5 + 0.6 * of("balance") + noise("balance", 0.15)), 2).ravel(),
            "visits": np.clip(np.round(4 + 2 * of("visits") + noise("visits", 0.7)), 0, None).ravel().astype(int),
            "score": np.round(50 + 10 * of("score") + noise("score", 3), 1).ravel(),
            "tier": np.array(["low", "mid", "top"])[
                np.digitize((of("tier") + noise("tier", 0.4)).ravel(), [-0.6, 0.8])
            ],
        }
    )


def history_of(source: pd.DataFrame) -> History:
    return History(source, "customer", "at")


def served(
    source: pd.DataFrame,
    count: int,
    seed: int,
    lags: Mapping[str, float] | None = None,
    share: float = 1.0,
    days: tuple[float, float] = (10, 36),
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Rows, their customers and their times: the source's values, those of `lags` so long before, in a `share`."""
    rng = np.random.default_rng(seed)
    times = np.sort(START + rng.uniform(days[0] * DAY, days[1] * DAY, count))
    whose = rng.choice(source.customer.unique(), count)
    late = rng.random(count) < share
    ordered = source.sort_values("at")
    found = {}
    for name in FEATURES:
        lag = np.where(late, (lags or {}).get(name, 0.0), 0.0)
        asked = pd.DataFrame({"at": times - lag, "customer": whose, "row": np.arange(count)}).sort_values("at")
        joined = pd.merge_asof(asked, ordered[["at", "customer", name]], on="at", by="customer").sort_values("row")
        found[name] = joined[name].to_numpy()
    return pd.DataFrame(found), whose, times
