"""The few shapes that the queries of the dashboards have."""

# As in shared/telemetry/tracing.py: of the status codes, only these are the server's fault.
FAULTS = 'code=~"UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"'

# Calls that work for somebody and end by themselves. Left out are streams, health checks, whose
# UNAVAILABLE is an answer, and methods that nobody has: some load balancers ask for those all day.
ENDING = 'method!~"/unknown|grpc[.].+|.+/(Ready|GetDepth|Session|Watch.*)"'
# Those of them that are not held on purpose, as long polls are.
PROMPT = 'method!~"/unknown|grpc[.].+|.+/(Ready|GetDepth|Session|Watch.*|Poll|GetOrLease)"'

SERVICE = 'service=~"$service"'
CALLS = "mainstay_rpc_server_calls_total"
CALL_SECONDS = "mainstay_rpc_server_call_duration_seconds"


def matching(metric: str, *matchers: str) -> str:
    """Return a selector."""
    return f"{metric}{{{','.join(matchers)}}}" if matchers else metric


def rate(metric: str, *matchers: str, by: str = "") -> str:
    """Return how much a counter grows in a second, summed up by labels."""
    return f"sum{_by(by)} (rate({matching(metric, *matchers)}[$__rate_interval]))"


def increase(metric: str, *matchers: str, by: str = "") -> str:
    """Return how much a counter has grown over the time that is shown."""
    return f"sum{_by(by)} (increase({matching(metric, *matchers)}[$__range]))"


def total(gauge: str, *matchers: str, by: str) -> str:
    """Return the sum of what processes show."""
    return f"sum{_by(by)} ({matching(gauge, *matchers)})"


def quantile(share: float, histogram: str, *matchers: str, by: str = "") -> str:
    """Return what a share of the observations did not exceed."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, {rate(f'{histogram}_bucket', *matchers, by=labels)})"


def top(count: int, query: str) -> str:
    """Return the largest of a query's series."""
    return f"topk({count}, {query})"


def share(part: str, whole: str) -> str:
    """Return a part by the whole."""
    return f"({or_nothing(part, whole)}) / ({whole} > 0)"


def or_nothing(part: str, whole: str) -> str:
    """Return a part, or 0 where it has no series yet and the whole has."""
    return f"{part} or 0 * {whole}"


def state(metric: str, by: str = "") -> str:
    """Return which state holds, as a number that `panels.STATES` names."""
    numbers = {"degraded": 1, "unknown": 2, "unhealthy": 3, "maintenance": 4}
    return " + ".join(
        f'{number} * max{_by(by)} ({metric}{{state="{name}"}})' for name, number in numbers.items()
    )


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
