"""One connection of the public port, with a transport and a clock that are plain objects."""

import asyncio
import json
import re

import pytest
import uvicorn
from uvicorn.server import ServerState

from tallystick.gateway.http import HttpLimits, check_clocks, guarded

LIMITS = HttpLimits(max_body_bytes=10_000, max_connections=2)
HOST = b"Host: localhost\r\n"


class FakeTransport:
    def __init__(self):
        self.out = b""
        self.unread = 0  # bytes that the client has not taken
        self.is_closed = self.is_aborted = self.said_eof = self.is_paused = False

    def write(self, data):
        assert not self.is_closed, "written after close"
        assert not self.said_eof, "written after EOF"
        self.out += data

    def close(self):
        self.is_closed = True

    def abort(self):
        self.is_closed = self.is_aborted = True

    def is_closing(self):
        return self.is_closed

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.said_eof = True

    def pause_reading(self):
        self.is_paused = True

    def resume_reading(self):
        self.is_paused = False

    def get_write_buffer_size(self):
        return self.unread

    def get_extra_info(self, name):
        return None


class FakeLoop:
    """The running loop, with a time that is set and timers that are only kept."""

    def __init__(self):
        self.now = 1000.0
        self.timers = []

    def time(self):
        return self.now

    def call_later(self, delay_s, callback):
        handle = asyncio.get_running_loop().call_later(1e6, callback)
        self.timers.append(handle)
        return handle

    def __getattr__(self, name):
        return getattr(asyncio.get_running_loop(), name)


class App:
    """Answers with the path and the headers that it saw; `hold` keeps it from answering, `reads` is what it read."""

    def __init__(self):
        self.hold = asyncio.Event()
        self.hold.set()
        self.is_hasty = False
        self.seen = []
        self.left = 0

    async def __call__(self, scope, receive, send):
        body, more = b"", not self.is_hasty
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left += 1
                return
            body += message["body"]
            more = message["more_body"]
        await self.hold.wait()
        self.seen.append((scope["method"], scope["path"], body, dict(scope["headers"])))
        text = scope["path"].encode()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"%d" % len(text))],
            }
        )
        await send({"type": "http.response.body", "body": text})


class Bench:
    def __init__(self, limits=LIMITS):
        self.app, self.loop = App(), FakeLoop()
        self.kind = guarded(limits)
        self.config = uvicorn.Config(
            self.app, lifespan="off", ws="none", interface="asgi3", access_log=False, log_config=None
        )

    def connect(self):
        transport = FakeTransport()
        connection = self.kind(self.config, ServerState(), {}, self.loop)
        connection.connection_made(transport)
        return connection, transport

    def pass_time(self, seconds):
        self.loop.now += seconds
        check_clocks(self.kind.open_connections, self.loop.now)

    @property
    def idle_timers(self):
        return sum(not handle.cancelled() for handle in self.loop.timers)


@pytest.fixture
async def bench():
    return Bench()


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


def answers(transport):
    """Parse everything that was sent: (status, body) of each answer."""
    found, rest = [], transport.out
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        size = int(re.search(rb"content-length: (\d+)", head)[1])
        found.append((int(head.split()[1]), rest[:size]))
        rest = rest[size:]
    return found


def statuses(transport):
    return [status for status, _ in answers(transport)]


def post(path=b"/a", body=b"x", *headers):
    head = b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in headers)
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
BAD_HEAD = b"GET /b HTTP/1.1\r\n" + HOST + HOST + b"\r\n"


async def test_a_request_is_answered_and_the_connection_kept(bench):
    connection, transport = bench.connect()
    for piece in (GET[:7], GET[7:], post(b"/b", b"body")):
        connection.data_received(piece)
        await settle()
    assert answers(transport) == [(200, b"/a"), (200, b"/b")]
    assert not transport.is_closed
    assert bench.idle_timers == 1


