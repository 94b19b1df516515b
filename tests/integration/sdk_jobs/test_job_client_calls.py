"""Every method of the client says what the caller says, and returns what the service says."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.channel import Channel
from mainstay.errors import UnavailableError, ValidationError
from mainstay.jobs import (
    CatchUp,
    ConnectedWorker,
    EventSchema,
    Explanation,
    Hindrance,
    HindranceKind,
    JobClient,
    JobFilter,
    JobState,
    Queue,
    QueueDepth,
    Schedule,
)
from mainstay.jobs.functions import parse_function
from mainstay.jobs.job_messages import parse_job
from mainstay.jobs.v1 import function_pb2, job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from tests.integration.sdk_jobs.scripted_jobs import SERVICE, End, ScriptedJobs

WHEN = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
STAMP = Timestamp(seconds=int(WHEN.timestamp()))
UNAVAILABLE = End(grpc.StatusCode.UNAVAILABLE, "restarting")
MISTAKE: Any = {"at": object()}
NEVER: Any = CatchUp.UNKNOWN

JOB = job_pb2.Job(job_id="j", function="mail", state=job_pb2.JOB_STATE_RUNNING, create_time=STAMP)
FUNCTION = function_pb2.FunctionDefinition(name="mail", concurrency=5)
WIRE_QUEUE = job_pb2.Queue(
    name="mail", ready=1, delayed=2, running=3, waiting=4, oldest_age=Duration(seconds=90),
    paused=True, accepted_rate=0.5, ended_rate=0.25, workers=6, dead_letters=7,
)  # fmt: skip
QUEUE = Queue(
    name="mail", ready=1, delayed=2, running=3, waiting=4, oldest_age=timedelta(seconds=90),
    paused=True, accepted_rate=0.5, ended_rate=0.25, workers=6, dead_letters=7,
)  # fmt: skip
WIRE_SCHEDULE = job_pb2.Schedule(
    name="nightly", cron="0 3 * * *", time_zone="Europe/Berlin", event="a/b",
    data_json='{"day":"{date}"}', catch_up=job_pb2.CATCH_UP_ALL, paused=True,
)  # fmt: skip
SCHEDULE = Schedule(
    name="nightly", cron="0 3 * * *", time_zone="Europe/Berlin", event="a/b", function="",
    data={"day": "{date}"}, catch_up=CatchUp.ALL, paused=True, next_time=None, last_time=None,
    system=False,
)  # fmt: skip
WIRE_SCHEMA = job_pb2.EventSchema(
    name="a/b", version=2, schema_json='{"type":"object"}', built_in=True
)
SCHEMA = EventSchema(name="a/b", version=2, schema={"type": "object"}, built_in=True)
WIRE_WORKER = job_pb2.Worker(
    name="w", functions=["mail"], running=2, lease_expire_time=STAMP, create_time=STAMP, tenant="*"
)
WORKER = ConnectedWorker(
    name="w", functions=("mail",), running=2, lease_expire_time=WHEN, create_time=WHEN, tenant="*"
)
EXPLAINED = pb.ExplainJobResponse(
    job=JOB,
    hindrances=[
        pb.Hindrance(kind=pb.HINDRANCE_KIND_CAP, message="5 of 5 run", end_time=STAMP),
        pb.Hindrance(kind=99, message="something new"),  # type: ignore[arg-type]
    ],
    ahead=3,
    estimated_start_time=STAMP,
    summary="it waits",
)
EXPLANATION = Explanation(
    job=parse_job(JOB),
    hindrances=(
        Hindrance(kind=HindranceKind.CAP, message="5 of 5 run", end_time=WHEN),
        Hindrance(kind=HindranceKind.UNKNOWN, message="something new", end_time=None),
    ),
    ahead=3,
    estimated_start_time=WHEN,
    summary="it waits",
)
FILTER = JobFilter(
    states=frozenset({JobState.QUEUED}), function="mail", event_id="e", request_id="r",
    since=WHEN, until=WHEN, failure_kind="OSError",
)  # fmt: skip
WIRE_FILTER = pb.JobFilter(
    states=[job_pb2.JOB_STATE_QUEUED], function="mail", event_id="e", request_id="r",
    create_time_from=STAMP, create_time_to=STAMP, failure_kind="OSError",
)  # fmt: skip

Call = Callable[[JobClient], Awaitable[Any]]

SINGLE: dict[str, tuple[Call, Message, Message, Any]] = {
    "GetJob": (
        lambda jobs: jobs.get_job("j"),
        pb.GetJobRequest(job_id="j"),
        pb.GetJobResponse(job=JOB),
        parse_job(JOB),
    ),
    "CancelJob": (
        lambda jobs: jobs.cancel_job("j", rollback=True, reason="why"),
        pb.CancelJobRequest(job_id="j", rollback=True, reason="why"),
        pb.CancelJobResponse(job=JOB),
        parse_job(JOB),
    ),
    "RetryJob": (
        lambda jobs: jobs.retry_job("j"),
        pb.RetryJobRequest(job_id="j"),
        pb.RetryJobResponse(job=JOB),
        parse_job(JOB),
    ),
    "SignalJob": (
        lambda jobs: jobs.signal_job("j", "approved", {"by": "ü"}),
        pb.SignalJobRequest(job_id="j", name="approved", data_json='{"by":"ü"}'),
        pb.SignalJobResponse(),
        None,
    ),
    "ExplainJob": (
        lambda jobs: jobs.explain_job("j"),
        pb.ExplainJobRequest(job_id="j"),
        EXPLAINED,
        EXPLANATION,
    ),
    "PutSchedule": (
        lambda jobs: jobs.put_schedule(
            "nightly", "0 3 * * *", event="a/b", data={"day": "{date}"},
            time_zone="Europe/Berlin", catch_up=CatchUp.ALL, paused=True,
        ),
        pb.PutScheduleRequest(schedule=WIRE_SCHEDULE),
        pb.PutScheduleResponse(schedule=WIRE_SCHEDULE),
        SCHEDULE,
    ),
    "DeleteSchedule": (
        lambda jobs: jobs.delete_schedule("nightly"),
        pb.DeleteScheduleRequest(name="nightly"),
        pb.DeleteScheduleResponse(),
        None,
    ),
    "PauseSchedule": (
        lambda jobs: jobs.pause_schedule("nightly"),
        pb.PauseScheduleRequest(name="nightly", paused=True),
        pb.PauseScheduleResponse(schedule=WIRE_SCHEDULE),
        SCHEDULE,
    ),
    "PauseQueue": (
        lambda jobs: jobs.pause_queue("mail"),
        pb.PauseQueueRequest(name="mail"),
        pb.PauseQueueResponse(queue=WIRE_QUEUE),
        QUEUE,
    ),
    "ResumeQueue": (
        lambda jobs: jobs.resume_queue("mail"),
        pb.ResumeQueueRequest(name="mail"),
        pb.ResumeQueueResponse(queue=WIRE_QUEUE),
        QUEUE,
    ),
    "PutEventSchema": (
        lambda jobs: jobs.put_event_schema("a/b", 2, {"type": "object"}, breaking=True),
        pb.PutEventSchemaRequest(
            name="a/b", version=2, schema_json='{"type":"object"}', breaking=True
        ),
        pb.PutEventSchemaResponse(schema=WIRE_SCHEMA),
        SCHEMA,
    ),
    "GetFunction": (
        lambda jobs: jobs.get_function("mail"),
        pb.GetFunctionRequest(name="mail"),
        pb.GetFunctionResponse(function=FUNCTION, workers=2, update_time=STAMP),
        parse_function(FUNCTION, workers=2, update_time=WHEN),
    ),
    "GetDepth": (
        lambda jobs: jobs.get_depth(),
        pb.GetDepthRequest(),
        pb.GetDepthResponse(
            ready=1, delayed=2, running=3, dead_letters=4, workers=5,
            oldest_age=Duration(seconds=6), measure_time=STAMP, age=Duration(seconds=7),
        ),
        QueueDepth(
            ready=1, delayed=2, running=3, dead_letters=4, workers=5,
            oldest_age=timedelta(seconds=6), measure_time=WHEN, age=timedelta(seconds=7),
        ),
    ),
}  # fmt: skip

LISTS: dict[str, tuple[Callable[[JobClient], AsyncIterator[Any]], str, Message, Any]] = {
    "ListJobs": (lambda jobs: jobs.list_jobs(FILTER), "jobs", JOB, parse_job(JOB)),
    "ListDeadLetters": (lambda jobs: jobs.list_dead_letters(FILTER), "jobs", JOB, parse_job(JOB)),
    "ListSchedules": (
        lambda jobs: jobs.list_schedules(), "schedules", WIRE_SCHEDULE, SCHEDULE
    ),
    "ListQueues": (lambda jobs: jobs.list_queues(), "queues", WIRE_QUEUE, QUEUE),
    "ListEventSchemas": (
        lambda jobs: jobs.list_event_schemas("a/b"), "schemas", WIRE_SCHEMA, SCHEMA
    ),
    "ListFunctions": (
        lambda jobs: jobs.list_functions(), "functions", FUNCTION, parse_function(FUNCTION)
    ),
    "ListWorkers": (lambda jobs: jobs.list_workers(), "workers", WIRE_WORKER, WORKER),
}  # fmt: skip

BULK: dict[str, Callable[[JobClient, Sequence[str] | JobFilter], Awaitable[Any]]] = {
    "ReplayDeadLetters": lambda jobs, letters: jobs.replay_dead_letters(letters),
    "DiscardDeadLetters": lambda jobs, letters: jobs.discard_dead_letters(letters),
}
# In modules of their own.
ELSEWHERE = {"SendEvents", "Enqueue", "WatchJob", "WatchJobs"}
# What would be done twice: it may have arrived although the call seems to have failed.
ONCE = {"RetryJob", "SignalJob", "DeleteSchedule"}


@pytest.fixture
async def client(scripted_jobs: ScriptedJobs) -> AsyncIterator[JobClient]:
    """Call the scripted service."""
    async with Channel(scripted_jobs.address) as channel:
        yield JobClient(channel)


def answer(method: str, **fields: Any) -> Message:
    """Return the response of a method."""
    made: Message = getattr(pb, f"{method}Response")(**fields)
    return made


class TestEveryMethod:
    def test_has_its_test(self) -> None:
        """One that is added to the contract is added here."""
        tested = SINGLE.keys() | LISTS.keys() | BULK.keys() | ELSEWHERE

        assert {method.name for method in SERVICE.methods} == tested


@pytest.mark.parametrize("method", SINGLE)
class TestCalls:
    async def test_carry_what_was_said(
        self, method: str, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """To the service, and back."""
        call, request, response, expected = SINGLE[method]
        scripted_jobs.will(method, response)

        assert expected == await call(client)
        assert [request] == scripted_jobs.asked(method)

    async def test_are_repeated_where_that_is_safe(
        self, method: str, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """And nowhere else."""
        call, _, response, expected = SINGLE[method]
        scripted_jobs.will(method, UNAVAILABLE, response)

        if method in ONCE:
            with pytest.raises(UnavailableError, match="restarting"):
                await call(client)
        else:
            assert expected == await call(client)


@pytest.mark.parametrize("method", LISTS)
class TestLists:
    async def test_are_read_page_by_page(
        self, method: str, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """Each with the token of the one before, also after an error; a page may be empty."""
        listed, field, item, expected = LISTS[method]
        scripted_jobs.will(
            method,
            answer(method, **{field: [item, item]}, next_page_token="t1"),
            UNAVAILABLE,
            answer(method, next_page_token="t2"),
            answer(method, **{field: [item]}),
        )

        assert [expected] * 3 == [each async for each in listed(client)]
        asked = scripted_jobs.asked(method)
        assert ["", "t1", "t1", "t2"] == [request.page_token for request in asked]

    async def test_are_not_read_further_than_wanted(
        self, method: str, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """Who wants the first only does not wait for the rest."""
        listed, field, item, expected = LISTS[method]
        scripted_jobs.will(method, answer(method, **{field: [item]}, next_page_token="t1"))

        assert expected == await anext(listed(client))
        assert 1 == len(scripted_jobs.asked(method))


class TestFilters:
    @pytest.mark.parametrize("method", ["ListJobs", "ListDeadLetters"])
    async def test_travel_whole(
        self, method: str, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """With every field."""
        scripted_jobs.will(method, answer(method))

        assert [] == [each async for each in LISTS[method][0](client)]
        assert WIRE_FILTER == scripted_jobs.asked(method)[0].filter

    @pytest.mark.parametrize(
        ("mistaken", "field"),
        [
            (JobFilter(states=frozenset({JobState.UNKNOWN})), "filter.states"),
            (JobFilter(since=datetime(2026, 1, 1)), "filter.since"),  # noqa: DTZ001
            (JobFilter(until=datetime(2026, 1, 1)), "filter.until"),  # noqa: DTZ001
        ],
        ids=["state", "since", "until"],
    )
    async def test_that_say_nothing_are_refused(
        self, mistaken: JobFilter, field: str, client: JobClient
    ) -> None:
        """A state that is none, and moments that belong to no time zone."""
        with pytest.raises(ValidationError) as caught:
            client.list_jobs(mistaken)
        assert [field] == list(caught.value.fields)


@pytest.mark.parametrize("method", BULK)
class TestBulk:
    async def test_goes_on_while_more_fit(
        self, method: str, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """A thousand at a time; what fits again meanwhile is dealt with once."""
        scripted_jobs.will(
            method,
            answer(method, job_ids=["a", "b"], more=True),
            answer(method, job_ids=["c", "a"], more=True),
            answer(method, job_ids=["a", "b"], more=True),
        )

        assert ("a", "b", "c") == await BULK[method](client, FILTER)
        asked = scripted_jobs.asked(method)
        assert [WIRE_FILTER] * 3 == [request.filter for request in asked]
        assert [] == [job_id for request in asked for job_id in request.job_ids]

    async def test_names_a_thousand_in_a_call(
        self, method: str, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """And no filter."""
        named = [str(number) for number in range(1_001)]
        scripted_jobs.will(method, answer(method, job_ids=["0"]), answer(method, job_ids=["1000"]))

        assert ("0", "1000") == await BULK[method](client, named)
        first, second = scripted_jobs.asked(method)
        assert (named[:1_000], ["1000"]) == (first.job_ids, second.job_ids)
        assert (False, False) == (first.HasField("filter"), second.HasField("filter"))

    async def test_of_an_empty_filter_is_of_all(
        self, method: str, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """It is sent, because a call without one makes no sense."""
        scripted_jobs.will(method, answer(method))

        assert () == await BULK[method](client, JobFilter())
        assert scripted_jobs.asked(method)[0].HasField("filter")

    async def test_of_nothing_asks_nothing(
        self, method: str, scripted_jobs: ScriptedJobs, client: JobClient
    ) -> None:
        """An empty list is not: all."""
        assert () == await BULK[method](client, [])
        assert [] == scripted_jobs.asked(method)
