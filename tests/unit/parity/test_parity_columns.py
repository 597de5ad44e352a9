"""Columns of any name and dtype."""

import pandas as pd

from tallystick.parity.columns import with_columns


def test_a_column_may_have_the_name_of_a_parameter_and_the_frame_stays_as_it_was():
    frame = pd.DataFrame({"self": [1, 2], "other": [3.0, 4.0]})
    made = with_columns(frame, {"self": frame["other"], "new": "a"})
    assert made.to_dict("list") == {"self": [3.0, 4.0], "other": [3.0, 4.0], "new": ["a", "a"]}
    assert frame.to_dict("list") == {"self": [1, 2], "other": [3.0, 4.0]}
