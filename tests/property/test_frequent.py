"""Frequent segments get a slot, whatever else comes and in whatever order."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.monitor.frequent import MOST_COLUMNS, Frequent, Segment

NAMES = st.sampled_from([("client", name) for name in "abcdefghijklmnop"])
STREAMS = st.lists(NAMES, max_size=300)


def fed(stream: list[Segment], capacity: int, batch: int = 7) -> Frequent:
    frequent = Frequent(capacity)
    for start in range(0, len(stream), batch):
        frequent.add(Counter(stream[start : start + batch]))
    return frequent


@given(STREAMS, st.integers(1, 12))
def test_counts_are_never_too_low_nor_too_high_by_more_than_said(stream: list[Segment], capacity: int) -> None:
    """Lemmas 3 and 4 and theorem 3 of Metwally et al. 2005, which need no more of the sum than this."""
    frequent, true = fed(stream, capacity), Counter(stream)
    assert len(frequent.counts) <= capacity
    assert sum(frequent.counts.values()) <= len(stream)
    for key, count in frequent.counts.items():
        assert count - frequent.errors[key] <= true[key] <= count
        assert frequent.errors[key] <= len(stream) / capacity
    assert {key for key, count in true.items() if count > len(stream) / capacity} <= set(frequent.counts)


@given(st.integers(0, 400), st.integers(2, 6), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_a_frequent_sender_gets_a_slot_though_all_were_taken_by_senders_that_come_once(
    before: int, slots: int, random: object
) -> None:
    stream: list[Segment] = [("client", f"once-{number}") for number in range(before)]
    # One row in three, among ever new names.
    for number in range(max(60, before)):
        stream += [("client", f"new-{number}"), ("client", f"newer-{number}"), ("client", "big")]
    frequent, held = Frequent(40), set[Segment]()
    for start in range(0, len(stream), 50):
        batch = stream[start : start + 50]
        random.shuffle(batch)  # type: ignore[attr-defined]
        frequent.add(Counter(batch))
        held = frequent.most_frequent(slots, held)
        assert len(held) <= slots
    assert ("client", "big") in held


def test_equals_do_not_take_turns_and_what_has_one_value_comes_last() -> None:
    frequent = Frequent()
    frequent.add({("client", "a"): 5, ("client", "b"): 5, ("client", "c"): 5, ("requester", "ann"): 100})
    assert frequent.most_frequent(2, {("client", "c"), ("client", "b")}) == {("client", "c"), ("client", "b")}
    assert ("requester", "ann") in frequent.most_frequent(4)
    assert ("requester", "ann") not in frequent.most_frequent(3)


def test_what_was_long_ago_weighs_less() -> None:
    frequent = Frequent()
    frequent.add({("client", "old"): 9, ("client", "once"): 1})
    frequent.halve()
    frequent.add({("client", "new"): 5, ("client", "other"): 1})
    assert frequent.counts == {("client", "old"): 4, ("client", "new"): 5, ("client", "other"): 1}
    assert frequent.most_frequent(1, {("client", "old")}) == {("client", "new")}


def test_values_of_another_column_take_no_place_however_many_there_are() -> None:
    frequent = Frequent(40)
    for number in range(100):
        frequent.add({("client", "web"): 90, ("client", "rare"): 1})
        frequent.add({("usage_context.session", f"s{number}-{each}"): 1 for each in range(91)})
        frequent.add({("usage_context.team", f"t{each}"): 9 for each in range(10)})
    assert frequent.counts["client", "rare"] == 100
    assert ("client", "rare") not in frequent.most_frequent(6)
    assert ("client", "rare") in frequent.most_frequent(6, reserved={"client": 3})


def test_ever_new_columns_are_bounded_and_take_no_place_from_those_with_rows() -> None:
    frequent = Frequent(40)
    for number in range(100):
        frequent.add({("client", "web"): 90, ("client", "rare"): 1})
        frequent.add({(f"usage_context.k{number}-{each}", "v"): 3 for each in range(8)})
    assert len({column for column, _ in frequent.counts}) == MOST_COLUMNS
    assert frequent.counts["client", "rare"] == 100
