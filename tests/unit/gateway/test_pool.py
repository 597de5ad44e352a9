"""The pool's decisions, with workers that are plain objects and a clock that stands still."""

import asyncio

import pytest

from tallystick.errors import DeadlineExceeded, InvalidParameter, TemporarilyUnavailable, TooManyRequests
from tallystick.gateway.call import Call
from tallystick.gateway.pool import EntityPool
from tallystick.protocol.frame import Answer, Hello, Invoke
from tallystick.protocol.routes import EntityRoute, Load, Replica


class FakeLink:
    def __init__(self, replica, shared_by, *, on_room, on_lost, is_wanted):
        self.replica, self.on_room, self.on_lost = replica, on_room, on_lost
        self.hello = Hello(100, 2, True)
        self.in_flight = {}
        self.orphans = {}
        self.unheard_since = 0.0
        self.heard_at = 0.0
        self.condemned_at = 0.0
        self.is_silent = False
        self.runs = frozenset()
        self.is_retired = False
        self.sent = []

    @property
    def room(self):
        return (
            0
            if self.hello is None or self.condemned_at or self.is_silent or self.is_retired
            else 2 - len(self.in_flight) - len(self.orphans)
        )

    @property
    def is_empty(self):
        return not self.in_flight and not self.orphans

    def nudge(self):
        pass

    def send(self, call, now):
        call.link = self
        self.in_flight[call.number] = call
        self.sent.append((call.number, call.alone))

    def forget(self, call):
        if self.in_flight.pop(call.number, None):
            self.orphans[call.number] = call.deadline
        call.link = None

    def running(self):
        return self.runs & (self.in_flight.keys() | self.orphans.keys())

    def retire(self):
        self.is_retired = True

    def answer(self, number):
        self.is_silent = False
        self.in_flight.pop(number).finish(Answer(200, "application/json"), b"{}")
        self.on_room()

    def die(self, ran=()):
        calls, self.in_flight, self.orphans = list(self.in_flight.values()), {}, {}
        self.hello = None
        for call in calls:
            call.link = None
        self.on_lost(self, calls, frozenset(ran))


class Bench:
    def __init__(self, workers=2, concurrency=4, queue=4):
        self.links, self.woken, self.killed = [], [], []
        replicas = tuple(Replica(f"r{n}", f"/s{n}", f"/b{n}") for n in range(workers))
        route = EntityRoute("e", "churn-1", "churn", "1", 10_000, replicas, concurrency, queue, 60.0)
        self.pool = EntityPool(
            route,
            gateways=1,
            wake_wait_s=20,
            wake=self.woken.append,
            kill=lambda *a: self.killed.append(a),
            connect=self.connect,
        )
        self.number = 0

    def connect(self, *args, **kwargs):
        self.links.append(FakeLink(*args, **kwargs))
        return self.links[-1]

    def call(self, body=b"{}", deadline=1e12):
        self.number += 1
        call = Call(self.number, Invoke("", "", 60.0, False, "id"), body, deadline)
        self.pool.submit(call)
        return call


async def test_calls_go_to_the_least_busy_worker_and_wait_when_none_has_room():
    bench = Bench()
    calls = [bench.call() for _ in range(5)]
    assert [len(link.in_flight) for link in bench.links] == [2, 2]
    bench.links[1].answer(calls[1].number)
    assert calls[1].answer.result()[0].status == 200
    assert calls[4].link is bench.links[1]


async def test_a_full_queue_refuses_with_the_limit_named():
    bench = Bench(concurrency=2, queue=1)
    for _ in range(3):
        bench.call()
    with pytest.raises(TooManyRequests, match="3 are running or waiting") as refused:
        bench.call()
    assert refused.value.retry_after_s == 1


async def test_a_place_in_the_queue_is_free_again_when_its_caller_leaves():
    bench = Bench(concurrency=1, queue=0)
    bench.call().abandon()
    bench.call()


async def test_a_dead_workers_calls_go_to_the_other_those_it_ran_alone():
    bench = Bench()
    held = [bench.call() for _ in range(2)]  # one on each
    ran, waited = held[0], bench.call()
    first, second = bench.links
    assert {ran.number, waited.number} == set(first.in_flight)
    first.die(ran=[ran.number])
    second.answer(held[1].number)
    assert not ran.is_over
    assert not waited.is_over
    assert (ran.number, True) in second.sent
    assert (waited.number, False) in second.sent


async def test_a_call_that_ends_two_workers_is_refused_and_so_is_its_body_after_that():
    bench = Bench()
    bad = bench.call(b"poison")
    bench.links[0].die(ran=[bad.number])
    bench.links[1].die(ran=[bad.number])
    with pytest.raises(InvalidParameter, match="ended the process"):
        bad.answer.result()
    with pytest.raises(InvalidParameter):
        bench.call(b"poison")
    bench.call(b"other")


async def test_a_call_that_only_waited_is_never_blamed():
    bench = Bench()
    call = bench.call(b"innocent")
    for _ in range(5):
        link = call.link
        link.die(ran=[])
        link.hello = Hello(1, 2, True)
        bench.pool.tick(0.0)
    assert not call.is_over


