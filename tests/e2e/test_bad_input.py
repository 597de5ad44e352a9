"""Bytes in, clear error out: no input crashes, hangs or bloats a process, and no answer tells what it should not.

Every test here ends with a look at the processes: the same pids as before, and no more memory than is sensible.
"""

import gzip
import json
import random
import re
import time
import zlib
from pathlib import Path

import httpx
import pytest
from test_http import Wire, assert_refused, chunks, invocation

from tallystick.gateway.answers import render_coercions, render_ignored

JSON = {"Content-Type": "application/json"}
MIB = 1 << 20
#: What no answer may hold: a trace, a path, a module.
TELLTALES = ("Traceback", str(Path.cwd()), "/home", "/root", "/tmp", "site-packages", 'File "', ".py")
#: 16 MiB of JSON may stand for some 400 MB of objects for a moment; what is left afterwards is the allocator's.
BLOAT_BYTES = 700 * MIB


@pytest.fixture(scope="module")
def processes(server, cancer):
    """Return name -> pid of everything that a request to `cancer` meets."""
    ids = [entity["id"] for entity in server.api("GET", f"/{cancer}")["config"]["served_entities"]]
    for entity in ("cancer-1", "cancer-2"):
        server.invoke(cancer, entity=entity)  # nobody sleeps

    def find():
        workers = {view["id"]: view["pid"] for each in ids for view in server.workers(each)}
        return server.children() | workers

    return find


@pytest.fixture(scope="module")
def first_memory(processes):
    return {name: rss(pid) for name, pid in processes().items()}


