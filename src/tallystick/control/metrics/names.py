"""Every metric: its name, type, labels and meaning; nowhere else.

Units are seconds and bytes, counters end in `_total` and start at 0 when the process that counts does. docs/metrics.md
has the same table, and a test compares the two. The names of the Databricks contract are in `export`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "tallystick_"
#: Who answers: what most metrics are told apart by.
ENTITY = ("endpoint", "served_entity", "model_version")
WORKER = (*ENTITY, "worker")


class Kind(StrEnum):
    """Type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


def _counter(name: str, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(f"{PREFIX}{name}_total", Kind.COUNTER, labels, text)


def _gauge(name: str, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(PREFIX + name, Kind.GAUGE, labels, text)


def _histogram(name: str, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(PREFIX + name, Kind.HISTOGRAM, labels, text)


# Invocations.
INVOCATIONS = _counter("invocations", (*ENTITY, "status"), "Invocations that ended, by HTTP status.")
DURATION = _histogram("invocation_duration_seconds", ENTITY, "From the complete request to the answer.")
QUEUE = _histogram("invocation_queue_seconds", ENTITY, "Part of the duration that was waiting for a turn.")
MODEL = _histogram("invocation_model_seconds", ENTITY, "Part of the duration that the model took.")
GATEWAY = _histogram("invocation_gateway_seconds", ENTITY, "Part of the duration that was neither queue nor model.")
BATCH = _histogram("invocation_batch_requests", ENTITY, "Requests that shared the call of the model, once for each.")
ROWS = _counter("invocation_rows", ENTITY, "Rows that the model answered.")
COERCIONS = _counter("coercions", (*ENTITY, "column", "kind"), "Values that were changed to fit the signature.")
IN_FLIGHT = _gauge("invocations_in_flight", ENTITY, "Invocations that workers have now.")
WAITING = _gauge("invocations_waiting", ENTITY, "Invocations that wait in the gateways for a worker with room.")
CONCURRENCY = _gauge("provisioned_concurrency", ENTITY, "Invocations that the workers answer at a time.")
SHARE = _gauge("route_share_ratio", ENTITY, "Share of the endpoint's traffic that is routed here, 0 to 1.")
REFUSALS = _counter("refusals", ("status", "error_code"), "Requests that were refused before they had a served entity.")

# Endpoints.
READY = _gauge("endpoint_ready", ("endpoint",), "Whether the active config of the endpoint can answer.")
CONFIG_VERSION = _gauge("endpoint_config_version", ("endpoint",), "Version of the active config.")
CONFIG_UPDATE = _gauge("endpoint_config_update", ("endpoint", "state"), "1 for the state of the latest config change.")

# Workers.
WORKER_UP = _gauge("worker_up", WORKER, "Whether the worker process runs.")
WORKER_READY = _gauge("worker_ready", WORKER, "Whether the worker has its model loaded and checked.")
WORKER_RESTARTS = _counter("worker_restarts", WORKER, "Times the worker was started again after it had died.")
WORKER_CPU = _counter("worker_cpu_seconds", WORKER, "Processor time of the worker process, user and system.")
WORKER_MEMORY = _gauge("worker_resident_memory_bytes", WORKER, "Memory of the worker process.")

# The server's own processes.
BUILD_INFO = _gauge("build_info", ("version", "python"), "1, with the version of the server and its Python.")
PROCESS_CPU = _counter("process_cpu_seconds", ("process",), "Processor time of the process, user and system.")
PROCESS_MEMORY = _gauge("process_resident_memory_bytes", ("process",), "Memory of the process.")
TABLE_VERSION = _gauge("route_table_version", (), "Version of the route table that control published last.")
GATEWAY_TABLE_VERSION = _gauge(
    "gateway_route_table_version", ("process",), "Version of the route table that the gateway routes by."
)
GATEWAYS_UP = _gauge("gateways_connected", (), "Gateways that are connected to control.")
CONNECTIONS = _gauge("gateway_open_connections", ("process",), "Connections of clients that are open.")

# Journal and recorder.
JOURNAL_BYTES = _gauge("journal_bytes", ("process",), "Bytes of journal that the recorder has yet to clear away.")
JOURNAL_DROPS = _counter("journal_dropped_records", ("process", "reason"), "Records that could not be written.")
JOURNAL_SYNC_FAILURES = _counter("journal_sync_failures", ("process",), "Syncs of the journal that failed.")
JOURNAL_PROBLEM = _gauge("journal_problem", ("process",), "Whether the journal cannot be written at the moment.")
RECORDER_UP = _gauge("recorder_up", (), "Whether the recorder is connected to control.")
RECORDER_LAG = _gauge("recorder_lag_seconds", (), "Age of the oldest record that is in no table yet.")
RECORDER_JOURNAL = _gauge("recorder_journal_bytes", (), "Bytes of journal on disk, of all processes.")
RECORDER_UNREAD = _gauge("recorder_unread_bytes", (), "Bytes of journal that the recorder has not read yet.")
RECORDER_ROWS = _counter("recorder_rows", (), "Rows written to tables.")
RECORDER_COMMITS = _counter("recorder_commits", (), "Commits to tables.")
RECORDER_LEFT_OUT = _counter("recorder_left_out_records", (), "Records that no table could take as they are.")
RECORDER_TORN = _counter("recorder_torn_bytes", (), "Bytes of unfinished records that dead processes left behind.")
RECORDER_DAMAGED = _counter(
    "recorder_damaged_bytes", (), "Bytes of journal that fail their checksum and are set aside."
)
TABLE_WAITING = _gauge("recorder_table_waiting_rows", ("table",), "Rows that were read and are not in the table yet.")
TABLE_LAG = _gauge("recorder_table_lag_seconds", ("table",), "Age of the oldest of the rows that wait.")
TABLE_PROBLEM = _gauge("recorder_table_problem", ("table",), "Whether the table cannot be written at the moment.")
FEEDBACK = _counter("feedback", ("endpoint", "outcome"), "Lines of feedback: matched, unknown or duplicate.")

# The parity gate.
GATE_CHECKS = _counter(
    "parity_gate_checks",
    (*ENTITY, "place", "outcome"),
    "Checks of golden rows that a replica came through, in the worker or over HTTP.",
)
GATE_SECONDS = _gauge("parity_gate_seconds", (*ENTITY, "place"), "Duration of the last check of a replica.")

# The monitor.
MONITOR_UP = _gauge("monitor_up", (), "Whether the monitor is connected to control.")
PARITY_INCIDENTS = _gauge("parity_incidents", (*ENTITY, "kind"), "Incidents that are open, by kind of the cause.")
PARITY_STATUS = _gauge("parity_status", (*ENTITY, "status"), "1 for the status of the latest diagnosis.")
PARITY_ROWS = _counter("parity_rows", ENTITY, "Rows that were compared with training.")
PARITY_PASSED_OVER = _counter("parity_passed_over_rows", ENTITY, "Rows that there was no time to count.")
PARITY_VIOLATIONS = _counter(
    "parity_violations", (*ENTITY, "column", "violation"), "Values that break the contract of training."
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
