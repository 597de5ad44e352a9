"""A table with the kinds of columns that people have, which depend on each other."""

import numpy as np
import pandas as pd


def rows_of(count: int, seed: int) -> pd.DataFrame:
    """Rides: numbers of several scales, levels, a flag, an hour and a time, which depend on each other."""
    rng = np.random.default_rng(seed)
    hour = rng.integers(0, 24, count)
    season = rng.choice(["spring", "summer", "autumn", "winter"], count, p=[0.3, 0.3, 0.2, 0.2])
    warm = pd.Series(season).map({"spring": 14.0, "summer": 24.0, "autumn": 12.0, "winter": 2.0}).to_numpy()
    temp = warm + 5 * np.sin((hour - 9) / 24 * 2 * np.pi) + rng.normal(0, 2, count)
    humidity = np.clip(75 - 1.2 * temp + rng.normal(0, 8, count), 5, 100)
    distance = np.exp(rng.normal(1.0 + 0.02 * temp, 0.5, count))
    fare = 2.5 + 1.7 * distance + rng.normal(0, 0.4, count)
    stamp = (
        pd.Timestamp("2025-03-01")
        + pd.to_timedelta(rng.integers(0, 90, count), unit="D")
        + pd.to_timedelta(hour, unit="h")
    )
    return pd.DataFrame(
        {
            "hour": hour,
            "season": season,
            "temp": np.round(temp, 1),
            "humidity": np.round(humidity, 0).astype(int),
            "distance": distance,
            "fare": np.round(fare, 2),
            "city": rng.choice(["Łódź", "São Paulo", "New York", "Köln"], count),
            "member": rng.random(count) < 0.4,
            "stamp": stamp,
        }
    )