@pytest.fixture(autouse=True)
def unharmed(server, processes, first_memory):
    before = processes()
    yield
    assert processes() == before, "a process ended"
    grown = {name: (rss(pid) - first_memory[name]) // MIB for name, pid in before.items()}
    assert all(more * MIB < BLOAT_BYTES for more in grown.values()), grown
    assert server.http.get("/ping").status_code == 200


def rss(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.fixture(scope="module")
def row(registry):
    return registry.frame.iloc[0].to_dict()


@pytest.fixture(scope="module")
def valid(registry):
    return json.dumps({"dataframe_split": registry.frame.head(3).to_dict("split", index=False)}).encode()


def assert_error(answer, *statuses, within_s=5.0):
    """Check that an answer is an error as clients read it, and tells nothing else."""
    if statuses:
        assert answer.status_code in statuses, answer.text[:300]
    assert 400 <= answer.status_code < 500, answer.text[:300]
    assert len(answer.content) < 4096
    told = answer.json()
    assert told.keys() == {"error_code", "message"}
    assert re.fullmatch("[A-Z_]+", told["error_code"])
    assert len(told["message"]) > 10
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert answer.headers["content-type"] == "application/json"
    assert answer.elapsed.total_seconds() < within_s
    for telltale in TELLTALES:
        assert telltale not in answer.text


def post(server, body, headers=JSON, entity="cancer-1", **kwargs):
    return server.invoke("cancer", entity=entity, content=body, headers=headers, **kwargs)


# -- values at the edge of JSON ------------------------------------------------------------------------------

VALUES = {
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "1e999": b"1e999",
    "-1e999": b"-1e999",
    "401 digits": b"1" * 401,
    "5,000 digits": b"1" * 5000,
    "100,000 digits": b"1" * 100_000,
    "an exponent of 100 digits": b"1e" + b"9" * 100,
    "lone surrogate": rb'"\ud800"',
    "half a surrogate pair": rb'"\ud83d\u0041"',
    "escaped NUL": rb'"\u0000"',
    "raw NUL": b'"\0"',
    "raw newline": b'"\n"',
    "text": b'"a"',
    "empty text": b'""',
    "a million letters": b'"' + b"QZXJ" * 250_000 + b'"',
    "text that is a number and more": b'"1.5;"',
    "list": b"[1.0]",
    "object": b'{"a": 1}',
    "null": b"null",
    "01": b"01",
    "+1": b"+1",
    "1.": b"1.",
    ".5": b".5",
    "0x1": b"0x1",
    "1_000": b"1_000",
    "[-]": b"[-]",
    "invalid UTF-8": b'"\xff\xfe"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "UTF-8 of a surrogate": b'"\xed\xa0\x80"',
    "cut UTF-8": b'"\xe2\x82"',
    "bad escape": rb'"\x41"',
    "comment": b"1 /* one */",
    "single quotes": b"'1'",
    "1,100 lists": b"[" * 1100 + b"]" * 1100,
    "100,000 lists": b"[" * 100_000 + b"]" * 100_000,
    "100,000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "100,000 lists left open": b"[" * 100_000,
}


@pytest.mark.parametrize("value", VALUES)
def test_values_that_are_no_double_are_refused(server, row, value):
    sent = json.dumps({"dataframe_records": [{**row, "mean_radius": 4711.25}]}).encode()
    assert sent.count(b"4711.25") == 1
    answer = post(server, sent.replace(b"4711.25", VALUES[value]))
    assert_error(answer, 400)
    assert "QZXJQZXJQZXJQZXJQZXJQZXJQZXJQZXJQZXJQZXJQZXJ" not in answer.text


def test_the_message_says_where_and_what_would_be_right(server, row):
    told = post(server, json.dumps({"dataframe_records": [row, {**row, "mean_radius": "wide"}]}).encode()).json()
    for word in ("mean_radius", "1", "double", "wide"):
        assert word in told["message"], told


BODIES = {
    "nothing": b"",
    "a space": b" ",
    "null": b"null",
    "a number": b"1",
    "a text": b'"a"',
    "a list": b"[]",
    "a list of rows": b"[[1, 2]]",
    "an empty object": b"{}",
    "not JSON": b"<xml/>",
    "half of it": b'{"inputs": [',
    "two of them": b'{"inputs": [1]} {"inputs": [1]}',
    "a byte order mark": b'\xef\xbb\xbf{"inputs": [1]}',
    "UTF-16": '{"inputs": [1]}'.encode("utf-16"),
    "UTF-32": '{"inputs": [1]}'.encode("utf-32"),
    "noise": random.Random(3).randbytes(10_000),
    "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins\x94.",
    "no input key": b'{"data": [1]}',
    "two input keys": b'{"inputs": [[1]], "instances": [[1]]}',
    "records and split": b'{"dataframe_records": [], "dataframe_split": {}}',
    "prototype": b'{"__proto__": {"inputs": [1]}, "constructor": 1}',
    "split without columns and data": b'{"dataframe_split": {}}',
    "split without data": b'{"dataframe_split": {"columns": ["a"]}}',
    "split of wrong types": b'{"dataframe_split": {"columns": 1, "data": "a"}}',
    "split of other columns": b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}',
    "split with too many values": b'{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}',
    "split of ragged rows": b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [1]]}}',
    "split with equal columns": b'{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}',
    "split with rows that are objects": b'{"dataframe_split": {"columns": ["a"], "data": [{"a": 1}]}}',
    "split with a bad index": b'{"dataframe_split": {"columns": ["a"], "data": [[1]], "index": [1, 2]}}',
    "records that are no objects": b'{"dataframe_records": [1, null, "a"]}',
    "records that are one object": b'{"dataframe_records": {"a": 1}}',
    "records that are a text": b'{"dataframe_records": "a"}',
    "records of null": b'{"dataframe_records": null}',
    "records without columns": b'{"dataframe_records": [{}]}',
    "a column named a million letters": b'{"dataframe_records": [{"' + b"QZXJ" * 250_000 + b'": 1}]}',
    "a column named NUL": rb'{"dataframe_records": [{"\u0000": 1}]}',
    "a column named to be formatted": b'{"dataframe_records": [{"%s%n{0}${jndi:ldap://x}": 1}]}',
    "a column named in two directions": '{"dataframe_records": [{"\u202eabc\u202c\U0001f4a9": 1}]}'.encode(),
    "a column named as a tag": b'{"dataframe_records": [{"<script>alert(1)</script>": 1}]}',
    "100,000 columns": json.dumps({"dataframe_records": [{f"c{n}": n for n in range(100_000)}]}).encode(),
    "a million columns": json.dumps({"dataframe_split": {"columns": list(range(1_000_000)), "data": []}}).encode(),
    "100,000 unknown keys": json.dumps({f"k{n}": n for n in range(100_000)}).encode(),
    "inputs that are a number": b'{"inputs": 1}',
    "inputs of the wrong width": b'{"inputs": [[1, 2], [3, 4]]}',
    "inputs that are ragged": b'{"inputs": [[1, 2], [3]]}',
    "inputs that are too deep": b'{"inputs": [[[[[1]]]]]}',
    "instances that are text": b'{"instances": ["a", "b"]}',
    "instances with bad base64": b'{"instances": [{"b64": "!!!"}]}',
    "dates in place of numbers": b'{"inputs": {"mean_radius": ["99999-99-99T99:99:99Z"]}}',
    "16 MiB of empty lists": b'{"inputs": [' + b"[]," * 5_500_000 + b"[]]}",
    "16 MiB of ones": b'{"inputs": [' + b"1," * 8_000_000 + b"1]}",
    "16 MiB of letters": b'{"inputs": "' + b"QZXJ" * 4_000_000 + b'"}',
    "16 MiB of opened lists": b"[" * 16_000_000,
    "16 MiB of escapes": b'{"inputs": "' + rb"\u00e9" * 2_600_000 + b'"}',
}


