"""How a batch is split into calls, and how one bad message is told from the others."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.context import RequestContext, current, use
from mainstay.errors import (
    AlreadyExistsError,
    AuthenticationError,
    AuthorizationError,
    DatabaseError,
    DeadlineError,
    InternalError,
    MainstayError,
    NotFoundError,
    RateLimitError,
    UnavailableError,
    ValidationError,
)
from mainstay.outbox.delivery import Delivery
from mainstay.outbox.message import (
    MAX_ATTEMPTS,
    MAX_ERROR_TEXT,
    Kind,
    Message,
    Origin,
    Verdict,
    in_words,
    is_spent,
    judge,
    pause_before_retry,
)

INVALID = ValidationError("no", fields={})
UNKNOWN = NotFoundError("no", resource_type="event schema", resource_name="a")
AWAY = UnavailableError("gone")
NOBODY = Origin(tenant=None, request_id=None, traceparent=None)


def message(number: int, *, kind: Kind = Kind.EVENT, origin: Origin = NOBODY) -> Message:
    """Return a message."""
    return Message(
        id=number,
        kind=kind,
        name="a",
        version=0,
        data="{}",
        idempotency_key=f"key-{number}",
        priority=None,
        delay=None,
        origin=origin,
        attempts=0,
    )


class Service:
    """Accepts a call unless it holds a message with an error of its own."""

    def __init__(self, errors: dict[int, MainstayError]) -> None:
        self._errors = errors
        self.calls: list[list[int]] = []
        self.accepted: list[int] = []

    async def send(self, messages: Sequence[Message]) -> None:
        """Accept all or none."""
        ids = [message.id for message in messages]
        self.calls.append(ids)
        for number in ids:
            if number in self._errors:
                raise self._errors[number]
        self.accepted += ids


def delivered(service: Service, messages: Sequence[Message]) -> Delivery:
    """Deliver a batch."""
    delivery = Delivery(service.send)
    asyncio.run(delivery.run(messages, seconds=10))
    return delivery


def ids(messages: Sequence[Message]) -> list[int]:
    """Return the ids of messages in order."""
    return sorted(message.id for message in messages)


class TestDelivery:
    def test_of_good_messages_is_one_call(self) -> None:
        """However many there are."""
        service = Service({})
        delivery = delivered(service, [message(number) for number in range(100)])

        assert [list(range(100))] == service.calls
        assert list(range(100)) == ids(delivery.accepted)

    @given(
        size=st.integers(1, 100),
        bad=st.dictionaries(st.integers(0, 99), st.sampled_from([INVALID, UNKNOWN]), max_size=8),
    )
    def test_finds_every_bad_message_and_sends_the_others(
        self, size: int, bad: dict[int, MainstayError]
    ) -> None:
        """Each message has exactly one fate, in a bounded number of calls."""
        bad = {number: error for number, error in bad.items() if number < size}
        service = Service(bad)
        delivery = delivered(service, [message(number) for number in range(size)])

        good = [number for number in range(size) if number not in bad]
        never = [number for number, error in bad.items() if error is INVALID]
        later = [number for number, error in bad.items() if error is UNKNOWN]
        assert good == ids(delivery.accepted) == sorted(service.accepted)
        assert sorted(never) == ids([each for each, _error in delivery.never])
        assert sorted(later) == ids([each for each, _error in delivery.later])
        assert len(service.calls) <= 1 + 2 * 7 * len(bad)

    def test_ends_where_the_service_goes_away(self) -> None:
        """What is known by then counts; what it was not asked about is in no list."""
        service = Service({0: INVALID, 5: AWAY})
        delivery = delivered(service, [message(number) for number in range(8)])

        assert delivery.away is AWAY
        assert ([0], []) == (ids([each for each, _error in delivery.never]), delivery.later)
        assert [1, 2, 3] == ids(delivery.accepted) == service.accepted

    def test_keeps_to_its_time(self) -> None:
        """What does not answer is left for the next batch."""

        async def hang(messages: Sequence[Message]) -> None:
            await asyncio.Event().wait()

        delivery = Delivery(hang)
        asyncio.run(delivery.run([message(1)], seconds=0.01))

        assert ([], None) == (delivery.accepted, delivery.away)

    def test_sends_together_what_is_of_one_origin(self) -> None:
        """Events of one request share a call; every job has its own."""
        other = Origin(tenant="other", request_id=None, traceparent=None)
        service = Service({})
        delivered(
            service,
            [
                message(1),
                message(2, origin=other),
                message(3),
                message(4, kind=Kind.JOB),
                message(5, kind=Kind.JOB),
            ],
        )

        assert [[1, 3], [2], [4], [5]] == sorted(service.calls)

    def test_is_of_no_request_of_the_relays_own(self) -> None:
        """What is current where the relay runs does not travel with somebody else's message."""
        seen: list[RequestContext | None] = []

        async def look(messages: Sequence[Message]) -> None:
            seen.append(current())

        with use(RequestContext(request_id="the relay's", tenant="its own")):
            asyncio.run(Delivery(look).run([message(1)], seconds=10))

        assert [None] == seen


class TestJudgement:
    @pytest.mark.parametrize(
        ("error", "verdict"),
        [
            (UnavailableError(""), Verdict.AWAY),
            (DatabaseError(""), Verdict.AWAY),
            (DeadlineError(""), Verdict.AWAY),
            (AuthenticationError(""), Verdict.AWAY),
            (INVALID, Verdict.NEVER),
            (AlreadyExistsError("", resource_type="", resource_name=""), Verdict.NEVER),
            (UNKNOWN, Verdict.LATER),
            (RateLimitError(""), Verdict.LATER),
            (AuthorizationError(""), Verdict.LATER),
            (InternalError(""), Verdict.LATER),
        ],
    )
    def test_of_each_kind_of_error(self, error: MainstayError, verdict: Verdict) -> None:
        """Only what is about the content itself moves a message aside at once."""
        assert verdict is judge(error)

    def test_of_a_message_that_was_tried_often(self) -> None:
        """A full queue counts for nothing, everything else ends after so many attempts."""
        tired = replace(message(1), attempts=MAX_ATTEMPTS - 1)

        assert (True, False) == (is_spent(tired, UNKNOWN), is_spent(tired, RateLimitError("")))
        assert not is_spent(message(1), UNKNOWN)


class TestPause:
    @pytest.mark.parametrize(
        ("attempts", "asked", "pause"),
        [
            (1, None, 1.0),
            (2, None, 2.0),
            (9, None, 256.0),
            (10, None, 300.0),
            (99, None, 300.0),
            (1, 30.0, 30.0),
            (9, 30.0, 256.0),
        ],
    )
    def test_doubles_up_to_a_bound(self, attempts: int, asked: float | None, pause: float) -> None:
        """And is never shorter than the service asked for."""
        assert pause == pause_before_retry(attempts, asked)


class TestErrorText:
    def test_can_be_stored(self) -> None:
        """PostgreSQL takes no NUL, and nobody reads a megabyte."""
        told = in_words(ValidationError("a\0b" + "x" * 10_000, fields={}))

        assert told.startswith("VALIDATION_FAILED: a\ufffdb")
        assert MAX_ERROR_TEXT == len(told)
