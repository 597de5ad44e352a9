"""Reads `TALLYSTICK_<FIELD>` environment variables into `WorkerOptions`. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from tallystick.entities import Batching, Enforcement, EnvironmentChoice, WorkerOptions

PREFIX = "TALLYSTICK_"

#: Reads one option; raises ValueError with the right values as text.
Reader = Callable[[str], Any]


def parse_options(environment_vars: Mapping[str, str]) -> tuple[WorkerOptions, list[str]]:
    """Return the options among the environment variables, and what is wrong with them ("name: problem").

    >>> parse_options({"TALLYSTICK_BATCHING": "off", "OTHER": "1"})[0].batching
    <Batching.OFF: 'off'>
    >>> parse_options({"TALLYSTICK_BATCHING": "maybe"})[1]
    ["TALLYSTICK_BATCHING: expected one of auto, on, off, got 'maybe'"]
    """
    values: dict[str, Any] = {}
    problems = []
    for name, text in environment_vars.items():
        if not name.upper().startswith(PREFIX):
            continue
        field = name.removeprefix(PREFIX).lower()
        reader = READERS.get(field) if name == PREFIX + field.upper() else None
        if reader is None:
            known = ", ".join(PREFIX + field.upper() for field in READERS)
            problems.append(f"{name}: no such option; there are {known}")
            continue
        try:
            values[field] = reader(text.strip())
        except ValueError as error:
            problems.append(f"{name}: expected {error}, got '{text[:40]}'")
    return WorkerOptions(**values), problems


def _choice(kind: type[StrEnum]) -> Reader:
    allowed = "one of " + ", ".join(kind)

    def read(text: str) -> StrEnum:
        if text.lower() not in list(kind):
            raise ValueError(allowed)
        return kind(text.lower())

    return read


def _integer(lowest: int, highest: int) -> Reader:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) <= 18 and lowest <= int(text) <= highest):
            raise ValueError(f"an integer from {lowest} to {highest}")
        return int(text)

    return read


def _number(lowest: float, highest: float) -> Reader:
    wanted = f"a number from {lowest:g} to {highest:g}"

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(wanted) from None
        if math.isnan(value) or not lowest <= value <= highest:
            raise ValueError(wanted)
        return value

    return read


#: By field of WorkerOptions. The bounds keep out slips of unit (ms for s), not unusual wishes.
READERS: Mapping[str, Reader] = {
    "enforcement": _choice(Enforcement),
    "batching": _choice(Batching),
    "max_batch_rows": _integer(1, 1_000_000),
    "batch_wait_ms": _number(0, 1000),
    "environment": _choice(EnvironmentChoice),
    "request_timeout_s": _number(0.001, 3600),
    "load_timeout_s": _number(1, 86_400),
}
