"""Alibi Detect: TabularDrift (KS and chi-squared, Bonferroni at p < 0.05).

It takes arrays of numbers, so this script does what its user must: levels become codes (one more for those that the
reference does not have), times become nanoseconds, and a missing number becomes the median of the reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from alibi_detect.cd import TabularDrift
from common import Finding, run, texts, times

SETTINGS = ("TabularDrift",)
MISSING = "(missing)"


class Encoder:
    def __init__(self, reference: pd.DataFrame) -> None:
        self.columns = list(reference)
        self.levels = {name: sorted(reference[name].fillna(MISSING).unique()) for name in texts(reference)}
        self.dates = times(reference)
        numbers = [name for name in reference if name not in self.levels and name not in self.dates]
        self.medians = {name: float(reference[name].median()) for name in numbers}

    def array(self, frame: pd.DataFrame) -> np.ndarray:
        return np.column_stack([self._column(frame[name], name) for name in self.columns])

    def _column(self, column: pd.Series, name: str) -> np.ndarray:
        if name in self.levels:
            codes = {level: code for code, level in enumerate(self.levels[name])}
            return column.fillna(MISSING).map(lambda v: codes.get(v, len(codes))).to_numpy(float)
        if name in self.dates:
            return column.astype("datetime64[ns]").astype("int64").to_numpy(float)
        try:
            return column.astype(float).fillna(self.medians[name]).to_numpy()
        except ValueError as error:
            raise ValueError(f"column '{name}': {error}") from error


def prepare(reference: pd.DataFrame) -> tuple[Encoder, Any]:
    encoder = Encoder(reference)
    categories = {encoder.columns.index(name): None for name in encoder.levels}
    return encoder, TabularDrift(encoder.array(reference), p_val=0.05, categories_per_feature=categories or None)


def judge(prepared: tuple[Encoder, Any], live: pd.DataFrame) -> Iterator[tuple[str, Finding]]:
    encoder, detector = prepared
    data = detector.predict(encoder.array(live), drift_type="batch", return_p_val=True)["data"]
    p_values = dict(zip(encoder.columns, map(float, data["p_val"]), strict=True))
    # For the batch as a whole, `threshold` is p_val divided by the number of features.
    says = [([name], f"drift, p = {p:.2g}") for name, p in p_values.items() if p < data["threshold"]]
    yield "TabularDrift", Finding(bool(data["is_drift"]), says, {name: -p for name, p in p_values.items()})


if __name__ == "__main__":
    run(prepare, judge, SETTINGS)
