"""Outcomes of feedback are those of counting by hand."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.dataset as pads
from feedback_rows import lines, payload
from hypothesis import given
from hypothesis import strategies as st

from tallystick.records.matching import Outcomes, count_outcomes


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 1), st.sampled_from(["x", "y"]))),
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 1), st.sampled_from(["x", "y"]))),
    st.sets(st.tuples(st.sampled_from("ab"), st.sampled_from(["a", "c", None]))),
)
def test_outcomes_are_those_of_counting_by_hand(
    earlier: list[tuple[str, bool, int, str]], now: list[tuple[str, bool, int, str]], rows: set[tuple[str, str | None]]
) -> None:
    def table(keys: list[tuple[str, bool, int, str]]) -> pa.Table:
        return lines(
            *((one if by_server else None, None if by_server else one, row, name) for one, by_server, row, name in keys)
        )

    server, client = {one for one, _ in rows}, {other for _, other in rows}
    matched = sum(one in (server if by_server else client) for one, by_server, _, _ in now)
    duplicate = sum(key in earlier or key in now[:at] for at, key in enumerate(now))
    found = count_outcomes(table(now), payload(*sorted(rows, key=str)), pads.dataset(table(earlier)))
    assert found == Outcomes(matched, len(now) - matched, duplicate)
