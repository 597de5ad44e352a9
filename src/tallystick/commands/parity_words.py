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


def live_lines(live: Mapping[str, Any]) -> Iterator[str]:
    """Yield how live rows stand: the monitor, each served entity, and what breaks training's contract, by column.

    >>> list(live_lines({"monitor": "away", "served_entities": {"m-3": {"problem": "no reference"}}}))
    ['  live      monitor away', '  live      m-3: not watched (no reference)']
    """
    if live.get("monitor"):
        yield f"  live      monitor {live['monitor']}"
    for entity, known in (live.get("served_entities") or {}).items():
        if known.get("problem"):
            yield f"  live      {entity}: not watched ({known['problem']})"
            continue
        yield f"  live      {entity}: {', '.join(_standing(known))}"
        for column, kinds in (known.get("violations") or {}).items():
            told = [f"{count:,} {violation_words(kind)}" for kind, count in kinds.items() if count]
            if told:
                yield f"              {column}: {', '.join(told)}"


def violation_words(kind: str) -> str:
    """Return what values do that break training's contract.

    >>> violation_words("unseen")
    'never seen in training'
    """
    return _VIOLATIONS.get(kind, kind)


_VIOLATIONS: Mapping[str, str] = {
    "null": "without a value",
    "unseen": "never seen in training",
    "out_of_range": "out of training's range",
    "null_token": "words for a missing value",
    "type": "of another type",
    "missing": "not sent",
    "coerced": "changed to fit the signature",
}


def _standing(known: Mapping[str, Any]) -> Iterator[str]:
    rows = known.get("rows", 0)
    yield f"{rows:,} row{'' if rows == 1 else 's'}"
    if known.get("passed_over"):
        yield f"{known['passed_over']:,} more passed over"
    status = str(known.get("status") or "").replace("_", " ")
    at = f" at {known['diagnosed_at']}" if known.get("diagnosed_at") else ""
    yield f"{status}{at}" if status else "not diagnosed yet"
    opened = known.get("open_incidents") or ()
    if opened:
        yield f"open incident{'' if len(opened) == 1 else 's'} {', '.join(map(str, opened))}"
