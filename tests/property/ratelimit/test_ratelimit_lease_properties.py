"""What leases promise, on histories nobody would write down; and the scripts do the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ratelimit import concurrency
from services.ratelimit.concurrency import CLEARED, MAX_TTL, Holders
from services.ratelimit.policy import SECOND
from services.ratelimit.verdict import Verdict
from shared.redis.client import Script

STARTS = [400 * 86_400 * SECOND, 1_760_000_000 * SECOND, 2**53 - 4_000 * 86_400 * SECOND]
# No shorter ones: while a history runs in Redis's own time its keys must not expire.
TTLS = st.one_of(st.sampled_from([60 * SECOND, MAX_TTL]), st.integers(60 * SECOND, MAX_TTL))
LEASES = [b"%016d" % number for number in range(12)]
STEPS_ON = st.one_of(
    st.just(0), st.integers(0, 90 * SECOND), st.sampled_from([1, 60 * SECOND, MAX_TTL])
)
STEPS_BACK = st.one_of(
    st.integers(-120 * SECOND, 0), st.sampled_from([-1, -MAX_TTL, -MAX_TTL - 1, -5 * MAX_TTL])
)
SCRIPTS = {
    name: Script.load("services.ratelimit", "lua/leases.lua", f"lua/{name}.lua")
    for name in ("acquire", "renew", "release", "adopt")
}

_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that is asked `elapsed` after the question before; not all of it matters to all."""

    what: str
    elapsed: int
    lease: bytes
    ttl: int
    places: int
    cost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    start: int
    steps: list[Step]


@st.composite
def histories(
    draw: st.DrawFn,
    *,
    asked: Sequence[str] = ("acquire", "acquire", "renew", "release"),
    places: st.SearchStrategy[int] | None = None,
    clock_steps: bool = False,
) -> History:
    """Draw questions about a few leases; of a fixed number of places unless some are given."""
    some = st.just(draw(st.integers(1, 4))) if places is None else places
    step = st.builds(
        Step,
        what=st.sampled_from(asked),
        elapsed=st.one_of(STEPS_ON, STEPS_BACK) if clock_steps else STEPS_ON,
        lease=st.sampled_from(LEASES),
        ttl=TTLS,
        places=some,
        cost=st.integers(1, 3),
    )
    return History(start=draw(st.sampled_from(STARTS)), steps=draw(st.lists(step, max_size=50)))


def by_rule(holders: Holders, step: Step, now: int) -> tuple[Holders, Any]:
    """Answer by the pure rule."""
    lease, ttl, places = step.lease, step.ttl, step.places
    match step.what:
        case "look":
            return concurrency.look(holders, now=now, places=places, cost=step.cost)
        case "acquire":
            holders, verdict, end = concurrency.acquire(
                holders, now=now, places=places, lease=lease, ttl=ttl
            )
            return holders, (verdict, end)
        case "renew":
            return concurrency.renew(holders, now=now, lease=lease, ttl=ttl)
        case "release":
            return concurrency.release(holders, now=now, lease=lease)
        case _:
            return concurrency.adopt(holders, now=now, leases={lease: now + ttl}), None


class TestBound:
    @given(history=histories())
    @settings(max_examples=300)
    def test_never_more_than_there_are_places(self, history: History) -> None:
        """Held against what the callers were told: who holds a lease believes so until its end."""
        holders, now, believed = Holders(), history.start, dict[bytes, int]()
        for step in history.steps:
            now += step.elapsed
            holders, answer = by_rule(holders, step, now)
            match step.what, answer:
                case "acquire", (_, int(end)):
                    believed[step.lease] = end
                case "renew", int(end):
                    believed[step.lease] = end
                case "release", _:
                    believed.pop(step.lease, None)

            assert sum(end > now for end in believed.values()) <= step.places

    @given(history=histories())
    @settings(max_examples=300)
    def test_nobody_loses_a_lease_before_its_end(self, history: History) -> None:
        """Nor is denied while a place is free."""
        holders, now, believed = Holders(), history.start, dict[bytes, int]()
        for step in history.steps:
            now += step.elapsed
            held = believed.get(step.lease, 0) > now
            free = sum(end > now for end in believed.values()) < step.places
            holders, answer = by_rule(holders, step, now)
            match step.what:
                case "acquire":
                    verdict, end = answer
                    assert (held or free) == verdict.admits
                    if held:
                        assert end == believed[step.lease]
                    if end is not None:
                        believed[step.lease] = end
                case "renew":
                    assert held == (answer is not None)
                    if held:
                        believed[step.lease] = now + step.ttl
                case "release":
                    assert held == answer
                    believed.pop(step.lease, None)


