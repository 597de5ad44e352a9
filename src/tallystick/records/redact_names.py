"""Names that are to be redacted: where they stand, and what can be taken for one of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_SEPARATORS = re.compile(r"[;|\t,\r\n]")
_ESCAPE = re.compile(r"\\+u([0-9a-fA-F]{4})")
#: JSON in JSON in JSON; nobody writes more.
_MAX_LEVELS = 3


class Withheld(Exception):
    """The body cannot be redacted for certain."""


def fold(name: str) -> str:
    """Return `name` without what slips of the keyboard change: case, spaces, what does not print, other widths."""
    if name.isascii() and name.isidentifier():
        return name.lower()
    kept = (c for c in unicodedata.normalize("NFKC", name) if c.isprintable() and not c.isspace())
    return "".join(kept).casefold()


class Names:
    """The names to be redacted, and what can be taken for one of them."""

    def __init__(self, names: frozenset[str]) -> None:
        self._folded = frozenset(map(fold, names))
        # A name in quotes within a text: JSON in a value. As JSON writes the text, its quotes have backslashes.
        any_name = "|".join(map(re.escape, sorted(names)))
        self._quoted = re.compile(rf'"\s*(?:{any_name})\s*\\*"', re.IGNORECASE)
        self._escaped = re.compile(rf'\\"\s*(?:{any_name})\s*\\*"', re.IGNORECASE)

    def among(self, names: Iterable[str]) -> frozenset[str]:
        """Return those of `names` that are one to be redacted, or are spelled so nearly like one that it was meant.

        The latter are no column's names; who finds one where a column is, gives nothing back.
        """
        return frozenset(name for name in names if fold(name) in self._folded)

    def check_text(self, text: str) -> None:
        """Raise when a value holds a name as an object in it would: JSON in a text."""
        if '"' in text and self._quoted.search(_unescape(text)):
            raise Withheld("a name in a value")

    def check_rendered(self, text: str) -> None:
        """Raise when a value in a JSON text does."""
        if "\\" in text and self._escaped.search(_unescape(text)):
            raise Withheld("a name in a value")

    def check_cells(self, cells: list[str]) -> None:
        """Raise when cells of a CSV hold a name as a header line would: one further down, or of other separators."""
        line = "\n".join(cells)
        self.check_text(line)
        folded = fold(line)
        # The first question is quick, and its answer nearly always no.
        if any(name in folded for name in self._folded) and not self._folded.isdisjoint(
            map(fold, _SEPARATORS.split(line))
        ):
            raise Withheld("a name in a cell")


def _unescape(text: str) -> str:
    """Return `text` with JSON's escapes by number replaced, also those of JSON in it. For matching only."""
    for _ in range(_MAX_LEVELS):
        if "\\u" not in text:
            break
        text = _ESCAPE.sub(_escaped_character, text)
    return text


def _escaped_character(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return '\\"' if character == '"' else character
