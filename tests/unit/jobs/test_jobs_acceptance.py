"""Which jobs calls start, decided call by call."""

from itertools import count
from uuid import UUID

import pytest

from mainstay.errors import AlreadyExistsError, NotFoundError, QueueFullError
from services.jobs.acceptance import (
    Acceptance,
    Functions,
    Known,
    KnownKey,
    Pending,
    Questions,
    questions,
)
from services.jobs.event import NewCall, NewEvent, Origin
from services.jobs.function import (
    DEFAULT_BACKOFF,
    Debounce,
    FunctionDefinition,
    Overflow,
    OverflowPolicy,
)
from services.jobs.job import EventId, JobId
from services.jobs.overflow import Fullness
from shared.rpc.call import Tenant

ORIGIN = Origin(tenant=Tenant("acme"), request_id="r", traceparent="")
_numbers = count(1)


def event(value: object = None, *, key: str = "", content: str = "", **fields: object) -> NewEvent:
    """Return an event whose payload has a value at /v."""
    about = {
        "event_id": EventId(UUID(int=next(_numbers))),
        "name": "e",
        "data": "{}",
        "size": 10,
        "value": {} if value is None else {"v": value},
        "idempotency_key": key,
        "content_hash": content.encode(),
    }
    return NewEvent(**(about | fields))  # type: ignore[arg-type]


def call(*events: NewEvent) -> NewCall:
    """Return a call with events."""
    return NewCall(origin=ORIGIN, events=events)


def function(name: str = "f", **fields: object) -> FunctionDefinition:
    """Return a function that the event starts."""
    about = {"name": name, "trigger": "e", "max_attempts": 3, "backoff": DEFAULT_BACKOFF}
    return FunctionDefinition(**(about | fields))  # type: ignore[arg-type]


def acceptance(*functions: FunctionDefinition, known: Known | None = None) -> Acceptance:
    """Return what begins with functions and what is known."""
    ids = count(1)
    declared = Functions(
        by_event={"e": functions}, by_name={function.name: function for function in functions}
    )
    return Acceptance(declared, known or Known(), lambda: JobId(UUID(int=next(ids))))


class TestStarting:
    def test_every_function(self) -> None:
        """An event starts a job for each function, a request for its own."""
        taken = acceptance(function("a"), function("b"))

        (answer,) = taken.take(call(event()))
        (asked,) = taken.take(call(event(name="", function="b")))

        assert (2, 1) == (len(answer.job_ids), len(asked.job_ids))
        assert ["a", "b", "b"] == [job.function for job in taken.jobs.values()]

    def test_none(self) -> None:
        """An event that nothing waits for is accepted all the same."""
        (answer,) = acceptance().take(call(event()))

        assert () == answer.job_ids

    def test_unknown(self) -> None:
        """A request for what is not known is refused."""
        with pytest.raises(NotFoundError):
            acceptance().take(call(event(name="", function="x")))


class TestRefusedCalls:
    def test_leave_nothing(self) -> None:
        """A call that is refused at its last event leaves nothing of the others."""
        once = function("once", idempotency="/v")
        folds = function("folds", debounce=Debounce(period=5, key="/v", max_wait=50))
        full = function(
            "full", overflow=Overflow(policy=OverflowPolicy.REJECT, max_depth=1), idempotency="/w"
        )
        taken = acceptance(once, folds, full)

        with pytest.raises(QueueFullError):
            taken.take(call(event("a", key="k"), event("b")))
        assert ({}, {}, {}, {}, {}, []) == (
            taken.jobs,
            taken.folded,
            taken.keys,
            taken.job_keys,
            taken.debounces,
            taken.events,
        )
        (answer,) = taken.take(call(event("a", key="k")))

        assert not answer.duplicate
        assert 3 == len(taken.jobs)

    def test_restore_what_was(self) -> None:
        """What calls before it have brought about stays, as it was."""
        folds = function("folds", debounce=Debounce(period=5, max_wait=50))
        taken = acceptance(folds)
        (first,) = taken.take(call(event("a", key="k", content="x")))
        before = dict(taken.jobs)

        with pytest.raises(AlreadyExistsError):
            taken.take(call(event("b"), event("c", key="k", content="y")))

        assert before == taken.jobs
        assert [first.event_id] == [each.event_id for each in taken.events]


