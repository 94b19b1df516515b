"""What is owed to Redis for the time it was away."""

from collections.abc import Callable

import pytest

from services.ratelimit.debts import Debts, Payment
from services.ratelimit.local_counters import CounterName, name_of
from services.ratelimit.policy import DAY, SECOND, Limit, Rule
from services.ratelimit.ports import Charge
from shared.rpc.call import Tenant

NOW = 20_000 * DAY
MINUTE = 60 * SECOND
LIMIT = Limit(quota=10, window=MINUTE)
RULE = Rule(name="chat", endpoints=("*",), default=(LIMIT,))


def charge(subject: str = "user:1", *, cost: int = 1, tenant: str = "acme") -> Charge:
    return Charge(Tenant(tenant), RULE, 0, subject, LIMIT, cost)


def costs(payment: Payment, now: int = NOW) -> dict[str, int]:
    return {each.subject: each.cost for each in payment.charges(now)}


class TestAmounts:
    def test_of_one_counter_are_one_charge(self) -> None:
        """However many calls there were."""
        debts = Debts(replica="r")
        debts.add([charge(cost=2)], NOW)
        debts.add([charge(cost=3)], NOW + SECOND)
        (payment,) = debts.take(100)

        assert {"user:1": 5} == costs(payment)

    def test_age_as_the_counter_would(self) -> None:
        """A long outage does not charge a short window with all of it."""
        debts = Debts(replica="r")
        debts.add([charge(cost=2)], NOW)
        debts.add([charge(cost=3)], NOW + MINUTE)
        (payment,) = debts.take(100)

        assert {"user:1": 3} == costs(payment, NOW + MINUTE + 2 * SECOND)
        assert {} == costs(payment, NOW + 3 * MINUTE)

    def test_are_at_most_what_the_limit_admits(self) -> None:
        """That denies everything until it leaves, and more would not."""
        debts = Debts(replica="r")
        debts.add([charge(cost=25)], NOW)
        (payment,) = debts.take(100)

        assert {"user:1": 10} == costs(payment)

    def test_that_their_caller_named_are_charged_in_full(self) -> None:
        """They have taken place and may go beyond a limit."""
        debts = Debts(replica="r")
        debts.name([charge(cost=25)], once="call-1", now=NOW)
        (payment,) = debts.take(100)

        assert "call-1" == payment.once
        assert {"user:1": 25} == costs(payment)


class TestNames:
    def test_of_payments_are_never_given_twice(self) -> None:
        """Redis would take the second for a repetition."""
        debts = Debts(replica="r")
        names = set()
        for _ in range(3):
            debts.add([charge("a"), charge("b", tenant="globex")], NOW)
            names |= {payment.once for payment in debts.take(100)}

        assert 6 == len(names)

    def test_stay_when_it_is_not_known_whether_it_was_paid(self) -> None:
        """So that a payment whose answer was lost is made once."""
        debts = Debts(replica="r")
        debts.add([charge()], NOW)
        (payment,) = debts.take(100)
        debts.begin(payment)
        debts.postponed(payment)
        debts.add([charge(cost=4)], NOW)
        again, more = debts.take(100)

        assert payment is again
        assert {"user:1": 4} == costs(more)

    def test_of_callers_are_owed_once(self) -> None:
        """A repetition changes nothing, until it is paid."""
        debts = Debts(replica="r")
        told = [debts.name([charge()], once="call-1", now=NOW) for _ in range(2)]
        elsewhere = debts.name([charge(tenant="globex")], once="call-1", now=NOW)
        pay(debts)

        assert [True, False] == told
        assert elsewhere
        assert debts.name([charge()], once="call-1", now=NOW)


class TestPayments:
    def test_are_of_one_tenant_and_bounded(self) -> None:
        """A hundred counters at a time, whoever they belong to."""
        debts = Debts(replica="r")
        debts.add([charge(f"user:{n}", tenant=("acme", "globex")[n % 2]) for n in range(7)], NOW)
        first, second, third = debts.take(4), debts.take(2), debts.take(4)

        assert [2, 2] == [len(payment.debts) for payment in first]
        assert [1, 1] == [len(payment.debts) for payment in second]
        assert [1] == [len(payment.debts) for payment in third]

    def test_that_were_surely_not_made_are_owed_as_before(self) -> None:
        """With what was consumed since, which is a payment of its own."""
        debts = Debts(replica="r")
        debts.add([charge("a"), charge("b")], NOW)
        (payment,) = debts.take(100)
        debts.begin(payment)
        debts.add([charge("b", cost=5)], NOW)
        debts.untouched(payment)
        owed = [costs(each) for each in debts.take(100)]

        assert 2 == len(debts)
        assert [{"b": 1}, {"b": 5, "a": 1}] == owed

    def test_that_are_refused_are_tried_one_by_one(self) -> None:
        """One broken counter costs no other its payment, and is given up itself."""
        forgotten: list[CounterName] = []
        debts = Debts(replica="r", on_forget=forgotten.append)
        debts.add([charge("good"), charge("broken")], NOW)
        (payment,) = debts.take(100)
        debts.begin(payment)
        debts.refused(payment)
        good, broken = debts.take(100)
        for each, end in ((good, debts.paid), (broken, debts.refused)):
            debts.begin(each)
            end(each)

        assert payment.once not in {good.once, broken.once}
        assert ["broken"] == [name.subject for name in forgotten]
        assert 0 == len(debts)


def pay(debts: Debts) -> None:
    for payment in debts.take(100):
        debts.begin(payment)
        debts.paid(payment)


class TestWhoIsDue:
    def test_is_so_until_the_payment_is_on_its_way(self) -> None:
        """What is asked of Redis after it comes after it."""
        debts = Debts(replica="r")
        name = name_of(charge())
        debts.add([charge()], NOW)
        (payment,) = debts.take(100)
        taken = debts.is_due(name)
        debts.begin(payment)
        begun = debts.is_due(name)
        debts.add([charge()], NOW)
        more = debts.is_due(name)
        debts.postponed(payment)
        pay(debts)

        assert (True, False, True) == (taken, begun, more)
        assert not debts.is_due(name)
        assert not debts

    @pytest.mark.parametrize("end", [Debts.postponed, Debts.untouched, Debts.refused])
    def test_is_so_again_when_it_did_not_arrive(
        self, end: Callable[[Debts, Payment], None]
    ) -> None:
        """In whatever way."""
        debts = Debts(replica="r")
        debts.add([charge("a"), charge("b")], NOW)
        (payment,) = debts.take(100)
        debts.begin(payment)
        end(debts, payment)

        assert debts.is_due(name_of(charge("a")))


class TestWhoIsOwedFor:
    def test_is_nobody_who_was_reset(self) -> None:
        """What is being paid is paid all the same."""
        debts = Debts(replica="r")
        debts.add([charge()], NOW)
        debts.forget([name_of(charge()), name_of(charge("other"))])

        assert 0 == len(debts)
        assert [] == debts.take(100)

    def test_is_a_bounded_number(self) -> None:
        """The oldest debt is forgotten, and it is told."""
        forgotten: list[CounterName] = []
        debts = Debts(replica="r", most=2, on_forget=forgotten.append)
        for subject in "abc":
            debts.add([charge(subject)], NOW)
        for n in range(3):
            debts.name([charge(f"named-{n}")], once=str(n), now=NOW)

        assert ["a", "named-0"] == [name.subject for name in forgotten]
        assert 4 == len(debts)
