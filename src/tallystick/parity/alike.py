"""The same cause in other columns, or in other rows of its column, without asking what else may be wrong there.

Where very many columns differ, detectors are asked in some of them only. A cause that was found there is looked for in
the others by itself, by the same constants or by the other column's own, which takes a quarter of a look at all that
may be wrong with it.
"""

from __future__ import annotations

from collections.abc import Collection

from tallystick.parity.columns import Role
from tallystick.parity.detect.aggregate import detect_aggregate
from tallystick.parity.detect.categorical import detect_relabelled, detect_unseen
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.hours import detect_cycle
from tallystick.parity.detect.numeric import detect_map_like
from tallystick.parity.detect.thinned import detect_window_like
from tallystick.parity.detect.times import detect_times
from tallystick.parity.live import Live
from tallystick.parity.yardsticks import CLAIM_NATS


def alike(live: Live, found: Finding, columns: Collection[int]) -> list[Finding]:
    """Return the findings of one kind with `found` in these columns."""
    again = [each for column in columns for each in _again(live, found, column)]
    return [each for each in again if each.kind == found.kind and (each.exact or each.nats > CLAIM_NATS)]


def _again(live: Live, found: Finding, column: int) -> list[Finding]:
    role = live.reference.columns[column].role
    if column in live.absent or column in live.broken or role is Role.TEXT:
        return []
    if role is Role.TIME:
        return detect_times(live, column)
    if found.kind == "category_relabelled":
        return detect_relabelled(live, column)
    return detect_unseen(live, column) if role is Role.LEVEL else _of_numbers(live, found, column)


def _of_numbers(live: Live, found: Finding, column: int) -> list[Finding]:
    if found.kind == "window_changed":
        return detect_window_like(live, column, found)
    if found.kind == "aggregate_changed":
        return detect_aggregate(live, column)
    if found.kind == "time_zone":
        return detect_cycle(live, column)
    return detect_map_like(live, column, found)
