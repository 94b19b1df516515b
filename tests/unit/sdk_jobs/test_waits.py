"""What a function can wait for, what it is told of it, and what it sends and reports."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from mainstay.jobs import (
    AcceptedEvent,
    ChildFailedError,
    JobContext,
    NestedWaitError,
    ReceivedEvent,
    ReceivedSignal,
    ResultError,
    StepKeyError,
    StepRejectedError,
)
from mainstay.jobs.assignment import Failed, Succeeded, Suspended
from mainstay.jobs.v1 import worker_service_pb2 as pb
from tests.unit.sdk_jobs.recorded_reports import assigned_job
from tests.unit.sdk_jobs.turns import Turns, result


class TestSleep:
    async def test_that_is_long_suspends_the_job(self) -> None:
        """The service keeps the time, from when it stored the wait."""

        async def handler(job: JobContext) -> str:
            await job.step.sleep("nap", timedelta(hours=1))
            return "awake"

        turns = Turns(handler)

        assert Suspended(keys=("nap",)) == await turns.run()
        (wait,) = turns.reports.waits
        assert ("nap", 3600) == (wait.key, wait.sleep.duration.ToSeconds())
        assert "awake" == result(await turns.run(nap=None))

    @pytest.mark.parametrize("seconds", [0, -5, 2])
    async def test_that_is_short_stays_on_the_worker(self, seconds: float) -> None:
        """And is a step as well: it is not slept again."""

        async def handler(job: JobContext) -> None:
            await job.step.sleep("nap", seconds)

        turns = Turns(handler)

        assert isinstance(await turns.run(), Succeeded)
        assert isinstance(await turns.run(), Succeeded)
        assert [max(seconds, 0)] == turns.clock.slept
        assert [("nap", "null")] == turns.reports.steps

    async def test_until_a_time_is_reckoned_by_the_worker(self) -> None:
        """Which says how long that is; a time that has passed is not waited for."""

        async def handler(job: JobContext) -> None:
            await job.step.sleep_until("past", datetime(2020, 1, 1, tzinfo=UTC))
            await job.step.sleep_until("later", datetime(2026, 1, 2, tzinfo=UTC))

        turns = Turns(handler)

        assert Suspended(keys=("later",)) == await turns.run()
        assert 86_400 == turns.reports.waits[0].sleep.duration.ToSeconds()

    async def test_until_a_time_needs_its_zone(self) -> None:
        """Midnight is at another time in Berlin."""

        async def handler(job: JobContext) -> None:
            await job.step.sleep_until("later", datetime(2026, 1, 2))  # noqa: DTZ001

        outcome = await Turns(handler).run()

        assert isinstance(outcome, Failed)
        assert "which has no time zone" in outcome.message


class TestEvent:
    @pytest.mark.parametrize(
        ("come", "expected"),
        [
            (
                {"event_id": "e", "name": "video/approved", "data": {"by": "ann"}},
                ReceivedEvent(event_id="e", name="video/approved", data={"by": "ann"}),
            ),
            (None, None),
        ],
    )
    async def test_is_returned_once_it_came(self, come: object, expected: object) -> None:
        """Or nothing, when its time was over."""
        received: list[object] = []

        async def handler(job: JobContext) -> None:
            received.append(
                await job.step.wait_for_event(
                    "approval", "video/approved", match={"video_id": "42"}, timeout=60
                )
            )

        turns = Turns(handler)

        assert Suspended(keys=("approval",)) == await turns.run()
        await turns.run(approval=come)
        assert [expected] == received
        assert [
            pb.WaitBegun(
                key="approval",
                event=pb.EventWait(
                    name="video/approved",
                    match_json='{"video_id":"42"}',
                    timeout=turns.reports.waits[0].event.timeout,
                ),
            )
        ] == turns.reports.waits
        assert 60 == turns.reports.waits[0].event.timeout.ToSeconds()


class TestSignal:
    @pytest.mark.parametrize(
        ("come", "expected"), [({"data": None}, ReceivedSignal(data=None)), (None, None)]
    )
    async def test_is_returned_once_it_came(self, come: object, expected: object) -> None:
        """One without data is not the same as none."""
        received: list[object] = []

        async def handler(job: JobContext) -> None:
            received.append(await job.step.wait_for_signal("go", "start"))

        turns = Turns(handler)

        assert Suspended(keys=("go",)) == await turns.run()
        await turns.run(go=come)
        assert [expected] == received
        assert not turns.reports.waits[0].signal.HasField("timeout")


class TestInvokedJob:
    async def test_gives_its_result(self) -> None:
        """Started with the payload and priority that it is given."""

        async def handler(job: JobContext) -> object:
            return await job.step.invoke("mail", "send-email", {"to": "a@b.c"}, priority=-5)

        turns = Turns(handler)

        assert Suspended(keys=("mail",)) == await turns.run()
        assert [pb.InvokeWait(function="send-email", data_json='{"to":"a@b.c"}', priority=-5)] == [
            wait.invoke for wait in turns.reports.waits
        ]
        ended = {"job_id": "j", "state": "succeeded", "result": {"sent": 1}, "failure": None}
        assert {"sent": 1} == result(await turns.run(mail=ended))

    @pytest.mark.parametrize(
        ("failure", "kind", "message"),
        [
            (
                {"kind": "OSError", "message": "disk full"},
                "OSError",
                "job j of send-email ended as dead_lettered (OSError: disk full)",
            ),
            (None, "", "job j of send-email ended as dead_lettered"),
        ],
    )
    async def test_that_ended_badly_raises(
        self, failure: Mapping[str, str] | None, kind: str, message: str
    ) -> None:
        """What leaves the function is final: that job will not end otherwise."""
        caught: list[ChildFailedError] = []

        async def handler(job: JobContext) -> None:
            try:
                await job.step.invoke("mail", "send-email")
            except ChildFailedError as error:
                caught.append(error)
                raise

        ended = {"job_id": "j", "state": "dead_lettered", "result": None, "failure": failure}
        turns = Turns(handler)
        await turns.run()
        outcome = await turns.run(mail=ended)

        assert Failed(kind="ChildFailedError", message=message, permanent=True) == outcome
        assert [("j", "dead_lettered", kind)] == [(e.job_id, e.state, e.kind) for e in caught]

    async def test_needs_a_payload_that_is_json(self) -> None:
        """Named by its step."""

        async def handler(job: JobContext) -> None:
            await job.step.invoke("mail", "send-email", {"to": {1}})

        outcome = await Turns(handler).run()

        assert isinstance(outcome, Failed)
        assert outcome.message.startswith("the payload of step 'mail' cannot be kept as JSON")


class TestWaitThatCannotBe:
    async def test_is_one_inside_of_a_step(self) -> None:
        """The step would have to be suspended in its middle."""

        async def handler(job: JobContext) -> None:
            await job.step.run("outer", job.step.sleep, "inner", 60)

        outcome = await Turns(handler).run()

        assert isinstance(outcome, Failed)
        assert (NestedWaitError.__name__, True) == (outcome.kind, outcome.permanent)
        assert "step 'inner' waits inside of step 'outer'" in outcome.message

    async def test_is_one_of_another_step_s_key(self) -> None:
        """Its result would be the other's."""

        async def handler(job: JobContext) -> None:
            await job.step.run("nap", lambda: 1)
            await job.step.sleep("nap", 60)

        outcome = await Turns(handler).run()

        assert isinstance(outcome, Failed)
        assert StepKeyError.__name__ == outcome.kind

    async def test_is_one_that_the_service_refuses(self) -> None:
        """Such as the invocation of a function that led to this job."""

        async def handler(job: JobContext) -> None:
            await job.step.invoke("again", "process-video")

        turns = Turns(handler)
        turns.reports.refuse_with = StepRejectedError("cyclic: process-video → process-video")
        outcome = await turns.run()

        assert (
            Failed(
                kind="StepRejectedError",
                message="cyclic: process-video → process-video",
                permanent=True,
            )
            == outcome
        )


