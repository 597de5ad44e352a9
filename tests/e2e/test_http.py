"""HTTP as nobody should send it, over raw sockets, and what a server must make of it.

The rows of the table are those on which Python's servers differ from each other; a server that takes two readings of
one request for possible is how one client's request becomes another's answer. Clocks that take seconds all run at
one time, in one test.
"""

import contextlib
import json
import re
import socket
import threading
import time

import pytest
from running import eventually

HOST = b"Host: localhost\r\n"
PING = b"GET /ping HTTP/1.1\r\n" + HOST + b"\r\n"
BYE = b"GET /version HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"


class Wire:
    """A raw connection: bytes out, answers in."""

    def __init__(self, server, timeout_s=8.0):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=timeout_s)
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Send all that the server takes."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)
        return self

    def more(self):
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self.rest += data
        return bool(data)

    def answer(self, method="GET"):
        """Return (status, headers, body) of the next answer; None when the connection ended instead."""
        while b"\r\n\r\n" not in self.rest:
            if not self.more():
                assert not self.rest, f"half an answer: {self.rest[:200]}"
                return None
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        assert re.fullmatch(r"HTTP/1\.1 \d{3} [\w -]+", first), first
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        size = int(headers.get("content-length", 0)) if method != "HEAD" else 0
        while len(self.rest) < size:
            assert self.more(), "half a body"
        body, self.rest = self.rest[:size], self.rest[size:]
        return int(first.split()[1]), headers, body

    def status(self):
        found = self.answer()
        return found and found[0]

    def is_closed(self):
        return not self.rest and not self.more()


def invocation(server, body, *lines, path="/serving-endpoints/cancer/invocations", length=True):
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {server.token}", *lines]
    head += ["Content-Type: application/json"] + ([f"Content-Length: {len(body)}"] if length else [])
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def chunks(body, size):
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def assert_refused(answer, *statuses):
    assert answer is not None, "closed without a word"
    status, headers, body = answer
    assert status in statuses, answer
    assert json.loads(body).keys() == {"error_code", "message"}
    assert headers["x-request-id"]
    assert len(body) < 4096


@pytest.fixture(scope="module")
def rows(registry):
    return json.dumps({"dataframe_split": registry.frame.head(2).to_dict("split", index=False)}).encode()


def head(*lines, target=b"/ping", method=b"GET", version=b"1.1", host=HOST):
    return (
        method + b" " + target + b" HTTP/" + version + b"\r\n" + host + b"".join(x + b"\r\n" for x in lines) + b"\r\n"
    )


