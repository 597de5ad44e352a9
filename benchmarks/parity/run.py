"""Run cases and score verdicts."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.parity.benign import BENIGN
from benchmarks.parity.data import Dataset
from benchmarks.parity.faults import FAULTS, Truth
from benchmarks.parity.more import MORE_FAULTS
from tallystick.parity import Reference, Verdict, diagnose

CLAIMS = ("cause_found", "suspected")


@dataclass(frozen=True)
class Outcome:
    dataset: str
    half: str
    case: str
    share: float
    rows: int
    column: str
    expected: str
    status: str
    kind: str
    features: str
    is_exact: bool
    is_family: bool
    is_feature: bool
    parameters_ok: bool | None
    claimed: bool
    seconds: float


def split(data: Dataset, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series, pd.Series]:
    frame, label = data.load()
    order = np.random.default_rng(seed).permutation(len(frame))
    cut = int(0.6 * len(frame))
    ref, pool = frame.iloc[order[:cut]].reset_index(drop=True), frame.iloc[order[cut:]].reset_index(drop=True)
    return ref, pool, label.iloc[order[:cut]].reset_index(drop=True), label.iloc[order[cut:]].reset_index(drop=True)


SIZES = (5, 10, 25, 50, 100, 200)


def rows_to_name(data: Dataset, seed: int = 0) -> list[dict[str, Any]]:
    """Return, for each fault on all rows, the fewest rows of SIZES at which its kind is named exactly."""
    ref, pool, _, _ = split(data, seed)
    reference = Reference.from_frame(ref)
    found = []
    for fault in FAULTS:
        rng = np.random.default_rng([seed, 0, zlib.crc32(f"{data.name} {fault.name}".encode())])
        names = fault.columns(ref)
        if not names:
            continue
        column = str(rng.choice(names))
        live = pool.iloc[rng.choice(len(pool), min(SIZES[-1], len(pool)), replace=False)].reset_index(drop=True)
        done: Any = fault.put(live, ref, column, rng, 1.0)
        if done is None:
            continue
        named = (size for size in SIZES if diagnose(reference, done[0].head(size)).kind in done[1].kinds)
        family = "schema" if "schema" in done[1].families else "other"
        found.append({"half": data.half, "family": family, "case": fault.name, "rows": next(named, np.inf)})
    return found


def score(data: Dataset, case: str, share: float, column: str, truth: Truth | None, verdict: Verdict) -> Outcome:
    claimed = verdict.status in CLAIMS
    kinds = truth.kinds if truth else ()
    kind = verdict.kind if claimed else ""
    exact = claimed and kind in kinds
    family = claimed and truth is not None and verdict.family in truth.families
    feature = claimed and truth is not None and set(verdict.features) == set(truth.features)
    parameters = _parameters(truth, verdict) if exact and truth else None
    return Outcome(
        data.name,
        data.half,
        case,
        share,
        verdict.rows,
        column,
        "|".join(kinds),
        str(verdict.status),
        verdict.kind,
        ",".join(verdict.features),
        exact,
        family,
        feature,
        parameters,
        claimed,
        verdict.seconds,
    )


def _parameters(truth: Truth, verdict: Verdict) -> bool | None:
    checks = []
    for name, value in truth.parameters.items():
        given = verdict.transformation.get(name)
        if name == "value" and given is None:
            continue
        checks.append(given is not None and abs(float(given) - value) <= 0.02 * max(abs(value), 1e-9))
    return all(checks) if checks else None


@dataclass(frozen=True)
class Case:
    """Live rows with a fault (or, without `truth`, only other rows of the same table)."""

    name: str
    share: float
    column: str
    live: pd.DataFrame
    truth: Truth | None


def cases(
    data: Dataset, rows: int, repeats: int, shares: tuple[float, ...], seed: int = 0, only: str = ""
) -> Iterator[Case]:
    """Yield the cases of one data set; the same arguments give the same rows."""
    ref, pool, _, y_pool = split(data, seed)
    for fault in MORE_FAULTS if only.startswith("more:") else FAULTS:
        for repeat in range(repeats):
            rng = np.random.default_rng([seed, repeat, zlib.crc32(f"{data.name} {fault.name}".encode())])
            names = fault.columns(ref)
            if not names or (only and only not in fault.name):
                continue
            column = str(rng.choice(names))
            live = pool.iloc[rng.choice(len(pool), min(rows, len(pool)), replace=False)].reset_index(drop=True)
            for share in (s for s in fault.shares if s in shares):
                done: Any = fault.put(live, ref, column, rng, share)
                if done is not None:
                    yield Case(fault.name, share, column, *done)
    for name, sample in BENIGN.items():
        for repeat in range(3 * repeats):
            rng = np.random.default_rng([seed, repeat, 7, zlib.crc32(f"{data.name} {name}".encode())])
            live_rows = sample(pool, y_pool, rng, rows)
            if live_rows is not None and len(live_rows) >= 20 and (not only or only == "benign"):
                yield Case(f"benign:{name}", 0.0, "", live_rows, None)


def run(
    data: Dataset, rows: int, repeats: int, shares: tuple[float, ...], seed: int = 0, only: str = ""
) -> list[Outcome]:
    """Return the outcomes of all cases of one data set."""
    reference = Reference.from_frame(split(data, seed)[0])
    return [
        score(data, case.name, case.share, case.column, case.truth, diagnose(reference, case.live))
        for case in cases(data, rows, repeats, shares, seed, only)
    ]


def summary(outcomes: list[Outcome]) -> pd.DataFrame:
    """Return the headline figures by half and share."""
    table = pd.DataFrame([vars(outcome) for outcome in outcomes])
    lines = []
    for half, part in table.groupby("half"):
        faults = part[~part.case.str.startswith("benign")]
        for share, cases in faults.groupby("share", sort=False):
            known = cases.parameters_ok.dropna()
            lines.append(
                {
                    "half": half,
                    "what": f"faults at {share:.0%}",
                    "n": len(cases),
                    "exact": cases.is_exact.mean(),
                    "family": cases.is_family.mean(),
                    "feature": cases.is_feature.mean(),
                    "parameters": known.astype(bool).mean() if len(known) else np.nan,
                    "seconds": cases.seconds.mean(),
                }
            )
        benign = part[part.case.str.startswith("benign")]
        for what, cases in (("benign", benign), ("plain", benign[benign.case == "benign:plain"])):
            if len(cases):
                lines.append(
                    {
                        "half": half,
                        "what": f"false claims, {what}",
                        "n": len(cases),
                        "exact": cases.claimed.mean(),
                        "seconds": cases.seconds.mean(),
                    }
                )
    return pd.DataFrame(lines)


def timed(function: Any, *arguments: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    answer = function(*arguments)
    return time.perf_counter() - started, answer
