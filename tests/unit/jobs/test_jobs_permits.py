"""Permits that are asked for in advance: used once, given back when nobody uses them."""

from collections.abc import Mapping

import pytest

from mainstay.errors import PreconditionError, UnavailableError
from services.jobs.caps import Rate, rate_of
from services.jobs.permits import Grant, NoRateLimits, Permits
from services.jobs.wakeups import Change, Wakeups

MAIL = Rate("acme", "mail", "tenant:acme")
CALLS = Rate("acme", "calls", "tenant:acme")


class Budgets:
    """Budgets of which some is left; None is one whose keeper does not answer."""

    def __init__(self, left: dict[Rate, int], *, retry_after: float = 5.0) -> None:
        self.left: dict[Rate, int] | None = left
        self.retry_after = retry_after
        self.asked: list[dict[Rate, int]] = []
        self.returned: list[tuple[Rate, int]] = []

    async def ask(self, wanted: Mapping[Rate, int]) -> Mapping[Rate, Grant]:
        """Give what is left."""
        self.asked.append(dict(wanted))
        if self.left is None:
            raise UnavailableError("the rate limit service is away")
        granted = {}
        for rate, permits in wanted.items():
            given = min(permits, self.left.get(rate, 0))
            self.left[rate] = self.left.get(rate, 0) - given
            granted[rate] = Grant(permits=given, retry_after=self.retry_after)
        return granted

    async def give_back(self, rate: Rate, permits: int) -> None:
        """Note what comes back."""
        self.returned.append((rate, permits))


class Desk:
    """Permits with a clock that a test sets, and what they tell others."""

    def __init__(self, budgets: Budgets | NoRateLimits) -> None:
        self.now = 100.0
        self.changes: list[Change] = []
        self.conditions: list[str | None] = []
        wakeups = Wakeups()
        wakeups.subscribe(self.changes.append)
        self.permits = Permits(
            budgets,
            wakeups,
            clock=lambda: self.now,
            report=lambda _, problem: self.conditions.append(problem),
        )

    async def want(self, after: float = 0.0, **wanted: int) -> dict[Rate, int]:
        """Let a claim want something and return what is in hand then."""
        self.now += after
        rates = {"mail": MAIL, "calls": CALLS}
        self.permits.note(spent={}, wanting={rates[name]: count for name, count in wanted.items()})
        await self.permits.run_once()
        return self.permits.in_hand()


class TestAsking:
    async def test_what_is_wanted(self) -> None:
        """What a claim wants is asked for, and the next claim is woken."""
        desk = Desk(Budgets({MAIL: 10}))

        in_hand = await desk.want(mail=3)

        assert {MAIL: 3} == in_hand
        assert [Change(permits=True)] == desk.changes

    async def test_used_once(self) -> None:
        """A permit that was used is in hand no more."""
        desk = Desk(Budgets({MAIL: 10}))
        await desk.want(mail=3)

        desk.permits.note(spent={MAIL: 2}, wanting={})

        assert {MAIL: 1} == desk.permits.in_hand()

    async def test_used_up(self) -> None:
        """A budget that was used up is not asked again before the time it says."""
        budgets = Budgets({MAIL: 1}, retry_after=5.0)
        desk = Desk(budgets)
        await desk.want(mail=2)
        budgets.left = {MAIL: 9}

        early, late = await desk.want(after=4.9, mail=2), await desk.want(after=0.2, mail=2)

        assert ({MAIL: 1}, {MAIL: 3}) == (early, late)
        assert 2 == len(budgets.asked)

    async def test_asks_by_itself(self) -> None:
        """It asks again when that time has come, without another claim."""
        budgets = Budgets({}, retry_after=5.0)
        desk = Desk(budgets)
        await desk.want(mail=2)
        budgets.left = {MAIL: 9}
        desk.now += 5.1

        await desk.permits.run_once()

        assert {MAIL: 2} == desk.permits.in_hand()

    async def test_not_for_hours(self) -> None:
        """However long it says, a budget is asked again after half a minute: it may be reset."""
        budgets = Budgets({}, retry_after=3_600.0)
        desk = Desk(budgets)
        await desk.want(mail=2)
        budgets.left = {MAIL: 9}

        assert {MAIL: 2} == await desk.want(after=30.1, mail=2)

    async def test_wanted_no_more(self) -> None:
        """What the newest claim does not want is not asked for."""
        budgets = Budgets({}, retry_after=5.0)
        desk = Desk(budgets)
        await desk.want(mail=2)

        await desk.want(after=5.1)

        assert 1 == len(budgets.asked)

    async def test_each_on_its_own(self) -> None:
        """A budget that is used up does not hold up another."""
        desk = Desk(Budgets({CALLS: 5}))

        assert {CALLS: 4} == await desk.want(mail=1, calls=4)


