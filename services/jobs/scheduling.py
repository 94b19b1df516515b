"""Schedules as operators put them, and the ticks that start jobs."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

import structlog

from mainstay.errors import MainstayError, NotFoundError, ValidationError
from services.jobs import metrics
from services.jobs.event import EventDraft, JobDraft, Origin
from services.jobs.function import NAME
from services.jobs.intake import EventIntake
from services.jobs.schedule import Schedule, ScheduleDraft, data_at, due, next_tick
from services.jobs.schedule_ports import ScheduleStore
from services.jobs.wakeups import Signal
from shared.rpc.call import Tenant

BATCH = 100
LONGEST_PAUSE = 30.0
"""Schedules that were put at other replicas are seen within this, in seconds."""
PAUSE_AFTER_ERROR = 5.0

log = structlog.get_logger()


class Scheduling:
    """The use case behind the methods about schedules, and the task that makes them tick.

    Every replica looks for ticks. The jobs of a tick have an idempotency key that names it, so it
    takes place once, however many replicas look and however often one dies in between.
    """

    def __init__(
        self, store: ScheduleStore, intake: EventIntake, new_request_id: Callable[[], str]
    ) -> None:
        self._store = store
        self._intake = intake
        self._new_request_id = new_request_id
        self._signal = Signal()

    async def put(self, origin: Origin, draft: ScheduleDraft) -> Schedule:
        """Create or replace a schedule, if what it starts can be started.

        Raises ValidationError, and NotFoundError for an event or function that is not known.
        """
        if wrong := draft.mistakes():
            raise _invalid(wrong)
        # What its ticks are to send is tried now: a mistake is told to the one who can correct it.
        await self._check(origin, draft)
        schedule = await self._store.put(origin.tenant, draft)
        self._signal.set()
        log.info("schedule_put", schedule=draft.name, next_time=_told(schedule.next_time))
        return schedule

    async def _check(self, origin: Origin, draft: ScheduleDraft) -> None:
        # Any tick does: they are all filled in alike.
        data = data_at(draft, next_tick(draft, datetime.fromtimestamp(0, UTC)))
        try:
            if draft.event:
                await self._intake.check_event(origin.tenant, draft.event, data)
            else:
                await self._intake.check_job(origin.tenant, draft.function, data)
        except ValidationError as error:
            # Of all that can be wrong with a call, a schedule only brings the payload.
            raise _invalid(
                {f"data_json{field.partition('data')[2]}": r for field, r in error.fields.items()}
            ) from error

    async def list(self, tenant: Tenant, after: str, limit: int) -> Sequence[Schedule]:
        """Return schedules by name, after a name."""
        return await self._store.list(tenant, after, limit)

    async def pause(self, tenant: Tenant, name: str, *, paused: bool) -> Schedule:
        """Stop a schedule or let it go on; raises NotFoundError."""
        known = NAME.fullmatch(name)
        schedule = await self._store.pause(tenant, name, paused=paused) if known else None
        if schedule is None:
            raise _not_found(name)
        self._signal.set()
        return schedule

    async def delete(self, tenant: Tenant, name: str) -> None:
        """Remove a schedule; raises NotFoundError, also for one of the service's own."""
        if not (NAME.fullmatch(name) and await self._store.delete(tenant, name)):
            raise _not_found(name)

    async def run(self) -> None:
        """Make schedules tick, for ever."""
        while True:
            try:
                pause = await self.run_once()
            except MainstayError as error:
                log.warning("schedules_failed", error=error.message)
                pause = PAUSE_AFTER_ERROR
            await self._signal.wait(within=pause)

    async def run_once(self) -> float:
        """Let what is due take place; returns the seconds until there may be more."""
        put_off = False
        found = await self._store.due(BATCH, None)
        while found.schedules and found.now is not None:
            for schedule in found.schedules:
                put_off |= not await self._tick(schedule, found.now)
            # Those that are put off stay due: the others are behind them.
            found = await self._store.due(BATCH, found.schedules[-1])
        if put_off:
            return PAUSE_AFTER_ERROR
        if found.next_in is None:
            return LONGEST_PAUSE
        return min(max(found.next_in, 0.0), LONGEST_PAUSE)

    async def _tick(self, schedule: Schedule, now: datetime) -> bool:
        """Let a schedule's ticks take place; returns False when they have to be tried again."""
        if schedule.next_time is None:
            return True
        what = due(schedule.draft, schedule.next_time, now)
        for tick in what.ticks:
            try:
                await self._start(schedule, tick)
            except MainstayError as error:
                log.warning(
                    "schedule_tick_failed",
                    schedule=schedule.draft.name,
                    tenant=schedule.tenant,
                    tick=_told(tick),
                    error=error.message,
                    again=error.transient,
                )
                metrics.ticks.labels("put off" if error.transient else "refused").inc()
                if error.transient:
                    return False
            else:
                metrics.ticks.labels("started").inc()
        await self._store.advance(schedule, what.next_time, what.ticks[-1] if what.ticks else None)
        return True

    async def _start(self, schedule: Schedule, tick: datetime) -> None:
        draft = schedule.draft
        origin = Origin(
            tenant=schedule.tenant,
            request_id=self._new_request_id(),
            traceparent="",
            schedule=draft.name,
        )
        key = f"schedule/{draft.name}/{_told(tick)}"
        data = data_at(draft, tick)
        start: Awaitable[object]
        if draft.event:
            event = EventDraft(name=draft.event, version=0, data=data, idempotency_key=key)
            start = self._intake.send(origin, [event])
        else:
            job = JobDraft(function=draft.function, data=data, idempotency_key=key)
            start = self._intake.enqueue(origin, job)
        await start
        log.info(
            "schedule_ticked",
            schedule=draft.name,
            tenant=schedule.tenant,
            tick=_told(tick),
            request_id=origin.request_id,
        )


def _invalid(wrong: Mapping[str, str]) -> ValidationError:
    first = min(wrong)
    return ValidationError(
        f"the schedule is not valid: {first} {wrong[first]}",
        fields={f"schedule.{field}": right for field, right in wrong.items()},
    )


def _told(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat().replace("+00:00", "Z")


def _not_found(name: str) -> NotFoundError:
    return NotFoundError(
        f"schedule {name[:100]!r} does not exist, or is the service's own",
        resource_type="schedule",
        resource_name=name[:100],
        reason="SCHEDULE_NOT_FOUND",
    )