CHUNKED = b"Transfer-Encoding: chunked"
REFUSED = {
    "length and chunked": (head(b"Content-Length: 4", CHUNKED, method=b"POST") + b"0\r\n\r\n", 400),
    "chunked and length": (head(CHUNKED, b"Content-Length: 4", method=b"POST") + b"0\r\n\r\n", 400),
    "length 5, 5": (head(b"Content-Length: 5, 5", method=b"POST") + b"hello", 400),
    "two lengths": (head(b"Content-Length: 5", b"Content-Length: 5", method=b"POST") + b"hello", 400),
    "two lengths that differ": (head(b"Content-Length: 5", b"Content-Length: 6", method=b"POST") + b"hello", 400),
    "length -1": (head(b"Content-Length: -1", method=b"POST"), 400),
    "length +5": (head(b"Content-Length: +5", method=b"POST") + b"hello", 400),
    "length 0x5": (head(b"Content-Length: 0x5", method=b"POST") + b"hello", 400),
    "length 1_0": (head(b"Content-Length: 1_0", method=b"POST") + b"hello", 400),
    "length of 30 digits": (head(b"Content-Length: " + b"9" * 30, method=b"POST"), 400),
    "length of 5000 digits": (head(b"Content-Length: " + b"9" * 5000, method=b"POST"), 400),
    "length with a tab in it": (head(b"Content-Length: 1\t0", method=b"POST") + b"hello", 400),
    "no length": (head(b"Content-Length: ", method=b"POST"), 400),
    "gzip, chunked": (head(b"Transfer-Encoding: gzip, chunked", method=b"POST") + b"0\r\n\r\n", 400),
    "chunked, identity": (head(b"Transfer-Encoding: chunked, identity", method=b"POST") + b"0\r\n\r\n", 400),
    "xchunked": (head(b"Transfer-Encoding: xchunked", method=b"POST") + b"0\r\n\r\n", 400),
    "chunked twice": (head(CHUNKED, CHUNKED, method=b"POST") + b"0\r\n\r\n", 400),
    "chunked in 1.0": (head(CHUNKED, method=b"POST", version=b"1.0") + b"0\r\n\r\n", 400),
    "space before the colon": (head(b"Transfer-Encoding : chunked", method=b"POST") + b"0\r\n\r\n", 400),
    "folded header": (head(b"X-A: 1\r\n  2"), 400),
    "folded coding": (head(b"Transfer-Encoding:\r\n chunked", method=b"POST") + b"0\r\n\r\n", 400),
    "bare LF": (b"GET /ping HTTP/1.1\nHost: localhost\n\n", 400),
    "bare LF after one header": (head(b"X-A: 1\nX-B: 2"), 400),
    "bare CR in a header": (head(b"X-A: 1\rX-B: 2"), 400),
    "chunk size 0x1": (head(CHUNKED, method=b"POST") + b"0x1\r\na\r\n0\r\n\r\n", 400),
    "chunk size -1": (head(CHUNKED, method=b"POST") + b"-1\r\na\r\n0\r\n\r\n", 400),
    "chunk size of 17 digits": (head(CHUNKED, method=b"POST") + b"1" * 17 + b"\r\n", 400),
    "chunk size with a space": (head(CHUNKED, method=b"POST") + b"1 \r\na\r\n0\r\n\r\n", 400),
    "chunk with bare LF": (head(CHUNKED, method=b"POST") + b"1\na\n0\n\n", 400),
    "chunk longer than it says": (head(CHUNKED, method=b"POST") + b"1\r\nabc\r\n0\r\n\r\n", 400),
    "two hosts": (head(HOST.strip()), 400),
    "two hosts that differ": (head(b"Host: evil"), 400),
    "no host": (head(host=b""), 400),
    "empty host": (head(host=b"Host: \r\n"), 403),
    "host with a user": (head(host=b"Host: localhost:80@evil\r\n"), 403),
    "host with a path": (head(host=b"Host: localhost/evil\r\n"), 403),
    "foreign host": (head(host=b"Host: evil.example\r\n"), 403),
    "NUL in a header": (head(b"X-A: 1\x002"), 400),
    "control character in a header": (head(b"X-A: 1\x012"), 400),
    "vertical tab in a header": (head(b"X-A: 1\x0b2"), 400),
    "DEL in a header": (head(b"X-A: 1\x7f2"), 400),
    "no header name": (head(b": 1"), 400),
    "no colon": (head(b"X-A"), 400),
    "header of 2 MB": (head(b"X-A: " + b"a" * 2_000_000), 431),
    "header name of 2 MB": (head(b"a" * 2_000_000 + b": 1"), 431),
    "10,000 headers": (head(*[b"X-%d: 1" % n for n in range(10_000)]), 431),
    "40,000 trailers": (head(CHUNKED, method=b"POST") + b"0\r\n" + b"a: b\r\n" * 40_000 + b"\r\n", 431),
    "URL of 64 KB": (head(target=b"/" + b"a" * 65_536), 414),
    "query of 64 KB": (head(target=b"/ping?" + b"a" * 65_536), 414),
    "unknown method": (head(method=b"BREW"), 400),
    "method in lower case": (head(method=b"get"), 400),
    "CONNECT": (head(method=b"CONNECT", target=b"evil.example:443"), 405),
    "method of 1 MB": (b"A" * 1_000_000, 400),
    "version 2.0": (head(version=b"2.0"), 400),
    "version 1.2": (head(version=b"1.2"), 400),
    "version 0.9": (b"GET /ping\r\n\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, 400),
    "noise": (bytes(range(256)) * 20, 400),
    "space in the URL": (head(target=b"/pi ng"), 400),
    "control character in the URL": (head(target=b"/pi\x01ng"), 400),
    "high byte in the URL": (head(target=b"/pi\xffng"), 400),
    "target of another host": (head(target=b"http://evil.example/ping"), 400),
    "target of no host": (head(target=b"ping"), 400),
    "a body of 17 MB announced": (head(b"Content-Length: 17000000", method=b"POST"), 413),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_http_is_refused_and_the_connection_closed(server, case):
    request, status = REFUSED[case]
    with Wire(server) as wire:
        # The one that follows must get no answer: where it begins is what the two readings differ in.
        wire.send(request + (BYE if status != 403 else b""))
        assert_refused(wire.answer(), status)
        if status == 403:
            wire.send(BYE)
            assert wire.status() == 200
        else:
            assert wire.is_closed()


def test_the_target_may_be_absolute(server):
    with Wire(server) as wire:
        assert wire.send(head(target=b"http://localhost/ping")).status() == 200


def test_requests_in_one_packet_are_answered_in_order(server, cancer, rows):
    asked = [PING, invocation(server, rows), head(target=b"/version"), invocation(server, b"{}"), PING] * 8
    with Wire(server) as wire:
        wire.send(b"".join(asked))
        found = [wire.status() for _ in asked]
    assert found == [200, 200, 200, 400, 200] * 8


def test_an_answer_under_way_comes_before_the_refusal_of_what_follows(server, cancer, rows):
    with Wire(server) as wire:
        wire.send(invocation(server, rows) + head(b"Host: evil"))
        assert wire.status() == 200
        assert_refused(wire.answer(), 400)
        assert wire.is_closed()


def test_after_close_nothing_is_answered(server):
    with Wire(server) as wire:
        wire.send(BYE + PING)
        assert wire.status() == 200
        assert wire.is_closed()


def test_the_body_of_a_refused_request_is_not_the_next_request(server):
    inner = head(target=b"/version")
    with Wire(server) as wire:
        wire.send(head(b"Content-Length: %d" % len(inner), method=b"POST", target=b"/serving-endpoints/x/invocations"))
        assert wire.status() == 401
        wire.send(inner + PING)
        assert wire.answer()[2] == b"\n"


def test_the_body_of_a_request_for_an_upgrade_is_a_body(server, cancer, rows):
    """Java's client asks for HTTP/2 in this way, with its first POST."""
    asks = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"]
    request = invocation(server, rows, *asks)
    with Wire(server) as wire:
        wire.send(request[: -len(rows)])
        time.sleep(0.05)
        wire.send(rows + request + PING)
        assert [wire.status(), wire.status(), wire.status()] == [200, 200, 200]
        inner = head(target=b"/version")
        wire.send(invocation(server, inner, *asks) + PING)
        assert_refused(wire.answer(), 400)
        assert wire.answer()[2] == b"\n"


def test_trailers_grant_nothing(server):
    path = "/serving-endpoints/cancer/invocations"
    trailer = f"Authorization: Bearer {server.token}\r\n\r\n".encode()
    with Wire(server) as wire:
        wire.send(head(CHUNKED, method=b"POST", target=path.encode()) + b"2\r\n{}\r\n0\r\n" + trailer)
        assert wire.status() == 401
        wire.send(head(method=b"POST", target=path.encode()))
        assert wire.status() == 401


def test_expect_is_heeded(server, cancer, rows):
    request = invocation(server, rows, "Expect: 100-continue")
    with Wire(server) as wire:
        wire.send(request[: -len(rows)])
        assert wire.answer()[0] == 100
        wire.send(rows)
        assert wire.status() == 200
    with Wire(server) as wire:
        # The client may leave its body out now; what it sends next must not be taken for that body.
        wire.send(request[: -len(rows)].replace(server.token.encode(), b"wrong"))
        assert_refused(wire.answer(), 401)
        assert wire.is_closed()


def test_head_has_no_body(server):
    with Wire(server) as wire:
        wire.send(head(method=b"HEAD") + head(method=b"HEAD", target=b"/api/2.0/serving-endpoints") + PING)
        assert wire.answer("HEAD")[0] == 200
        assert wire.answer("HEAD")[0] in (401, 405)
        assert wire.answer()[2] == b"\n"


def test_http_1_0_is_answered_and_closed(server):
    with Wire(server) as wire:
        assert wire.send(head(version=b"1.0") + PING).status() == 200
        assert wire.is_closed()
    with Wire(server) as wire:
        assert_refused(wire.send(head(version=b"1.0", host=b"")).answer(), 403)


def test_a_body_in_70_000_chunks_is_a_body(server, cancer, rows):
    body = rows + b" " * (70_000 - len(rows))
    began = time.monotonic()
    with Wire(server, 20) as wire:
        wire.send(invocation(server, b"", "Transfer-Encoding: chunked", length=False) + chunks(body, 1))
        assert wire.status() == 200
    assert time.monotonic() - began < 5
    assert server.http.get("/ping").status_code == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        head(b"Content-Length: 40000000", method=b"POST") + b"x" * 40_000_000,
        head(CHUNKED, method=b"POST") + chunks(b"x" * 40_000_000, 1 << 20),
    ],
    ids=["announced", "chunked"],
)
def test_a_client_that_sends_too_much_gets_to_read_why(server, cancer, request_bytes):
    """Closed on while it sends, it would get a reset, and MLflow's client would send everything again."""
    path = b"/serving-endpoints/cancer/invocations"
    token = b"Authorization: Bearer " + server.token.encode() + b"\r\n"
    request_bytes = request_bytes.replace(b"/ping", path, 1).replace(HOST, HOST + token, 1)
    with Wire(server, 20) as wire:
        wire.socket.sendall(request_bytes)  # must not fail
        assert_refused(wire.answer(), 413)
        assert wire.is_closed()