class TestGivingBack:
    async def test_kept_too_long(self) -> None:
        """What nobody used within ten seconds is given back."""
        budgets = Budgets({MAIL: 10})
        desk = Desk(budgets)
        await desk.want(mail=3)
        desk.permits.note(spent={MAIL: 1}, wanting={})

        await desk.want(after=10.1)

        assert [(MAIL, 2)] == budgets.returned
        assert {} == desk.permits.in_hand()

    async def test_while_a_claim_has_them(self) -> None:
        """What a claim may be using just now is not given back meanwhile."""
        budgets = Budgets({MAIL: 10})
        desk = Desk(budgets)
        await desk.want(mail=3)
        desk.now += 9.9
        lent = desk.permits.lend()
        desk.now += 0.2
        await desk.permits.run_once()
        meanwhile = list(budgets.returned)
        desk.permits.note(spent={MAIL: 2}, wanting={})
        await desk.permits.run_once()

        assert {MAIL: 3} == lent
        assert ([], [(MAIL, 1)]) == (meanwhile, budgets.returned)

    async def test_uncertain(self) -> None:
        """When nobody knows whether they were used, they count as used."""
        budgets = Budgets({MAIL: 10})
        desk = Desk(budgets)
        await desk.want(mail=3)

        desk.permits.forget()
        await desk.want(after=10.1)

        assert ([], {}) == (budgets.returned, desk.permits.in_hand())


class TestUnreachable:
    async def test_waits(self) -> None:
        """While nobody answers, nothing may start, the reason is shown, and it is asked again."""
        budgets = Budgets({})
        budgets.left = None
        desk = Desk(budgets)

        nothing = await desk.want(mail=2)
        budgets.left = {MAIL: 9}
        too_early, later = await desk.want(after=0.9, mail=2), await desk.want(after=0.2, mail=2)

        assert ({}, {}, {MAIL: 2}) == (nothing, too_early, later)
        assert ["the rate limit service is away", None] == desk.conditions

    async def test_none_named(self) -> None:
        """Where no rate limit service is named, that is the reason, with the setting to use."""
        desk = Desk(NoRateLimits())

        assert {} == await desk.want(mail=2)
        assert "MAINSTAY_JOBS_RATELIMIT_ADDRESS" in (desk.conditions[0] or "")
        with pytest.raises(PreconditionError):
            await NoRateLimits().ask({MAIL: 1})


class TestRate:
    @pytest.mark.parametrize(
        ("declared", "subject"),
        [("", "tenant:acme"), ("/creator_id", "key:c-1"), ("everybody", "everybody")],
    )
    def test_subject(self, declared: str, subject: str) -> None:
        """A start draws from the budget of its tenant, of its key, or of a named subject."""
        assert Rate("acme", "mail", subject) == rate_of("mail", declared, tenant="acme", key="c-1")

    def test_key_that_cannot_be_named(self) -> None:
        """A key with characters that no subject may have stands for its hash."""
        subject = rate_of("mail", "/k", tenant="acme", key="a\nb").subject

        assert (True, 68) == (subject.isprintable(), len(subject))
