"""Fair samples of invented tables: nothing was done to them, so nothing may be claimed.

``python -m benchmarks.parity.fair [--tables 120] [--first 0] [--privacy raw|hashed|bucketed|none] [--misses]``

Public tables have the columns that they have; these have what tables may have: free text, identifiers, long tails,
amounts that are often 0, hundreds of levels, dates, codes, two humps, numbers of 32 bits, a word of its own for
"missing", numbers that some people round more than others. Training has 300 to 12,000 rows of 3 to 24 columns, and 60,
200, 1,000 and 2,000 further rows of the same table are judged.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd

from tallystick.parity import Reference, Verdict, diagnose
from tallystick.parity.kinds import Status

#: What a column is made of: random numbers, what the columns of a row have in common, and how many rows.
Maker = Callable[[np.random.Generator, np.ndarray, int], object]

TRAINED, LIVE, SPARE_ROWS = (300, 1000, 4000, 12_000), (60, 200, 1000, 2000), 4000
_DAY = 86_400

MAKERS: tuple[Maker, ...] = (
    lambda r, z, n: np.round(
        r.normal(r.uniform(-100, 100), r.uniform(0.1, 50)) + z * r.uniform(0, 5) + r.normal(0, 1, n), r.integers(0, 4)
    ),
    lambda r, z, n: np.round(np.exp(r.normal(2, 1.5, n) + 0.3 * z), 2),
    lambda r, z, n: r.poisson(np.exp(r.uniform(-1, 3) + 0.3 * z)),
    lambda r, z, n: np.where(r.random(n) < 0.7, 0, np.round(r.gamma(2, 30, n), 2)),
    lambda r, z, n: r.integers(0, 10**9, n),
    lambda r, z, n: np.full(n, 3.5),
    lambda r, z, n: r.choice([f"u{k}" for k in range(r.integers(2, 400))], n),
    lambda r, z, n: pd.Timestamp("2023-01-01") + pd.to_timedelta(r.integers(0, 700 * _DAY, n), unit="s"),
    lambda r, z, n: np.where(r.random(n) < 0.2, np.nan, r.normal(0, 1, n)),
    lambda r, z, n: r.random(n) < r.uniform(0.01, 0.99),
    lambda r, z, n: r.integers(1, r.integers(3, 40), n),
    lambda r, z, n: np.round(r.standard_t(1.5, n), 3),
    lambda r, z, n: r.choice(np.array(["red", "green", "blue", None], dtype=object), n, p=[0.5, 0.3, 0.15, 0.05]),
    lambda r, z, n: np.round(r.uniform(0, 1, n), 4),
    lambda r, z, n: (r.normal(0, 1, n) + z).astype(np.float32),
    lambda r, z, n: np.where(r.random(n) < 0.5, r.normal(10, 1, n), r.normal(100, 5, n)).round(1),
    lambda r, z, n: np.array([f"word {k} text" for k in r.integers(0, 2 * n, n)], dtype=object),
    lambda r, z, n: pd.to_datetime(r.choice(pd.date_range("2024-01-01", periods=90).to_numpy(), n)),
    lambda r, z, n: 1_600_000_000 + r.integers(0, 30_000_000, n),
    lambda r, z, n: r.zipf(1.8, n).clip(0, 10**6),
    lambda r, z, n: np.clip(np.round(r.normal(50, 40, n)), 0, 100),
    lambda r, z, n: -np.round(np.abs(r.normal(0, 10, n) + z), 1),
    lambda r, z, n: r.choice(["10001", "94105", "60601", "02139"], n),
    lambda r, z, n: r.integers(0, 24, n),
    lambda r, z, n: np.round(np.exp(r.normal(0, 3, n)), 1),
    lambda r, z, n: np.where(r.random(n) < 0.03, -999, np.round(r.normal(30, 8, n))),
    lambda r, z, n: _rounded_by_some(r, np.exp(r.uniform(6, 11) + 0.5 * z + r.normal(0, 0.4, n)), (0, -2, -3)),
    lambda r, z, n: (
        np.floor(np.exp(3 + 0.8 * z + r.normal(0, 0.5, n))) + r.choice([0.5, 0.95, 0.99], n, p=[0.2, 0.2, 0.6])
    ),
    lambda r, z, n: (
        100 * r.integers(5, 23, n) + np.where(r.random(n) < 0.5, 15 * r.integers(0, 4, n), r.integers(0, 60, n))
    ),
    lambda r, z, n: _rounded_by_some(r, 70 + 12 * z + r.normal(0, 8, n), (1, 0, -1)),
    lambda r, z, n: np.round(r.uniform(-90, 90, 3000), 5)[r.zipf(1.6, n).clip(0, 3000) - 1],
)


def _rounded_by_some(random: np.random.Generator, values: np.ndarray, digits: tuple[int, ...]) -> np.ndarray:
    """Return numbers as people give them: each to as many digits as one likes."""
    return np.choose(random.integers(0, len(digits), len(values)), [np.round(values, each) for each in digits])


def judged(seed: int, privacy: str) -> list[tuple[str, Verdict]]:
    """Return what is said of four samples of one invented table, each with what it was."""
    chosen = np.random.default_rng(seed + 10**6)
    trained, columns = int(chosen.choice(TRAINED)), int(chosen.integers(3, 25))
    random, rows = np.random.default_rng(seed), trained + SPARE_ROWS
    common = random.normal(size=rows)
    makers = [MAKERS[k] for k in random.integers(0, len(MAKERS), columns)]
    table = pd.DataFrame({f"c{k}": maker(random, common, rows) for k, maker in enumerate(makers)})
    reference = Reference.from_frame(table.head(trained), privacy=privacy)
    found = []
    for count in LIVE:
        begin = trained + int(chosen.integers(0, SPARE_ROWS - max(LIVE)))
        sample = table.iloc[begin : begin + count].reset_index(drop=True)
        segments = chosen.choice(["a", "b", "c"], count) if chosen.random() < 0.5 else None
        found.append(
            (f"table {seed}, {trained:,} x {columns}, {count:,}", diagnose(reference, sample, segments=segments))
        )
    return found


def main() -> None:
    """Judge, and print how often what was said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=120)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--privacy", choices=["raw", "hashed", "bucketed", "none"], default="raw")
    parser.add_argument("--misses", action="store_true")
    asked = parser.parse_args()
    counted: Counter[str] = Counter()
    for seed in range(asked.first, asked.first + asked.tables):
        for name, verdict in judged(seed, asked.privacy):
            counted[verdict.status.value] += 1
            if asked.misses and verdict.status is not Status.CONSISTENT:
                print(f"{name}: {verdict.status.value} {verdict.kind} {', '.join(verdict.features[:3])}", flush=True)
    claimed = counted[Status.CAUSE_FOUND.value] + counted[Status.SUSPECTED.value]
    told = ", ".join(f"{status} {count}" for status, count in counted.most_common())
    print(f"{asked.privacy}: {claimed} of {counted.total()} fair samples were claimed ({told})")


if __name__ == "__main__":
    main()
