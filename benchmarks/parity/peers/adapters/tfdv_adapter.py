"""TensorFlow Data Validation: statistics of both tables, a schema inferred from the reference.

Settings: `schema` validates the live statistics against the schema as inferred, which has no threshold for drift;
`schema, skew 0.1` adds the skew comparators (L-infinity for levels, Jensen-Shannon for numbers) at 0.1 by hand.
Times become nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import tensorflow_data_validation as tfdv
from common import Finding, run, texts, times

SETTINGS = ("schema", "schema, skew 0.1")
SKEW = 0.1


def _statistics(frame: pd.DataFrame) -> Any:
    dates = {name: frame[name].astype("datetime64[ns]").astype("int64") for name in times(frame)}
    return tfdv.generate_statistics_from_dataframe(frame.assign(**dates))


def prepare(reference: pd.DataFrame) -> tuple[Any, Any, Any]:
    statistics = _statistics(reference)
    plain, skew = tfdv.infer_schema(statistics), tfdv.infer_schema(statistics)
    levels = texts(reference)
    for feature in skew.feature:
        if feature.name in levels:
            feature.skew_comparator.infinity_norm.threshold = SKEW
        else:
            feature.skew_comparator.jensen_shannon_divergence.threshold = SKEW
    return statistics, plain, skew


def _says(anomalies: Any) -> list[tuple[list[str], str]]:
    return [
        ([name], f"{reason.short_description}: {reason.description}"[:300])
        for name, anomaly in anomalies.anomaly_info.items()
        for reason in anomaly.reason
    ]


def judge(prepared: tuple[Any, Any, Any], live: pd.DataFrame) -> Iterator[tuple[str, Finding]]:
    reference, plain, skew = prepared
    statistics = _statistics(live)
    says = _says(tfdv.validate_statistics(statistics, plain))
    yield "schema", Finding(bool(says), list(says))
    compared = tfdv.validate_statistics(reference, skew, serving_statistics=statistics)
    says += _says(compared)
    scores = {
        info.path.step[0]: float(measurement.value)
        for info in compared.drift_skew_info
        for measurement in info.skew_measurements
    }
    yield "schema, skew 0.1", Finding(bool(says), says, scores)


if __name__ == "__main__":
    run(prepare, judge, SETTINGS)