@pytest.mark.parametrize("case", BODIES)
def test_bodies_that_are_no_input_are_refused(server, cancer, case):
    answer = post(server, BODIES[case], timeout=40)
    # Eight million columns of one row take eight seconds of a core, twice that on a busy machine.
    assert_error(answer, 400, within_s=25)
    assert "QZXJ" * 40 not in answer.text
    assert "<script>" not in answer.headers["content-type"]


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/html",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/json; charset=utf-16",
        "image/png",
        "a" * 5000,
        "x" * 300 + "/json",
        ";;;",
        "text/csv",
        "application/vnd.apache.arrow.stream",
        "application/octet-stream",
    ],
)
def test_other_kinds_of_body_are_refused(server, cancer, content_type):
    answer = post(server, b'\xff{"inputs": QZXJ\x00', {"Content-Type": content_type})
    assert_error(answer, 400, 415)
    assert "a" * 200 not in answer.text


@pytest.mark.parametrize(
    "csv",
    [b"", b"\n", b"a,b\n1,2\n", b"a,a\n1,2\n", b'"a\n1', b"a,b\n1\n1,2,3\n", b"\0\0\0", b"a" * MIB, b"," * 500_000],
    ids=lambda csv: repr(csv[:20]),
)
def test_csv_that_is_no_input_is_refused(server, cancer, csv):
    assert_error(post(server, csv, {"Content-Type": "text/csv"}), 400, within_s=10)


def test_a_seeded_storm_of_broken_bodies_brings_no_fault(server, valid):
    draw = random.Random(20_240_607)
    pieces = [
        b"null",
        b"NaN",
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b",",
        b":",
        b"\\",
        b"\0",
        b"\xff",
        b"1e400",
        b"-",
        b"\\ud800",
    ]
    pieces += [b"9" * 400, b"[" * 2000, b'"data"', b'"columns"', b'"params":{"a":1},', b"true", b" " * 5000]
    began, counts = time.monotonic(), {}
    for _ in range(300):
        body = bytearray(valid)
        for _ in range(draw.choice((1, 1, 1, 2, 5, 30))):
            at, end = sorted((draw.randrange(len(body) + 1), draw.randrange(len(body) + 1)))
            match draw.randrange(6):
                case 0 if at < len(body):
                    body[at] ^= 1 << draw.randrange(8)
                case 1:
                    del body[at : min(end, at + draw.choice((1, 3, 50)))]
                case 2:
                    body[at:at] = draw.choice(pieces)
                case 3:
                    body[at:at] = body[at : min(end, at + 200)]
                case 4:
                    body[at : at + 2] = draw.choice(pieces)
                case _ if draw.random() < 0.2:
                    del body[at:]
        answer = post(server, bytes(body))
        counts[answer.status_code] = counts.get(answer.status_code, 0) + 1
        if answer.status_code != 200:
            assert_error(answer, 400)
    assert counts[400] > 150, counts
    assert time.monotonic() - began < 20


