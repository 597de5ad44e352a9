"""Counts of live rows add up, however they are cut."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from monitor_rows import frame, reference, same

from tallystick.monitor.counters import Counters, nothing, observe, tally
from tallystick.monitor.rings import MINUTE, Ring


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 200), max_size=6), order=st.randoms(use_true_random=False))
def test_profiles_of_pieces_add_up_to_that_of_the_whole_in_any_order(cuts: list[int], order: object) -> None:
    trained = reference()
    observed = observe(trained, frame(200, seed=3))
    edges = [0, *sorted(cuts), 200]
    places = np.arange(200)
    pieces = [tally(observed, (places >= a) & (places < b)) for a, b in pairwise(edges)]
    order.shuffle(pieces)  # type: ignore[attr-defined]
    assert same(reduce(lambda a, b: a + b, pieces, nothing(trained)), tally(observed))
    left = reduce(lambda a, b: a + b, pieces)
    right = reduce(lambda a, b: b + a, pieces)
    assert same(left, right)


def one(number: int) -> Counters:
    return Counters(number, np.full((1, 2), number, np.int64), np.zeros((1, 7), np.int64), np.zeros((1, 3)))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 5)), max_size=40),
    sides=st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_rings_merge_as_if_all_rows_had_come_to_one(rows: list[tuple[int, int]], sides: list[bool]) -> None:
    """Rows come in any order; what is older than the ring at its end is in neither."""
    whole, left, right = (Ring(MINUTE, 5) for _ in range(3))
    ordered = sorted(rows)
    for (minute, count), side in zip(ordered, sides, strict=False):
        whole.add(minute * MINUTE, one(count))
        (left if side else right).add(minute * MINUTE, one(count))
    for merged in (left.merged(right), right.merged(left)):
        assert {n: c.rows for n, c in merged.windows.items()} == {n: c.rows for n, c in whole.windows.items()}
