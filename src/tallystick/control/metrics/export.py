"""The metrics of one endpoint under the names that Databricks' export has (`GET …/{name}/metrics`). Pure.

Source: "Export metrics" of Databricks Model Serving. Counts are of the last minute and so are gauges, in spite of
`_total`; times are milliseconds; samples carry the time that they are of. Consumers add up over all label sets, so
shares are given once for the endpoint. An endpoint that is scaled to zero has the series of requests only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from tallystick.control.metrics.text import cumulative, render_families
from tallystick.protocol.counts import NOTHING, SECONDS, Distribution, EntityCounts

ENDPOINT, SERVED_ENTITY = "endpoint_name", "served_entity_name"
#: The lowest bucket that consumers of these metrics know, seconds.
_LEAST_S = 0.005


@dataclass(frozen=True, slots=True)
class Served:
    """A served entity of the active config, as far as it is shown."""

    id: str
    name: str
    #: Invocations that its workers answer at a time; 0 when none runs.
    concurrency: int


@dataclass(frozen=True, slots=True)
class Shares:
    """What one running worker takes of this machine, 0 to 1; None where it is not known yet."""

    cpu: float | None
    memory: float | None


def export(
    endpoint_name: str,
    served: Sequence[Served],
    last_minute: Mapping[str, EntityCounts],
    workers: Sequence[Shares],
    now_s: float,
) -> bytes:
    """Return the text. `last_minute` is by served entity id, `now_s` in seconds since the epoch."""
    return render_families(_families(endpoint_name, served, last_minute, workers, now_s))


def _families(
    endpoint_name: str,
    served: Sequence[Served],
    last_minute: Mapping[str, EntityCounts],
    workers: Sequence[Shares],
    now_s: float,
) -> Iterator[Family]:
    labelled = [((endpoint_name, each.name), last_minute.get(each.id, NOTHING)) for each in served]
    counted = (
        ("request_count_total", "Requests in the last minute.", (0, 1000)),
        ("request_4xx_count_total", "Requests in the last minute that were answered with a 4xx status.", (400, 500)),
        ("request_5xx_count_total", "Requests in the last minute that were answered with a 5xx status.", (500, 600)),
    )
    for name, text, (low, high) in counted:
        gauge = GaugeMetricFamily(name, text, labels=(ENDPOINT, SERVED_ENTITY))
        for labels, counts in labelled:
            count = sum(count for status, count in counts.statuses.items() if low <= status < high)
            gauge.add_metric(labels, count, now_s)
        yield gauge
    durations = [(labels, counts.duration) for labels, counts in labelled]
    yield _histogram("request_latency_ms", "Time to the answer", durations, now_s)
    if workers:
        queue = [(labels, counts.queue) for labels, counts in labelled]
        yield _histogram("model_queue_time_ms", "Part of it that was waiting for a turn", queue, now_s)
        model = [(labels, counts.model) for labels, counts in labelled]
        yield _histogram("model_prediction_latency_ms", "Part of it that the model took", model, now_s)
        yield from _provision(endpoint_name, served, workers, now_s)


def _provision(
    endpoint_name: str, served: Sequence[Served], workers: Sequence[Shares], now_s: float
) -> Iterator[Family]:
    gauge = GaugeMetricFamily(
        "provisioned_concurrent_requests_total",
        "Requests that the running workers answer at a time.",
        labels=(ENDPOINT, SERVED_ENTITY),
    )
    for each in served:
        gauge.add_metric((endpoint_name, each.name), each.concurrency, now_s)
    yield gauge
    usages = (
        (
            "cpu_usage_percentage",
            "Share of the machine's processors, mean over workers, last minute.",
            [each.cpu for each in workers],
        ),
        (
            "mem_usage_percentage",
            "Share of the machine's memory, mean over workers.",
            [each.memory for each in workers],
        ),
    )
    for name, text, known in usages:
        if shares := [share for share in known if share is not None]:
            usage = GaugeMetricFamily(name, text, labels=(ENDPOINT,))
            usage.add_metric((endpoint_name,), 100 * sum(shares) / len(shares), now_s)
            yield usage


def _histogram(
    name: str, text: str, labelled: Sequence[tuple[tuple[str, ...], Distribution]], now_s: float
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, f"{text}; last minute, milliseconds.", labels=(ENDPOINT, SERVED_ENTITY))
    for labels, seconds in labelled:
        buckets = cumulative(seconds.counts, SECONDS, factor=1000, least=_LEAST_S)
        family.add_metric(labels, buckets, seconds.sum * 1000, now_s)
    return family
