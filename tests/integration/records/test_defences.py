"""What stands between a crash and a lost or doubled row: each defence, and that the row goes wrong without it.

Real journals and Delta tables. A crash is a recorder that is dropped in the middle; what a power cut leaves is made by
hand. That the same holds for real processes and real power cuts is in `tests/e2e` and `tests/campaigns`.
"""

import asyncio
import errno
import json
import os
import threading
from collections import Counter

import pytest
from deltalake import DeltaTable

from tallystick.gateway.http import JoinedWrites
from tallystick.journal.format import Context, Invocation
from tallystick.journal.reader import StreamReader, find_streams
from tallystick.journal.writer import RETRY_S, Journal
from tallystick.records import delta as delta_module
from tallystick.records.delta import DeltaWriter, mend
from tallystick.records.recorder import Recorder

TIME_US = 1_790_000_000_000_000
CONTEXT = Context(0, "churn", "e", "s", "churn-1", "churn", "1", 1, "churn-1", 1.0, "churn_payload")


class Crash(BaseException):
    """The process is gone."""


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def invocation(journal, request_id):
    number = journal.number_of(CONTEXT)
    return Invocation(number, request_id, TIME_US, 1.0, 200, "live", "me", "", "", "", 1, 2, 2, b"{}", b"[]")


def put(journal, *request_ids, **options):
    for request_id in request_ids:
        journal.append(invocation(journal, request_id), **options)
    journal.flush()


class Kit:
    def __init__(self, folder):
        self.folder, self.uri = folder, str(folder / "tables" / "churn_payload")

    def journal(self, **options):
        return Journal(self.folder / "journal", "gateway-0", **options)

    def recorder(self, **options):
        def open_table(table, schema, partition):
            return DeltaWriter(str(self.folder / "tables" / table), schema, partition)

        return Recorder(self.folder / "journal", open_table, lambda context: None, **options)

    def record(self):
        """Move all that is there, as a recorder that has just started does."""
        assert self.recorder().drain(float("inf"))

    def ids(self):
        table = DeltaTable(self.uri).to_pyarrow_table(columns=["databricks_request_id"])
        return Counter(table.column(0).to_pylist())

    def segments(self):
        return sorted((self.folder / "journal").glob("*/*.journal"))


@pytest.fixture
def kit(tmp_path):
    return Kit(tmp_path)


# -- the reader and a writer that begins or stops ------------------------------------------------------------


async def test_a_stream_that_begins_while_it_is_looked_at_is_not_taken_for_one_that_is_over(kit, monkeypatch):
    journal = kit.journal()
    folder = kit.folder / "journal" / f"gateway-0-{journal.stream_id}"
    folder.mkdir(parents=True)
    reader = StreamReader(folder)
    ask, has_begun = reader.is_written, False

    def is_written():
        """Nobody writes when it is asked; just after, somebody does."""
        nonlocal has_begun
        found = ask()
        if not has_begun:
            has_begun = True
            put(journal, "a")
        return found

    monkeypatch.setattr(reader, "is_written", is_written)
    found = [entry.record.request_id for entry in reader.read(1 << 20)]
    reader.forget(before=100)
    put(journal, "b")
    found += [entry.record.request_id for entry in reader.read(1 << 20)]
    assert found == ["a", "b"]


@pytest.mark.parametrize("reason", ["disk_full", "journal_full"])
async def test_a_full_journal_goes_on_when_the_recorder_has_emptied_it(kit, reason):
    clock, free = Clock(), 400

    def write(descriptor, data):
        nonlocal free
        if free < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        free -= len(data)
        return os.write(descriptor, data)

    # One segment fills the disk: no other one begins that would say that this one has ended.
    options = {"write": write} if reason == "disk_full" else {"max_bytes": 300}
    journal = kit.journal(clock=clock, **options)
    sent = [f"r{number}" for number in range(20)]
    for request_id in sent:
        put(journal, request_id)
        clock.now += 2.0
        journal.tick()
    assert journal.dropped[reason] > 10
    recorder = kit.recorder()
    assert recorder.drain(float("inf"))
    assert kit.segments() == []
    free = 10_000
    clock.now += 2 * RETRY_S + 1.0
    journal.tick()
    put(journal, "later")
    kit.record()
    assert kit.ids()["later"] == 1
    assert sum(kit.ids().values()) + sum(journal.dropped.values()) == 21
    await journal.close()


# -- each defence, on and off --------------------------------------------------------------------------------


class Transport:
    """Notes what is on disk when bytes of an answer go out."""

    def __init__(self, look):
        self.look, self.found = look, []

    def write(self, data):
        self.found.append(self.look())

    def close(self):
        pass


def ids_on_disk(folder):
    return [entry.record.request_id for stream in find_streams(folder) for entry in StreamReader(stream).read(1 << 20)]


@pytest.mark.parametrize("is_on", [True, False])
async def test_no_byte_of_an_answer_leaves_before_its_record_is_written(kit, is_on):
    journal = kit.journal()
    transport = Transport(lambda: ids_on_disk(kit.folder / "journal"))
    barrier = journal.before_sending if is_on else lambda: None
    writes = JoinedWrites(transport, asyncio.get_running_loop(), barrier, lambda: False)
    journal.append(invocation(journal, "a"))
    writes.write(b"HTTP/1.1 200 OK\r\n\r\n")
    # An answer that ends its connection leaves within the same turn of the loop.
    writes.close()
    assert transport.found == [["a"] if is_on else []]


