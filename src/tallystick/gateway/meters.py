"""Counts what becomes of invocations, in plain integers: about a microsecond each, on the way out.

What was counted since the last time is taken by `gateway/link.py`, which sends it to control. Nothing is named or
rendered here, and names of endpoints that do not exist never become keys.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from tallystick.protocol.counts import (
    MAX_COUNTED_COLUMNS,
    OTHER,
    REQUESTS,
    SECONDS,
    Coercions,
    Distribution,
    EntityCounts,
)
from tallystick.protocol.frame import Answer


class _Meter:
    """The counts of one served entity; lists as in `EntityCounts`."""

    __slots__ = (
        "batch",
        "batch_sum",
        "coercions",
        "duration",
        "duration_s",
        "gateway",
        "gateway_s",
        "model",
        "model_s",
        "queue",
        "queue_s",
        "rows",
        "statuses",
    )

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.duration, self.queue, self.model, self.gateway = ([0] * (len(SECONDS) + 1) for _ in range(4))
        self.duration_s = self.queue_s = self.model_s = self.gateway_s = 0.0
        self.batch = [0] * (len(REQUESTS) + 1)
        self.batch_sum = self.rows = 0
        self.coercions: dict[str, dict[str, int]] = {}

    def count_coercions(self, coercions: Coercions) -> None:
        counted = self.coercions
        for column, kinds in coercions.items():
            counts = counted.get(column)
            if counts is None:
                name = column if len(counted) < MAX_COUNTED_COLUMNS else OTHER
                counts = counted.setdefault(name, {})
            for kind, count in kinds.items():
                counts[kind] = counts.get(kind, 0) + count

    def counts(self) -> EntityCounts:
        return EntityCounts(
            self.statuses,
            Distribution(tuple(self.duration), self.duration_s),
            Distribution(tuple(self.queue), self.queue_s),
            Distribution(tuple(self.model), self.model_s),
            Distribution(tuple(self.gateway), self.gateway_s),
            Distribution(tuple(self.batch), self.batch_sum),
            self.rows,
            self.coercions,
        )


class Meters:
    """What this gateway process has counted since it was last asked."""

    def __init__(self) -> None:
        #: Tells how many connections are open; set by whoever listens.
        self.count_connections: Callable[[], int] = lambda: 0
        self._meters: dict[str, _Meter] = {}
        self._refusals: dict[int, dict[str, int]] = {}

    def note(self, entity_id: str, status: int, answer: Answer | None, latency_s: float, waited_s: float = 0.0) -> None:
        """Count an invocation of a served entity that has ended, however it did.

        `latency_s` is from the complete request to the answer, `waited_s` what of it passed before a worker had it,
        `answer` what the worker said, None when none did.
        """
        meter = self._meters.get(entity_id)
        if meter is None:
            meter = self._meters[entity_id] = _Meter()
        statuses = meter.statuses
        statuses[status] = statuses.get(status, 0) + 1
        meter.duration[bisect_left(SECONDS, latency_s)] += 1
        meter.duration_s += latency_s
        # A worker that refuses or fails tells no times.
        if answer is None or answer.status != 200:
            return
        queue_s, model_s = waited_s + answer.queue_ms * 0.001, answer.model_ms * 0.001
        # Clocks of two processes: what is left may come out below nothing.
        gateway_s = max(0.0, latency_s - queue_s - model_s)
        meter.queue[bisect_left(SECONDS, queue_s)] += 1
        meter.queue_s += queue_s
        meter.model[bisect_left(SECONDS, model_s)] += 1
        meter.model_s += model_s
        meter.gateway[bisect_left(SECONDS, gateway_s)] += 1
        meter.gateway_s += gateway_s
        requests = answer.batch_requests
        meter.batch[bisect_left(REQUESTS, requests)] += 1
        meter.batch_sum += requests
        if answer.rows > 0:
            meter.rows += answer.rows
        if answer.coercions:
            meter.count_coercions(answer.coercions)

    def note_refused(self, status: int, error_code: str) -> None:
        """Count a request that reached no served entity. `error_code` is one of ours, never a text of a client."""
        codes = self._refusals.setdefault(status, {})
        codes[error_code] = codes.get(error_code, 0) + 1

    def take(self) -> tuple[dict[str, EntityCounts], dict[int, dict[str, int]]]:
        """Return what was counted since the last time: by served entity id, and refusals by status and code."""
        meters, self._meters = self._meters, {}
        refusals, self._refusals = self._refusals, {}
        return {entity_id: meter.counts() for entity_id, meter in meters.items()}, refusals
