"""Batches of waiting requests: whatever waits, each is taken once, by the rules."""

from collections import deque
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tallystick.worker.batch import BatchRule, take_batch


@dataclass(frozen=True)
class Waiting:
    number: int
    rows: int
    key: str
    alone: bool

    def describe(self):
        return self.rows, self.key, self.alone


WAITING = st.lists(
    st.builds(Waiting, st.integers(), st.integers(1, 20), st.sampled_from("ab"), st.booleans()), max_size=20
)


@given(WAITING, st.integers(1, 30), st.booleans())
def test_every_request_is_taken_once_in_batches_that_keep_the_rules(waiting, max_rows, can_batch):
    left, taken = deque(waiting), []
    while left:
        batch = take_batch(left, BatchRule(can_batch, max_rows, max_requests=5), Waiting.describe)
        assert batch, "progress"
        assert len({request.key for request in batch}) == 1
        assert len(batch) == 1 or not any(request.alone for request in batch)
        assert len(batch) == 1 or sum(request.rows for request in batch) <= max_rows
        assert len(batch) <= (5 if can_batch else 1)
        taken += batch
    assert sorted(map(id, taken)) == sorted(map(id, waiting))


@given(WAITING)
def test_the_oldest_is_always_in_the_next_batch(waiting):
    left = deque(waiting)
    while left:
        oldest = left[0]
        assert take_batch(left, BatchRule(True, 8), Waiting.describe)[0] is oldest