@pytest.mark.parametrize("is_on", [True, False])
async def test_a_commit_that_the_journal_does_not_know_of_is_found_in_the_table(kit, is_on, monkeypatch):
    put(kit.journal(), "a", "b")
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "_forget", _crash)
        with pytest.raises(Crash):
            kit.record()
    if not is_on:
        monkeypatch.setattr(DeltaWriter, "committed", lambda self, stream_id: 0)
    kit.record()
    assert kit.ids() == ({"a": 1, "b": 1} if is_on else {"a": 2, "b": 2})


@pytest.mark.parametrize("is_on", [True, False])
async def test_nothing_is_taken_from_the_journal_before_it_is_in_its_table(kit, is_on, monkeypatch):
    journal = kit.journal()
    put(journal, "a", "b")
    await journal.close()
    if not is_on:
        monkeypatch.setattr(Recorder, "_forget", _forget_all)
    recorder = kit.recorder()
    recorder.step()  # read, and not due yet: this one is killed now
    kit.record()
    assert kit.ids() == ({"a": 1, "b": 1} if is_on else {})


@pytest.mark.parametrize("is_on", [True, False])
async def test_all_that_a_commit_made_is_synced_before_its_segment_is_taken_away(kit, is_on, monkeypatch):
    synced, at_forget = set(), []
    sync, forget = delta_module._sync, StreamReader.forget

    def noting_sync(path):
        sync(path)
        synced.add(path)

    def noting_forget(reader, before):
        there = kit.segments()
        forget(reader, before)
        if kit.segments() != there:
            at_forget.append(set(synced))

    monkeypatch.setattr(delta_module, "_sync", noting_sync)
    monkeypatch.setattr(StreamReader, "forget", noting_forget)
    journal = kit.journal()
    put(journal, "a", "b")
    await journal.close()
    if not is_on:
        monkeypatch.setattr(DeltaWriter, "_make_safe", lambda self, before, after: None)
    kit.record()
    table = kit.folder / "tables" / "churn_payload"
    log = table / "_delta_log"
    made = {*log.glob("*.json"), *table.glob("*/*.parquet"), *table.glob("request_date=*"), log, table}
    assert len(made) == 6
    (found,) = at_forget
    assert (made <= found) == is_on


@pytest.mark.parametrize("is_on", [True, False])
async def test_whoever_asked_for_a_sync_is_told_after_it(kit, is_on, monkeypatch):
    may_sync, told = threading.Event(), []
    journal = kit.journal(sync=lambda descriptor: may_sync.wait(10))
    if not is_on:
        monkeypatch.setattr(journal, "_start_sync", lambda: journal._synced(journal._segment.unsynced, True))
        monkeypatch.setattr(journal, "_synced", lambda waiters, is_safe: [each.on_done(is_safe) for each in waiters])
    put(journal, "a", "b", on_done=told.append, is_durable=True)
    for _ in range(20):
        await asyncio.sleep(0)
    assert told == ([] if is_on else [True, True])
    may_sync.set()
    while not told:
        await asyncio.sleep(0)
    assert told == [True, True]


def _empty_entry(table):
    max((table / "_delta_log").glob("*.json")).write_bytes(b"")


def _cut_entry(table):
    entry = max((table / "_delta_log").glob("*.json"))
    entry.write_bytes(entry.read_bytes()[:-40])


def _empty_entries(table):
    """What another program's sync leaves of two commits that were never synced."""
    for entry in sorted((table / "_delta_log").glob("*.json"))[-2:]:
        entry.write_bytes(b"")


def _short_file(table):
    entry = max((table / "_delta_log").glob("*.json"))
    (line,) = [json.loads(line) for line in entry.read_bytes().splitlines() if b'"add"' in line]
    (table / line["add"]["path"]).write_bytes(b"")


def _hint_without_checkpoint(table):
    DeltaTable(str(table)).create_checkpoint()
    for path in (table / "_delta_log").glob("*.checkpoint.parquet"):
        path.unlink()


def _empty_checkpoint(table):
    DeltaTable(str(table)).create_checkpoint()
    for path in (table / "_delta_log").glob("*.checkpoint.parquet"):
        path.write_bytes(b"")


#: delta-rs reads an entry that is empty as a version that changes nothing; other readers need not.
HARMLESS = [_empty_entry, _empty_entries]
HARMFUL = [_cut_entry, _short_file, _hint_without_checkpoint, _empty_checkpoint]


@pytest.mark.parametrize(
    ("tear", "is_on"), [*((tear, True) for tear in HARMLESS + HARMFUL), *((tear, False) for tear in HARMFUL)]
)
async def test_what_a_power_cut_tore_is_mended_and_its_rows_come_again(kit, tear, is_on, monkeypatch):
    put(kit.journal(), "a")
    kit.record()
    put(kit.journal(), "b")
    with monkeypatch.context() as patch:
        # The cut comes before anything is synced, so also before anything is taken from the journal.
        patch.setattr(Recorder, "_forget", lambda self: None)
        recorder = kit.recorder()
        assert recorder.drain(float("inf"))
        put(kit.journal(), "c")
        assert recorder.drain(float("inf"))
    tear(kit.folder / "tables" / "churn_payload")
    if not is_on:
        monkeypatch.setattr(delta_module, "mend", lambda folder: [])
    recorder = kit.recorder()
    try:
        is_whole = recorder.drain(recorder._clock() + 5) and kit.ids() == {"a": 1, "b": 1, "c": 1}
    except Exception:  # a table that does not open, or a file that is no Parquet
        is_whole = False
    assert is_whole == is_on
    assert is_on or mend(kit.folder / "tables" / "churn_payload")


def _crash(*_):
    raise Crash


def _forget_all(recorder):
    for reader in recorder._streams.values():
        reader.forget(reader.last_sequence + 1)
