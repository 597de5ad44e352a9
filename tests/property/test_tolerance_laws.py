"""Laws of closeness: for whatever values."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tallystick.gate.tolerance import Closeness, Tolerance, compare, tolerance_for

numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
cells = st.one_of(numbers, st.none(), st.text(max_size=4), st.just(float("nan")), st.just(math.inf))


@given(st.lists(cells, min_size=1, max_size=30), st.sampled_from(Closeness), st.sampled_from(["trees", "linear", ""]))
def test_equal_values_pass_whatever_they_are(values, near, kind):
    found = compare(values, list(values), 1, tolerance_for(near, kind, values))
    assert found.is_same
    assert (found.differing, found.row, found.share) == (0, -1, 0.0)


@given(st.lists(numbers, min_size=2, max_size=30), st.data())
def test_what_one_closeness_takes_the_wider_ones_take(values, data):
    place = data.draw(st.integers(0, len(values) - 1))
    changed = list(values)
    changed[place] = values[place] * (1 + data.draw(st.sampled_from([1e-13, 1e-10, 1e-7, 1e-3])))
    passes = [compare(values, changed, 1, tolerance_for(near, "linear", values)).is_same for near in Closeness]
    assert passes == sorted(passes)


@given(st.lists(numbers, min_size=1, max_size=30), st.integers(0, 29), st.sampled_from(Closeness))
def test_a_missing_or_infinite_answer_is_never_near_a_number(values, place, near):
    for wrong in (math.nan, None, math.inf):
        changed = list(values)
        changed[place % len(values)] = wrong
        tolerance = tolerance_for(near, "linear", values)
        assert compare(values, changed, 1, tolerance).differing == 1
        assert compare(changed, values, 1, tolerance).differing == 1


@given(numbers, numbers, st.floats(0, 1e6))
def test_near_is_near_both_ways_up_to_the_tolerance_itself(one, other, deviation):
    narrow, wide = Tolerance(1e-9), Tolerance(1.1e-9)
    if narrow.is_near(one, other, deviation):
        assert wide.is_near(other, one, deviation)
