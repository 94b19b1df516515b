"""One worker's stream while it lasts: what it may be given, and what is yet to be said to it."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from mainstay.errors import MainstayError, UnavailableError, ValidationError
from services.jobs.dealing import Opening
from services.jobs.frames import GoAway, JobBatch, Outgoing
from services.jobs.job import Assignment, SessionId
from shared.rpc.call import Tenant

MAX_CREDITS = 1_000
MAX_WAITING_JOBS = 1_000
MAX_WAITING_BYTES = 8 * 1024 * 1024
"""Jobs kept for a stream that are not written yet; what it has credit for beyond stays queued."""
MAX_WAITING_ANSWERS = 16
BATCH_BYTES = 1024 * 1024
BATCH_JOBS = 250

Clock = Callable[[], float]


class WorkerStream:
    """The state of one stream of a session. The durable part of a session is in the database.

    Attributes:
        stream: Counts the streams of the session; only the newest acts for it.
        moved: Whether the service asked the worker to come back elsewhere, so that its jobs
            stay its own for the whole lease.

    """

    def __init__(
        self,
        *,
        session_id: SessionId,
        stream: int,
        tenant: Tenant,
        worker: str,
        functions: Mapping[str, str],
        lease: float,
        clock: Clock,
        on_room: Callable[[], None],
    ) -> None:
        self.session_id = session_id
        self.stream = stream
        self.tenant = tenant
        self.worker = worker
        self.moved = False
        self._functions = frozenset(functions)
        self._versions = {name: version for name, version in functions.items() if version}
        self._lease = lease
        self._clock = clock
        self._on_room = on_room
        self._credits = 0
        self._expires = clock() + lease
        self._answers: deque[Outgoing] = deque()
        self._jobs: deque[Assignment] = deque()
        self._bytes = 0
        self._finished = False
        self._error: Exception | None = None
        self._draining = False
        self._news = asyncio.Event()
        self._answer_taken = asyncio.Event()

    def grant(self, credits_: int) -> None:
        """Take more jobs than before; raises ValidationError when more are open than allowed."""
        if self._credits + credits_ > MAX_CREDITS:
            raise ValidationError(
                f"{self._credits + credits_} credits would be open, more than {MAX_CREDITS}",
                fields={"credit.jobs": f"at most {MAX_CREDITS - self._credits} more now"},
            )
        self._credits += credits_
        self._on_room()

    def drain(self) -> None:
        """Give no more jobs to the worker."""
        self._draining = True

    def beat(self) -> None:
        """Count the lease from now."""
        self._expires = self._clock() + self._lease

    def opening(self) -> Opening | None:
        """Return what the worker can take now, or None."""
        if self._draining or self._finished:
            return None
        room = min(self._credits, MAX_WAITING_JOBS - len(self._jobs))
        if room <= 0 or self._bytes >= MAX_WAITING_BYTES:
            return None
        return Opening(
            session_id=self.session_id,
            stream=self.stream,
            tenant=self.tenant,
            functions=self._functions,
            versions=self._versions,
            room=room,
        )

    def deliver(self, jobs: Sequence[Assignment]) -> bool:
        """Take jobs for the worker, or return False when it no longer wants any."""
        if self._draining or self._finished:
            return False
        self._credits -= len(jobs)
        self._jobs.extend(jobs)
        self._bytes += sum(job.size for job in jobs)
        self._news.set()
        return True

    def waiting_jobs(self) -> list[Assignment]:
        """Return the jobs that are not written to the stream yet."""
        return list(self._jobs)

    async def answer(self, frame: Outgoing) -> None:
        """Queue an answer; waits while the worker does not read the ones before."""
        while len(self._answers) >= MAX_WAITING_ANSWERS and not self._finished:
            self._answer_taken.clear()
            await self._answer_taken.wait()
        self._answers.append(frame)
        self._news.set()

    def tell(self, frame: Outgoing) -> None:
        """Queue what need not be said, unless the worker does not read."""
        if len(self._answers) < MAX_WAITING_ANSWERS:
            self._answers.append(frame)
            self._news.set()

    def go_away(self, reason: str) -> None:
        """Say what is left to say, then that the worker is to come back elsewhere, then end."""
        self.moved = True
        self._answers.append(GoAway(reason=reason))
        self.finish()

    def finish(self) -> None:
        """End the stream once the waiting answers are written."""
        self._finished = True
        self._news.set()
        self._answer_taken.set()

    def fail(self, error: Exception) -> None:
        """End the stream with an error once the waiting answers are written."""
        self._error = self._error or error
        self.finish()

    async def next(self) -> Outgoing | None:
        """Wait for the next frame to write; None is the end.

        Raises what the stream failed with, and UnavailableError when no heartbeat came for the
        length of the lease: then the worker is silent and its jobs are about to go to others.
        """
        while True:
            if self._answers:
                self._answer_taken.set()
                return self._answers.popleft()
            if self._error is not None:
                raise self._error
            if self._finished:
                return None
            if self._clock() >= self._expires:
                raise _silent(self._lease)
            if self._jobs:
                return JobBatch(jobs=self._take_batch())
            await self._wait_for_news()

    def _take_batch(self) -> tuple[Assignment, ...]:
        batch = [self._jobs.popleft()]
        size = batch[0].size
        while self._jobs and len(batch) < BATCH_JOBS:
            size += self._jobs[0].size
            if size > BATCH_BYTES:
                break
            batch.append(self._jobs.popleft())
        self._bytes -= sum(job.size for job in batch)
        if self._credits > 0:
            self._on_room()
        return tuple(batch)

    async def _wait_for_news(self) -> None:
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._expires - self._clock()):
                await self._news.wait()


def _silent(lease: float) -> MainstayError:
    return UnavailableError(
        f"no heartbeat for {lease:g} s; connect again and resume",
        reason="SESSION_EXPIRED",
    )


def session_gone() -> MainstayError:
    """Return the error for a stream whose session has ended or goes on over a newer stream."""
    return UnavailableError(
        "the session has ended or goes on over a newer stream; connect again",
        reason="SESSION_EXPIRED",
    )
