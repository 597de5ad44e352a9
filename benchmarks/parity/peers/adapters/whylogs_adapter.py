"""whylogs: drift scores of two profiles (KS and chi-squared, DRIFT at p < 0.05), columns it can compare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import whylogs
from common import Finding, run
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

SETTINGS = ("drift scores",)


def prepare(reference: pd.DataFrame) -> Any:
    return whylogs.log(reference).view()


def judge(prepared: Any, live: pd.DataFrame) -> Iterator[tuple[str, Finding]]:
    view = whylogs.log(live).view()
    found = calculate_drift_scores(target_view=view, reference_view=prepared, with_thresholds=True)
    given = {name: score for name, score in found.items() if score is not None}
    says = [
        ([name], f"{score['algorithm']}: {score['drift_category']}, p = {score['pvalue']:.2g}")
        for name, score in given.items()
        if score["drift_category"] == "DRIFT"
    ]
    yield "drift scores", Finding(bool(says), says, {name: -score["pvalue"] for name, score in given.items()})


if __name__ == "__main__":
    run(prepare, judge, SETTINGS)