# -- sizes ---------------------------------------------------------------------------------------------------


def gzipped(body):
    return {**JSON, "Content-Encoding": "gzip"}, gzip.compress(body, 9)


BOMBS = {
    "200 MB of spaces": (*gzipped(b" " * 200_000_000), 413),
    "200 MB of lists": (*gzipped(b'{"inputs":[' + b"[]," * 66_000_000), 413),
    "a bomb in a bomb": (*gzipped(gzip.compress(b"\0" * 50_000_000)), 400),
    "deflated": ({**JSON, "Content-Encoding": "deflate"}, zlib.compress(b" " * 100_000_000), 413),
    "named twice": ({**JSON, "Content-Encoding": "gzip, gzip"}, gzip.compress(gzip.compress(b"{}")), 400),
    "unknown": ({**JSON, "Content-Encoding": "zstd"}, b"{}", 400),
    "an encoding of 5 kB": ({**JSON, "Content-Encoding": "z" * 5000}, b"{}", 400),
    "not gzip": ({**JSON, "Content-Encoding": "gzip"}, b"{}", 400),
    "cut short": ({**JSON, "Content-Encoding": "gzip"}, gzip.compress(b"{}" * 9999)[:-5], 400),
    "with a tail": ({**JSON, "Content-Encoding": "gzip"}, gzip.compress(b"{}") + b"tail", 400),
    "with a wrong checksum": ({**JSON, "Content-Encoding": "gzip"}, gzip.compress(b"{}")[:-8] + b"\0" * 8, 400),
    "empty": ({**JSON, "Content-Encoding": "gzip"}, b"", 400),
    "gzip that is not said": (JSON, gzip.compress(b"{}"), 400),
}


@pytest.mark.parametrize("case", BOMBS)
def test_bombs_are_refused(server, cancer, case):
    headers, body, status = BOMBS[case]
    answer = post(server, body, headers)
    assert_error(answer, status)
    assert "z" * 100 not in answer.text


def test_many_bombs_at_a_time_do_not_bloat_the_gateway(server, cancer):
    from concurrent.futures import ThreadPoolExecutor

    headers, bomb, _ = BOMBS["200 MB of spaces"]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: post(server, bomb, headers, timeout=30), range(48)))
    for answer in answers:
        assert_error(answer, 413, within_s=15)


def test_the_limit_is_the_limit_with_and_without_a_length(server, cancer, valid):
    full = valid + b" " * (16 * MIB - len(valid))
    pieces = [full[at : at + MIB] for at in range(0, len(full), MIB)]
    assert post(server, full).status_code == 200
    assert post(server, iter(pieces)).status_code == 200
    assert_error(post(server, full + b" "), 413)
    with Wire(server, 20) as wire:
        wire.send(invocation(server, b"", "Transfer-Encoding: chunked", length=False) + chunks(full + b" ", MIB))
        assert_refused(wire.answer(), 413)
    assert_error(server.http.post("/api/2.0/serving-endpoints", content=b" " * (MIB + 1), headers=JSON), 413)


# -- names and paths -----------------------------------------------------------------------------------------

