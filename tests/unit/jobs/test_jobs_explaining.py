"""Why a job does not run: one answer for everything that may hold it back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from services.jobs.explaining import HindranceKind, QueueFacts, explain
from services.jobs.job import EventId, Failure, Job, JobId, StepKind, Wait
from services.jobs.states import JobState

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
JOB = Job(
    job_id=JobId(UUID(int=1)),
    tenant="acme",
    function="process-video",
    event_id=EventId(UUID(int=2)),
    state=JobState.QUEUED,
    revision=1,
    attempt=0,
    max_attempts=3,
    steps=(),
    progress=None,
    result=None,
    failure=None,
    request_id="r",
    worker="",
    create_time=NOW,
    start_time=None,
    ready_time=NOW,
    end_time=None,
)
FACTS = QueueFacts(
    now=NOW,
    ready=True,
    delayed=False,
    ahead=0,
    workers=2,
    same_version=0,
    pin="",
    running=0,
    running_of_key=0,
    limit=0,
    key_limit=0,
    key="",
    rate_endpoint="",
    rate_subject="",
    paused=False,
    started_rate=0.0,
)


class TestReady:
    @pytest.mark.parametrize(
        ("facts", "kind", "says"),
        [
            ({"paused": True}, HindranceKind.PAUSED, "resume it"),
            ({"workers": 0}, HindranceKind.NO_WORKER, "start one"),
            ({"pin": "v1"}, HindranceKind.OTHER_VERSION, "version v1 only"),
            ({"limit": 5, "running": 5}, HindranceKind.CAP, "5 of its function run"),
            (
                {"key_limit": 1, "running_of_key": 1, "key": "c-7"},
                HindranceKind.KEY_CAP,
                "key 'c-7'",
            ),
            ({"ahead": 1}, HindranceKind.TURN, "1 job goes before it"),
            ({"ahead": 10_000}, HindranceKind.TURN, "10,000 or more"),
            ({}, HindranceKind.NO_CREDIT, "busy"),
        ],
    )
    def test_one(self, facts: dict[str, object], kind: HindranceKind, says: str) -> None:
        """Each hindrance is named, with what would end it."""
        found = explain(JOB, replace(FACTS, **facts), rate_denied_until=None)  # type: ignore[arg-type]

        assert [kind] == [hindrance.kind for hindrance in found.hindrances]
        assert says in found.summary

    def test_rate(self) -> None:
        """A refusal of the rate limit service says until when."""
        facts = replace(FACTS, rate_endpoint="jobs/email")
        found = explain(JOB, facts, rate_denied_until=LATER)

        assert HindranceKind.RATE == found.hindrances[0].kind
        assert LATER == found.estimated_start

    def test_several(self) -> None:
        """All that holds is told, not only the first."""
        facts = replace(FACTS, paused=True, workers=0, ahead=7)
        found = explain(JOB, facts, rate_denied_until=None)

        assert ["PAUSED", "NO_WORKER", "TURN"] == [each.kind.name for each in found.hindrances]
        assert (7, None) == (found.ahead, found.estimated_start)

    def test_estimate(self) -> None:
        """A queue that moves says when it is likely to be this job's turn."""
        facts = replace(FACTS, ahead=19, started_rate=2.0)

        found = explain(JOB, facts, rate_denied_until=None)
        assert NOW + timedelta(seconds=10) == found.estimated_start


class TestElsewhere:
    def test_over(self) -> None:
        """A job that has ended waits for nothing."""
        job = replace(JOB, state=JobState.SUCCEEDED, end_time=NOW, ready_time=None)
        found = explain(job, None, rate_denied_until=None)

        assert [HindranceKind.OVER] == [each.kind for each in found.hindrances]
        assert "succeeded at 2026-05-01T12:00:00Z" in found.summary

    def test_running(self) -> None:
        """A job in a worker's hands is held back by nothing."""
        job = replace(JOB, state=JobState.RUNNING, worker="w-1", ready_time=None)
        found = explain(job, replace(FACTS, ready=False), rate_denied_until=None)

        assert () == found.hindrances
        assert "the job runs, at worker w-1" == found.summary

    def test_retry(self) -> None:
        """A job that waits for its next attempt says why and until when."""
        failure = Failure(kind="TimeoutError", message="slow")
        job = replace(JOB, state=JobState.RETRYING, attempt=1, failure=failure, ready_time=LATER)
        facts = replace(FACTS, ready=False, delayed=True)
        found = explain(job, facts, rate_denied_until=None)

        assert (HindranceKind.NOT_DUE, LATER) == (
            found.hindrances[0].kind,
            found.hindrances[0].end_time,
        )
        assert "attempt 1 failed with TimeoutError" in found.summary
        assert LATER == found.estimated_start

    def test_waiting(self) -> None:
        """A job that waits says for what, and when the first wait ends."""
        waits = (
            Wait(key="approval", kind=StepKind.SIGNAL, subject="approved", due_time=LATER),
            Wait(key="nap", kind=StepKind.SLEEP, subject="", due_time=LATER + timedelta(hours=1)),
        )
        job = replace(JOB, state=JobState.WAITING, waits=waits, ready_time=None)
        found = explain(job, replace(FACTS, ready=False), rate_denied_until=None)

        assert HindranceKind.WAITING == found.hindrances[0].kind
        assert "step 'approval' waits for the signal approved" in found.summary
        assert LATER == found.estimated_start
