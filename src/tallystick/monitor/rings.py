"""Windows of minutes, hours and days, each a bounded ring of counters; the longer ones have sketches beside them.

Tests need counts only, so minutes have no sketches, and neither have hours of a segment: these are for people who look.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from tallystick.monitor.counters import Counters
from tallystick.monitor.places import SKETCH_DAYS
from tallystick.monitor.sketches import Sketches, forgotten, merged

MINUTE, HOUR, DAY = 60, 3600, 86_400
#: How many windows are kept: an hour of minutes, two days of hours, a month of days.
LENGTHS: Mapping[int, int] = {MINUTE: 60, HOUR: 48, DAY: 30}
#: Of a segment less is kept, as there are many: what tests look at.
SEGMENT_LENGTHS: Mapping[int, int] = {HOUR: 2, DAY: 2}
#: How many of them have sketches, which take ten times as much memory as counts: a day of hours, two weeks of days.
SKETCHED: Mapping[int, int] = {HOUR: 24, DAY: SKETCH_DAYS}
SEGMENT_SKETCHED: Mapping[int, int] = {DAY: 2}


@dataclass
class Ring:
    """Counters by number of the window; a window's number is its start in seconds over its width."""

    width_s: int
    length: int
    windows: dict[int, Counters] = field(default_factory=dict)
    #: How many windows have sketches, and these.
    sketched: int = 0
    sketches: dict[int, Sketches] = field(default_factory=dict)

    def add(self, at_s: int, counters: Counters) -> None:
        """Add counts of rows that came at `at_s`; what is older than the ring is passed over."""
        number = at_s // self.width_s
        known = self.windows.get(number)
        self.windows[number] = counters if known is None else known + counters
        oldest = max(self.windows) - self.length + 1
        for old in [each for each in self.windows if each < oldest]:
            del self.windows[old]

    def sketch(self, at_s: int, sketches: Sketches) -> None:
        """Add sketches of rows that came at `at_s`; what is older than those that are kept is passed over."""
        if not self.sketched:
            return
        number = at_s // self.width_s
        known = self.sketches.get(number)
        self.sketches[number] = sketches if known is None else merged(known, sketches)
        oldest = max(self.sketches) - self.sketched + 1
        for old in [each for each in self.sketches if each < oldest]:
            del self.sketches[old]

    def copied(self) -> Ring:
        """Return a copy that goes on as it is; counters and sketches are values that nobody changes."""
        return replace(self, windows=dict(self.windows), sketches=dict(self.sketches))

    def at(self, at_s: int) -> Counters | None:
        """Return the counters of the window that a moment is in; None when it has no rows."""
        return self.windows.get(at_s // self.width_s)

    @property
    def oldest_s(self) -> int:
        """Start of the oldest window that may be here; 0 where there is none."""
        return (max(self.windows) - self.length + 1) * self.width_s if self.windows else 0

    def merged(self, other: Ring) -> Ring:
        """Return both together, as if all rows had come to one ring."""
        both = Ring(self.width_s, self.length, sketched=self.sketched)
        for ring in (self, other):
            for number, counters in sorted(ring.windows.items()):
                both.add(number * self.width_s, counters)
            for number, sketches in sorted(ring.sketches.items()):
                both.sketch(number * self.width_s, sketches)
        return both

    def total(self) -> Counters | None:
        """Return the sum of all windows; None when there are none."""
        found: Counters | None = None
        for counters in self.windows.values():
            found = counters if found is None else found + counters
        return found


@dataclass
class Rings:
    """Rings of several widths that get the same rows."""

    by_width: dict[int, Ring]

    @classmethod
    def empty(cls, lengths: Mapping[int, int] = LENGTHS, sketched: Mapping[int, int] = SKETCHED) -> Rings:
        """Return rings without rows."""
        return cls({width: Ring(width, length, sketched=sketched.get(width, 0)) for width, length in lengths.items()})

    @classmethod
    def of_segment(cls) -> Rings:
        """Return a segment's rings without rows."""
        return cls.empty(SEGMENT_LENGTHS, SEGMENT_SKETCHED)

    def copied(self) -> Rings:
        """Return a copy that goes on as it is."""
        return Rings({width: ring.copied() for width, ring in self.by_width.items()})

    def add(self, at_s: int, counters: Counters) -> None:
        """Add counts to the window of each width."""
        for ring in self.by_width.values():
            ring.add(at_s, counters)

    def sketch(self, at_s: int, sketches: Sketches) -> None:
        """Add sketches to the window of each width that has some."""
        for ring in self.by_width.values():
            ring.sketch(at_s, sketches)

    def forget(self, places: Collection[int]) -> bool:
        """Keep no sketch of some columns; return whether there were any."""
        has_had = False
        for ring in self.by_width.values():
            for number, sketches in ring.sketches.items():
                has_had |= any(sketches[place] is not None for place in places)
                ring.sketches[number] = forgotten(sketches, places)
        return has_had

    def drop_before(self, oldest_s: int) -> bool:
        """Keep no sketch of windows that ended by `oldest_s`; return whether there were any."""
        has_had = False
        for ring in self.by_width.values():
            left = {number: each for number, each in ring.sketches.items() if (number + 1) * ring.width_s > oldest_s}
            has_had |= len(left) < len(ring.sketches)
            ring.sketches = left
        return has_had

    @property
    def sketched_width_s(self) -> int:
        """Width of the narrowest windows that have sketches; 0 when none have."""
        return min((width for width, ring in self.by_width.items() if ring.sketched), default=0)

    @property
    def newest_s(self) -> int:
        """Start of the newest window, in seconds; 0 when there is none."""
        return max((number * ring.width_s for ring in self.by_width.values() for number in ring.windows), default=0)
