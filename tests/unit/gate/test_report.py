"""What a check says of itself in a sentence."""

from __future__ import annotations

import pytest

from tallystick.gate.report import GateReport, Outcome


@pytest.mark.parametrize(("rows", "told"), [(1, "1 golden row gives"), (160, "160 golden rows give")])
def test_one_golden_row_is_told_in_the_singular(rows: int, told: str) -> None:
    report = GateReport(outcome=Outcome.PASSED, digest="d", rows=rows, seconds=0.4)
    assert report.summary() == f"Parity gate: {told} training's predictions (0.4 s)."
