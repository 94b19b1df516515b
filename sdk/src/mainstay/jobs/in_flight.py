"""The jobs a worker has, by token. Belongs to the handlers' loop."""

import asyncio
from collections.abc import Iterable

from mainstay.jobs.assignment import AssignedJob, Token
from mainstay.jobs.held_job import Execute, HeldJob
from mainstay.jobs.ledger import Answer, Ledger
from mainstay.jobs.outbox import Letter
from mainstay.jobs.v1 import worker_service_pb2 as pb


class InFlight:
    """Begins jobs, hears what the service says of them, forgets them when they are over.

    Never works on more than `concurrency` jobs: what is handed out beyond, or after
    `stop_accepting`, goes straight back. `idle` is set while there is none. What jobs have to say
    goes to the ledger once in each turn of the loop, whatever their number.
    """

    def __init__(self, concurrency: int, ledger: Ledger, execute: Execute) -> None:
        self._accepting = True
        self._concurrency = concurrency
        self._ledger = ledger
        self._execute = execute
        self._jobs: dict[Token, HeldJob] = {}
        self._running = 0
        self._letters: list[Letter] = []
        self._vacated = 0
        self._loop = asyncio.get_running_loop()
        self.idle = asyncio.Event()
        self.idle.set()

    def __len__(self) -> int:
        """Return how many jobs the worker has."""
        return len(self._jobs)

    def take(self, jobs: Iterable[AssignedJob]) -> None:
        """Begin jobs, and hand back those for which there is no room."""
        for job in jobs:
            held = self._jobs[job.token] = HeldJob(job, self)
            room = self._accepting and self._running < self._concurrency
            self._running += 1
            if room:
                held.start(self._execute)
            else:
                held.release()
        if self._jobs:
            self.idle.clear()

    def answer(self, answers: Iterable[Answer]) -> None:
        """Pass on the service's word; what it says of forgotten tokens matters no more."""
        for answer in answers:
            if (held := self._jobs.get(answer.token)) is not None:
                held.answer(answer)

    def lose(self, tokens: Iterable[bytes]) -> None:
        """Stop working on jobs that are somebody else's now."""
        for token in tokens:
            if (held := self._jobs.get(Token(token))) is not None:
                held.lose()

    def direct(self, directives: Iterable[pb.Directive]) -> None:
        """Do what the service asks; the same directive may come again, and of forgotten tokens."""
        for directive in directives:
            held = self._jobs.get(Token(directive.token))
            if held is not None and directive.kind == pb.DIRECTIVE_KIND_CANCEL:
                held.cancel(directive.reason)

    def stop_accepting(self) -> None:
        """Take no more jobs; those in flight go on."""
        self._accepting = False
        self._ledger.drain()

    def release_all(self) -> None:
        """Give back every job whose end is not known."""
        for held in list(self._jobs.values()):
            held.release()

    def post(self, letter: Letter) -> None:
        """Send a letter with all others of this turn."""
        self._flush_soon()
        self._letters.append(letter)

    def vacate(self) -> None:
        """Make room for another job: one has ended, or will not begin."""
        self._flush_soon()
        self._running -= 1
        self._vacated += 1

    def move(self, token: Token) -> None:
        """Note a sign of life."""
        self._ledger.move(token)

    def over(self, held: HeldJob) -> None:
        """Forget a job."""
        token = held.job.token
        if self._jobs.pop(token, None) is None:
            return
        if not held.stored:
            self._ledger.forget(token)
        if not self._jobs:
            self.idle.set()

    def _flush_soon(self) -> None:
        if not self._letters and not self._vacated:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        letters, self._letters = self._letters, []
        vacated, self._vacated = self._vacated, 0
        self._ledger.post(letters, vacated=vacated)
