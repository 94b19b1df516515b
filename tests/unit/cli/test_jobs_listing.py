"""What `mainstay jobs` prints in tables."""

from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from cli.jobs import declarations, listing
from cli.jobs.story import explanation, story
from mainstay.jobs import (
    Cancellation,
    CatchUp,
    ConnectedWorker,
    Debounce,
    DeclaredFunction,
    EventSchema,
    Explanation,
    Failure,
    Hindrance,
    HindranceKind,
    JobState,
    KeyedConcurrency,
    Overflow,
    OverflowPolicy,
    Progress,
    Queue,
    RateLimit,
    Schedule,
    Step,
    StepKind,
    VersionPolicy,
)
from tests.unit.cli.job_examples import JOB_ID, NOW, after, before, job

# Long, and like markup.
LONG = "[red]" + "f" * 90
FAILURE = Failure(kind="OSError", message=LONG, permanent=True)
SCHEDULE = Schedule(
    name=LONG,
    cron="0,15,30,45 0-23 1-31 1-12 1-5",
    time_zone="America/Argentina/Buenos_Aires",
    event="analytics/daily.aggregate",
    function="",
    data={},
    catch_up=CatchUp.LATEST,
    paused=False,
    next_time=after(hours=8, minutes=5),
    last_time=before(days=1),
    system=True,
)
QUEUE = Queue(
    name=LONG,
    ready=1_234_567,
    delayed=123_456,
    running=99_999,
    waiting=9_999,
    oldest_age=timedelta(days=29, hours=23, minutes=59),
    paused=True,
    accepted_rate=12_345.6,
    ended_rate=99.94,
    workers=123,
    dead_letters=1_234_567,
)
WORKER = ConnectedWorker(
    name=LONG,
    functions=(LONG, LONG),
    running=1_234,
    lease_expire_time=after(seconds=25),
    create_time=before(days=300, hours=23),
    tenant=LONG,
)
FUNCTION = DeclaredFunction(
    name=LONG,
    trigger="video/upload.completed",
    max_attempts=100,
    initial_backoff=timedelta(seconds=1),
    max_backoff=timedelta(minutes=5),
    version="v2",
    version_policy=VersionPolicy.PIN,
    timeout=timedelta(hours=1),
    hang_timeout=None,
    start_timeout=None,
    priority=0,
    concurrency=5,
    keyed_concurrency=KeyedConcurrency(key="/creator_id", limit=2),
    rate_limit=RateLimit(endpoint="video", subject="/creator_id"),
    debounce=Debounce(period=timedelta(seconds=30), key="/video_id"),
    idempotency="/video_id",
    overflow=Overflow(max_depth=1_000, max_age=timedelta(hours=1), policy=OverflowPolicy.SPILL),
    workers=2,
    update_time=NOW,
)
STEP = Step(
    key=LONG,
    result={"text": "x" * 500},
    attempt=1,
    end_time=before(minutes=2),
    kind=StepKind.INVOKE,
    compensable=True,
    compensate_time=before(minutes=1),
)
STORY = job(
    function=LONG,
    state=JobState.SUCCEEDED,
    version="v2",
    steps=(STEP,),
    start_time=before(minutes=50),
    end_time=before(minutes=1),
    event_name="video/upload.completed",
    schedule="nightly",
    priority=7,
    data={"video_id": "x" * 500},
    result=[1, 2],
    cancellation=Cancellation(reason="too long", rollback=True, request_time=before(minutes=3)),
    failure=Failure(kind="OSError", message="gone", permanent=False),
    progress=Progress(fraction=1.0, message="done", partial={"chunks": 3}),
)


def printed(*parts: str | Table) -> str:
    """Return what a terminal of 80 columns shows."""
    screen = Console(file=StringIO(), width=80, highlight=False)
    for part in parts:
        screen.print(part)
    assert isinstance(screen.file, StringIO)
    return screen.file.getvalue()


def squeezed(text: str) -> str:
    """Return a line without the room between its columns."""
    return " ".join(text.split())


