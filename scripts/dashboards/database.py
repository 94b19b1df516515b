"""PostgreSQL and Redis, as the services see them."""

from dashboards.panels import RED, YELLOW, Dashboard, Panel, Row, Variable
from dashboards.promql import SERVICE, matching, quantile, rate, share, top, total

_QUERY = "mainstay_postgres_query_duration_seconds"
_TRANSACTION = "mainstay_postgres_transaction_duration_seconds"
_BATCH = "mainstay_redis_batch_duration_seconds"

DATABASE = Dashboard(
    name="database",
    title="Database",
    help="PostgreSQL and Redis as the services see them: waiting for a connection and the network "
    "are in it.",
    variables=[
        Variable(
            name="service", label="Service", values="label_values(mainstay_build_info, service)"
        )
    ],
    rows=[
        Row(
            title="PostgreSQL: queries",
            panels=[
                Panel(
                    title="p95 by service",
                    help="Promised: below 100 ms. All slow: the server's disk or CPU, a lock. One "
                    "slow: the query beside it.",
                    unit="s",
                    limits=[(0.1, RED)],
                    queries=[("{{service}}", quantile(0.95, _QUERY, SERVICE, by="service"))],
                ),
                Panel(
                    title="Slowest queries, p95",
                    help="By the name in the .sql files. Above 100 ms for a minute the log has "
                    "`slow_query`. EXPLAIN it; is a vacuum late?",
                    unit="s",
                    limits=[(0.1, RED)],
                    queries=[("{{query}}", top(10, quantile(0.95, _QUERY, SERVICE, by="query")))],
                ),
                Panel(
                    title="Queries by name",
                    help="The ten most frequent.",
                    unit="ops",
                    queries=[("{{query}}", top(10, rate(f"{_QUERY}_count", SERVICE, by="query")))],
                ),
                Panel(
                    title="Share above 100 ms",
                    help="What p95 does not show as long as it is below 5 %.",
                    unit="percentunit",
                    limits=[(0.05, RED)],
                    queries=[
                        (
                            "{{service}}",
                            "1 - "
                            + share(
                                rate(f"{_QUERY}_bucket", SERVICE, 'le="0.1"', by="service"),
                                rate(f"{_QUERY}_count", SERVICE, by="service"),
                            ),
                        )
                    ],
                ),
            ],
        ),
        Row(
            title="PostgreSQL: connections and transactions",
            panels=[
                Panel(
                    title="Pool",
                    help="Taken and open connections. All taken for long: slow queries first, then "
                    "MAINSTAY_POSTGRES_POOL_SIZE (of one process).",
                    queries=[
                        (
                            "{{service}} in use",
                            total("mainstay_postgres_pool_in_use", SERVICE, by="service"),
                        ),
                        (
                            "{{service}} open",
                            total("mainstay_postgres_pool_size", SERVICE, by="service"),
                        ),
                    ],
                ),
                Panel(
                    title="Wait for a connection, p95",
                    help="Above some ms the pool is too small for what is asked of it.",
                    unit="s",
                    limits=[(0.1, RED)],
                    queries=[
                        (
                            "{{service}}",
                            quantile(
                                0.95, "mainstay_postgres_pool_wait_seconds", SERVICE, by="service"
                            ),
                        )
                    ],
                ),
                Panel(
                    title="Transactions",
                    help="From asking for a connection to the commit.",
                    unit="s",
                    queries=[
                        ("p50", quantile(0.5, _TRANSACTION, SERVICE)),
                        ("p95", quantile(0.95, _TRANSACTION, SERVICE)),
                        ("p99", quantile(0.99, _TRANSACTION, SERVICE)),
                    ],
                ),
                Panel(
                    title="Repeated transactions",
                    help="After serialisation failures, deadlocks and lost connections; three "
                    "attempts at most. Steady: two writers fight over a row.",
                    unit="ops",
                    queries=[
                        (
                            "{{service}}",
                            rate("mainstay_postgres_retries_total", SERVICE, by="service"),
                        )
                    ],
                ),
            ],
        ),
        Row(
            title="PostgreSQL: housekeeping",
            panels=[
                Panel(
                    title="Oldest transaction",
                    help="It keeps dead rows alive. Above 5 minutes end it: pg_stat_activity, "
                    "xact_start.",
                    unit="s",
                    limits=[(300, RED)],
                    queries=[("oldest", "max(mainstay_jobs_oldest_transaction_seconds)")],
                ),
                Panel(
                    title="Dead rows of the queue",
                    help="Claims step over them. Above 500,000 look for what holds up the vacuum.",
                    limits=[(500_000, RED)],
                    queries=[("dead", "max(mainstay_jobs_dead_rows)")],
                ),
                Panel(
                    title="AI calls and evidence that wait to be written",
                    help="They are kept in memory while PostgreSQL is away, and lost above their "
                    "bounds.",
                    queries=[
                        ("AI calls", "sum(mainstay_ratelimit_ai_usage_waiting)"),
                        ("evidence", "sum(mainstay_ratelimit_evidence_waiting)"),
                    ],
                ),
            ],
        ),
        Row(
            title="Redis",
            panels=[
                Panel(
                    title="Batches",
                    help="From writing a pipeline to its last reply. Slow with few commands: a "
                    "slow command or a full disk of Redis (SLOWLOG, LATENCY).",
                    unit="s",
                    limits=[(0.25, RED)],
                    queries=[
                        ("p50", quantile(0.5, _BATCH, SERVICE)),
                        ("p95", quantile(0.95, _BATCH, SERVICE)),
                        ("p99", quantile(0.99, _BATCH, SERVICE)),
                    ],
                ),
                Panel(
                    title="Commands by outcome",
                    help="Failed: no reply in MAINSTAY_REDIS_TIMEOUT, or no connection.",
                    unit="ops",
                    queries=[
                        (
                            "{{service}} {{outcome}}",
                            rate("mainstay_redis_commands_total", SERVICE, by="service, outcome"),
                        )
                    ],
                ),
                Panel(
                    title="Commands in flight",
                    help="What waits for a reply. Climbing: Redis is slower than it is asked.",
                    queries=[
                        (
                            "{{service}}",
                            total("mainstay_redis_commands_in_flight", SERVICE, by="service"),
                        )
                    ],
                ),
                Panel(
                    title="Breaker open",
                    help="1: commands fail at once, because Redis does not answer. The cache "
                    "misses, limits decide by their `on_failure`. Bring Redis back; nothing here "
                    "needs a restart.",
                    most=1,
                    limits=[(1, RED)],
                    queries=[
                        (
                            "{{service}} {{instance}}",
                            matching("mainstay_redis_breaker_open", SERVICE),
                        )
                    ],
                ),
            ],
        ),
        Row(
            title="Limits without Redis",
            panels=[
                Panel(
                    title="Decided without the counters",
                    help="By what decided instead. Anything here: Redis was away or slow.",
                    unit="ops",
                    limits=[(0.1, YELLOW)],
                    queries=[
                        ("{{mode}}", rate("mainstay_ratelimit_degraded_decisions_total", by="mode"))
                    ],
                ),
                Panel(
                    title="Counters still to be charged",
                    help="What was consumed while Redis was away; goes to 0 by itself afterwards.",
                    queries=[("owed", "sum(mainstay_ratelimit_owed_counters)")],
                ),
                Panel(
                    title="Replicas that share the limits",
                    help="As each last heard; fewer than there are: Redis is split or away.",
                    queries=[("{{instance}}", "mainstay_ratelimit_replicas")],
                ),
            ],
        ),
    ],
)
