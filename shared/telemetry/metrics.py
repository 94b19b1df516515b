"""Prometheus metrics that every service has. A service's own stand in its `metrics.py`."""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from shared.telemetry.call_metrics import BUCKETS, CallMetrics

calls = CallMetrics()
REGISTRY.register(calls)

log_lines_lost = Counter(
    "mainstay_log_lines_lost_total", "Log lines that could not be written: nobody reads them."
)
redis_seconds = Histogram(
    "mainstay_redis_batch_duration_seconds",
    "Time from writing a pipeline of commands to its last reply.",
    buckets=BUCKETS,
)
redis_commands = Counter(
    "mainstay_redis_commands_total", "Commands by outcome: ok, error reply, failed.", ["outcome"]
)
redis_breaker_open = Gauge(
    "mainstay_redis_breaker_open", "1 while commands fail at once because Redis does not answer."
)
postgres_seconds = Histogram(
    "mainstay_postgres_transaction_duration_seconds",
    "Time from asking for a connection to commit or rollback.",
    buckets=BUCKETS,
)
postgres_retries = Counter(
    "mainstay_postgres_retries_total", "Transactions repeated after a transient error."
)
postgres_pool_in_use = Gauge("mainstay_postgres_pool_in_use", "Connections that are taken now.")
