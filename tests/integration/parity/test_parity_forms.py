"""Rows and what stands beside them are taken in the forms that people have them in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from tallystick.errors import InvalidParameter
from tallystick.parity import Reference, diagnose, examine, render_html

RANDOM = np.random.default_rng(5)
TRAINED = RANDOM.normal((50, 5, 20), (8, 1, 3), (2_000, 3))
SENT = RANDOM.normal((50, 5, 20), (8, 1, 3), (200, 3)) * (1, 100, 1)
LABELS = (TRAINED[:, 0] + TRAINED[:, 1] > 55).astype(int)
NAMES = ["age", "rate", "size"]


def test_arrays_are_read_by_place_and_the_model_is_asked_with_arrays(recwarn):
    model = LogisticRegression(max_iter=1_000).fit(TRAINED, LABELS)
    reference = Reference.from_frame(TRAINED, model, LABELS)
    verdict = diagnose(reference, SENT)
    assert (verdict.kind, verdict.features) == ("unit", ("1",))
    assert any("undone on live rows" in each.text for each in verdict.evidence)
    assert not [each for each in recwarn if "feature names" in str(each.message)]


def test_a_number_at_the_end_of_floats_prints_nothing(recwarn):
    rows, trained = (pd.DataFrame(each, columns=NAMES) for each in (SENT, TRAINED))
    rows.loc[7, "age"] = 1e308
    reference = Reference.from_frame(pd.concat([trained, rows[7:8]], ignore_index=True))
    for each in (reference, Reference.from_frame(trained)):
        found = examine(each, rows)
        assert found.verdict.kind == "unit"
        assert "rate" in render_html(found.verdict, each, found.sent_frame, found.undone_frame)
    assert not [str(each.message) for each in recwarn]


def test_a_column_at_the_end_of_floats_is_compared_as_others_are():
    trained, sent = (pd.DataFrame((each - (0, 5, 0)) * (1, 1e200, 1), columns=NAMES) for each in (TRAINED, SENT))
    verdict = diagnose(Reference.from_frame(trained), sent)
    assert verdict.features == ("rate",)


def test_a_function_of_an_array_is_asked_with_one():
    asked = []

    def model(rows):
        asked.append(type(rows))
        return rows[:, 0]

    Reference.from_frame(TRAINED, model)
    assert set(asked) == {np.ndarray}


def test_an_array_has_the_names_of_a_reference_that_has_some():
    reference = Reference.from_frame(pd.DataFrame(TRAINED, columns=NAMES))
    assert diagnose(reference, SENT).features == ("rate",)


def test_an_arrow_table_is_a_frame():
    reference = Reference.from_frame(pa.table(dict(zip(NAMES, TRAINED.T, strict=True))))
    assert diagnose(reference, pa.table(dict(zip(NAMES, SENT.T, strict=True)))).features == ("rate",)


def test_what_stands_beside_rows_can_be_columns_of_them_by_name():
    frame = pd.DataFrame(TRAINED, columns=NAMES)
    live = pd.DataFrame(np.where(np.arange(200)[:, None] % 2, SENT, SENT / (1, 100, 1)), columns=NAMES)
    live["client"] = np.where(np.arange(200) % 2, "ios", "web")
    live["asked_at"] = pd.date_range("2026-01-01", periods=200, freq="min")
    verdict = diagnose(Reference.from_frame(frame), live, segments="client", timestamps="asked_at")
    assert (verdict.kind, verdict.features) == ("unit", ("rate",))
    assert (verdict.segment["column"], verdict.segment["value"]) == ("client", "ios")
    assert not verdict.others
    assert "client" in live


@pytest.mark.parametrize(
    ("live", "beside", "told"),
    [
        ([[1.0, 2.0, 3.0]], {}, "live rows: expected a pandas DataFrame or a 2-D NumPy array of features, got list"),
        (SENT, {"segments": "client"}, "segments: the live rows have no column 'client'"),
        (SENT, {"timestamps": ["soon"] * 200}, "timestamps: none of 200 entries is a time"),
        (SENT, {"labels": 3}, "labels: expected an entry for each row, or the name of a column, got int"),
    ],
)
def test_another_form_is_refused_with_what_would_do(live, beside, told):
    with pytest.raises(InvalidParameter, match=told):
        diagnose(Reference.from_frame(TRAINED), live, **beside)


def test_timestamps_that_are_no_times_are_among_the_limits():
    times = ["soon", *pd.date_range("2026-01-01", periods=199, freq="min").astype(str)]
    verdict = diagnose(Reference.from_frame(TRAINED), SENT, timestamps=times)
    told = "1 of 200 timestamps are no times, such as 'soon': when these rows came is not known"
    assert (verdict.first_seen, verdict.degraded[-1]) == ("2026-01-01 00:00:00", told)
