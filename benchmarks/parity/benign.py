"""Changes of the population: other rows of the same table, with nothing wrong in them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from benchmarks.parity.faults import levels, numbers

Sampler = Callable[[pd.DataFrame, pd.Series, np.random.Generator, int], pd.DataFrame | None]


def _weighted(pool: pd.DataFrame, weights: np.ndarray, rng: np.random.Generator, rows: int) -> pd.DataFrame | None:
    if not (weights > 0).any():
        return None
    rows = min(rows, int((weights > 0).sum()))
    return pool.iloc[rng.choice(len(pool), rows, replace=False, p=weights / weights.sum())].reset_index(drop=True)


def _plain(pool: pd.DataFrame, y: pd.Series, rng: np.random.Generator, rows: int) -> pd.DataFrame:
    return _weighted(pool, np.ones(len(pool)), rng, rows)


def _tilt(strength: float) -> Sampler:
    def sample(pool: pd.DataFrame, y: pd.Series, rng: np.random.Generator, rows: int) -> pd.DataFrame | None:
        names = numbers(pool)
        if not names:
            return None
        column = pool[rng.choice(names)].astype(float)
        z = ((column - column.mean()) / column.std()).fillna(0).clip(-3, 3)
        return _weighted(pool, np.exp(strength * z.to_numpy()), rng, min(rows, len(pool) // 2))

    return sample


def _one_level(pool: pd.DataFrame, y: pd.Series, rng: np.random.Generator, rows: int) -> pd.DataFrame | None:
    names = levels(pool) or [n for n in pool if 2 <= pool[n].nunique() <= 8]
    if not names:
        return None
    column = pool[rng.choice(names)]
    counts = column.value_counts()
    level = rng.choice(counts.index[counts >= min(60, counts.max())])
    return _weighted(pool, (column == level).to_numpy(float), rng, rows)


def _season(pool: pd.DataFrame, y: pd.Series, rng: np.random.Generator, rows: int) -> pd.DataFrame | None:
    time = next(
        (n for n in ("stamp", "listed", "mnth", "year", "day") if n in pool and pool[n].dtype.kind in "iufM"), None
    )
    if not time and not numbers(pool):
        return None
    column = pool[time if time else rng.choice(numbers(pool))].rank(pct=True).fillna(0.5)
    start = rng.uniform(0, 0.65)
    return _weighted(pool, ((column >= start) & (column <= start + 0.35)).to_numpy(float), rng, rows)


def _reweighted(pool: pd.DataFrame, y: pd.Series, rng: np.random.Generator, rows: int) -> pd.DataFrame:
    score = np.zeros(len(pool))
    for name in rng.choice(list(pool.columns), min(3, pool.shape[1]), replace=False):
        column = pool[name]
        codes = (
            column.astype(float).rank(pct=True)
            if column.dtype.kind in "iuf"
            else column.map({v: rng.uniform() for v in column.unique()})
        )
        score += rng.normal(0, 1.5) * codes.fillna(0.5).to_numpy(float)
    return _weighted(pool, np.exp(score), rng, min(rows, len(pool) // 2))


def _label_shift(pool: pd.DataFrame, y: pd.Series, rng: np.random.Generator, rows: int) -> pd.DataFrame:
    codes = y if y.dtype.kind in "iuf" else pd.Series(pd.factorize(y)[0])
    return _weighted(pool, np.exp(1.5 * codes.rank(pct=True).fillna(0.5).to_numpy()), rng, min(rows, len(pool) // 2))


def _duplicates(pool: pd.DataFrame, y: pd.Series, rng: np.random.Generator, rows: int) -> pd.DataFrame:
    base = _plain(pool, y, rng, max(20, int(rows * 0.7)))
    assert base is not None
    return pd.concat(
        [base, base.sample(rows - len(base), replace=True, random_state=int(rng.integers(1 << 30)))], ignore_index=True
    )


def _ramp(pool: pd.DataFrame, y: pd.Series, rng: np.random.Generator, rows: int) -> pd.DataFrame | None:
    parts = [_tilt(s)(pool, y, rng, rows // 4) for s in (0.0, 0.3, 0.6, 0.9)]
    found = [part for part in parts if part is not None]
    return pd.concat(found, ignore_index=True) if found else None


BENIGN: dict[str, Sampler] = {
    "plain": _plain,
    "tilt_0.5": _tilt(0.5),
    "tilt_-1": _tilt(-1.0),
    "one_level": _one_level,
    "season": _season,
    "reweighted": _reweighted,
    "label_shift": _label_shift,
    "duplicates": _duplicates,
    "ramp": _ramp,
}
