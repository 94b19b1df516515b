"""The task that makes schedules tick, whatever becomes of single ones."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from mainstay.errors import QueueFullError
from services.jobs.event import AcceptedEvent, NewCall
from services.jobs.intake import EventIntake, Version
from services.jobs.job import EventId, JobId
from services.jobs.schedule import CatchUp, Schedule, ScheduleDraft
from services.jobs.schedule_ports import DueSchedules
from services.jobs.scheduling import BATCH, PAUSE_AFTER_ERROR, Scheduling
from services.jobs.schemas import EventSchema
from shared.rpc.call import Tenant

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
ACME = Tenant("acme")


def schedule(name: str, function: str, ago: int) -> Schedule:
    """Return a schedule whose tick has been due for some seconds."""
    draft = ScheduleDraft(
        name=name,
        cron="* * * * *",
        time_zone="UTC",
        event="",
        function=function,
        data="{}",
        catch_up=CatchUp.LATEST,
        paused=False,
    )
    next_time = NOW - timedelta(seconds=ago)
    return Schedule(tenant=ACME, draft=draft, system=False, next_time=next_time, last_time=None)


class Book:
    """Schedules in memory."""

    def __init__(self, schedules: Sequence[Schedule]) -> None:
        self.schedules = {each.draft.name: each for each in schedules}

    async def put(self, tenant: Tenant, draft: ScheduleDraft) -> Schedule:
        """Fail: ticks put nothing."""
        raise AssertionError

    async def keep(self, tenant: Tenant, draft: ScheduleDraft) -> None:
        """Fail: ticks keep nothing."""
        raise AssertionError

    async def list(self, tenant: Tenant, after: str, limit: int) -> Sequence[Schedule]:
        """Return all."""
        return list(self.schedules.values())

    async def pause(self, tenant: Tenant, name: str, *, paused: bool) -> Schedule | None:
        """Fail: ticks pause nothing."""
        raise AssertionError

    async def delete(self, tenant: Tenant, name: str) -> bool:
        """Fail: ticks delete nothing."""
        raise AssertionError

    async def due(self, limit: int, after: Schedule | None) -> DueSchedules:
        """Return the next ones that are due."""
        line = sorted(self.schedules.values(), key=_place)
        next_in = min((each.next_time or NOW) - NOW for each in line).total_seconds()
        due = [each for each in line if (each.next_time or NOW) <= NOW]
        behind = [each for each in due if after is None or _place(each) > _place(after)]
        return DueSchedules(schedules=tuple(behind[:limit]), now=NOW, next_in=next_in)

    async def advance(
        self, schedule: Schedule, next_time: datetime, last_time: datetime | None
    ) -> None:
        """Go on to the next tick."""
        name = schedule.draft.name
        self.schedules[name] = replace(schedule, next_time=next_time, last_time=last_time)


def _place(schedule: Schedule) -> tuple[datetime, str]:
    return schedule.next_time or NOW, schedule.draft.name


class Line:
    """Takes jobs of all functions but one, whose queue is full."""

    def __init__(self) -> None:
        self.started: list[str] = []

    async def accept(self, call: NewCall) -> tuple[AcceptedEvent, ...]:
        """Start a job, or refuse to."""
        (event,) = call.events
        if event.function == "full":
            raise QueueFullError("the queue of full is full", retry_after=1.0)
        self.started.append(event.function)
        job_ids = (JobId(UUID(int=2)),)
        return (AcceptedEvent(event_id=event.event_id, job_ids=job_ids, duplicate=False),)

    async def has_function(self, tenant: Tenant, name: str) -> bool:
        """Know every function."""
        return True


class NoSchemas:
    """No event has a contract."""

    async def find_all(
        self, tenant: Tenant, wanted: Collection[Version]
    ) -> Mapping[Version, EventSchema]:
        """Return none."""
        return {}

    async def known_names(self, tenant: Tenant) -> Sequence[str]:
        """Return none."""
        return ()


class TestPutOff:
    async def test_others_tick(self) -> None:
        """However many schedules cannot start their jobs now, the others tick."""
        full = [schedule(f"full-{number}", "full", ago=20) for number in range(BATCH)]
        book, line = Book([*full, schedule("free", "free", ago=10)]), Line()
        intake = EventIntake(NoSchemas(), line, line, lambda: EventId(UUID(int=1)))

        pause = await Scheduling(book, intake, lambda: "r").run_once()

        due = {name for name, each in book.schedules.items() if (each.next_time or NOW) <= NOW}
        assert (["free"], PAUSE_AFTER_ERROR) == (line.started, pause)
        assert {each.draft.name for each in full} == due
