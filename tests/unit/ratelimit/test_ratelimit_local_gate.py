"""A replica's share beside what Redis says."""

from collections.abc import Sequence

import pytest

from services.ratelimit.local_counters import LocalCounters
from services.ratelimit.local_gate import LocalGate, admitted, stricter
from services.ratelimit.policy import DAY, SECOND, Algorithm, FailureMode, Limit, Rule
from services.ratelimit.ports import Charge
from services.ratelimit.verdict import Verdict
from shared.rpc.call import Tenant

NOW = 20_000 * DAY
MINUTE = 60 * SECOND
REPLICAS = 2
COUNTED = [each for each in Algorithm if each is not Algorithm.CONCURRENCY]


def charge(
    name: str = "chat",
    quota: int = 4,
    *,
    cost: int = 1,
    mode: FailureMode = FailureMode.LOCAL,
    shadow: bool = False,
    algorithm: Algorithm = Algorithm.SLIDING_WINDOW,
) -> Charge:
    limit = Limit(quota=quota, window=MINUTE, algorithm=algorithm)
    rule = Rule(name=name, endpoints=("*",), default=(limit,), on_failure=mode, shadow=shadow)
    return Charge(Tenant("acme"), rule, 0, "user:1", limit, cost)


def said(*, admits: bool, used: int = 0, reset_at: int = NOW) -> Verdict:
    """Return what Redis says."""
    return Verdict(admits, NOW, used, reset_at, None)


def room(gate: LocalGate, of: Charge) -> int:
    """Return how often a charge is consumed from now on."""
    held = (gate.hold([of], consume=True, now=NOW) for _ in range(of.limit.quota))
    return sum(len(each.consumed) for each in held)


@pytest.fixture
def gate() -> LocalGate:
    return LocalGate(LocalCounters(), replicas=lambda: REPLICAS)


class TestWhatIsHeld:
    @pytest.mark.parametrize("algorithm", COUNTED)
    def test_is_consumed_at_once(self, gate: LocalGate, algorithm: Algorithm) -> None:
        """Others that wait for Redis find it gone."""
        of = charge(algorithm=algorithm)

        assert of.limit.quota // REPLICAS == room(gate, of)

    @pytest.mark.parametrize("algorithm", COUNTED)
    @pytest.mark.parametrize("told", [None, [said(admits=False)]])
    def test_comes_back_when_redis_does_not_admit(
        self, gate: LocalGate, algorithm: Algorithm, told: Sequence[Verdict] | None
    ) -> None:
        """Whether it denies or does not answer."""
        of = charge(algorithm=algorithm)
        for n in range(5):
            held = gate.hold([of], consume=True, now=NOW)
            gate.settle(held, [of], told, now=NOW + n)

        assert of.limit.quota // REPLICAS == room(gate, of)

    def test_stays_when_redis_admits(self, gate: LocalGate) -> None:
        """It is part of what this replica admitted."""
        held = gate.hold([charge()], consume=True, now=NOW)
        gate.settle(held, [charge()], [said(admits=True)], now=NOW)

        assert 1 == room(gate, charge())

    def test_is_nothing_for_a_look(self, gate: LocalGate) -> None:
        """Which tells whether there is room all the same."""
        looks = {gate.hold([charge()], consume=False, now=NOW).admits for _ in range(9)}

        assert {True} == looks
        assert 2 == room(gate, charge())

    def test_is_nothing_where_one_of_several_denies(self, gate: LocalGate) -> None:
        """All or nothing, here as well."""
        full, other = charge("full", cost=3), charge("other")
        held = gate.hold([full, other], consume=True, now=NOW)

        assert not held.admits
        assert not held.consumed
        assert 2 == room(gate, other)

    def test_of_a_rule_in_shadow_keeps_nobody_out(self, gate: LocalGate) -> None:
        """And comes back when Redis does not count it."""
        shadow, other = charge("shadow", shadow=True), charge("other")
        told = [said(admits=False), said(admits=True)]
        held = gate.hold([shadow, other], consume=True, now=NOW)
        gate.settle(held, [shadow, other], told, now=NOW)

        assert held.admits
        assert admitted([shadow, other], told)
        assert (2, 1) == (room(gate, shadow), room(gate, other))

    @pytest.mark.parametrize("mode", [FailureMode.OPEN, FailureMode.CLOSED])
    def test_is_nothing_of_rules_without_a_share(self, gate: LocalGate, mode: FailureMode) -> None:
        """They say nothing about what Redis answers."""
        held = gate.hold([charge(mode=mode)], consume=True, now=NOW)

        assert held.admits
        assert not held.verdicts


class TestCombined:
    def test_is_what_redis_says_where_it_denies(self) -> None:
        """It knows when there will be room."""
        told, here = said(admits=False, used=4), said(admits=False, used=9)

        assert told is stricter(told, here)

    def test_is_what_the_share_says_where_it_alone_denies(self) -> None:
        """And that it was the share."""
        here = said(admits=False)._replace(degraded=FailureMode.LOCAL)

        assert here is stricter(said(admits=True), here)

    @pytest.mark.parametrize(("redis", "share", "used"), [(1, 3, 3), (3, 1, 3), (2, None, 2)])
    def test_leaves_the_less_of_both(self, redis: int, share: int | None, used: int) -> None:
        """By Redis's clock, and decided by the counters."""
        here = None if share is None else said(admits=True, used=share, reset_at=NOW + share)
        both = stricter(said(admits=True, used=redis), here)

        assert (True, None, NOW, used) == (both.admits, both.degraded, both.now, both.used)
        assert NOW + (share or 0) == both.reset_at

    def test_counts_nothing_that_came_back(self, gate: LocalGate) -> None:
        """What one limit denies the others have not consumed."""
        charges = [charge("free"), charge("full")]
        told = [said(admits=True, used=0), said(admits=False, used=4)]
        held = gate.hold(charges, consume=True, now=NOW)

        assert told == held.combined(charges, told)
