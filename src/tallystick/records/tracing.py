"""Traces of invocations, made by the recorder from the journal after the fact; the request path knows nothing of them.

OpenTelemetry is an extra and is imported only when an OTLP endpoint is set. Ids follow from the request id, so that an
invocation that is read again after a crash is sent again as the same spans. What the collector does not take in time
is dropped and counted: neither the recorder nor a request ever waits for it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from tallystick.errors import InvalidParameter, TallystickError
from tallystick.journal.format import Context, Invocation

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

_log = logging.getLogger("tallystick.records")

_TRACES_PATH = "/v1/traces"
#: Spans that may wait for the collector, about 2 KB each; then new ones are dropped.
_MAX_WAITING_SPANS = 8192
_MAX_BATCH_SPANS = 512
_EXPORT_EVERY_MS = 2000
#: One export, retries included. Also how long the end of the recorder can take because of traces.
_EXPORT_TIMEOUT_S = 5.0
_WARN_EVERY_S = 60.0
#: Longer texts, in attributes and in reasons, are cut.
_MAX_TEXT = 256
#: Loggers of the exporter, which would write a line for each failure.
_NOISY = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")


class TracingUnavailable(TallystickError):
    """Traces are asked for, and the packages that make them are not installed."""


class TraceParent(msgspec.Struct, frozen=True, gc=False):
    """The caller's span, as W3C Trace Context names it; ids in lower-case hex."""

    trace_id: str
    span_id: str
    is_sampled: bool


# https://www.w3.org/TR/trace-context/#traceparent-header: ids of zeros and version ff are invalid, and versions after
# 00 may add fields behind the known ones.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]([0-9a-f])(?:-.*)?"
)
#: All of a header of version 00.
_KNOWN_CHARS = 55
_SAMPLED = frozenset("13579bdf")


def parse_traceparent(header: str) -> TraceParent | None:
    """Return what a `traceparent` header says; None when it is malformed, and so to be ignored. Pure.

    >>> parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").is_sampled
    True
    """
    found = _TRACEPARENT.fullmatch(header)
    if found is None or (len(header) > _KNOWN_CHARS and header.startswith("00")):
        return None
    trace_id, span_id, flags = found.groups()
    return TraceParent(trace_id, span_id, flags in _SAMPLED)


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of an invocation's time, nanoseconds since the epoch."""

    name: str
    start_ns: int
    end_ns: int


def stages(record: Invocation) -> tuple[Stage, ...]:
    """Return the whole invocation, then "queue" and "model" where they took time. Pure.

    Lengths were measured; where they lie was not. They are put at the end, the model last, because most of what is
    neither comes before: an attempt whose worker died, decoding, the way to the worker.
    """
    start = record.time_us * 1000
    end = start + round(record.latency_ms * 1e6)
    waited_ms, model_ms = record.waited_ms, 0.0
    if record.answer is not None:
        waited_ms += record.answer.queue_ms
        model_ms = record.answer.model_ms
    # Clocks of two processes: the parts may add up to more than the whole.
    model_start = max(start, end - round(model_ms * 1e6))
    queue_start = max(start, model_start - round(waited_ms * 1e6))
    parts = [Stage("invoke", start, end)]
    if queue_start < model_start:
        parts.append(Stage("queue", queue_start, model_start))
    if model_start < end and model_ms > 0:
        parts.append(Stage("model", model_start, end))
    return tuple(parts)


def attributes(record: Invocation, context: Context) -> dict[str, str | int]:
    """Return the attributes of an invocation's span: OpenTelemetry's names where it has one, else ours. Pure.

    https://opentelemetry.io/docs/specs/semconv/http/http-spans/
    """
    found: dict[str, str | int] = {
        "http.request.method": "POST",
        "http.response.status_code": record.status,
        "http.request.body.size": record.request_bytes,
        "http.response.body.size": record.response_bytes,
        "user_agent.original": "" if "user_agent" in context.drop + context.hash else record.user_agent,
        "error.type": str(record.status) if record.status >= 500 else "",
        "tallystick.request_id": record.request_id,
        "tallystick.endpoint": context.endpoint_name,
        "tallystick.served_entity": context.served_entity_name,
        "tallystick.model.name": context.model_name,
        "tallystick.model.version": context.model_version,
        "tallystick.config_version": context.config_version,
        "tallystick.arm": record.arm,
        "tallystick.attempt": record.attempt,
    }
    if record.answer is not None and record.answer.rows >= 0:
        found["tallystick.rows"] = record.answer.rows
    return {name: value for name, value in found.items() if value != ""}