async def test_a_refusal_is_in_our_shape_and_closes(bench):
    connection, transport = bench.connect()
    connection.data_received(BAD_HEAD)
    await settle()
    ((status, body),) = answers(transport)
    assert status == 400
    assert json.loads(body).keys() == {"error_code", "message"}
    assert b"connection: close" in transport.out
    assert re.search(rb"x-request-id: [0-9a-f]{32}", transport.out)
    assert bench.app.seen == []


@pytest.mark.parametrize("wrong", [BAD_HEAD, b"nonsense\r\n\r\n", b"GET " + b"/" * 9000, b"X-Y: " + b"z" * 70_000])
async def test_a_refusal_waits_for_the_answers_to_earlier_requests(bench, wrong):
    connection, transport = bench.connect()
    bench.app.hold.clear()
    connection.data_received(GET + post(b"/b") + wrong)
    await settle()
    assert transport.out == b"", "the refusal would be taken for the answer to /a"
    bench.pass_time(60)
    bench.app.hold.set()
    await settle()
    found = answers(transport)
    assert found[:2] == [(200, b"/a"), (200, b"/b")]
    assert len(found) == 3
    assert found[2][0] in (400, 414, 431)
    assert transport.said_eof or transport.is_closed


async def test_a_body_that_breaks_before_its_turn_is_refused_after_the_one_before_it(bench):
    connection, transport = bench.connect()
    bench.app.hold.clear()
    connection.data_received(GET + CHUNKED + b"0x1\r\n")
    await settle()
    assert transport.out == b""
    bench.app.hold.set()
    await settle()
    assert statuses(transport) == [200, 400]
    assert [path for _, path, _, _ in bench.app.seen] == ["/a"]


async def test_a_body_that_breaks_after_its_answer_gets_no_second_one(bench):
    connection, transport = bench.connect()
    bench.app.is_hasty = True
    connection.data_received(CHUNKED)
    await settle()
    assert statuses(transport) == [200]
    connection.data_received(b"0x1\r\n")
    await settle()
    assert statuses(transport) == [200]
    assert transport.said_eof or transport.is_closed


async def test_the_app_learns_at_once_that_its_request_was_refused(bench):
    connection, transport = bench.connect()
    connection.data_received(CHUNKED + b"1\r\na\r\n")
    await settle()
    connection.data_received(b"zz\r\n")
    await settle()
    assert bench.app.left == 1
    assert statuses(transport) == [400]


async def test_the_clock_stands_while_we_do_not_read(bench):
    connection, transport = bench.connect()
    bench.app.hold.clear()
    connection.data_received(GET)
    await settle()
    connection.data_received(post(b"/b", b"y" * 100)[:-50])
    await settle()
    assert transport.is_paused
    for _ in range(200):
        bench.pass_time(1)
    bench.app.hold.set()
    await settle()
    connection.data_received(b"y" * 50)
    await settle()
    assert answers(transport) == [(200, b"/a"), (200, b"/b")]


