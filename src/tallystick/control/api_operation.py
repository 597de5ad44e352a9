"""One line of the control API's route table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tallystick.control.api_handlers import Handler
from tallystick.control.api_rules import Rule


@dataclass(frozen=True, slots=True)
class Operation:
    """One route."""

    method: str
    path: str
    rule: Rule
    summary: str
    handler: Handler
    #: JSON Schema of the body, for the description; None when none is read.
    body: dict[str, Any] | None = None
    headers: tuple[tuple[str, str], ...] = ()
