"""Denials can be listed: whose, of whom, by which rule and when."""

import asyncio
from typing import Any

import asyncpg
import pytest

from mainstay.errors import PreconditionError, ValidationError
from services.ratelimit.decision import DenialReason
from services.ratelimit.paging import token_after
from services.ratelimit.policy import DAY, SECOND
from tests.integration.ratelimit.evidence.conftest import StartWatcher
from tests.integration.ratelimit.evidence.watcher import ALL, GLOBEX, HOUR, NOON, Watcher


class TestViolationList:
    async def test_tells_all_that_is_known(self, here: Watcher) -> None:
        """Also of what happened a moment ago."""
        here.see("user:1", plan="pro")
        here.pass_time(SECOND // 2)
        here.see("user:1", plan="pro", times=2)
        (violation,) = await here.violations()

        assert violation.offence == (
            "acme", "user:1", "chat", "/chat", "pro", DenialReason.LIMIT, False
        )  # fmt: skip
        assert (3, NOON, NOON + SECOND // 2) == (
            violation.count,
            violation.first_at,
            violation.last_at,
        )
        assert ("call-1", "10/min") == (violation.request_id, violation.limit)

    async def test_has_what_a_rule_in_shadow_would_have_denied(self, here: Watcher) -> None:
        """Marked as such: the act went ahead."""
        here.see(shadow=True)
        (violation,) = await here.violations()

        assert violation.offence.shadow

    async def test_has_nothing_of_what_was_allowed(self, here: Watcher) -> None:
        """It is about denials."""
        here.see(admits=True)

        assert [] == await here.violations()

    async def test_has_a_new_entry_every_second_or_so(self, here: Watcher) -> None:
        """As often as evidence is handed over."""
        for _ in range(3):
            here.see(times=2)
            await here.write()
            here.pass_time(SECOND)

        assert [2, 2, 2] == [violation.count for violation in await here.violations()]

    async def test_is_of_all_replicas(self, here: Watcher, there: Watcher) -> None:
        """Of the others, what they have written."""
        here.see("user:1")
        there.see("user:2")
        await there.write()

        assert {"user:1", "user:2"} == {it.offence.subject for it in await here.violations()}

    async def test_begins_with_the_newest(self, here: Watcher) -> None:
        """Whoever looks wants to know what happens now."""
        for number in range(3):
            here.see(f"user:{number}")
            here.pass_time(SECOND)

        assert ["user:2", "user:1", "user:0"] == [
            violation.offence.subject for violation in await here.violations()
        ]


class TestNarrowing:
    async def test_by_subject_and_rule(self, here: Watcher) -> None:
        """Either, or both."""
        for subject in ("user:1", "user:2"):
            for rule in ("chat", "video"):
                here.see(subject, rule=rule)
        subjects = [it.offence.rule for it in await here.violations(subject="user:1")]
        rules = [it.offence.subject for it in await here.violations(rule="chat")]
        both = await here.violations(subject="user:2", rule="video")

        assert ["chat", "video"] == sorted(subjects)
        assert ["user:1", "user:2"] == sorted(rules)
        assert [("user:2", "video")] == [(it.offence.subject, it.offence.rule) for it in both]

    async def test_by_time(self, here: Watcher) -> None:
        """From a moment on, until just before another."""
        for number in range(4):
            here.see(f"user:{number}")
            here.pass_time(HOUR)
        found = await here.violations(start=NOON + HOUR, end=NOON + 3 * HOUR)

        assert ["user:2", "user:1"] == [violation.offence.subject for violation in found]

    async def test_is_to_the_last_day_when_nothing_is_said(self, here: Watcher) -> None:
        """What is older has to be asked for."""
        here.see("user:1")
        here.pass_time(DAY + 2)
        here.see("user:2")
        recent = await here.violations()
        older = await here.violations(start=NOON)

        assert ["user:2"] == [violation.offence.subject for violation in recent]
        assert ["user:2", "user:1"] == [violation.offence.subject for violation in older]

    async def test_to_a_tenant_is_by_itself(self, here: Watcher) -> None:
        """The tenant * sees all."""
        here.see()
        here.see(tenant=GLOBEX)
        found = {tenant: await here.violations(tenant) for tenant in (GLOBEX, ALL)}

        assert ["globex"] == [violation.offence.tenant for violation in found[GLOBEX]]
        assert ["acme", "globex"] == sorted(it.offence.tenant for it in found[ALL])


class TestPages:
    async def test_have_each_once(self, here: Watcher) -> None:
        """Many of them began at the same moment, and new ones come in between."""
        for number in range(7):
            here.see(f"user:{number}")
        found: list[str] = []
        token = ""
        while True:
            page = await here.page(page_size=3, page_token=token)
            found += [violation.offence.subject for violation in page.violations]
            token = page.next_token
            if not token:
                break
            here.pass_time(1)
            here.see(f"late:{len(found)}")

        assert sorted(f"user:{number}" for number in range(7)) == sorted(found)

    async def test_end_where_the_list_does(self, here: Watcher) -> None:
        """A page that is full and the last has no token."""
        for number in range(3):
            here.see(f"user:{number}")
        page = await here.page(page_size=3)

        assert (3, "") == (len(page.violations), page.next_token)


class TestBadQuestions:
    @pytest.mark.parametrize(
        ("asked", "field"),
        [
            ({"page_size": 501}, "page_size"),
            ({"page_size": -1}, "page_size"),
            ({"page_token": "made-up"}, "page_token"),
            ({"subject": "a\nb"}, "subject"),
            ({"subject": "a" * 257}, "subject"),
            ({"rule": "a\x00"}, "rule"),
            ({"start": NOON, "end": NOON}, "start_time"),
            ({"start": NOON, "end": NOON - 1}, "start_time"),
        ],
    )
    async def test_are_told_the_field(
        self, here: Watcher, asked: dict[str, Any], field: str
    ) -> None:
        """And what would be right."""
        with pytest.raises(ValidationError) as caught:
            await here.page(**asked)

        assert [field] == list(caught.value.fields)

    async def test_without_a_database_are_told_so(self, start_watcher: StartWatcher) -> None:
        """Nothing is kept then, and nothing piles up."""
        alone = await start_watcher(postgres_url=None)
        alone.see(times=1_000)
        with pytest.raises(PreconditionError) as caught:
            await alone.page()

        assert "NO_DATABASE" == caught.value.reason


class TestOneWriter:
    async def test_is_enough_for_callers_that_all_want_the_newest(
        self, here: Watcher, rows: asyncpg.Connection
    ) -> None:
        """Nothing is written twice."""
        here.see(times=3)
        await asyncio.gather(*(here.page() for _ in range(5)))

        assert 3 == await rows.fetchval("SELECT sum(count) FROM ratelimit.rate_limit_violations")


class TestForgedTokens:
    @pytest.mark.parametrize("start", [-(2**63), 2**63 - 1, 2**57, -1])
    async def test_of_times_that_no_clock_shows_find_what_there_is(
        self, here: Watcher, start: int
    ) -> None:
        """A token is no secret, and nothing breaks by one that was made up."""
        here.see()
        page = await here.page(page_token=token_after(start, 0))

        assert len(page.violations) == (1 if start > NOON else 0)