async def test_an_upgrade_is_not_taken_and_its_body_is_not_a_request(bench):
    """Otherwise the bytes of a body, which a proxy in front has passed as a body, are the next request."""
    connection, transport = bench.connect()
    inner = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
    request = post(b"/outer", inner, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAM")
    cut = len(request) - len(inner)
    connection.data_received(request[:cut])
    connection.data_received(request[cut:])
    connection.data_received(request + GET)
    await settle()
    assert [(path, body) for _, path, body, _ in bench.app.seen] == [("/outer", inner), ("/outer", inner), ("/a", b"")]
    assert statuses(transport) == [200, 200, 200]


async def test_a_chunked_body_survives_an_upgrade_that_is_not_taken(bench):
    connection, _ = bench.connect()
    asks = CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    for byte in asks + b"3\r\nabc\r\n0\r\n\r\n":
        connection.data_received(bytes([byte]))
    await settle()
    assert [body for _, _, body, _ in bench.app.seen] == [b"abc"]


async def test_trailers_are_no_headers(bench):
    connection, transport = bench.connect()
    connection.data_received(CHUNKED + b"1\r\na\r\n0\r\nAuthorization: Bearer x\r\nHost: evil\r\n\r\n" + GET)
    await settle()
    assert statuses(transport) == [200, 200]
    for _, _, _, headers in bench.app.seen:
        assert headers[b"host"] == b"localhost"
        assert b"authorization" not in headers


async def test_trailers_are_bounded(bench):
    connection, transport = bench.connect()
    connection.data_received(CHUNKED + b"0\r\n" + b"a: b\r\n" * 50_000)
    await settle()
    assert statuses(transport) == [431]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n", 400),
        (CHUNKED.replace(b"chunked", b"gzip, chunked"), 400),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
        (b"CONNECT localhost HTTP/1.1\r\n" + HOST + b"\r\n", 405),
        (b"GET http://evil/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET http://evil/ HTTP/1.0\r\n\r\n", 400),
        (b"GET http://localhost/a HTTP/1.1\r\n" + HOST + b"\r\n", 200),
        (b"GET http://localhost?x HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (post(body=b"x" * 10_001), 413),
        (CHUNKED + b"2711\r\n" + b"x" * 10_001, 413),
        (CHUNKED + b"1;" + b"e" * 80_000, 400),
    ],
)
async def test_what_is_ambiguous_or_too_large_is_refused(bench, request_bytes, status):
    connection, transport = bench.connect()
    connection.data_received(request_bytes)
    await settle()
    assert statuses(transport) == [status]


async def test_tiny_chunks_are_one_body_and_cannot_go_on_for_ever(bench):
    connection, transport = bench.connect()
    connection.data_received(CHUNKED + b"1\r\na\r\n" * 9_999 + b"0\r\n\r\n")
    await settle()
    assert bench.app.seen[0][2] == b"a" * 9_999
    connection.data_received(CHUNKED + b"1\r\na\r\n" * 40_000)
    await settle()
    assert statuses(transport) == [200, 413]


async def test_a_flood_of_requests_in_one_packet_is_cut(bench):
    connection, transport = bench.connect()
    connection.data_received(GET * 5000)
    await settle()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert len(bench.app.seen) == LIMITS.max_pipelined + 1
    assert statuses(transport) == [200] * (LIMITS.max_pipelined + 1) + [429]


async def test_no_bytes_are_closed_without_a_word(bench):
    _, transport = bench.connect()
    bench.pass_time(9.9)
    assert not transport.is_closed
    bench.pass_time(0.2)
    assert transport.is_closed
    assert transport.out == b""


async def test_a_header_that_drips_is_refused_in_time(bench):
    connection, transport = bench.connect()
    for byte in GET[:20]:
        connection.data_received(bytes([byte]))
        bench.pass_time(0.6)
    await settle()
    assert statuses(transport) == [408]


