"""Jobs: what waits, how long, who works, and what ends badly."""

from dashboards.panels import GREEN, RED, YELLOW, Dashboard, Panel, Row, Variable
from dashboards.promql import increase, quantile, rate, share, top

_FUNCTION = 'function=~"$function"'
_ENDED = "mainstay_jobs_attempts_ended_total"
_WAIT = "mainstay_jobs_wait_seconds"
# Ends of attempts that were not what the function is there for.
_BAD = 'state=~"retrying|rolling_back|dead_lettered"'

JOBS = Dashboard(
    name="jobs",
    title="Jobs",
    help="Depth and age are measured every 30 seconds by each replica and are of all replicas.",
    variables=[
        Variable(
            name="function",
            label="Function",
            values="label_values(mainstay_jobs_claimed_total, function)",
        )
    ],
    rows=[
        Row(
            title="Now",
            panels=[
                Panel(
                    title="Ready",
                    help="Jobs that could start. Growing: too few workers, or slow ones.",
                    kind="stat",
                    queries=[("ready", "max(mainstay_jobs_queue_ready)")],
                ),
                Panel(
                    title="Oldest",
                    help="How long the ready job that waits longest has waited. Start workers, or "
                    "look at `mainstay jobs queues` for what is paused.",
                    kind="stat",
                    unit="s",
                    limits=[(60, YELLOW), (300, RED)],
                    queries=[("oldest", "max(mainstay_jobs_queue_oldest_seconds)")],
                ),
                Panel(
                    title="Running",
                    help="In the hands of workers.",
                    kind="stat",
                    queries=[("running", "max(mainstay_jobs_running)")],
                ),
                Panel(
                    title="Workers",
                    help="Connected to any replica. None: nothing runs, and nothing is lost.",
                    kind="stat",
                    base=RED,
                    limits=[(1, GREEN)],
                    queries=[("workers", "max(mainstay_jobs_workers)")],
                ),
                Panel(
                    title="Dead letters",
                    help="They wait for somebody: `mainstay jobs dead-letters`, then replay or "
                    "discard. Kept for MAINSTAY_JOBS_HISTORY_DAYS.",
                    kind="stat",
                    limits=[(1, YELLOW), (100, RED)],
                    queries=[("dead letters", "max(mainstay_jobs_dead_letters)")],
                ),
            ],
        ),
        Row(
            title="Depth and wait",
            panels=[
                Panel(
                    title="Depth",
                    help="Delayed jobs wait for their time and are no concern.",
                    queries=[
                        ("ready", "max(mainstay_jobs_queue_ready)"),
                        ("delayed", "max(mainstay_jobs_queue_delayed)"),
                        ("running", "max(mainstay_jobs_running)"),
                    ],
                ),
                Panel(
                    title="From ready to claimed",
                    help="With idle workers some ms. Seconds: workers are busy, or a limit of the "
                    "function (concurrency, rate) holds its jobs.",
                    unit="s",
                    queries=[
                        ("p50", quantile(0.5, _WAIT, _FUNCTION)),
                        ("p95", quantile(0.95, _WAIT, _FUNCTION)),
                        ("p99", quantile(0.99, _WAIT, _FUNCTION)),
                    ],
                ),
                Panel(
                    title="From ready to claimed, p95 by function",
                    help="The ten that wait longest; `mainstay jobs functions` shows their limits.",
                    unit="s",
                    queries=[
                        ("{{function}}", top(10, quantile(0.95, _WAIT, _FUNCTION, by="function")))
                    ],
                ),
            ],
        ),
        Row(
            title="Throughput",
            panels=[
                Panel(
                    title="Events",
                    help="Duplicates were accepted before: a caller repeats itself, safely.",
                    unit="ops",
                    queries=[
                        ("{{outcome}}", rate("mainstay_jobs_events_total", by="outcome")),
                    ],
                ),
                Panel(
                    title="Claimed",
                    help="By function. Less than what comes in for long: the queue grows.",
                    unit="ops",
                    queries=[
                        (
                            "{{function}}",
                            top(10, rate("mainstay_jobs_claimed_total", _FUNCTION, by="function")),
                        )
                    ],
                ),
                Panel(
                    title="Calls in one transaction",
                    help="How many calls are stored together. More under load is how it should be.",
                    queries=[
                        ("p50", quantile(0.5, "mainstay_jobs_batch_calls")),
                        ("p95", quantile(0.95, "mainstay_jobs_batch_calls")),
                    ],
                ),
            ],
        ),
        Row(
            title="Outcomes",
            panels=[
                Panel(
                    title="Attempts by outcome",
                    help="The state that the job went to. Dead letters need somebody.",
                    unit="ops",
                    stacked=True,
                    queries=[("{{state}}", rate(_ENDED, _FUNCTION, by="state"))],
                ),
                Panel(
                    title="Attempts that failed",
                    help="By function. `mainstay jobs list` and the log "
                    "(`job_attempt_ended`) show the failures.",
                    unit="percentunit",
                    most=1,
                    limits=[(0.05, YELLOW)],
                    queries=[
                        (
                            "{{function}}",
                            share(
                                rate(_ENDED, _FUNCTION, _BAD, by="function"),
                                rate(_ENDED, _FUNCTION, by="function"),
                            ),
                        )
                    ],
                ),
                Panel(
                    title="Dead letters by function",
                    help="Added over the time shown. A bug that is mended: replay them.",
                    queries=[
                        (
                            "{{function}}",
                            increase(_ENDED, _FUNCTION, 'state="dead_lettered"', by="function"),
                        ),
                        ("{{function}} shed", increase("mainstay_jobs_shed_total", by="function")),
                    ],
                ),
            ],
        ),
        Row(
            title="Workers and schedules",
            panels=[
                Panel(
                    title="Workers and sessions",
                    help="Of all replicas, and sessions of each replica.",
                    queries=[
                        ("workers", "max(mainstay_jobs_workers)"),
                        ("sessions {{instance}}", "mainstay_jobs_sessions"),
                    ],
                ),
                Panel(
                    title="Sessions lost",
                    help="Workers that died or were cut off; their jobs went to others after "
                    "MAINSTAY_JOBS_SESSION_LEASE. Many: memory of the workers, or the network.",
                    limits=[(1, YELLOW)],
                    queries=[("lost", increase("mainstay_jobs_sessions_lost_total"))],
                ),
                Panel(
                    title="Reports of workers",
                    help="By what they were told. Stale ones come from workers that had lost the "
                    "job already.",
                    unit="ops",
                    queries=[("{{state}}", rate("mainstay_jobs_reports_total", by="state"))],
                ),
                Panel(
                    title="Ticks of schedules",
                    help="Put off: tried again soon. Refused: the event or function does not fit "
                    "any more; the log has `schedule_tick_failed`.",
                    queries=[
                        (
                            "{{outcome}}",
                            increase("mainstay_jobs_schedule_ticks_total", by="outcome"),
                        )
                    ],
                ),
            ],
        ),
        Row(
            title="What may hold it up",
            panels=[
                Panel(
                    title="Policy, rates and peers",
                    help="1 is bad for the first two: policies/jobs.yaml is broken; jobs with a "
                    "rate wait for the rate limits. 0 is bad for peers: replicas only poll.",
                    most=1,
                    queries=[
                        ("policy broken", "max(mainstay_jobs_policy_broken)"),
                        ("rates unreachable", "max(mainstay_jobs_rates_unreachable)"),
                        ("peers heard", "min(mainstay_jobs_peers_connected)"),
                    ],
                ),
                Panel(
                    title="Maintenance",
                    help="What it removed or made, by kind. Nothing for hours: no replica has "
                    "MAINSTAY_JOBS_MAINTENANCE.",
                    queries=[("{{kind}}", increase("mainstay_jobs_maintained_total", by="kind"))],
                ),
                Panel(
                    title="Watchers",
                    help="Streams that wait for a job's end.",
                    queries=[("{{instance}}", "mainstay_jobs_watchers")],
                ),
            ],
        ),
    ],
)
