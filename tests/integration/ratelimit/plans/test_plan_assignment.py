"""Assigning plans: what is kept, what is on record, and which of several events decides."""

from itertools import permutations
from uuid import UUID

import asyncpg
import pytest

from mainstay.context import new_request_id
from mainstay.errors import NotFoundError, PreconditionError, ValidationError
from services.ratelimit.database import Database
from services.ratelimit.decision import PlanSource
from services.ratelimit.plan_ports import PlanWish
from services.ratelimit.postgres_plans import PostgresPlans
from tests.integration.ratelimit.plans.replica import ACME, ANN, OTHER, SUPPORT, Replica

JOBS = sorted(UUID(new_request_id()) for _ in range(3))
AUDITED = "SELECT action, principal, request_id, target, reason, details FROM ratelimit.audit_log"


def wish(plan: str, job: UUID | None = None, reason: str = "") -> PlanWish:
    return PlanWish(subject=ANN, plan=plan, job_id=job, reason=reason)


class TestAssigning:
    async def test_answers_with_what_holds_then(self, alone: Replica) -> None:
        """Who is on which plan, by whom."""
        assigned = await alone.plans.assign(ACME, wish("pro"), SUPPORT)

        assert (ANN, "pro", "support") == (assigned.subject, assigned.plan, assigned.assigner)
        assert assigned == (await alone.plans.get(ACME, ANN)).assignment

    async def test_of_what_holds_changes_nothing(
        self, alone: Replica, rows: asyncpg.Connection
    ) -> None:
        """Neither since when nor the record: it may be repeated."""
        first = await alone.plans.assign(ACME, wish("pro"), SUPPORT)
        second = await alone.plans.assign(ACME, wish("pro"), SUPPORT)

        assert first == second
        assert 1 == await rows.fetchval("SELECT count(*) FROM ratelimit.audit_log")

    async def test_is_on_record(self, alone: Replica, rows: asyncpg.Connection) -> None:
        """Who, in which call, whom, why, from where to where."""
        await alone.plans.assign(ACME, wish("basic"), SUPPORT)
        await alone.plans.assign(ACME, wish("pro", reason="an upgrade"), SUPPORT)
        last = await rows.fetchrow(f"{AUDITED} ORDER BY audit_id DESC LIMIT 1")

        assert (
            "assign_plan",
            "support",
            "request-1",
            ANN,
            "an upgrade",
            '{"plan": "pro", "before": "basic"}',
        ) == tuple(last)

    async def test_no_plan_ends_it(self, alone: Replica) -> None:
        """The subject is as one that never had any, but for since when."""
        await alone.plans.assign(ACME, wish("pro"), SUPPORT)
        await alone.plans.assign(ACME, wish(""), SUPPORT)
        membership = await alone.plans.get(ACME, ANN)

        assert ("", ()) == (membership.assignment.plan, membership.features)
        assert membership.assignment.assigned_at is not None

    async def test_no_plan_to_who_has_none_keeps_nothing(
        self, alone: Replica, rows: asyncpg.Connection
    ) -> None:
        """There is nothing to remember, and nothing on record."""
        assigned = await alone.plans.assign(ACME, wish(""), SUPPORT)

        assert ("", None) == (assigned.plan, assigned.assigned_at)
        assert 0 == await rows.fetchval("SELECT count(*) FROM ratelimit.audit_log")

    async def test_is_of_one_tenant(self, alone: Replica) -> None:
        """The same subject of another one has no plan."""
        await alone.plans.assign(ACME, wish("pro"), SUPPORT)

        assert None is (await alone.plans.get(OTHER, ANN)).assignment.assigned_at

    @pytest.mark.parametrize(
        ("subject", "plan", "reason", "field"),
        [
            ("", "pro", "", "subject"),
            ("a" * 257, "pro", "", "subject"),
            ("user:\n", "pro", "", "subject"),
            (ANN, "gold", "", "plan"),
            (ANN, "pro", "a" * 501, "reason"),
            (ANN, "pro", "a\0", "reason"),
        ],
    )
    async def test_refuses_what_cannot_be(
        self, alone: Replica, subject: str, plan: str, reason: str, field: str
    ) -> None:
        """The field is named."""
        with pytest.raises(ValidationError) as error:
            await alone.plans.assign(
                ACME, PlanWish(subject=subject, plan=plan, reason=reason), SUPPORT
            )

        assert [field] == list(error.value.fields)

    async def test_needs_a_database(self) -> None:
        """A service without one says so."""
        with pytest.raises(PreconditionError, match="MAINSTAY_POSTGRES_URL") as error:
            await PostgresPlans(Database(None)).assign(ACME, wish("pro"), SUPPORT)

        assert "NO_DATABASE" == error.value.reason


