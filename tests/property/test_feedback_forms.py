"""Feedback: JSON and CSV say the same, and no body brings the reader down."""

from __future__ import annotations

import contextlib
import csv
import io
import json

from hypothesis import given
from hypothesis import strategies as st

from tallystick.control.feedback import Line, parse_cell, parse_feedback
from tallystick.errors import BadRequest, InvalidParameter

JSON, CSV = "application/json", "text/csv; charset=utf-8"

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True).filter(
    lambda name: (
        name
        not in {
            "request_id",
            "databricks_request_id",
            "client_request_id",
            "_request_id",
            "_client_request_id",
            "row",
            "_row",
        }
    )
)
texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20).map(str.strip).filter(bool)
lines = st.builds(
    lambda by_server, one, row, name, value: Line(
        one if by_server else None, None if by_server else one, row, name, value
    ),
    st.booleans(),
    texts,
    st.integers(0, 10**9),
    names,
    texts.filter(lambda text: isinstance(parse_cell(text), str)) | st.floats(allow_nan=False, allow_infinity=False),
)


@given(st.lists(lines, min_size=1, max_size=10))
def test_both_forms_say_the_same(wanted: list[Line]) -> None:
    as_json = [
        {("request_id" if line.request_id else "client_request_id"): line.request_id or line.client_request_id,
         "row": line.row, "name": line.name, "value": line.value}
        for line in wanted
    ]  # fmt: skip
    assert parse_feedback(JSON, json.dumps({"feedback": as_json}).encode()) == wanted
    columns = list(dict.fromkeys(line.name for line in wanted))
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["request_id", "client_request_id", "row", *columns])
    for line in wanted:
        value = line.value if isinstance(line.value, str) else json.dumps(line.value)
        cells = [value if name == line.name else "" for name in columns]
        writer.writerow([line.request_id or "", line.client_request_id or "", line.row, *cells])
    assert parse_feedback(CSV, file.getvalue().encode()) == wanted


@given(
    st.sampled_from([JSON, CSV]), st.binary(max_size=200) | st.text('{}[]",:ab\n\r01 requstidlabfck_').map(str.encode)
)
def test_no_body_brings_down_the_reader(kind: str, body: bytes) -> None:
    with contextlib.suppress(BadRequest, InvalidParameter):
        assert parse_feedback(kind, body)
