"""The verdict: one per incident, made to be read by a person and by a script."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from tallystick.parity.kinds import FAMILY_OF, Family, Status
from tallystick.parity.words import headline, name_of
from tallystick.printable import printable

#: Columns of a terminal that the text is made for.
WIDTH = 100
#: The names of blocks stand in a column of their own; below so many columns of text, lines are left long.
MARGIN = 10
NARROWEST = 30


class Evidence(msgspec.Struct, frozen=True):
    """One numbered piece of evidence. `question` is which of the nine questions it answers; empty for measurements."""

    number: Annotated[int, Meta(description="Place in the list, from 1.")]
    text: Annotated[str, Meta(description="What was measured, in words.")]
    question: Annotated[
        str,
        Meta(
            description="Which question it answers: replay, support, dependence, named constant, columns, "
            "re-weighting, onset, segment or intervention; empty for a measurement."
        ),
    ] = ""


class OtherCause(msgspec.Struct, frozen=True, kw_only=True):
    """Another cause in the rows that the first one is in: of the same sender, where one is named."""

    family: Annotated[Family, Meta(description="Where the cause lives.")]
    kind: Annotated[str, Meta(description="Stable id of the cause.")]
    features: Annotated[tuple[str, ...], Meta(description="Columns that are affected, none of them the first cause's.")]
    transformation: Annotated[dict[str, Any], Meta(description="Parameters of the kind.")] = {}
    share: Annotated[float, Meta(description="Part of the rows that is affected, 0 to 1.")] = 0.0
    fix: Annotated[str, Meta(description="What mends it.")] = ""
    first_seen: Annotated[
        str, Meta(description="When a diagnosis first saw it beside the incident's cause; empty outside incidents.")
    ] = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is the matter with live rows, how sure that is, and what would settle or mend it.

    `share` is the part of rows that is affected, 0 to 1; `confidence` the probability that the named kind is right;
    `strength` is `proof` (by replay or intervention only), `strong` (values that no population can show, or odds that
    leave little doubt) or `weak`.
    """

    status: Annotated[Status, Meta(description="What the diagnosis concludes.")]
    family: Annotated[Family, Meta(description="Where the cause lives, and so who can mend it.")] = Family.NONE
    kind: Annotated[str, Meta(description="Stable id of the cause; empty where none is named.")] = ""
    features: Annotated[tuple[str, ...], Meta(description="Columns that are affected, by training's names.")] = ()
    transformation: Annotated[
        dict[str, Any],
        Meta(
            description="Parameters of the kind: what was done to training's values. `each` has them by column "
            "where several columns are affected."
        ),
    ] = {}
    share: Annotated[float, Meta(description="Part of the rows (or predictions) that is affected, 0 to 1.")] = 0.0
    segment: Annotated[
        dict[str, Any],
        Meta(
            description="Who sends the affected rows: `column` and `value`, `share_of_rows` that it sends, and the "
            "parts affected of its rows (`affected_inside`) and of the others (`affected_outside`); empty where no "
            "one sender stands out or none was given."
        ),
    ] = {}
    stage: Annotated[str, Meta(description="Where on the way the fault happens; empty where that is not known.")] = ""
    first_seen: Annotated[
        str, Meta(description="Time of the first affected row, as the timestamps had it; empty without timestamps.")
    ] = ""
    is_older: Annotated[
        bool,
        Meta(description="Whether the cause was there before `first_seen` already, or may have been: no one looked."),
    ] = False
    last_seen: Annotated[
        str, Meta(description="Time of the last affected row, where the newest rows are without the cause; else empty.")
    ] = ""
    strength: Annotated[
        str,
        Meta(
            description="`proof`: by replay or intervention; `strong`: values that no population can show, or odds "
            "that leave little doubt; `weak`; empty where no cause is claimed."
        ),
    ] = ""
    confidence: Annotated[float, Meta(description="Probability that the kind is right, 0 to 1.")] = 0.0
    evidence: Annotated[tuple[Evidence, ...], Meta(description="What speaks for it, numbered.")] = ()
    ruled_out: Annotated[tuple[str, ...], Meta(description="What was looked at and is not the cause.")] = ()
    also: Annotated[tuple[str, ...], Meta(description="Other findings, in other columns, in words.")] = ()
    others: Annotated[
        tuple[OtherCause, ...],
        Meta(description="Other causes in the same rows, in other columns: each is to be mended by itself."),
    ] = ()
    explained: Annotated[
        float | None,
        Meta(
            description="Part of the live loss of quality that the fault alone makes when it is put into labelled "
            "rows, 0 to 1 or a little above; null without labels."
        ),
    ] = None
    fix: Annotated[str, Meta(description="What mends it; empty where nothing is broken.")] = ""
    settle: Annotated[tuple[str, ...], Meta(description="What would turn a suspicion into proof, cheapest first.")] = ()
    reproduce: Annotated[str, Meta(description="The call or command that gives this verdict again.")] = ""
    degraded: Annotated[tuple[str, ...], Meta(description="What the reference lacks, and so was not judged.")] = ()
    rows: Annotated[int, Meta(description="Live rows that were judged.")] = 0
    seconds: Annotated[float, Meta(description="Time that the diagnosis took, in seconds.")] = 0.0

    def to_json(self) -> bytes:
        """Return the verdict as JSON that `json_schema` describes."""
        return msgspec.json.encode(self)

    def __str__(self) -> str:
        """Return the verdict as text of a few lines."""
        return render(self)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a verdict; docs/verdict.schema.json is a copy."""
    return msgspec.json.schema(Verdict)


TITLES = {
    Status.CAUSE_FOUND: "CAUSE FOUND",
    Status.SUSPECTED: "SUSPECTED",
    Status.CONSISTENT: "CONSISTENT",
    Status.POPULATION_CHANGED: "POPULATION CHANGED",
    Status.CANNOT_TELL: "CANNOT TELL",
}


def render(verdict: Verdict, width: int = WIDTH) -> str:
    """Return a verdict as text for a terminal of `width` columns: what, since when, evidence, what to do.

    >>> print(render(Verdict(status=Status.CAUSE_FOUND, strength="proof", family=Family.PREPROCESSING, kind="unit",
    ...     features=("temp",), transformation={"factor": 100.0}, share=1.0, rows=200, fix="convert in the client",
    ...     evidence=(Evidence(1, "KS to training 0.98, after undoing 0.03"), Evidence(2, "the others agree")))))
    CAUSE FOUND (proof)   preprocessing · unit ×100 · column temp
    All 200 rows carry temp 100 times as large as in training.
    Evidence  1 KS to training 0.98, after undoing 0.03   2 the others agree
    Fix       convert in the client
    """  # noqa: RUF002
    strength = f" ({verdict.strength})" if verdict.strength else ""
    name = name_of(verdict)
    title = f"{TITLES[verdict.status]}{strength}{f'   {name}' if name else ''}"
    numbered = [f"{piece.number} {piece.text}" for piece in verdict.evidence]
    lines = [
        *_wrapped(title, width, "", MARGIN * " "),
        *_wrapped(headline(verdict), width, "", ""),
        *_block("Evidence", numbered, width, is_numbered=True),
        *_block("Ruled out", ["; ".join(verdict.ruled_out)] if verdict.ruled_out else [], width),
        *_block("Also", list(verdict.also), width),
        *_block("Fix", [verdict.fix] if verdict.fix else [], width),
        *_block("To settle", list(verdict.settle), width),
        *_block("Reproduce", [verdict.reproduce] if verdict.reproduce else [], width),
        *_block("Limits", list(verdict.degraded), width),
    ]
    return "\n".join(lines)


def _block(name: str, entries: Sequence[str], width: int, is_numbered: bool = False) -> Iterator[str]:
    """Yield the lines of a block; short numbered entries share a line where they fit."""
    hang = MARGIN * " " + ("  " if is_numbered else "")
    for index, entry in enumerate(_paired(entries, width - MARGIN) if is_numbered else entries):
        yield from _wrapped(entry, width, f"{name if index == 0 else '':<{MARGIN}}", hang)


def _paired(entries: Sequence[str], room: int) -> list[str]:
    lines: list[str] = []
    is_open = False
    for entry in entries:
        if is_open and len(lines[-1]) + 3 + len(entry) <= room:
            lines[-1] += f"   {entry}"
            is_open = False
        else:
            lines.append(entry)
            is_open = True
    return lines


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    """Return a text in lines that are safe to print; runs of spaces inside it stay, and words are never broken."""
    text = printable(" ".join(text.splitlines()))
    if width < MARGIN + NARROWEST or len(first) + len(text) <= width:
        return [f"{first}{text}"]
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


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
