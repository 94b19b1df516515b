"""What is counted of invalidations, for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

history_reloads = Counter(
    "mainstay_cache_history_reloads_total",
    "Histories that could not be gone on with: trimmed (this replica was away for long), other or "
    "lost (the store has lost invalidations; everything of the tenant from before is dead).",
    ["cause"],
)
remembered_marks = Gauge(
    "mainstay_cache_history_marks", "Invalidated tags, prefixes and namespaces that are remembered."
)
watchers = Gauge("mainstay_cache_watchers", "Streams of WatchInvalidations that are up.")
discontinuities = Counter(
    "mainstay_cache_watch_discontinuities_total",
    "Times that a stream of WatchInvalidations was told to drop every copy.",
)
watch_delay = Histogram(
    "mainstay_cache_watch_delay_seconds",
    "Time from an invalidation until a stream is given it to send.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
swept_entries = Counter(
    "mainstay_cache_swept_entries_total", "Dead entries that the sweeper removed."
)
sweep_seconds = Gauge(
    "mainstay_cache_sweep_duration_seconds", "How long the last walk over all entries took."
)
