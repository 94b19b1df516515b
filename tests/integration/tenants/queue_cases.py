"""Jobs: schedules, queues, contracts, functions and workers."""

import json
from collections.abc import Mapping

import grpc
from google.protobuf.duration_pb2 import Duration

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from mainstay.jobs.v1 import worker_service_pb2 as work_pb
from tests.integration.tenants.caller import Caller
from tests.integration.tenants.case import Answer, Case, Entry, ForOperators, Thing, asks
from tests.integration.tenants.job_cases import (
    WORKER,
    a_function,
    a_held_job,
    a_job,
    hello,
    job,
    method,
)

A_SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
ANOTHER = {"type": "object", "properties": {"b": {"type": "integer"}}}
LITTLE = Duration(nanos=300_000_000)


def schedule(thing: Thing, data: str) -> pb.PutScheduleRequest:
    return pb.PutScheduleRequest(
        schedule=job_pb2.Schedule(
            name=thing.name,
            cron="0 3 * * *",
            function=thing.name,
            data_json=json.dumps({"data": data}),
        )
    )


async def a_schedule(owner: Caller, thing: Thing) -> Thing:
    await a_function(owner, thing)
    await owner.ask(method("PutSchedule"), schedule(thing, thing.secret))
    return thing


async def schedules(owner: Caller, _: Thing) -> object:
    answer = await owner.ask(method("ListSchedules"), pb.ListSchedulesRequest(page_size=500))
    return sorted((each.name, each.data_json, each.paused) for each in answer.schedules)


async def put_schedule(caller: Caller, thing: Thing) -> Answer:
    """Put a schedule of the same name; it needs a function of the caller's own."""
    await a_function(caller, thing)
    answer: pb.PutScheduleResponse = await caller.ask(
        method("PutSchedule"), schedule(thing, "another's")
    )
    return answer


async def queues(owner: Caller, thing: Thing) -> object:
    answer = await owner.ask(method("ListQueues"), pb.ListQueuesRequest(page_size=500))
    return [(each.name, each.paused) for each in answer.queues if each.name == thing.name]


async def a_paused_queue(owner: Caller, thing: Thing) -> Thing:
    made = await a_job(owner, thing)
    await owner.ask(method("PauseQueue"), pb.PauseQueueRequest(name=thing.name))
    return made


def contract(thing: Thing, schema: object) -> pb.PutEventSchemaRequest:
    return pb.PutEventSchemaRequest(
        name=f"{thing.name}/happened", version=1, schema_json=json.dumps(schema)
    )


async def a_contract(owner: Caller, thing: Thing) -> Thing:
    await owner.ask(method("PutEventSchema"), contract(thing, A_SCHEMA))
    return thing


async def contracts(owner: Caller, thing: Thing) -> object:
    request = pb.ListEventSchemasRequest(name=f"{thing.name}/happened")
    answer = await owner.ask(method("ListEventSchemas"), request)
    return [(each.version, json.loads(each.schema_json)) for each in answer.schemas]


async def poll(caller: Caller, thing: Thing) -> Answer:
    """Ask for the jobs of the owner's function, in the name of the owner's worker."""
    answer: work_pb.PollResponse = await caller.ask(
        f"{WORKER}.Poll", work_pb.PollRequest(hello=hello(thing), max_jobs=5, wait=LITTLE)
    )
    return answer


async def work(caller: Caller, thing: Thing) -> Answer:
    """Open a session for the owner's function and return the jobs that it gets.

    A job of the caller's own ends the wait: the owner's was there before.
    """
    first = work_pb.SessionRequest(hello=hello(thing))
    credit = work_pb.SessionRequest(credit=work_pb.Credit(jobs=5))
    taken: list[work_pb.AssignedJob] = []
    async with caller.stream(f"{WORKER}.Session", first) as stream:
        await stream.read()
        request = pb.EnqueueRequest(function=thing.name, json="{}")
        own = (await caller.ask(method("Enqueue"), request)).job_id
        await stream.write(credit)
        while not any(each.job_id == own for each in taken):
            taken += (await stream.read()).jobs.jobs
    return taken


