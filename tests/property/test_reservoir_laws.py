"""A reservoir is a fair sample that does not depend on how its requests came."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.monitor.reservoir import BYTES, HOURS, REQUESTS, Reservoir
from tallystick.monitor.rings import HOUR
from tallystick.monitor.rows import hashes_of

NOW_S = 500_000 * HOUR + 1800
MOST = 1500
_SCHEMA = pa.schema(
    [
        ("databricks_request_id", pa.string()),
        ("request_time", pa.timestamp("us", "UTC")),
        ("request", pa.string()),
        ("response", pa.string()),
    ]
)


@functools.cache
def pool(size: int, hours: int = 2) -> pa.Table:
    """Requests of some hours whose bodies have about so many characters."""
    random = np.random.default_rng(size)
    ago = random.integers(hours, size=MOST)
    made = {
        "databricks_request_id": [f"r{number}" for number in range(MOST)],
        "request_time": [datetime.fromtimestamp(NOW_S, UTC) - timedelta(hours=int(each)) for each in ago],
        "request": ["x" * int(each) for each in random.exponential(size, MOST)],
        "response": [None if each else "y" for each in random.integers(2, size=MOST)],
    }
    return pa.table(made, schema=_SCHEMA)


def ids(reservoir: Reservoir) -> dict[int, list[str]]:
    return {hour: each.requests["databricks_request_id"].to_pylist() for hour, each in sorted(reservoir.hours.items())}


def filled(*parts: pa.Table) -> Reservoir:
    reservoir = Reservoir()
    for part in parts:
        reservoir.add(part, NOW_S)
    return reservoir


@settings(max_examples=20, deadline=None)
@given(st.integers(0, MOST), st.lists(st.integers(0, MOST), max_size=4), st.sampled_from([5, 3_000, 50_000]))
def test_whatever_batches_they_come_in_the_same_are_held(count: int, cuts: list[int], size: int) -> None:
    every = pool(size).take(np.random.default_rng(count).permutation(count))
    ends = [0, *sorted(min(cut, count) for cut in cuts), count]
    parts = [every.slice(begin, end - begin) for begin, end in pairwise(ends)]
    found = filled(*parts)
    assert ids(found) == ids(filled(every))
    assert sum(each.seen for each in found.hours.values()) == count


@settings(max_examples=20, deadline=None)
@given(st.integers(1, MOST), st.sampled_from([5, 30_000]))
def test_an_hour_has_the_requests_with_the_least_hashes_within_its_bounds(count: int, size: int) -> None:
    every = pool(size, hours=1).slice(0, count)
    (held,) = filled(every).hours.values()
    names = every["databricks_request_id"].to_numpy()
    first = names[np.argsort(hashes_of(names))][: len(held.requests)]
    assert held.requests["databricks_request_id"].to_pylist() == list(first)
    assert len(held.requests) == min(count, REQUESTS) or held.requests.nbytes > BYTES / 2
    largest = max(len(body) for body in every["request"].to_pylist())
    assert held.requests.nbytes < BYTES + largest + 1000


def test_two_hours_together_are_the_sample_of_both() -> None:
    begin = datetime.fromtimestamp(NOW_S - HOUR, UTC).replace(minute=0)
    for size in (5, 20_000):
        every = pool(size)
        found = filled(every).between(begin, begin + timedelta(hours=2))
        of_one = filled(every.set_column(1, _SCHEMA.field(1), pa.array([begin] * MOST, _SCHEMA.field(1).type)))
        assert found is not None
        assert [found.requests["databricks_request_id"].to_pylist()] == list(ids(of_one).values())


def test_only_the_hours_up_to_now_are_held() -> None:
    reservoir = Reservoir()
    made = pool(5, hours=3 * HOURS)
    reservoir.add(made, NOW_S - HOUR)
    assert min(reservoir.hours) == NOW_S // HOUR - HOURS
    assert max(reservoir.hours) == NOW_S // HOUR - 1
    reservoir.add(made.slice(0, 0), NOW_S + 2 * HOUR)
    assert min(reservoir.hours) >= NOW_S // HOUR + 3 - HOURS
