"""Reports of golden rows in words, for a terminal and for pipes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tallystick.commands.session import print_table, print_text
from tallystick.gate.report import GateReport
from tallystick.printable import listed_names, named

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
        print_text(f"Limits: {lack}")


def by_outcome(reports: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield replicas that came out alike, in words, with the report of the first of them; how long it took may differ.

    >>> [who for who, _ in by_outcome({"0": {"outcome": "skipped"}, "1": {"outcome": "skipped"}})]
    ['replicas 0 and 1']
    """
    alike: dict[tuple[Any, ...], list[str]] = {}
    for number, report in reports.items():
        same = (report.get("digest"), _SECONDS.sub("", verdict(report)), *lines_of(report))
        alike.setdefault(same, []).append(number)
    for numbers in alike.values():
        *most, last = numbers
        yield f"replicas {', '.join(most)} and {last}" if most else f"replica {last}", reports[numbers[0]]


#: How long a check took, as its summary says.
_SECONDS = re.compile(r" \(\d+(\.\d+)? s\)")


def incident_line(incident: Mapping[str, Any], endpoint: str) -> str:
    """Return an incident in a line: what is wrong, with which columns, who sends it, since when, and where more is.

    Since when is told by its rows: an incident is opened after they came.

    >>> incident_line({"id": 1, "state": "open", "served_entity": "m-3", "kind": "unit", "features": ["temp"],
    ...     "segment": {}, "opened_at": "2026-01-31T14:02:30Z", "first_seen": "2026-01-31 14:02:11Z"}, "m")
    'incident  1 open, seen since 2026-01-31 14:02:11Z: m-3, unit, temp; see tallystick diagnose m --incident 1'
    """
    segment = incident.get("segment") or {}
    whose = f"{segment['column']} {segment['value']}" if segment.get("column") else ""
    columns = listed_names(incident.get("features") or (), 4)
    told = ", ".join(filter(None, (incident.get("served_entity"), incident.get("kind"), columns, whose)))
    opened = f", opened {moment(incident['opened_at'])}" if incident.get("opened_at") else ""
    since = f", seen since {first_seen(incident)}" if first_seen(incident) else opened
    number = incident.get("id", "")
    return (
        f"incident  {number} {incident.get('state', '')}{since}: {told}; "
        f"see tallystick diagnose {endpoint} --incident {number}"
    )


def first_seen(incident: Mapping[str, Any]) -> str:
    """Return when the first row with an incident's cause came; empty where nobody knows.

    >>> first_seen({"first_seen": "2026-01-31 14:02:11Z", "is_older": True})
    '2026-01-31 14:02:11Z or before'
    """
    known = str(incident.get("first_seen") or "")
    return f"{known} or before" if known and incident.get("is_older") else known


def moment(text: str) -> str:
    """Return a time of an incident as verdicts write theirs.

    >>> moment("2026-01-31T14:02:30Z")
    '2026-01-31 14:02:30Z'
    """
    return text.replace("T", " ", 1)


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
        counted = [
            f"              {named(column)}: {', '.join(told)}"
            for column, kinds in (known.get("violations") or {}).items()
            if (told := [f"{count:,} {violation_words(kind)}" for kind, count in kinds.items() if count])
        ]
        if counted:
            # Nulls of a column that had some in training are among them.
            yield "              values that are counted; whether training had as many, a diagnosis tells:"
            yield from counted


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
    yield f"{rows:,} row{'' if rows == 1 else 's'} counted" if rows else "no rows counted yet"
    if known.get("passed_over"):
        yield f"{known['passed_over']:,} more passed over"
    status = str(known.get("status") or "").replace("_", " ")
    at = f" at {moment(known['diagnosed_at'])}" if known.get("diagnosed_at") else ""
    yield f"{status}{at}" if status else "not diagnosed yet"
    opened = known.get("open_incidents") or ()
    if opened:
        yield f"open incident{'' if len(opened) == 1 else 's'} {', '.join(map(str, opened))}"
