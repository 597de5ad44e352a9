"""Which questions about environments are asked, one at a time, by a process of its own; and what came out of each.

A process, since environments are built for minutes and the model is loaded in each; it goes before everything else
where the machine is short of time or memory, and ends with the monitor.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from tallystick.errors import InvalidParameter
from tallystick.gate import golden
from tallystick.gate.report import GateReport
from tallystick.monitor.ablation_records import (
    LIMIT_S,
    Ablated,
    Question,
    Record,
    Standing,
    State,
    begun,
    failed,
    question_of,
    standing_of,
    told,
)
from tallystick.private_file import replace_private
from tallystick.protocol.monitoring import ABLATIONS_FOLDER, PARITY_FOLDER

#: Below the folder of records: where environments are built, each removed when it was asked.
SCRATCH = "building"
#: Questions that may wait for the one that is asked.
MOST_WAITING = 20
#: Seconds that the process has beyond its limit to end by itself.
_SLACK_S = 60.0

_log = logging.getLogger("tallystick.monitor")
#: Id of an endpoint and of a served entity, which are to be looked at again when the answer is there.
Asker = tuple[str, str]


class Child(Protocol):
    """The process that asks."""

    def poll(self) -> int | None:
        """Return its exit status; None while it runs."""

    def end(self) -> None:
        """Have it and all that it started killed."""


class Ablations:
    """Belongs to the monitor's main thread: a process that is started ends with the thread's process."""

    def __init__(
        self,
        data_dir: Path,
        *,
        is_on: bool = True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        start: Callable[[list[str]], Child] | None = None,
    ) -> None:
        self._folder = data_dir / PARITY_FOLDER / ABLATIONS_FOLDER
        self._is_on, self._clock = is_on, clock
        self._start = start or _Started
        self._child: Child | None = None
        self._asked: Record | None = None
        #: By key.
        self._waiting: dict[str, Question] = {}
        self._askers: dict[str, set[Asker]] = {}
        self._ended: set[Asker] = set()
        # What one that was killed left there.
        shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def is_busy(self) -> bool:
        """Whether a process is at work, or about to be."""
        return self._child is not None or bool(self._waiting)

    def of(self, asker: Asker, digest: str, model: Path, report: GateReport) -> Ablated | None:
        """Return what is known of the environment of a replica whose golden rows differ; ask for it where nothing is.

        None where the environment is training's, or neither side says what it is.
        """
        question = _question(digest, model, report)
        if question is None:
            return None
        record, key = self._read(question), question.key
        is_under_way = self._asked is not None and self._asked.key == key
        standing = standing_of(question, record, self._clock(), is_on=self._is_on, is_under_way=is_under_way)
        if standing is Standing.DUE and len(self._waiting) < MOST_WAITING:
            self._waiting[key] = question
        if standing in (Standing.DUE, Standing.UNDER_WAY):
            self._askers.setdefault(key, set()).add(asker)
        return told(question, standing, record)

    def tick(self) -> None:
        """Take what came out, and begin the next question."""
        if self._child is not None and self._asked is not None:
            status = self._child.poll()
            if status is None:
                if self._seconds(self._asked) > LIMIT_S + _SLACK_S:
                    self._child.end()
                return
            self._child.end()
            self._take(self._asked, status)
            self._child = self._asked = None
        while self._waiting and self._child is None:
            key = next(iter(self._waiting))
            self._begin(self._waiting.pop(key))

    def ended(self, endpoint_id: str) -> set[str]:
        """Return served entities of an endpoint whose answer came since this was asked last."""
        found = {asker for asker in self._ended if asker[0] == endpoint_id}
        self._ended -= found
        return {entity_id for _, entity_id in found}

    def close(self) -> None:
        """End what is at work; it is begun again when it is asked for."""
        if self._child is not None:
            self._child.end()

    @property
    def _scratch(self) -> Path:
        return self._folder / SCRATCH

    def _seconds(self, record: Record) -> float:
        return (self._clock() - datetime.fromisoformat(record.begun_at)).total_seconds()

    def _begin(self, question: Question) -> None:
        record = begun(question, self._read(question), self._clock())
        path = self._path(record)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Before it begins: one that takes the machine with it is not begun for ever.
            replace_private(path, msgspec.json.encode(record))
            argv = [str(path), str(question.model), str(self._scratch), str(LIMIT_S)]
            self._child, self._asked = self._start(argv), record
        except OSError as error:
            _log.error("training's environment could not be asked for: %s", error.strerror)
            # Nothing came out, so nobody looks again for it: the next diagnosis asks anew.
            self._askers.pop(record.key, None)
            return
        _log.warning(
            "golden rows of model %s differ, and so does its environment: training's is built, which takes minutes",
            record.digest[:12],
        )

    def _take(self, record: Record, status: int) -> None:
        known = _read(self._path(record))
        if known is None or known.state is State.BEGUN:
            how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
            known = failed(record, f"its process ended ({how}); the server's log may say more", self._clock())
            with contextlib.suppress(OSError):
                replace_private(self._path(record), msgspec.json.encode(known))
        _log.warning("the environment of model %s: %s", record.digest[:12], known.ruling or known.reason)
        self._ended |= self._askers.pop(record.key, set())

    def _read(self, question: Question) -> Record | None:
        found = _read(self._folder / f"{question.digest}-{question.key}.json")
        return found if found is not None and found.key == question.key else None

    def _path(self, record: Record) -> Path:
        # Files of models that are not served any more are known by their name.
        return self._folder / f"{record.digest}-{record.key}.json"


def _question(digest: str, model: Path, report: GateReport) -> Question | None:
    if not report.environment or not digest:
        return None
    try:
        found = golden.find(model)
        block = (model / golden.FOLDER / golden.FILE).read_bytes()
    except (InvalidParameter, OSError):
        return None
    if found is None or not found.predictions.rows:
        return None
    return question_of(digest, model, hashlib.sha256(block).hexdigest(), found.environment, report.environment)


def _read(path: Path) -> Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return None


class _Started:
    """The process as the system has it. It leads a group with all that it starts, and ends when our end closes."""

    def __init__(self, arguments: list[str]) -> None:
        # -P: a file in the folder that the server was started in must not shadow a module.
        argv = [sys.executable, "-P", "-m", "tallystick.monitor.ablating", *arguments]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603  our own

    def poll(self) -> int | None:
        return self._process.poll()

    def end(self) -> None:
        # Its number is its group's until the last of the group is gone.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.stdin is not None:
            self._process.stdin.close()
