"""The verdict: one per incident, made to be read by a person and by a script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from tallystick.parity.kinds import FAMILY_OF, Family, Status, meaning


class Evidence(msgspec.Struct, frozen=True):
    """One numbered piece of evidence. `question` is which of the nine questions it answers; empty for measurements."""

    number: int
    text: str
    question: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is the matter with live rows, how sure that is, and what would settle or mend it.

    `share` is the part of rows that is affected, 0 to 1; `confidence` the probability that the named kind is right;
    `strength` is `proof` (replay, intervention or something no population can show), `strong` or `weak`.
    """

    status: Status
    family: Family = Family.NONE
    kind: str = ""
    features: tuple[str, ...] = ()
    transformation: dict[str, Any] = {}
    share: float = 0.0
    segment: dict[str, Any] = {}
    stage: str = ""
    first_seen: str = ""
    strength: str = ""
    confidence: float = 0.0
    evidence: tuple[Evidence, ...] = ()
    ruled_out: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    explained: float | None = None
    fix: str = ""
    settle: tuple[str, ...] = ()
    reproduce: str = ""
    degraded: tuple[str, ...] = ()
    rows: int = 0
    seconds: float = 0.0

    def to_json(self) -> bytes:
        """Return the verdict as JSON that `json_schema` describes."""
        return msgspec.json.encode(self)

    def __str__(self) -> str:
        """Return the verdict as text of a few lines."""
        return render(self)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a verdict."""
    return msgspec.json.schema(Verdict)


_TITLES = {
    Status.CAUSE_FOUND: "CAUSE FOUND",
    Status.SUSPECTED: "SUSPECTED",
    Status.CONSISTENT: "CONSISTENT",
    Status.POPULATION_CHANGED: "POPULATION CHANGED",
    Status.CANNOT_TELL: "CANNOT TELL",
}


def render(verdict: Verdict) -> str:
    """Return a verdict as text: title, what, evidence, what was ruled out, fix, what would settle it."""
    strength = f" ({verdict.strength})" if verdict.strength else ""
    title = f"{_TITLES[verdict.status]}{strength}"
    if verdict.kind:
        title += f"   {verdict.family} · {verdict.kind}{describe(verdict.transformation)}"
    if verdict.features:
        title += f" · column{'s' if len(verdict.features) > 1 else ''} {', '.join(verdict.features)}"
    lines = [title]
    if verdict.kind:
        where = f" in {verdict.segment['column']} = {verdict.segment['value']}" if verdict.segment else ""
        since = f"since {verdict.first_seen} " if verdict.first_seen else ""
        lines.append(f"{since}{verdict.share:.0%} of {verdict.rows} rows{where}: {meaning(verdict.kind)}")
    lines += _block("Evidence", [f"{piece.number} {piece.text}" for piece in verdict.evidence])
    lines += _block("Ruled out", list(verdict.ruled_out))
    lines += _block("Also", list(verdict.also))
    lines += _block("Fix", [verdict.fix] if verdict.fix else [])
    lines += _block("To settle", list(verdict.settle))
    lines += _block("Limits", list(verdict.degraded))
    return "\n".join(lines)


def _block(name: str, entries: list[str]) -> list[str]:
    return [f"{name if index == 0 else '':<10}{entry}" for index, entry in enumerate(entries)]


def describe(transformation: dict[str, Any]) -> str:
    """Return the parameters of a transformation in short.

    >>> describe({"factor": 100.0}) == " \\N{MULTIPLICATION SIGN}100"
    True
    """
    if not transformation:
        return ""
    if set(transformation) <= {"factor", "name"} and "factor" in transformation:
        return f" \N{MULTIPLICATION SIGN}{transformation['factor']:g}"
    parts = [f"{key} {_short(value)}" for key, value in transformation.items()]
    return " (" + ", ".join(parts[:4]) + ")"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        shown = [f"{key}→{other}" for key, other in list(value.items())[:4]]
        return ", ".join(shown) + (" …" if len(value) > 4 else "")
    return str(value)


def plain(value: Any) -> Any:
    """Return a value with NumPy's types replaced by Python's, so that it can be written as JSON."""
    if isinstance(value, Mapping):
        return {str(key): plain(other) for key, other in value.items()}
    if isinstance(value, list | tuple):
        return [plain(other) for other in value]
    return value.item() if isinstance(value, np.generic) else value


def family_of(kind: str) -> Family:
    """Return the family of a kind."""
    return FAMILY_OF[kind]
