"""Windows of minutes, hours and days, each a bounded ring of counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tallystick.monitor.counters import Counters

MINUTE, HOUR, DAY = 60, 3600, 86_400
#: How many windows are kept: an hour of minutes, two days of hours, a month of days.
LENGTHS: Mapping[int, int] = {MINUTE: 60, HOUR: 48, DAY: 30}
#: Of a segment less is kept, as there are many: what tests look at.
SEGMENT_LENGTHS: Mapping[int, int] = {HOUR: 2, DAY: 2}


@dataclass
class Ring:
    """Counters by number of the window; a window's number is its start in seconds over its width."""

    width_s: int
    length: int
    windows: dict[int, Counters] = field(default_factory=dict)

    def add(self, at_s: int, counters: Counters) -> None:
        """Add counts of rows that came at `at_s`; what is older than the ring is passed over."""
        number = at_s // self.width_s
        known = self.windows.get(number)
        self.windows[number] = counters if known is None else known + counters
        oldest = max(self.windows) - self.length + 1
        for old in [each for each in self.windows if each < oldest]:
            del self.windows[old]

    def at(self, at_s: int) -> Counters | None:
        """Return the counters of the window that a moment is in; None when it has no rows."""
        return self.windows.get(at_s // self.width_s)

    def merged(self, other: Ring) -> Ring:
        """Return both together, as if all rows had come to one ring."""
        both = Ring(self.width_s, self.length)
        for ring in (self, other):
            for number, counters in sorted(ring.windows.items()):
                both.add(number * self.width_s, counters)
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
    def empty(cls, lengths: Mapping[int, int] = LENGTHS) -> Rings:
        """Return rings without rows."""
        return cls({width: Ring(width, length) for width, length in lengths.items()})

    def add(self, at_s: int, counters: Counters) -> None:
        """Add counts to the window of each width."""
        for ring in self.by_width.values():
            ring.add(at_s, counters)

    @property
    def newest_s(self) -> int:
        """Start of the newest window, in seconds; 0 when there is none."""
        return max((number * ring.width_s for ring in self.by_width.values() for number in ring.windows), default=0)
