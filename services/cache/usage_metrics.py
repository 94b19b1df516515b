"""What the books of the quotas measure."""

from prometheus_client import Counter

settlements_dropped = Counter(
    "mainstay_cache_settlements_dropped_total",
    "Replaced or removed entries that count on: the buffer was full or Redis was gone.",
)
evictions = Counter(
    "mainstay_cache_evictions_total",
    "Entries of permanent classes that made room for others.",
    ["ttl_class"],
)
recency_dropped = Counter(
    "mainstay_cache_recency_dropped_total",
    "Reads of permanent entries that do not count for which of them is evicted next.",
)
refusals = Counter(
    "mainstay_cache_quota_refusals_total",
    "Writes refused for a quota: entries, bytes or class.",
    ["quota"],
)
