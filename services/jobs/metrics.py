"""What the jobs service counts, for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

MAX_FUNCTIONS = 200
OTHER_FUNCTIONS = "(other)"

_WAITS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300, 3600)

events = Counter(
    "mainstay_jobs_events_total", "Events by what became of them.", ["event", "outcome"]
)
batch_calls = Histogram(
    "mainstay_jobs_batch_calls",
    "Calls that were stored in one transaction.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
batches_split = Counter(
    "mainstay_jobs_batches_split_total",
    "Transactions of several calls that failed, so that each was stored alone.",
)
claimed = Counter("mainstay_jobs_claimed_total", "Jobs handed to workers.", ["function"])
ended = Counter(
    "mainstay_jobs_attempts_ended_total",
    "Ends of attempts by the state the job went to.",
    ["function", "state"],
)
shed = Counter(
    "mainstay_jobs_shed_total", "Jobs dead-lettered to make room in a full queue.", ["function"]
)
reports = Counter("mainstay_jobs_reports_total", "Reports of workers by answer.", ["state"])
wait_seconds = Histogram(
    "mainstay_jobs_wait_seconds",
    "Time between a job's being ready and its claim.",
    ["function"],
    buckets=_WAITS,
)
streams = Gauge("mainstay_jobs_sessions", "Worker sessions connected to this replica.")
rescued = Counter("mainstay_jobs_sessions_lost_total", "Sessions whose lease ended unrenewed.")
watchers = Gauge("mainstay_jobs_watchers", "Streams that watch a job on this replica.")
ready = Gauge("mainstay_jobs_queue_ready", "Jobs that could start now, of all replicas.")
delayed = Gauge("mainstay_jobs_queue_delayed", "Jobs that wait for their time.")
running = Gauge("mainstay_jobs_running", "Jobs in the hands of workers.")
oldest_seconds = Gauge(
    "mainstay_jobs_queue_oldest_seconds", "How long the longest waiting ready job has waited."
)
dead_letters = Gauge("mainstay_jobs_dead_letters", "Jobs that ended badly and wait for somebody.")
workers = Gauge("mainstay_jobs_workers", "Workers connected to any replica.")
oldest_transaction_seconds = Gauge(
    "mainstay_jobs_oldest_transaction_seconds",
    "Age of the oldest transaction that the service's role may see; it keeps dead rows alive.",
)
dead_rows = Gauge("mainstay_jobs_dead_rows", "Rows of the queue's tables that wait for a vacuum.")
ticks = Counter("mainstay_jobs_schedule_ticks_total", "Ticks by what became of them.", ["outcome"])
maintained = Counter(
    "mainstay_jobs_maintained_total", "What maintenance removed or made, by kind.", ["kind"]
)
policy_broken = Gauge(
    "mainstay_jobs_policy_broken",
    "1 while policies/jobs.yaml cannot be used and what it said before stays in force.",
)
rates_unreachable = Gauge(
    "mainstay_jobs_rates_unreachable",
    "1 while jobs wait because the rate limit service cannot be asked.",
)
peers_connected = Gauge(
    "mainstay_jobs_peers_connected", "1 while news from other replicas can be heard."
)


class FunctionLabels:
    """Bounds the label of functions: workers choose names, and every value lives for ever.

    Functions beyond the first two hundred are counted together.
    """

    def __init__(self, max_functions: int = MAX_FUNCTIONS) -> None:
        self._max_functions = max_functions
        self._functions: set[str] = set()

    def of(self, function: str) -> str:
        """Return the value of the label for a function."""
        if len(self._functions) < self._max_functions:
            self._functions.add(function)
        return function if function in self._functions else OTHER_FUNCTIONS


functions = FunctionLabels()
event_names = FunctionLabels()
