"""API performance: rate, errors and duration of each service and method, and what fills up."""

from dashboards.panels import RED, YELLOW, Dashboard, Panel, Row, Variable
from dashboards.promql import (
    CALL_SECONDS,
    CALLS,
    ENDING,
    FAULTS,
    PROMPT,
    SERVICE,
    matching,
    or_nothing,
    quantile,
    rate,
    share,
    top,
    total,
)

_OF = (SERVICE, ENDING)
_TIMED = (SERVICE, PROMPT)

API = Dashboard(
    name="api",
    title="API performance",
    help="Rate, errors and duration. Streams, health checks and methods that do not exist are left "
    "out, and of durations long polls too.",
    variables=[
        Variable(
            name="service", label="Service", values="label_values(mainstay_build_info, service)"
        )
    ],
    rows=[
        Row(
            title="Rate",
            panels=[
                Panel(
                    title="Calls by service",
                    help="All that ended. A sudden zero is a caller that cannot reach it.",
                    unit="reqps",
                    stacked=True,
                    queries=[("{{service}}", rate(CALLS, *_OF, by="service"))],
                ),
                Panel(
                    title="Busiest methods",
                    help="The ten called most. A method that doubles without reason has a caller "
                    "that retries, or loops: the request log names tenants.",
                    unit="reqps",
                    queries=[("{{method}}", top(10, rate(CALLS, *_OF, by="method")))],
                ),
                Panel(
                    title="In flight",
                    help="Calls and streams being handled. Calls are shed from "
                    "MAINSTAY_MAX_CONCURRENT_CALLS (512) of a process on, streams from 4,000.",
                    queries=[
                        (
                            "{{service}}",
                            total("mainstay_rpc_server_calls_in_flight", SERVICE, by="service"),
                        )
                    ],
                ),
            ],
        ),
        Row(
            title="Errors",
            panels=[
                Panel(
                    title="Faults of ours",
                    help="Share of calls with a code that is the server's fault, as OpenTelemetry "
                    "has it. Promised: below 0.5 %. Take the reason beside it, and a request id "
                    "out of the log.",
                    unit="percentunit",
                    limits=[(0.005, RED)],
                    queries=[
                        (
                            "{{service}}",
                            share(
                                rate(CALLS, *_OF, FAULTS, by="service"),
                                rate(CALLS, *_OF, by="service"),
                            ),
                        )
                    ],
                ),
                Panel(
                    title="Not OK, by code",
                    help="Callers' mistakes too. RESOURCE_EXHAUSTED and NOT_FOUND are often "
                    "answers rather than errors.",
                    unit="reqps",
                    stacked=True,
                    queries=[("{{code}}", rate(CALLS, *_OF, 'code!="OK"', by="code"))],
                ),
                Panel(
                    title="Not OK, by method and reason",
                    help="The ten most frequent. docs/errors.md says of each class what it means "
                    "and what the way out is.",
                    unit="reqps",
                    queries=[
                        (
                            "{{method}} {{reason}}",
                            top(10, rate(CALLS, *_OF, 'code!="OK"', by="method, reason")),
                        )
                    ],
                ),
            ],
        ),
        Row(
            title="Duration",
            panels=[
                Panel(
                    title="All calls",
                    help="Promised: p95 below 500 ms. p99 alone high: a slow method. All high: "
                    "loop lag, or a store. Points are traces.",
                    unit="s",
                    limits=[(0.5, RED)],
                    queries=[
                        ("p50", quantile(0.5, CALL_SECONDS, *_TIMED)),
                        ("p95", quantile(0.95, CALL_SECONDS, *_TIMED)),
                        ("p99", quantile(0.99, CALL_SECONDS, *_TIMED)),
                    ],
                ),
                Panel(
                    title="p95 by service",
                    help="Promised: below 500 ms.",
                    unit="s",
                    limits=[(0.5, RED)],
                    queries=[("{{service}}", quantile(0.95, CALL_SECONDS, *_TIMED, by="service"))],
                ),
                Panel(
                    title="Slowest methods, p95",
                    help="The ten slowest. Methods that write wait for a commit; reports read many "
                    "rows.",
                    unit="s",
                    queries=[
                        ("{{method}}", top(10, quantile(0.95, CALL_SECONDS, *_TIMED, by="method")))
                    ],
                ),
            ],
        ),
        Row(
            title="Saturation",
            panels=[
                Panel(
                    title="Shed",
                    help="Calls refused at the door (OVERLOADED), so that the others are served. "
                    "More replicas, or find who calls so much.",
                    unit="reqps",
                    limits=[(1, RED)],
                    queries=[
                        (
                            "{{service}}",
                            or_nothing(
                                rate(CALLS, SERVICE, 'reason="OVERLOADED"', by="service"),
                                rate(CALLS, SERVICE, by="service"),
                            ),
                        )
                    ],
                ),
                Panel(
                    title="Loop lag, worst of 10 s",
                    help="Everything a process does waits for as long. Above 1 s the log has "
                    "`event_loop_stalled` with the place.",
                    unit="s",
                    limits=[(0.1, YELLOW), (1, RED)],
                    queries=[
                        (
                            "{{service}} {{instance}}",
                            matching("mainstay_event_loop_lag_max_seconds", SERVICE),
                        )
                    ],
                ),
                Panel(
                    title="Loop lag, p95",
                    help="Four measurements a second. A steady few ms: the process is near the "
                    "end of its core.",
                    unit="s",
                    queries=[
                        (
                            "{{service}}",
                            quantile(
                                0.95, "mainstay_event_loop_lag_seconds", SERVICE, by="service"
                            ),
                        )
                    ],
                ),
                Panel(
                    title="Measured work, p95",
                    help="What runs beside the calls, by its name in the code (`timer`).",
                    unit="s",
                    queries=[
                        (
                            "{{operation}}",
                            quantile(
                                0.95,
                                "mainstay_measured_duration_seconds",
                                SERVICE,
                                by="operation",
                            ),
                        )
                    ],
                ),
            ],
        ),
    ],
)