class TestCrashedHolders:
    @given(history=histories(asked=("acquire", "acquire", "renew"), clock_steps=True))
    @settings(max_examples=300)
    def test_every_place_is_back_an_hour_after_the_last_question(self, history: History) -> None:
        """Nobody gives anything back, and the clock does what it likes meanwhile."""
        holders, now = Holders(), history.start
        for step in history.steps:
            now += step.elapsed
            holders, _ = by_rule(holders, step, now)
        holders, _ = concurrency.look(holders, now=now, places=1)

        assert holders.alive(now + MAX_TTL) == 0


class TestPromisedTimes:
    @given(history=histories(asked=("acquire",)))
    @settings(max_examples=300)
    def test_retry_and_reset_are_exact_to_the_microsecond(self, history: History) -> None:
        """Just before it is still denied, or held; then it is not, if nothing else happens."""
        holders, now = Holders(), history.start
        for step in history.steps:
            now += step.elapsed
            holders, (verdict, _) = by_rule(holders, step, now)
            retry_at, reset_at = verdict.retry_at, verdict.reset_at

            assert verdict.admits == (retry_at is None)
            if retry_at is not None:
                _, before = concurrency.look(holders, now=retry_at - 1, places=step.places)
                _, then = concurrency.look(holders, now=retry_at, places=step.places)

                assert (before.admits, then.admits) == (False, True)
            assert (holders.alive(reset_at - 1) > 0, holders.alive(reset_at)) == (True, 0)


@pytest.fixture(scope="module")
def connection(any_redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(any_redis_url) as connection:
        yield connection


def by_script(connection: "redis.Redis", key: str, step: Step, now: int) -> Any:
    """Answer by the script for it."""
    match step.what:
        case "look" | "acquire":
            lease, cost = (step.lease, 1) if step.what == "acquire" else (b"", step.cost)
            args: list[Any] = [step.places, cost, lease, step.ttl, MAX_TTL, CLEARED]
            script = SCRIPTS["acquire"]
        case "adopt":
            args, script = [step.lease, now + step.ttl], SCRIPTS["adopt"]
        case _:
            args, script = [step.lease, step.ttl], SCRIPTS[step.what]
    return connection.eval(script.text, 1, key, now, *args)


def as_replied(step: Step, answer: Any) -> Any:
    """Return the reply that stands for an answer."""
    match step.what:
        case "look":
            return [*_verdict(answer), 0]
        case "acquire":
            verdict, end = answer
            return [*_verdict(verdict), end or 0]
        case _:
            return int(answer or 0)


def _verdict(verdict: Verdict) -> list[int]:
    retry_at = verdict.retry_at or (0 if verdict.admits else -1)
    return [int(verdict.admits), verdict.now, verdict.used, verdict.reset_at, retry_at]


class TestTheScripts:
    @given(
        history=histories(
            asked=("look", "acquire", "acquire", "acquire", "renew", "release", "adopt"),
            places=st.sampled_from([1, 2, 3, 5, 2**32 - 1]),
            clock_steps=True,
        )
    )
    @settings(
        max_examples=300,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    def test_they_equal_the_pure_rule(self, connection: "redis.Redis", history: History) -> None:
        """Every field of every answer, through clock steps and changing numbers of places."""
        key, holders, now = f"history:{next(_numbers)}", Holders(), history.start
        for step in history.steps:
            now = max(now + step.elapsed, 1)
            holders, answer = by_rule(holders, step, now)
            reply = by_script(connection, key, step, now)

            if step.what != "adopt":
                assert as_replied(step, answer) == reply
        kept: Any = connection.zrange(key, 0, -1, withscores=True)
        assert holders.ends == {lease: int(end) for lease, end in kept}
