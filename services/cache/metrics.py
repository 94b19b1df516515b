"""What the cache counts, for Prometheus.

Reads are counted in `services.cache.statistics`, once for all who want to know, and arrive here
every few seconds and before every scrape.
"""

from collections.abc import Sequence

from prometheus_client import REGISTRY, Counter, Gauge

from services.cache.statistics import OTHER, Counted, Tally
from shared.telemetry.before_scrape import BeforeScrape

# Callers choose the names of namespaces, and every label value lives as long as the process.
MAX_NAMESPACES = 100


before_scrape = BeforeScrape()
REGISTRY.register(before_scrape)

reads = Counter(
    "mainstay_cache_reads_total",
    "Reads by namespace and result: hit, stale, or the reason of the miss.",
    ["namespace", "result"],
)
computations = Counter(
    "mainstay_cache_computations_total", "Fills that were stored.", ["namespace"]
)
computations_saved = Counter(
    "mainstay_cache_computations_saved_total",
    "Hits on computed values, and callers that waited for another's.",
    ["namespace"],
)
seconds_saved = Counter(
    "mainstay_cache_computation_seconds_saved_total",
    "How long the computations that were saved would have taken.",
    ["namespace"],
)
fills_refused = Counter(
    "mainstay_cache_fills_refused_total", "Fills that were not stored.", ["namespace"]
)
waiters = Gauge("mainstay_cache_waiters", "Callers held while another computes their value.")
policy_broken = Gauge(
    "mainstay_cache_policy_broken",
    "1 while the policy file cannot be used and the policy before it stays in force.",
)
statistics_dropped = Counter(
    "mainstay_cache_statistics_dropped_total",
    "Buckets of statistics that were not written to PostgreSQL, because it was gone for too long.",
)


class PrometheusStatistics:
    """Adds what was counted to the metrics; namespaces beyond the first hundred in one."""

    def __init__(self, max_namespaces: int = MAX_NAMESPACES) -> None:
        self._max_namespaces = max_namespaces
        self._namespaces: set[str] = set()

    def add(self, counted: Sequence[Counted]) -> None:
        """Take in what was counted since the last time."""
        for group, tally in counted:
            _count(self._label(group.namespace), tally)

    def _label(self, namespace: str) -> str:
        if len(self._namespaces) < self._max_namespaces:
            self._namespaces.add(namespace)
        return namespace if namespace in self._namespaces else OTHER


def _count(namespace: str, tally: Tally) -> None:
    results = {
        "hit": tally.hits - tally.stale_hits,
        "stale": tally.stale_hits,
        **{reason.value: count for reason, count in tally.misses.items()},
    }
    for result, count in results.items():
        if count:
            reads.labels(namespace=namespace, result=result).inc(count)
    if tally.computations:
        computations.labels(namespace=namespace).inc(tally.computations)
    if tally.computations_saved:
        computations_saved.labels(namespace=namespace).inc(tally.computations_saved)
        seconds_saved.labels(namespace=namespace).inc(tally.saved_ms / 1000)
    if tally.fills_refused:
        fills_refused.labels(namespace=namespace).inc(tally.fills_refused)
