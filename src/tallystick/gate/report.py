"""What a check of golden rows found: one line a rung, cheapest first, and the first difference with its place."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from tallystick.printable import count


class Policy(StrEnum):
    """What becomes of a version that does not reproduce its training."""

    #: `block` where the model has golden rows, `warn` where it has none.
    AUTO = "auto"
    BLOCK = "block"
    WARN = "warn"
    OFF = "off"


class Rung(StrEnum):
    """Rungs of the ladder that are asked before a version gets traffic, cheapest first."""

    IDENTITY = "identity"
    ENVIRONMENT = "environment"
    WIRE = "wire"
    STEPS = "steps"
    PREDICTION = "prediction"
    ROWS = "rows"
    METRIC = "metric"


class Outcome(StrEnum):
    """How a rung, or the whole check, came out."""

    PASSED = "passed"
    FAILED = "failed"
    #: Not asked: there is nothing to compare with, or an earlier rung failed.
    SKIPPED = "skipped"
    #: Differs, in a way that changes no prediction.
    NOTED = "noted"


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where values differ first, and by what."""

    encoding: str = ""
    step: str = ""
    column: str = ""
    row: int = -1
    expected: str = ""
    got: str = ""
    #: Rows that differ, 0 to 1, and the largest difference.
    share: float = 0.0
    largest: float = 0.0


class RungReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rung."""

    rung: Rung
    outcome: Outcome
    text: str = ""
    difference: Difference | None = None


class GateReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """One check of one replica."""

    outcome: Outcome
    policy: Policy = Policy.AUTO
    #: SHA-256 over the files that this replica loaded, as it read them.
    digest: str = ""
    rows: int = 0
    seconds: float = 0.0
    rungs: tuple[RungReport, ...] = ()
    degraded: tuple[str, ...] = ()
    #: What this replica computes with, in the keys of a golden file; set where golden rows differ.
    environment: dict[str, str] = {}

    @property
    def first_failure(self) -> RungReport | None:
        """The rung that convicts; None where all is well."""
        return next((rung for rung in self.rungs if rung.outcome is Outcome.FAILED), None)

    def summary(self) -> str:
        """Return the report in a sentence, for a deployment's message and the build log."""
        failure = self.first_failure
        if failure is not None:
            return f"Parity gate: {failure.rung.value} differs from training. {failure.text}"
        if self.outcome is Outcome.SKIPPED:
            reason = f" ({self.degraded[0]})" if self.degraded else ""
            return f"Parity gate: nothing to compare with{reason}."
        rows = count(self.rows, "golden row", "gives", "give")
        return f"Parity gate: {rows} training's predictions ({self.seconds:.1f} s)."
