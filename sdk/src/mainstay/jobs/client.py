"""Sends events and watches the jobs they start."""

import asyncio
import math
import random
import time
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from mainstay.channel import Channel
from mainstay.errors import DeadlineError, MainstayError, ValidationError
from mainstay.jobs.json_text import JsonValue, encode
from mainstay.jobs.model import AcceptedEvent, Event, Job, parse_accepted, parse_job
from mainstay.jobs.reconnect import reconnect_pause
from mainstay.jobs.v1 import job_service_pb2 as pb
from mainstay.jobs.v1 import job_service_pb2_grpc as pb_grpc

# A watch is renewed this often, so that no stream outlives a silent loss of its connection by much.
WATCH_SECONDS = 60.0


class JobClient:
    """Calls the jobs service over `channel`.

    Every method raises the subclass of `mainstay.errors.MainstayError` that the service raised,
    `DatabaseError` while its database is gone, and `DeadlineError` when the time is over.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stub = pb_grpc.JobServiceStub(channel.raw)
        self._jitter = random.Random()  # noqa: S311 - spreads reconnects, guards nothing

    async def send_event(
        self,
        name: str,
        data: Mapping[str, JsonValue],
        *,
        version: int = 0,
        idempotency_key: str | None = None,
    ) -> AcceptedEvent:
        """Send one event; as `send_events`."""
        event = Event(name=name, data=data, version=version, idempotency_key=idempotency_key)
        (accepted,) = await self.send_events([event])
        return accepted

    async def send_events(self, events: Sequence[Event]) -> tuple[AcceptedEvent, ...]:
        """Have 1 to 100 events accepted, all or none, and start the jobs they trigger.

        The call is repeated on transient errors within its deadline. That is safe because every
        event has an idempotency key: the caller's, or a UUID made here for this call. Only the
        caller's own key makes a second call of this method safe.

        Raises ValidationError for a payload that breaks its schema or is no JSON, NotFoundError for
        an event without a schema, AlreadyExistsError for a key that was used with other content.
        """
        request = pb.SendEventsRequest(
            events=[_to_wire(event, index) for index, event in enumerate(events)]
        )
        response = await self._channel.unary(self._stub.SendEvents, request, retry=True)
        return tuple(parse_accepted(event) for event in response.events)

    async def get_job(self, job_id: str) -> Job:
        """Return the job as it is now; raises NotFoundError when there is none for this tenant."""
        request = pb.GetJobRequest(job_id=job_id)
        response = await self._channel.unary(self._stub.GetJob, request, retry=True)
        return parse_job(response.job)

    async def watch_job(
        self,
        job_id: str,
        *,
        after_revision: int = 0,
        timeout: float | None = None,  # noqa: ASYNC109 - bounds the whole watch, reconnects included
    ) -> AsyncGenerator[Job, None]:
        """Yield the job as it is and again after every change, until it has ended.

        Only what is newer than `after_revision` is yielded; changes that come faster than they are
        read are folded into one. When the service cannot be reached the watch goes on from the last
        revision as soon as it can be again. With a `timeout` in seconds DeadlineError is raised
        when the job has not ended by then. Raises NotFoundError when there is no such job.
        """
        expiry = math.inf if timeout is None else time.monotonic() + timeout
        revision, failures = after_revision, 0
        while True:
            try:
                async with aclosing(self._open_watch(job_id, revision, expiry)) as responses:
                    async for response in responses:
                        job = parse_job(response.job)
                        revision, failures = job.revision, 0
                        yield job
                        if job.state.ended:
                            return
                if await self._has_ended(job_id, expiry):
                    return  # at `after_revision` already
                failures += 1
            except MainstayError as error:
                failures = _count_failure(error, failures)
            await self._pause(job_id, failures, expiry)

    async def wait_for_job(self, job_id: str, *, timeout: float) -> Job:  # noqa: ASYNC109 - as above
        """Return the job once it has ended, well or badly.

        Raises DeadlineError when it has not within `timeout` seconds; the job goes on.
        """
        async with aclosing(self.watch_job(job_id, timeout=timeout)) as jobs:
            async for job in jobs:
                if job.state.ended:
                    return job
        return await self.get_job(job_id)

    def _open_watch(
        self, job_id: str, revision: int, expiry: float
    ) -> AsyncGenerator[pb.WatchJobResponse, None]:
        return self._channel.server_stream(
            self._stub.WatchJob,
            pb.WatchJobRequest(job_id=job_id, after_revision=revision),
            timeout=min(_remaining(expiry), WATCH_SECONDS),
        )

    async def _has_ended(self, job_id: str, expiry: float) -> bool:
        response = await self._channel.unary(
            self._stub.GetJob,
            pb.GetJobRequest(job_id=job_id),
            timeout=min(_remaining(expiry), self._channel.timeout),
        )
        return parse_job(response.job).state.ended

    async def _pause(self, job_id: str, failures: int, expiry: float) -> None:
        pause = reconnect_pause(failures, self._jitter) if failures else 0.0
        if time.monotonic() + pause >= expiry:
            raise DeadlineError(
                f"job {job_id} has not ended within the time of the watch; it goes on, watch again"
            )
        await asyncio.sleep(pause)


def _remaining(expiry: float) -> float:
    """Return the seconds left; never nothing, which would mean: no deadline."""
    return max(expiry - time.monotonic(), 0.001)


def _count_failure(error: MainstayError, failures: int) -> int:
    """Return how many failures there are now in a row, or raise what waiting cannot heal."""
    if isinstance(error, DeadlineError):
        return 1  # one stream's time is over, or the whole watch's, which the loop knows
    if not error.transient:
        raise error
    return failures + 1


def _to_wire(event: Event, index: int) -> pb.Event:
    try:
        text = encode(event.data)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(
            f"the data of event {event.name} cannot be sent as JSON: {error}",
            fields={f"events[{index}].data": f"must be a JSON object: {error}"},
        ) from error
    return pb.Event(
        name=event.name,
        version=event.version,
        json=text,
        idempotency_key=event.idempotency_key or str(uuid.uuid4()),
    )
