import logging
import subprocess
import sys
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tallystick.errors import InvalidParameter
from tallystick.journal.format import Context, Invocation
from tallystick.protocol.frame import Answer
from tallystick.records.tracing import (
    TraceParent,
    Traces,
    TracingUnavailable,
    attributes,
    open_traces,
    parse_traceparent,
    stages,
    traces_url,
)

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
START_US = 1_700_000_000_000_000
CONTEXT = Context(1, "churn", "e1", "s1", "champion", "churn_model", "3", 7, "champion", 0.9, "churn_payload")


def invocation(**changes):
    fields = {
        "context": 1,
        "request_id": "r1",
        "time_us": START_US,
        "latency_ms": 10.0,
        "status": 200,
        "arm": "live",
        "requester": "anna",
        "user_agent": "curl/8",
        "content_type": "application/json",
        "response_content_type": "application/json",
        "attempt": 1,
        "request_bytes": 300,
        "response_bytes": 40,
        "request": b"a payload",
        "response": b"a payload",
        "answer": Answer(200, "application/json", 2, 1, 1.5, 3.0),
        "waited_ms": 0.5,
    }
    return Invocation(**fields | changes)


def spans_of(*records, **options):
    exporter = InMemorySpanExporter()
    traces = Traces(exporter, **options)
    for record in records:
        traces.add(record, CONTEXT)
    traces.close()
    return {span.name: span for span in exporter.get_finished_spans()}


class Refusing(SpanExporter):
    """Takes nothing, in one of two ways."""

    def __init__(self, raises=False):
        self.raises = raises
        self.batches = 0

    def export(self, spans):
        self.batches += 1
        if self.raises:
            raise ConnectionError("a payload of the network")
        return SpanExportResult.FAILURE


class Stuck(SpanExporter):
    """Does not come back before it is let go."""

    def __init__(self):
        self.let_go = threading.Event()

    def export(self, spans):
        self.let_go.wait(30)
        return SpanExportResult.SUCCESS


# -- the caller's context ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", True),
    ],
)
def test_a_traceparent_is_read(header, is_sampled):
    assert parse_traceparent(header) == TraceParent(TRACE, SPAN, is_sampled)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE[:-1]}\u0661-{SPAN}-01",
    ],
)
def test_a_malformed_traceparent_is_none(header):
    assert parse_traceparent(header) is None


# -- times -------------------------------------------------------------------------------------------------


def test_queue_and_model_lie_at_the_end():
    start = START_US * 1000
    assert [(stage.name, stage.start_ns - start, stage.end_ns - start) for stage in stages(invocation())] == [
        ("invoke", 0, 10_000_000),
        ("queue", 5_000_000, 7_000_000),
        ("model", 7_000_000, 10_000_000),
    ]


def test_parts_never_begin_before_the_whole():
    start = START_US * 1000
    parts = stages(invocation(latency_ms=2.0, answer=Answer(200, "", 1, 1, 5.0, 1.5)))
    assert [(stage.start_ns - start, stage.end_ns - start) for stage in parts] == [
        (0, 2_000_000),
        (0, 500_000),
        (500_000, 2_000_000),
    ]
    assert [stage.name for stage in stages(invocation(latency_ms=1.0, answer=Answer(200, "", 1, 1, 5.0, 9.0)))] == [
        "invoke",
        "model",
    ]


def test_what_took_no_time_has_no_stage():
    assert [stage.name for stage in stages(invocation(answer=None, waited_ms=0.0))] == ["invoke"]
    assert [stage.name for stage in stages(invocation(answer=None))] == ["invoke", "queue"]
    assert [stage.name for stage in stages(invocation(latency_ms=0.0, answer=None, waited_ms=0.0))] == ["invoke"]


# -- spans -------------------------------------------------------------------------------------------------


