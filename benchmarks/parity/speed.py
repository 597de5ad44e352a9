"""How long a diagnosis of 1,000 rows x 50 columns takes: clean, broken, with segments, and with every column broken.

The last are the worst that were found: nearly all detectors look at nearly all columns, some of them several times.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tallystick.parity import Reference, diagnose

ROWS, COLUMNS, SEGMENTS = 1000, 50, 50


def wide(rows: int, seed: int, columns: int = COLUMNS) -> pd.DataFrame:
    """Numbers of several forms and levels, which depend on five hidden causes."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 5))
    table: dict[str, object] = {}
    for k in range(columns):
        base = hidden[:, k % 5] + rng.normal(size=rows)
        if k % 5 == 4:
            table[f"level{k}"] = np.array(list("abcdef"))[np.digitize(base, [-1.5, -0.5, 0, 0.5, 1.5])]
        elif k % 5 == 3:
            table[f"count{k}"] = np.floor(np.exp(1 + 0.5 * base)).astype(int)
        else:
            table[f"x{k}"] = np.round(np.exp(base), 3) if k % 2 else 10 + 3 * base
    return pd.DataFrame(table)


def counts(rows: int, seed: int) -> pd.DataFrame:
    """Columns of counts only."""
    rng = np.random.default_rng([seed, 1])
    hidden = rng.normal(size=(rows, 5))
    means = [np.exp(size + 0.5 * hidden[:, k % 5]) for k, size in enumerate(np.resize([1, 2, 3, 4.5], COLUMNS))]
    return pd.DataFrame({f"count{k}": rng.poisson(mean) for k, mean in enumerate(means)})


def levels(rows: int, seed: int) -> pd.DataFrame:
    """Columns of thirty levels only."""
    rng = np.random.default_rng([seed, 2])
    hidden = rng.normal(size=(rows, 5))
    table = {}
    for k in range(COLUMNS):
        base = np.clip((hidden[:, k % 5] + 0.7 * rng.normal(size=rows)) / 6 + 0.5, 0, 0.999)
        table[f"level{k}"] = np.char.add(f"item {k} ", (30 * base).astype(int).astype(str)).astype(object)
    return pd.DataFrame(table)


def digits(rows: int, seed: int) -> pd.DataFrame:
    """Columns of numbers only, with all their digits."""
    rng = np.random.default_rng([seed, 3])
    hidden = rng.normal(size=(rows, 5))
    table = {}
    for k in range(COLUMNS):
        base = hidden[:, k % 5] + rng.normal(size=rows)
        table[f"x{k}"] = np.exp(base) if k % 2 else 10 + 3 * base
    return pd.DataFrame(table)


#: What is done to columns, one after the other, where each is broken in its own way.
CHANGES: tuple[Callable[[pd.Series], pd.Series], ...] = (
    lambda x: x * 100,
    lambda x: (x - x.mean()) / x.std(),
    lambda x: -x,
    lambda x: x * 1.8 + 32,
    lambda x: x // 4,
    lambda x: x.clip(upper=x.quantile(0.8)),
    lambda x: x * 3.3 + 7,
    lambda x: np.sqrt(x.clip(lower=0)),
)


def each(live: pd.DataFrame, *changes: Callable[[pd.Series], pd.Series]) -> pd.DataFrame:
    """Return the rows with all columns of numbers changed, in turn by each of the changes."""
    numbers = [name for name in live.columns if pd.api.types.is_numeric_dtype(live[name])]
    return live.assign(**{name: changes[k % len(changes)](live[name]) for k, name in enumerate(numbers)})


