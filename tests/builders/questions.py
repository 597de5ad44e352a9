"""Golden rows of a model on disk, environments that differ, and what a replica says of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tallystick.gate.golden import FILE, FOLDER, Column, Golden, Matrix, render
from tallystick.gate.report import Difference, GateReport, Outcome, Rung, RungReport
from tallystick.parity.ablation import AblationFailed

EXPECTED = np.linspace(0, 1, 20)
TRAINED = {"python": "3.11.4", "package:scales": "1.0", "package:numpy": "1.26.4", "threads": "8"}
SERVING = {"python": "3.11.4", "package:scales": "2.0", "package:numpy": "2.1.0", "threads": "4"}


def golden_rows(environment: Mapping[str, str] | None = None) -> Golden:
    """Twenty rows of one column, and their predictions in training."""
    column = Column("x", "float64", tuple(EXPECTED.tolist()))
    return Golden(20, (column,), Matrix.of(EXPECTED), environment=dict(TRAINED if environment is None else environment))


def model_with(folder: Path, golden: Golden) -> Path:
    """Put a golden file into a model's folder; return the folder."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    (folder / FOLDER / FILE).write_bytes(render(golden))
    return folder


def differing(
    *, rung: Rung = Rung.ENVIRONMENT, serving: Mapping[str, str] | None = None, digest: str = "d" * 64
) -> GateReport:
    """What a replica says whose predictions are not training's, as are its packages."""
    place = Difference(row=0, expected="0", got="0.5", share=0.5)
    step = Difference(step="prep/scale", column="x", row=0, expected="0", got="0.5", share=0.5)
    likely = "Likely cause: scales is 2.0 here, 1.0 in training; numpy is 2.1.0 here, 1.26.4 in training."
    predicted = RungReport(Rung.PREDICTION, Outcome.FAILED, "10 of 20 rows differ.", place)
    rungs = {
        Rung.ENVIRONMENT: (
            RungReport(Rung.ENVIRONMENT, Outcome.FAILED, f"{likely} {predicted.text}", place),
            predicted,
        ),
        Rung.STEPS: (RungReport(Rung.STEPS, Outcome.FAILED, f"Step prep/scale, column x. {likely}", step), predicted),
        Rung.PREDICTION: (predicted,),
    }[rung]
    same = RungReport(Rung.IDENTITY, Outcome.PASSED)
    environment = dict(SERVING if serving is None else serving)
    return GateReport(Outcome.FAILED, digest=digest, rows=20, rungs=(same, *rungs), environment=environment)


class Pretended:
    """A runner that predicts as training where `guilty` has training's version; it may fail, too."""

    def __init__(self, guilty: str = "scales", failure: str = "") -> None:
        self.guilty, self.failure = guilty, failure
        self.asked: list[dict[str, str]] = []

    def predict(self, versions: Mapping[str, str]) -> list[list[Any]]:
        """Return predictions, or raise."""
        self.asked.append(dict(versions))
        if self.failure:
            raise AblationFailed(f"{self.failure} Traceback (most recent call last)", self.failure)
        is_right = versions.get(self.guilty) == TRAINED.get(f"package:{self.guilty}", "none")
        return [[value] for value in (EXPECTED if is_right else EXPECTED + 0.5)]
