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
from benchmarks.parity.counts import Counted, counted_cases
from benchmarks.parity.data import Dataset
from benchmarks.parity.facts import known_cases
from benchmarks.parity.faults import FAULTS, Case, Truth
from benchmarks.parity.more import MORE_FAULTS
from benchmarks.parity.served import serve
from tallystick.parity import Family, Reference, Verdict, diagnose

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
    #: `rows` (faults.py), `endpoint` (served.py) or `aggregates` (counts.py): they are told apart in the figures.
    group: str = "rows"


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


def score(half: str, table: str, case: Case, verdict: Verdict) -> Outcome:
    """Return how a verdict compares with the truth. A change of the population is no claim of a fault."""
    truth = case.truth
    claimed = verdict.status in CLAIMS
    said = claimed or (truth is not None and verdict.family is Family.POPULATION)
    kinds = truth.kinds if truth else ()
    exact = said and verdict.kind in kinds
    is_population = truth is not None and Family.POPULATION in truth.families
    feature = said and truth is not None and (is_population or set(verdict.features) == set(truth.features))
    return Outcome(
        table,
        half,
        case.name,
        case.share,
        verdict.rows,
        case.column,
        "|".join(kinds),
        str(verdict.status),
        verdict.kind,
        ",".join(verdict.features),
        exact,
        said and truth is not None and verdict.family in truth.families,
        feature,
        _parameters(truth, verdict) if exact and truth else None,
        claimed,
        verdict.seconds,
        case.group,
    )


def _parameters(truth: Truth, verdict: Verdict) -> bool | None:
    checks = []
    for name, value in truth.parameters.items():
        given = verdict.transformation.get(name)
        if name == "value" and given is None:
            continue
        if isinstance(value, dict):
            checks.append(given == value)
            continue
        checks.append(given is not None and abs(float(given) - value) <= 0.02 * max(abs(value), 1e-9))
    return all(checks) if checks else None


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
    """Return the outcomes of all cases of one data set that are in its rows."""
    reference = Reference.from_frame(split(data, seed)[0])
    return [
        score(data.half, data.name, case, diagnose(reference, case.live))
        for case in cases(data, rows, repeats, shares, seed, only)
    ]


def run_served(
    data: Dataset, rows: int, repeats: int, shares: tuple[float, ...], seed: int = 0, only: str = ""
) -> list[Outcome]:
    """Return the outcomes of the cases that are in answers, replicas and environments of a model of one data set."""
    ref, pool, y_ref, y_pool = split(data, seed)
    served = serve(data.name, ref, pool, y_ref, y_pool)
    outcomes = []
    for name, share, known in known_cases(served, data.name, rows, repeats, shares, seed, only) if served else ():
        # What changes nothing is no fault: float32 inside a model that does not mind it.
        named = name if known.truth is not None or name.startswith("benign") else f"benign:{name}"
        case = Case(named, share, "", known.live, known.truth, known.given, "endpoint")
        outcomes.append(score(data.half, data.name, case, diagnose(known.reference, case.live, **case.given)))
    return outcomes


def run_counted(
    table: Counted, rows: int, repeats: int, shares: tuple[float, ...], seed: int = 0, only: str = ""
) -> list[Outcome]:
    """Return the outcomes of the cases of one table of counts."""
    outcomes = []
    for reference, case in counted_cases(table, rows, repeats, shares, seed, only):
        verdict = diagnose(reference, case.live, **case.given)
        outcomes.append(score(table.half, table.name, case, verdict))
    return outcomes


def summary(outcomes: list[Outcome]) -> pd.DataFrame:
    """Return the headline figures by half and share."""
    table = pd.DataFrame([vars(outcome) for outcome in outcomes])
    lines: list[dict[str, Any]] = []
    for (half, group), part in table.groupby(["half", "group"], sort=False):
        faults = part[~part.case.str.startswith("benign")]
        for share, some in faults.groupby("share", sort=False):
            lines.append({"half": half, "group": group, "what": f"faults at {share:.0%}", **_figures(some)})
        benign = part[part.case.str.startswith("benign")]
        for what, some in (("benign", benign), ("plain", benign[benign.case == "benign:plain"])):
            if len(some):
                false = {"n": len(some), "exact": some.claimed.mean(), "seconds": some.seconds.mean()}
                lines.append({"half": half, "group": group, "what": f"false claims, {what}", **false})
    return pd.DataFrame(lines)


def by_kind(outcomes: list[Outcome]) -> pd.DataFrame:
    """Return the figures of the faults that are not in rows, by the kind that should be said, and share."""
    table = pd.DataFrame([vars(outcome) for outcome in outcomes])
    faults = table[(table.group != "rows") & ~table.case.str.startswith("benign")]
    lines = [
        {"half": half, "kind": kind, "share": share, **_figures(some)}
        for (half, kind, share), some in faults.groupby(["half", "expected", "share"])
    ]
    return pd.DataFrame(lines)


def _figures(cases: pd.DataFrame) -> dict[str, Any]:
    known = cases.parameters_ok.dropna()
    return {
        "n": len(cases),
        "exact": cases.is_exact.mean(),
        "family": cases.is_family.mean(),
        "feature": cases.is_feature.mean(),
        "parameters": known.astype(bool).mean() if len(known) else np.nan,
        "seconds": cases.seconds.mean(),
    }


def timed(function: Any, *arguments: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    answer = function(*arguments)
    return time.perf_counter() - started, answer
