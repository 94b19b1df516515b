"""What the health service measures of its own history and of what it tells others."""

from prometheus_client import Counter, Gauge

rows_dropped = Counter(
    "mainstay_health_rows_dropped_total",
    "Minutes and incidents that were never written: PostgreSQL was away for too long, or refused "
    "them.",
)
rows_waiting = Gauge(
    "mainstay_health_rows_waiting", "Minutes of targets that are not written to PostgreSQL yet."
)
webhooks = Counter(
    "mainstay_health_webhooks_total",
    "Changes of state told to a receiver, by outcome: delivered, failed, dropped.",
    ["receiver", "outcome"],
)
webhook_attempts = Counter(
    "mainstay_health_webhook_attempts_total",
    "Requests to a receiver by outcome: accepted, refused, failed.",
    ["receiver", "outcome"],
)
