"""A reference in words: what is in it, what is not, and what it warns of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tallystick.gate.golden import Golden
from tallystick.parity.columns import Role
from tallystick.parity.profile import ColumnProfile
from tallystick.parity.reference import Reference
from tallystick.printable import count

_WIDTH = 13


def document(reference: Reference, golden: Golden | None, sizes: dict[str, int]) -> dict[str, Any]:
    """Return what `reference show --json` prints."""
    evaluation = reference.evaluation
    return {
        "columns": [
            {
                "name": column.name,
                "role": column.role.value,
                "dtype": column.dtype,
                "null_share": column.null_share,
                "privacy": column.privacy,
                "values": values_of(column),
            }
            for column in reference.columns
        ],
        "lineage": reference.lineage,
        "golden_rows": golden.rows if golden else len(reference.rows),
        "encodings": {wire.encoding: wire.rows for wire in golden.wires} if golden else {},
        "steps": [step.path for step in golden.steps] if golden else [],
        "evaluation": None
        if evaluation is None
        else {
            "metric": evaluation.metric,
            "value": evaluation.value,
            "low": evaluation.low,
            "high": evaluation.high,
            "rows": evaluation.rows,
        },
        "environment": golden.environment if golden else {},
        "bytes": sizes,
        "degraded": list(dict.fromkeys((*reference.degraded, *(golden.degraded if golden else ())))),
        "lint": list(reference.lint),
    }


def lines(shown: dict[str, Any]) -> list[str]:
    """Return the same in lines."""
    lineage, columns = shown["lineage"], shown["columns"]
    made = [count(len(columns), "column")]
    if lineage.get("rows"):
        made.append(count(int(lineage["rows"]), "row"))
    found = [
        ("Made from", ", ".join(made)),
        ("Captured", lineage.get("captured_at", "")),
        ("Run", lineage.get("run_id", "")),
        ("Commit", lineage.get("git_commit", "")[:12]),
        ("Golden rows", _golden(shown)),
        ("Steps", ", ".join(shown["steps"])),
        ("Quality", _quality(shown["evaluation"])),
        ("Privacy", _privacy(columns)),
        ("Size", f"{sum(shown['bytes'].values()) / 1e6:.2f} MB"),
    ]
    out = [f"{name:<{_WIDTH}}{text}" for name, text in found if text]
    out += _listed("Lacks", shown["degraded"], "nothing")
    return out + _listed("Warnings", shown["lint"], "none")


def values_of(column: ColumnProfile) -> str:
    """Return a column's range or levels, in a few words.

    What privacy hides is not shown.
    """
    if column.privacy == "none":
        return ""
    if column.levels is not None:
        shown = [level for level in column.levels.levels if not level.startswith("#")][:4]
        of = len(column.levels.levels)
        names = ", ".join(level if level.strip() else repr(level) for level in shown)
        return count(of, "level") + (f": {names}{' …' if of > len(shown) else ''}" if shown else "")
    numbers = column.numbers
    if numbers is None:
        return ""
    told = _moment if column.role is Role.TIME else "{:g}".format
    return f"{told(numbers.minimum)} to {told(numbers.maximum)}, median {told(numbers.median)}"


def _moment(seconds: float) -> str:
    """Return seconds since 1970 as a date and a time.

    >>> _moment(1.75e9), _moment(9e15)
    ('2025-06-15 15:06:40Z', '9e+15')
    """
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}Z"
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"


def _golden(shown: dict[str, Any]) -> str:
    encodings = shown["encodings"]
    text = str(shown["golden_rows"])
    return text + (f"; {min(encodings.values())} of them as {', '.join(encodings)}" if encodings else "")


def _quality(evaluation: dict[str, Any] | None) -> str:
    if evaluation is None:
        return ""
    interval = f"{evaluation['low']:.3f} to {evaluation['high']:.3f}"
    return f"{evaluation['metric']} {evaluation['value']:.3f} ({interval}) over {count(evaluation['rows'], 'row')}"


def _privacy(columns: list[dict[str, Any]]) -> str:
    hidden = [f"{column['name']} {column['privacy']}" for column in columns if column["privacy"] != "raw"]
    return ", ".join(hidden[:8]) + (f" and {len(hidden) - 8} more" if len(hidden) > 8 else "")


def _listed(name: str, texts: list[str], nothing: str) -> list[str]:
    heads = [name, *[""] * (len(texts) - 1)]
    return [f"{head:<{_WIDTH}}{text}" for head, text in zip(heads, texts or [nothing], strict=False)]
