"""Jobs arrive as plain Python values."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.jobs import (
    Cancellation,
    Failure,
    Job,
    JobState,
    Progress,
    Rollback,
    Step,
    StepKind,
    Wait,
)
from mainstay.jobs.job_messages import parse_job
from mainstay.jobs.v1 import job_pb2

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2026, 1, 1, 0, 0, 2, 500_000, tzinfo=UTC)


def stamp(moment: datetime) -> Timestamp:
    """Return the moment as the wire has it."""
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


class TestParsedJob:
    def test_holds_all_that_was_sent(self) -> None:
        """Every field of the contract has its place."""
        sent = job_pb2.Job(
            job_id="j",
            function="process-video",
            event_id="e",
            state=job_pb2.JOB_STATE_SUCCEEDED,
            revision=7,
            attempt=2,
            max_attempts=3,
            steps=[
                job_pb2.Step(key="probe", result_json='{"s":1}', attempt=1, end_time=stamp(END)),
                job_pb2.Step(
                    key="reply",
                    result_json="null",
                    attempt=2,
                    end_time=stamp(END),
                    kind=job_pb2.STEP_KIND_SIGNAL,
                    compensation=job_pb2.COMPENSATION_STATE_DONE,
                    compensate_time=stamp(END),
                ),
            ],
            progress=job_pb2.Progress(fraction=0.5, message="half", partial_json="[1]"),
            result_json="[1,2]",
            failure=job_pb2.Failure(kind="OSError", message="gone", permanent=False),
            request_id="r",
            worker="w",
            create_time=stamp(BEGIN),
            start_time=stamp(BEGIN),
            end_time=stamp(END),
            waits=[
                job_pb2.Wait(
                    key="nap", kind=job_pb2.STEP_KIND_SLEEP, subject="s", due_time=stamp(END)
                )
            ],
            rollback=job_pb2.Rollback(
                outcome=job_pb2.JOB_STATE_CANCELLED,
                attempt=1,
                max_attempts=3,
                failure=job_pb2.Failure(kind="OSError", message="stuck", permanent=True),
            ),
            priority=-5,
            parent_job_id="p",
            version="v2",
            cancellation=job_pb2.Cancellation(
                reason="too long", rollback=True, request_time=stamp(END)
            ),
            schedule="nightly",
            event_name="video/upload.completed",
            data_json='{"video_id":"v"}',
        )

        assert Job(
            job_id="j",
            function="process-video",
            event_id="e",
            state=JobState.SUCCEEDED,
            revision=7,
            attempt=2,
            max_attempts=3,
            steps=(
                Step(key="probe", result={"s": 1}, attempt=1, end_time=END),
                Step(
                    key="reply",
                    result=None,
                    attempt=2,
                    end_time=END,
                    kind=StepKind.SIGNAL,
                    compensable=True,
                    compensate_time=END,
                ),
            ),
            progress=Progress(fraction=0.5, message="half", partial=[1]),
            result=[1, 2],
            failure=Failure(kind="OSError", message="gone", permanent=False),
            request_id="r",
            worker="w",
            create_time=BEGIN,
            start_time=BEGIN,
            end_time=END,
            ready_time=None,
            waits=(Wait(key="nap", kind=StepKind.SLEEP, subject="s", due_time=END),),
            rollback=Rollback(
                outcome=JobState.CANCELLED,
                attempt=1,
                max_attempts=3,
                failure=Failure(kind="OSError", message="stuck", permanent=True),
            ),
            cancellation=Cancellation(reason="too long", rollback=True, request_time=END),
            priority=-5,
            parent_job_id="p",
            version="v2",
            schedule="nightly",
            event_name="video/upload.completed",
            data={"video_id": "v"},
        ) == parse_job(sent)

    def test_tells_unset_from_empty(self) -> None:
        """What has not happened yet is None."""
        job = parse_job(
            job_pb2.Job(job_id="j", state=job_pb2.JOB_STATE_QUEUED, create_time=stamp(BEGIN))
        )

        assert (None,) * 9 == (
            job.progress,
            job.failure,
            job.result,
            job.start_time,
            job.end_time,
            job.ready_time,
            job.rollback,
            job.cancellation,
            job.data,
        )


class TestJobState:
    def test_knows_every_state_of_the_contract(self) -> None:
        """A state added to the contract is a change to make here."""
        parsed = {
            name: parse_job(job_pb2.Job(state=number)).state
            for name, number in job_pb2.JobState.items()
        }

        assert {
            "JOB_STATE_UNSPECIFIED": JobState.UNKNOWN,
            "JOB_STATE_QUEUED": JobState.QUEUED,
            "JOB_STATE_RUNNING": JobState.RUNNING,
            "JOB_STATE_RETRYING": JobState.RETRYING,
            "JOB_STATE_SUCCEEDED": JobState.SUCCEEDED,
            "JOB_STATE_DEAD_LETTERED": JobState.DEAD_LETTERED,
            "JOB_STATE_WAITING": JobState.WAITING,
            "JOB_STATE_ROLLING_BACK": JobState.ROLLING_BACK,
            "JOB_STATE_CANCELLED": JobState.CANCELLED,
            "JOB_STATE_DISCARDED": JobState.DISCARDED,
        } == parsed

    def test_takes_a_state_of_a_newer_service_for_unknown_and_not_ended(self) -> None:
        """A watcher of an older release goes on watching."""
        job = job_pb2.Job.FromString(job_pb2.Job(job_id="j").SerializeToString() + b"\x20\x63")

        assert (JobState.UNKNOWN, False) == (parse_job(job).state, parse_job(job).state.ended)


class TestSteps:
    def test_know_every_kind_of_the_contract(self) -> None:
        """One without a kind ran code of its own; one of a newer service is unknown."""
        parsed = {
            name: parse_job(job_pb2.Job(steps=[job_pb2.Step(kind=number)])).steps[0].kind
            for name, number in job_pb2.StepKind.items()
        }
        newer = job_pb2.Step.FromString(b"\x28\x63")

        assert {
            "STEP_KIND_UNSPECIFIED": StepKind.RUN,
            **{f"STEP_KIND_{kind.name}": kind for kind in StepKind if kind is not StepKind.UNKNOWN},
        } == parsed
        assert StepKind.UNKNOWN is parse_job(job_pb2.Job(steps=[newer])).steps[0].kind
