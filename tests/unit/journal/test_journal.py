"""The journal's two ends, with disks that fail on request."""

import asyncio
import errno
import os

import pytest

from tallystick.journal.format import HEADER_BYTES, Context, Invocation, read_records, render_header, render_record
from tallystick.journal.reader import DAMAGED, StreamReader, find_streams
from tallystick.journal.writer import RETRY_S, SLOW_PAUSE_S, SLOW_S, Journal


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Disk:
    """`write` and `sync` of a disk that can be full, slow or broken."""

    def __init__(self, clock):
        self.clock = clock
        self.free = None
        self.write_error = self.sync_error = 0
        self.write_takes_s = 0.0
        self.writes = self.syncs = 0

    def write(self, descriptor, data):
        self.writes += 1
        self.clock.now += self.write_takes_s
        if self.write_error:
            raise OSError(self.write_error, os.strerror(self.write_error))
        if self.free is not None:
            if self.free == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            data = data[: self.free]
            self.free -= len(data)
        return os.write(descriptor, data)

    def sync(self, descriptor):
        self.syncs += 1
        if self.sync_error:
            error, self.sync_error = self.sync_error, 0
            raise OSError(error, os.strerror(error))


def context(name="churn", **fields):
    values = {"endpoint_id": "e", "served_entity_id": "s", "served_entity_name": "churn-1", "model_name": "churn"}
    values |= {
        "model_version": "1",
        "config_version": 1,
        "route": "churn-1",
        "probability": 1.0,
        "table": "churn_payload",
    }
    return Context(number=0, endpoint_name=name, **(values | fields))


def invocation(number, request_id, body=b'{"inputs": [1]}'):
    return Invocation(
        number, request_id, 1_700_000_000_000_000, 1.5, 200, "live", "me", "curl", "application/json",
        "application/json", 1, len(body), 2, body, b"{}",
    )  # fmt: skip


def append(journal, *request_ids, **options):
    number = journal.number_of(context())
    for request_id in request_ids:
        journal.append(invocation(number, request_id), **options)


def ids(folder):
    """Request ids of all streams, with readers that start anew."""
    found = []
    for stream in find_streams(folder):
        reader = StreamReader(stream)
        while entries := reader.read(1 << 20):
            found += [entry.record.request_id for entry in entries]
    return found


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def disk(clock):
    return Disk(clock)


@pytest.fixture
def journal(tmp_path, clock, disk):
    return Journal(tmp_path, "gateway-0", clock=clock, write=disk.write, sync=disk.sync)


async def test_records_of_one_turn_are_one_write_and_come_back_in_order(journal, disk, tmp_path):
    append(journal, "a", "b", "c")
    await asyncio.sleep(0)
    assert disk.writes == 2  # header and contexts of the segment, then the records
    assert ids(tmp_path) == ["a", "b", "c"]
    append(journal, "d")
    await asyncio.sleep(0)
    assert disk.writes == 3
    assert ids(tmp_path) == ["a", "b", "c", "d"]


async def test_what_is_flushed_is_on_disk_before_flush_returns(journal, tmp_path):
    append(journal, "a")
    assert ids(tmp_path) == []
    journal.flush()
    assert ids(tmp_path) == ["a"]


async def test_a_reader_follows_a_writer_and_gives_each_record_once(journal, tmp_path):
    append(journal, "a")
    journal.flush()
    reader = StreamReader(next(find_streams(tmp_path)))
    assert [entry.record.request_id for entry in reader.read(1 << 20)] == ["a"]
    assert reader.read(1 << 20) == []
    append(journal, "b")
    journal.flush()
    (entry,) = reader.read(1 << 20)
    assert (entry.record.request_id, entry.sequence, entry.context.endpoint_name) == ("b", 2, "churn")
    assert reader.torn_bytes == 0


async def test_each_segment_names_its_contexts_anew(tmp_path, clock):
    journal = Journal(tmp_path, "gateway-0", clock=clock, segment_bytes=100)
    for request_id in "abc":
        append(journal, request_id)
        journal.flush()
    reader = StreamReader(next(find_streams(tmp_path)))
    reader.read(1)
    entries = StreamReader(reader.folder).read(1 << 20)
    assert [entry.record.request_id for entry in entries] == ["a", "b", "c"]
    assert {entry.context.served_entity_name for entry in entries} == {"churn-1"}
    assert len(list(reader.folder.glob("*.journal"))) == 3


async def test_segments_are_taken_away_only_when_all_of_them_is_safe(tmp_path, clock):
    journal = Journal(tmp_path, "gateway-0", clock=clock, segment_bytes=100)
    for request_id in "abc":
        append(journal, request_id)
        journal.flush()
    reader = StreamReader(next(find_streams(tmp_path)))
    reader.read(1 << 20)
    reader.forget(before=2)
    assert ids(tmp_path) == ["b", "c"]
    reader.forget(before=100)
    # The last one is still written to.
    assert ids(tmp_path) == ["c"]
    await journal.close()
    reader.read(1 << 20)
    reader.forget(before=100)
    assert ids(tmp_path) == []


