"""Columns along training's rows: what moves, what comes and goes, and that shuffled rows have no course.

False alarms: one column of shuffled rows has a course by a chance of 1e-6; seeds are fixed.
"""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity.course import courses
from tallystick.parity.profile import profile_column
from tallystick.parity.reference import parse_column

ROWS = 1200


def seasons() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    year = np.repeat(np.arange(12), ROWS // 12)
    club = np.array([f"club {(each + pick) % 40}" for each, pick in zip(year, rng.integers(0, 8, ROWS), strict=True)])
    return pd.DataFrame(
        {
            "club": club,
            "country": [f"land {int(name.split()[1]) % 3}" for name in club],
            "year": year + 2000,
            "goals": rng.poisson(2, ROWS),
            "ground": rng.choice(["grass", "turf"], ROWS),
        }
    )


def course_of(frame: pd.DataFrame):
    profiles = [profile_column(frame[name], name) for name in frame.columns]
    return courses(profiles, [parse_column(profile, frame[profile.name]) for profile in profiles])


def test_a_counter_names_that_come_and_go_and_what_follows_them_have_a_course():
    found = course_of(seasons())
    assert set(found) == {"club", "country", "year"}
    assert found["year"].trend > 0.98
    assert found["year"].part > 0.95
    assert found["club"].arrived > 0.1
    assert found["country"].follows


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_rows_have_no_course(seed):
    assert course_of(seasons().sample(ROWS, random_state=seed)) == {}


def test_shuffled_rows_with_a_date_are_read_in_its_order():
    frame = seasons()
    frame["played"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(ROWS), unit="D")
    found = course_of(frame.sample(ROWS, random_state=0))
    assert found["club"].arrived > 0.1
    assert found["played"].trend == pytest.approx(1.0)


def test_names_that_only_leave_come_and_go_as_well():
    frame = seasons()
    assert course_of(frame.iloc[::-1])["club"].arrived == pytest.approx(course_of(frame)["club"].arrived, abs=0.05)


def test_few_rows_have_no_course():
    assert course_of(seasons().head(200)) == {}
