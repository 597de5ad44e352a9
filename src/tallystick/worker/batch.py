"""Which waiting invocations share the next call of the model. Pure.

Only invocations with equal `params` and the same form of input are joined, and none that asked to be alone: its
earlier attempt ended with a worker, and it must not take others with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tallystick.protocol.board import PER_LINE


@dataclass(frozen=True, slots=True)
class BatchRule:
    """How far joining goes."""

    can_batch: bool
    max_rows: int
    #: The board names this many invocations of one call.
    max_requests: int = PER_LINE


W = TypeVar("W")


def take_batch(waiting: deque[W], rule: BatchRule, describe: Callable[[W], tuple[int, Any, bool]]) -> list[W]:
    """Remove the next batch from `waiting` and return it; empty only when `waiting` is.

    `describe` gives (rows, key, alone) of an invocation; only equal keys are joined. The oldest is always taken,
    whatever its size. Those that are passed over keep their order.
    """
    if not waiting:
        return []
    first = waiting.popleft()
    rows, key, alone = describe(first)
    batch = [first]
    if not rule.can_batch or alone:
        return batch
    passed: list[W] = []
    while waiting and len(batch) < rule.max_requests and rows < rule.max_rows:
        candidate = waiting.popleft()
        more, its_key, its_alone = describe(candidate)
        if its_alone or its_key != key or rows + more > rule.max_rows:
            passed.append(candidate)
            continue
        rows += more
        batch.append(candidate)
    waiting.extendleft(reversed(passed))
    return batch
