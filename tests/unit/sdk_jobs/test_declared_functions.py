"""Declarations of functions arrive as plain Python values."""

from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration

from mainstay.jobs import (
    Debounce,
    DeclaredFunction,
    KeyedConcurrency,
    Overflow,
    OverflowPolicy,
    RateLimit,
    VersionPolicy,
)
from mainstay.jobs.functions import parse_function
from mainstay.jobs.v1 import function_pb2 as pb

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
WHEN = datetime(2026, 1, 1, tzinfo=UTC)
VERSION_POLICIES: list[Any] = [*pb.VersionPolicy.values(), 99]
OVERFLOW_POLICIES: list[Any] = [*pb.OverflowPolicy.values(), 99]


class TestParsedFunction:
    def test_holds_all_that_was_declared(self) -> None:
        """Every field of the contract has its place."""
        sent = pb.FunctionDefinition(
            name="process-video",
            trigger="video/upload.completed",
            max_attempts=3,
            initial_backoff=Duration(seconds=1),
            max_backoff=Duration(seconds=60),
            version="v2",
            version_policy=pb.VERSION_POLICY_PIN,
            timeout=Duration(seconds=60),
            hang_timeout=Duration(seconds=60),
            start_timeout=Duration(seconds=60),
            priority=-5,
            concurrency=5,
            keyed_concurrency=pb.KeyedConcurrency(key="/creator_id", limit=2),
            rate_limit=pb.RateLimit(endpoint="video", subject="/creator_id"),
            debounce=pb.Debounce(
                period=Duration(seconds=1), key="/video_id", max_wait=Duration(seconds=60)
            ),
            idempotency="/video_id",
            overflow=pb.Overflow(
                max_depth=100,
                max_age=Duration(seconds=60),
                max_bytes=1_000,
                policy=pb.OVERFLOW_POLICY_SPILL,
                spill_delay=Duration(seconds=60),
            ),
        )

        assert DeclaredFunction(
            name="process-video",
            trigger="video/upload.completed",
            max_attempts=3,
            initial_backoff=SECOND,
            max_backoff=MINUTE,
            version="v2",
            version_policy=VersionPolicy.PIN,
            timeout=MINUTE,
            hang_timeout=MINUTE,
            start_timeout=MINUTE,
            priority=-5,
            concurrency=5,
            keyed_concurrency=KeyedConcurrency(key="/creator_id", limit=2),
            rate_limit=RateLimit(endpoint="video", subject="/creator_id"),
            debounce=Debounce(period=SECOND, key="/video_id", max_wait=MINUTE),
            idempotency="/video_id",
            overflow=Overflow(
                max_depth=100,
                max_age=MINUTE,
                max_bytes=1_000,
                policy=OverflowPolicy.SPILL,
                spill_delay=MINUTE,
            ),
            workers=2,
            update_time=WHEN,
        ) == parse_function(sent, workers=2, update_time=WHEN)

    def test_tells_unset_from_empty(self) -> None:
        """A part that is not used is None, and a policy that is not said is the contract's."""
        parsed = parse_function(pb.FunctionDefinition(name="f", overflow=pb.Overflow()))

        assert (None,) * 7 == (
            parsed.timeout,
            parsed.hang_timeout,
            parsed.start_timeout,
            parsed.keyed_concurrency,
            parsed.rate_limit,
            parsed.debounce,
            parsed.workers,
        )
        assert (VersionPolicy.CONTINUE, Overflow()) == (parsed.version_policy, parsed.overflow)

    def test_knows_every_policy_of_the_contract(self) -> None:
        """One of a newer service is unknown."""
        versions = {
            parse_function(pb.FunctionDefinition(version_policy=number)).version_policy
            for number in VERSION_POLICIES
        }
        overflows = {
            parse_function(pb.FunctionDefinition(overflow=pb.Overflow(policy=number))).overflow
            for number in OVERFLOW_POLICIES
        }

        assert set(VersionPolicy) == versions
        assert set(OverflowPolicy) == {overflow.policy for overflow in overflows if overflow}