def test_an_invocation_is_a_server_span_with_its_parts():
    spans = spans_of(invocation(traceparent=f"00-{TRACE}-{SPAN}-01"))
    whole, queue, model = spans["invoke churn"], spans["queue"], spans["model"]
    assert whole.kind is SpanKind.SERVER
    assert (whole.parent.trace_id, whole.parent.span_id) == (int(TRACE, 16), int(SPAN, 16))
    assert whole.parent.is_remote
    assert (whole.start_time, whole.end_time) == (START_US * 1000, START_US * 1000 + 10_000_000)
    assert dict(whole.attributes) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.request.body.size": 300,
        "http.response.body.size": 40,
        "user_agent.original": "curl/8",
        "tallystick.request_id": "r1",
        "tallystick.endpoint": "churn",
        "tallystick.served_entity": "champion",
        "tallystick.model.name": "churn_model",
        "tallystick.model.version": "3",
        "tallystick.config_version": 7,
        "tallystick.arm": "live",
        "tallystick.attempt": 1,
        "tallystick.rows": 2,
    }
    assert whole.status.status_code is StatusCode.UNSET
    assert whole.resource.attributes["service.name"] == "tallystick"
    for part in (queue, model):
        assert part.context.trace_id == int(TRACE, 16)
        assert part.parent.span_id == whole.context.span_id
        assert part.kind is SpanKind.INTERNAL
    assert (queue.end_time - queue.start_time, model.end_time - model.start_time) == (2_000_000, 3_000_000)


def test_without_a_valid_parent_an_invocation_is_a_new_root():
    for header in ("", "00-nonsense", f"00-{'0' * 32}-{SPAN}-01"):
        spans = spans_of(invocation(traceparent=header))
        whole = spans["invoke churn"]
        assert whole.parent is None
        assert whole.context.trace_id not in (0, int(TRACE, 16))
        assert spans["model"].parent.span_id == whole.context.span_id


def test_a_parent_that_is_not_sampled_makes_no_span():
    assert spans_of(invocation(traceparent=f"00-{TRACE}-{SPAN}-00")) == {}


def test_an_invocation_that_is_read_again_has_the_same_ids():
    first, again, other = spans_of(invocation()), spans_of(invocation()), spans_of(invocation(request_id="r2"))
    for name in ("invoke churn", "queue", "model"):
        assert first[name].context.span_id == again[name].context.span_id != other[name].context.span_id
        assert first[name].context.trace_id == again[name].context.trace_id != other[name].context.trace_id
    assert len({span.context.span_id for span in first.values()}) == 3


@pytest.mark.parametrize(
    ("status", "code"), [(200, "UNSET"), (400, "UNSET"), (499, "UNSET"), (500, "ERROR"), (504, "ERROR")]
)
def test_only_faults_of_the_server_are_errors(status, code):
    span = spans_of(invocation(status=status))["invoke churn"]
    assert span.status.status_code.name == code
    assert span.attributes.get("error.type") == (str(status) if code == "ERROR" else None)


def test_no_span_holds_a_body_or_who_called():
    found = repr(attributes(invocation(), CONTEXT))
    assert "payload" not in found
    assert "anna" not in found


@pytest.mark.parametrize("names", [{"drop": ("user_agent",)}, {"hash": ("user_agent",)}])
def test_a_client_that_the_table_drops_or_hashes_is_in_no_span(names):
    fields = {name: getattr(CONTEXT, name) for name in CONTEXT.__struct_fields__}
    assert "user_agent.original" not in attributes(invocation(), Context(**fields | names))


# -- collectors that fail ----------------------------------------------------------------------------------


@pytest.mark.parametrize("raises", [False, True])
def test_what_the_collector_refuses_is_counted_and_told_once_a_minute(raises, caplog):
    now = [0.0]
    exporter = Refusing(raises)
    traces = Traces(exporter, clock=lambda: now[0])
    with caplog.at_level(logging.WARNING, "tallystick.records"):
        for minute in range(3):
            for _ in range(3):
                traces.add(invocation(), CONTEXT)
                traces._provider.force_flush()
            now[0] = 60.0 * (minute + 1)
        traces.add(invocation(), CONTEXT)
    traces.close()
    assert traces.failed_spans == 30
    assert traces.exported_spans == traces.dropped_spans == 0
    told = [record.getMessage() for record in caplog.records if record.name == "tallystick.records"]
    assert [text.split(";")[0] for text in told] == [
        "traces are lost: 3 spans since the start",
        "traces are lost: 9 spans since the start",
        "traces are lost: 18 spans since the start",
        "traces are lost: 27 spans since the start",
    ]
    assert "payload" not in "".join(told)


