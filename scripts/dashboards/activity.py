"""Activity: what the suite is used for, and whether cache and limits do their work."""

from dashboards.panels import GREEN, RED, YELLOW, Dashboard, Panel, Row, Variable
from dashboards.promql import CALLS, ENDING, increase, rate, share, top

_READS = "mainstay_cache_reads_total"
_NAMESPACE = 'namespace=~"$namespace"'
_HIT = 'result=~"hit|stale"'
_CHECKS = "mainstay_ratelimit_decisions_total"
_RULE = 'rule=~"$rule"'
_JUDGED = 'outcome=~"allowed|denied"'  # what a shadow would have denied is counted as allowed too

ACTIVITY = Dashboard(
    name="activity",
    title="Activity",
    help="What the suite is used for. Nothing here is labelled by tenant or subject: "
    "GetAnalytics, GetStats and ListJobs have those.",
    variables=[
        Variable(name="namespace", label="Namespace", values=f"label_values({_READS}, namespace)"),
        Variable(name="rule", label="Rule", values=f"label_values({_CHECKS}, rule)"),
    ],
    rows=[
        Row(
            title="In the time shown",
            panels=[
                Panel(
                    title="Calls",
                    help="Of all services, without streams and health checks.",
                    kind="stat",
                    decimals=0,
                    queries=[("calls", increase(CALLS, ENDING))],
                ),
                Panel(
                    title="Events",
                    help="Accepted by the jobs service, duplicates left out.",
                    kind="stat",
                    decimals=0,
                    queries=[
                        ("events", increase("mainstay_jobs_events_total", 'outcome="accepted"'))
                    ],
                ),
                Panel(
                    title="Limit checks",
                    help="Decided by a rule; peeks are not counted.",
                    kind="stat",
                    decimals=0,
                    queries=[("checks", increase(_CHECKS, _JUDGED))],
                ),
                Panel(
                    title="Cache reads",
                    help="Of values and negatives, by whatever method.",
                    kind="stat",
                    decimals=0,
                    queries=[("reads", increase(_READS))],
                ),
                Panel(
                    title="Hit rate",
                    help="Should be above 70 %. Below: the panels of the cache show the namespace "
                    "and the reason.",
                    kind="stat",
                    unit="percentunit",
                    base=RED,
                    limits=[(0.5, YELLOW), (0.7, GREEN)],
                    queries=[("hit rate", share(increase(_READS, _HIT), increase(_READS)))],
                ),
            ],
        ),
        Row(
            title="Calls and events",
            panels=[
                Panel(
                    title="Most called methods",
                    help="The ten called most.",
                    unit="reqps",
                    stacked=True,
                    queries=[("{{method}}", top(10, rate(CALLS, ENDING, by="method")))],
                ),
                Panel(
                    title="Events by name",
                    help="The ten most frequent. One that stops: its producer, or its outbox "
                    "relay, does not run.",
                    unit="ops",
                    stacked=True,
                    queries=[
                        (
                            "{{event}}",
                            top(
                                10,
                                rate(
                                    "mainstay_jobs_events_total",
                                    'outcome="accepted"',
                                    by="event",
                                ),
                            ),
                        )
                    ],
                ),
            ],
        ),
        Row(
            title="Limits",
            panels=[
                Panel(
                    title="Decisions",
                    help="All rules chosen above, budgets too.",
                    unit="reqps",
                    stacked=True,
                    queries=[("{{outcome}}", rate(_CHECKS, _RULE, _JUDGED, by="outcome"))],
                ),
                Panel(
                    title="Denied, by rule",
                    help="Share of the checks. Sudden: one caller in a loop (`mainstay limits "
                    "stats`), or a limit that is too small (`mainstay limits policy preview`).",
                    unit="percentunit",
                    most=1,
                    queries=[
                        (
                            "{{rule}}",
                            share(
                                rate(_CHECKS, _RULE, 'outcome="denied"', by="rule"),
                                rate(_CHECKS, _RULE, _JUDGED, by="rule"),
                            ),
                        )
                    ],
                ),
                Panel(
                    title="Denied in shadow, by rule",
                    help="What rules that only watch would have denied: look here before they are "
                    "made to bite.",
                    unit="reqps",
                    queries=[
                        ("{{rule}}", rate(_CHECKS, _RULE, 'outcome="shadow_denied"', by="rule"))
                    ],
                ),
                Panel(
                    title="Plans looked up, by who answered",
                    help="Nearly all by the cache is how it should be; nobody: the default of "
                    "each rule held.",
                    unit="reqps",
                    queries=[
                        (
                            "{{answered_by}}",
                            rate("mainstay_ratelimit_plan_lookups_total", by="answered_by"),
                        )
                    ],
                ),
            ],
        ),
        Row(
            title="Cache",
            panels=[
                Panel(
                    title="Reads by result",
                    help="Hit, stale, or why not: cold, expired, invalidated and the like.",
                    unit="reqps",
                    stacked=True,
                    queries=[("{{result}}", rate(_READS, _NAMESPACE, by="result"))],
                ),
                Panel(
                    title="Hit rate by namespace",
                    help="Should be above 70 %. Expired: a longer lifetime. Cold: keys that "
                    "never come again need no cache. Invalidated: tags that are too wide.",
                    unit="percentunit",
                    most=1,
                    limits=[(0.7, GREEN)],
                    base=RED,
                    queries=[
                        (
                            "{{namespace}}",
                            share(
                                rate(_READS, _NAMESPACE, _HIT, by="namespace"),
                                rate(_READS, _NAMESPACE, by="namespace"),
                            ),
                        )
                    ],
                ),
                Panel(
                    title="Computing saved",
                    help="Seconds of work in a second that hits on computed values saved.",
                    unit="s",
                    queries=[
                        (
                            "{{namespace}}",
                            rate(
                                "mainstay_cache_computation_seconds_saved_total",
                                _NAMESPACE,
                                by="namespace",
                            ),
                        )
                    ],
                ),
                Panel(
                    title="Evicted, refused, swept",
                    help="Evicted and refused: a quota is full (ListClasses). Swept: "
                    "dead entries that were invalidated.",
                    unit="ops",
                    queries=[
                        (
                            "evicted {{ttl_class}}",
                            rate("mainstay_cache_evictions_total", by="ttl_class"),
                        ),
                        (
                            "refused for {{quota}}",
                            rate("mainstay_cache_quota_refusals_total", by="quota"),
                        ),
                        ("swept", rate("mainstay_cache_swept_entries_total")),
                    ],
                ),
            ],
        ),
    ],
)
