"""The coercion ledger: every value that was changed to fit the signature, counted by column and kind.

MLflow changes values silently where NumPy or pandas can. Here the same change is made (the model was tested with it,
perhaps) but it is counted, or, in strict mode, refused. What is exact in both directions is not counted: 1.0 for a
long, 5 for a double, 0 and 1 for a boolean, another order of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, TypeAlias

from tallystick.errors import InvalidInput, Violation

Ledger: TypeAlias = dict[str, dict[str, int]]


class Coercion(StrEnum):
    """Kinds of change: what was sent, and what the model got. The ids are stable; they are stored with invocations."""

    #: 1.9 for a whole number; the model got 1.
    FRACTION_DROPPED = "fraction_dropped"
    #: A number (or date) beyond what the type holds; the model got another one, often the lowest of the type.
    OVERFLOW = "overflow"
    #: A finite number beyond float's range; the model got infinity.
    FLOAT_OVERFLOW = "float_overflow"
    #: A number too small for float, not 0; the model got 0.
    FLOAT_UNDERFLOW = "float_underflow"
    #: A whole number with more digits than a floating-point number holds; the model got a neighbour.
    PRECISION_LOST = "precision_lost"
    #: Text with a number in it; the model got the number.
    NUMBER_FROM_TEXT = "number_from_text"
    #: true or false for a number; the model got 1 or 0.
    NUMBER_FROM_BOOLEAN = "number_from_boolean"
    #: Anything else for a boolean ("false", 2); the model got whether it is empty or zero: "false" is True.
    TRUTHY = "truthy"
    #: null for a boolean; the model got False.
    NULL_TO_FALSE = "null_to_false"
    #: null (or nothing) for a boolean beside numbers; the model got True.
    NULL_TO_TRUE = "null_to_true"
    #: A number, boolean, list or object for text; the model got it as it is, not as text.
    NOT_TEXT = "not_text"
    #: A number or boolean for text; the model got its digits as text.
    TEXT_FROM_VALUE = "text_from_value"
    #: null for text; the model got the text 'None' (or 'nan').
    NULL_TO_TEXT = "null_to_text"
    #: Text that reads as "no value" in CSV ("NA", "null"); the model got null.
    TEXT_TO_NULL = "text_to_null"
    #: A number for a date; the model got it as nanoseconds since 1970, whatever was meant.
    EPOCH_UNIT = "epoch_unit"
    #: A date such as 02/01/2024; the model got one of the two readings, month first where that exists.
    AMBIGUOUS_DATE = "ambiguous_date"
    #: Text that is not an ISO 8601 date; the model got a guess.
    DATE_GUESSED = "date_guessed"
    #: A date with an offset; the model got it as UTC, without the offset.
    TIMEZONE_DROPPED = "timezone_dropped"
    #: Text that is not base64, for binary; the model got what decodes after bad characters are left out.
    BAD_BASE64 = "bad_base64"
    #: Text for binary in a place where MLflow does not decode base64; the model got the text's own bytes.
    BASE64_KEPT = "base64_kept"


class Report:
    """What one decoding found, column by column. Not shared between requests."""

    __slots__ = ("ledger", "notes", "violations")

    def __init__(self) -> None:
        self.ledger: Ledger = {}
        self.notes: list[str] = []
        self.violations: list[Violation] = []

    def count(self, column: str, kind: Coercion, values: int = 1) -> None:
        """Add to the ledger."""
        kinds = self.ledger.setdefault(column, {})
        kinds[kind.value] = kinds.get(kind.value, 0) + values

    def count_each(self, columns: Sequence[str], kind: Coercion) -> None:
        """Add one value of each of these columns."""
        name = kind.value
        if not self.ledger:
            self.ledger = {column: {name: 1} for column in columns}
            if len(self.ledger) == len(columns):
                return
            # A name stands there twice.
            self.ledger = {}
        for column in columns:
            # Most columns come once; `count` takes three times as long.
            if column in self.ledger:
                self.count(column, kind)
            else:
                self.ledger[column] = {name: 1}

    def violate(self, where: str, problem: str) -> None:
        """Add a reason to refuse the request."""
        self.violations.append(Violation(where, problem))

    def check(self) -> None:
        """Raise InvalidInput when anything was found that the request must be refused for."""
        if self.violations:
            raise InvalidInput("The input does not fit the model's signature", self.violations)


#: Longer pieces of a caller's data are not repeated in an error.
EXCERPT_CHARS = 40
#: An error lists this many further rows of the same column and kind by number; the rest are counted.
_ROWS_LISTED = 5
_MANY_BITS = 64


def describe(value: Any) -> str:
    """Return the kind of a JSON value, with a short piece of it where that is safe.

    >>> describe(2**65), describe("false"), describe([1])
    ('a whole number of 66 bits', "text 'false'", 'a list')
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() > _MANY_BITS:
            return f"a whole number of {value.bit_length()} bits"
        case int() | float():
            return "nothing" if value != value else f"the number {value!r}"
        case str():
            cut = value if len(value) <= EXCERPT_CHARS else value[:EXCERPT_CHARS] + "…"
            return f"text {cut!r}"
        case list():
            return "a list"
        case dict():
            return "an object"
    return f"a value of type {type(value).__name__}"


def further_rows(rows: Sequence[int]) -> str:
    """Return a phrase for the rows after the first that have the same fault; empty when there are none."""
    rest = rows[1:]
    if not rest:
        return ""
    listed = ", ".join(map(str, rest[:_ROWS_LISTED]))
    more = f" and {len(rest) - _ROWS_LISTED} more" if len(rest) > _ROWS_LISTED else ""
    return f" (the same in row{'s' if len(rest) > 1 else ''} {listed}{more})"
