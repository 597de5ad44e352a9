"""NannyML: univariate drift (Jensen-Shannon), missing and unseen values, with the thresholds that it sets itself.

Settings: `defaults` cuts both tables into ten chunks and alarms when any chunk of the live rows does; `one chunk`
makes all live rows one chunk and the reference chunks of that size (at least five of them).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import nannyml
import pandas as pd
from common import Finding, run, texts, times

SETTINGS = ("defaults", "one chunk")
LEAST_CHUNKS = 5
USUAL_ROWS = 200


def _fitted(reference: pd.DataFrame, **chunks: Any) -> list[tuple[str, Any]]:
    columns = [name for name in reference if name not in times(reference)]
    levels = texts(reference)
    found = [
        ("drift", nannyml.UnivariateDriftCalculator(column_names=columns, treat_as_categorical=levels, **chunks)),
        ("missing values", nannyml.MissingValuesCalculator(column_names=columns, **chunks)),
    ]
    if levels:
        found.append(("unseen values", nannyml.UnseenValuesCalculator(column_names=levels, **chunks)))
    return [(name, calculator.fit(reference)) for name, calculator in found]


def prepare(reference: pd.DataFrame) -> dict[str, list[tuple[str, Any]]]:
    size = min(USUAL_ROWS, len(reference) // LEAST_CHUNKS)
    return {"defaults": _fitted(reference), "one chunk": _fitted(reference, chunk_size=size)}


def judge(prepared: dict[str, list[tuple[str, Any]]], live: pd.DataFrame) -> Iterator[tuple[str, Finding]]:
    for setting in SETTINGS:
        finding = Finding()
        for what, calculator in prepared[setting]:
            table = calculator.calculate(live).filter(period="analysis").to_df()
            for key in table.columns:
                # A chunk that has no value has no alert either: None, not False.
                fired = int((table[key] == True).sum()) if key[-1] == "alert" else 0  # noqa: E712
                if fired:
                    finding.says.append(([key[0]], f"{what}: alert in {fired} of {len(table)} chunks"))
                if what == "drift" and key[-1] == "value":
                    finding.scores[key[0]] = float(table[key].astype(float).max())
        finding.alarm = bool(finding.says)
        yield setting, finding


if __name__ == "__main__":
    run(prepare, judge, SETTINGS, each_by_itself=True)
