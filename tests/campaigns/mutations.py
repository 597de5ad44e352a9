"""Each defence switched off, one at a time: ``python -m campaigns.mutations`` fails unless all of that is noticed.

Defences against a power cut meet the cuts of `directed`; what makes an answer wait for its record meets the kills of
`kills`. The same defences are switched off in `tests/unit/records/test_defences.py`, one place each, without a disk.
"""

import argparse
import contextlib
import logging
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from campaigns import directed, kills
from campaigns.disk import LoopDisk, NoDisk
from tallystick.journal import writer as writer_module
from tallystick.records import delta as delta_module
from tallystick.records.delta import DeltaWriter
from tallystick.records.recorder import Recorder

SEED = 20


def _no_sync(*_: object) -> None:
    """Leave it to the kernel."""


def _forget_all(recorder: Recorder) -> None:
    for reader in recorder._streams.values():
        reader.forget(reader.last_sequence + 1)


def _forget_first(recorder: Recorder, is_all: bool, original=Recorder._commit_due) -> None:
    _forget_all(recorder)
    original(recorder, is_all)


@dataclass(frozen=True)
class Mutation:
    """A defence, and how it is switched off."""

    defence: str
    switch_off: Callable[[], AbstractContextManager[Any]]
    sync: Callable[[int], None] = directed.sync_for_real
    is_harmful: bool = True
    #: Places where the power is cut, where few of them do harm.
    only: tuple[str, ...] = ("",)


MUTATIONS = (
    Mutation("none is off", contextlib.nullcontext, is_harmful=False),
    Mutation(
        "answers wait for a sync of the journal",
        lambda: mock.patch.object(writer_module, "_sync_folder", _no_sync),
        _no_sync,
    ),
    Mutation(
        "a commit is synced before its segments are taken away",
        lambda: mock.patch.object(delta_module, "_sync", _no_sync),
    ),
    Mutation(
        "segments are taken away after the commit", lambda: mock.patch.object(Recorder, "_commit_due", _forget_first)
    ),
    Mutation("the table is asked what is in it", lambda: mock.patch.object(DeltaWriter, "committed", return_value=0)),
    # delta-rs heals what it reads as an empty version; the first entry and a checkpoint it does not.
    Mutation(
        "what was torn is mended",
        lambda: mock.patch.object(delta_module, "mend", return_value=[]),
        only=("entry", "checkpoint"),
    ),
)


def cuts(stride: int) -> list[str]:
    """Return what is not as it should be: a defence that nobody misses, or cuts that do harm with all of them on."""
    surprises = []
    for mutation in MUTATIONS:
        with tempfile.TemporaryDirectory(prefix="tallystick-cuts-") as folder:
            disk = LoopDisk(Path(folder), megabytes=64)
            try:
                with mutation.switch_off():
                    every = stride if mutation.only == ("",) else 1
                    tally = directed.campaign(disk, mutation.sync, every, mutation.only)
            finally:
                disk.close()
        print(f"{mutation.defence}: {tally}", flush=True)
        if bool(tally.wrong) != mutation.is_harmful:
            surprises.append(mutation.defence)
    return surprises


def kills_without_barrier() -> list[str]:
    """Return what nobody misses when answers do not wait for their records."""
    path = {"PYTHONPATH": str(Path(__file__).parent / "without_barrier")}
    with tempfile.TemporaryDirectory(prefix="tallystick-kills-") as folder:
        verdict = kills.run(Path(folder), 3, 8.0, SEED, path)
    return [] if verdict.lost else ["an answer waits for its record"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stride", type=int, default=3, help="cut at every so manieth place")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    surprises = kills_without_barrier()
    try:
        surprises += cuts(given.stride)
    except NoDisk as reason:
        print(f"cuts are skipped: this machine cannot cut the power of a disk: {reason}")
    for surprise in surprises:
        print(f"NOT NOTICED, or harm without cause: {surprise}")
    sys.exit(bool(surprises))


if __name__ == "__main__":
    main()
