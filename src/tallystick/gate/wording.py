"""How findings are put: the place first, then what was expected and what came. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tallystick.gate.report import Difference, GateReport, Outcome
from tallystick.gate.tolerance import Comparison

_MARKS = {Outcome.PASSED: "ok", Outcome.FAILED: "FAILED", Outcome.SKIPPED: "skipped", Outcome.NOTED: "noted"}


def told(found: Difference) -> str:
    """Return a difference in a sentence.

    >>> told(Difference(step="prep/cat", column="education", row=3, expected="11", got="12", share=0.25))
    'Step prep/cat, column education, row 3: expected 11, got 12 (25 % of the rows differ).'
    """
    place = [f"step {found.step}"] if found.step else []
    place += [f"column {found.column}"] if found.column else []
    place += [f"row {found.row}"] if found.row >= 0 else []
    share = f" ({percent(found.share)} of the rows differ)" if found.row >= 0 else ""
    where = ", ".join(place)
    text = f"{where}: expected {found.expected}, got {found.got}{share}."
    return text[0].upper() + text[1:] if where else f"Expected {found.expected}, got {found.got}."


def told_precision(found: Comparison) -> str:
    """Return a hint where a difference is as small as what single precision loses."""
    return " The difference is that of single precision (float32)." if found.is_of_precision else ""


def percent(share: float) -> str:
    """Return a share of rows.

    >>> percent(0.25), percent(1.0)
    ('25 %', '100 %')
    """
    return f"{share * 100:.3g} %"


def ladder(report: GateReport) -> Iterator[str]:
    """Yield a report rung by rung, as the build log has it."""
    for rung in report.rungs:
        yield f"  {rung.rung.value:<12}{_MARKS[rung.outcome]:<9}{rung.text}"
    for lack in report.degraded:
        yield f"  limits: {lack}"
