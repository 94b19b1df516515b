"""Jobs: events, jobs and what steers them."""

import json
from collections.abc import Mapping
from dataclasses import replace

from google.protobuf.duration_pb2 import Duration

from mainstay.jobs.v1 import function_pb2, job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from mainstay.jobs.v1 import worker_service_pb2 as work_pb
from tests.integration.tenants.caller import Caller
from tests.integration.tenants.case import Answer, Case, Entry, Thing, asks

SERVICE = "mainstay.jobs.v1.JobService"
WORKER = "mainstay.jobs.v1.WorkerService"
EVENT = "video/upload.completed"


def method(name: str) -> str:
    return f"{SERVICE}.{name}"


def hello(thing: Thing) -> work_pb.Hello:
    """Return what a worker of the owner's one function says first."""
    declared = function_pb2.FunctionDefinition(name=thing.name, trigger=EVENT, max_attempts=1)
    return work_pb.Hello(worker=thing.name, functions=[declared])


async def a_function(owner: Caller, thing: Thing) -> Thing:
    """Have a worker declare a function."""
    await owner.ask(f"{WORKER}.Poll", work_pb.PollRequest(hello=hello(thing), max_jobs=0))
    return thing


async def a_job(owner: Caller, thing: Thing) -> Thing:
    """Start a job of that function; its data are secret."""
    await a_function(owner, thing)
    answer = await owner.ask(method("Enqueue"), order(thing, thing.secret))
    return replace(thing, id=answer.job_id)


def order(thing: Thing, data: str) -> pb.EnqueueRequest:
    return pb.EnqueueRequest(
        function=thing.name, json=json.dumps({"data": data}), idempotency_key=data
    )


async def a_held_job(owner: Caller, thing: Thing) -> Thing:
    """Have the worker take the job; remembers the session and the job's token."""
    made = await a_job(owner, thing)
    request = work_pb.PollRequest(hello=hello(made), max_jobs=1, wait=Duration(seconds=5))
    answer = await owner.ask(f"{WORKER}.Poll", request)
    (job,) = answer.jobs
    return replace(made, more=(answer.welcome.session, job.token))


async def a_dead_letter(owner: Caller, thing: Thing) -> Thing:
    """Have the job fail for good; the message is the owner's secret."""
    made = await a_held_job(owner, thing)
    session, token = made.more
    failed = work_pb.Failed(kind="ValueError", message=thing.secret, permanent=True)
    report = work_pb.Report(token=token, sequence=1, failed=failed)
    await owner.ask(f"{WORKER}.Report", work_pb.ReportRequest(session=session, reports=[report]))
    return made


async def job(owner: Caller, thing: Thing) -> object:
    found = (await owner.ask(method("GetJob"), pb.GetJobRequest(job_id=thing.id))).job
    return (found.state, found.revision, found.data_json, found.result_json)


async def jobs(owner: Caller, thing: Thing) -> object:
    """Return the jobs of the function."""
    request = pb.ListJobsRequest(filter=pb.JobFilter(function=thing.name))
    return sorted(each.job_id for each in (await owner.ask(method("ListJobs"), request)).jobs)


async def watch_until_told(caller: Caller, thing: Thing, name: str) -> Answer:
    """Return the first state that a stream tells."""
    one = pb.WatchJobRequest(job_id=thing.id)
    request = one if name == "WatchJob" else pb.WatchJobsRequest(jobs=[one])
    async with caller.stream(method(name), request) as stream:
        told: pb.WatchJobResponse = await stream.read()
        return told


async def watch_one(caller: Caller, thing: Thing) -> Answer:
    return await watch_until_told(caller, thing, "WatchJob")


async def watch_many(caller: Caller, thing: Thing) -> Answer:
    return await watch_until_told(caller, thing, "WatchJobs")


def an_event(thing: Thing) -> pb.SendEventsRequest:
    """Return an event that starts the owner's function, under a key that the owner has used."""
    video = {
        "video_id": thing.name,
        "creator_id": "c",
        "source_url": "https://media.example.com/v.mp4",
        "duration_seconds": 1.0,
    }
    event = pb.Event(name=EVENT, json=json.dumps(video), idempotency_key=thing.name)
    return pb.SendEventsRequest(events=[event])


async def a_sent_event(owner: Caller, thing: Thing) -> Thing:
    made = await a_function(owner, thing)
    await owner.ask(method("SendEvents"), an_event(thing))
    return made


def lists(answer: pb.ListJobsResponse, thing: Thing) -> bool:
    return any(each.job_id == thing.id or each.function == thing.name for each in answer.jobs)


def dead(_: Thing) -> pb.JobFilter:
    return pb.JobFilter(states=[job_pb2.JOB_STATE_DEAD_LETTERED])


CASES: Mapping[str, Entry] = {
    "SendEvents": Case(
        make=a_sent_event,
        reach=asks(method("SendEvents"), an_event),
        shows=lambda answer, _: any(each.duplicate for each in answer.events),
        state=jobs,
    ),
    "Enqueue": Case(
        make=a_job,
        reach=asks(method("Enqueue"), lambda t: order(t, "another's")),
        refused=True,
        state=jobs,
        changes=True,
    ),
    "GetJob": Case(
        make=a_job,
        reach=asks(method("GetJob"), lambda t: pb.GetJobRequest(job_id=t.id)),
        refused=True,
        state=job,
    ),
    "ListJobs": Case(
        make=a_job,
        reach=asks(method("ListJobs"), lambda _: pb.ListJobsRequest(page_size=500)),
        shows=lists,
        state=job,
    ),
    "WatchJob": Case(make=a_job, reach=watch_one, refused=True, state=job),
    "WatchJobs": Case(make=a_job, reach=watch_many, refused=True, state=job),
    "CancelJob": Case(
        make=a_job,
        reach=asks(method("CancelJob"), lambda t: pb.CancelJobRequest(job_id=t.id)),
        refused=True,
        state=job,
        changes=True,
    ),
    "RetryJob": Case(
        make=a_dead_letter,
        reach=asks(method("RetryJob"), lambda t: pb.RetryJobRequest(job_id=t.id)),
        refused=True,
        state=job,
        changes=True,
    ),
    "SignalJob": Case(
        make=a_job,
        reach=asks(method("SignalJob"), lambda t: pb.SignalJobRequest(job_id=t.id, name="go")),
        refused=True,
        state=job,
    ),
    "ExplainJob": Case(
        make=a_job,
        reach=asks(method("ExplainJob"), lambda t: pb.ExplainJobRequest(job_id=t.id)),
        refused=True,
        state=job,
    ),
    "ListDeadLetters": Case(
        make=a_dead_letter,
        reach=asks(method("ListDeadLetters"), lambda _: pb.ListDeadLettersRequest(page_size=500)),
        shows=lists,
        state=job,
    ),
    "ReplayDeadLetters": Case(
        make=a_dead_letter,
        reach=asks(
            method("ReplayDeadLetters"), lambda t: pb.ReplayDeadLettersRequest(job_ids=[t.id])
        ),
        shows=lambda answer, t: t.id in answer.job_ids,
        state=job,
        changes=True,
    ),
    "DiscardDeadLetters": Case(
        make=a_dead_letter,
        reach=asks(
            method("DiscardDeadLetters"), lambda t: pb.DiscardDeadLettersRequest(job_ids=[t.id])
        ),
        shows=lambda answer, t: t.id in answer.job_ids,
        state=job,
        changes=True,
    ),
}
