"""From values to the messages that a worker gets."""

from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from services.jobs import token as tokens
from services.jobs.formatting import STEP_KINDS
from services.jobs.frames import (
    AckBatch,
    Directive,
    DirectiveBatch,
    GoAway,
    HeartbeatAck,
    JobBatch,
    Outgoing,
    Welcome,
)
from services.jobs.job import Assignment, Memo
from services.jobs.reports import Ack, AckState
from services.jobs.token import Token
from services.jobs.wire_times import duration

_ACK_STATES = {
    AckState.STORED: worker_pb.ACK_STATE_STORED,
    AckState.DUPLICATE: worker_pb.ACK_STATE_DUPLICATE,
    AckState.FENCED: worker_pb.ACK_STATE_FENCED,
    AckState.REJECTED: worker_pb.ACK_STATE_REJECTED,
}


def frame(value: Outgoing) -> worker_pb.SessionResponse:
    """Return a frame of the service."""
    match value:
        case JobBatch(jobs=jobs):
            batch = worker_pb.JobBatch(jobs=[assigned(each) for each in jobs])
            return worker_pb.SessionResponse(jobs=batch)
        case AckBatch(acks=acks):
            answers = worker_pb.AckBatch(acks=[ack(each) for each in acks])
            return worker_pb.SessionResponse(acks=answers)
        case HeartbeatAck(lost=lost, directives=directives):
            answer = worker_pb.HeartbeatAck(lost_tokens=lost, directives=map(directive, directives))
            return worker_pb.SessionResponse(heartbeat=answer)
        case DirectiveBatch(directives=directives):
            orders = worker_pb.DirectiveBatch(directives=map(directive, directives))
            return worker_pb.SessionResponse(directives=orders)
        case GoAway(reason=reason):
            return worker_pb.SessionResponse(go_away=worker_pb.GoAway(reason=reason))
        case Welcome():
            return worker_pb.SessionResponse(welcome=welcome(value))


def welcome(value: Welcome) -> worker_pb.Welcome:
    """Return what opens a session."""
    return worker_pb.Welcome(
        session=value.session_id.bytes,
        heartbeat_interval=duration(value.heartbeat_interval),
        lease=duration(value.lease),
        resume_window=duration(value.resume_window),
        lost_tokens=value.lost,
    )


def assigned(value: Assignment) -> worker_pb.AssignedJob:
    """Return a job for a worker."""
    return worker_pb.AssignedJob(
        token=tokens.encode(Token(job_id=value.job_id, epoch=value.epoch)),
        job_id=str(value.job_id),
        function=value.function,
        attempt=value.attempt,
        max_attempts=value.max_attempts,
        event_name=value.event_name,
        data_json=value.data,
        memo=map(_memo, value.memo),
        request_id=value.request_id,
        traceparent=value.traceparent,
        tenant=value.tenant,
        timeout=duration(value.timeout),
        hang_timeout=duration(value.hang_timeout),
        rollback=None if value.rollback is None else worker_pb.RollbackOrder(keys=value.rollback),
        version=value.version,
    )


def _memo(memo: Memo) -> worker_pb.StepMemo:
    kind = STEP_KINDS[memo.kind]
    return worker_pb.StepMemo(key=memo.key, result_json=memo.result, kind=kind)


def ack(value: Ack) -> worker_pb.Ack:
    """Return the answer to a report."""
    return worker_pb.Ack(
        token=value.raw_token,
        sequence=value.sequence,
        state=_ACK_STATES[value.state],
        message=value.message,
    )


def directive(value: Directive) -> worker_pb.Directive:
    """Return what a worker is to do about a job."""
    return worker_pb.Directive(
        token=tokens.encode(value.token),
        kind=worker_pb.DIRECTIVE_KIND_CANCEL,
        reason=value.reason,
    )
