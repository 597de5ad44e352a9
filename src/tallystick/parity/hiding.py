"""What a report may not repeat: values of columns that the reference keeps hashed, bucketed or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from tallystick.parity.verdict import Evidence, Verdict
from tallystick.parity.words import brief_name

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

HIDDEN = "(hidden)"
#: Parameters that are values of rows, or of training's extremes; factors, means and hours are not.
_VALUES = frozenset({"value", "bound", "map", "levels", "tokens", "example", "minimum", "maximum"})
#: A text in quotes, as evidence repeats values; an apostrophe inside a word begins none.
_QUOTED = re.compile(r"""(?<!\w)('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?!\w)""")


def hidden_columns(reference: Reference) -> frozenset[str]:
    """Return the columns whose values may not be shown."""
    return frozenset(column.name for column in reference.columns if column.privacy != "raw")


def without_hidden(verdict: Verdict, reference: Reference) -> Verdict:
    """Return a verdict with values of hidden columns taken out of its parameters and evidence.

    A verdict on raw columns only is returned as it is.
    """
    hidden = hidden_columns(reference)
    verdict = _others_without(verdict, hidden)
    if not hidden & set(verdict.features):
        return verdict
    secrets = [text for value in _values(verdict.transformation) for text in _forms(value)]
    names = {*reference.names, *verdict.features}
    evidence = tuple(
        Evidence(piece.number, _redacted(piece.text, secrets, names), piece.question) for piece in verdict.evidence
    )
    return msgspec.structs.replace(verdict, transformation=_open(verdict.transformation), evidence=evidence)


def _others_without(verdict: Verdict, hidden: frozenset[str]) -> Verdict:
    if not any(hidden & set(other.features) for other in verdict.others):
        return verdict
    others = tuple(
        msgspec.structs.replace(other, transformation=_open(other.transformation))
        if hidden & set(other.features)
        else other
        for other in verdict.others
    )
    words = dict(zip(map(brief_name, verdict.others), map(brief_name, others), strict=True))
    return msgspec.structs.replace(verdict, others=others, also=tuple(words.get(text, text) for text in verdict.also))


def _open(transformation: Mapping[str, Any]) -> dict[str, Any]:
    is_slice = "column" in transformation and "from" in transformation
    kept = {key: value for key, value in transformation.items() if key not in _VALUES}
    if is_slice:
        kept = {key: value for key, value in kept.items() if key not in ("from", "to")}
    if isinstance(kept.get("each"), Mapping):
        kept["each"] = {name: _open(one) for name, one in kept["each"].items()}
    return kept


def _values(transformation: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for key, value in transformation.items():
        if key == "each":
            found += [one for part in value.values() for one in _values(part)]
        elif key in _VALUES:
            if isinstance(value, Mapping):
                found += [*value.keys(), *value.values()]
            else:
                found += list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [value for value in found if str(value)]


def _forms(value: Any) -> set[str]:
    """Return the ways in which texts write a value."""
    forms = {str(value)}
    if isinstance(value, int | float) and not isinstance(value, bool):
        forms |= {f"{value:g}", f"{value:.6g}"}
    return forms


def _redacted(text: str, secrets: Sequence[str], names: set[str]) -> str:
    text = _QUOTED.sub(lambda found: found[0] if found[0][1:-1] in names else HIDDEN, text)
    for secret in sorted(secrets, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.]){re.escape(secret)}(?![\w]|\.\d)", HIDDEN, text)
    return text
