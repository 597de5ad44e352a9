"""Counts of the parity gate's checks, by served entity. No clock, no I/O.

Counts are frozen values that are replaced: whoever takes a copy of the dictionary may read it in another thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tallystick.gate.report import GateReport, Outcome


class Place(StrEnum):
    """Where golden rows were predicted."""

    WORKER = "worker"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Checked:
    """The checks of one served entity in one place."""

    outcomes: Mapping[Outcome, int]
    #: Of the last one.
    seconds: float
    #: Grows with each check of any served entity: which one was later.
    order: int


@dataclass
class GateTally:
    """Checks since control started, of served entities that there are."""

    #: By served entity id and place.
    checked: dict[tuple[str, Place], Checked] = field(default_factory=dict)
    _count: int = 0

    def add(self, entity_id: str, place: Place, report: GateReport) -> None:
        """Count the check of one replica."""
        known = self.checked.get((entity_id, place))
        outcomes = dict(known.outcomes) if known is not None else {}
        outcomes[report.outcome] = outcomes.get(report.outcome, 0) + 1
        self._count += 1
        self.checked[entity_id, place] = Checked(outcomes, report.seconds, self._count)

    def forget(self, known: Collection[str]) -> None:
        """Drop served entities that no config names any more."""
        for key in [each for each in self.checked if each[0] not in known]:
            del self.checked[key]
