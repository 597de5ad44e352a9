"""One table of the recorder, and what waits for its next commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from tallystick.journal.format import Context, Record

#: A table that cannot be written is tried again after this long, twice as long each time, up to the last figure.
RETRY_FIRST_S, RETRY_LAST_S = 1.0, 60.0

#: Records with what is known of where they belong.
Waiting = list[tuple[Record, Context | None]]


class Writer(Protocol):
    """One table, as `delta.DeltaWriter` has it."""

    @property
    def version(self) -> int:
        """Version of the table as last seen."""

    def committed(self, stream_id: str) -> int:
        """Return the sequence up to which a stream is in the table. Raises TableProblem."""

    def append(self, rows: pa.Table, sequences: Mapping[str, int]) -> None:
        """Add rows and sequences in one commit. Raises TableProblem."""


@dataclass
class Sink:
    """One table and what waits for it."""

    table: str
    writer: Writer
    waiting: Waiting = field(default_factory=list)
    waiting_bytes: int = 0
    oldest_at: float = 0.0
    oldest_us: int = 0
    #: By stream: what is in the table, and the last and first of what waits.
    committed: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    #: By stream: the first record that was passed over because the table could not be written.
    passed_over: dict[str, int] = field(default_factory=dict)
    #: How many those are that were passed over or taken out again, and since when: clock, and microseconds.
    stuck_rows: int = 0
    stuck_at: float = 0.0
    stuck_us: int = 0
    problem: str = ""
    #: The last problem that was logged.
    said: str = ""
    retry_at: float = 0.0
    retry_s: float = RETRY_FIRST_S
    rows_total: int = 0
    commits: int = 0
    commit_s: float = 0.0
    retention_days: int = 0

    def lag_s(self, now: float) -> float:
        """How long the oldest record has waited, in seconds."""
        since = [at for at, is_so in ((self.stuck_at, self.stuck_rows), (self.oldest_at, self.waiting)) if is_so]
        return max(0.0, now - min(since)) if since else 0.0

    def note_stuck(self, rows: int, at: float, us: int) -> None:
        """Count records that stay in the journal for now."""
        if rows and not self.stuck_rows:
            self.stuck_at, self.stuck_us = at, us
        self.stuck_rows += rows

    def clear(self) -> None:
        """Let nothing wait any more: it is in the table, or stays in the journal."""
        self.waiting, self.waiting_bytes = [], 0
        self.first, self.last = {}, {}
        self.oldest_us = 0

    @property
    def kind(self) -> type[Record]:
        """What its rows are made of."""
        return type(self.waiting[0][0])
