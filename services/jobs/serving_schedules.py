"""PutSchedule, ListSchedules, DeleteSchedule and PauseSchedule: parse, call, format."""

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from services.jobs.schedule import CatchUp, Schedule, ScheduleDraft
from services.jobs.scheduling import Scheduling
from services.jobs.serving_events import origin
from services.jobs.wire_times import timestamp
from shared.pages import page_key, page_size, page_token
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "PutSchedule": MethodPolicy(roomy=frozenset({"schedule.data_json"})),
    "ListSchedules": MethodPolicy(),
    "DeleteSchedule": MethodPolicy(),
    "PauseSchedule": MethodPolicy(),
}

_CATCH_UP = {
    job_pb2.CATCH_UP_NONE: CatchUp.NONE,
    job_pb2.CATCH_UP_LATEST: CatchUp.LATEST,
    job_pb2.CATCH_UP_ALL: CatchUp.ALL,
}
_CATCH_UP_WIRE = {value: number for number, value in _CATCH_UP.items()}


class ScheduleMethods:
    """The methods about what starts by the clock."""

    scheduling: Scheduling

    async def PutSchedule(
        self, request: pb.PutScheduleRequest, context: object
    ) -> pb.PutScheduleResponse:
        schedule = await self.scheduling.put(origin(), _draft(request.schedule))
        return pb.PutScheduleResponse(schedule=_schedule(schedule))

    async def ListSchedules(
        self, request: pb.ListSchedulesRequest, context: object
    ) -> pb.ListSchedulesResponse:
        size = page_size(request.page_size)
        key = page_key(request.page_token, str)
        found = await self.scheduling.list(
            current_call().tenant, str(key[0]) if key else "", size + 1
        )
        more = len(found) > size
        return pb.ListSchedulesResponse(
            schedules=[_schedule(schedule) for schedule in found[:size]],
            next_page_token=page_token([found[size - 1].draft.name]) if more else "",
        )

    async def DeleteSchedule(
        self, request: pb.DeleteScheduleRequest, context: object
    ) -> pb.DeleteScheduleResponse:
        await self.scheduling.delete(current_call().tenant, request.name)
        return pb.DeleteScheduleResponse()

    async def PauseSchedule(
        self, request: pb.PauseScheduleRequest, context: object
    ) -> pb.PauseScheduleResponse:
        schedule = await self.scheduling.pause(
            current_call().tenant, request.name, paused=request.paused
        )
        return pb.PauseScheduleResponse(schedule=_schedule(schedule))


def _draft(schedule: job_pb2.Schedule) -> ScheduleDraft:
    return ScheduleDraft(
        name=schedule.name,
        cron=schedule.cron,
        time_zone=schedule.time_zone or "UTC",
        event=schedule.event,
        function=schedule.function,
        data=schedule.data_json or "{}",
        catch_up=_CATCH_UP.get(schedule.catch_up, CatchUp.LATEST),
        paused=schedule.paused,
    )


def _schedule(schedule: Schedule) -> job_pb2.Schedule:
    draft = schedule.draft
    message = job_pb2.Schedule(
        name=draft.name,
        cron=draft.cron,
        time_zone=draft.time_zone,
        data_json=draft.data,
        catch_up=_CATCH_UP_WIRE[draft.catch_up],
        paused=draft.paused,
        next_time=timestamp(schedule.next_time),
        last_time=timestamp(schedule.last_time),
        system=schedule.system,
    )
    if draft.event:
        message.event = draft.event
    else:
        message.function = draft.function
    return message
