"""The script inside Redis decides as the pure algorithm does, on every Redis we support."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ratelimit.window import BUCKETS, Ring, Verdict, bucket_width, decide
from shared.redis.client import Script

SECOND = 1_000_000
# No shorter ones: while a history runs in Redis's own time its keys must not expire.
WINDOWS = [60 * SECOND, 61_234_567, 3_600 * SECOND, 366 * 86_400 * SECOND]
STARTS = [400 * 86_400 * SECOND, 1_760_000_000 * SECOND, 2**53 - 4_000 * 86_400 * SECOND]
LIMITS = [1, 2, 10, 1_000, 2**32 - 1]

SCRIPT = Script.load("services.ratelimit", "lua/sliding_window.lua")

_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    now: int
    limit: int
    cost: int
    consume: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    window: int
    acts: list[Act]


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw checks and peeks under changing limits, by a clock that also steps back."""
    window = draw(st.sampled_from(WINDOWS))
    width = bucket_width(window)
    steps = st.one_of(
        st.just(0),
        st.integers(0, 3 * width),
        st.sampled_from([1, width - 1, width, window, BUCKETS * width - 1, BUCKETS * width]),
        st.integers(0, 2 * window),
        st.integers(-2 * width, 0),
        st.sampled_from([-BUCKETS * width, -BUCKETS * width - 1, -3 * window]),
    )
    now, limit = draw(st.sampled_from(STARTS)), draw(st.sampled_from(LIMITS))
    acts = []
    for step in draw(st.lists(steps, max_size=50)):
        now = max(now + step, 0)
        limit = draw(st.sampled_from(LIMITS)) if draw(st.integers(0, 9)) == 0 else limit
        cost = draw(st.one_of(st.just(1), st.integers(1, min(limit, 2**31) + 1)))
        acts.append(Act(now=now, limit=limit, cost=cost, consume=draw(st.integers(0, 4)) > 0))
    return History(window=window, acts=acts)


@pytest.fixture(scope="module")
def connection(any_redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(any_redis_url) as connection:
        connection.script_load(SCRIPT.text)
        yield connection


def _by_script(connection: "redis.Redis", key: str, window: int, act: Act) -> Verdict:
    args = (act.now, int(act.consume), bucket_width(window), act.limit, act.cost)
    admitted, now, used, reset_at, retry_at = connection.evalsha(SCRIPT.sha, 1, key, *args)
    return Verdict(
        admitted=bool(admitted),
        now=now,
        used=used,
        reset_at=reset_at,
        retry_at=retry_at if retry_at > 0 else None,
    )


class TestTheScript:
    @given(history=histories())
    @settings(
        max_examples=300,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    def test_it_equals_the_pure_algorithm(
        self, connection: "redis.Redis", history: History
    ) -> None:
        """Every field of every verdict, through clock steps and changing limits."""
        key = f"history:{next(_numbers)}"
        ring: Ring | None = None
        for act in history.acts:
            ring, expected = decide(
                ring,
                now=act.now,
                window=history.window,
                limit=act.limit,
                cost=act.cost,
                consume=act.consume,
            )

            assert expected == _by_script(connection, key, history.window, act)
