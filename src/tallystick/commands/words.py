"""What a coercion means, in words for whoever sent the request. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tallystick.printable import named
from tallystick.protocol.ledger import Coercion

WORDS: Mapping[str, str] = {
    Coercion.FRACTION_DROPPED: "fraction dropped (1.9 becomes 1), as the model takes whole numbers",
    Coercion.OVERFLOW: "beyond what the column's type holds: the model got another number",
    Coercion.FLOAT_OVERFLOW: "too large for a float: became infinity",
    Coercion.FLOAT_UNDERFLOW: "too small for a float: became 0",
    Coercion.PRECISION_LOST: "more digits than the column's type holds: became the nearest number that it does",
    Coercion.NUMBER_FROM_TEXT: "text where a number belongs: the model got the number in it",
    Coercion.NUMBER_FROM_BOOLEAN: "true or false where a number belongs: became 1 or 0",
    Coercion.TRUTHY: 'not true or false: all that is not empty or 0 became true, also "false"',
    Coercion.NULL_TO_FALSE: "null where true or false belongs: became false",
    Coercion.NULL_TO_TRUE: "null where true or false belongs: became true",
    Coercion.NOT_TEXT: "not text where text belongs: the model got it as it is",
    Coercion.TEXT_FROM_VALUE: "not text where text belongs: became its digits as text",
    Coercion.NULL_TO_TEXT: "null where text belongs: became the text 'None' or 'nan'",
    Coercion.TEXT_TO_NULL: "text that reads as 'no value' in CSV: became null",
    Coercion.EPOCH_UNIT: "a number where a date belongs: taken as nanoseconds since 1970",
    Coercion.AMBIGUOUS_DATE: "a date with two readings: taken with the month first where that exists",
    Coercion.DATE_GUESSED: "not an ISO 8601 date: guessed",
    Coercion.TIMEZONE_DROPPED: "a date with an offset: became UTC, without the offset",
    Coercion.BAD_BASE64: "not base64: the model got what could be decoded",
    Coercion.BASE64_KEPT: "taken as text, not decoded as base64",
}


def describe_coercions(coercions: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return one line for each kind of change of each column.

    >>> describe_coercions({"x": {"float_underflow": 2}})
    ['x: too small for a float: became 0 (2 values)']
    """
    return [
        f"{named(column)}: {WORDS.get(kind, kind)} ({count} value{'s' if count != 1 else ''})"
        for column, kinds in coercions.items()
        for kind, count in kinds.items()
    ]
