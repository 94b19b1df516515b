"""Prometheus metrics that every service has. A service's own stand in its `metrics.py`."""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from shared.telemetry.call_metrics import BUCKETS, CallMetrics
from shared.telemetry.query_metrics import QueryMetrics

calls = CallMetrics()
REGISTRY.register(calls)
queries = QueryMetrics()
REGISTRY.register(queries)

build_info = Gauge(
    "mainstay_build_info",
    "1 for the service and version that this process is.",
    ["service", "version"],
)
log_lines_lost = Counter(
    "mainstay_log_lines_lost_total", "Log lines that could not be written: nobody reads them."
)
trace_spans_dropped = Counter(
    "mainstay_trace_spans_dropped_total",
    "Spans that were not exported: too many waited, or nobody took them.",
)
sentry_reports = Counter(
    "mainstay_sentry_reports_total",
    "Errors and transactions for Sentry, by outcome: sent, held back by the rate, of a bot.",
    ["kind", "outcome"],
)
redis_seconds = Histogram(
    "mainstay_redis_batch_duration_seconds",
    "Time from writing a pipeline of commands to its last reply.",
    buckets=BUCKETS,
)
redis_commands = Counter(
    "mainstay_redis_commands_total", "Commands by outcome: ok, error reply, failed.", ["outcome"]
)
redis_in_flight = Gauge(
    "mainstay_redis_commands_in_flight", "Commands that wait for their reply now."
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
postgres_pool_size = Gauge("mainstay_postgres_pool_size", "Connections that are open now.")
postgres_pool_wait = Histogram(
    "mainstay_postgres_pool_wait_seconds",
    "Time from asking the pool for a connection to having it.",
    buckets=BUCKETS,
)
loop_lag = Histogram(
    "mainstay_event_loop_lag_seconds",
    "How much later than asked the event loop went on, four times a second.",
    buckets=BUCKETS,
)
loop_lag_max = Gauge(
    "mainstay_event_loop_lag_max_seconds", "The longest lag of the last ten seconds."
)
