"""Durable jobs: `JobClient` sends events and watches jobs, `Worker` runs them."""

from mainstay.jobs.client import JobClient
from mainstay.jobs.errors import (
    NonRetryableError,
    ResultError,
    RetryAfterError,
    StepKeyError,
    StepRejectedError,
)
from mainstay.jobs.job_context import JobContext
from mainstay.jobs.json_text import JsonValue
from mainstay.jobs.model import AcceptedEvent, Event, Failure, Job, JobState, Progress, Step
from mainstay.jobs.steps import Steps
from mainstay.jobs.worker import Worker

__all__ = [
    "AcceptedEvent",
    "Event",
    "Failure",
    "Job",
    "JobClient",
    "JobContext",
    "JobState",
    "JsonValue",
    "NonRetryableError",
    "Progress",
    "ResultError",
    "RetryAfterError",
    "Step",
    "StepKeyError",
    "StepRejectedError",
    "Steps",
    "Worker",
]
