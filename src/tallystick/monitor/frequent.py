"""Which segments are counted: the frequent ones, in bounded memory, however many senders there are.

Counts of names are cheap, live profiles of segments are not. So many names are counted, after Metwally, Agrawal and
El Abbadi 2005, "Efficient computation of frequent and top-k elements in data streams" (Space-Saving), a batch at a
time, and the most frequent of them have a slot with a profile. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

#: Column of segments, and value in it.
Segment = tuple[str, str]

#: Names that are counted of each column: one with more than this part of the rows is among them, whatever else comes.
CAPACITY = 300
#: Columns that are counted, those with the most rows: clients choose the keys of their contexts.
MOST_COLUMNS = 16


@dataclass
class Frequent:
    """Counts of the frequent segments. `counts` is never too low, and too high by at most `errors`.

    >>> frequent = Frequent(capacity=2)
    >>> frequent.add({("client", "ios"): 5, ("client", "web"): 3})
    >>> frequent.add({("client", "once"): 1})
    >>> frequent.counts, frequent.errors
    ({('client', 'ios'): 5, ('client', 'once'): 4}, {('client', 'ios'): 0, ('client', 'once'): 3})
    """

    capacity: int = CAPACITY
    counts: dict[Segment, int] = field(default_factory=dict)
    errors: dict[Segment, int] = field(default_factory=dict)

    def copied(self) -> Frequent:
        """Return a copy that goes on as it is, whatever is counted here."""
        return replace(self, counts=dict(self.counts), errors=dict(self.errors))

    def add(self, counted: Mapping[Segment, int]) -> None:
        """Count the rows of a batch by segment. O(n log n) of the names in it and those that are counted.

        Names of one column take no place from those of another.
        """
        for column in dict.fromkeys(column for column, _ in counted):
            self._add(column, {key: rows for key, rows in counted.items() if key[0] == column})
        self._bound_columns()

    def _add(self, column: str, counted: Mapping[Segment, int]) -> None:
        own = {key: count for key, count in self.counts.items() if key[0] == column}
        # A newcomer may have been as frequent before as the one with the least, and no more.
        floor = min(own.values()) if len(own) >= self.capacity else 0
        for key, rows in counted.items():
            if key not in own:
                own[key], self.errors[key] = floor, floor
            own[key] += rows
        # Those left out had at most as many rows as any that stays: the bound holds as for one row at a time
        # (Agarwal et al. 2013, "Mergeable summaries").
        kept = sorted(own, key=lambda key: (-own[key], key))
        for key in kept[self.capacity :]:
            self.forget(key)
        self.counts |= {key: own[key] for key in kept[: self.capacity]}

    def _bound_columns(self) -> None:
        rows: Counter[str] = Counter()
        for (column, _), count in self.counts.items():
            rows[column] += count
        for column in sorted(rows, key=lambda each: (-rows[each], each))[MOST_COLUMNS:]:
            for key in [key for key in self.counts if key[0] == column]:
                self.forget(key)

    def halve(self) -> None:
        """Let what was long ago weigh half; names that nothing is left of are forgotten."""
        self.counts = {key: count // 2 for key, count in self.counts.items() if count > 1}
        self.errors = {key: self.errors[key] // 2 for key in self.counts}

    def forget(self, key: Segment) -> None:
        """Count a segment no longer."""
        self.counts.pop(key, None)
        self.errors.pop(key, None)

    def most_frequent(
        self, most: int, held: Collection[Segment] = (), reserved: Mapping[str, int] | None = None
    ) -> set[Segment]:
        """Return up to `most` segments that have a slot, where `held` have one now.

        A newcomer takes a slot only when it is surely more frequent than the holder may be, so that equals do not take
        turns. A way to tell senders apart that has one value so far says nothing that all rows do not: it comes last.
        Of a column in `reserved` so many are taken first, however frequent others are.
        """
        values = Counter(column for column, _ in self.counts)

        def rank(key: Segment) -> tuple[bool, int, bool]:
            is_held = key in held
            return values[key[0]] > 1, self.counts[key] - (0 if is_held else self.errors[key]), is_held

        # By name where they are equal, so that the order of counting does not matter.
        order = sorted(sorted(self.counts), key=rank, reverse=True)
        first = [
            key
            for column, slots in (reserved or {}).items()
            for key in [each for each in order if each[0] == column and values[column] > 1][:slots]
        ]
        return set(list(dict.fromkeys([*first, *order]))[:most])
