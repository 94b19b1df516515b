"""Jobs arrive as plain Python values."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.jobs import Failure, Job, JobState, Progress, Step
from mainstay.jobs.model import parse_job
from mainstay.jobs.v1 import job_service_pb2 as pb

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
        sent = pb.Job(
            job_id="j",
            function="process-video",
            event_id="e",
            state=pb.JOB_STATE_SUCCEEDED,
            revision=7,
            attempt=2,
            max_attempts=3,
            steps=[pb.Step(key="probe", result_json='{"s":1}', attempt=1, end_time=stamp(END))],
            progress=pb.Progress(fraction=0.5, message="half"),
            result_json="[1,2]",
            failure=pb.Failure(kind="OSError", message="gone", permanent=False),
            request_id="r",
            worker="w",
            create_time=stamp(BEGIN),
            start_time=stamp(BEGIN),
            end_time=stamp(END),
        )

        assert Job(
            job_id="j",
            function="process-video",
            event_id="e",
            state=JobState.SUCCEEDED,
            revision=7,
            attempt=2,
            max_attempts=3,
            steps=(Step(key="probe", result={"s": 1}, attempt=1, end_time=END),),
            progress=Progress(fraction=0.5, message="half"),
            result=[1, 2],
            failure=Failure(kind="OSError", message="gone", permanent=False),
            request_id="r",
            worker="w",
            create_time=BEGIN,
            start_time=BEGIN,
            end_time=END,
            ready_time=None,
        ) == parse_job(sent)

    def test_tells_unset_from_empty(self) -> None:
        """What has not happened yet is None."""
        job = parse_job(pb.Job(job_id="j", state=pb.JOB_STATE_QUEUED, create_time=stamp(BEGIN)))

        assert (None, None, None, None, None) == (
            job.progress,
            job.failure,
            job.result,
            job.start_time,
            job.end_time,
        )


class TestJobState:
    def test_knows_every_state_of_the_contract(self) -> None:
        """A state added to the contract is a change to make here."""
        parsed = {
            name: parse_job(pb.Job(state=number)).state for name, number in pb.JobState.items()
        }

        assert {
            "JOB_STATE_UNSPECIFIED": JobState.UNKNOWN,
            "JOB_STATE_QUEUED": JobState.QUEUED,
            "JOB_STATE_RUNNING": JobState.RUNNING,
            "JOB_STATE_RETRYING": JobState.RETRYING,
            "JOB_STATE_SUCCEEDED": JobState.SUCCEEDED,
            "JOB_STATE_DEAD_LETTERED": JobState.DEAD_LETTERED,
        } == parsed

    def test_takes_a_state_of_a_newer_service_for_unknown_and_not_ended(self) -> None:
        """A watcher of an older release goes on watching."""
        job = pb.Job.FromString(pb.Job(job_id="j").SerializeToString() + b"\x20\x63")

        assert (JobState.UNKNOWN, False) == (parse_job(job).state, parse_job(job).state.ended)