class TestAcrossCalls:
    def test_keys(self) -> None:
        """A key that an earlier call of the transaction took is taken for the later ones."""
        taken = acceptance(function())
        (first,) = taken.take(call(event(key="k")))

        (again,) = taken.take(call(event(key="k")))

        assert again.duplicate
        assert (first.event_id, first.job_ids) == (again.event_id, again.job_ids)
        assert 1 == len(taken.jobs) == len(taken.keys)

    def test_known_keys(self) -> None:
        """So is one that was taken long ago; it is not written down again."""
        known = KnownKey(
            event_id=EventId(UUID(int=7)), content_hash=b"", job_ids=(JobId(UUID(int=8)),)
        )
        taken = acceptance(function(), known=Known(keys={"k": known}))

        (answer,) = taken.take(call(event(key="k")))

        assert (known.event_id, known.job_ids, True) == (
            answer.event_id,
            answer.job_ids,
            answer.duplicate,
        )
        assert ({}, {}) == (taken.jobs, taken.keys)

    def test_debounce(self) -> None:
        """An event is folded into the job of an earlier call before that is even stored."""
        taken = acceptance(function(debounce=Debounce(period=5, max_wait=50)))
        (first,) = taken.take(call(event("a")))

        (second,) = taken.take(call(event("b")))

        (job,) = taken.jobs.values()
        assert first.job_ids == second.job_ids
        assert (second.event_id, 5) == (job.event_id, job.delay)
        assert {} == taken.folded


class TestDebounce:
    @pytest.mark.parametrize(
        ("waited", "delay"), [(0.0, 5.0), (45.0, 5.0), (47.0, 3.0), (50.0, 0.0), (99.0, 0.0)]
    )
    def test_delay(self, waited: float, delay: float) -> None:
        """Each event puts the job off by the period, up to the longest wait of the first."""
        pending = Pending(job_id=JobId(UUID(int=9)), waited=waited)
        folds = function(debounce=Debounce(period=5, max_wait=50))
        taken = acceptance(folds, known=Known(debounces={("f", ""): pending}))

        (answer,) = taken.take(call(event()))

        assert (pending.job_id,) == answer.job_ids
        assert delay == taken.folded[pending.job_id].delay
        assert ({}, {}) == (taken.jobs, taken.debounces)

    def test_delayed_event(self) -> None:
        """A first event with a longer delay waits for as long."""
        taken = acceptance(function(debounce=Debounce(period=5, max_wait=50)))

        taken.take(call(event(delay=7.0)))

        assert [7.0] == [job.delay for job in taken.jobs.values()]


class TestQuestions:
    def test_only_what_matters(self) -> None:
        """Only what the functions of the call need is read."""
        functions = (
            function("once", idempotency="/v"),
            function("folds", debounce=Debounce(period=5, key="/v", max_wait=50)),
            function("full", overflow=Overflow(policy=OverflowPolicy.SPILL, max_depth=1)),
        )
        declared = Functions(by_event={"e": functions}, by_name={})

        asked = questions([call(event("a", key="k"), event())], declared)

        assert ({"k"}, {("once", "a")}) == (asked.keys, asked.job_keys)
        assert {("folds", "a"), ("folds", "")} == asked.debounces
        assert {"full"} == asked.bounded

    def test_nothing(self) -> None:
        """For plain functions nothing is."""
        declared = Functions(by_event={"e": (function(),)}, by_name={})

        asked = questions([call(event("a"))], declared)

        assert Questions() == asked


class TestOverflow:
    def test_spill(self) -> None:
        """What has no room is put off, what has a delay of its own is not counted."""
        rule = Overflow(policy=OverflowPolicy.SPILL, max_depth=2, spill_delay=30)
        taken = acceptance(function(overflow=rule), known=Known(fullness={"f": Fullness(depth=1)}))

        taken.take(call(event(delay=1.0), event(), event()))

        assert [1.0, 0.0, 30] == [job.delay for job in taken.jobs.values()]

    def test_shed(self) -> None:
        """What is too much once all are stored has to leave."""
        rule = Overflow(policy=OverflowPolicy.SHED_OLDEST, max_depth=2, max_bytes=25)
        known = Known(fullness={"f": Fullness(depth=2, size=20)})
        taken = acceptance(function(overflow=rule), known=known)

        taken.take(call(event()))

        much = taken.excess()["f"]
        assert (1, 5, None) == (much.jobs, much.size, much.max_age)
        assert {} == acceptance(function(overflow=rule), known=known).excess()
