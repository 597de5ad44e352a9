import errno
import json
import logging
import os
import stat
from pathlib import Path

import pytest

from tallystick.journal.format import Access, Context, Invocation
from tallystick.protocol.frame import Answer
from tallystick.records import access_log
from tallystick.records.access_log import AccessLine, AccessLog, access_line, error_code, render_lines

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def context(**changes):
    fields = {
        "number": 1,
        "endpoint_name": "churn",
        "endpoint_id": "e1",
        "served_entity_id": "s1",
        "served_entity_name": "champion",
        "model_name": "churn_model",
        "model_version": "3",
        "config_version": 7,
        "route": "champion",
        "probability": 0.9,
        "table": "churn_payload",
    }
    return Context(**fields | changes)


def invocation(**changes):
    fields = {
        "context": 1,
        "request_id": "r1",
        "time_us": 1_700_000_000_123_999,
        "latency_ms": 12.34567,
        "status": 200,
        "arm": "live",
        "requester": "anna",
        "user_agent": "curl/8",
        "content_type": "application/json",
        "response_content_type": "application/json",
        "attempt": 1,
        "request_bytes": 300,
        "response_bytes": 40,
        "request": b'{"inputs": ["a payload"]}',
        "response": b'{"predictions": ["a payload"]}',
        "traceparent": TRACEPARENT,
        "answer": Answer(200, "application/json", 2, 1, 1.5, 3.25, {"age": {"overflow": 2}, "b": {"truthy": 1}}),
        "waited_ms": 0.5,
    }
    return Invocation(**fields | changes)


def access(**changes):
    fields = {
        "request_id": "r2",
        "time_us": 1_700_000_000_000_000,
        "latency_ms": 1.0,
        "method": "GET",
        "path": "/api/2.0/serving-endpoints",
        "status": 404,
        "requester": "",
        "user_agent": "",
    }
    return Access(**fields | changes)


def line(request_id, agent=""):
    return AccessLine("2024-01-01T00:00:00.000Z", request_id, "GET", "/", 200, 1.0, "", agent)


def numbered(first, last):
    return [(n, line(f"r{n}")) for n in range(first, last + 1)]


def ids(path: Path):
    return [json.loads(text)["request_id"] for text in path.read_text().splitlines()]


# -- lines -------------------------------------------------------------------------------------------------


def test_a_line_of_an_invocation_holds_all_but_the_bodies():
    text = render_lines([access_line(invocation(), context())])
    assert b"a payload" not in text
    assert json.loads(text) == {
        "time": "2023-11-14T22:13:20.123Z",
        "request_id": "r1",
        "endpoint": "churn",
        "status": 200,
        "latency_ms": 12.346,
        "served_entity": "champion",
        "model_version": "3",
        "queue_ms": 2.0,
        "model_ms": 3.25,
        "rows": 2,
        "attempt": 1,
        "arm": "live",
        "requester": "anna",
        "user_agent": "curl/8",
        "request_bytes": 300,
        "response_bytes": 40,
        "coerced_values": 3,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    }


def test_a_line_of_another_request_says_which_it_was():
    assert json.loads(render_lines([access_line(access())])) == {
        "time": "2023-11-14T22:13:20.000Z",
        "request_id": "r2",
        "method": "GET",
        "path": "/api/2.0/serving-endpoints",
        "status": 404,
        "latency_ms": 1.0,
    }


def test_an_invocation_that_no_worker_answered_has_no_times_of_one():
    fields = json.loads(render_lines([access_line(invocation(answer=None, attempt=0, waited_ms=0.0), context())]))
    assert fields.keys().isdisjoint({"queue_ms", "model_ms", "rows", "attempt", "coerced_values"})


def test_an_error_leaves_its_code_and_not_its_text():
    body = b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "age: got a payload"}'
    text = render_lines([access_line(invocation(status=400, response=body), context())])
    assert json.loads(text)["error_code"] == "INVALID_PARAMETER_VALUE"
    assert b"a payload" not in text


def test_an_answer_that_is_no_error_leaves_no_code():
    assert access_line(invocation(response=b'{"error_code": "X"}'), context()).error_code == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"error_code": 7}',
        b'{"error_code": null}',
        b'{"error_code": "a payload"}',
        b'{"error_code": "X\\nY"}',
        b'{"error_code": "' + b"X" * 65 + b'"}',
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b', "error_code": "X"}',
    ],
    ids=lambda body: repr(body[:30]),
)
def test_what_is_no_code_of_ours_is_left_out(body):
    assert error_code(body) == ""


def test_a_long_user_agent_is_cut():
    assert len(access_line(invocation(user_agent="x" * 300), context()).user_agent) == 200
    assert len(access_line(access(user_agent="x" * 300)).user_agent) == 200


@pytest.mark.parametrize(
    "names", [{"drop": ("requester", "model_name")}, {"hash": ("requester", "model_name", "request.a")}]
)
def test_what_the_table_drops_or_hashes_of_a_person_is_not_in_the_log(names):
    found = access_line(invocation(), context(**names))
    assert (found.requester, found.user_agent) == ("", "curl/8")


def test_a_malformed_trace_is_no_trace():
    assert access_line(invocation(traceparent="00-xyz"), context()).trace_id == ""


EVIL = [
    "a\r\nb",
    "\x1b[31mred\x1b]0;title\x07",
    "\x7f",
    "\x85\x9b31m",
    "\u2028\u2029",
    "\u202ereversed",
    "\ufeff\u200b",
    "\U000e0001\U000f0000",
    '"}\n{"request_id":"forged"',
    "\ud800",
    "Größe 値 🙂",
]


