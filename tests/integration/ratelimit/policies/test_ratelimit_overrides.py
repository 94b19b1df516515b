"""Limits of one subject's own, until a moment, on every replica."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest
from structlog.testing import capture_logs

from mainstay.errors import ConflictError, NotFoundError, QuotaError, ValidationError
from services.ratelimit.override_book import SWEPT_FROM, OverrideBook
from services.ratelimit.overriding import OverrideDraft, OverrideKey
from services.ratelimit.paging import Page
from services.ratelimit.policy import SECOND
from services.ratelimit.policy_file import parse_policy
from services.ratelimit.policy_metrics import overrides_held, overrides_unreadable
from services.ratelimit.retention import Retention
from shared.rpc.call import Tenant
from tests.integration.ratelimit.policies.conftest import StartReplica
from tests.integration.ratelimit.policies.policy_replica import (
    ACME,
    ANN,
    DAY,
    PolicyReplica,
    by,
    now_us,
    text_of,
)
from tests.integration.shared.waiting import PATIENCE, until

OTHER = Tenant("other")
BOB = "user:bob"
FIRST = Page(100, None)

INSERT_MANY = """
INSERT INTO ratelimit.overrides
    (tenant, subject, rule, limits, expire_time, reason, creator, request_id, revision)
SELECT 'acme', 'user:' || n, 'api', '1/s', now() + $2::interval, 'test', 'x', '', n
FROM generate_series(1, $1) AS n
"""
SET_REVISION = "INSERT INTO ratelimit.revisions (name, revision) VALUES ('overrides', $1)"


async def insert(rows: asyncpg.Connection, number: int, lasts: timedelta) -> None:
    """Put many overrides at once."""
    await rows.execute(INSERT_MANY, number, lasts)
    await rows.execute(SET_REVISION, number)


class TestPut:
    async def test_an_override_is_known_when_the_call_returns(self, here: PolicyReplica) -> None:
        """To the subject alone, on that rule alone, in that tenant alone."""
        await here.override("99/min")

        assert "99/min" == here.limit_of()
        assert here.limit_of(BOB) is None
        assert here.limit_of(tenant=OTHER) is None
        assert here.book.find(ACME, "other", ANN) is None

    async def test_it_says_all_that_is_known_of_it(self, here: PolicyReplica) -> None:
        """Who put it, why, when, until when, and a mark of this state."""
        before = now_us()
        etag = await here.override("10/s 200/min", request_id="r-1")
        (override,), more = await here.overriding.page(ACME, FIRST, subject="", rule="")

        assert ("acme", "api", ANN, "10/s 200/min") == (
            override.tenant,
            override.rule,
            override.subject,
            override.written,
        )
        assert ("test", "ann", etag, False) == (
            override.reason,
            override.creator,
            override.etag,
            more,
        )
        assert before - SECOND < override.created_at < now_us() + SECOND
        assert abs(override.expires_at - before - DAY) < 60 * SECOND

    async def test_it_is_known_on_other_replicas_at_once(self, start_replica: StartReplica) -> None:
        """They are told; their next look of their own would be in a minute."""
        here = await start_replica()
        there = await start_replica(running=True, interval=60.0)
        await until(lambda: there.hears)
        async with asyncio.timeout(2):
            await here.override("99/min")
            await until(lambda: there.limit_of() == "99/min")

    async def test_it_replaces_the_one_before(self, here: PolicyReplica) -> None:
        """Its mark is another one then."""
        first = await here.override("99/min")
        second = await here.override("unlimited")
        found, _ = await here.overriding.page(ACME, FIRST, subject="", rule="")

        assert ("unlimited", ["unlimited"]) == (here.limit_of(), [each.written for each in found])
        assert first != second

    async def test_it_is_written_down_who_did_it(
        self, here: PolicyReplica, rows: asyncpg.Connection
    ) -> None:
        """Both that it was put and that it was ended."""
        await here.override("99/min", request_id="r-1")
        key = OverrideKey(ACME, "api", ANN)
        await here.overriding.end(key, reason="over", actor=by("bob", "r-2"))
        found = await rows.fetch(
            "SELECT tenant, principal, request_id, action, target, reason, details->>'rule', "
            "details->>'limits' FROM ratelimit.audit_log WHERE tenant <> '*' ORDER BY audit_id"
        )

        assert [
            ("acme", "ann", "r-1", "put_override", ANN, "test", "api", "99/min"),
            ("acme", "bob", "r-2", "delete_override", ANN, "over", "api", "99/min"),
        ] == [tuple(row) for row in found]


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "field", "told"),
        [
            ({"subject": ""}, "override.subject", "is empty"),
            ({"subject": "a\n"}, "override.subject", "control character"),
            ({"rule": ""}, "override.rule", "is empty; ListLimits"),
            ({"limits": ""}, "override.limits", "is empty"),
            ({"limits": "x" * 201}, "override.limits", "has 201 characters"),
            ({"limits": "99"}, "override.limits", "is '99'; write one such as 20/min"),
            ({"lasts": -1}, "override.expire_time", "is over; give a time to come"),
            (
                {"lasts": 367 * DAY},
                "override.expire_time",
                "is too far away; give a time at most 366",
            ),
        ],
    )
    async def test_name_the_field_and_the_way_out(
        self, here: PolicyReplica, change: dict[str, str | int], field: str, told: str
    ) -> None:
        """Nothing is stored."""
        values: dict[str, str | int] = {
            "subject": ANN,
            "rule": "api",
            "limits": "9/s",
            "lasts": DAY,
        }
        values.update(change)
        draft = OverrideDraft(
            OverrideKey(ACME, str(values["rule"]), str(values["subject"])),
            str(values["limits"]),
            now_us() + int(values["lasts"]),
            "test",
            "",
        )
        with pytest.raises(ValidationError) as caught:
            await here.overriding.put(draft, by("ann", "r"))

        assert [field] == list(caught.value.fields)
        assert told in caught.value.fields[field]

    async def test_tell_all_mistakes_at_once(self, here: PolicyReplica) -> None:
        """One call finds them all."""
        draft = OverrideDraft(OverrideKey(ACME, "", ""), "", 0, "", "")
        with pytest.raises(ValidationError) as caught:
            await here.overriding.put(draft, by("ann", "r"))

        parts = ("subject", "rule", "limits", "expire_time", "reason")
        assert [f"override.{part}" for part in parts] == list(caught.value.fields)

    async def test_a_rule_that_there_is_not(self, here: PolicyReplica) -> None:
        """With where to find those that there are."""
        with pytest.raises(NotFoundError) as caught:
            await here.override("99/min", rule="nothing")

        assert "RULE_NOT_FOUND" == caught.value.reason

    async def test_limits_of_another_kind_than_the_rule(self, start_replica: StartReplica) -> None:
        """Places are a number, rates have a window."""
        here = await start_replica()
        await here.edit(
            text_of("10/min") + "concurrency:\n  - {name: rooms, endpoints: [a], default: 1}\n"
        )
        with pytest.raises(ValidationError, match="places"):
            await here.override("99/min", rule="rooms")

        assert await here.override("7", rule="rooms")

    async def test_more_than_a_tenant_may_have(
        self, here: PolicyReplica, rows: asyncpg.Connection
    ) -> None:
        """Those that are there can still be changed; those that have ended do not count."""
        await insert(rows, 10_000, timedelta(days=1))
        with pytest.raises(QuotaError, match="10,000 already"):
            await here.override("99/min", subject=BOB)
        await here.override("99/min", subject="user:7")
        await here.override("99/min", subject=BOB, tenant=OTHER)
        await rows.execute(
            "UPDATE ratelimit.overrides SET expire_time = now() WHERE subject = 'user:8'"
        )
        await here.override("99/min", subject=BOB)

        assert "99/min" == here.limit_of(BOB)


class TestEtag:
    async def test_that_is_current_lets_a_change_through(self, here: PolicyReplica) -> None:
        """Nobody was faster."""
        etag = await here.override("99/min")
        await here.override("98/min", etag=etag)

        assert "98/min" == here.limit_of()

    @pytest.mark.parametrize("first", ["99/min", None])
    async def test_that_is_not_is_a_conflict(self, here: PolicyReplica, first: str | None) -> None:
        """Somebody else changed it, or it is gone."""
        if first is not None:
            await here.override(first)
        with pytest.raises(ConflictError, match="changed it") as caught:
            await here.override("98/min", etag="77")

        assert ("ETAG_MISMATCH", first) == (caught.value.reason, here.limit_of())

    async def test_of_a_call_that_is_repeated_does_no_harm(self, here: PolicyReplica) -> None:
        """As after a commit that was not acknowledged."""
        etag = await here.override("99/min")
        draft = OverrideDraft(OverrideKey(ACME, "api", ANN), "98/min", now_us() + DAY, "test", etag)
        first = await here.overriding.put(draft, by("ann", "same"))
        again = await here.overriding.put(draft, by("ann", "same"))

        assert first == again


class TestEnd:
    async def test_an_override_is_gone_when_the_call_returns(self, here: PolicyReplica) -> None:
        """The second time there is nothing to end."""
        await here.override("99/min")
        key = OverrideKey(ACME, "api", ANN)
        ended = [await here.overriding.end(key, reason="", actor=by("ann", it)) for it in "rs"]

        assert ([True, False], None) == (ended, here.limit_of())
        assert ([], False) == await here.overriding.page(ACME, FIRST, subject="", rule="")

    async def test_of_a_call_that_is_repeated_says_the_same(
        self, here: PolicyReplica, rows: asyncpg.Connection
    ) -> None:
        """Its answer may have been lost. It is on record once, and another call finds nothing."""
        await here.override("99/min")
        key = OverrideKey(ACME, "api", ANN)
        ended = [
            await here.overriding.end(key, reason="over", actor=by("bob", request_id))
            for request_id in ("r-1", "r-1", "r-2")
        ]
        query = "SELECT count(*) FROM ratelimit.audit_log WHERE action = 'delete_override'"

        assert ([True, True, False], 1) == (ended, await rows.fetchval(query))

    async def test_it_is_gone_on_other_replicas(self, start_replica: StartReplica) -> None:
        """Also on one that knew it."""
        here, there = await start_replica(), await start_replica()
        await here.override("99/min")
        await there.revisions.run_once()
        before = there.limit_of()
        await here.overriding.end(OverrideKey(ACME, "api", ANN), reason="", actor=by("ann", "r"))
        await there.revisions.run_once()

        assert ("99/min", None) == (before, there.limit_of())

    async def test_that_of_another_tenant_cannot_be_ended(self, here: PolicyReplica) -> None:
        """For others it is not there."""
        await here.override("99/min")
        key = OverrideKey(OTHER, "api", ANN)

        assert not await here.overriding.end(key, reason="", actor=by("ann", "r"))
        assert "99/min" == here.limit_of()

    async def test_it_ends_by_itself(self, here: PolicyReplica) -> None:
        """Without anybody telling anybody."""
        await here.override("99/min", lasts=SECOND)
        before = here.limit_of()
        await until(lambda: here.limit_of() is None)

        assert "99/min" == before
        assert ([], False) == await here.overriding.page(ACME, FIRST, subject="", rule="")

    async def test_one_that_has_ended_can_be_put_again(self, here: PolicyReplica) -> None:
        """As if there had been none."""
        await here.override("99/min")
        await here.overriding.end(OverrideKey(ACME, "api", ANN), reason="", actor=by("ann", "r"))
        await here.override("98/min")

        assert "98/min" == here.limit_of()


class TestList:
    async def test_is_in_pages_by_subject_and_rule(self, here: PolicyReplica) -> None:
        """Of one tenant."""
        for subject in ("c", "a", "b"):
            await here.override("99/min", subject=subject)
        await here.override("99/min", subject="a", tenant=OTHER)
        first, more = await here.overriding.page(ACME, Page(2, None), subject="", rule="")
        last, no_more = await here.overriding.page(ACME, Page(2, ("b", "api")), subject="", rule="")

        assert ["a", "b", "c"] == [override.subject for override in (*first, *last)]
        assert (True, False) == (more, no_more)

    @pytest.mark.parametrize(
        ("subject", "rule", "expected"),
        [(ANN, "", [ANN]), ("", "api", [ANN, BOB]), (ANN, "other", []), ("nobody", "", [])],
    )
    async def test_may_be_of_one_subject_or_rule(
        self, here: PolicyReplica, subject: str, rule: str, expected: list[str]
    ) -> None:
        """Or of both."""
        for each in (ANN, BOB):
            await here.override("99/min", subject=each)
        found, _ = await here.overriding.page(ACME, FIRST, subject=subject, rule=rule)

        assert expected == [override.subject for override in found]

    async def test_of_what_cannot_be_is_refused(self, here: PolicyReplica) -> None:
        """What PostgreSQL cannot hold is a mistake of the caller's, not of this service."""
        for field in ("subject", "rule"):
            with pytest.raises(ValidationError) as listed:
                await here.overriding.page(ACME, FIRST, **{"subject": "", "rule": "", field: "a\0"})
            key = OverrideKey(
                ACME, *("a\0" if name == field else "x" for name in ("rule", "subject"))
            )
            with pytest.raises(ValidationError) as ended:
                await here.overriding.end(key, reason="", actor=by("ann", "r"))
            assert [{field}, {field}] == [set(each.value.fields) for each in (listed, ended)]


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


