"""System health: is it well, was it well enough, and what is not."""

from dashboards.panels import GREEN, RED, YELLOW, Dashboard, Panel, Row
from dashboards.promql import increase, quantile, rate, state

HEALTH = Dashboard(
    name="health",
    title="System health",
    help="Begin here. What the health service found, what S7 promises, and the processes.",
    rows=[
        Row(
            title="Now, against what is promised",
            panels=[
                Panel(
                    title="Suite",
                    help="The roll-up of all targets. Not healthy: the timeline below shows which "
                    "target; `mainstay health explain` says why, and what else it takes along.",
                    kind="stat",
                    unit="state",
                    queries=[("suite", state("mainstay_health_suite_state"))],
                ),
                Panel(
                    title="Uptime, 30 days",
                    help="Share of the time that the suite was healthy or degraded; unknown and "
                    "maintenance are left out. Promised: 99.9 %, which is 43 minutes a month.",
                    kind="stat",
                    unit="percentunit",
                    decimals=3,
                    base=RED,
                    limits=[(0.999, GREEN)],
                    queries=[("uptime", "avg_over_time(mainstay:suite_up[30d])")],
                ),
                Panel(
                    title="Faults, worst service, 1 h",
                    help="Share of calls that failed by a fault of ours. Promised: below 0.5 %. "
                    "The API dashboard shows methods and reasons.",
                    kind="stat",
                    unit="percentunit",
                    limits=[(0.005, RED)],
                    queries=[("faults", "max(mainstay:call_faults:ratio_1h)")],
                ),
                Panel(
                    title="Calls, p95, worst service",
                    help="Promised: below 500 ms. Look at loop lag first, then at the stores.",
                    kind="stat",
                    unit="s",
                    limits=[(0.25, YELLOW), (0.5, RED)],
                    queries=[("p95", "max(mainstay:call_duration_seconds:p95_5m)")],
                ),
                Panel(
                    title="Queries, p95, worst service",
                    help="Of PostgreSQL. Promised: below 100 ms. The database dashboard and "
                    "`slow_query` in the logs name the queries.",
                    kind="stat",
                    unit="s",
                    limits=[(0.05, YELLOW), (0.1, RED)],
                    queries=[("p95", "max(mainstay:query_duration_seconds:p95_5m)")],
                ),
                Panel(
                    title="Alerts",
                    help="Firing now. Each has a line that says what to do.",
                    kind="stat",
                    limits=[(1, RED)],
                    queries=[("firing", 'count(ALERTS{alertstate="firing"}) or vector(0)')],
                ),
            ],
        ),
        Row(
            title="Targets",
            panels=[
                Panel(
                    title="State of each target",
                    help="After damping. A target that depends on a sick one is degraded with it: "
                    "look for the one that is unhealthy.",
                    kind="state-timeline",
                    unit="state",
                    queries=[("{{target}}", state("mainstay_health_check_state", by="target"))],
                ),
                Panel(
                    title="Probes, p95",
                    help="How long targets take to answer. A rise comes before the fall.",
                    unit="s",
                    queries=[
                        (
                            "{{target}}",
                            quantile(0.95, "mainstay_health_probe_duration_seconds", by="target"),
                        )
                    ],
                ),
                Panel(
                    title="Probes that did not pass",
                    help="A few that damping hides are noise; a steady share is a target at its "
                    "limit.",
                    unit="cps",
                    queries=[
                        (
                            "{{target}} {{outcome}}",
                            rate(
                                "mainstay_health_probes_total",
                                'outcome!="passed"',
                                by="target, outcome",
                            ),
                        )
                    ],
                ),
            ],
        ),
        Row(
            title="Budget of 99.9 %",
            panels=[
                Panel(
                    title="How fast the error budget burns",
                    help="1 uses it up in exactly 30 days. 14.4 over an hour, or 6 over six, wakes "
                    "somebody (deploy/prometheus/alerts.yaml).",
                    limits=[(6, YELLOW), (14.4, RED)],
                    queries=[
                        ("1 h", "mainstay:suite_down:ratio_1h / 0.001"),
                        ("6 h", "mainstay:suite_down:ratio_6h / 0.001"),
                        ("3 d", "mainstay:suite_down:ratio_3d / 0.001"),
                    ],
                ),
                Panel(
                    title="Alerts that fire or wait to",
                    help="A pending one has not lasted long enough yet.",
                    queries=[
                        (
                            "{{alertname}} {{alertstate}}",
                            "count by (alertname, alertstate) (ALERTS)",
                        )
                    ],
                ),
            ],
        ),
        Row(
            title="Processes",
            panels=[
                Panel(
                    title="Scraped",
                    help="1 for each process whose operations port answers. 0: see its log and "
                    "`/livez`; with MAINSTAY_PROCESSES each process has a port of its own.",
                    most=1,
                    queries=[("{{service}} {{instance}}", 'up{job="mainstay"}')],
                ),
                Panel(
                    title="CPU",
                    help="Cores. A process has one event loop: near 1 it is full. More replicas, "
                    "or MAINSTAY_PROCESSES.",
                    limits=[(0.9, RED)],
                    queries=[
                        (
                            "{{service}} {{instance}}",
                            rate(
                                "process_cpu_seconds_total",
                                'job="mainstay"',
                                by="service, instance",
                            ),
                        )
                    ],
                ),
                Panel(
                    title="Memory",
                    help="Resident. What grows for days without traffic is a leak: restart it, and "
                    "report it with the version.",
                    unit="bytes",
                    queries=[
                        (
                            "{{service}} {{instance}}",
                            'process_resident_memory_bytes{job="mainstay"}',
                        )
                    ],
                ),
                Panel(
                    title="File descriptors in use",
                    help="Share of the limit. Connections are most of them: raise `ulimit -n`, or "
                    "find who opens so many.",
                    unit="percentunit",
                    most=1,
                    limits=[(0.8, RED)],
                    queries=[
                        (
                            "{{service}} {{instance}}",
                            'process_open_fds{job="mainstay"} / process_max_fds{job="mainstay"}',
                        )
                    ],
                ),
            ],
        ),
        Row(
            title="Versions, and what telemetry lost",
            panels=[
                Panel(
                    title="Versions",
                    help="Two of a service at once: a rollout is under way, or got stuck.",
                    kind="table",
                    queries=[("", "count by (service, version) (mainstay_build_info)")],
                ),
                Panel(
                    title="Rows, lines and spans lost",
                    help="Calls never wait for telemetry, so it is what is lost first. Rows: "
                    "PostgreSQL was away. Lines: nobody reads the log. Spans: no collector.",
                    queries=[
                        (
                            "{{table}}",
                            increase("mainstay_telemetry_rows_dropped_total", by="table"),
                        ),
                        ("health rows", increase("mainstay_health_rows_dropped_total")),
                        ("log lines", increase("mainstay_log_lines_lost_total")),
                        ("spans", increase("mainstay_trace_spans_dropped_total")),
                    ],
                ),
                Panel(
                    title="Rows that wait for PostgreSQL",
                    help="Some hundred are normal. Climbing: PostgreSQL is away, or the tables "
                    "are (`mainstay migrate`).",
                    queries=[
                        (
                            "{{service}} {{table}}",
                            "sum by (service, table) (mainstay_telemetry_rows_waiting)",
                        ),
                        ("health", "sum(mainstay_health_rows_waiting)"),
                    ],
                ),
                Panel(
                    title="Reports to Sentry and webhooks",
                    help="Held back: an error came too often. Webhooks that fail are tried again, "
                    "then dropped: look at the receiver.",
                    queries=[
                        (
                            "sentry {{kind}} {{outcome}}",
                            increase("mainstay_sentry_reports_total", by="kind, outcome"),
                        ),
                        (
                            "webhook {{outcome}}",
                            increase("mainstay_health_webhooks_total", by="outcome"),
                        ),
                    ],
                ),
            ],
        ),
    ],
)
