"""What a detector proposes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tallystick.parity.columns import Floats, Mask
from tallystick.parity.joint import Values, paired_z
from tallystick.parity.live import Live
from tallystick.parity.profile import cells_of


@dataclass(frozen=True)
class Finding:
    """A possible cause. `undo` are the columns with it undone; `rows` the affected rows, as far as known.

    `nats` is the evidence against a changed population; `exact` says that no population could show it at all.
    `forward` puts the fault into other rows (for the transplant): columns of the reference -> changed columns.
    """

    kind: str
    features: tuple[str, ...]
    transformation: Mapping[str, Any]
    share: float
    nats: float
    exact: bool
    evidence: tuple[str, ...]
    rows: Mask
    undo: Mapping[int, Values] = field(default_factory=dict)
    forward: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    #: How much better the data are told by this cause than by none, in nats; ranks rivals.
    gain: float = 0.0
    #: Whether the endpoint is to blame, not the rows: the same rows get other answers.
    at_endpoint: bool = False
    #: Whether rows were replayed against the source of their values: what differs is shown, not inferred.
    is_replayed: bool = False
    #: Whether `undo` leaves some of the affected rows as they were: then the column is not looked at again.
    is_partly_undone: bool = False


def agreement(live: Live, column: int, undone: Values) -> Floats:
    """Return, for each row, how much better the other columns fit the undone value than the one sent, in nats."""
    table, rows = live.table(column), np.arange(live.rows)
    return np.asarray(table[rows, cells_of(live.reference.columns[column], undone)] - table[rows, live.cells(column)])


def agreement_z(live: Live, column: int, undone: Values, weight: Floats | None = None) -> float:
    """Return the paired z of "the other columns fit the undone value" against "they fit the value as sent"."""
    difference = agreement(live, column, undone)
    return paired_z(difference if weight is None else weight * difference)
