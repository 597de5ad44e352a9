"""Renders samples in the Prometheus text format 0.0.4, with prometheus-client: it escapes labels. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from tallystick.control.metrics.names import METRICS, Kind, Metric
from tallystick.protocol.counts import REQUESTS, SECONDS, Distribution

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Metric, values of its labels in their order, value.
Sample = tuple[Metric, tuple[str, ...], "float | Distribution"]


def render(samples: Iterable[Sample]) -> bytes:
    """Return the samples as text, in the order of `METRICS`. Of two with equal labels the sum is shown."""
    by_metric: dict[Metric, dict[tuple[str, ...], float | Distribution]] = {}
    for metric, labels, value in samples:
        known = by_metric.setdefault(metric, {})
        known[labels] = _sum(known[labels], value) if labels in known else value
    return render_families(_family(metric, by_metric[metric]) for metric in METRICS if metric in by_metric)


def render_families(families: Iterable[Family]) -> bytes:
    """Return families as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(families))
    return generate_latest(registry)


def cumulative(
    counts: Sequence[int], bounds: Sequence[float], *, factor: float = 1.0, least: float = 0.0
) -> list[tuple[str, float]]:
    """Return buckets as the text format has them: (upper end, how many are at or below it), the last being +Inf.

    Bounds are multiplied by `factor`; those below `least` (before it) are left out.

    >>> cumulative((1, 2, 4), (0.5, 1.0), factor=1000, least=1.0)
    [('1000.0', 3), ('+Inf', 7)]
    """
    buckets: list[tuple[str, float]] = []
    so_far = 0
    for bound, count in zip(bounds, counts, strict=False):
        so_far += count
        if bound >= least:
            # Rounded: 0.0025 * 1000 is not 2.5 in every case, and a bound must read the same everywhere.
            buckets.append((str(float(round(bound * factor, 9))), so_far))
    buckets.append(("+Inf", so_far + counts[-1]))
    return buckets


class _Once(Collector):
    """Gives the registry what was collected before."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Family]:
        yield from self._families


def _family(metric: Metric, values: dict[tuple[str, ...], float | Distribution]) -> Family:
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in values.items():
            assert isinstance(value, Distribution)
            bounds = SECONDS if len(value.counts) == len(SECONDS) + 1 else REQUESTS
            histogram.add_metric(labels, cumulative(value.counts, bounds), value.sum)
        return histogram
    made = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = made(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        assert not isinstance(value, Distribution)
        family.add_metric(labels, value)
    return family


def _sum(one: float | Distribution, other: float | Distribution) -> float | Distribution:
    if isinstance(one, Distribution):
        assert isinstance(other, Distribution)
        return one.plus(other)
    assert not isinstance(other, Distribution)
    return one + other