class TestEvents:
    @pytest.mark.parametrize("order", list(permutations(range(3))))
    async def test_decide_by_their_order_not_by_when_they_come(
        self, alone: Replica, order: tuple[int, ...]
    ) -> None:
        """One that was tried again, and comes after newer ones, changes nothing."""
        plans = ["basic", "pro", ""]
        for number in order:
            await alone.plans.assign(ACME, wish(plans[number], JOBS[number]), SUPPORT)

        assert "" == (await alone.plans.get(ACME, ANN)).assignment.plan

    async def test_that_change_nothing_count_too(self, alone: Replica) -> None:
        """What came between two events of one plan is older than the second."""
        await alone.plans.assign(ACME, wish("pro", JOBS[0]), SUPPORT)
        await alone.plans.assign(ACME, wish("pro", JOBS[2]), SUPPORT)
        await alone.plans.assign(ACME, wish("basic", JOBS[1]), SUPPORT)

        assert "pro" == (await alone.plans.get(ACME, ANN)).assignment.plan

    async def test_are_not_undone_by_older_ones_after_a_call(self, alone: Replica) -> None:
        """A call in between does not make anybody forget which events there were."""
        await alone.plans.assign(ACME, wish("pro", JOBS[1]), SUPPORT)
        await alone.plans.assign(ACME, wish("enterprise"), SUPPORT)
        await alone.plans.assign(ACME, wish("basic", JOBS[0]), SUPPORT)

        assert "enterprise" == (await alone.plans.get(ACME, ANN)).assignment.plan


class TestFeatures:
    async def test_are_those_of_the_plan(self, alone: Replica) -> None:
        """In their order."""
        await alone.plans.assign(ACME, wish("pro"), SUPPORT)

        assert ("chat", "export") == (await alone.plans.get(ACME, ANN)).features

    async def test_are_checked_on_the_assigned_plan(self, alone: Replica) -> None:
        """Without a plan in the call."""
        await alone.plans.assign(ACME, wish("pro"), SUPPORT)
        check = await alone.plans.check_feature(ACME, ANN, "sso", plan="")

        assert (False, "pro", PlanSource.ASSIGNED) == (
            check.included,
            check.plan,
            check.plan_source,
        )
        assert "enterprise" == check.upgrade_plan

    async def test_are_checked_on_the_plan_of_the_call(self, alone: Replica) -> None:
        """It goes before the assigned one."""
        await alone.plans.assign(ACME, wish("basic"), SUPPORT)
        check = await alone.plans.check_feature(ACME, ANN, "export", plan="pro")

        assert (True, PlanSource.CALL) == (check.included, check.plan_source)

    async def test_that_nobody_has_are_not_found(self, alone: Replica) -> None:
        """More likely a mistake in writing than a feature."""
        with pytest.raises(NotFoundError, match="'exprot'") as error:
            await alone.plans.check_feature(ACME, ANN, "exprot", plan="")

        assert "FEATURE_NOT_FOUND" == error.value.reason

    @pytest.mark.parametrize(
        ("feature", "plan", "field"), [("", "", "feature"), ("chat", "gold", "plan")]
    )
    async def test_refuse_what_cannot_be(
        self, alone: Replica, feature: str, plan: str, field: str
    ) -> None:
        """The field is named."""
        with pytest.raises(ValidationError) as error:
            await alone.plans.check_feature(ACME, ANN, feature, plan=plan)

        assert [field] == list(error.value.fields)
