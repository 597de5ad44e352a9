"""Adds up what gateways report, and remembers enough of it to tell of the last minute. No clock, no I/O.

Sums are frozen values that are replaced: whoever takes a copy of the dictionaries may read them in another thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from tallystick.protocol.counts import NOTHING, EntityCounts, added, since
from tallystick.protocol.routes import Activity, JournalView, Load

#: What "the last minute" of the contract's metrics is, and how exactly it is kept.
WINDOW_S, WINDOW_STEP_S = 60.0, 5.0


@dataclass(frozen=True, slots=True)
class GatewayNow:
    """How one connected gateway stands."""

    pid: int
    #: Version of the route table that it routes by.
    table_version: int
    open_connections: int = 0
    #: By served entity id.
    load: dict[str, Load] = field(default_factory=dict)


@dataclass
class Tally:
    """Sums since control started, and what gateways have now."""

    #: By served entity id.
    totals: dict[str, EntityCounts] = field(default_factory=dict)
    #: (HTTP status, error code) -> requests that reached no served entity.
    refusals: dict[tuple[int, str], int] = field(default_factory=dict)
    #: By index; a gateway that is away is left out.
    gateways: dict[int, GatewayNow] = field(default_factory=dict)
    #: How journals stood last, by the name of the process that writes them.
    journals: dict[str, JournalView] = field(default_factory=dict)
    #: (monotonic seconds, `totals` as they were), oldest first.
    _earlier: deque[tuple[float, dict[str, EntityCounts]]] = field(default_factory=deque)
    #: Monotonic seconds of the last report.
    _taken_at: float = 0.0

    def applied(self, index: int, pid: int, table_version: int) -> None:
        """A gateway is connected and routes by this table."""
        known = self.gateways.get(index)
        if known is not None and known.pid == pid:
            self.gateways[index] = GatewayNow(pid, table_version, known.open_connections, known.load)
        else:
            self.gateways[index] = GatewayNow(pid, table_version)

    def left(self, index: int) -> None:
        """A gateway is gone. What its journal had dropped was dropped all the same."""
        self.gateways.pop(index, None)

    def take(self, activity: Activity, now: float) -> None:
        """Add a gateway's report. `now` is monotonic."""
        if not self._earlier or now - self._earlier[-1][0] >= WINDOW_STEP_S:
            self._earlier.append((now, dict(self.totals)))
            while len(self._earlier) > 1 and self._earlier[1][0] <= now - WINDOW_S:
                self._earlier.popleft()
        self._taken_at = now
        for entity_id, counts in activity.counts.items():
            self.totals[entity_id] = added(self.totals.get(entity_id, NOTHING), counts)
        for status, codes in activity.refusals.items():
            for code, count in codes.items():
                self.refusals[status, code] = self.refusals.get((status, code), 0) + count
        known = self.gateways.get(activity.gateway)
        if known is not None:
            self.gateways[activity.gateway] = GatewayNow(
                known.pid, known.table_version, activity.open_connections, activity.load
            )
        if activity.journal is not None:
            self.journals[f"gateway-{activity.gateway}"] = activity.journal

    def last_minute(self, entity_ids: Iterable[str], now: float) -> dict[str, EntityCounts]:
        """Return what came in the last minute, to five seconds, by served entity id."""
        before: dict[str, EntityCounts] = {}
        for at, totals in self._earlier:
            if at > now - WINDOW_S:
                break
            before = totals
        if self._taken_at <= now - WINDOW_S:
            before = self.totals
        return {
            entity_id: since(self.totals.get(entity_id, NOTHING), before.get(entity_id, NOTHING))
            for entity_id in entity_ids
        }
