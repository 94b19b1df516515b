"""The jobs a worker has, by token."""

import asyncio
from collections.abc import Callable, Iterable

from mainstay.jobs.assignment import AssignedJob, Token
from mainstay.jobs.held_job import Execute, HeldJob
from mainstay.jobs.outbox import Outbox
from mainstay.jobs.v1 import worker_service_pb2 as pb


class InFlight:
    """Begins jobs, hears what the service says of them, forgets them when they are over.

    Never works on more than `concurrency` jobs: what is handed out beyond, or after
    `stop_accepting`, goes straight back. `wake` is called when there is something to send, or room
    for another job; `idle` is set while there is none.
    """

    def __init__(
        self, concurrency: int, outbox: Outbox, execute: Execute, wake: Callable[[], None]
    ) -> None:
        self.accepting = True
        self._concurrency = concurrency
        self._outbox = outbox
        self._execute = execute
        self._wake = wake
        self._jobs: dict[Token, HeldJob] = {}
        self.idle = asyncio.Event()
        self.idle.set()

    def __len__(self) -> int:
        """Return how many jobs the worker has."""
        return len(self._jobs)

    def tokens(self) -> list[Token]:
        """Return the tokens that are still this worker's, as far as it knows."""
        return [token for token, held in self._jobs.items() if not held.lost]

    def room(self) -> int:
        """Return how many more jobs the worker would take; negative when it has too many."""
        return self._concurrency - len(self._jobs) if self.accepting else 0

    def start(self, job: AssignedJob) -> None:
        """Begin a job, or hand it back when there is no room."""
        if job.token in self._jobs:
            return
        room = self.room()
        held = HeldJob(job, self._outbox, lambda: self._changed(job.token))
        self._jobs[job.token] = held
        self.idle.clear()
        if room > 0:
            held.start(self._execute)
        else:
            held.release()

    def stop_accepting(self) -> None:
        """Take no more jobs; those in flight go on."""
        self.accepting = False
        self._wake()

    def acknowledge(self, ack: pb.Ack) -> None:
        """Pass on the service's word; what it says of forgotten tokens matters no more."""
        if (held := self._jobs.get(Token(ack.token))) is not None:
            held.acknowledge(ack.sequence, ack.state, ack.message)

    def lose(self, tokens: Iterable[bytes]) -> None:
        """Stop working on jobs that are somebody else's now."""
        for token in tokens:
            if (held := self._jobs.get(Token(token))) is not None:
                held.lose()

    def release_all(self) -> None:
        """Give back every job whose end is not known."""
        for held in list(self._jobs.values()):
            held.release()

    def _changed(self, token: Token) -> None:
        held = self._jobs.get(token)
        if held is not None and held.over:
            del self._jobs[token]
            if not self._jobs:
                self.idle.set()
        self._wake()
