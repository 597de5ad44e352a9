"""What is told of a refused request has the names of columns in it, and no value."""

import json

from hypothesis import given
from hypothesis import strategies as st

from tallystick.monitor.refusals import MAX_WORDS, words_of


def told(message: str, *names: str) -> str:
    return words_of(json.dumps({"error_code": "X", "message": message}), names)


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
