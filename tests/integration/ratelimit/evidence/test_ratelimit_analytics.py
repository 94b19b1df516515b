"""What was decided, by rule, plan and tenant, and who was limited most."""

import asyncio
from typing import Any

import pytest

from cli.embedded.redis import RedisServer
from mainstay.errors import RateLimitStoreError, ValidationError
from services.ratelimit.analytics import MAX_GROUPS
from services.ratelimit.policy import DAY, SECOND
from services.ratelimit.redis_top import MAX_TENANTS, SENT
from services.ratelimit.tallies import Group, Tally
from shared.rpc.call import Tenant
from tests.integration.ratelimit.evidence.conftest import StartWatcher
from tests.integration.ratelimit.evidence.watcher import (
    ALL,
    GLOBEX,
    HOUR,
    MINUTE,
    Watcher,
    watcher,
)


class TestFigures:
    async def test_are_by_tenant_rule_and_plan(self, here: Watcher) -> None:
        """Those with most denials first."""
        here.see(admits=True, times=5)
        here.see(times=2, plan="pro")
        here.see(times=3, rule="video", shadow=True)
        here.see(tenant=GLOBEX)
        report = await here.report()

        assert [
            (Group("acme", "chat", "pro"), Tally(denied=2)),
            (Group("acme", "video", ""), Tally(allowed=3, shadow_denied=3)),
            (Group("acme", "chat", ""), Tally(allowed=5)),
        ] == report.groups
        assert Tally(allowed=8, denied=2, shadow_denied=3) == report.total
        assert not report.incomplete

    async def test_can_be_narrowed(self, here: Watcher) -> None:
        """To a rule, to a plan."""
        here.see(admits=True, rule="chat", plan="pro")
        here.see(admits=True, rule="chat", times=2)
        here.see(admits=True, rule="video", plan="pro", times=4)
        of_rule, of_plan = await here.report(rule="chat"), await here.report(plan="pro")

        assert (3, 5) == (of_rule.total.allowed, of_plan.total.allowed)

    async def test_of_all_replicas_add_up(self, here: Watcher, there: Watcher) -> None:
        """They write the same minutes again and again, at the same time."""
        for _ in range(5):
            for each in (here, there):
                each.see(admits=True, times=2)
                each.see(admits=True, tenant=GLOBEX)
            await asyncio.gather(here.write(), there.write())
        report = await here.report()

        assert 20 == report.total.allowed

    async def test_are_of_a_window(self, here: Watcher) -> None:
        """Whole minutes: that in which it begins is part of it."""
        for _ in range(5):
            here.see(admits=True)
            await here.write()
            here.pass_time(MINUTE)
        found = [(await here.report(window=n * MINUTE)).total.allowed for n in (1, 2, 90 * 1_440)]

        assert [1, 2, 5] == found

    async def test_of_a_long_window_are_by_the_hour(self, here: Watcher) -> None:
        """That in which it begins is part of it."""
        here.see(admits=True)
        await here.write()
        here.pass_time(HOUR // 2)
        here.see(admits=True, times=2)
        await here.write()
        here.pass_time(2 * DAY)
        here.see(admits=True, times=4)
        days = [(await here.report(window=n * DAY)).total.allowed for n in (1, 2, 90)]
        less = await here.report(window=2 * DAY - HOUR)

        assert ([4, 7, 7], 4) == (days, less.total.allowed)

    async def test_are_those_with_most_denials_and_the_sum_of_all(
        self, start_watcher: StartWatcher
    ) -> None:
        """However many there are."""
        here = await start_watcher(max_buckets=2 * MAX_GROUPS)
        for number in range(MAX_GROUPS + 5):
            here.see(rule=f"rule_{number}", times=2 if number > 4 else 1)
        report = await here.report(top=0)

        assert (MAX_GROUPS, 2 * MAX_GROUPS + 5) == (len(report.groups), report.total.denied)
        assert {2} == {tally.denied for _, tally in report.groups}

    async def test_of_nothing_are_none(self, here: Watcher) -> None:
        """And the sum is zero."""
        report = await here.report()

        assert ([], Tally(), False) == (report.groups, report.total, report.incomplete)

    async def test_of_all_tenants_are_for_operators(self, here: Watcher) -> None:
        """As the tenant *."""
        here.see(admits=True)
        here.see(admits=True, tenant=GLOBEX)
        report = await here.report(ALL)

        assert ["acme", "globex"] == [group.tenant for group, _ in report.groups]

    @pytest.mark.parametrize(
        ("asked", "field"),
        [
            ({"window": 30 * SECOND}, "window"),
            ({"window": 90 * SECOND}, "window"),
            ({"window": 90 * DAY + MINUTE}, "window"),
            ({"window": -MINUTE}, "window"),
            ({"top": 101}, "top"),
            ({"top": -1}, "top"),
            ({"plan": "a\x00"}, "plan"),
        ],
    )
    async def test_are_refused_for_what_makes_no_sense(
        self, here: Watcher, asked: dict[str, Any], field: str
    ) -> None:
        """With the field."""
        with pytest.raises(ValidationError) as caught:
            await here.report(**asked)

        assert [field] == list(caught.value.fields)


class TestLimitedSubjects:
    async def test_are_named_with_how_often(self, here: Watcher, there: Watcher) -> None:
        """On all replicas together, most first."""
        here.see("user:1", times=3)
        here.see("user:2", times=4)
        there.see("user:1", times=5)
        there.see("user:3", admits=True, times=100)
        await there.top.flush()

        assert [("user:1", 8), ("user:2", 4)] == await here.limited()

    async def test_are_as_many_as_asked_for(self, here: Watcher) -> None:
        """None is possible too."""
        for number in range(5):
            here.see(f"user:{number}", times=number + 1)

        assert [("user:4", 5), ("user:3", 4)] == await here.limited(top=2)
        assert [] == await here.limited(top=0)

    async def test_can_be_narrowed(self, here: Watcher) -> None:
        """To a rule, to a plan."""
        here.see("user:1", rule="chat")
        here.see("user:2", rule="video", plan="pro")

        assert [("user:1", 1)] == await here.limited(rule="chat")
        assert [("user:2", 1)] == await here.limited(plan="pro")

    async def test_are_of_a_window_of_minutes_or_hours(self, here: Watcher) -> None:
        """A long window looks at hours, of a day at most."""
        here.see("yesterday", times=9)
        await here.top.flush()
        here.pass_time(DAY + HOUR)
        here.see("hours ago", times=5)
        await here.top.flush()
        here.pass_time(3 * HOUR)
        here.see("now")

        assert [("now", 1)] == await here.limited(window=HOUR)
        assert [("hours ago", 5), ("now", 1)] == await here.limited(window=4 * HOUR)
        assert [("hours ago", 5), ("now", 1)] == await here.limited(window=90 * DAY)

    async def test_of_all_tenants_are_for_operators(self, here: Watcher) -> None:
        """A tenant sees its own."""
        here.see("user:1")
        here.see("user:2", tenant=GLOBEX)

        assert [("user:1", 1), ("user:2", 1)] == await here.limited(ALL)
        assert [("user:1", 1)] == await here.limited()

    async def test_may_have_any_name(self, here: Watcher) -> None:
        """Such as one that looks like the keys here."""
        names = ["~x", "E", "F", "a:b:c", "{acme}", "ünïcödé"]
        for name in names:
            here.see(name)

        assert sorted((name, 1) for name in names) == sorted(await here.limited())

    async def test_that_are_too_many_stay_within_what_is_said(self, here: Watcher) -> None:
        """A crowd of strangers, and one who is there all the time."""
        for number in range(3 * SENT):
            here.see(f"stranger:{number}")
            if number % 6 == 0:
                here.see("regular")
        report = await here.report(top=1)
        ((subject, count),) = report.top

        assert "regular" == subject.subject
        assert count.most - count.error <= SENT / 2 <= count.most

    async def test_of_too_many_tenants_make_the_answer_incomplete(self, here: Watcher) -> None:
        """Those of the last ones are known to operators alone."""
        tenants = [Tenant(f"tenant-{number}") for number in range(MAX_TENANTS + 1)]
        for tenant in tenants:
            here.see("user:1", tenant=tenant)
        first, last = await here.report(tenants[0]), await here.report(tenants[-1])
        of_all = await here.report(ALL, top=100)

        assert (1, False) == (len(first.top), first.incomplete)
        assert (0, True) == (len(last.top), last.incomplete)
        assert MAX_TENANTS + 1 == len(of_all.top)

    async def test_are_forgotten_after_a_day(self, here: Watcher) -> None:
        """Every key has its end."""
        here.see()
        await here.top.flush()
        keys = [
            key async for page in here.redis.scan_pages(match="rl:*", count=100) for key in page
        ]
        ends = [await here.redis.execute("PTTL", key) for key in keys]

        assert 8 == len(keys)
        assert all(0 < end <= 25 * 3_600_000 for end in ends)


class TestRedisGone:
    async def test_leaves_the_figures(self, private_redis: RedisServer, postgres_url: str) -> None:
        """Who was limited most is not known then, which is said; and counted when it is back."""
        async with watcher(
            private_redis.url, postgres_url, max_buckets=100, max_violations=100
        ) as here:
            here.see("user:1", times=2)
            await private_redis.stop()
            gone = await here.report()
            here.see("user:1")
            await private_redis.start()
            back = await _when_back(here)

        assert (2, [], True) == (gone.total.denied, gone.top, gone.incomplete)
        assert [("user:1", 3)] == back


async def _when_back(here: Watcher) -> list[tuple[str, int]]:
    """Ask until Redis answers."""
    async with asyncio.timeout(20):
        while True:
            try:
                await here.top.flush()
                return await here.limited()
            except RateLimitStoreError:
                await asyncio.sleep(0.05)
