"""Modules of one's own that a saved model refers to and does not bring along: a worker cannot import them.

Pickle writes a function or class of a module as the module's name. Where the model is logged the script's folder is
on Python's path, so that loading it again there shows nothing.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import islice
from pathlib import Path
from typing import Any

#: Larger files are mostly numbers, and opcodes beyond are looked at no more: a second or so.
_MOST_BYTES, _MOST_OPCODES = 256 << 20, 500_000


def left_out(folder: Path) -> list[str]:
    """Return files and packages, as `helpers.py`, beside the script or in the current folder that the artifact lacks.

    `folder` is a model's, of which all pickles are read (`*.pkl`). What is installed a worker finds, too.
    """
    named: set[str] = set()
    for path in sorted(folder.rglob("*.pkl")):
        if path.is_file() and path.stat().st_size <= _MOST_BYTES:
            named |= set(modules_of(path.read_bytes()))
    brought = {path.stem for path in folder.glob("code/*")}
    tops = {name.partition(".")[0] for name in named} - brought
    found = {name: own.name for name in sorted(tops) if (own := _own(name)) is not None}
    installed = packages_distributions() if found else {}
    return [file for name, file in found.items() if name not in installed]


def _own(name: str) -> Path | None:
    """Return the file or package of a module that is found by where the script is; None for all others."""
    module = sys.modules.get(name)
    if module is None or name in sys.stdlib_module_names:
        return None
    places = [*(getattr(module, "__path__", None) or ()), getattr(module, "__file__", None)]
    if places[0] is None:
        return None
    place = Path(places[0]).resolve()
    return place if place.parent in {Path(sys.path[0] or ".").resolve(), Path.cwd().resolve()} else None


def modules_of(pickled: bytes) -> Iterator[str]:
    """Yield the modules that a pickle imports; ends where the bytes are no pickle any more. Runs nothing of it.

    >>> import pickle, fractions
    >>> set(modules_of(pickle.dumps(fractions.Fraction(1, 2)))), set(modules_of(pickle.dumps(fractions.Fraction, 0)))
    ({'fractions'}, {'fractions'})
    """
    reader = _Reader()
    try:
        for opcode, given, _ in islice(pickletools.genops(pickled), _MOST_OPCODES):
            if found := reader.take(opcode.name, given):
                yield found
    except ValueError:
        return


class _Reader:
    """Follows the texts of a pickle as far as it takes to know what STACK_GLOBAL, the last two of them, imports."""

    def __init__(self) -> None:
        #: The last two that were put on the stack, None for what is no text; and what was remembered.
        self._last: tuple[str | None, str | None] = None, None
        self._memo: dict[int, str | None] = {}
        #: Where `subimport` itself was remembered: it is written once, however many modules it is called for.
        self._remembered: set[int] = set()
        #: Whether the next text is a module that cloudpickle imports for a function it holds whole.
        self._is_module_next = False

    def take(self, opcode: str, given: Any) -> str:
        """Return the module that an opcode imports; empty as a rule."""
        match opcode:
            case "GLOBAL":
                module, _, name = given.partition(" ")
                return self._imported(module, name)
            case "STACK_GLOBAL":
                return self._imported(*self._last)
            case "MEMOIZE":
                self._remember(len(self._memo))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._remember(given)
            case "GET" | "BINGET" | "LONG_BINGET":
                found = self._pushed(self._memo.get(given))
                self._is_module_next = self._is_module_next or given in self._remembered
                return found
            case "FRAME":
                pass
            case _:
                return self._pushed(given if isinstance(given, str) else None)
        return ""

    def _remember(self, number: int) -> None:
        self._memo[number] = self._last[1]
        if self._is_module_next:
            self._remembered.add(number)

    def _imported(self, module: str | None, name: str | None) -> str:
        self._is_module_next = name == "subimport"
        self._last = self._last[1], None
        return module or ""

    def _pushed(self, text: str | None) -> str:
        self._last = self._last[1], text
        if text is None or not self._is_module_next:
            return ""
        self._is_module_next = False
        return text
