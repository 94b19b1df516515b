"""Schedules of the real service are put, shown, paused and deleted."""

from datetime import UTC, datetime
from typing import Any

import pytest

from mainstay.errors import NotFoundError, ValidationError
from mainstay.jobs import CatchUp
from tests.integration.sdk_jobs.contract import WORK, Contract, all_of


class TestPutting:
    async def test_tells_when_the_next_tick_is(self, contract: Contract) -> None:
        """In the schedule's time zone."""
        put = await contract.jobs.put_schedule(
            "nightly",
            "0 3 * * *",
            event=WORK,
            data={"day": "{date}"},
            time_zone="Asia/Kolkata",
            catch_up=CatchUp.NONE,
        )

        assert put.next_time is not None
        assert put.next_time > datetime.now(UTC)
        assert (21, 30) == (put.next_time.hour, put.next_time.minute)
        assert (WORK, "", {"day": "{date}"}, CatchUp.NONE, False, None, False) == (
            put.event,
            put.function,
            put.data,
            put.catch_up,
            put.paused,
            put.last_time,
            put.system,
        )
        assert [put] == await all_of(contract.jobs.list_schedules())

    async def test_again_replaces(self, contract: Contract) -> None:
        """A function instead of an event, and without ticks."""
        await contract.worker()
        await contract.jobs.put_schedule("nightly", "0 3 * * *", event=WORK)

        await contract.jobs.put_schedule("nightly", "0 4 * * 1", function="work", paused=True)
        (schedule,) = await all_of(contract.jobs.list_schedules())

        assert ("0 4 * * 1", "", "work", True, None) == (
            schedule.cron,
            schedule.event,
            schedule.function,
            schedule.paused,
            schedule.next_time,
        )

    @pytest.mark.parametrize(
        ("mistake", "field"),
        [
            ({"cron": "0 3 * *"}, "schedule.cron"),
            ({"cron": "0 0 31 2 *"}, "schedule.cron"),
            ({"cron": "every day"}, "schedule.cron"),
            ({"time_zone": "Mars/Olympus"}, "schedule.time_zone"),
            ({"name": "A B"}, "schedule.name"),
        ],
        ids=["four fields", "never", "words", "no zone", "no name"],
    )
    async def test_what_cannot_be_is_refused_by_its_field(
        self, mistake: dict[str, Any], field: str, contract: Contract
    ) -> None:
        """And nothing is stored."""
        with pytest.raises(ValidationError) as caught:
            await contract.jobs.put_schedule(
                **{"name": "n", "cron": "0 3 * * *", "event": WORK, **mistake}
            )

        assert [field] == list(caught.value.fields)
        assert [] == await all_of(contract.jobs.list_schedules())

    async def test_what_starts_nothing_is_refused(self, contract: Contract) -> None:
        """An event without a schema, and a function that nobody has."""
        for call in (
            contract.jobs.put_schedule("n", "0 3 * * *", event="no/such"),
            contract.jobs.put_schedule("n", "0 3 * * *", function="none"),
        ):
            with pytest.raises(NotFoundError):
                await call


class TestSteering:
    async def test_stops_ticks_and_lets_them_go_on(self, contract: Contract) -> None:
        """A schedule that is paused has no next tick."""
        put = await contract.jobs.put_schedule("nightly", "0 3 * * *", event=WORK)

        paused = await contract.jobs.pause_schedule("nightly")
        resumed = await contract.jobs.resume_schedule("nightly")

        assert (True, None) == (paused.paused, paused.next_time)
        assert (False, put.next_time) == (resumed.paused, resumed.next_time)

    async def test_deletes(self, contract: Contract) -> None:
        """Once."""
        await contract.jobs.put_schedule("nightly", "0 3 * * *", event=WORK)

        await contract.jobs.delete_schedule("nightly")

        assert [] == await all_of(contract.jobs.list_schedules())
        for call in (
            contract.jobs.delete_schedule("nightly"),
            contract.jobs.pause_schedule("nightly"),
            contract.jobs.resume_schedule("nightly"),
        ):
            with pytest.raises(NotFoundError) as caught:
                await call
            assert "SCHEDULE_NOT_FOUND" == caught.value.reason
