"""What is known of one served entity: counts and requests of its rows, what moved, and what was diagnosed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from tallystick.monitor.counters import Counters
from tallystick.monitor.frequent import Frequent, Segment
from tallystick.monitor.moments import Moment, moved_moments
from tallystick.monitor.reservoir import Reservoir
from tallystick.monitor.rings import HOUR, MINUTE, Rings
from tallystick.monitor.screening import Flag
from tallystick.parity.reference import Reference

#: How long a cause stands until it is looked at again, and how long a change without a cause does: each time replicas
#: have to predict golden rows.
AGAIN_S, UNCHANGED_S = 300.0, 3600.0
#: Rows from which a served entity is diagnosed once though nothing moved: golden rows may differ where inputs do not.
FIRST_ROWS = 200


@dataclass
class EntityWatch:
    """What is known of one served entity."""

    digest: str
    reference: Reference | None
    rings: Rings = field(default_factory=Rings.empty)
    #: Whole requests of each hour, which are in memory only.
    reservoir: Reservoir = field(default_factory=Reservoir)
    #: (column, value) -> rings.
    segments: dict[Segment, Rings] = field(default_factory=dict)
    #: Which segments have rings, and the day up to which that was counted.
    frequent: Frequent = field(default_factory=Frequent)
    day: int = 0
    rows: int = 0
    passed_over: int = 0
    #: Seconds of processor that a row takes to be counted.
    row_s: float = 0.0
    total: Counters | None = None
    flags: frozenset[Flag] = frozenset()
    #: Flags that the latest diagnosis was about, and when it was.
    diagnosed: frozenset[Flag] = frozenset()
    diagnosed_at: datetime | None = None
    #: What the latest one said, whoever asked for it, and when, as it is told; also one before a restart.
    latest: tuple[str, str] = "", ""
    #: Whether the latest diagnosis named a cause, or an incident is open: then it is looked at again until it is gone.
    is_claimed: bool = False
    is_open: bool = False
    #: When senders were looked at by themselves.
    alone_at: dict[Segment, datetime] = field(default_factory=dict)

    @property
    def is_followed(self) -> bool:
        """Whether a cause was there, and may have gone."""
        return self.is_claimed or self.is_open

    def copied(self) -> EntityWatch:
        """Return a copy that goes on as it is, whatever is counted here."""
        return replace(
            self,
            rings=self.rings.copied(),
            reservoir=self.reservoir.copied(),
            segments={key: rings.copied() for key, rings in self.segments.items()},
            frequent=self.frequent.copied(),
        )

    def forget(self, column: str) -> bool:
        """Tell segments of a column apart no longer; return whether there were any."""
        held = [key for key in {*self.segments, *self.frequent.counts} if key[0] == column]
        for key in held:
            self.segments.pop(key, None)
            self.frequent.forget(key)
        self.flags, self.diagnosed = (
            frozenset(flag for flag in flags if flag.segment != column) for flags in (self.flags, self.diagnosed)
        )
        return bool(held)

    def withhold(self, names: Collection[str], before_s: int) -> bool:
        """Keep no sketch of columns, or of windows over by `before_s`; return whether there were any."""
        if names:
            self.reservoir = Reservoir()
        places = [] if self.reference is None else [j for j, name in enumerate(self.reference.names) if name in names]
        every = (self.rings, *self.segments.values())
        had = [rings.forget(places) for rings in every] + [rings.drop_before(before_s) for rings in every]
        return any(had)

    def moments(self, since_s: float) -> list[Moment]:
        """Return what moved since then: the latest minute and that which moved most clearly, and such hours before."""
        if self.reference is None:
            return []
        minutes, hours = self.rings.by_width[MINUTE], self.rings.by_width[HOUR]
        before = moved_moments(self.reference, hours, since_s, minutes.oldest_s)
        return moved_moments(self.reference, minutes, since_s) + [self._with_held(each) for each in before]

    def _with_held(self, moment: Moment) -> Moment:
        """Return a moment with the requests that are held of it, unless others of it came before a restart."""
        held = self.reservoir.between(moment.begin, moment.end)
        return moment if held is None or held.seen < moment.requests else replace(moment, held=held.requests)

    def is_due(self, now: datetime, got_rows: bool) -> bool:
        """Whether it should be diagnosed: something new moved, or what was found may have gone."""
        if not got_rows:
            return False
        is_first = self.diagnosed_at is None and self.rows >= FIRST_ROWS
        if is_first or self.flags - self.diagnosed:
            return True
        age_s = np.inf if self.diagnosed_at is None else (now - self.diagnosed_at).total_seconds()
        return age_s >= AGAIN_S if self.is_followed else bool(self.flags) and age_s >= UNCHANGED_S
