"""What a function may declare beside its name: the bounds of caps, rates, times and queues."""

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from mainstay.jobs.v1 import function_pb2 as pb
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from services.jobs.frame_parsing import hello_from
from services.jobs.function import (
    Debounce,
    FunctionDefinition,
    Overflow,
    OverflowPolicy,
    RateLimit,
    VersionPolicy,
)
from services.jobs.retry import Backoff

FUNCTION = FunctionDefinition(
    name="f", trigger="", max_attempts=3, backoff=Backoff(initial=1.0, maximum=300.0)
)
WEEK = 7 * 86_400.0
KEYED = {"key_pointer": "/k", "key_limit": 1}


def overflow(**bounds: Any) -> Overflow:
    """Return what happens when the queue is full."""
    return Overflow(policy=OverflowPolicy.REJECT, **bounds)


class TestBounds:
    @pytest.mark.parametrize(
        "change",
        [
            {"version": "v" * 100},
            {"timeout": WEEK, "hang_timeout": WEEK, "start_timeout": 30 * 86_400.0},
            {"priority": -100},
            {"priority": 100},
            {"concurrency": 1_000_000},
            {"key_pointer": "/a~1b/~0c/0", "key_limit": 10_000},
            {"rate_limit": RateLimit(endpoint="mail")},
            {"rate_limit": RateLimit(endpoint="mail", subject="everybody")},
            {"rate_limit": RateLimit(endpoint="mail", subject="/k"), "key_pointer": "/k"},
            {"rate_limit": RateLimit(endpoint="mail", subject="/k"), **KEYED},
            {"debounce": Debounce(period=1.0, max_wait=1.0)},
            {"debounce": Debounce(period=WEEK, max_wait=10 * WEEK, key="/k")},
            {"idempotency": "/video_id"},
            {"overflow": overflow(max_depth=1)},
            {"overflow": overflow(max_bytes=1)},
            {"overflow": overflow(max_age=0.5, spill_delay=1.0)},
        ],
    )
    def test_within(self, change: dict[str, Any]) -> None:
        """What is exactly at a bound is fine."""
        assert {} == replace(FUNCTION, **change).mistakes([])

    @pytest.mark.parametrize(
        ("change", "wrong"),
        [
            ({"version": "v" * 101}, "version"),
            ({"version": "a\nb"}, "version"),
            ({"timeout": 0.0}, "timeout"),
            ({"timeout": WEEK + 1}, "timeout"),
            ({"hang_timeout": -1.0}, "hang_timeout"),
            ({"start_timeout": 31 * 86_400.0}, "start_timeout"),
            ({"priority": 101}, "priority"),
            ({"priority": -101}, "priority"),
            ({"concurrency": 1_000_001}, "concurrency"),
            ({"key_pointer": "k", "key_limit": 1}, "keyed_concurrency.key"),
            ({"key_limit": 1}, "keyed_concurrency.key"),
            ({"key_pointer": "/k"}, "keyed_concurrency.limit"),
            ({"key_pointer": "/k", "key_limit": 10_001}, "keyed_concurrency.limit"),
            ({"key_pointer": "/" + "k" * 200, "key_limit": 1}, "keyed_concurrency.key"),
            ({"rate_limit": RateLimit(endpoint="")}, "rate_limit.endpoint"),
            ({"rate_limit": RateLimit(endpoint="\u00e9" * 101)}, "rate_limit.endpoint"),
            ({"rate_limit": RateLimit(endpoint="x\x85")}, "rate_limit.endpoint"),
            ({"rate_limit": RateLimit(endpoint="x", subject="\u00e9" * 101)}, "rate_limit.subject"),
            ({"rate_limit": RateLimit(endpoint="x", subject="/~2")}, "rate_limit.subject"),
            ({"rate_limit": RateLimit(endpoint="x", subject="/b"), **KEYED}, "rate_limit.subject"),
            ({"rate_limit": RateLimit(endpoint="x", subject="a\tb")}, "rate_limit.subject"),
            ({"debounce": Debounce(period=0.5, max_wait=9.0)}, "debounce.period"),
            ({"debounce": Debounce(period=2.0, max_wait=1.0)}, "debounce.max_wait"),
            ({"debounce": Debounce(period=2.0, max_wait=9.0, key="k")}, "debounce.key"),
            ({"idempotency": "video_id"}, "idempotency"),
            ({"overflow": overflow()}, "overflow"),
            ({"overflow": overflow(max_depth=2**31)}, "overflow.max_depth"),
            ({"overflow": overflow(max_bytes=2**60)}, "overflow.max_bytes"),
            ({"overflow": overflow(max_age=0.0)}, "overflow.max_age"),
            ({"overflow": overflow(max_depth=1, spill_delay=0.0)}, "overflow.spill_delay"),
        ],
    )
    def test_beyond(self, change: dict[str, Any], wrong: str) -> None:
        """What is out of bounds is named."""
        assert [wrong] == list(replace(FUNCTION, **change).mistakes([]))


class TestParsing:
    @staticmethod
    def parsed(**fields: Any) -> FunctionDefinition:
        """Return a definition as a worker's Hello brings it."""
        hello = worker_pb.Hello(functions=[pb.FunctionDefinition(name="f", **fields)])
        return hello_from(worker_pb.SessionRequest(hello=hello)).functions[0]

    def test_defaults(self) -> None:
        """What is left out has the defaults of the contract."""
        assert FUNCTION == self.parsed()

    def test_everything(self) -> None:
        """Everything that can be declared arrives."""
        second = Duration(seconds=1)

        parsed = self.parsed(
            version="v1",
            version_policy=pb.VERSION_POLICY_PIN,
            timeout=second,
            hang_timeout=second,
            start_timeout=second,
            priority=-5,
            concurrency=7,
            keyed_concurrency=pb.KeyedConcurrency(key="/k", limit=2),
            rate_limit=pb.RateLimit(endpoint="mail", subject="/k"),
            debounce=pb.Debounce(period=second, key="/d"),
            idempotency="/i",
            overflow=pb.Overflow(
                max_depth=1, max_age=second, max_bytes=2, policy=pb.OVERFLOW_POLICY_SPILL
            ),
        )

        assert (
            replace(
                FUNCTION,
                version="v1",
                version_policy=VersionPolicy.PIN,
                timeout=1.0,
                hang_timeout=1.0,
                start_timeout=1.0,
                priority=-5,
                concurrency=7,
                key_pointer="/k",
                key_limit=2,
                rate_limit=RateLimit(endpoint="mail", subject="/k"),
                debounce=Debounce(period=1.0, key="/d", max_wait=10.0),
                idempotency="/i",
                overflow=Overflow(
                    policy=OverflowPolicy.SPILL, max_depth=1, max_age=1.0, max_bytes=2
                ),
            )
            == parsed
        )

    def test_key_of_a_rate_alone(self) -> None:
        """A rate by key needs no cap by key."""
        parsed = self.parsed(rate_limit=pb.RateLimit(endpoint="mail", subject="/k"))

        assert ("/k", 0, {}) == (parsed.key_pointer, parsed.key_limit, parsed.mistakes([]))
