"""Events and functions start jobs of the real service, and mistakes start none."""

import uuid
from datetime import timedelta

import pytest

from mainstay.errors import (
    AlreadyExistsError,
    NotFoundError,
    PreconditionError,
    QueueFullError,
    ValidationError,
)
from mainstay.jobs import Event, EventSchema, JobState
from mainstay.jobs.v1 import function_pb2
from tests.integration.sdk_jobs.contract import FOLLOW_UP, WORK, Contract, all_of, work

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "order/placed",
    "description": "Somebody has ordered something.",
    "x-mainstay-event": "order/placed",
    "x-mainstay-version": 1,
    "type": "object",
    "properties": {"order": {"type": "integer"}},
}


class TestSending:
    async def test_starts_a_job_for_each_function(self, contract: Contract) -> None:
        """All events of a call, each with the jobs that it has started."""
        await contract.worker(work("one"), work("two"))

        both, none = await contract.jobs.send_events(
            [Event(name=WORK, data={"n": 1}), Event(name=FOLLOW_UP, data={})]
        )
        jobs = [await contract.jobs.get_job(job_id) for job_id in both.job_ids]

        assert {"one", "two"} == {job.function for job in jobs}
        assert {(JobState.QUEUED, WORK, both.event_id)} == {
            (job.state, job.event_name, job.event_id) for job in jobs
        }
        assert [{"n": 1}, {"n": 1}] == [job.data for job in jobs]
        assert () == none.job_ids

    async def test_twice_with_a_key_starts_once(self, contract: Contract) -> None:
        """And the same key for something else is a mistake."""
        await contract.worker()

        first = await contract.jobs.send_event(WORK, {"n": 1}, idempotency_key="k")
        again = await contract.jobs.send_event(WORK, {"n": 1}, idempotency_key="k")

        assert (first.event_id, first.job_ids) == (again.event_id, again.job_ids)
        assert (False, True) == (first.duplicate, again.duplicate)
        with pytest.raises(AlreadyExistsError) as caught:
            await contract.jobs.send_event(WORK, {"n": 2}, idempotency_key="k")
        assert "IDEMPOTENCY_KEY_REUSED" == caught.value.reason

    async def test_of_what_has_no_schema_is_refused(self, contract: Contract) -> None:
        """With all that was sent in the same call."""
        await contract.worker()

        with pytest.raises(NotFoundError) as caught:
            await contract.jobs.send_events(
                [Event(name=WORK, data={}), Event(name="no/such", data={})]
            )

        assert "EVENT_SCHEMA_NOT_FOUND" == caught.value.reason
        assert [] == await all_of(contract.jobs.list_jobs())

    async def test_to_a_full_queue_is_refused_with_when_to_try_again(
        self, contract: Contract
    ) -> None:
        """Nothing is lost that was accepted."""
        full = function_pb2.Overflow(max_depth=1, policy=function_pb2.OVERFLOW_POLICY_REJECT)
        await contract.worker(work(overflow=full))
        await contract.jobs.send_event(WORK, {})

        with pytest.raises(QueueFullError) as caught:
            await contract.jobs.send_event(WORK, {})

        assert ("QUEUE_FULL", True) == (caught.value.reason, bool(caught.value.retry_after))
        assert 1 == len(await all_of(contract.jobs.list_jobs()))


class TestEnqueueing:
    async def test_starts_a_job_without_an_event(self, contract: Contract) -> None:
        """With the priority that it was given; again with its key it is the same job."""
        await contract.worker()

        job = await contract.jobs.enqueue("work", {"n": 1}, priority=7, idempotency_key="k")
        again = await contract.jobs.enqueue("work", {"n": 1}, priority=7, idempotency_key="k")
        found = await contract.jobs.get_job(job.job_id)

        assert (job.job_id, True) == (again.job_id, again.duplicate)
        assert ("work", 7, "", {"n": 1}) == (
            found.function,
            found.priority,
            found.event_name,
            found.data,
        )

    async def test_with_a_delay_waits(self, contract: Contract) -> None:
        """A timedelta means the same as seconds."""
        await contract.worker()

        for delay in (3600.0, timedelta(hours=1)):
            enqueued = await contract.jobs.enqueue("work", {}, delay=delay)
            job = await contract.jobs.get_job(enqueued.job_id)
            assert job.ready_time is not None
            waits = job.ready_time - job.create_time
            assert timedelta(minutes=59) < waits < timedelta(minutes=61)

    async def test_of_what_nobody_declared_is_refused(self, contract: Contract) -> None:
        """The error names it."""
        with pytest.raises(NotFoundError, match="nobody-has-it") as caught:
            await contract.jobs.enqueue("nobody-has-it", {})
        assert "FUNCTION_NOT_FOUND" == caught.value.reason

    async def test_out_of_bounds_is_refused(self, contract: Contract) -> None:
        """By the service, with the field."""
        await contract.worker()

        for mistake in ({"priority": 101}, {"delay": -1.0}):
            with pytest.raises(ValidationError) as caught:
                await contract.jobs.enqueue("work", {}, **mistake)
            assert any(next(iter(mistake)) in field for field in caught.value.fields)


class TestContracts:
    async def test_that_are_put_hold(self, contract: Contract) -> None:
        """A payload that breaks one is refused with the place in it."""
        before = await all_of(contract.jobs.list_event_schemas())
        put = await contract.jobs.put_event_schema("order/placed", 1, SCHEMA)
        again = await contract.jobs.put_event_schema("order/placed", 1, SCHEMA)

        await contract.worker(work(trigger="order/placed"))
        accepted = await contract.jobs.send_event("order/placed", {"order": 1})

        assert EventSchema(name="order/placed", version=1, schema=SCHEMA, built_in=False) == put
        assert put == again
        assert [put] == await all_of(contract.jobs.list_event_schemas("order/placed"))
        assert {(WORK, True), (FOLLOW_UP, True)} == {(each.name, each.built_in) for each in before}
        assert 1 == len(accepted.job_ids)
        with pytest.raises(ValidationError, match="/order"):
            await contract.jobs.send_event("order/placed", {"order": "one"})

    async def test_do_not_change(self, contract: Contract) -> None:
        """And a new version takes what the old one took, unless it says that it does not."""
        narrower = {**SCHEMA, "x-mainstay-version": 2, "required": ["order"]}
        await contract.jobs.put_event_schema("order/placed", 1, SCHEMA)

        with pytest.raises(AlreadyExistsError) as other:
            await contract.jobs.put_event_schema(
                "order/placed", 1, {**SCHEMA, "required": ["order"]}
            )
        with pytest.raises(PreconditionError) as breaking:
            await contract.jobs.put_event_schema("order/placed", 2, narrower)
        meant = await contract.jobs.put_event_schema("order/placed", 2, narrower, breaking=True)

        assert "EVENT_SCHEMA_EXISTS" == other.value.reason
        assert "EVENT_SCHEMA_BREAKS" == breaking.value.reason
        assert 2 == meant.version


class TestTenants:
    async def test_do_not_see_each_others_jobs(self, contract: Contract) -> None:
        """A job of another's does not exist."""
        with pytest.raises(NotFoundError) as caught:
            await contract.jobs.get_job(str(uuid.uuid4()))
        assert "JOB_NOT_FOUND" == caught.value.reason
