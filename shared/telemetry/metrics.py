"""Prometheus metrics that every service has. A service's own stand in its `metrics.py`."""

from prometheus_client import Counter, Gauge, Histogram

# From a tenth of a millisecond, where a cache hit lies, to the minutes of a watch.
_BUCKETS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60,
)  # fmt: skip

call_seconds = Histogram(
    "mainstay_rpc_server_call_duration_seconds",
    "Time from the first byte of a call to its status.",
    ["method"],
    buckets=_BUCKETS,
)
calls = Counter(
    "mainstay_rpc_server_calls_total",
    "Finished calls by gRPC status and error reason.",
    ["method", "code", "reason"],
)
calls_in_flight = Gauge(
    "mainstay_rpc_server_calls_in_flight", "Calls being handled now that count for admission."
)
redis_seconds = Histogram(
    "mainstay_redis_batch_duration_seconds",
    "Time from writing a pipeline of commands to its last reply.",
    buckets=_BUCKETS,
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
    buckets=_BUCKETS,
)
postgres_retries = Counter(
    "mainstay_postgres_retries_total", "Transactions repeated after a transient error."
)
postgres_pool_in_use = Gauge("mainstay_postgres_pool_in_use", "Connections that are taken now.")
