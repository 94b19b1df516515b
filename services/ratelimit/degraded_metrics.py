"""What is measured of decisions without the counters, and of what follows from them."""

from prometheus_client import Counter, Gauge

decisions = Counter(
    "mainstay_ratelimit_degraded_decisions_total",
    "Limits that were decided without the counters, by what decided: open, closed, local.",
    ["mode"],
)
owed = Gauge(
    "mainstay_ratelimit_owed_counters",
    "Counters that were consumed from here while Redis was away and are still to be charged.",
)
paid = Counter(
    "mainstay_ratelimit_owed_counters_charged_total",
    "Counters that were charged in Redis with what was consumed while it was away.",
)
forgotten = Counter(
    "mainstay_ratelimit_owed_counters_forgotten_total",
    "Counters that will not be charged: there were too many, or Redis refused them.",
)
local_dropped = Counter(
    "mainstay_ratelimit_local_counters_dropped_total",
    "Counters of this replica that began anew while Redis was away: there were too many.",
)
replicas = Gauge(
    "mainstay_ratelimit_replicas", "Replicas that share the limits, as this one last heard."
)
