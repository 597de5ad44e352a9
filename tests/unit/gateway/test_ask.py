"""Requests to one replica: to whom they are open, where they go, and what they leave alone."""

import asyncio
from types import SimpleNamespace

import msgspec
import pytest
from test_pool import Bench

from tallystick.auth import Principal
from tallystick.entities import SLOTS, Grant, Level
from tallystick.errors import EndpointNotFound, PermissionDenied, TemporarilyUnavailable, TooManyRequests
from tallystick.gateway.app import App
from tallystick.gateway.call import Call
from tallystick.gateway.pool import MAX_ASKED
from tallystick.gateway.replica import ReplicaLink
from tallystick.gateway.routing import Routes
from tallystick.protocol.frame import FrameReader, Hello, Invoke
from tallystick.protocol.routes import EndpointRoute, EndpointState, EntityRoute, Replica, RouteTable

ADMIN = Principal("admin", is_admin=True)


def entity(id, name, share=0):
    return EntityRoute(id, name, "m", "1", share, (), 4, 4, 60.0)


def routes(grants=(), state=EndpointState.SERVING):
    endpoint = EndpointRoute(
        "id",
        "churn",
        "ann",
        state,
        1,
        (entity("a", "m-1", SLOTS),),
        grants,
        pending=(entity("b", "m-2"), entity("c", "m-1")),
    )
    return Routes.compile(RouteTable(1, {"churn": endpoint}))


def test_those_who_manage_reach_what_is_not_routed_yet():
    table = routes()
    assert [found.id for found in table.find_entities("churn", "m-2", ADMIN)] == ["b"]
    assert [found.id for found in table.find_entities("churn", "m-1", ADMIN)] == ["a", "c"]
    with pytest.raises(EndpointNotFound, match="m-9"):
        table.find_entities("churn", "m-9", ADMIN)


class Unasked:
    """A gateway whose invocations nobody should reach here."""

    def __init__(self):
        self.register = SimpleNamespace(refused=lambda *_: None)

    def new_request_id(self):
        return "r1"

    def begin(self, *_):
        raise AssertionError("answered without the replica that was asked for")

    async def invoke(self, *_):
        raise AssertionError("answered without the replica that was asked for")


@pytest.mark.parametrize("header", [b"x-tallystick-replica", b"x-tallystick-trace"])
@pytest.mark.parametrize("path", ["/serving-endpoints/churn/invocations", "/invocations"])
def test_one_replica_cannot_be_asked_for_where_it_is_drawn(header, path):
    sent = []
    headers = [(b"host", b"localhost"), (header, b"0")]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "headers": headers}
    app = App(Unasked(), None, frozenset())

    async def send(message):
        sent.append(message)

    assert app.take(None, SimpleNamespace(scope=scope, body=b"{}")) is False
    asyncio.run(app(scope, None, send))
    body = msgspec.json.decode(sent[1]["body"])
    assert (sent[0]["status"], body["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "/served-models/<served entity>/invocations" in body["message"]


def test_what_is_not_routed_yet_takes_no_invocations():
    endpoint = routes().find("churn", ADMIN)
    assert set(endpoint.by_name) == {"m-1"}
    assert [drawn.id for drawn in endpoint.drawn] == ["a"]


@pytest.mark.parametrize("level", [Level.CAN_VIEW, Level.CAN_QUERY])
def test_others_are_refused(level):
    table = routes((Grant("user_name", "bob", level),))
    with pytest.raises(PermissionDenied, match="may not"):
        table.find_entities("churn", "m-1", Principal("bob"))
    with pytest.raises(EndpointNotFound):
        table.find_entities("churn", "m-1", Principal("eve"))
    assert table.find_entities("churn", "m-1", Principal("ann"))


def new_call(number, deadline=1e12):
    return Call(number, Invoke("", "", 60.0, False, "id"), b"{}", deadline)


def asked(bench, replica, number=1):
    call = new_call(number)
    bench.pool.submit_to(call, replica)
    return call


async def test_a_call_goes_to_its_replica_however_busy_that_is():
    bench = Bench(workers=2)
    first, second = bench.links
    for number in range(10, 12):
        asked(bench, "r1", number)
    waiting = asked(bench, "r1", 12)
    assert (first.sent, len(second.in_flight)) == ([], 2)
    second.answer(10)
    assert 12 in second.in_flight
    assert not waiting.is_over


async def test_an_ordinary_call_does_not_wait_behind_one_that_is_asked_of_a_busy_replica():
    bench = Bench(workers=2)
    for number in range(10, 13):
        asked(bench, "r1", number)
    bench.pool.submit(new_call(20))
    assert 20 in bench.links[0].in_flight


async def test_there_is_no_such_replica():
    bench = Bench(workers=2)
    with pytest.raises(EndpointNotFound, match="r0, r1"):
        asked(bench, "r7")


async def test_a_replica_that_ends_hands_its_call_to_nobody_else():
    bench = Bench(workers=2)
    call = asked(bench, "r1")
    bench.links[1].die(ran=(1,))
    with pytest.raises(TemporarilyUnavailable, match="ended before it answered"):
        await call.answer
    assert bench.links[0].sent == []


async def test_a_sleeping_replica_is_woken_and_a_deadline_is_kept():
    bench = Bench(workers=1)
    bench.links[0].hello = None
    call = asked(bench, "r0")
    assert bench.woken == ["r0"]
    bench.pool.tick(1e13)
    assert call.is_over


async def test_few_wait_at_a_time():
    bench = Bench(workers=1)
    bench.links[0].hello = None
    for number in range(MAX_ASKED):
        asked(bench, "r0", number)
    with pytest.raises(TooManyRequests):
        asked(bench, "r0", 999)


async def test_a_trace_stays_one_however_long_it_waited():
    link = ReplicaLink(
        Replica("r0", "/nowhere", "/nowhere"), 1, on_room=lambda: None, on_lost=lambda *_: None, is_wanted=lambda: False
    )

    class Wire:
        def __init__(self):
            self.sent = b""

        def write(self, data):
            self.sent += data

        def close(self):
            pass

    link.hello, link._transport = Hello(1, 4, True), Wire()
    now = asyncio.get_running_loop().time()
    late = Call(1, Invoke("text/csv", "", 60.0, False, "id", trace="golden"), b"x", now + 5.0)
    link.send(late, now)
    ((_, _, meta, _),) = FrameReader().feed(link._transport.sent)
    assert msgspec.msgpack.decode(meta, type=Invoke).trace == "golden"
    link.close()
