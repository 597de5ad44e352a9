"""The process that asks whether it is the environment: `python -m tallystick.monitor.ablating`, started by `ablations`.

Its arguments are the file of a record, a model's folder, a folder to build in, and seconds. It reads the record of the
question, builds environments with uv, has the model predict its golden rows in each, and puts the answer in the
record's place. It leads a process group; when its standard input ends, which the monitor holds, or the seconds have
passed, the whole group is killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tallystick.gate import golden
from tallystick.gate.golden import Golden
from tallystick.monitor.ablation_records import Record, done, failed
from tallystick.parity.ablation import AblationFailed, Runner, UvRunner, ablate
from tallystick.private_file import replace_private

_log = logging.getLogger("tallystick.monitor")


@dataclass
class Counted:
    """A runner that counts the environments."""

    runner: Runner
    builds: int = field(default=0)

    def predict(self, versions: Mapping[str, str]) -> list[list[Any]]:
        """Return what the runner returns."""
        self.builds += 1
        return self.runner.predict(versions)


def answered(record: Record, rows: Golden, runner: Runner, now: datetime | None = None) -> Record:
    """Return the record of a question with what came out. Blocks for minutes; raises nothing."""
    counted = Counted(runner)
    try:
        found = ablate(rows, record.serving, counted)
    except AblationFailed as error:
        _log.warning("%s", error.message)
        return failed(record, error.brief, now or datetime.now(UTC), counted.builds)
    except Exception as error:  # noqa: BLE001  the boundary of the process; whoever waits is told
        _log.exception("training's environment could not be compared")
        reason = f"{type(error).__name__}; the server's log says more"
        return failed(record, reason, now or datetime.now(UTC), counted.builds)
    return done(record, found, now or datetime.now(UTC), counted.builds)


def main(arguments: list[str]) -> None:
    """Answer one question."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    path, model, scratch, limit = Path(arguments[0]), Path(arguments[1]), Path(arguments[2]), float(arguments[3])
    _give_way()
    record = msgspec.json.decode(path.read_bytes(), type=Record)
    # Held for good by whoever writes the answer: without its folder, what is built here fails, and would say so.
    answering = threading.Lock()
    given = (record, path, scratch, limit, answering)
    watch = threading.Thread(target=_end_in_time, args=given, daemon=True, name="lifeline")
    watch.start()
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700, parents=True)
    rows = golden.find(model)
    if rows is None:
        ended = failed(record, "the model has no golden rows any more", datetime.now(UTC))
    else:
        # What gets only what is left of the processor takes any time: the limit is of all together, and comes first.
        runner = UvRunner(model, rows, scratch=scratch, build_timeout_s=2 * limit, predict_timeout_s=2 * limit)
        ended = answered(record, rows, runner)
    answering.acquire()
    shutil.rmtree(scratch, ignore_errors=True)
    replace_private(path, msgspec.json.encode(ended))


def _give_way() -> None:
    """Run when nobody else wants to, and be the first to go where memory is short; so do all that are started here."""
    with contextlib.suppress(OSError):
        os.nice(19)
    if sys.platform == "linux":
        # Invocations that wake take the processor from these at once; the disk's queue follows.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
        # Where sessions share the processor, it is the session that gives way.
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text("19")


def _end_in_time(record: Record, path: Path, scratch: Path, limit_s: float, answering: threading.Lock) -> None:
    """Wait for the monitor to be gone or the time to be up, then kill this process and all that it started."""
    is_gone, _, _ = select.select([sys.stdin.fileno()], [], [], limit_s)
    if not is_gone and answering.acquire(blocking=False):
        reason = f"it took longer than {limit_s / 60:g} minutes"
        with contextlib.suppress(OSError):
            replace_private(path, msgspec.json.encode(failed(record, reason, datetime.now(UTC))))
        shutil.rmtree(scratch, ignore_errors=True)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    # Started by hand, in somebody else's group.
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
