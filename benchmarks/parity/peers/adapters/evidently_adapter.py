"""Evidently: the preset for data drift with its tests, as docs.evidentlyai.com has it.

Settings: `columns` alarms when the test of any column fails, `data set` when half of the columns drift.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from common import Finding, run, texts, times
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

SETTINGS = ("columns", "data set")


def prepare(reference: pd.DataFrame) -> tuple[pd.DataFrame, list[str], list[str]]:
    return reference, texts(reference), times(reference)


def judge(prepared: tuple[pd.DataFrame, list[str], list[str]], live: pd.DataFrame) -> Iterator[tuple[str, Finding]]:
    reference, levels, dates = prepared
    definition = DataDefinition(
        numerical_columns=[name for name in reference if name not in levels and name not in dates],
        categorical_columns=levels,
        datetime_columns=dates,
    )
    current, base = (Dataset.from_pandas(frame, data_definition=definition) for frame in (live, reference))
    snapshot = Report([DataDriftPreset()], include_tests=True).run(current, base).dict()
    scores = {}
    for metric in snapshot["metrics"]:
        if "column" in metric["config"]:
            small_is_drift = "p_value" in metric["config"]["method"]
            scores[metric["config"]["column"]] = -metric["value"] if small_is_drift else metric["value"]
    column_of = {metric["id"]: metric["config"].get("column") for metric in snapshot["metrics"]}
    says, is_data_set = [], False
    for test in snapshot["tests"]:
        if str(test["status"]).endswith("FAIL"):
            column = column_of[test["metric_config"]["metric_id"]]
            is_data_set |= column is None
            says.append(([column] if column else [], test["description"]))
    yield "columns", Finding(any(names for names, _ in says), says, scores)
    yield "data set", Finding(is_data_set, says if is_data_set else [])


if __name__ == "__main__":
    run(prepare, judge, SETTINGS)
