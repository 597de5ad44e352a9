"""Tallystick on the same files, by our own Python: a reference of the frame alone, no model and no labels.

Settings: `a fault` alarms when a verdict is cause_found or suspected; `any change` also when it is that the population
changed, which is what the other tools alarm on.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from common import Finding, run

from tallystick.parity import Reference, diagnose

SETTINGS = ("a fault", "any change")
CLAIMS = ("cause_found", "suspected")


def judge(reference: Reference, live: pd.DataFrame) -> Iterator[tuple[str, Finding]]:
    verdict = diagnose(reference, live)
    is_claim = str(verdict.status) in CLAIMS
    says = [(list(verdict.features), verdict.kind)] if verdict.kind else []
    yield "a fault", Finding(is_claim, says if is_claim else [])
    yield "any change", Finding(is_claim or str(verdict.status) == "population_changed", says)


if __name__ == "__main__":
    run(Reference.from_frame, judge, SETTINGS)
