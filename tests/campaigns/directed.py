"""Power cuts at every place that matters: ``python -m campaigns.directed``.

A journal, a recorder and a table in this process, on a disk that is cut before and after each write, each sync and
each removal that they make, one run a place. What was acknowledged before the cut has exactly one row after it.
"""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import polars

from campaigns.disk import CUTS, LoopDisk, NoDisk
from tallystick.journal import writer as writer_module
from tallystick.journal.format import Context, Invocation
from tallystick.journal.reader import StreamReader
from tallystick.journal.writer import Journal
from tallystick.records import delta as delta_module
from tallystick.records.delta import DeltaWriter
from tallystick.records.recorder import Recorder

CONTEXT = Context(0, "m", "e", "s", "m-1", "m", "1", 1, "m-1", 1.0, "m_payload")
TIME_US = 1_790_000_000_000_000
#: Turns of a run: records, and a sync. A segment holds two turns, a commit three, and every second version is followed
#: by a checkpoint.
TURNS, RECORDS_A_TURN, SEGMENT_BYTES, COMMIT_TURNS, CHECKPOINT_EVERY = 12, 3, 600, 3, 2


@dataclass
class Run:
    """One run, and where its power is cut: before or after its `cut_at`-th step."""

    folder: Path
    cut: Callable[[], None]
    cut_at: int = -1
    is_after: bool = False
    steps: list[str] = field(default_factory=list)
    is_cut: bool = False
    acknowledged: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step that writes, syncs or removes something."""
        self.refuse_if_cut()
        place = len(self.steps)
        self.steps.append(name)
        if place == self.cut_at and not self.is_after:
            self._cut()
        yield
        if place == self.cut_at:
            self._cut()

    def refuse_if_cut(self) -> None:
        if self.is_cut:
            raise OSError(errno.EIO, "the power is off")

    def _cut(self) -> None:
        self.is_cut = True
        self.cut()
        self.refuse_if_cut()

    def teller(self, request_id: str, told: list[bool]) -> Callable[[bool], None]:
        """Return what the journal calls when a record is safe, or cannot be."""

        def done(is_safe: bool) -> None:
            told.append(is_safe)
            if is_safe and not self.is_cut:
                self.acknowledged.append(request_id)

        return done


def stepping(run: Run, name: Callable[[Path], str], call: Callable[..., None]) -> Callable[..., None]:
    """Return `call`, whose first argument is a path, as a step of the run."""

    def called(path, *arguments):
        with run.step(name(path)):
            return call(path, *arguments)

    return called


def kind_of(path: Path) -> str:
    kinds = {".json": "entry", ".parquet": "data file", "": "folder"}
    return "checkpoint" if "checkpoint" in path.name else kinds.get(path.suffix, path.suffix)


@contextlib.contextmanager
def watched(run: Run) -> Iterator[None]:
    """Make every sync of the table, every sync of a folder and every removal a step of the run."""
    forget = StreamReader.forget

    def forgetting(reader: StreamReader, before: int) -> None:
        with run.step("take away"):
            forget(reader, before)

    with (
        mock.patch.object(
            delta_module, "_sync", stepping(run, lambda path: f"sync {kind_of(path)}", delta_module._sync)
        ),
        mock.patch.object(
            writer_module, "_sync_folder", stepping(run, lambda _: "sync journal folder", writer_module._sync_folder)
        ),
        mock.patch.object(StreamReader, "forget", forgetting),
        mock.patch.object(delta_module, "CHECKPOINT_EVERY", CHECKPOINT_EVERY),
    ):
        yield


def recorder_of(folder: Path) -> Recorder:
    def open_table(table, schema, partition):
        return DeltaWriter(str(folder / "tables" / table), schema, partition)

    return Recorder(folder / "journal", open_table, lambda context: None)


async def live(run: Run, sync: Callable[[int], None]) -> None:
    """Append, acknowledge and record, turn by turn, until the power is off."""

    def write(descriptor: int, data: bytes) -> int:
        with run.step("write journal"):
            return os.write(descriptor, data)

    def syncing(descriptor: int) -> None:
        with run.step("sync journal"):
            sync(descriptor)

    journal = Journal(run.folder / "journal", "gateway-0", segment_bytes=SEGMENT_BYTES, write=write, sync=syncing)
    recorder = recorder_of(run.folder)
    for turn in range(TURNS):
        told: list[bool] = []
        number = journal.number_of(CONTEXT)
        for place in range(RECORDS_A_TURN):
            request_id = f"{turn}-{place}"
            record = Invocation(number, request_id, TIME_US, 1.0, 200, "live", "", "", "", "", 1, 2, 2, b"{}", b"[]")
            journal.append(record, on_done=run.teller(request_id, told), is_durable=True)
        journal.flush()
        while len(told) < RECORDS_A_TURN:
            await asyncio.sleep(0)
        # What the power cut makes of its files is the recorder's own trouble, and ends it.
        with contextlib.suppress(OSError):
            recorder.step(flush=turn % COMMIT_TURNS == COMMIT_TURNS - 1)
        if run.is_cut:
            break
    await journal.close()


def sync_for_real(descriptor: int) -> None:
    os.fdatasync(descriptor)


def outcome(folder: Path, acknowledged: list[str]) -> str:
    """Start anew after the cut; return what is wrong, or ''."""
    recorder = recorder_of(folder)
    if not recorder.drain(recorder._clock() + 5):
        return f"BROKEN {recorder.problems}"
    table = folder / "tables" / CONTEXT.table
    if not table.exists():
        return f"LOST {len(acknowledged)}" if acknowledged else ""
    try:
        found = Counter(polars.read_delta(str(table))["databricks_request_id"])
    except Exception as error:
        return f"BROKEN {type(error).__name__}"
    lost, dup = set(acknowledged) - found.keys(), [key for key, count in found.items() if count > 1]
    return " ".join(f"{kind} {len(ids)}" for kind, ids in {"LOST": lost, "DUP": dup}.items() if ids)


@dataclass
class Tally:
    """What became of all cuts."""

    cuts: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0

    def __str__(self) -> str:
        text = f"{self.cuts.total()} cuts, {self.acknowledged} acknowledged, {self.wrong.total()} wrong"
        return text + "".join(f"\n  {count} x {what}" for what, count in self.wrong.most_common(8))


def campaign(
    disk: LoopDisk, sync: Callable[[int], None] = sync_for_real, stride: int = 1, only: tuple[str, ...] = ("",)
) -> Tally:
    """Cut at every `stride`-th place whose name ends as `only` says, in both ways; return what became of it."""
    steps = _one(disk, sync, -1, False, "", Tally())
    places = [place for place, name in enumerate(steps) if name.endswith(only)]
    tally = Tally()
    for kind in CUTS:
        for place in places[::stride]:
            for is_after in (False, True):
                _one(disk, sync, place, is_after, kind, tally)
    return tally


def _one(disk: LoopDisk, sync: Callable[[int], None], place: int, is_after: bool, kind: str, tally: Tally) -> list[str]:
    folder = disk.mount / "run"
    folder.mkdir()
    # Of the run before nothing may be under way, and this one's folder is there.
    for path in (folder, disk.mount):
        writer_module._sync_folder(path)
    run = Run(folder, lambda: disk.cut(CUTS[kind]), place, is_after)
    with watched(run):
        asyncio.run(live(run, sync))
    if place >= 0:
        gc.collect()
        disk.remount()
        with mock.patch.object(delta_module, "CHECKPOINT_EVERY", CHECKPOINT_EVERY):
            found = outcome(folder, run.acknowledged)
        where = f"{'after' if is_after else 'before'} {run.steps[place]}"
        tally.cuts[where] += 1
        tally.acknowledged += len(run.acknowledged)
        if found:
            tally.wrong[f"{found} ({where}, {kind})"] += 1
    shutil.rmtree(folder)
    return run.steps


def main(arguments: list[str]) -> int:
    """Cut at every place; return 1 when something was lost or doubled."""
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="tallystick-cuts-") as folder:
        try:
            disk = LoopDisk(Path(folder), megabytes=64)
        except NoDisk as reason:
            print(f"skipped: this machine cannot cut the power of a disk: {reason}")
            return 0
        try:
            tally = campaign(disk)
        finally:
            disk.close()
    print(f"at chosen places: {tally}\n  {dict(tally.cuts)}")
    return int(bool(tally.wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