def report(thing: Thing) -> work_pb.ReportRequest:
    """Return the end of the owner's job, in the owner's session."""
    session, token = thing.more
    ended = work_pb.Report(token=token, sequence=1, completed=work_pb.Completed(result_json="1"))
    return work_pb.ReportRequest(session=session, reports=[ended])


def assigned(taken: list[work_pb.AssignedJob], thing: Thing) -> bool:
    return any(each.job_id == thing.id for each in taken)


CASES: Mapping[str, Entry] = {
    "PutSchedule": Case(make=a_schedule, reach=put_schedule, state=schedules, changes=True),
    "ListSchedules": Case(
        make=a_schedule,
        reach=asks(method("ListSchedules"), lambda _: pb.ListSchedulesRequest(page_size=500)),
        shows=lambda answer, t: any(each.name == t.name for each in answer.schedules),
        state=schedules,
    ),
    "DeleteSchedule": Case(
        make=a_schedule,
        reach=asks(method("DeleteSchedule"), lambda t: pb.DeleteScheduleRequest(name=t.name)),
        refused=True,
        state=schedules,
        changes=True,
    ),
    "PauseSchedule": Case(
        make=a_schedule,
        reach=asks(
            method("PauseSchedule"), lambda t: pb.PauseScheduleRequest(name=t.name, paused=True)
        ),
        refused=True,
        state=schedules,
        changes=True,
    ),
    "PauseQueue": Case(
        make=a_job,
        reach=asks(method("PauseQueue"), lambda t: pb.PauseQueueRequest(name=t.name)),
        refused=True,
        state=queues,
        changes=True,
    ),
    "ResumeQueue": Case(
        make=a_paused_queue,
        reach=asks(method("ResumeQueue"), lambda t: pb.ResumeQueueRequest(name=t.name)),
        refused=True,
        state=queues,
        changes=True,
    ),
    "ListQueues": Case(
        make=a_job,
        reach=asks(method("ListQueues"), lambda _: pb.ListQueuesRequest(page_size=500)),
        shows=lambda answer, t: any(each.name == t.name for each in answer.queues),
        state=queues,
    ),
    # The same name and version with another content is another contract of another tenant.
    "PutEventSchema": Case(
        make=a_contract,
        reach=asks(method("PutEventSchema"), lambda t: contract(t, ANOTHER)),
        state=contracts,
        owner_refused=grpc.StatusCode.ALREADY_EXISTS,
    ),
    "ListEventSchemas": Case(
        make=a_contract,
        reach=asks(method("ListEventSchemas"), lambda _: pb.ListEventSchemasRequest(page_size=500)),
        shows=lambda answer, t: any(t.name in each.name for each in answer.schemas),
        state=contracts,
    ),
    "GetFunction": Case(
        make=a_function,
        reach=asks(method("GetFunction"), lambda t: pb.GetFunctionRequest(name=t.name)),
        refused=True,
    ),
    "ListFunctions": Case(
        make=a_function,
        reach=asks(method("ListFunctions"), lambda _: pb.ListFunctionsRequest(page_size=500)),
        shows=lambda answer, t: any(each.name == t.name for each in answer.functions),
    ),
    "ListWorkers": Case(
        make=a_function,
        reach=asks(method("ListWorkers"), lambda _: pb.ListWorkersRequest(page_size=500)),
        shows=lambda answer, t: any(each.name == t.name for each in answer.workers),
    ),
    "GetDepth": ForOperators(reason="It is the sum over all tenants."),
}

WORKER_CASES: Mapping[str, Entry] = {
    "Session": Case(make=a_job, reach=work, shows=assigned),
    "Poll": Case(
        make=a_job,
        reach=poll,
        shows=lambda answer, t: any(each.job_id == t.id for each in answer.jobs),
        state=job,
        changes=True,
    ),
    "Report": Case(
        make=a_held_job,
        reach=asks(f"{WORKER}.Report", report),
        refused=True,
        state=job,
        changes=True,
    ),
}
