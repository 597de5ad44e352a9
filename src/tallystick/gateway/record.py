"""What of an invocation goes into the journal, and in which order to the answer.

An answer leaves only after its record was written (`http.JoinedWrites` asks the journal first). Where the endpoint asks
for more, a sync or a guarantee, the answer waits here until the journal says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from tallystick.entities import SLOTS
from tallystick.errors import TemporarilyUnavailable
from tallystick.gateway.meters import Meters
from tallystick.gateway.routing import CompiledEndpoint
from tallystick.journal.format import Access, Context, Invocation
from tallystick.protocol.frame import Answer
from tallystick.protocol.routes import Durability, EntityRoute

if TYPE_CHECKING:
    from tallystick.journal.writer import Journal

#: Longer texts that a caller chose are cut.
_MAX_TEXT = 256
#: Status of an invocation whose caller left before the answer was ready, as nginx writes it.
CALLER_LEFT = 499


class Entry:
    """One invocation, as far as its record goes. Filled in on its way through the gateway."""

    __slots__ = (
        "attempts",
        "body",
        "endpoint",
        "endpoint_name",
        "entity",
        "headers",
        "is_pinned",
        "is_recorded",
        "request_id",
        "requester",
        "response_bytes",
        "started",
        "time_us",
        "waited_s",
    )

    def __init__(
        self,
        endpoint_name: str,
        headers: dict[bytes, bytes],
        body: bytes,
        request_id: str,
        time_us: int,
        started: float,
    ) -> None:
        self.endpoint_name = endpoint_name
        self.headers = headers
        self.body = body
        self.request_id = request_id
        #: When the request was complete: microseconds since the epoch, and seconds of `time.monotonic`.
        self.time_us, self.started = time_us, started
        self.endpoint: CompiledEndpoint | None = None
        self.entity: EntityRoute | None = None
        self.requester = ""
        self.is_pinned = False
        #: Of a streamed answer, of which only the beginning is kept; 0 for others.
        self.response_bytes = 0
        #: There is at most one record of an invocation.
        self.is_recorded = False
        #: Workers that were given it, and how long it waited for the first.
        self.attempts = 0
        self.waited_s = 0.0


class Register:
    """Writes down every invocation of one gateway process."""

    def __init__(self, meters: Meters, journal: Journal | None, *, access_log: bool) -> None:
        self.meters = meters
        self.journal = journal
        self._access_log = access_log

    def refuse_unrecordable(self, endpoint: CompiledEndpoint) -> None:
        """Raise TemporarilyUnavailable when an invocation must be recorded and cannot be: before the model runs."""
        capture = endpoint.route.capture
        if capture.is_required and capture.table and (self.journal is None or not self.journal.is_well):
            raise _unrecordable()

    def ended(
        self,
        entry: Entry,
        now: float,
        status: int,
        content_type: str,
        body: bytes,
        answer: Answer | None,
        deliver: Callable[[], None],
        refuse: Callable[[TemporarilyUnavailable], None],
        error_code: str = "",
    ) -> None:
        """Record an invocation of a known endpoint, then `deliver` its answer, or `refuse` it unrecorded.

        `now` is of `time.monotonic`.
        """
        if entry.is_recorded:
            deliver()
            return
        entry.is_recorded = True
        latency_s = now - entry.started
        endpoint, entity, journal = entry.endpoint, entry.entity, self.journal
        assert endpoint is not None
        capture = endpoint.route.capture
        fraction = capture.sampling_fraction
        is_captured = bool(capture.table) and (fraction >= 1.0 or random.random() < fraction)  # noqa: S311

        def conclude(is_recorded: bool) -> None:
            if is_recorded or not capture.is_required:
                self._note(entity, status, error_code, answer, latency_s, entry.waited_s)
                deliver()
            else:
                error = _unrecordable()
                self._note(entity, error.status, error.error_code, None, latency_s, entry.waited_s)
                refuse(error)

        if journal is None or not (is_captured or self._access_log):
            conclude(True)
            return
        record = self._record(entry, latency_s, status, content_type, body, answer, is_captured)
        durability = capture.durability
        if is_captured and (capture.is_required or durability is Durability.POWER_LOSS):
            journal.append(record, on_done=conclude, is_durable=durability is Durability.POWER_LOSS)
        else:
            journal.append(record, is_lazy=not is_captured or durability is Durability.NONE)
            conclude(True)

    def _note(
        self,
        entity: EntityRoute | None,
        status: int,
        error_code: str,
        answer: Answer | None,
        latency_s: float,
        waited_s: float,
    ) -> None:
        if entity is not None:
            self.meters.note(entity.id, status, answer, latency_s, waited_s)
        else:
            self.meters.note_refused(status, error_code)

    def refused(
        self, request_id: str, time_us: int, method: str, path: str, status: int, error_code: str, user_agent: bytes
    ) -> None:
        """Note a request that reached no endpoint that its caller may query."""
        self.meters.note_refused(status, error_code)
        self.access(request_id, time_us, 0.0, method, path, status, "", user_agent)

    def access(
        self,
        request_id: str,
        time_us: int,
        latency_ms: float,
        method: str,
        path: str,
        status: int,
        requester: str,
        user_agent: bytes,
    ) -> None:
        """Leave a line for the access log."""
        if self.journal is None or not self._access_log:
            return
        agent = user_agent[:_MAX_TEXT].decode("latin-1")
        record = Access(request_id, time_us, latency_ms, method[:16], path[:_MAX_TEXT], status, requester, agent)
        self.journal.append(record, is_lazy=True)

    def _record(
        self,
        entry: Entry,
        latency_s: float,
        status: int,
        content_type: str,
        body: bytes,
        answer: Answer | None,
        is_captured: bool,
    ) -> Invocation:
        endpoint, entity, headers = entry.endpoint, entry.entity, entry.headers
        assert endpoint is not None
        assert self.journal is not None
        capture = endpoint.route.capture
        limit = capture.max_payload_bytes if is_captured else -1
        request, (keeps_request, keeps_response) = entry.body, endpoint.keeps
        return Invocation(
            context=self._context(endpoint, entity),
            request_id=entry.request_id,
            time_us=entry.time_us,
            latency_ms=latency_s * 1000,
            status=status,
            arm="pinned" if entry.is_pinned else "live",
            requester=entry.requester,
            user_agent=headers.get(b"user-agent", b"")[:_MAX_TEXT].decode("latin-1"),
            content_type=headers.get(b"content-type", b"")[:_MAX_TEXT].decode("latin-1"),
            response_content_type=content_type,
            attempt=entry.attempts,
            request_bytes=len(request),
            response_bytes=entry.response_bytes or len(body),
            request=request if len(request) <= limit and keeps_request else None,
            response=body if len(body) <= limit and keeps_response else None,
            is_captured=is_captured,
            traceparent=headers.get(b"traceparent", b"")[:_MAX_TEXT].decode("latin-1"),
            answer=answer,
            waited_ms=entry.waited_s * 1000,
        )

    def _context(self, endpoint: CompiledEndpoint, entity: EntityRoute | None) -> int:
        """Return the number of what this invocation has in common with others."""
        assert self.journal is not None
        key = entity.id if entity is not None else ""
        generation, number = endpoint.contexts.get(key, (-1, 0))
        if generation != self.journal.generation:
            number = self.journal.number_of(context_of(endpoint, entity))
            endpoint.contexts[key] = (self.journal.generation, number)
        return number


def context_of(endpoint: CompiledEndpoint, entity: EntityRoute | None) -> Context:
    """Return what invocations of an endpoint that one served entity answered have in common. Pure."""
    route, capture = endpoint.route, endpoint.route.capture
    return Context(
        number=0,
        endpoint_name=route.name,
        endpoint_id=route.id,
        served_entity_id=entity.id if entity is not None else "",
        served_entity_name=entity.name if entity is not None else "",
        model_name=entity.model_name if entity is not None else "",
        model_version=entity.model_version if entity is not None else "",
        config_version=route.config_version,
        route=entity.name if entity is not None else "",
        probability=entity.share_slots / SLOTS if entity is not None else 0.0,
        table=capture.table,
        sampling_fraction=capture.sampling_fraction,
        drop=capture.drop,
        hash=capture.hash,
        retention_days=capture.retention_days,
    )


def _unrecordable() -> TemporarilyUnavailable:
    return TemporarilyUnavailable(
        "This endpoint answers only what it can record, and its inference table cannot be written at the moment. "
        "Send the request again.",
        retry_after_s=1,
    )