class TestRetention:
    async def test_deletes_what_nobody_asks_for_any_more(
        self, here: PolicyReplica, rows: asyncpg.Connection
    ) -> None:
        """Overrides that ended a day ago, and audits of more than 400 days."""
        await insert(rows, 3, timedelta(hours=-25))
        await here.override("99/min", subject=BOB)
        await here.overriding.end(OverrideKey(ACME, "api", BOB), reason="", actor=by("ann", "r"))
        await rows.execute(
            "UPDATE ratelimit.audit_log SET create_time = now() - interval '401 days' "
            "WHERE action = 'put_override'"
        )
        deleted = await Retention(here.database).run_once()
        overrides = await rows.fetch("SELECT subject FROM ratelimit.overrides")
        audits = await rows.fetch("SELECT action FROM ratelimit.audit_log ORDER BY audit_id")

        assert (4, [BOB]) == (deleted, [row["subject"] for row in overrides])
        assert ["load_policy", "delete_override"] == [row["action"] for row in audits]

    async def test_goes_on_by_itself(self, here: PolicyReplica, rows: asyncpg.Connection) -> None:
        """For as long as the service runs, from when the database is there."""
        await insert(rows, 3, timedelta(hours=-25))
        task = asyncio.create_task(Retention(here.database).run())
        async with asyncio.timeout(PATIENCE):
            while await rows.fetchval("SELECT count(*) FROM ratelimit.overrides"):  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