def test_a_collector_that_hangs_costs_spans_and_blocks_nobody():
    exporter = Stuck()
    traces = Traces(exporter, max_waiting_spans=30)
    for _ in range(50):
        traces.add(invocation(), CONTEXT)
    assert traces.dropped_spans == 120
    exporter.let_go.set()
    traces.close()
    assert (traces.exported_spans, traces.failed_spans) == (30, 0)


def test_the_end_does_not_wait_for_batch_after_batch():
    """Each batch takes longer than the end may; the first one goes out when the end has begun."""
    now, has_begun = [0.0], threading.Event()

    class Slow(Refusing):
        def export(self, spans):
            has_begun.wait(30)
            now[0] += 6.0
            return super().export(spans)

    exporter = Slow()
    traces = Traces(exporter, clock=lambda: now[0])
    for _ in range(400):
        traces.add(invocation(), CONTEXT)
    shutdown = traces._provider.shutdown
    traces._provider.shutdown = lambda: (has_begun.set(), shutdown())
    traces.close()
    assert exporter.batches == 1
    assert traces.failed_spans == 1200


# -- the wire ----------------------------------------------------------------------------------------------


class Collector:
    """An OTLP/HTTP receiver on a free port of this machine."""

    def __init__(self, status=200):
        self.requests = deque()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler):
                body = handler.rfile.read(int(handler.headers["content-length"]))
                self.requests.append((handler.path, handler.headers["content-type"], body))
                handler.send_response(status)
                handler.send_header("content-length", "0")
                handler.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def test_a_collector_gets_spans_that_other_programs_can_read():
    collector = Collector()
    try:
        traces = open_traces(collector.url)
        traces.add(invocation(traceparent=f"00-{TRACE}-{SPAN}-01"), CONTEXT)
        traces.close()
    finally:
        collector.close()
    assert traces.exported_spans == 3
    ((path, content_type, body),) = collector.requests
    assert (path, content_type) == ("/v1/traces", "application/x-protobuf")
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    (scope,) = resource.scope_spans
    assert scope.scope.name == "tallystick"
    spans = {span.name: span for span in scope.spans}
    assert set(spans) == {"invoke churn", "queue", "model"}
    whole = spans["invoke churn"]
    assert (whole.trace_id.hex(), whole.parent_span_id.hex()) == (TRACE, SPAN)
    assert whole.end_time_unix_nano - whole.start_time_unix_nano == 10_000_000
    assert spans["model"].parent_span_id == whole.span_id


def test_a_collector_that_refuses_is_named_once_and_not_by_its_library(caplog):
    collector = Collector(status=400)
    now = [0.0]
    try:
        with caplog.at_level(logging.INFO):
            exporter = open_traces(collector.url)
            exporter._clock = lambda: now[0]
            exporter.add(invocation(), CONTEXT)
            exporter._provider.force_flush()
            now[0] = 1e9
            exporter.add(invocation(), CONTEXT)
            exporter.close()
    finally:
        collector.close()
    assert exporter.failed_spans == 6
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert record.name == "tallystick.records"
    assert "400" in record.getMessage()


def test_no_filter_stays_on_the_exporters_loggers():
    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    before = list(logging.getLogger(name).filters)
    Traces(InMemorySpanExporter()).close()
    assert logging.getLogger(name).filters == before


# -- opening -----------------------------------------------------------------------------------------------


def test_without_an_endpoint_nothing_is_made():
    assert open_traces("") is None


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("https://otel.example.com/base/", "https://otel.example.com/base/v1/traces"),
        ("http://c:4318/v1/traces", "http://c:4318/v1/traces"),
    ],
)
def test_traces_go_to_their_path_below_the_endpoint(endpoint, url):
    assert traces_url(endpoint) == url


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://secret@c:4317", "http://", "http://[", "/tmp/x"])
def test_what_is_no_url_is_refused_and_not_repeated(endpoint):
    with pytest.raises(InvalidParameter) as refusal:
        open_traces(endpoint)
    assert "http://127.0.0.1:4318" in refusal.value.message
    assert "secret" not in refusal.value.message


def test_a_missing_extra_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("opentelemetry.exporter")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(TracingUnavailable, match=r"pip install 'tallystick\[otel\]'"):
        open_traces("http://127.0.0.1:4318")


def test_opentelemetry_is_not_imported_while_it_is_off():
    """In a process of its own, as this one has imported it."""
    code = (
        "import sys; from tallystick.records import access_log, tracing; tracing.open_traces('');"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
