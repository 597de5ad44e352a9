"""Reads the JSON objects of control requests: leniently in form, and with every problem told at once.

Clients differ: numbers come as strings, `null` stands for "not given", unknown fields come from newer versions
and from answers that are sent back. Those pass. What a field then says has to be right. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tallystick.errors import BadRequest, InvalidParameter

#: Longest text of a field; the largest wanted (a description, a secret) is far below.
MAX_TEXT = 16_384

# 18 digits: what fits 64 bits. Longer ones would be stored as what no other reader can take.
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
# A NUL cannot be stored in Postgres or put into an environment; the others have no business in a name.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object, the path to it, and the list that problems go to."""

    values: Mapping[str, Any]
    where: str = ""
    problems: list[str] = field(default_factory=list)

    def path(self, key: str) -> str:
        """Return the path of a field, as the caller would write it."""
        return f"{self.where}.{key}" if self.where else key

    def wrong(self, key: str, problem: str) -> None:
        """Note what is wrong with a field."""
        self.problems.append(f"{self.path(key)}: {problem}")

    def has(self, key: str) -> bool:
        """Whether the field is given; `null` is not."""
        return self.values.get(key) is not None

    def text(self, key: str, default: str = "") -> str:
        """Return a text field."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            self.wrong(key, f"expected a string, got {shown(value)}")
        elif len(value) > MAX_TEXT:
            self.wrong(key, f"longer than {MAX_TEXT} characters")
        elif _CONTROL.search(value):
            self.wrong(key, "has control characters")
        else:
            return value
        return default

    def required_text(self, key: str) -> str:
        """Return a text field that has to be there and not empty."""
        value = self.text(key)
        if value == "" and self.values.get(key) in (None, ""):
            self.wrong(key, "is missing")
        return value

    def one_of(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        """Return a text field that is one of `allowed`."""
        value = self.text(key, default)
        if value not in allowed:
            self.wrong(key, f"expected one of {', '.join(allowed)}, got {shown(value)}")
            return default
        return value

    def integer(self, key: str, lowest: int, highest: int) -> int | None:
        """Return an integer field, which may come as a numeric string."""
        value = self.values.get(key)
        if value is None:
            return None
        number = as_integer(value)
        if number is None or not lowest <= number <= highest:
            self.wrong(key, f"expected an integer from {lowest} to {highest}, got {shown(value)}")
            return None
        return number

    def share(self, key: str) -> float | None:
        """Return a number field between 0 and 1."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            self.wrong(key, f"expected a number from 0 to 1, got {shown(value)}")
            return None
        return float(value)

    def flag(self, key: str) -> bool | None:
        """Return a boolean field; `"true"` and `"false"` pass."""
        value = self.values.get(key)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        self.wrong(key, f"expected true or false, got {shown(value)}")
        return None

    def inner(self, key: str) -> Fields:
        """Return the object in a field; an empty one when it is not given."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, Mapping):
            self.wrong(key, f"expected an object, got {shown(value)}")
        return Fields(value if isinstance(value, Mapping) else {}, self.path(key), self.problems)

    def items(self, key: str) -> list[Any]:
        """Return the list in a field; an empty one when it is not given."""
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.wrong(key, f"expected a list, got {shown(value)}")
            return []
        return value

    def objects(self, key: str) -> list[Fields]:
        """Return the objects in a list field."""
        found = []
        for index, item in enumerate(self.items(key)):
            if isinstance(item, Mapping):
                found.append(Fields(item, f"{self.path(key)}[{index}]", self.problems))
            else:
                self.wrong(f"{key}[{index}]", f"expected an object, got {shown(item)}")
        return found

    def texts(self, key: str) -> list[str]:
        """Return the strings in a list field."""
        found = []
        for index, item in enumerate(self.items(key)):
            if isinstance(item, str) and len(item) <= MAX_TEXT and not _CONTROL.search(item):
                found.append(item)
            else:
                self.wrong(f"{key}[{index}]", f"expected a string, got {shown(item)}")
        return found

    def refuse_if_wrong(self, what: str) -> None:
        """Raise InvalidParameter that tells every problem noted so far, if there is any."""
        if self.problems:
            raise InvalidParameter(f"{what} is not acceptable: " + "; ".join(self.problems))


def fields_of(body: object) -> Fields:
    """Return the fields of a request body. Raises BadRequest unless it is a JSON object."""
    if not isinstance(body, Mapping):
        raise BadRequest(f"Expected a JSON object as body, got {shown(body)}.")
    return Fields(body)


def as_integer(value: object) -> int | None:
    """Return what an integer, a whole float or a numeric string means; None for anything else.

    >>> as_integer("90"), as_integer(4.0), as_integer(True), as_integer("4.5")
    (90, 4, None, None)
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() and abs(value) < 10**18 else None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    return None


def shown(value: object) -> str:
    """Return a value by kind, with at most a short piece of it.

    >>> shown("abc"), shown([1, 2]), shown(None)
    ("string 'abc'", 'a list', 'null')
    """
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"string {value[:40]!r}" + ("…" if len(value) > 40 else "")
    return f"number {str(value)[:40]}"
