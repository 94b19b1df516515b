"""One stream between a worker and the service: from its Hello until it breaks or is closed.

Three threads work on it. The session's waits for its end; a reader of its own takes the service's
frames apart; grpcio's writer fetches the worker's frames from `_requests`, one whenever the one
before is on its way, so that reports which were made meanwhile share the next. What the three share
is guarded by the ledger's lock; what belongs to jobs themselves is handed to the handlers' loop, by
one call for each frame.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import grpc

from mainstay.jobs.assignment import AssignedJob
from mainstay.jobs.handlers_loop import HandlersLoop
from mainstay.jobs.in_flight import InFlight
from mainstay.jobs.ledger import Ledger
from mainstay.jobs.v1 import worker_service_pb2 as pb

SessionMethod: TypeAlias = "grpc.StreamStreamMultiCallable[pb.SessionRequest, pb.SessionResponse]"
Frames: TypeAlias = Iterable[pb.SessionResponse]

WELCOME_SECONDS = 10.0
# How long a stream that is over has to let its threads go.
CLOSE_SECONDS = 2.0
# However often a service wants to hear of its worker: an interval of nothing would be all it hears.
SHORTEST_BEAT_SECONDS = 0.01


class Stream:
    """Carries credits, reports and heartbeats one way; jobs and acknowledgements the other."""

    def __init__(
        self,
        hello: pb.Hello,
        *,
        ledger: Ledger,
        in_flight: InFlight,
        handlers: HandlersLoop,
        closing: threading.Event,
        on_welcome: Callable[[pb.Welcome], None],
    ) -> None:
        self.welcomed = False
        self.proven = False
        self._hello = hello
        self._ledger = ledger
        self._in_flight = in_flight
        self._handlers = handlers
        self._closing = closing
        self._on_welcome = on_welcome
        self._over = False
        # Rouses the session's thread: the stream is over, or its patience ends at another time.
        self._rouse = threading.Event()
        self._reason = ""
        self._error: BaseException | None = None
        self._lease = WELCOME_SECONDS
        self._patience_ends = time.monotonic() + WELCOME_SECONDS
        # Credits belong to a stream: a new one begins with none.
        self._open_credits = 0
        self._beat_every = 0.0
        self._beat_at = 0.0
        self._drain_sent = False

    def run(self, method: SessionMethod, headers: Sequence[tuple[str, str]]) -> str:
        """Carry frames until the stream ends and return why; raises its status if that is bad."""
        call = method(self._requests(), metadata=tuple(headers))
        reader = threading.Thread(
            target=self._read, args=(call,), name="mainstay session reader", daemon=True
        )
        reader.start()
        try:
            self._wait()
        finally:
            self.abandon(self._reason or "it was given up")
            call.cancel()
            reader.join(CLOSE_SECONDS)
        if self._error is not None:
            raise self._error
        return self._reason

    def abandon(self, reason: str) -> None:
        """End the stream without waiting for the service; the first reason counts."""
        with self._ledger.changed:
            if not self._over:
                self._reason = reason
                self._over = True
            self._ledger.changed.notify_all()
        self._rouse.set()

    def _wait(self) -> None:
        """Return when the stream is over, or nothing was heard for too long."""
        while not self._over:
            if self._rouse.wait(self._patience_ends - time.monotonic()):
                self._rouse.clear()
            elif time.monotonic() >= self._patience_ends:
                what = "heartbeat was answered for" if self.welcomed else "Welcome within"
                self.abandon(f"no {what} {self._lease:g} s")

    # The reader's.

    def _read(self, call: Frames) -> None:
        reason, error = "the service ended it", self._error
        try:
            reason = self._take_frames(call) or reason
        except grpc.RpcError as broken:
            error = broken
        except Exception as unexpected:  # noqa: BLE001 - the session's thread raises it
            error = unexpected
        with self._ledger.changed:
            if not self._over:
                self._error = error
        self.abandon(reason)

    def _take_frames(self, call: Frames) -> str | None:
        for frame in call:
            if self._over or self._handlers.gone:
                return "nobody is left to work"
            if not self.welcomed:
                if not frame.HasField("welcome"):
                    return "the service answered Hello with something else than Welcome"
                self._begin(frame.welcome)
                continue
            self.proven = True
            if frame.HasField("go_away"):
                return f"the service asked to connect again: {frame.go_away.reason}"
            self._take(frame)
        return None

    def _begin(self, welcome: pb.Welcome) -> None:
        self._on_welcome(welcome)
        beat_every = welcome.heartbeat_interval.ToTimedelta().total_seconds()
        self._lease = welcome.lease.ToTimedelta().total_seconds()
        with self._ledger.changed:
            self._ledger.resume(welcome.lost_tokens)
            self._beat_every = max(beat_every, SHORTEST_BEAT_SECONDS)
            self._beat_at = time.monotonic() + self._beat_every
            self._patience_ends = time.monotonic() + self._lease
            self.welcomed = True
            self._ledger.changed.notify_all()
        self._rouse.set()
        self._handlers.call(self._in_flight.lose, list(welcome.lost_tokens))

    def _take(self, frame: pb.SessionResponse) -> None:
        match frame.WhichOneof("frame"):
            case "jobs":
                jobs = [AssignedJob.parse(job) for job in frame.jobs.jobs]
                with self._ledger.changed:
                    self._open_credits -= len(jobs)
                    new = self._ledger.take(jobs)
                self._handlers.call(self._in_flight.take, new)
            case "acks":
                answers = self._ledger.answer(frame.acks.acks)
                self._handlers.call(self._in_flight.answer, answers)
            case "heartbeat":
                self._patience_ends = time.monotonic() + self._lease
                if lost := list(frame.heartbeat.lost_tokens):
                    self._ledger.lose(lost)
                    self._handlers.call(self._in_flight.lose, lost)
                self._direct(frame.heartbeat.directives)
            case "directives":
                self._direct(frame.directives.directives)
            case _:
                pass  # a frame of a newer service, which older workers may ignore

    def _direct(self, directives: Sequence[pb.Directive]) -> None:
        if directives:
            self._handlers.call(self._in_flight.direct, list(directives))

    # The writer's.

    def _requests(self) -> Iterator[pb.SessionRequest]:
        yield pb.SessionRequest(hello=self._hello)
        while (frame := self._next_request()) is not None:
            yield frame

    def _next_request(self) -> pb.SessionRequest | None:
        """Wait for the next frame; None when the worker has nothing more to say."""
        changed = self._ledger.changed
        with changed:
            while not (self._over or self._closing.is_set() or self._handlers.gone):
                if not self.welcomed:
                    changed.wait(WELCOME_SECONDS)
                elif (frame := self._due(now := time.monotonic())) is not None:
                    return frame
                else:
                    changed.wait(self._beat_at - now)
        return None

    def _due(self, now: float) -> pb.SessionRequest | None:
        """Return what is most urgent: a heartbeat must not wait behind a flood of reports."""
        if now >= self._beat_at:
            self._beat_at = now + self._beat_every
            stuck = self._handlers.stuck_for()
            return pb.SessionRequest(heartbeat=self._ledger.heartbeat(stuck))
        room = self._ledger.room()
        if room is None and not self._drain_sent:
            self._drain_sent = True
            return pb.SessionRequest(drain=pb.Drain())
        # Before credits: what has ended may be what the service waits for to hand out the next.
        if (reports := self._ledger.next_reports()) is not None:
            return reports
        if room is not None and (due := room - self._open_credits) > 0:
            self._open_credits += due
            return pb.SessionRequest(credit=pb.Credit(jobs=due))
        return None
