"""Reports of golden rows in words, for a terminal and for pipes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tallystick.commands.session import print_table, print_text
from tallystick.gate.report import GateReport

_FIELDS = ("encoding", "step", "column", "row", "expected", "got")


def verdict(report: Mapping[str, Any]) -> str:
    """Return a report in a sentence.

    >>> verdict({"outcome": "skipped", "degraded": ["no golden rows"]})
    'Parity gate: nothing to compare with (no golden rows).'
    """
    return msgspec.convert(report, GateReport).summary()


def ladder_table(report: Mapping[str, Any]) -> None:
    """Print a report rung by rung."""
    rows = [(rung["rung"], rung["outcome"], rung.get("text", "")) for rung in report.get("rungs", ())]
    if rows:
        print_table(("rung", "outcome", "what was found"), rows)
    for lack in report.get("degraded", ()):
        print_text(f"Not there: {lack}")


def lines_of(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield where each rung differs, field by field."""
    for rung in report.get("rungs", ()):
        if difference := rung.get("difference"):
            parts = [f"{key} {difference[key]}" for key in _FIELDS if key in difference]
            share = f", {difference['share'] * 100:.3g} % of the rows" if "share" in difference else ""
            yield f"  {rung['rung']}: {', '.join(parts)}{share}"
