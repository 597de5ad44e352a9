"""A reference in words."""

from __future__ import annotations

import pandas as pd

from tallystick.parity import Reference
from tallystick.training.show import document


def test_times_are_told_as_times_and_empty_levels_are_seen() -> None:
    times = pd.date_range("2026-01-31T14:02:11", periods=3, freq="D", tz="UTC").repeat(20)
    frame = pd.DataFrame({"asked": times, "plan": ["", " ", "basic"] * 20, "size": range(60)})
    shown = {each["name"]: each["values"] for each in document(Reference.from_frame(frame), None, {})["columns"]}
    assert shown["asked"].startswith("2026-01-31 14:02:11Z to 2026-02-02 14:02:11Z, median 2026-02-01")
    assert sorted(shown["plan"].removeprefix("3 levels: ").split(", ")) == ["' '", "''", "basic"]
    assert shown["size"].startswith("0 to 59")
