"""Deepchecks: the suite that compares two tables, and with it the suite for the integrity of one.

Settings: `train_test` is the suite train_test_validation, live rows as its test set; `with integrity` adds
data_integrity on the live rows, for checks that the reference itself passes. Checks that ask whether a test set is a
fair one (its size, rows that were in training too) are not alarms here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd
from common import Finding, run, texts
from deepchecks.tabular import Dataset
from deepchecks.tabular.suites import data_integrity, train_test_validation

SETTINGS = ("train_test", "with integrity")
NOT_ABOUT_LIVE_ROWS = {"Datasets Size Comparison", "Train Test Samples Mix", "Data Duplicates"}


def _dataset(frame: pd.DataFrame, levels: list[str]) -> Any:
    return Dataset(frame, cat_features=[name for name in levels if name in frame])


def _failures(result: Any, columns: list[str]) -> dict[str, list[tuple[list[str], str]]]:
    found: dict[str, list[tuple[list[str], str]]] = {}
    for check in result.get_not_passed_checks():
        name = check.get_header()
        if name in NOT_ABOUT_LIVE_ROWS:
            continue
        for condition in check.conditions_results:
            if not condition.is_pass():
                details = condition.details.replace("\n", " ")
                about = [c for c in columns if re.search(rf"['\"]{re.escape(c)}['\"]", details)]
                if name == "Multivariate Drift":
                    weights = check.value["domain_classifier_feature_importance"]
                    about = [c for c in [max(weights, key=weights.get)] if weights[c] > 0]
                found.setdefault(name, []).append((about, f"{name}: {details}"))
    return found


def prepare(reference: pd.DataFrame) -> tuple[Any, list[str], set[str]]:
    levels = texts(reference)
    base = _dataset(reference, levels)
    ill = _failures(data_integrity().run(base), list(reference))
    return base, levels, set(ill)


def judge(prepared: tuple[Any, list[str], set[str]], live: pd.DataFrame) -> Iterator[tuple[str, Finding]]:
    base, levels, ill = prepared
    result = train_test_validation().run(base, _dataset(live, levels))
    says = [line for lines in _failures(result, list(base.data)).values() for line in lines]
    scores = {}
    for check in result.get_passed_checks() + result.get_not_passed_checks():
        if check.get_header() == "Feature Drift":
            scores = {
                column: float(v["Drift score"]) for column, v in check.value.items() if v["Drift score"] is not None
            }
    yield "train_test", Finding(bool(says), list(says))
    failures = _failures(data_integrity().run(_dataset(live, levels)), list(live))
    says += [line for name, lines in failures.items() if name not in ill for line in lines]
    yield "with integrity", Finding(bool(says), says, scores)


if __name__ == "__main__":
    run(prepare, judge, SETTINGS)
