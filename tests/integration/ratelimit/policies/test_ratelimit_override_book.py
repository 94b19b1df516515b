"""What each replica knows of all overrides, and that replicas agree."""

import asyncio
from datetime import timedelta

import asyncpg
from structlog.testing import capture_logs

from services.ratelimit.override_book import SWEPT_FROM, OverrideBook
from services.ratelimit.overriding import OverrideKey
from services.ratelimit.policy import SECOND
from services.ratelimit.policy_file import parse_policy
from services.ratelimit.policy_metrics import overrides_held, overrides_unreadable
from tests.integration.ratelimit.policies.conftest import StartReplica
from tests.integration.ratelimit.policies.override_rows import BOB, FIRST, insert
from tests.integration.ratelimit.policies.policy_replica import (
    ACME,
    ANN,
    DAY,
    PolicyReplica,
    by,
    now_us,
    text_of,
)


class TestBook:
    async def test_lets_go_of_what_ended_though_nobody_asks_for_it(
        self, here: PolicyReplica, rows: asyncpg.Connection
    ) -> None:
        """Subjects that had one for an hour need not ever come again."""
        clock = [now_us()]
        book = OverrideBook(here.overrides, here.policies, lambda: clock[0])
        await insert(rows, SWEPT_FROM - 1, timedelta(hours=1))
        await book.load()
        before = overrides_held._value.get()
        clock[0] += 2 * 3_600 * SECOND
        await here.override("99/min")
        await book.load()

        assert (SWEPT_FROM - 1, 1) == (before, overrides_held._value.get())
        assert book.find(ACME, "api", ANN) is not None

    async def test_previews_leave_out_what_has_ended_or_does_not_fit(
        self, here: PolicyReplica
    ) -> None:
        """Quietly: nothing of what is in force was left out."""
        clock = [now_us()]
        book = OverrideBook(here.overrides, here.policies, lambda: clock[0])
        await here.override("99/min")
        await book.load()
        policy = here.policies.current
        strange = parse_policy(text_of("1/s", more=", algorithm: gcra"), "new")
        unreadable = overrides_unreadable._value.get()
        await here.override("1000000/s", subject=BOB)
        await book.load()
        fitting = book.find_under(policy, ACME, "api", ANN)
        odd = book.find_under(strange, ACME, "api", BOB)
        clock[0] += 2 * DAY

        assert fitting is not None
        assert [None, None] == [odd, book.find_under(policy, ACME, "api", ANN)]
        assert unreadable == overrides_unreadable._value.get()

    async def test_knows_at_the_start_what_was_put_before(
        self, here: PolicyReplica, start_replica: StartReplica, rows: asyncpg.Connection
    ) -> None:
        """However many there are."""
        await insert(rows, 2_500, timedelta(days=1))
        later = await start_replica()

        assert ("1/s", "1/s") == (later.limit_of("user:1"), later.limit_of("user:2500"))

    async def test_reads_limits_as_the_rule_counts_now(self, here: PolicyReplica) -> None:
        """A rule that gets another algorithm has overrides that count by it."""
        await here.override("1_000/min")
        await here.edit(text_of("10/min", more=", algorithm: gcra, burst: 3"))
        override = here.book.find(ACME, "api", ANN)

        assert override is not None
        assert ("gcra", 3) == (override.limits[0].algorithm.value, override.limits[0].burst)

    async def test_leaves_out_what_no_longer_fits_its_rule(self, here: PolicyReplica) -> None:
        """It is logged, and holds again with a policy that it fits."""
        await here.override("1000/min")
        gone = text_of("10/min").replace("name: api", "name: other")
        with capture_logs() as lines:
            await here.edit(gone)
            without = [here.limit_of() for _ in range(3)]
        await here.edit(text_of("20/min"))

        assert ([None] * 3, "1000/min") == (without, here.limit_of())
        left_out = [line for line in lines if line["event"] == "override_left_out"]
        assert [("api", ANN)] == [(line["rule"], line["subject"]) for line in left_out]

    async def test_reads_everything_anew_from_a_database_that_was_restored(
        self, here: PolicyReplica, rows: asyncpg.Connection
    ) -> None:
        """What was put after the copy is gone."""
        await here.override("99/min", subject=ANN)
        await here.override("99/min", subject=BOB)
        await rows.execute("DELETE FROM ratelimit.overrides WHERE subject = $1", BOB)
        await rows.execute("UPDATE ratelimit.revisions SET revision = 1")
        await here.revisions.run_once()

        assert ("99/min", None) == (here.limit_of(ANN), here.limit_of(BOB))


class TestTogether:
    async def test_replicas_that_change_the_same_agree_in_the_end(
        self, start_replica: StartReplica
    ) -> None:
        """On what is stored, whoever was last."""
        replicas = [await start_replica() for _ in range(2)]
        subjects = [f"user:{number}" for number in range(4)]

        async def change(number: int) -> None:
            replica, subject = replicas[number % 2], subjects[number % 4 ^ number % 3]
            if number % 5 == 4:
                key = OverrideKey(ACME, "api", subject)
                await replica.overriding.end(key, reason="", actor=by("ann", str(number)))
            else:
                await replica.override(f"{number + 1}/min", subject=subject, request_id=str(number))

        await asyncio.gather(*map(change, range(60)))
        stored, _ = await replicas[0].overriding.page(ACME, FIRST, subject="", rule="")
        expected = {override.subject: override.written for override in stored}
        for replica in replicas:
            await replica.revisions.run_once()
            known = {subject: replica.limit_of(subject) for subject in subjects}
            assert expected == {subject: limit for subject, limit in known.items() if limit}
