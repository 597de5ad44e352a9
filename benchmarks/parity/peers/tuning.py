"""The best setting of a tool that scores columns: one threshold for all, tuned on the half of data sets for tuning.

The threshold is the one with the greatest difference between the share of faults and the share of benign changes that
raise an alarm. Sentences that name a kind (a new level, a missing column) stay as they are: they have no threshold.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from benchmarks.parity.peers.files import Written
from benchmarks.parity.peers.scoring import kinds_named


def _said(record: dict[str, Any]) -> list[Any]:
    return [line for line in record["says"] if kinds_named(line[1])]


def _alarms(records: list[dict[str, Any]], threshold: float) -> np.ndarray:
    return np.array(
        [
            bool(record["failed"] or _said(record) or any(score > threshold for score in record["scores"].values()))
            for record in records
        ]
    )


def best_threshold(records: list[dict[str, Any]], is_fault: list[bool]) -> float:
    """Return the threshold that tells faults from benign changes best; the highest of those that are equally good."""
    faults = np.array(is_fault)
    tops = sorted({max(scores.values()) for record in records if (scores := record["scores"])}, reverse=True)
    gains = [alarms[faults].mean() - alarms[~faults].mean() for alarms in (_alarms(records, top) for top in tops)]
    return tops[int(np.argmax(gains))]


def tuned(records: list[dict[str, Any]], written: dict[str, Written]) -> list[dict[str, Any]]:
    """Return the findings again, as `SETTING, tuned`, with the best threshold of the half `tune` for each setting.

    Settings without scores, and tools that saw no case of that half, give none.
    """
    by_setting = defaultdict(list)
    for record in records:
        by_setting[record["setting"]].append({**record, "scores": _finite(record["scores"])})
    found = []
    for setting, given in by_setting.items():
        half = [record for record in given if written[record["id"]].half == "tune"]
        is_fault = [written[record["id"]].is_fault for record in half]
        if not any(record["scores"] for record in half) or len(set(is_fault)) < 2:
            continue
        threshold = best_threshold(half, is_fault)
        for record, alarm in zip(given, _alarms(given, threshold), strict=True):
            above = [([name], f"score {score:.3g}") for name, score in record["scores"].items() if score > threshold]
            says = _said(record) + above
            found.append(
                {**record, "setting": f"{setting}, tuned ({abs(threshold):.2g})", "alarm": bool(alarm), "says": says}
            )
    return found


def _finite(scores: dict[str, Any]) -> dict[str, float]:
    return {name: float(score) for name, score in scores.items() if score is not None and np.isfinite(float(score))}