async def test_a_segment_cut_at_any_byte_gives_its_whole_records_and_reports_the_rest(journal, tmp_path):
    append(journal, "a", "b", "c")
    await journal.close()
    stream = next(find_streams(tmp_path))
    path = next(stream.glob("*.journal"))
    data = path.read_bytes()
    whole = read_records(data, HEADER_BYTES)
    ends = [end for end in range(HEADER_BYTES, len(data) + 1) if read_records(data[:end], HEADER_BYTES).end == end]
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        reader = StreamReader(stream)
        found = [entry.record.request_id for entry in reader.read(1 << 20)]
        assert found == ["a", "b", "c"][: len(found)]
        records = (
            [record for _, record in read_records(data[:cut], HEADER_BYTES).records] if cut >= HEADER_BYTES else []
        )
        assert len(found) == sum(isinstance(record, Invocation) for record in records)
        good = max((end for end in ends if end <= cut), default=0)
        assert reader.torn_bytes == cut - good
        assert reader.damaged_bytes == 0
        # And it is over: nothing waits for more of it.
        reader.forget(before=100)
        assert not path.exists()
    assert sum(isinstance(record, Invocation) for _, record in whole.records) == 3


async def test_a_flipped_byte_sets_aside_the_rest_of_its_segment_and_no_other(tmp_path, clock):
    journal = Journal(tmp_path, "gateway-0", clock=clock, segment_bytes=300)
    for request_id in "abcdef":
        append(journal, request_id)
        journal.flush()
    await journal.close()
    stream = next(find_streams(tmp_path))
    first, *others = sorted(stream.glob("*.journal"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 0x40
    first.write_bytes(data)
    reader = StreamReader(stream)
    found = [entry.record.request_id for entry in reader.read(1 << 20)]
    assert others
    assert found[-1] == "f"
    assert len(found) < 6
    assert 0 < reader.damaged_bytes < len(data)
    reader.forget(before=100)
    assert [path.read_bytes() for path in (tmp_path / DAMAGED).iterdir()] == [bytes(data)]


async def test_zeros_at_the_end_are_a_torn_tail(journal, tmp_path):
    append(journal, "a")
    await journal.close()
    stream = next(find_streams(tmp_path))
    path = next(stream.glob("*.journal"))
    path.write_bytes(path.read_bytes() + bytes(5000))
    reader = StreamReader(stream)
    assert [entry.record.request_id for entry in reader.read(1 << 20)] == ["a"]
    assert (reader.torn_bytes, reader.damaged_bytes) == (5000, 0)


async def test_a_full_disk_drops_rows_counts_them_exactly_and_is_tried_again(journal, disk, clock, tmp_path):
    append(journal, "a")
    journal.flush()
    disk.free = 50  # a part of a record
    append(journal, "b", "c")
    journal.flush()
    assert journal.dropped == {"disk_full": 2}
    assert not journal.is_well
    append(journal, "d")
    journal.flush()
    assert journal.dropped == {"disk_full": 3}
    disk.free = None
    clock.now += RETRY_S
    append(journal, "e")
    journal.flush()
    assert journal.is_well
    assert ids(tmp_path) == ["a", "e"]
    (stream,) = find_streams(tmp_path)
    reader = StreamReader(stream)
    reader.read(1 << 20)
    assert reader.torn_bytes == reader.damaged_bytes == reader.orphaned_records == 0


async def test_a_disk_that_stays_full_leaves_no_litter(journal, disk, clock, tmp_path):
    disk.free = 10
    for _ in range(20):
        append(journal, "a")
        journal.flush()
        clock.now += RETRY_S
    assert journal.dropped == {"disk_full": 20}
    assert list(tmp_path.glob("*/*.journal")) == []


async def test_whoever_waits_is_told_of_a_failed_write(journal, disk):
    told = []
    disk.write_error = errno.EROFS
    append(journal, "a", on_done=told.append)
    journal.flush()
    assert told == [False]
    assert journal.dropped == {"read_only": 1}


async def test_whoever_waits_for_a_write_is_told_after_it(journal, disk, tmp_path):
    told = []
    append(journal, "a", on_done=lambda is_safe: told.append((is_safe, ids(tmp_path))))
    journal.flush()
    assert told == [(True, ["a"])]
    assert disk.syncs == 0


async def settle(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("did not settle")


async def test_a_durable_record_is_told_of_after_a_sync_that_many_share(journal, disk):
    told = []
    append(journal, *"abcdefgh", on_done=told.append, is_durable=True)
    journal.flush()
    assert told == []
    await settle(lambda: len(told) == 8)
    assert told == [True] * 8
    assert disk.syncs == 1


async def test_after_a_failed_sync_the_records_are_written_again_elsewhere_and_read_once(journal, disk, tmp_path):
    told = []
    append(journal, "a")
    disk.sync_error = errno.EIO
    append(journal, "b", on_done=told.append, is_durable=True)
    journal.flush()
    await settle(lambda: told)
    assert told == [True]
    assert journal.sync_failures == 1
    (stream,) = find_streams(tmp_path)
    assert len(list(stream.glob("*.journal"))) == 2
    assert ids(tmp_path) == ["a", "b"]
    # What the first file held may be gone after a power cut.
    sorted(stream.glob("*.journal"))[0].unlink()
    assert ids(tmp_path) == ["b"]


async def test_a_disk_that_never_syncs_tells_those_who_wait(tmp_path, clock, disk):
    def sync(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    journal = Journal(tmp_path, "gateway-0", clock=clock, write=disk.write, sync=sync)
    told = []
    append(journal, "a", on_done=told.append, is_durable=True)
    journal.flush()
    await settle(lambda: told)
    assert told == [False]
    assert journal.sync_failures == 2


async def test_after_a_slow_write_rows_are_dropped_for_a_while_but_not_those_that_somebody_waits_for(
    journal, disk, clock, tmp_path
):
    disk.write_takes_s = SLOW_S
    append(journal, "a")
    journal.flush()
    disk.write_takes_s = 0.0
    told = []
    append(journal, "b")
    append(journal, "c", on_done=told.append)
    journal.flush()
    assert journal.dropped == {"disk_slow": 1}
    assert told == [True]
    clock.now += SLOW_PAUSE_S
    append(journal, "d")
    journal.flush()
    assert ids(tmp_path) == ["a", "c", "d"]


async def test_a_journal_that_nobody_reads_stops_growing(tmp_path, clock):
    journal = Journal(tmp_path, "gateway-0", clock=clock, max_bytes=2000)
    for number in range(50):
        append(journal, f"r{number}")
        journal.tick()
        clock.now += 1.0
    assert journal.dropped["journal_full"] + len(ids(tmp_path)) == 50
    assert 2000 <= journal.view().bytes < 4000
    for path in tmp_path.glob("*/*.journal"):
        path.unlink()
    journal.tick()
    clock.now += 1.0
    append(journal, "later")
    journal.flush()
    assert ids(tmp_path) == ["later"]


async def test_lazy_records_wait_for_the_next_tick(journal, tmp_path):
    append(journal, "a", is_lazy=True)
    await asyncio.sleep(0)
    assert ids(tmp_path) == []
    journal.tick()
    assert ids(tmp_path) == ["a"]


async def test_answers_wait_for_no_lazy_record_but_take_it_along_with_one_that_is_not(journal, tmp_path):
    append(journal, "a", is_lazy=True)
    journal.before_sending()
    assert ids(tmp_path) == []
    append(journal, "b")
    journal.before_sending()
    assert ids(tmp_path) == ["a", "b"]


async def test_many_contexts_are_numbered_anew_and_every_record_finds_its_own(tmp_path, clock):
    journal = Journal(tmp_path, "gateway-0", clock=clock, segment_bytes=50_000)
    for number in range(5000):
        journal.append(invocation(journal.number_of(context(f"e{number}")), f"e{number}"))
    await journal.close()
    (stream,) = find_streams(tmp_path)
    reader = StreamReader(stream)
    entries = []
    while found := reader.read(1 << 20):
        entries += found
    assert len(entries) == 5000
    assert reader.orphaned_records == 0
    assert all(entry.context.endpoint_name == entry.record.request_id for entry in entries)


def test_a_file_that_is_no_segment_is_set_aside(tmp_path):
    stream = tmp_path / "gateway-0-0123456789abcdef"
    stream.mkdir()
    (stream / "00000001.journal").write_bytes(b"something else entirely, and long enough")
    reader = StreamReader(stream)
    assert reader.read(1 << 20) == []
    assert reader.damaged_bytes == 40


def test_records_of_another_stream_are_not_read_as_ours(tmp_path):
    stream = tmp_path / "gateway-0-0123456789abcdef"
    stream.mkdir()
    data = render_header("fedcba9876543210") + render_record(1, invocation(1, "a"))
    (stream / "00000001.journal").write_bytes(data)
    assert StreamReader(stream).read(1 << 20) == []


async def test_a_stream_whose_writer_is_gone_is_removed_when_it_is_empty_and_old(journal, tmp_path):
    append(journal, "a")
    journal.flush()
    (folder,) = find_streams(tmp_path)
    reader = StreamReader(folder)
    reader.read(1 << 20)
    assert reader.is_written()
    await journal.close()
    reader.read(1 << 20)
    reader.forget(before=100)
    assert not reader.is_written()
    assert not reader.remove_if_over()
    os.utime(folder, (1, 1))
    assert reader.remove_if_over()
    assert not folder.exists()