def open_traces(otlp_endpoint: str) -> Traces | None:
    """Return what makes traces, or None when no endpoint is set.

    `otlp_endpoint` is the base URL of an OTLP/HTTP receiver, like ``http://127.0.0.1:4318``; headers, certificates and
    the like come from the exporter's own ``OTEL_EXPORTER_OTLP_*`` variables. Raises TracingUnavailable when the extra
    is not installed, and InvalidParameter for what is no URL.
    """
    if not otlp_endpoint:
        return None
    url = traces_url(otlp_endpoint)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise TracingUnavailable(
            "An OTLP endpoint is set, but OpenTelemetry is not installed: "
            "pip install 'tallystick[otel]', or leave the OTLP endpoint out."
        ) from error
    return Traces(OTLPSpanExporter(endpoint=url, timeout=_EXPORT_TIMEOUT_S))


def traces_url(otlp_endpoint: str) -> str:
    """Return where traces are posted to. Raises InvalidParameter when it is no http or https URL.

    >>> traces_url("http://collector:4318/")
    'http://collector:4318/v1/traces'
    """
    try:
        parts = urlsplit(otlp_endpoint)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_url = False
    if not is_url:
        # Not repeated: a URL may hold a password.
        raise InvalidParameter("The OTLP endpoint must be a URL like http://127.0.0.1:4318 (OTLP over HTTP).")
    base = otlp_endpoint.rstrip("/")
    return base if base.endswith(_TRACES_PATH) else base + _TRACES_PATH


class Traces:
    """Makes spans with the OpenTelemetry SDK and sends them in batches from a thread of its own.

    Imports the SDK when it is made. `add` is for one thread.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        max_waiting_spans: int = _MAX_WAITING_SPANS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        self._api = trace
        self._max_waiting = max_waiting_spans
        self._clock = clock
        self._exporter = _CountingExporter(exporter, SpanExportResult.SUCCESS, SpanExportResult.FAILURE, clock)
        for name in _NOISY:
            logging.getLogger(name).addFilter(self._exporter.note_log)
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create(
                {"service.name": "tallystick", "service.version": importlib.metadata.version("tallystick")}
            ),
            shutdown_on_exit=False,
            id_generator=self._ids,
            span_limits=SpanLimits(max_attribute_length=_MAX_TEXT),
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=max_waiting_spans,
                max_export_batch_size=min(_MAX_BATCH_SPANS, max_waiting_spans),
                schedule_delay_millis=_EXPORT_EVERY_MS,
            )
        )
        self._tracer = self._provider.get_tracer("tallystick")
        self._error = trace.Status(trace.StatusCode.ERROR)
        self._submitted_spans = self._told_spans = 0
        #: Spans that were not made because too many waited.
        self.dropped_spans = 0
        self._next_warning = clock()

    @property
    def exported_spans(self) -> int:
        """Spans that the collector took."""
        return self._exporter.exported_spans

    @property
    def failed_spans(self) -> int:
        """Spans that the collector refused, or that did not reach it."""
        return self._exporter.failed_spans

    def add(self, record: Invocation, context: Context) -> None:
        """Make the spans of one invocation; none when its caller's trace is not sampled.

        Does not block, and does not raise for what the collector does.
        """
        self._warn_of_losses()
        parent = parse_traceparent(record.traceparent) if record.traceparent else None
        if parent is not None and not parent.is_sampled:
            return
        whole, *parts = stages(record)
        count = 1 + len(parts)
        # The SDK's own queue would drop the oldest spans, and tell nobody which.
        if self._submitted_spans - self.exported_spans - self.failed_spans + count > self._max_waiting:
            self.dropped_spans += count
            return
        kinds, ids = self._api.SpanKind, self._ids
        ids.follow(record.request_id, whole.name)
        span = self._tracer.start_span(
            f"invoke {context.endpoint_name}",
            self._inside(parent),
            kinds.SERVER,
            attributes(record, context),
            start_time=whole.start_ns,
        )
        if record.status >= 500:
            span.set_status(self._error)
        inside = self._api.set_span_in_context(span, {})
        for part in parts:
            ids.follow(record.request_id, part.name)
            self._tracer.start_span(part.name, inside, kinds.INTERNAL, start_time=part.start_ns).end(part.end_ns)
        span.end(whole.end_ns)
        self._submitted_spans += count

    def close(self) -> None:
        """Send what waits, for a few seconds at most. Blocks; nothing may be added afterwards."""
        self._exporter.give_up_at = self._clock() + _EXPORT_TIMEOUT_S
        self._provider.shutdown()
        for name in _NOISY:
            logging.getLogger(name).removeFilter(self._exporter.note_log)

    def _inside(self, parent: TraceParent | None) -> Any:
        """Return the caller's span as the SDK wants it; without one, a context in which no span is current."""
        if parent is None:
            return {}
        api = self._api
        flags = api.TraceFlags(api.TraceFlags.SAMPLED)
        caller = api.SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), True, flags)
        return api.set_span_in_context(api.NonRecordingSpan(caller), {})

    def _warn_of_losses(self) -> None:
        lost = self.failed_spans + self.dropped_spans
        if lost == self._told_spans:
            return
        now = self._clock()
        if now >= self._next_warning:
            self._next_warning, self._told_spans = now + _WARN_EVERY_S, lost
            reason = self._exporter.reason or "the collector takes them too slowly"
            _log.warning("traces are lost: %d spans since the start; %s", lost, reason)


