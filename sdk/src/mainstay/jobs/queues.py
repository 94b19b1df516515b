"""Queues, functions and workers, as operators see and steer them, and why a job does not run."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from mainstay.jobs.calls import PAGE_SIZE, Calls, all_pages
from mainstay.jobs.conversions import by_number, length_of, time_of, utc
from mainstay.jobs.functions import DeclaredFunction, parse_function
from mainstay.jobs.job_messages import parse_job
from mainstay.jobs.model import Job
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The line in which the jobs of one function wait.

    Attributes:
        name: The function.
        ready: Jobs that could start now.
        delayed: Jobs that wait for their time.
        running: Jobs in the hands of workers.
        waiting: Jobs that sleep or wait for something.
        oldest_age: How long the ready job that has waited longest has waited; None without one.
        paused: Whether jobs are held back.
        accepted_rate: Jobs accepted in the last minute, per second.
        ended_rate: Jobs ended in the last minute, per second.
        workers: Connected workers that serve it.
        dead_letters: Its dead letters.

    """

    name: str
    ready: int
    delayed: int
    running: int
    waiting: int
    oldest_age: timedelta | None
    paused: bool
    accepted_rate: float
    ended_rate: float
    workers: int
    dead_letters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedWorker:
    """A worker that is connected, or was and may come back.

    Attributes:
        name: Its name.
        functions: Those that it has.
        running: Jobs in its hands.
        lease_expire_time: When its jobs go to others unless it beats.
        create_time: Since when it has its session.
        tenant: Whose jobs it does; `*` for those of all.

    """

    name: str
    functions: tuple[str, ...]
    running: int
    lease_expire_time: datetime
    create_time: datetime
    tenant: str


class HindranceKind(Enum):
    """What keeps a job from running."""

    UNKNOWN = "unknown"
    """Something that this release of the SDK does not know."""
    OVER = "over"
    """It is over."""
    NOT_DUE = "not_due"
    """It waits for its time: a delay, a retry, a debounce or a spill."""
    WAITING = "waiting"
    """It sleeps, or waits for an event, a signal or another job."""
    PAUSED = "paused"
    """Its queue is paused."""
    NO_WORKER = "no_worker"
    """No worker is connected that has its function."""
    OTHER_VERSION = "other_version"
    """No worker is connected that has its version of the function."""
    NO_CREDIT = "no_credit"
    """Every worker that has its function is busy."""
    CAP = "cap"
    """As many of its function run as may."""
    KEY_CAP = "key_cap"
    """As many with its key run as may."""
    RATE = "rate"
    """The rate of its function is used up."""
    TURN = "turn"
    """Other jobs go before it."""


_HINDRANCE_KINDS = by_number(pb.HindranceKind, "HINDRANCE_KIND_", HindranceKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindrance:
    """One thing that keeps a job from running.

    Attributes:
        kind: Which.
        message: What it is, and what would end it, for people.
        end_time: When it ends by itself; None when that is unknown or it does not.

    """

    kind: HindranceKind
    message: str
    end_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a job is not running.

    Attributes:
        job: The job, without its steps.
        hindrances: The most binding first; none when it runs or is about to.
        ahead: Jobs that go before it, counted up to 10,000.
        estimated_start_time: When it is likely to start; None when unknown.
        summary: All of it in one sentence.

    """

    job: Job
    hindrances: tuple[Hindrance, ...]
    ahead: int
    estimated_start_time: datetime | None
    summary: str


class Queues(Calls):
    """Lists and pauses queues, lists who serves them, and explains what does not run."""

    def list_queues(self) -> AsyncGenerator[Queue, None]:
        """Yield the tenant's queues by name."""

        async def fetch(token: str) -> tuple[Sequence[Queue], str]:
            request = pb.ListQueuesRequest(page_size=PAGE_SIZE, page_token=token)
            page = await self._channel.unary(self._stub.ListQueues, request, retry=True)
            return [_queue(queue) for queue in page.queues], page.next_page_token

        return all_pages(fetch)

    async def pause_queue(self, name: str) -> Queue:
        """Hold back the jobs of a queue; those that run go on. Raises NotFoundError.

        May be repeated, and so may `resume_queue`.
        """
        request = pb.PauseQueueRequest(name=name)
        response = await self._channel.unary(self._stub.PauseQueue, request, retry=True)
        return _queue(response.queue)

    async def resume_queue(self, name: str) -> Queue:
        """Let the jobs of a queue start again; raises NotFoundError."""
        request = pb.ResumeQueueRequest(name=name)
        response = await self._channel.unary(self._stub.ResumeQueue, request, retry=True)
        return _queue(response.queue)

    def list_workers(self) -> AsyncGenerator[ConnectedWorker, None]:
        """Yield the workers that serve this tenant by name."""

        async def fetch(token: str) -> tuple[Sequence[ConnectedWorker], str]:
            request = pb.ListWorkersRequest(page_size=PAGE_SIZE, page_token=token)
            page = await self._channel.unary(self._stub.ListWorkers, request, retry=True)
            return [_worker(worker) for worker in page.workers], page.next_page_token

        return all_pages(fetch)

    def list_functions(self) -> AsyncGenerator[DeclaredFunction, None]:
        """Yield the functions that workers have declared by name."""

        async def fetch(token: str) -> tuple[Sequence[DeclaredFunction], str]:
            request = pb.ListFunctionsRequest(page_size=PAGE_SIZE, page_token=token)
            page = await self._channel.unary(self._stub.ListFunctions, request, retry=True)
            return [parse_function(each) for each in page.functions], page.next_page_token

        return all_pages(fetch)

    async def get_function(self, name: str) -> DeclaredFunction:
        """Return a function as workers last declared it; raises NotFoundError."""
        request = pb.GetFunctionRequest(name=name)
        response = await self._channel.unary(self._stub.GetFunction, request, retry=True)
        return parse_function(
            response.function,
            workers=response.workers,
            update_time=time_of(response, "update_time"),
        )

    async def explain_job(self, job_id: str) -> Explanation:
        """Return why a job is not running, and what would end that; raises NotFoundError."""
        request = pb.ExplainJobRequest(job_id=job_id)
        response = await self._channel.unary(self._stub.ExplainJob, request, retry=True)
        return Explanation(
            job=parse_job(response.job),
            hindrances=tuple(_hindrance(hindrance) for hindrance in response.hindrances),
            ahead=response.ahead,
            estimated_start_time=time_of(response, "estimated_start_time"),
            summary=response.summary,
        )


def _queue(queue: job_pb2.Queue) -> Queue:
    return Queue(
        name=queue.name,
        ready=queue.ready,
        delayed=queue.delayed,
        running=queue.running,
        waiting=queue.waiting,
        oldest_age=length_of(queue, "oldest_age"),
        paused=queue.paused,
        accepted_rate=queue.accepted_rate,
        ended_rate=queue.ended_rate,
        workers=queue.workers,
        dead_letters=queue.dead_letters,
    )


def _worker(worker: job_pb2.Worker) -> ConnectedWorker:
    return ConnectedWorker(
        name=worker.name,
        functions=tuple(worker.functions),
        running=worker.running,
        lease_expire_time=utc(worker.lease_expire_time),
        create_time=utc(worker.create_time),
        tenant=worker.tenant,
    )


def _hindrance(hindrance: pb.Hindrance) -> Hindrance:
    return Hindrance(
        kind=_HINDRANCE_KINDS.get(hindrance.kind, HindranceKind.UNKNOWN),
        message=hindrance.message,
        end_time=time_of(hindrance, "end_time"),
    )
