"""What is worked out once of live rows: it outlasts what it does not depend on, and nothing else."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference
from tallystick.parity.detect.schema import read_live
from tallystick.parity.live import Live


@pytest.fixture(scope="module")
def live() -> Live:
    random = np.random.default_rng(0)
    x = random.normal(size=600)
    frame = pd.DataFrame({"x": x, "y": x + 0.3 * random.normal(size=600), "level": np.where(x > 0, "up", "down")})
    return read_live(Reference.from_frame(frame.head(400)), frame.tail(200))[0]


def test_what_is_known_of_a_column_outlasts_changes_of_others(live):
    made = live.once(0, "mark", object)
    assert live.with_values({1: live.numbers(1) * 2}).once(0, "mark", object) is made
    assert live.with_values({0: live.numbers(0) * 2}).once(0, "mark", object) is not made


def test_part_of_the_rows_is_known_as_if_it_were_read_alone(live):
    live.scores()
    rows = np.arange(live.rows) % 3 == 0
    part = live.taken(rows)
    fresh = live.with_values(dict(enumerate(live.values))).taken(rows)
    for column in range(3):
        np.testing.assert_array_equal(part.cells(column), fresh.cells(column))
        np.testing.assert_array_equal(part.known(column), fresh.known(column))
    np.testing.assert_array_equal(part.scores(), fresh.scores())
    assert part.sample(0).rows == int(rows.sum())


def test_others_say_another_thing_when_they_change(live):
    before = live.table(0)
    assert not np.array_equal(live.with_values({1: -live.numbers(1)}).table(0), before)
    assert not np.array_equal(live.with_broken(frozenset({1})).table(0), before)
    np.testing.assert_array_equal(live.with_broken(frozenset({1})).whole().table(0), before)