def in_some(live: pd.DataFrame, changed: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, three in ten of them changed."""
    is_kept = np.arange(len(live)) % 10 >= 3
    return pd.DataFrame({name: live[name].astype(object).where(is_kept, changed[name]) for name in live.columns})


def broken() -> dict[str, tuple[Reference, pd.DataFrame, Any]]:
    """Return the worst cases: reference, live rows, segments."""
    makers = (wide, counts, levels, digits)
    mixed, counted, named, exact = (Reference.from_frame(make(10_000, 0)) for make in makers)
    live, count, name, full = (make(ROWS, 1) for make in makers)
    others = np.random.default_rng(3)
    three = pd.DataFrame({f"by{k}": others.choice(list("abcdefgh"), ROWS) for k in range(3)})
    order = np.roll(np.array(live.columns), 5)
    different = each(live, *CHANGES)
    some = np.random.default_rng(4).permutation(count.columns)
    mixed_up = in_some(count, count[some].set_axis(count.columns, axis=1)).infer_objects()
    elsewhere = in_some(full, each(full, *CHANGES)).infer_objects()
    whose, lines = three.assign(client=np.where(np.arange(ROWS) % 10 < 3, "a", "b")), (lambda x: x * 1.7 + 3,)
    shuffled = live.apply(lambda x: others.permutation(x.to_numpy()))
    return {
        "clean, 3 x 8 segments": (mixed, live, three),
        "all numbers x 100": (mixed, each(live, lambda x: x * 100), None),
        "all numbers drift": (mixed, each(live, lambda x: 1.07 * x + 0.3 * x.std()), None),
        "each number otherwise": (mixed, different, None),
        "each number otherwise, in 30 %": (mixed, in_some(live, different).infer_objects(), None),
        "each number otherwise, in 30 %, 3 x 8 segments": (mixed, in_some(live, different).infer_objects(), three),
        "columns permuted": (mixed, live[order].set_axis(live.columns, axis=1), None),
        "all names new": (mixed, live.rename(columns=lambda text: f"{text.upper()} now"), None),
        "each column shuffled by itself, 3 x 8 segments": (mixed, shuffled, three),
        "all null": (mixed, live.assign(**dict.fromkeys(live.columns)), None),
        "all as text": (mixed, live.astype(str), None),
        "50 counts, all // 4": (counted, count // 4, None),
        "50 counts, ten // 4": (counted, count.assign(**{c: count[c] // 4 for c in count.columns[:10]}), None),
        "50 counts permuted in 30 %, 3 x 8 segments": (counted, mixed_up, three),
        "50 counts permuted, in one client's 30 %": (counted, mixed_up, whose),
        "50 counts x 1.7 + 3, in one client's 30 %": (
            counted,
            in_some(count, each(count, *lines)).infer_objects(),
            whose,
        ),
        "50 x all digits, each otherwise, in one client's 30 %": (exact, elsewhere, whose),
        "50 x all digits, each otherwise, in 30 %": (exact, elsewhere, None),
        "50 x all digits, each otherwise, in 30 %, 3 x 8 segments": (exact, elsewhere, three),
        "50 x 30 levels, all new names": (named, name.apply(lambda x: "v" + x.str[::-1]), None),
        "50 x 30 levels, all in upper case": (named, name.apply(lambda x: x.str.upper()), None),
        "50 x 30 levels, all shuffled": (
            named,
            name.apply(lambda x: x.sample(frac=1, random_state=1).to_numpy()),
            None,
        ),
    }


def measure(repeats: int = 5) -> pd.DataFrame:
    """Return median and longest seconds of each case, and what was said."""
    reference = Reference.from_frame(wide(10_000, 0))
    live = wide(ROWS, 1)
    segments = pd.Series(np.arange(ROWS) % SEGMENTS, name="client")
    few = pd.Series(np.where(np.arange(ROWS) < 60, "ios", np.arange(ROWS) % SEGMENTS), name="client")
    unit = live.assign(x0=live.x0 * 100)
    shifted = wide(2000, 2).query("x0 > 11").head(ROWS).reset_index(drop=True)
    swapped = live.assign(x0=live.x1, x1=live.x0)
    one_client = live.assign(x0=live.x0.where(few != "ios", -live.x0 + 20))
    cases: dict[str, tuple[Reference, pd.DataFrame, Any]] = {
        "clean": (reference, live, None),
        "unit x 100": (reference, unit, None),
        "columns swapped": (reference, swapped, None),
        "another population": (reference, shifted, None),
        "clean, 50 segments": (reference, live, segments),
        "another population, 50 segments": (reference, shifted, segments[: len(shifted)]),
        "one client mirrors a column, 51 segments": (reference, one_client, few),
        **broken(),
    }
    lines = []
    for name, (trained, rows, given) in cases.items():
        taken = []
        for _ in range(repeats):
            started = time.process_time()
            verdict = diagnose(trained, rows, segments=given)
            taken.append(time.process_time() - started)
        said = f"{verdict.status} {verdict.kind} {verdict.segment.get('value', '')}".strip()
        lines.append({"case": name, "median_cpu_s": np.median(taken), "longest_cpu_s": max(taken), "verdict": said})
    return pd.DataFrame(lines)