PATHS = [
    "/serving-endpoints/nobody/invocations",
    "/serving-endpoints//invocations",
    "/serving-endpoints/../cancer/invocations",
    "/serving-endpoints/x/../cancer/invocations",
    "/serving-endpoints/%2e%2e/cancer/invocations",
    "/serving-endpoints/%2e%2e%2fcancer/invocations",
    "/serving-endpoints//cancer/invocations",
    "//serving-endpoints/cancer/invocations",
    "/serving-endpoints/cancer//invocations",
    "/serving-endpoints/cancer/invocations/",
    "/serving-endpoints/cancer/invocations;x=1",
    "/serving-endpoints/cancer;x=1/invocations",
    "/serving-endpoints/cancer%00/invocations",
    "/serving-endpoints/cancer%00.x/invocations",
    "/serving-endpoints/cancer%0d%0aX-Injected:%201/invocations",
    "/serving-endpoints/cancer%20/invocations",
    "/serving-endpoints/CANCER/invocations",
    "/serving-endpoints/canc%C3%A9r/invocations",
    "/serving-endpoints/%c0%ae%c0%ae%c0%afcancer/invocations",
    "/serving-endpoints/%ff%fe/invocations",
    "/serving-endpoints/%/invocations",
    "/serving-endpoints/%zz/invocations",
    "/serving-endpoints/%u0041/invocations",
    "/serving-endpoints/%252e%252e/invocations",
    "/serving-endpoints/" + "a" * 8000 + "/invocations",
    "/serving-endpoints/" + "%41" * 2600 + "/invocations",
    "/serving-endpoints/cancer/served-models/nobody/invocations",
    "/serving-endpoints/cancer/served-models/%2e%2e/invocations",
    "/serving-endpoints/cancer/served-models/" + "b" * 8000 + "/invocations",
    "/serving-endpoints/<script>/invocations",
    "/serving-endpoints/${jndi:ldap://x}/invocations",
    '/serving-endpoints/"{}|^`\\/invocations',
    "/serving-endpoints/cancer/invocations%3fa",
    "/serving-endpoints/cancer/invocations%23",
    "/api/2.0/serving-endpoints/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/api/2.0/serving-endpoints/../../../etc/passwd",
    "/api/2.0/serving-endpoints/" + "a" * 8000,
    "/api/2.0/serving-endpoints/cancer%00",
    "/api/2.0/serving-endpoints/cancer/served-models/..%2f..%2f/logs",
    "/" + "/" * 5000,
    "/" + "%2f" * 2000,
    "/" + "a/" * 4000,
    "/.git/config",
    "/..%5c..%5cwindows",
]


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:60])
def test_odd_paths_reach_nothing(server, valid, path, method):
    with Wire(server) as wire:
        wire.send(invocation(server, valid, path=path).replace(b"POST", method.encode(), 1))
        _, headers, body = answer = wire.answer()
        assert_refused(answer, 400, 404, 405, 501)
    text = body.decode()
    assert "x-injected" not in headers
    assert "a" * 300 not in text
    assert "b" * 300 not in text
    for telltale in TELLTALES:
        assert telltale not in text or telltale in path


def test_an_endpoint_may_be_named_in_percents(server, valid):
    with Wire(server) as wire:
        assert wire.send(invocation(server, valid, path="/serving-endpoints/%63ancer/invocations")).status() == 200