class TestTables:
    @pytest.mark.parametrize(
        ("table", "facts"),
        [
            (
                listing.jobs([job(function=LONG)], NOW),
                (JOB_ID, "queued", "1 h ago"),
            ),
            (
                listing.jobs([job(state=JobState.RETRYING, attempt=99, max_attempts=100)], NOW),
                (JOB_ID, "process-video", "retrying 99/100"),
            ),
            (
                listing.dead_letters([job(function=LONG, failure=FAILURE)], NOW),
                (JOB_ID, "OSError:"),
            ),
            (
                listing.schedules([SCHEDULE, replace(SCHEDULE, next_time=None)], NOW),
                ("in 8 h", "paused", "1 d ago"),
            ),
            (
                listing.queues([QUEUE]),
                ("1.2M", "123k", "99k", "9,999", "29 d", "12k", "99.9", "123"),
            ),
            (listing.workers([WORKER], NOW), ("1,234", "in 25 s")),
            (
                listing.schemas(
                    [EventSchema(name=LONG, version=12, schema={"required": [LONG]}, built_in=True)]
                ),
                ("12", "a file"),
            ),
            (declarations.functions([FUNCTION]), ("100", "5 at once")),
            (declarations.declaration(FUNCTION), ("1 s apart at first and 5 min at most",)),
        ],
        ids=[
            "jobs",
            "a long state",
            "dead letters",
            "schedules",
            "queues",
            "workers",
            "schemas",
            "functions",
            "function",
        ],
    )
    def test_fit_a_terminal(self, table: Table, facts: tuple[str, ...]) -> None:
        """However long the names are, and whatever looks like markup; ids and figures are whole."""
        text = printed(table)

        assert [] == [fact for fact in facts if fact not in text]
        assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
        assert "…" not in text
        assert "process-video" in text or "[red]" in text

    def test_show_the_beginning_of_what_code_said(self) -> None:
        """A message may have 2,000 characters."""
        long = Failure(kind="OSError", message="x" * 2_000, permanent=False)
        text = printed(listing.dead_letters([job(failure=long)], NOW))

        assert "(show tells" in squeezed(text)
        assert len(text.splitlines()) < 20

    def test_of_usual_queues_have_a_line_each(self) -> None:
        """A name as people give it is not folded."""
        usual = replace(
            QUEUE, name="process-video", ready=120, delayed=4, running=5, waiting=12,
            oldest_age=timedelta(minutes=12, seconds=5), paused=False, accepted_rate=1.26,
            ended_rate=1 / 60, workers=2, dead_letters=1,
        )  # fmt: skip
        heading, row = printed(listing.queues([usual])).splitlines()

        assert "queue ready later run wait dead oldest in/s out/s workers" == squeezed(heading)
        assert "process-video 120 4 5 12 1 12 min 1.3 <0.1 2" == squeezed(row)


class TestBounds:
    def test_are_told_in_words(self) -> None:
        """Each that is declared."""
        assert [
            "5 at once",
            "2 at once per /creator_id",
            "rate of video for /creator_id",
            "1 h a turn",
            "after 30 s without another per /video_id",
            "once per /video_id",
            "queue of at most 1,000 jobs or 1 h, then spill",
        ] == list(declarations.bounds(FUNCTION))

    def test_may_be_none(self) -> None:
        """A function without any says so."""
        free = replace(
            FUNCTION, timeout=None, concurrency=0, keyed_concurrency=None, rate_limit=None,
            debounce=None, idempotency="", overflow=None,
        )  # fmt: skip

        assert [] == list(declarations.bounds(free))
        assert "bounds         none" in printed(declarations.declaration(free))


class TestStories:
    def test_tell_all_of_a_job(self) -> None:
        """Its life, what it was given, what came of it, and its steps."""
        text = printed(*story(STORY, NOW))

        facts = (
            "(version v2)",
            "succeeded",
            "asked for 3 min ago, undoing its steps: too long",
            "last failure  OSError: gone",
            "event video/upload.completed 0198f0a0",
            "of the schedule nightly",
            "accepted      2026-01-31 11:00:00 UTC, 1 h ago",
            "began         2026-01-31 11:10:00 UTC, 10 min later",
            "ended         2026-01-31 11:59:00 UTC, 1 min ago, after 49 min",
            "priority      7",
            "request id    r-1",
            '{"chunks":3}',
            "[1,2]",
            "invoke",
            "--json shows",
        )
        assert [] == [fact for fact in facts if fact not in text]
        assert max(len(line.rstrip()) for line in text.splitlines()) <= 80

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({"parent_job_id": "p"}, "the job p"),
            ({"schedule": "nightly"}, "a call of the schedule nightly"),
            ({}, "a call"),
        ],
    )
    def test_tell_what_started_it(self, changed: dict[str, Any], expected: str) -> None:
        """Another job, a schedule, or somebody."""
        lines = printed(*story(job(**changed), NOW)).splitlines()
        (told,) = [line for line in lines if line.startswith("started by")]

        assert expected == told.removeprefix("started by").strip()


class TestExplanations:
    def test_list_what_keeps_a_job(self) -> None:
        """The most binding first, with when it ends and when the job may start."""
        found = Explanation(
            job=job(ready_time=before(minutes=1)),
            hindrances=(
                Hindrance(kind=HindranceKind.PAUSED, message="its queue is paused", end_time=None),
                Hindrance(
                    kind=HindranceKind.RATE,
                    message="the rate is used up",
                    end_time=after(minutes=1),
                ),
            ),
            ahead=3,
            estimated_start_time=after(minutes=2),
            summary="the job does not run: …",
        )

        assert [
            f"{JOB_ID} (process-video): queued, waits for a worker",
            "what keeps it, the most binding first:",
            "  its queue is paused",
            "  the rate is used up (ends in 1 min)",
            "likely to start in 2 min",
        ] == list(explanation(found, NOW))

    def test_say_in_a_sentence_what_is_one(self) -> None:
        """Also that nothing keeps it."""
        found = Explanation(
            job=job(), hindrances=(), ahead=0, estimated_start_time=None, summary="about to start"
        )

        assert [f"{JOB_ID} (process-video): queued", "about to start"] == list(
            explanation(found, NOW)
        )
