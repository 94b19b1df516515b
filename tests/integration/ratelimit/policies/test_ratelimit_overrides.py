"""Limits of one subject's own, until a moment, on every replica."""

import asyncio

import asyncpg
import pytest

from mainstay.errors import ConflictError, ValidationError
from services.ratelimit.overriding import OverrideDraft, OverrideKey
from services.ratelimit.paging import Page
from services.ratelimit.policy import SECOND
from tests.integration.ratelimit.policies.conftest import StartReplica
from tests.integration.ratelimit.policies.override_rows import BOB, FIRST, OTHER
from tests.integration.ratelimit.policies.policy_replica import (
    ACME,
    ANN,
    DAY,
    PolicyReplica,
    by,
    now_us,
)
from tests.integration.shared.waiting import until


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
