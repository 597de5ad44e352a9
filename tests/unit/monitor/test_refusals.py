"""What is told of requests that were refused: who, how many, for what, and no value of them."""

from __future__ import annotations

import json

import pytest

from tallystick.monitor.refusals import words_of


def told(message: str, *names: str) -> str:
    return words_of(json.dumps({"error_code": "X", "message": message}), names)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "The input does not fit the model's signature: dataframe_records[0].age: got text 'Mustermann', expected",
            "X The input does not fit the model's signature: dataframe_records[…].age: got text '…', expected",
        ),
        ("column 'age': got text 'O'Brien', x", "X column 'age': got text '…', x"),
        ("column 'age': got text 'James' car', x", "X column 'age': got text '…', x"),
        ("got text 'Muster' for column 'age'", "X got text '…' 'age'"),
        ('row 12 of (`Muster`) and "Mann"', "X row … of ('…'"),
        ("got text 'Muster", "X got text '…'"),
        (f"{'so ' * 20}column 'age': got 'x'", f"X {'so ' * 14}… column 'age' …"),
        ("column 'age': got text 'age' Muster', x", "X column 'age': got text '…' 'age', x"),
        ("column 'age': got text \"age' Muster\", x", "X column 'age': got text '…' 'age', x"),
        ("column 'age': got b'Muster'|'Mann'", "X column 'age': got '…'"),
        ("column 'age' of the model's, 'age'.", "X column 'age' of the model's, 'age'"),
        ("age_2 and 'age_2' are 12,5", "X age_2 and 'age_2' are …"),
    ],
)
def test_what_is_quoted_is_hidden_unless_it_is_a_column(message: str, expected: str) -> None:
    assert told(message, "age", "age_2") == expected
