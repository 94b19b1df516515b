"""What the session's threads and the handlers' loop share, behind one lock."""

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mainstay.jobs.assignment import AssignedJob, Token
from mainstay.jobs.outbox import Letter, Outbox
from mainstay.jobs.v1 import worker_service_pb2 as pb

_STORED = frozenset({pb.ACK_STATE_STORED, pb.ACK_STATE_DUPLICATE})


@dataclass(slots=True, kw_only=True)
class Answer:
    """What the service said of one letter; None when it only said that the token is lost."""

    token: Token
    letter: Letter | None
    state: pb.AckState.ValueType
    message: str


class Ledger:
    """The worker's jobs as the session accounts for them: tokens, letters, room, signs of life.

    Every method may be called in any thread and takes the lock `changed` for some microseconds at
    most: never while something is waited for or handed to the other side. `changed` is notified
    when there may be something to send. Of a job itself (task, futures) nothing is kept here.

    A job takes up room from its arrival until its task has ended, and not until that is stored: the
    next one is on its way while the service still writes. A worker whose ends are not stored takes
    no more than `concurrency` jobs on top of these.
    """

    def __init__(self, concurrency: int) -> None:
        self.changed = threading.Condition()
        self._concurrency = concurrency
        self._outbox = Outbox()
        self._busy = 0
        self._moved: dict[Token, float] = {}
        self._draining = False

    # By the handlers' loop.

    def post(self, letters: Iterable[Letter], *, vacated: int) -> None:
        """Have letters sent, and make room for as many jobs as tasks have ended."""
        with self.changed:
            self._busy -= vacated
            for letter in letters:
                self._outbox.add(letter)
                self._move(letter.token)
            self.changed.notify_all()

    def move(self, token: Token) -> None:
        """Note a sign of life of a job whose function may not be silent for too long."""
        with self.changed:
            self._move(token)

    def forget(self, token: Token) -> None:
        """Say nothing more of a job that is over without the service having said so."""
        with self.changed:
            self._close(token)
            self.changed.notify_all()

    def drain(self) -> None:
        """Ask for no more jobs."""
        with self.changed:
            self._draining = True
            self.changed.notify_all()

    # By the session's threads.

    def take(self, jobs: Sequence[AssignedJob]) -> list[AssignedJob]:
        """Return the jobs that are new; they are the worker's from now on."""
        now = time.monotonic()
        with self.changed:
            new = [job for job in jobs if job.token not in self._outbox]
            for job in new:
                self._outbox.open(job.token)
                if job.hang_timeout is not None:
                    self._moved[job.token] = now
            self._busy += len(new)
        return new

    def answer(self, acks: Iterable[pb.Ack]) -> list[Answer]:
        """Return what matters of the service's answers; a repeated one does not, nor a late one."""
        with self.changed:
            before = self._room()
            answers = [answer for ack in acks if (answer := self._answer(ack)) is not None]
            # Seldom: an end that is stored frees nothing that its task had not freed before.
            if self._outbox or self._room() != before:
                self.changed.notify_all()
        return answers

    def lose(self, tokens: Iterable[bytes]) -> None:
        """Say nothing more of jobs that are somebody else's now."""
        with self.changed:
            for token in tokens:
                self._close(Token(token))

    def resume(self, lost_tokens: Iterable[bytes]) -> None:
        """Begin on a new stream: everything unanswered is to be sent again."""
        with self.changed:
            self.lose(lost_tokens)
            self._outbox.rewind()

    def tokens(self) -> list[Token]:
        """Return the tokens that are this worker's, as far as it knows."""
        with self.changed:
            return self._outbox.tokens()

    def heartbeat(self, stuck: float) -> pb.Heartbeat:
        """Return a beat, with how long each job has not moved.

        A job of which something waits for the service is not idle: it is the service's turn.
        `stuck` is for how many seconds the handlers' loop has not turned.
        """
        now = time.monotonic()
        with self.changed:
            beat = pb.Heartbeat(tokens=self._outbox.tokens())
            for token in self._outbox.quiet_tokens():
                moved = self._moved.get(token)
                idle = stuck if moved is None else max(stuck, now - moved)
                if idle > 0:
                    beat.jobs.add(token=token).idle.FromMicroseconds(round(idle * 1e6))
        return beat

    def room(self) -> int | None:
        """Return how many more jobs the worker would have; None when it wants no more at all."""
        with self.changed:
            return None if self._draining else self._room()

    def next_reports(self) -> pb.SessionRequest | None:
        """Return the frame with the reports that go out next, if there are any."""
        with self.changed:
            if not self._outbox:
                return None
            batch = self._outbox.take_batch()
        frame = pb.SessionRequest()
        frame.reports.reports.extend(batch)
        return frame

    def _room(self) -> int:
        until_full = 2 * self._concurrency - self._outbox.open_tokens
        return min(self._concurrency - self._busy, until_full)

    def _answer(self, ack: pb.Ack) -> Answer | None:
        token = Token(ack.token)
        if token not in self._outbox:
            return None
        letter = self._outbox.answer(token, ack.sequence)
        if ack.state == pb.ACK_STATE_FENCED:
            self._close(token)
        elif letter is None:
            return None
        elif letter.ends and ack.state in _STORED:
            self._close(token)
        else:
            self._move(token)
        return Answer(token=token, letter=letter, state=ack.state, message=ack.message)

    def _move(self, token: Token) -> None:
        if token in self._moved:
            self._moved[token] = time.monotonic()

    def _close(self, token: Token) -> None:
        self._outbox.close(token)
        self._moved.pop(token, None)