async def test_a_call_past_its_deadline_is_cut_and_the_worker_that_runs_it_killed():
    bench = Bench(workers=1)
    call, neighbour = bench.call(deadline=10.0), bench.call()
    bench.links[0].runs = frozenset([call.number, neighbour.number])
    bench.pool.tick(9.9)
    assert not call.is_over
    bench.links[0].heard_at = 0.0
    bench.pool.tick(10.0)
    with pytest.raises(DeadlineExceeded):
        call.answer.result()
    assert not neighbour.is_over
    assert bench.killed == [("r0", 100, "it ran an invocation past its deadline")]


async def test_what_waits_behind_a_silent_worker_moves_to_another():
    bench = Bench()
    bench.call()
    hung, waiting = bench.call(), None
    link = hung.link
    other = next(each for each in bench.links if each is not link)
    other.answer(next(iter(other.in_flight)))
    waiting = Call(99, Invoke("", "", 60.0, False, "id"), b"{}", 1e12)
    waiting.on_over = bench.pool._over
    bench.pool._open += 1
    link.send(waiting, 0.0)
    link.runs = frozenset([hung.number])
    bench.pool.tick(0.5)
    assert waiting.link is link
    bench.pool.tick(1.5)
    assert waiting.link is other
    assert hung.link is link, "a call that runs alone is its own reason"


async def test_neighbours_in_a_silent_batch_are_run_again_alone_once():
    bench = Bench()
    for number in (90, 91):
        call = Call(number, Invoke("", "", 60.0, False, "id"), b"{}", 1e12)
        call.on_over = bench.pool._over
        bench.pool._open += 1
        bench.links[0].send(call, 0.0)
    bench.links[0].runs = frozenset([90, 91])
    bench.pool.tick(1.5)
    assert bench.links[1].sent == [(90, True)], "alone means that nothing else is with the worker"
    bench.links[1].answer(90)
    assert bench.links[1].sent == [(90, True), (91, True)]


async def test_a_worker_that_hangs_is_killed_though_its_caller_has_left():
    bench = Bench(workers=1)
    call = bench.call(deadline=10.0)
    bench.links[0].runs = frozenset([call.number])
    call.abandon()
    bench.pool.tick(9.9)
    assert not bench.killed
    bench.pool.tick(10.1)
    assert [kill[0] for kill in bench.killed] == ["r0"]


async def test_a_call_that_nobody_waits_for_still_takes_its_place_with_the_worker():
    bench = Bench(workers=1)
    bench.call().abandon()
    bench.call()
    assert bench.call().link is None


async def test_calls_of_a_pool_that_is_no_longer_routed_are_told_when_its_worker_dies():
    bench = Bench(workers=1)
    call = bench.call()
    bench.pool.retire()
    bench.links[0].die()
    with pytest.raises(TemporarilyUnavailable):
        call.answer.result()


async def test_a_connection_that_never_says_hello_is_a_reason_to_kill():
    bench = Bench(workers=1)
    bench.links[0].hello, bench.links[0].unheard_since = None, 5.0
    bench.pool.tick(60.0)
    assert not bench.killed
    bench.pool.tick(67.0)
    assert bench.killed == [("r0", 0, "it accepts connections and does not answer")]


async def test_a_slow_model_is_not_taken_for_a_silent_one():
    bench = Bench()
    bench.pool.note_answer(Answer(200, "", model_ms=3000.0))
    bench.call()
    link = bench.links[0]
    second = Call(99, Invoke("", "", 60.0, False, "id"), b"{}", 1e12)
    second.on_over = bench.pool._over
    bench.pool._open += 1
    link.send(second, 0.0)
    bench.pool.tick(5.0)
    assert second.link is link


async def test_without_a_worker_somebody_is_woken_and_in_the_end_the_caller_told():
    bench = Bench(workers=1)
    bench.links[0].hello = None
    call = bench.call()
    assert bench.woken == ["r0"]
    now = asyncio.get_running_loop().time()
    bench.pool.tick(now + 19)
    assert not call.is_over
    bench.pool.tick(now + 21)
    with pytest.raises(TemporarilyUnavailable) as told:
        call.answer.result()
    assert told.value.retry_after_s == 5


async def test_an_answer_after_the_caller_left_is_dropped():
    bench = Bench()
    call = bench.call()
    link = call.link
    call.abandon()
    assert call.number not in link.in_flight
    call.finish(Answer(200, ""), b"late")
    assert call.answer.cancelled()


async def test_workers_gone_from_the_route_are_let_go_and_new_ones_taken():
    bench = Bench(workers=2)
    kept, gone = bench.links
    route = bench.pool.route
    new = Replica("r9", "/s9", "/b9")
    changed = EntityRoute("e", "churn-1", "churn", "1", 10_000, (route.replicas[0], new), 4, 4, 60.0)
    bench.pool.update(changed)
    assert gone.is_retired
    assert not kept.is_retired
    assert bench.links[-1].replica.id == "r9"


async def test_load_tells_what_workers_have_from_what_waits():
    bench = Bench()
    calls = [bench.call() for _ in range(5)]
    assert bench.pool.load == Load(4, 1)
    bench.links[0].answer(calls[0].number)
    assert bench.pool.load == Load(4, 0)
    for call in calls:
        call.abandon()
    assert bench.pool.load == Load(0, 0)
    assert bench.pool.is_idle
