"""What is measured of the policy, the overrides and the traffic that previews replay."""

from prometheus_client import Counter, Gauge

policy_broken = Gauge(
    "mainstay_ratelimit_policy_broken",
    "1 while the newest policy cannot be used and the one before it stays in force: that of the "
    "file, or the version that was stored.",
    ["source"],
)
policy_version = Gauge(
    "mainstay_ratelimit_policy_version",
    "The version of the policy in force; 0 for a file that is not stored.",
)
overrides_held = Gauge(
    "mainstay_ratelimit_overrides", "Overrides of subjects that this process knows."
)
overrides_unreadable = Counter(
    "mainstay_ratelimit_overrides_unreadable_total",
    "Overrides that were left out because their limits do not fit their rule in the policy.",
)
traffic_dropped = Counter(
    "mainstay_ratelimit_traffic_dropped_total",
    "Checks of sampled subjects that were not recorded for previews: there were too many, or the "
    "store was away.",
)
