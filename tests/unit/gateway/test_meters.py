"""What a gateway counts of invocations, and what it tells control."""

from types import SimpleNamespace

import pytest

from tallystick.gateway.link import activity_of
from tallystick.gateway.meters import Meters
from tallystick.protocol.counts import (
    MAX_COUNTED_COLUMNS,
    NOTHING,
    OTHER,
    REQUESTS,
    SECONDS,
    added,
    since,
    total,
    with_coercions,
)
from tallystick.protocol.frame import Answer
from tallystick.protocol.message import MessageReader, render_message
from tallystick.protocol.routes import JournalView, Load, ToControl


def answer(**fields):
    return Answer(200, "application/json", **({"rows": 1, "queue_ms": 1.0, "model_ms": 4.0} | fields))


def bucket(bounds, value):
    """The slow and plain way to find a bucket."""
    return next((index for index, bound in enumerate(bounds) if value <= bound), len(bounds))


def test_an_answer_is_counted_with_the_parts_of_its_duration():
    meters = Meters()
    meters.note("e", 200, answer(rows=3, batch_requests=2), 0.010, 0.002)
    counts, refusals = meters.take()
    (of_e,) = counts.values()
    assert (of_e.statuses, of_e.rows, refusals) == ({200: 1}, 3, {})
    assert of_e.duration.sum == pytest.approx(0.010)
    assert of_e.queue.sum == pytest.approx(0.003)
    assert of_e.model.sum == pytest.approx(0.004)
    assert of_e.gateway.sum == pytest.approx(0.003)
    assert of_e.batch.counts.index(1) == REQUESTS.index(2)


@pytest.mark.parametrize("seconds", [0.0, 0.00009, *SECONDS, 0.0101, 599.9, 600.1, 1e6])
def test_a_time_falls_into_the_bucket_whose_upper_end_holds_it(seconds):
    meters = Meters()
    meters.note("e", 499, None, seconds)
    counts = meters.take()[0]["e"].duration.counts
    assert len(counts) == len(SECONDS) + 1
    assert [index for index, count in enumerate(counts) if count] == [bucket(SECONDS, seconds)]


def test_invocations_that_no_model_answered_have_a_duration_and_no_parts():
    meters = Meters()
    meters.note("e", 504, None, 60.0)
    meters.note("e", 400, Answer(400, "application/json", rows=7), 0.001)
    of_e = meters.take()[0]["e"]
    assert of_e.statuses == {504: 1, 400: 1}
    assert (of_e.duration.count, of_e.model.count, of_e.gateway.count, of_e.rows) == (2, 0, 0, 0)


def test_clocks_that_differ_do_not_make_a_negative_time():
    meters = Meters()
    meters.note("e", 200, answer(model_ms=50.0), 0.010)
    assert meters.take()[0]["e"].gateway.sum == 0.0


def test_refusals_are_counted_by_status_and_code():
    meters = Meters()
    for status, code in ((401, "UNAUTHENTICATED"), (404, "NOT_FOUND"), (401, "UNAUTHENTICATED")):
        meters.note_refused(status, code)
    assert meters.take() == ({}, {401: {"UNAUTHENTICATED": 2}, 404: {"NOT_FOUND": 1}})


def test_what_was_taken_is_not_told_again():
    meters = Meters()
    meters.note("e", 200, answer(), 0.01)
    meters.note_refused(404, "NOT_FOUND")
    meters.take()
    assert meters.take() == ({}, {})


def test_coercions_of_more_columns_than_are_named_become_other():
    meters = Meters()
    columns = {f"c{number}": {"overflow": 1} for number in range(MAX_COUNTED_COLUMNS + 20)}
    for _ in range(2):
        meters.note("e", 200, answer(coercions=columns), 0.01)
    counted = meters.take()[0]["e"].coercions
    assert len(counted) == MAX_COUNTED_COLUMNS + 1
    assert counted["c0"] == {"overflow": 2}
    assert counted[OTHER] == {"overflow": 40}


def test_an_answer_is_left_as_it_was():
    ledger = {"x": {"overflow": 1}}
    meters = Meters()
    for _ in range(3):
        meters.note("e", 200, answer(coercions=ledger), 0.01)
    assert ledger == {"x": {"overflow": 1}}


def test_sums_and_differences_undo_each_other():
    meters = Meters()
    parts = []
    for latency_s in (0.001, 0.02, 700.0):
        meters.note("e", 200, answer(), latency_s)
        meters.note("e", 500, None, latency_s)
        parts.append(meters.take()[0]["e"])
    whole = total(parts)
    assert whole.statuses == {200: 3, 500: 3}
    assert whole.duration.count == 6
    left = since(whole, added(parts[0], parts[1]))
    assert (left.statuses, left.duration.counts) == (parts[2].statuses, parts[2].duration.counts)
    assert since(whole, whole).statuses == {}
    assert NOTHING.statuses == {}, "a shared value was changed"


def test_adding_coercions_changes_neither_side():
    one, other = {"a": {"x": 1}}, {"a": {"x": 2, "y": 1}}
    assert with_coercions(one, other) == {"a": {"x": 3, "y": 1}}
    assert (one, other) == ({"a": {"x": 1}}, {"a": {"x": 2, "y": 1}})


class Pool:
    def __init__(self, used, load):
        self.used, self.load = used, load

    @property
    def is_idle(self):
        return self.load == Load(0, 0)

    def take_activity(self):
        return self.used


def test_a_report_holds_what_came_and_what_is_under_way_and_survives_the_wire():
    meters = Meters()
    meters.count_connections = lambda: 7
    meters.note("busy", 200, answer(coercions={"x": {"overflow": 1}}), 0.01)
    meters.note_refused(401, "UNAUTHENTICATED")
    journal = JournalView(10, {"disk_full": 2}, 1, "no room")
    invoker = SimpleNamespace(
        meters=meters,
        pools={"busy": Pool(3, Load(2, 1)), "idle": Pool(0, Load(0, 0))},
        journal=SimpleNamespace(view=lambda: journal),
    )
    told = activity_of(1, invoker)
    (read,) = MessageReader(ToControl).feed(render_message(told))
    assert read == told
    assert (read.gateway, read.entities, read.load) == (1, {"busy": 3}, {"busy": Load(2, 1)})
    assert (read.open_connections, read.journal, read.refusals) == (7, journal, {401: {"UNAUTHENTICATED": 1}})
    assert read.counts["busy"].coercions == {"x": {"overflow": 1}}
    again = activity_of(1, invoker)
    assert (again.counts, again.refusals) == ({}, {})


def test_a_gateway_without_a_journal_says_nothing_of_one():
    assert activity_of(0, SimpleNamespace(meters=Meters(), pools={}, journal=None)).journal is None