async def test_a_body_is_held_to_a_rate_and_a_time():
    bench = Bench(HttpLimits(max_body_bytes=1 << 20, max_connections=9))
    (slow, slow_out), (steady, steady_out) = bench.connect(), bench.connect()
    for connection in (slow, steady):
        connection.data_received(b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n")
    for second in range(1, 125):
        bench.loop.now += 1
        if not slow_out.said_eof:
            slow.data_received(b"x" * 100)
        if not steady_out.said_eof:
            steady.data_received(b"x" * 2000)
        check_clocks(bench.kind.open_connections, bench.loop.now)
        await settle()
        assert bool(slow_out.out) == (second > 11), second
        assert bool(steady_out.out) == (second > 120), second
    assert statuses(slow_out) == statuses(steady_out) == [408]


async def test_a_client_that_sends_on_is_heard_out_and_then_cut(bench):
    connection, transport = bench.connect()
    connection.data_received(b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999\r\n\r\n")
    await settle()
    assert statuses(transport) == [413]
    assert transport.said_eof
    assert not transport.is_closed
    for _ in range(9):
        connection.data_received(b"x" * 1_000_000)
        bench.pass_time(1)
    assert not transport.is_closed, "closed now, the client gets a reset instead of its answer"
    bench.pass_time(2)
    assert transport.is_aborted
    assert statuses(transport) == [413]


async def test_an_early_answer_with_close_is_heard_out_too(bench):
    connection, transport = bench.connect()
    bench.app.is_hasty = True
    connection.data_received(post(b"/a", b"x" * 5000, b"Connection: close")[:-4000])
    await settle()
    assert statuses(transport) == [200]
    assert transport.said_eof
    assert not transport.is_closed


async def test_a_shutdown_does_not_wait_for_those_who_send_on(bench):
    connection, transport = bench.connect()
    connection.data_received(BAD_HEAD)
    await settle()
    connection.shutdown()
    assert transport.is_closed
    late, late_transport = bench.connect()
    late.data_received(GET[:10])
    late.shutdown()
    assert late_transport.is_closed


async def test_a_connection_answered_before_its_body_was_in_still_ends_when_idle(bench):
    """uvicorn unsets its idle timer with the rest of the body, and never sets it again."""
    connection, transport = bench.connect()
    bench.app.is_hasty = True
    connection.data_received(post(b"/a", b"x" * 100)[:-50])
    await settle()
    assert statuses(transport) == [200]
    connection.data_received(b"x" * 50)
    await settle()
    assert bench.idle_timers == 1


async def test_expect_is_answered_once_read_and_such_a_connection_is_not_used_again(bench):
    connection, transport = bench.connect()
    request = post(b"/a", b"xyz", b"Expect: 100-continue")
    connection.data_received(request[:-3])
    await settle()
    assert transport.out == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.data_received(b"xyz")
    await settle()
    assert transport.out.count(b"200 OK") == 1
    assert transport.is_closed


async def test_a_client_that_reads_nothing_is_cut(bench):
    connection, transport = bench.connect()
    connection.data_received(GET)
    await settle()
    transport.unread = 50
    for _ in range(60):
        bench.pass_time(1)
    assert not transport.is_closed
    transport.unread = 20  # it read a little
    for _ in range(60):
        bench.pass_time(1)
    assert not transport.is_closed
    for _ in range(3):
        bench.pass_time(1)
    assert transport.is_aborted


async def test_connections_over_the_cap_are_told_and_a_flood_is_cut(bench):
    kept = [bench.connect() for _ in range(2)]
    told = [bench.connect() for _ in range(32)]
    cut = [bench.connect() for _ in range(5)]
    await settle()
    assert all(statuses(transport) == [503] for _, transport in told)
    assert all(transport.is_aborted and transport.out == b"" for _, transport in cut)
    for connection, _ in told + cut:
        connection.connection_lost(None)
    connection, transport = kept[0]
    connection.data_received(GET)
    await settle()
    assert statuses(transport) == [200]
    connection.connection_lost(None)
    _, transport = bench.connect()
    await settle()
    assert transport.out == b""


class Taker:
    """Takes every request and answers it at once."""

    def __init__(self):
        self.taken = 0

    def __call__(self, connection, cycle):
        self.taken += 1
        connection.respond(cycle, 200, [(b"content-length", b"2")], b"/t")
        return True


@pytest.fixture
def taker(bench):
    taker = Taker()
    bench.kind.take = lambda connection, cycle: taker(connection, cycle)
    return taker


async def test_who_reads_no_answers_gets_no_more_of_them(bench, taker):
    """Answers without a task wait for nobody: unread, they would pile up here as fast as requests come."""
    connection, transport = bench.connect()
    connection.data_received(post())
    await settle()
    connection.pause_writing()
    for _ in range(5):
        connection.data_received(post() * 10)
        await settle()
    assert taker.taken == 1
    assert transport.is_paused
    connection.resume_writing()
    for _ in range(20):
        await settle()
    assert len(answers(transport)) == 51


async def test_what_follows_a_close_is_not_taken(bench, taker):
    connection, transport = bench.connect()
    connection.data_received(post(b"/a", b"x", b"Connection: close") + post(b"/b"))
    await settle()
    assert taker.taken == 1
    assert bench.app.seen == []
    assert statuses(transport) == [200]
