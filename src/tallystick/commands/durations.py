"""Reads durations as people write them. Pure."""

from __future__ import annotations

import re

from tallystick.commands.config_edit import BadUsage

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")


def parse_duration(text: str) -> float:
    """Return a duration in seconds. Raises BadUsage.

    >>> parse_duration("90"), parse_duration("30m"), parse_duration("500ms")
    (90.0, 1800.0, 0.5)
    """
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        raise BadUsage(f"'{text}' is not a duration: a number with s, m, h or d, as in 30m; without one it is seconds.")
    return float(found[1]) * _SECONDS[found[2]]
