"""Durable jobs: `JobClient` sends events and watches jobs, `Worker` runs them."""

from mainstay.jobs.client import JobClient
from mainstay.jobs.contracts import EventSchema
from mainstay.jobs.depth import QueueDepth
from mainstay.jobs.errors import (
    ChildFailedError,
    NestedWaitError,
    NonRetryableError,
    PayloadError,
    ResultError,
    RetryAfterError,
    StepKeyError,
    StepNotRunError,
    StepRejectedError,
)
from mainstay.jobs.function import Function
from mainstay.jobs.function_options import (
    Debounce,
    KeyedConcurrency,
    Overflow,
    OverflowPolicy,
    RateLimit,
    VersionPolicy,
)
from mainstay.jobs.functions import DeclaredFunction
from mainstay.jobs.job_context import JobContext
from mainstay.jobs.json_text import JsonValue
from mainstay.jobs.model import (
    AcceptedEvent,
    Cancellation,
    EnqueuedJob,
    Event,
    Failure,
    Job,
    JobFilter,
    JobState,
    Progress,
    Rollback,
    Step,
    StepKind,
    Wait,
)
from mainstay.jobs.queues import ConnectedWorker, Explanation, Hindrance, HindranceKind, Queue
from mainstay.jobs.schedules import CatchUp, Schedule
from mainstay.jobs.steps import Steps
from mainstay.jobs.waits import ReceivedEvent, ReceivedSignal
from mainstay.jobs.worker import Worker

__all__ = [
    "AcceptedEvent",
    "Cancellation",
    "CatchUp",
    "ChildFailedError",
    "ConnectedWorker",
    "Debounce",
    "DeclaredFunction",
    "EnqueuedJob",
    "Event",
    "EventSchema",
    "Explanation",
    "Failure",
    "Function",
    "Hindrance",
    "HindranceKind",
    "Job",
    "JobClient",
    "JobContext",
    "JobFilter",
    "JobState",
    "JsonValue",
    "KeyedConcurrency",
    "NestedWaitError",
    "NonRetryableError",
    "Overflow",
    "OverflowPolicy",
    "PayloadError",
    "Progress",
    "Queue",
    "QueueDepth",
    "RateLimit",
    "ReceivedEvent",
    "ReceivedSignal",
    "ResultError",
    "RetryAfterError",
    "Rollback",
    "Schedule",
    "Step",
    "StepKeyError",
    "StepKind",
    "StepNotRunError",
    "StepRejectedError",
    "Steps",
    "VersionPolicy",
    "Wait",
    "Worker",
]
