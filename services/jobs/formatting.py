"""From values to messages."""

from collections.abc import Iterable
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from services.jobs import token as tokens
from services.jobs.event import AcceptedEvent
from services.jobs.frames import (
    AckBatch,
    GoAway,
    HeartbeatAck,
    JobBatch,
    Outgoing,
    Welcome,
)
from services.jobs.job import Assignment, Job, Step
from services.jobs.reports import Ack, AckState
from services.jobs.states import JobState
from services.jobs.token import Token

_STATES = {
    JobState.QUEUED: job_pb.JOB_STATE_QUEUED,
    JobState.RUNNING: job_pb.JOB_STATE_RUNNING,
    JobState.RETRYING: job_pb.JOB_STATE_RETRYING,
    JobState.SUCCEEDED: job_pb.JOB_STATE_SUCCEEDED,
    JobState.DEAD_LETTERED: job_pb.JOB_STATE_DEAD_LETTERED,
}
_ACK_STATES = {
    AckState.STORED: worker_pb.ACK_STATE_STORED,
    AckState.DUPLICATE: worker_pb.ACK_STATE_DUPLICATE,
    AckState.FENCED: worker_pb.ACK_STATE_FENCED,
    AckState.REJECTED: worker_pb.ACK_STATE_REJECTED,
}


def accepted_events(events: Iterable[AcceptedEvent]) -> job_pb.SendEventsResponse:
    """Return the answer to SendEvents."""
    return job_pb.SendEventsResponse(
        events=[
            job_pb.AcceptedEvent(
                event_id=str(event.event_id),
                job_ids=[str(job_id) for job_id in event.job_ids],
                duplicate=event.duplicate,
            )
            for event in events
        ]
    )


def job(value: Job) -> job_pb.Job:
    """Return a job."""
    message = job_pb.Job(
        job_id=str(value.job_id),
        function=value.function,
        event_id=str(value.event_id),
        state=_STATES[value.state],
        revision=value.revision,
        attempt=value.attempt,
        max_attempts=value.max_attempts,
        steps=[_step(step) for step in value.steps],
        result_json=value.result or "",
        request_id=value.request_id,
        worker=value.worker,
        create_time=_time(value.create_time),
        start_time=_time(value.start_time),
        end_time=_time(value.end_time),
        ready_time=_time(value.ready_time),
    )
    if value.progress is not None:
        message.progress.fraction = value.progress.fraction
        message.progress.message = value.progress.message
        message.progress.SetInParent()
    if value.failure is not None:
        message.failure.kind = value.failure.kind
        message.failure.message = value.failure.message
        message.failure.permanent = value.failure.permanent
    return message


def _step(step: Step) -> job_pb.Step:
    return job_pb.Step(
        key=step.key, result_json=step.result, attempt=step.attempt, end_time=_time(step.end_time)
    )


def _time(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def frame(value: Outgoing) -> worker_pb.SessionResponse:
    """Return a frame of the service."""
    match value:
        case JobBatch(jobs=jobs):
            batch = worker_pb.JobBatch(jobs=[_assigned(each) for each in jobs])
            return worker_pb.SessionResponse(jobs=batch)
        case AckBatch(acks=acks):
            answers = worker_pb.AckBatch(acks=[_ack(ack) for ack in acks])
            return worker_pb.SessionResponse(acks=answers)
        case HeartbeatAck(lost=lost):
            answer = worker_pb.HeartbeatAck(lost_tokens=lost)
            return worker_pb.SessionResponse(heartbeat=answer)
        case GoAway(reason=reason):
            return worker_pb.SessionResponse(go_away=worker_pb.GoAway(reason=reason))
        case Welcome():
            return worker_pb.SessionResponse(welcome=_welcome(value))


def _welcome(value: Welcome) -> worker_pb.Welcome:
    return worker_pb.Welcome(
        session=value.session_id.bytes,
        heartbeat_interval=_duration(value.heartbeat_interval),
        lease=_duration(value.lease),
        resume_window=_duration(value.resume_window),
        lost_tokens=value.lost,
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _assigned(value: Assignment) -> worker_pb.AssignedJob:
    return worker_pb.AssignedJob(
        token=tokens.encode(Token(job_id=value.job_id, epoch=value.epoch)),
        job_id=str(value.job_id),
        function=value.function,
        attempt=value.attempt,
        max_attempts=value.max_attempts,
        event_name=value.event_name,
        data_json=value.data,
        memo=[worker_pb.StepMemo(key=memo.key, result_json=memo.result) for memo in value.memo],
        request_id=value.request_id,
        traceparent=value.traceparent,
        tenant=value.tenant,
    )


def _ack(ack: Ack) -> worker_pb.Ack:
    return worker_pb.Ack(
        token=ack.raw_token,
        sequence=ack.sequence,
        state=_ACK_STATES[ack.state],
        message=ack.message,
    )