# -- browsers, hosts -----------------------------------------------------------------------------------------

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]
TARGETS = [
    "/api/2.0/serving-endpoints",
    "/serving-endpoints/cancer/invocations",
    "/invocations",
    "/ping",
    "/docs",
    "/x",
]
FOREIGN = {
    "another host": {"Host": "evil.example"},
    "a host that begins like ours": {"Host": "localhost.evil.example"},
    "a host that ends like ours": {"Host": "evil-localhost"},
    "our address in a name": {"Host": "127.0.0.1.nip.io"},
    "another address": {"Host": "10.0.0.1"},
    "a host with a user": {"Host": "localhost:1@evil.example"},
    "another site": {"Sec-Fetch-Site": "cross-site"},
    "another port or subdomain": {"Sec-Fetch-Site": "same-site"},
    "a site of no known kind": {"Sec-Fetch-Site": "QZXJ" * 500},
    "a page elsewhere": {"Origin": "https://evil.example"},
    "a page of another port": {"Origin": "http://localhost:1"},
    "a page in a sandbox": {"Origin": "null"},
    "an empty origin": {"Origin": ""},
    "an origin with a broken bracket": {"Origin": "http://["},
    "an origin in no charset": {"Origin": b"http://\xff\xe2\x84\x80"},
    "a same-site word from elsewhere": {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("who", FOREIGN)
def test_requests_for_other_hosts_and_from_other_sites_are_refused_on_every_method(server, cancer, who, method):
    for target in TARGETS:
        answer = server.http.request(method, target, headers=FOREIGN[who], content=b"{}" if method == "POST" else None)
        assert answer.status_code == 403, (target, answer.text)
        assert not any(name.startswith("access-control") for name in answer.headers)
        if method != "HEAD":
            assert_error(answer, 403)
            assert answer.json()["error_code"] == "PERMISSION_DENIED"
            assert "QZXJ" * 10 not in answer.text


def test_our_own_page_tools_and_typed_addresses_are_served(server, cancer, valid):
    own = server.url.partition("://")[2]
    for headers in (
        {},
        {"Host": f"localhost:{server.port}"},
        {"Host": own, "Origin": server.url, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ):
        assert server.http.get("/api/2.0/serving-endpoints", headers=headers).status_code == 200, headers
        assert post(server, valid, {**JSON, **headers}).status_code == 200, headers


@pytest.mark.parametrize(
    "authorization",
    [
        *("", "Bearer", "Bearer x", "Bearer tsk_", "Bearer tsk_000000000000_" + "A" * 43, "Bearer " + "t" * 60_000),
        *(b"Bearer \xff\xfe", "Basic !!!", "Basic /////w==", "Negotiate x"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_tokens_that_are_none_are_refused_everywhere(server, cancer, authorization):
    with httpx.Client(base_url=server.url) as nobody:
        for method, target in (
            ("POST", "/serving-endpoints/cancer/invocations"),
            ("GET", "/api/2.0/serving-endpoints"),
        ):
            answer = nobody.request(method, target, headers={"Authorization": authorization})
            assert_error(answer, 401)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert "tttt" not in answer.text


# -- what callers send does not come back as headers ---------------------------------------------------------


def test_a_request_id_is_ours(server, cancer, valid):
    spoof = {"X-Request-Id": "spoofed-1234"}
    answers = [
        post(server, valid, {**JSON, **spoof}),
        post(server, b"", {**JSON, **spoof}),
        server.http.get("/api/2.0/serving-endpoints", headers=spoof),
        server.http.get("/api/2.0/serving-endpoints/nobody", headers=spoof),
        server.http.get("/nowhere", headers=spoof),
        server.http.get("/serving-endpoints/cancer/invocations", headers=spoof),
    ]
    ids = [answer.headers.get_list("x-request-id") for answer in answers]
    assert all(len(each) == 1 and re.fullmatch("[0-9a-f]{32}", each[0]) for each in ids), ids
    assert len({each[0] for each in ids}) == len(ids)


def test_names_in_headers_are_quoted_and_cut(server, valid):
    names = ["a\r\nX-Injected: 1", "\u0000", "größe, \U0001f4a9", "%0d%0a", "\u2028"] + ["\U0001f4a9" * 100] * 20
    body = json.loads(valid) | {f"{n}{name}": 1 for n, name in enumerate(names)}
    answer = post(server, json.dumps(body).encode())
    assert answer.status_code == 200
    assert "x-injected" not in answer.headers
    assert answer.headers["x-tallystick-ignored"]
    assert sum(len(name) + len(value) for name, value in answer.headers.raw) < 4096
    odd = {name: {"number_from_text": 1} for name in [*names, *map(str, range(1000))]}
    for value in (render_coercions(odd), render_ignored(names)):
        assert len(value) < 1100
        assert re.fullmatch(rb"[!-~ ]*", value)


def test_headers_that_only_a_proxy_may_set_change_nothing(server, valid):
    spoof = {
        "X-Forwarded-For": "10.0.0.1",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "Forwarded": "host=evil.example",
        "X-Original-Url": "/api/2.0/tokens",
        "X-HTTP-Method-Override": "DELETE",
    }
    assert post(server, valid, {**JSON, **spoof}).status_code == 200
    answer = server.http.get("/api/2.0/serving-endpoints/cancer", headers=spoof)
    assert answer.status_code == 200
    assert "evil.example" not in answer.text