@pytest.mark.parametrize("evil", EVIL, ids=ascii)
def test_nothing_in_a_field_breaks_a_line_or_a_terminal(evil):
    text = render_lines([line("r1", evil), line("r2")]).decode("utf-8")
    assert text.endswith("\n")
    first, second = text[:-1].split("\n")
    assert text.splitlines() == [first, second]
    assert first.isprintable()
    assert json.loads(first) == {**json.loads(first), "request_id": "r1", "user_agent": evil}
    assert json.loads(second)["request_id"] == "r2"


# -- the file ----------------------------------------------------------------------------------------------


def test_lines_are_appended_to_a_private_file(tmp_path):
    log = AccessLog(tmp_path / "access.jsonl")
    log.write("s", numbered(1, 2))
    log.write("s", numbered(3, 3))
    assert ids(log.path) == ["r1", "r2", "r3"]
    assert log.written_lines == 3
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_others_may_read_is_made_private(tmp_path):
    path = tmp_path / "access.jsonl"
    path.touch(mode=0o644)
    AccessLog(path).write("s", numbered(1, 1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_lines_that_are_read_again_are_not_written_again(tmp_path):
    path = tmp_path / "access.jsonl"
    AccessLog(path).write("s", numbered(1, 3))
    again = AccessLog(path)
    again.write("s", numbered(1, 5))
    again.write("s", numbered(1, 5))
    again.write("other", numbered(1, 1))
    assert ids(path) == ["r1", "r2", "r3", "r4", "r5", "r1"]
    assert again.written_lines == 3


def test_nothing_to_write_touches_no_file(tmp_path):
    AccessLog(tmp_path / "access.jsonl").write("s", [])
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"s": "x"}', b"\xff"])
def test_damaged_positions_cost_doubled_lines_at_most(tmp_path, damage):
    path = tmp_path / "access.jsonl"
    AccessLog(path).write("s", numbered(1, 1))
    (tmp_path / "access.jsonl.positions").write_bytes(damage)
    AccessLog(path).write("s", numbered(1, 2))
    assert ids(path) == ["r1", "r1", "r2"]


def test_only_the_newest_streams_are_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(access_log, "_MAX_STREAMS", 6)
    log = AccessLog(tmp_path / "access.jsonl")
    log.write("first", numbered(1, 1))
    for n in range(10):
        log.write(f"s{n}", numbered(1, 1))
        log.write("busy", [(n + 1, line("b"))])
    kept = json.loads((tmp_path / "access.jsonl.positions").read_text())
    assert len(kept) == 6
    assert kept["busy"] == 10
    assert "first" not in kept


def test_the_file_is_cut_over_by_size_and_two_old_ones_are_kept(tmp_path):
    path = tmp_path / "access.jsonl"
    size = len(render_lines([line("r1")]))
    log = AccessLog(path, max_bytes=2 * size)
    for n in range(1, 9):
        log.write("s", numbered(n, n))
    files = [path, tmp_path / "access.jsonl.1", tmp_path / "access.jsonl.2"]
    assert [ids(file) for file in files] == [["r7", "r8"], ["r5", "r6"], ["r3", "r4"]]
    assert len(list(tmp_path.iterdir())) == 4


def test_a_file_that_is_moved_or_deleted_is_made_again(tmp_path):
    path = tmp_path / "access.jsonl"
    log = AccessLog(path)
    log.write("s", numbered(1, 1))
    path.rename(tmp_path / "moved")
    log.write("s", numbered(2, 2))
    path.unlink()
    log.write("s", numbered(3, 3))
    assert ids(path) == ["r3"]


def test_a_line_that_a_crash_tore_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "access.jsonl"
    AccessLog(path).write("s", numbered(1, 1))
    with path.open("ab") as file:
        file.write(b'{"request_id":"to')
    AccessLog(path).write("s", numbered(2, 2))
    assert ids(path) == ["r1", "r2"]


# -- a disk that does not take it --------------------------------------------------------------------------


class FullDisk:
    """Takes `room` bytes and then says ENOSPC, as `os.write` does."""

    def __init__(self, room):
        self.room = room
        self.write = os.write

    def __call__(self, descriptor, data):
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self.write(descriptor, data[: self.room])
        self.room -= taken
        return taken


def test_a_full_disk_costs_whole_lines_that_are_counted(tmp_path, monkeypatch, caplog):
    now = [100.0]
    log = AccessLog(tmp_path / "access.jsonl", clock=lambda: now[0])
    log.write("s", numbered(1, 2))
    with monkeypatch.context() as patch:
        patch.setattr(access_log.os, "write", FullDisk(room=30))
        with caplog.at_level(logging.WARNING):
            log.write("s", numbered(3, 5))
            now[0] += 59
            log.write("s", numbered(6, 6))
            assert len(caplog.records) == 1
            now[0] += 1
            log.write("s", numbered(7, 7))
    assert [record.getMessage() for record in caplog.records] == [
        "the access log cannot be written: No space left on device; 3 lines lost",
        "the access log cannot be written: No space left on device; 5 lines lost",
    ]
    assert log.dropped_lines == 5
    assert ids(log.path) == ["r1", "r2"]
    log.write("s", numbered(8, 8))
    assert ids(log.path) == ["r1", "r2", "r8"]


def test_a_folder_that_is_not_there_costs_lines_and_raises_nothing(tmp_path):
    log = AccessLog(tmp_path / "absent" / "access.jsonl")
    log.write("s", numbered(1, 2))
    assert log.dropped_lines == 2
    (tmp_path / "absent").mkdir()
    log.write("s", numbered(1, 3))
    assert ids(log.path) == ["r3"]
