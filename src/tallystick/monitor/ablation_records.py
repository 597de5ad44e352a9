"""What is known of training's environment, built again: a record for each question, and what follows from it. Pure.

A question is a model, its golden rows and the environment that serves it: where none of these changes, neither does
the answer, so each is asked once. What failed may be mended (a network that was away), so that is tried again after a
day.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import msgspec

from tallystick.parity.ablation import compared, levers_of, no_lever
from tallystick.parity.endpoint import Environment

#: All builds and predictions of one question, together: some minutes, where the machine has time left.
LIMIT_S = 7200.0
#: A failure stands for so long.
AGAIN = timedelta(days=1)
#: Begun so often and never ended (the server was stopped, or the machine was): then it counts as failed.
MOST_TRIES = 3
#: Of an environment, what decides neither a number nor what is built; it changes with settings and replicas.
_IDLE = frozenset({"threads", "locale", "time_zone", "pandas_text"})


class State(StrEnum):
    """How far a question is."""

    BEGUN = "begun"
    DONE = "done"
    FAILED = "failed"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One question, as it is kept. Times are ISO 8601, UTC."""

    key: str
    #: SHA-256 over the model's files.
    digest: str
    #: The environment that serves, as the replica observed it.
    serving: dict[str, str]
    state: State
    begun_at: str
    ended_at: str = ""
    tries: int = 1
    #: What came out, as `Environment` has it.
    guilty: tuple[str, ...] = ()
    is_cleared: bool = False
    ruling: str = ""
    #: Why nothing came out, fit for a verdict.
    reason: str = ""
    builds: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Question:
    """Whether it is the environment that `model` is served in, and which package of it."""

    digest: str
    model: Path
    #: Digest of the golden file.
    golden: str
    serving: Mapping[str, str]
    #: How it differs from training's.
    known: Environment
    #: Whether something of that can be put back to training's version.
    has_lever: bool

    @property
    def key(self) -> str:
        """What the answer depends on, in 24 digits."""
        told = {name: text for name, text in self.serving.items() if name not in _IDLE}
        whole = json.dumps([self.digest, self.golden, sorted(told.items())])
        return hashlib.sha256(whole.encode()).hexdigest()[:24]


def question_of(
    digest: str, model: Path, golden: str, trained: Mapping[str, str], serving: Mapping[str, str]
) -> Question | None:
    """Return what there is to ask where golden rows differ; None where nothing that decides numbers differs."""
    if not trained or not serving:
        return None
    known = compared(trained, serving)
    if not known.relevant:
        return None
    return Question(digest, model, golden, dict(serving), known, bool(levers_of(known, trained)))


class Standing(StrEnum):
    """How a question stands."""

    #: To be begun now.
    DUE = "due"
    UNDER_WAY = "under way"
    DONE = "done"
    FAILED = "failed"
    #: The server does not ask by itself.
    OFF = "off"
    #: Nothing can be built that would tell.
    NO_LEVER = "no lever"


def standing_of(
    question: Question, record: Record | None, now: datetime, *, is_on: bool, is_under_way: bool
) -> Standing:
    """Return how a question stands, by what is kept of it and whether it is in work."""
    if not question.has_lever:
        return Standing.NO_LEVER
    if record is not None and record.state is State.DONE:
        return Standing.DONE
    if is_under_way:
        return Standing.UNDER_WAY
    if not is_on:
        return Standing.OFF
    if record is None or now >= again_at(record):
        return Standing.DUE
    is_cut_off = record.state is State.BEGUN and record.tries < MOST_TRIES
    return Standing.DUE if is_cut_off else Standing.FAILED


def again_at(record: Record) -> datetime:
    """Return when a question that came to nothing may be asked again."""
    return datetime.fromisoformat(record.ended_at or record.begun_at) + AGAIN


def begun(question: Question, record: Record | None, now: datetime) -> Record:
    """Return the record of a question that is about to be asked."""
    is_again = record is not None and record.state is State.BEGUN and now < again_at(record)
    return Record(
        key=question.key,
        digest=question.digest,
        serving=dict(question.serving),
        state=State.BEGUN,
        begun_at=now.isoformat(),
        tries=record.tries + 1 if record is not None and is_again else 1,
    )


def done(record: Record, found: Environment, now: datetime, builds: int) -> Record:
    """Return the record with its answer."""
    return _ended(
        record, now, builds, state=State.DONE, guilty=found.guilty, is_cleared=found.is_cleared, ruling=found.ruling
    )


def failed(record: Record, reason: str, now: datetime, builds: int = 0) -> Record:
    """Return the record of a question that came to nothing."""
    return _ended(record, now, builds, state=State.FAILED, reason=reason)


def _ended(record: Record, now: datetime, builds: int, **changes: object) -> Record:
    seconds = (now - datetime.fromisoformat(record.begun_at)).total_seconds()
    ended: Record = msgspec.structs.replace(
        record, ended_at=now.isoformat(), builds=builds, seconds=round(seconds, 1), **changes
    )
    return ended


@dataclass(frozen=True)
class Ablated:
    """What a verdict is told: how environments differ, and what building training's again showed, or why nothing."""

    environment: Environment
    standing: Standing
    reason: str = ""
    again_at: str = ""
    builds: int = 0


def told(question: Question, standing: Standing, record: Record | None) -> Ablated:
    """Return what a verdict is told of a question."""
    if standing is Standing.NO_LEVER:
        return Ablated(replace(question.known, ruling=no_lever(question.known)), standing)
    if record is None or standing not in (Standing.DONE, Standing.FAILED):
        return Ablated(question.known, standing)
    if standing is Standing.DONE:
        found = replace(question.known, guilty=record.guilty, is_cleared=record.is_cleared, ruling=record.ruling)
        return Ablated(found, standing, builds=record.builds)
    reason = record.reason or f"it was begun {record.tries} times and never ended"
    return Ablated(question.known, standing, reason, f"{again_at(record):%Y-%m-%d %H:%M}Z")
