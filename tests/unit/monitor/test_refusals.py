"""What is told of requests that were refused: who, how many, for what, and no value of them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.monitor.refusals import MAX_WORDS, words_of


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


_NAMES = st.from_regex(r"[a-z][a-z0-9_]{2,8}", fullmatch=True)
_MARK = "QZX"


@given(
    name=_NAMES,
    value=st.text(st.characters(codec="utf-8"), max_size=20),
    before=st.sampled_from(["", " ", "'", '"', "' ", '" ', "', ", "`"]),
    form=st.sampled_from(
        [
            "The input does not fit the model's signature: dataframe_records[0].{name}: got text {value}, expected a number",
            "It's the users' column '{name}': got text {value}, expected a number",
            "column '{name}' has {value}",
            "({value}) is in column '{name}' of the model's",
        ]
    ),
)
def test_no_value_is_told_and_the_column_is(name: str, value: str, before: str, form: str) -> None:
    shown = told(form.format(name=name, value=repr(before + _MARK + value + _MARK)), name)
    assert _MARK not in shown
    assert name in shown
    assert len(shown.split()) <= MAX_WORDS + 2
