"""Limits, and histories of what is done under them, where the edges of every algorithm lie."""

from dataclasses import dataclass

from hypothesis import strategies as st

from services.ratelimit.gcra import emission_interval
from services.ratelimit.policy import (
    DAY,
    MAX_FIXED_QUOTA,
    MAX_QUOTA,
    SECOND,
    Algorithm,
    Calendar,
    Limit,
)
from services.ratelimit.sliding_window import BUCKETS, bucket_width

WINDOWS = [SECOND, 60 * SECOND, 61 * SECOND, 3_600 * SECOND, DAY, 186 * DAY]
QUOTAS = [1, 2, 10, 1_000, MAX_QUOTA]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]
# 2025: within the range of times that Redis's clock can have.
START = 1_760_000_000 * SECOND


@st.composite
def sliding_windows(draw: st.DrawFn) -> Limit:
    return Limit(quota=draw(st.sampled_from(QUOTAS)), window=draw(st.sampled_from(WINDOWS)))


@st.composite
def rates(draw: st.DrawFn) -> Limit:
    window = draw(st.sampled_from(WINDOWS))
    quota = draw(st.sampled_from([quota for quota in QUOTAS if 10 * quota <= window]))
    burst = draw(st.sampled_from([0, 1, 5, 1_000]))
    return Limit(quota=quota, window=window, burst=burst, algorithm=Algorithm.GCRA)


@st.composite
def fixed_windows(draw: st.DrawFn) -> Limit:
    return Limit(
        quota=draw(st.sampled_from([*QUOTAS, MAX_QUOTA + 1, MAX_FIXED_QUOTA])),
        window=draw(st.sampled_from(WINDOWS)),
        algorithm=Algorithm.FIXED_WINDOW,
        calendar=draw(st.sampled_from([None, *Calendar])),
        time_zone=draw(st.sampled_from(ZONES)),
    )


limits = st.one_of(sliding_windows(), rates(), fixed_windows())


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that happens when the clock says `now`.

    Attributes:
        act: `check`, `batch` (a check that is not the only one), `peek`, `charge` or `refund`.
        now: The clock; it may step back.
        limit: The limit that holds now.
        cost: How much.
        admitted_at: Of a refund.

    """

    act: str
    now: int
    limit: Limit
    cost: int
    admitted_at: int | None


def edges(limit: Limit) -> list[int]:
    """Return the times after which something of a limit changes."""
    if limit.algorithm is Algorithm.GCRA:
        interval = emission_interval(limit)
        return [1, interval - 1, interval, 3 * interval, interval * (limit.burst or limit.quota)]
    if limit.algorithm is Algorithm.FIXED_WINDOW:
        return [1, limit.window - 1, limit.window, limit.window // 3]
    width = bucket_width(limit.window)
    return [1, width - 1, width, 3 * width, limit.window, BUCKETS * width - 1, BUCKETS * width]


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """Draw steps under limits that change, by a clock that also steps back."""
    now, limit = START + draw(st.integers(0, DAY)), draw(limits)
    moments = [now]
    steps = []
    for _ in range(draw(st.integers(1, 25))):
        if draw(st.integers(0, 7)) == 0:
            limit = draw(limits)
        elapsed = draw(st.one_of(st.just(0), st.sampled_from(edges(limit))))
        direction = draw(st.sampled_from([1, 1, 1, 1, -1]))
        now = max(START - DAY, now + direction * min(elapsed, 400 * DAY))
        moments.append(now)
        most = min(limit.quota + 1, MAX_FIXED_QUOTA)
        costs = st.one_of(st.just(1), st.just(1), st.integers(1, most))
        act = draw(
            st.sampled_from(["check", "check", "batch", "batch", "peek", "charge", "refund"])
        )
        moment = draw(st.sampled_from([None, *moments[-4:]])) if act == "refund" else None
        steps.append(Step(act=act, now=now, limit=limit, cost=draw(costs), admitted_at=moment))
    return steps
