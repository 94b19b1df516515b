"""Brings ready jobs to the workers of this process that have room for them."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import structlog

from mainstay.errors import DatabaseError
from services.jobs.dealing import Opening
from services.jobs.fairness import Fairness
from services.jobs.job import Assignment, SessionId
from services.jobs.journal import note_claims, note_endings
from services.jobs.permits import Permits
from services.jobs.ports import Claimed, ClaimStore
from services.jobs.session import Clock, session_gone
from services.jobs.sessions import Sessions
from services.jobs.streams import Streams
from services.jobs.wakeups import Change, Signal, Wakeups, change_of

BATCH = 500
PAUSE_AFTER_ERROR = 1.0

log = structlog.get_logger()


class Dispatcher:
    """Claims in batches whenever there is news of work or room, and at least every poll interval.

    The only one in the process who takes up credit, so what a pass plans stays true until it ends.
    """

    def __init__(
        self,
        *,
        store: ClaimStore,
        streams: Streams,
        sessions: Sessions,
        wakeups: Wakeups,
        fairness: Fairness,
        permits: Permits,
        poll_interval: float,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._store = store
        self._streams = streams
        self._sessions = sessions
        self._wakeups = wakeups
        self._fairness = fairness
        self._permits = permits
        self._poll_interval = poll_interval
        self._clock = clock
        self._random = random
        self._signal = Signal()
        # When to look for delayed jobs that are due: as the next one is, as far as that is known
        # here, and at every poll, since other replicas delay jobs too.
        self._promote_at = clock()
        # Whether something waits for a place under a cap: every end of a job may make room.
        self._held = False
        # Streams that had room left when nothing was left for them: what they finish is no reason
        # to look again, only new work is.
        self._served: frozenset[tuple[SessionId, int]] = frozenset()
        self._claiming = False
        self._room_meanwhile = False
        wakeups.subscribe(self._hear)

    def _hear(self, change: Change) -> None:
        if change.due_in is not None:
            self._promote_at = min(self._promote_at, self._clock() + change.due_in)
        due = change.due_in is not None
        place = self._held and bool(change.jobs)
        if change.room and self._claiming:
            # Whether it matters is known after the claim.
            self._room_meanwhile = True
        room = change.room and not self._claiming and not self._all_served()
        if change.work or room or change.permits or change.anything or due or place:
            self._signal.set()

    def _all_served(self) -> bool:
        return all(
            (opening.session_id, opening.stream) in self._served
            for opening in self._streams.openings()
        )

    async def run(self) -> None:
        """Hand out jobs for ever."""
        while True:
            try:
                while await self.run_once():
                    pass
            except DatabaseError as error:
                # What was claimed without our knowing comes back at the next heartbeats.
                log.warning("claim_failed", error=error.message)
                await self._signal.wait(within=PAUSE_AFTER_ERROR)
            else:
                await self._pause()

    async def _pause(self) -> None:
        """Wait for news, for a delayed job to become due, or for the time to look anyway."""
        now = self._clock()
        told = await self._signal.wait(within=min(self._next_poll(now), self._promote_at) - now)
        if not told:
            # One look for both: a replica with nothing to do asks half as often.
            self._promote_at = min(self._promote_at, self._clock())

    def _next_poll(self, now: float) -> float:
        return now + self._poll_interval * (0.9 + self._random() / 5)

    async def run_once(self) -> bool:
        """Claim once for all openings; returns whether there may be more to claim.

        Delayed jobs that are due are made ready without any opening too: for other replicas.
        """
        openings = {opening.session_id: opening for opening in self._streams.openings()}
        promote = self._clock() >= self._promote_at
        if not openings and not promote:
            return False
        self._served, self._claiming = frozenset(), True
        try:
            claimed = await self._claim(list(openings.values()), promote=promote)
        finally:
            self._claiming = False
        if claimed.exhausted:
            self._served = _with_room_left(openings.values(), claimed.assignments)
        if promote:
            self._note_promotion(claimed)
        self._end(claimed.gone)
        await self._hand_out(claimed, openings)
        room, self._room_meanwhile = self._room_meanwhile, False
        if room and not self._all_served():
            self._signal.set()
        return claimed.more

    async def _claim(self, openings: Sequence[Opening], *, promote: bool) -> Claimed:
        try:
            claimed = await self._store.claim(
                openings,
                limit=BATCH,
                places=self._fairness,
                permits=self._permits.lend() if openings else {},
                promote=promote,
            )
        except DatabaseError:
            if openings:
                self._permits.forget()
            raise
        self._fairness.charge(claimed.served, claimed.waiting)
        if openings:
            self._permits.note(spent=claimed.spent, wanting=claimed.wanting)
            self._held = claimed.held
        note_endings(claimed.endings)
        if claimed.endings:
            self._wakeups.announce(change_of(claimed.endings))
        return claimed

    def _note_promotion(self, claimed: Claimed) -> None:
        now = self._clock()
        due_in = math.inf if claimed.next_due is None else claimed.next_due
        self._promote_at = min(now + due_in, self._next_poll(now))
        if claimed.promoted:
            # Other replicas may have the workers for them.
            self._wakeups.announce(Change(work=True))

    def _end(self, gone: Collection[SessionId]) -> None:
        """End streams whose session is not theirs any more, or they would claim in vain for ever.

        A worker that has moved to another replica may leave such a stream behind, half open.
        """
        for session_id in gone:
            stream = self._streams.find(session_id)
            if stream is not None:
                stream.fail(session_gone())

    async def _hand_out(self, claimed: Claimed, openings: Mapping[SessionId, Opening]) -> None:
        if not claimed.assignments:
            return
        note_claims(claimed.assignments)
        jobs_of: dict[SessionId, list[Assignment]] = defaultdict(list)
        for job in claimed.assignments:
            jobs_of[job.session_id].append(job)
        held, self._held = self._held, False  # no end of a job, and no news to this one
        self._wakeups.announce(Change(jobs=frozenset(job.job_id for job in claimed.assignments)))
        self._held = held
        refused = [
            session_id
            for session_id, jobs in jobs_of.items()
            if not self._deliver(openings[session_id], jobs)
        ]
        # After all deliveries, none of which may wait for the database or fail with it.
        for session_id in refused:
            tenant = openings[session_id].tenant
            await self._sessions.give_back(tenant, session_id, jobs_of[session_id])

    def _deliver(self, opening: Opening, jobs: Sequence[Assignment]) -> bool:
        """Return False when the stream ended or began to drain while the claim was on its way."""
        stream = self._streams.find(opening.session_id)
        return stream is not None and stream.stream == opening.stream and stream.deliver(jobs)


def _with_room_left(
    openings: Iterable[Opening], assignments: Iterable[Assignment]
) -> frozenset[tuple[SessionId, int]]:
    taken = Counter(job.session_id for job in assignments)
    return frozenset(
        (opening.session_id, opening.stream)
        for opening in openings
        if opening.room > taken[opening.session_id]
    )