class TestSentEvent:
    async def test_is_sent_once_in_a_job_s_life(self) -> None:
        """Under a key of its own, so that a lost answer does no harm; the answer is kept."""
        accepted: list[AcceptedEvent] = []

        async def handler(job: JobContext) -> None:
            accepted.append(await job.step.send_event("tell", "video/done", {"a": 1}, version=2))

        turns = Turns(handler)
        await turns.run()
        await turns.run()

        key = f"{assigned_job().job_id}/tell"
        assert {key: ("video/done", {"a": 1}, 2)} == turns.events.sent
        assert [AcceptedEvent(event_id="event-1", job_ids=("job-2",), duplicate=False)] * 2 == (
            accepted
        )

    async def test_has_a_key_that_the_service_takes(self) -> None:
        """However long the step's is."""

        async def handler(job: JobContext) -> None:
            await job.step.send_event("é" * 200, "video/done", {})

        turns = Turns(handler)
        await turns.run()

        (key,) = turns.events.sent
        assert key is not None
        assert len(key.encode()) <= 200


class TestProgress:
    async def test_has_partial_results(self) -> None:
        """Models too; without one, the one before stays."""

        async def handler(job: JobContext) -> None:
            await job.progress(0.4, "transcribing", partial={"text": "Good eve"})
            await job.progress(0.5)

        turns = Turns(handler)
        await turns.run()

        assert [(0.4, "transcribing"), (0.5, "")] == turns.reports.progresses
        assert ['{"text":"Good eve"}', ""] == turns.reports.partials

    @pytest.mark.parametrize(
        ("partial", "message"),
        [
            ({1}, "the partial result cannot be kept as JSON"),
            ("x" * 65_536, "the partial result is 65,538 bytes of JSON, more than 65,536"),
        ],
    )
    async def test_is_refused_when_it_cannot_be_kept(self, partial: object, message: str) -> None:
        """Before it is sent."""

        async def handler(job: JobContext) -> None:
            await job.progress(0.4, partial=partial)

        outcome = await Turns(handler).run()

        assert isinstance(outcome, Failed)
        assert ResultError.__name__ == outcome.kind
        assert outcome.message.startswith(message)