def test_leaving_in_the_middle_leaves_nothing_half_done(server):
    before = server.http.get("/api/2.0/serving-endpoints").json()
    body = json.dumps({"name": "half", "config": {"served_entities": [{"entity_name": "cancer", "entity_version": 1}]}})
    for cut in (0, 1, len(body) - 1):
        with Wire(server) as wire:
            request = invocation(server, body.encode(), path="/api/2.0/serving-endpoints")
            wire.send(request[: len(request) - len(body) + cut])
            time.sleep(0.05)
    time.sleep(0.2)
    assert server.http.get("/api/2.0/serving-endpoints").json() == before


def test_clients_that_stall_are_closed_in_time_and_others_do_not_notice(server, cancer, rows):
    """Waits for the real clocks, ten seconds, of all cases at once: nothing else shows that the sweep runs."""
    found, went_wrong = {}, []

    def run(name, first, drip, gap_s, statuses):
        try:
            with Wire(server, 0.05) as wire:
                wire.send(first)
                began = last = time.monotonic()
                while time.monotonic() - began < 16:
                    with contextlib.suppress(TimeoutError):
                        if not wire.more():
                            break
                    if drip and time.monotonic() - last > gap_s and not wire.rest:
                        last = time.monotonic()
                        wire.send(drip)
                found[name] = took = time.monotonic() - began
                got = int(wire.rest.split()[1]) if wire.rest else None
                assert got in statuses, f"{name}: {wire.rest[:200]}"
                assert 8.5 < took < 13.5, f"{name}: {took}"
        except Exception as error:
            went_wrong.append(f"{name}: {error!r}")

    short = invocation(server, rows)[:-10]
    cases = [
        ("no bytes", b"", b"", 9, [None]),
        ("empty lines", b"\r\n", b"\r\n", 2, [None]),
        ("half a request line", b"GET /pi", b"", 9, [408]),
        ("half a header", PING[:-10], b"", 9, [408]),
        ("a header that drips", PING[:20], b"a", 0.5, [408]),
        ("a header that drips in lines", PING[:-2], b"X: y\r\n", 0.5, [408]),
        ("a body that ends early", short, b"", 9, [408]),
        ("a body that drips", short.replace(b"Content-Length: ", b"Content-Length: 9"), b" ", 0.5, [408]),
        ("a chunk that drips", head(CHUNKED, method=b"POST", target=b"/x") + b"ffff\r\n", b" ", 0.5, [408]),
        ("a chunk extension that drips", head(CHUNKED, method=b"POST", target=b"/x") + b"1;", b"e" * 999, 0.1, [408]),
        ("a second request that stalls", PING + PING[:9], b"", 9, [200]),
    ]
    threads = [threading.Thread(target=run, args=case) for case in cases]
    for thread in threads:
        thread.start()
    slowest = 0.0
    while any(thread.is_alive() for thread in threads):
        began = time.monotonic()
        assert server.invoke(cancer, content=rows, headers={"Content-Type": "application/json"}).status_code == 200
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.05)
    assert not went_wrong, went_wrong
    assert len(found) == len(cases)
    assert slowest < 2


def test_more_connections_than_the_cap_are_told_and_the_server_recovers(own_server):
    server = own_server("--max-connections", "30", "--gateways", "1")
    log_before = server.log.tell()
    server.http.get("/ping")
    wires = [Wire(server, 3) for _ in range(200)]
    told = cut = 0
    for wire in wires[29:]:
        wire.send(PING)
        answer = wire.answer()
        if answer is None:
            cut += 1
        else:
            assert_refused(answer, 503)
            assert answer[1]["retry-after"] == "1"
            told += 1
    assert told >= 30
    assert told + cut == 171
    # Those that are in are served, and there is room as soon as somebody leaves.
    assert wires[5].send(PING).status() == 200
    for wire in wires:
        wire.socket.close()
    began = time.monotonic()
    eventually(lambda: _pings(server), 5)
    assert time.monotonic() - began < 3
    log = (server.data_dir.parent / f"{server.data_dir.name}.log").read_text()[log_before:]
    assert log.count("\n") < 10, log


def _pings(server):
    with Wire(server) as wire:
        return wire.send(PING).status() == 200
