"""The same cause in columns that were not looked into: where very many differ, detectors are asked in some only.

A cause that was found in some columns is looked for in the others by itself, by the same constants or by the other
column's own, which takes a quarter of a look at all that may be wrong with it.
"""

from __future__ import annotations

from collections.abc import Collection

from tallystick.parity.columns import Role
from tallystick.parity.detect.categorical import detect_unseen
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.numeric import detect_map_like
from tallystick.parity.detect.thinned import detect_window_like
from tallystick.parity.live import Live
from tallystick.parity.yardsticks import CLAIM_NATS


def alike(live: Live, found: Finding, columns: Collection[int]) -> list[Finding]:
    """Return the findings of one kind with `found` in these columns."""
    again = [each for column in columns for each in _again(live, found, column)]
    return [each for each in again if each.kind == found.kind and (each.exact or each.nats > CLAIM_NATS)]


def _again(live: Live, found: Finding, column: int) -> list[Finding]:
    role = live.reference.columns[column].role
    if column in live.absent or column in live.broken:
        return []
    if role is Role.LEVEL:
        return detect_unseen(live, column)
    if role is not Role.NUMBER:
        return []
    if found.kind == "window_changed":
        return detect_window_like(live, column, found)
    return detect_map_like(live, column, found)
