"""The methods of the client that steer jobs, and those about dead letters."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Protocol

from mainstay.jobs.calls import PAGE_SIZE, Calls, all_pages
from mainstay.jobs.conversions import payload
from mainstay.jobs.job_messages import filter_message, parse_job
from mainstay.jobs.json_text import JsonValue
from mainstay.jobs.model import Job, JobFilter
from mainstay.jobs.v1 import job_service_pb2 as pb

_AT_ONCE = 1_000


class _Chosen(Protocol):
    """Which dead letters a call has dealt with, and whether more fit its filter."""

    @property
    def job_ids(self) -> Sequence[str]: ...

    @property
    def more(self) -> bool: ...


class Steering(Calls):
    """Cancels, retries and signals jobs; replays and discards dead letters."""

    async def cancel_job(self, job_id: str, *, rollback: bool = False, reason: str = "") -> Job:
        """End a job and those it has invoked; with `rollback`, undo its finished steps first.

        One that no worker has ends at once; a worker hears of it within a heartbeat, and the job
        that is returned may still run. May be repeated. Raises NotFoundError, and PreconditionError
        when the job is over.
        """
        request = pb.CancelJobRequest(job_id=job_id, rollback=rollback, reason=reason)
        response = await self._channel.unary(self._stub.CancelJob, request, retry=True)
        return parse_job(response.job)

    async def retry_job(self, job_id: str) -> Job:
        """Give a dead letter new attempts; its finished steps are kept, unless they were undone.

        Raises NotFoundError, and PreconditionError when it is no dead letter.
        """
        request = pb.RetryJobRequest(job_id=job_id)
        response = await self._channel.unary(self._stub.RetryJob, request)
        return parse_job(response.job)

    async def signal_job(self, job_id: str, name: str, data: JsonValue = None) -> None:
        """Send a signal to a job; it is kept until a step waits for it. A repeat sends another.

        `data` takes up to 64 KiB as JSON. Raises NotFoundError, PreconditionError when the job is
        over, and QuotaError when a hundred signals wait already.
        """
        text = payload(data, f"data of signal {name}", "data")
        request = pb.SignalJobRequest(job_id=job_id, name=name, data_json=text)
        await self._channel.unary(self._stub.SignalJob, request)

    def list_dead_letters(
        self,
        filter: JobFilter | None = None,  # noqa: A002 - the word of the contract
    ) -> AsyncGenerator[Job, None]:
        """Yield dead letters that fit, the newest first, without their steps and payloads.

        The states of the filter do not matter.
        """
        wire = filter_message(filter)

        async def fetch(token: str) -> tuple[Sequence[Job], str]:
            request = pb.ListDeadLettersRequest(filter=wire, page_size=PAGE_SIZE, page_token=token)
            page = await self._channel.unary(self._stub.ListDeadLetters, request, retry=True)
            return [parse_job(job) for job in page.jobs], page.next_page_token

        return all_pages(fetch)

    async def replay_dead_letters(self, letters: Sequence[str] | JobFilter) -> tuple[str, ...]:
        """Retry the dead letters that are named, or all that fit; return their ids.

        Those that are none (any more) are left out. A thousand are dealt with in a call; when one
        of several fails, its error is raised, and those before are retried all the same: repeat it.
        """

        async def replay(job_ids: Sequence[str], fitting: pb.JobFilter | None) -> _Chosen:
            request = pb.ReplayDeadLettersRequest(job_ids=job_ids, filter=fitting)
            return await self._channel.unary(self._stub.ReplayDeadLetters, request)

        return await _all_chosen(letters, replay)

    async def discard_dead_letters(self, letters: Sequence[str] | JobFilter) -> tuple[str, ...]:
        """Put away the dead letters that are named, or all that fit; return their ids.

        They become DISCARDED and stay readable for 30 days. Otherwise as `replay_dead_letters`.
        """

        async def discard(job_ids: Sequence[str], fitting: pb.JobFilter | None) -> _Chosen:
            request = pb.DiscardDeadLettersRequest(job_ids=job_ids, filter=fitting)
            return await self._channel.unary(self._stub.DiscardDeadLetters, request)

        return await _all_chosen(letters, discard)


async def _all_chosen(
    letters: Sequence[str] | JobFilter,
    call: Callable[[Sequence[str], pb.JobFilter | None], Awaitable[_Chosen]],
) -> tuple[str, ...]:
    """Call until all dead letters that are meant were dealt with; return their ids, each once."""
    if isinstance(letters, JobFilter):
        return await _all_fitting(filter_message(letters), call)
    done: dict[str, None] = {}
    for begin in range(0, len(letters), _AT_ONCE):
        chosen = await call(letters[begin : begin + _AT_ONCE], None)
        done |= dict.fromkeys(chosen.job_ids)
    return tuple(done)


async def _all_fitting(
    fitting: pb.JobFilter,
    call: Callable[[Sequence[str], pb.JobFilter | None], Awaitable[_Chosen]],
) -> tuple[str, ...]:
    done: dict[str, None] = {}
    while True:
        chosen = await call([], fitting)
        before = len(done)
        done |= dict.fromkeys(chosen.job_ids)
        # What was retried may have failed again meanwhile. It is not retried for ever.
        if not chosen.more or len(done) == before:
            return tuple(done)
