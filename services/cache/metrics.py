"""What the cache counts, for Prometheus."""

from collections.abc import Iterable

from prometheus_client import Counter

from services.cache.entry import Entry, Outcome

reads = Counter(
    "mainstay_cache_reads_total",
    "Reads by namespace and result: hit, or the reason of the miss.",
    ["namespace", "result"],
)

# Callers choose the names of namespaces, and every label value lives as long as the process.
MAX_NAMESPACES = 100
OTHER_NAMESPACES = "(other)"


class PrometheusReads:
    """Counts reads; namespaces beyond the first hundred are counted together."""

    def __init__(self, counter: Counter = reads, max_namespaces: int = MAX_NAMESPACES) -> None:
        self._counter = counter
        self._max_namespaces = max_namespaces
        self._namespaces: set[str] = set()
        self._children: dict[tuple[str, str], Counter] = {}

    def count(self, namespace: str, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            result = "hit" if isinstance(outcome, Entry) else outcome.reason.value
            # Looking a label up in the library costs more than counting.
            child = self._children.get((namespace, result))
            if child is None:
                child = self._child(namespace, result)
            child.inc()

    def _child(self, namespace: str, result: str) -> Counter:
        if len(self._namespaces) < self._max_namespaces:
            self._namespaces.add(namespace)
        if namespace not in self._namespaces:
            return self._counter.labels(namespace=OTHER_NAMESPACES, result=result)
        child = self._counter.labels(namespace=namespace, result=result)
        self._children[namespace, result] = child
        return child
