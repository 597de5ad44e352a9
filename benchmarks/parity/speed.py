"""How long a diagnosis of 1,000 rows x 50 columns takes: clean, broken, and with 50 segments."""

from __future__ import annotations

import time

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
    cases = {
        "clean": (live, None),
        "unit x 100": (unit, None),
        "columns swapped": (swapped, None),
        "another population": (shifted, None),
        "clean, 50 segments": (live, segments),
        "another population, 50 segments": (shifted, segments[: len(shifted)]),
        "one client mirrors a column, 51 segments": (one_client, few),
    }
    lines = []
    for name, (rows, given) in cases.items():
        taken = []
        for _ in range(repeats):
            started = time.process_time()
            verdict = diagnose(reference, rows, segments=given)
            taken.append(time.process_time() - started)
        said = f"{verdict.status} {verdict.kind} {verdict.segment.get('value', '')}".strip()
        lines.append({"case": name, "median_cpu_s": np.median(taken), "longest_cpu_s": max(taken), "verdict": said})
    return pd.DataFrame(lines)
