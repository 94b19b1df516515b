"""Schedules: what starts by the clock."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from mainstay.jobs.calls import PAGE_SIZE, Calls, all_pages
from mainstay.jobs.conversions import by_number, decoded, payload, refused, time_of
from mainstay.jobs.json_text import JsonValue
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb


class CatchUp(Enum):
    """What becomes of ticks for which no replica was there."""

    UNKNOWN = "unknown"
    """A way that this release of the SDK does not know."""
    NONE = "none"
    """They are left out."""
    LATEST = "latest"
    """Only the latest of them takes place."""
    ALL = "all"
    """All of them take place, up to the 100 latest."""


_CATCH_UP = {
    job_pb2.CATCH_UP_UNSPECIFIED: CatchUp.LATEST,
    **by_number(job_pb2.CatchUp, "CATCH_UP_", CatchUp),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What starts by the clock.

    Attributes:
        name: Unique within the tenant.
        cron: Five fields, as in crontab(5).
        time_zone: An IANA time zone.
        event: The event that is sent; empty when a function is enqueued.
        function: The function that is enqueued; empty when an event is sent.
        data: The payload. In its strings `{tick}` and `{date}` stand for the tick's time and day.
        catch_up: What becomes of missed ticks.
        paused: Whether no tick takes place.
        next_time: When the next tick is; None while paused.
        last_time: When the last tick was; None before the first.
        system: Whether it is one of the service's own, which cannot be changed.

    """

    name: str
    cron: str
    time_zone: str
    event: str
    function: str
    data: Mapping[str, Any]
    catch_up: CatchUp
    paused: bool
    next_time: datetime | None
    last_time: datetime | None
    system: bool


class Schedules(Calls):
    """Puts, lists, pauses and deletes schedules."""

    async def put_schedule(
        self,
        name: str,
        cron: str,
        *,
        event: str = "",
        function: str = "",
        data: Mapping[str, JsonValue] | None = None,
        time_zone: str = "UTC",
        catch_up: CatchUp = CatchUp.LATEST,
        paused: bool = False,
    ) -> Schedule:
        """Create a schedule or replace the one of that name; it sends `event` or runs `function`.

        `cron` has five fields, as in crontab(5). A tick that the clock skips when summer time
        begins takes place right after; one that comes twice takes place once. May be repeated.
        Raises ValidationError for an impossible cron or a payload that the event's schema refuses,
        and NotFoundError for an event or a function that is not known.
        """
        if bool(event) == bool(function):
            raise refused("schedule.start", "has to be an event or a function, one of the two")
        schedule = job_pb2.Schedule(
            name=name,
            cron=cron,
            time_zone=time_zone,
            data_json=payload(data or {}, f"data of schedule {name}", "schedule.data"),
            catch_up=_wire_catch_up(catch_up),
            paused=paused,
        )
        if event:
            schedule.event = event
        else:
            schedule.function = function
        request = pb.PutScheduleRequest(schedule=schedule)
        response = await self._channel.unary(self._stub.PutSchedule, request, retry=True)
        return _schedule(response.schedule)

    def list_schedules(self) -> AsyncGenerator[Schedule, None]:
        """Yield the tenant's schedules by name."""

        async def fetch(token: str) -> tuple[Sequence[Schedule], str]:
            request = pb.ListSchedulesRequest(page_size=PAGE_SIZE, page_token=token)
            page = await self._channel.unary(self._stub.ListSchedules, request, retry=True)
            return [_schedule(schedule) for schedule in page.schedules], page.next_page_token

        return all_pages(fetch)

    async def pause_schedule(self, name: str) -> Schedule:
        """Stop the ticks of a schedule; those that pass are not caught up. Raises NotFoundError.

        May be repeated, and so may `resume_schedule`.
        """
        return await self._set_paused(name, paused=True)

    async def resume_schedule(self, name: str) -> Schedule:
        """Let a schedule tick again; raises NotFoundError."""
        return await self._set_paused(name, paused=False)

    async def delete_schedule(self, name: str) -> None:
        """Delete a schedule; jobs that it has started go on. Raises NotFoundError."""
        await self._channel.unary(self._stub.DeleteSchedule, pb.DeleteScheduleRequest(name=name))

    async def _set_paused(self, name: str, *, paused: bool) -> Schedule:
        request = pb.PauseScheduleRequest(name=name, paused=paused)
        response = await self._channel.unary(self._stub.PauseSchedule, request, retry=True)
        return _schedule(response.schedule)


def _wire_catch_up(catch_up: CatchUp) -> job_pb2.CatchUp.ValueType:
    if catch_up is CatchUp.UNKNOWN:
        raise refused("schedule.catch_up", "is unknown to this SDK; give NONE, LATEST or ALL")
    return job_pb2.CatchUp.Value(f"CATCH_UP_{catch_up.name}")


def _schedule(schedule: job_pb2.Schedule) -> Schedule:
    return Schedule(
        name=schedule.name,
        cron=schedule.cron,
        time_zone=schedule.time_zone,
        event=schedule.event,
        function=schedule.function,
        data=decoded(schedule.data_json) or {},
        catch_up=_CATCH_UP.get(schedule.catch_up, CatchUp.UNKNOWN),
        paused=schedule.paused,
        next_time=time_of(schedule, "next_time"),
        last_time=time_of(schedule, "last_time"),
        system=schedule.system,
    )
