"""Since when a cause is there, found with few looks at rows before the judged ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tallystick.monitor.lookback import EXACT_SHARE, MOST_LOOKS, Began, Seen, TooManyRows, began

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FLOOR = NOW - timedelta(days=30)


def never() -> bool:
    return False


class Traffic:
    """Rows that come every so often from `begins` on, with a cause from `cause` on; looks are counted."""

    def __init__(self, every_s: float, cause: timedelta, begins: timedelta = timedelta(days=90)) -> None:
        self.every, self.cause, self.begins = timedelta(seconds=every_s), NOW - cause, NOW - begins
        self.looks = 0

    def look(self, until: datetime) -> Seen | None:
        self.looks += 1
        last = until - self.every
        first = max(self.begins, last - 199 * self.every)
        if last < first:
            return None
        middle = first + (last - first) / 2
        if last < self.cause:
            return Seen(middle)
        # Of rows that nearly all have it, the few before are not told.
        is_step = first < self.cause - 10 * self.every
        return Seen(middle, self.cause if is_step else first, is_step)


@pytest.mark.parametrize("cause", [timedelta(minutes=3), timedelta(hours=5), timedelta(days=2, hours=3)])
@pytest.mark.parametrize("every_s", [0.001, 0.5, 60])
def test_the_beginning_is_found_however_long_before_the_judged_rows_it_was(cause: timedelta, every_s: float) -> None:
    traffic = Traffic(every_s, cause)
    found = began(NOW - timedelta(seconds=2), NOW, FLOOR, traffic.look, never)
    assert abs(found.at - traffic.cause) <= max(timedelta(seconds=max(1.0, 2 * every_s)), EXACT_SHARE * cause)
    assert not found.is_older
    assert traffic.looks <= MOST_LOOKS


def test_a_pause_before_the_first_broken_row_is_crossed() -> None:
    """Batches by the hour: between two of them there are no rows to look at."""
    sound, broken = NOW - timedelta(hours=6), NOW - timedelta(hours=5)

    def look(until: datetime) -> Seen | None:
        end = max((hour for hour in (sound, broken, NOW) if hour < until), default=None)
        if end is None:
            return None
        begin = end - timedelta(seconds=2)
        return Seen(begin, None if end == sound else begin)

    found = began(NOW - timedelta(seconds=2), NOW + timedelta(minutes=5), FLOOR, look, never)
    assert not found.is_older
    assert abs(found.at - broken) < timedelta(seconds=5)


def test_a_beginning_within_the_judged_rows_is_believed_after_one_look() -> None:
    traffic = Traffic(1, timedelta(minutes=5))
    assert began(traffic.cause, NOW, FLOOR, traffic.look, never) == Began(traffic.cause)
    assert traffic.looks == 1


def test_a_cause_that_was_there_from_the_first_row_on_began_with_it() -> None:
    traffic = Traffic(0.01, timedelta(days=60), begins=timedelta(hours=7))
    found = began(NOW - timedelta(seconds=2), NOW, FLOOR, traffic.look, never)
    assert abs(found.at - traffic.begins) <= EXACT_SHARE * timedelta(hours=7)
    assert not found.is_older


def test_what_was_there_as_far_back_as_looks_go_may_be_older() -> None:
    found = began(NOW - timedelta(seconds=2), NOW, FLOOR, Traffic(1, timedelta(days=80)).look, never)
    assert found.is_older
    assert found.at <= FLOOR


def test_a_sender_who_cannot_be_found_among_all_others_leaves_it_open() -> None:
    def look(_until: datetime) -> Seen | None:
        raise TooManyRows

    assert began(NOW - timedelta(seconds=2), NOW, FLOOR, look, never) == Began(
        NOW - timedelta(seconds=2), is_older=True
    )


def test_rows_that_are_too_few_to_tell_leave_it_open() -> None:
    first = NOW - timedelta(minutes=3)
    assert began(first, NOW, FLOOR, lambda _until: Seen(NOW, is_few=True), never) == Began(first, is_older=True)


def test_without_time_to_look_it_is_left_open() -> None:
    traffic = Traffic(0.01, timedelta(hours=5))
    looks = iter([False, False, True])
    found = began(NOW - timedelta(seconds=2), NOW, FLOOR, traffic.look, lambda: next(looks))
    assert traffic.looks == 2
    assert found.is_older
    assert found.at < NOW - timedelta(minutes=1)
