"""The bounds of the sketch, against exact counts; and the script keeps them."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import count
from secrets import token_hex
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.errors import RateLimitStoreError, UnavailableError
from services.ratelimit.redis_top import RedisTop
from services.ratelimit.top_subjects import Sketch, Subject, Summary, cut, merged
from shared.redis.client import Redis, Script
from shared.rpc.call import Tenant

NAMES = st.sampled_from("aaaaabbbccdefghijklmnop")
STREAMS = st.lists(NAMES, max_size=120)

NOW = 1_760_000_000_000_000
SPANS = (60_000_000, 2 * 3_600_000_000)

# A Redis that is not of this run alone may hold what another left.
_RUN = token_hex(4)
_numbers = count(1)


def key(name: str) -> Subject:
    return Subject("acme", "chat", "", name)


def sketched(stream: Sequence[str], capacity: int) -> Summary:
    sketch = Sketch(capacity)
    for name in stream:
        sketch.add(key(name))
    return sketch.summary()


def hold(summary: Summary, exact: Counter[str]) -> None:
    """Assert that a summary says nothing that is not so."""
    for name in set(exact) | {subject.subject for subject in summary.counts}:
        found = summary.counts.get(key(name))
        if found is None:
            assert exact[name] <= summary.missing, f"{name} is missing"
        else:
            assert found.most - found.error <= exact[name] <= found.most, name


class TestSketch:
    @given(stream=STREAMS, capacity=st.integers(1, 12))
    @settings(max_examples=300)
    def test_counts_too_much_by_no_more_than_it_says(
        self, stream: list[str], capacity: int
    ) -> None:
        """And never too little."""
        hold(sketched(stream, capacity), Counter(stream))

    @given(stream=STREAMS, capacity=st.integers(1, 12))
    @settings(max_examples=300)
    def test_is_wrong_by_a_share_of_all_that_was_counted(
        self, stream: list[str], capacity: int
    ) -> None:
        """The bound of the algorithm: one by the number of counters."""
        summary = sketched(stream, capacity)
        errors = [found.error for found in summary.counts.values()]

        assert max([summary.missing, *errors]) <= len(stream) / capacity
        assert len(summary.counts) <= capacity

    @given(stream=STREAMS)
    def test_is_exact_while_it_has_room(self, stream: list[str]) -> None:
        """Few subjects are limited, as a rule."""
        summary = sketched(stream, 26)

        assert {it.subject: most for it, (most, _) in summary.counts.items()} == Counter(stream)
        assert summary.missing == 0
        assert not any(found.error for found in summary.counts.values())

    @given(stream=STREAMS, capacity=st.integers(2, 12))
    def test_has_everybody_who_was_counted_often_enough(
        self, stream: list[str], capacity: int
    ) -> None:
        """More often than the share that it may be wrong by."""
        summary = sketched(stream, capacity)
        often = {name for name, times in Counter(stream).items() if times > len(stream) / capacity}

        assert often <= {subject.subject for subject in summary.counts}


class TestSummaries:
    @given(stream=STREAMS, capacity=st.integers(1, 12), size=st.integers(1, 12))
    @settings(max_examples=300)
    def test_that_are_cut_keep_their_bounds(
        self, stream: list[str], capacity: int, size: int
    ) -> None:
        """What is left out is missing."""
        summary = cut(sketched(stream, capacity), size)

        assert len(summary.counts) <= size
        hold(summary, Counter(stream))

    @given(stream=STREAMS, capacity=st.integers(1, 12))
    def test_alone_are_what_they_were(self, stream: list[str], capacity: int) -> None:
        """To add nothing makes nothing vaguer."""
        summary = sketched(stream, capacity)

        assert merged([summary, Summary({}, 0)]) == summary

    @given(streams=st.lists(st.tuples(STREAMS, st.integers(1, 12), st.integers(1, 12)), max_size=4))
    @settings(max_examples=300)
    def test_that_are_added_keep_their_bounds(
        self, streams: list[tuple[list[str], int, int]]
    ) -> None:
        """Of sketches of any size, cut or not."""
        summaries = [cut(sketched(stream, capacity), size) for stream, capacity, size in streams]

        hold(merged(summaries), Counter(name for stream, _, _ in streams for name in stream))


@st.composite
def flushes(draw: st.DrawFn) -> list[tuple[int, list[str], str]]:
    """Draw what replicas write: which one, what it counted, and what of it is lost."""
    lost = st.sampled_from(["", "", "question", "answer"])
    flush = st.tuples(st.integers(0, 2), st.lists(NAMES, min_size=1, max_size=60), lost)
    return draw(st.lists(flush, max_size=8))


class LossyRedis(Redis):
    """Runs scripts, and may lose a question or the answer to it."""

    loses = ""

    async def run_script_many(self, script: Script, calls: Iterable[Any]) -> list[Any]:
        asked, loses = [*calls], self.loses
        self.loses = ""
        if loses != "question":
            answers = await super().run_script_many(script, asked)
            if not loses:
                return answers
        return [UnavailableError("no answer", reason="REDIS_TIMEOUT") for _ in asked]


class TestScript:
    @given(walk=flushes(), capacity=st.integers(1, 12), sizes=st.tuples(*[st.integers(1, 9)] * 2))
    @settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_keeps_the_bounds(
        self,
        any_redis_url: str,
        walk: list[tuple[int, list[str], str]],
        capacity: int,
        sizes: tuple[int, int],
    ) -> None:
        """Of several replicas, whose parts and their answers get lost, in sketches of any size."""
        tenant = Tenant(f"{_RUN}-{next(_numbers)}")
        exact: Counter[str] = Counter()

        async def write_and_read() -> list[Summary]:
            link = LossyRedis(any_redis_url, timeout=5)
            await link.start()
            try:
                replicas = [
                    RedisTop(
                        link, lambda: NOW, replica=f"{tenant}-{n}", capacity=capacity, sizes=sizes
                    )
                    for n in range(3)
                ]
                for number, stream, lost in walk:
                    link.loses = lost
                    for name in stream:
                        replicas[number].limited(key(name)._replace(tenant=tenant))
                    exact.update(stream)
                    with suppress(RateLimitStoreError):
                        await replicas[number].flush()
                    link.loses = ""
                for replica in replicas:
                    await replica.flush()
                return [await replicas[0].most_limited(tenant, span) for span in SPANS]
            finally:
                await link.close()

        for summary, size in zip(asyncio.run(write_and_read()), sizes, strict=True):
            counts = {key(subject.subject): it for subject, it in summary.counts.items()}

            assert len(counts) <= size
            hold(Summary(counts, summary.missing), exact)