class _CountingExporter:
    """Counts what becomes of spans; else as the exporter in it. Has the SDK's interface, not its base: it is an extra.

    Its counters are written by the thread that exports.
    """

    def __init__(self, exporter: SpanExporter, success: Any, failure: Any, clock: Callable[[], float]) -> None:
        self._exporter, self._success, self._failure, self._clock = exporter, success, failure, clock
        self.exported_spans = self.failed_spans = 0
        #: Why the last export failed.
        self.reason = ""
        #: From then on nothing is sent any more, so that the end does not take one time limit for each batch.
        self.give_up_at = float("inf")

    def export(self, spans: Sequence[ReadableSpan]) -> Any:
        """Export, and count."""
        result = self._failure
        if self._clock() < self.give_up_at:
            try:
                result = self._exporter.export(spans)
            except Exception as error:  # noqa: BLE001  exporters raise anything; those of the next batch may pass
                self.reason = type(error).__name__
        if result is self._success:
            self.exported_spans += len(spans)
        else:
            self.failed_spans += len(spans)
        return result

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the exporter."""
        return bool(self._exporter.force_flush(timeout_millis))

    def note_log(self, record: logging.LogRecord) -> bool:
        """Keep what the exporter would log of each failure, for the one line a minute that is logged instead."""
        self.reason = record.getMessage()[:_MAX_TEXT]
        return False


class _Ids:
    """Ids that follow from a request id and the part of the invocation. Has the interface of an SDK's IdGenerator."""

    def __init__(self) -> None:
        self._trace_id = self._span_id = 1

    def follow(self, request_id: str, stage: str) -> None:
        """Set the next ids. A root takes both of them, a child the second."""
        digest = hashlib.blake2b(f"{stage}:{request_id}".encode(errors="replace"), digest_size=24).digest()
        # Zero means "no id".
        self._trace_id = int.from_bytes(digest[:16]) or 1
        self._span_id = int.from_bytes(digest[16:]) or 1

    def generate_trace_id(self) -> int:
        """Return the id of a new trace."""
        return self._trace_id

    def generate_span_id(self) -> int:
        """Return the id of a new span."""
        return self._span_id

    def is_trace_id_random(self) -> bool:
        """Whether samplers may rely on the id's bits: those of a hash are as good as random."""
        return True
