"""When rows came: what is a time, and what is said of what is none."""

import numpy as np
import pandas as pd
import pytest

from tallystick.errors import InvalidParameter
from tallystick.parity.history import asked_of, seconds_of, unread
from tallystick.parity.segments import onset

LATER = np.arange(40) >= 20


@pytest.mark.parametrize("given", [["soon"] * 3, [True] * 3, [object()] * 3])
def test_timestamps_of_which_none_is_a_time_are_refused_with_what_would_be(given):
    with pytest.raises(InvalidParameter, match=r"timestamps: none of 3 entries is a time \(the first is .*ISO 8601"):
        asked_of(3, timestamps=given)


def test_what_is_no_time_among_times_is_found_and_what_is_missing_is_no_fault():
    given = ["2026-01-01", "soon", None, np.nan]
    asked = asked_of(4, timestamps=given)
    assert unread(given, asked.times) == ["soon"]
    assert asked_of(2, timestamps=[None, None]).times.tolist() == pytest.approx([np.nan, np.nan], nan_ok=True)


def test_numbers_with_gaps_are_numbers():
    assert seconds_of([None, 1.7e12]).tolist() == pytest.approx([np.nan, 1.7e9], nan_ok=True)


@pytest.mark.parametrize(
    ("given", "first"),
    [
        (pd.date_range("2026-01-01", periods=40, freq="min"), "2026-01-01 00:20:00"),
        (pd.date_range("2026-01-01", periods=40, freq="min", tz="Europe/Berlin"), "2026-01-01 00:20:00+01:00"),
        ([None if row % 2 else 1.7e9 + row for row in range(40)], "2023-11-14 22:13:40"),
        (["soon" if row == 20 else f"2026-01-01T00:{row:02d}" for row in range(40)], "2026-01-01 00:21:00"),
        ([f"2026-01-01T00:{row:02d}{('Z', '+01:00')[row % 2]}" for row in range(40)], "2025-12-31 23:21:00+00:00"),
        ([None] * 40, ""),
    ],
)
def test_the_onset_is_a_time_of_a_row_that_has_one(given, first):
    assert onset(given, LATER)[0] == first
