"""What the look-ups of plans count."""

from prometheus_client import Counter, Gauge

lookups = Counter(
    "mainstay_ratelimit_plan_lookups",
    "Plans that were looked up, by who answered: the cache, the database, the own memory because "
    "neither did in time, or nobody.",
    ["answered_by"],
)
untold = Gauge(
    "mainstay_ratelimit_plan_changes_untold",
    "Changes of plans that the cache service could not be told yet.",
)
