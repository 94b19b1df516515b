"""What one replica admits of a limit, by the failure mode of its rule."""

import pytest

from services.ratelimit import local_share
from services.ratelimit.local_counters import LocalCounters
from services.ratelimit.oracles import State
from services.ratelimit.policy import DAY, SECOND, Algorithm, Calendar, FailureMode, Limit, Rule
from services.ratelimit.ports import Charge
from services.ratelimit.verdict import Verdict
from shared.rpc.call import Tenant

NOW = 20_000 * DAY
MINUTE = 60 * SECOND


def charge(
    limit: Limit,
    *,
    cost: int = 1,
    mode: FailureMode = FailureMode.LOCAL,
    shadow: bool = False,
    rule: str = "chat",
    subject: str = "user:42",
) -> Charge:
    of = Rule(name=rule, endpoints=("*",), default=(limit,), on_failure=mode, shadow=shadow)
    return Charge(Tenant("acme"), of, 0, subject, limit, cost)


def per_minute(quota: int) -> Limit:
    return Limit(quota=quota, window=MINUTE)


def admitted(
    state: State | None, limit: Limit, *, now: int, replicas: int, tries: int
) -> tuple[State | None, int]:
    """Ask for one so many times; returns how many were admitted."""
    count = 0
    for _ in range(tries):
        state, verdict = local_share.decide(
            state, charge(limit), now=now, replicas=replicas, consume=True
        )
        count += verdict.admits
    return state, count


class TestShare:
    @pytest.mark.parametrize(
        ("quota", "replicas", "share"), [(20, 1, 20), (20, 3, 6), (20, 20, 1), (20, 50, 1)]
    )
    def test_is_a_part_of_the_quota(self, quota: int, replicas: int, share: int) -> None:
        """Rounded down, and never nothing."""
        _, count = admitted(None, per_minute(quota), now=NOW, replicas=replicas, tries=quota + 1)

        assert share == count

    def test_of_gcra_is_a_part_of_the_burst_and_of_the_rate(self) -> None:
        """Of 60/min with a burst of 20, one of four admits 5 at once and then one in 4 s."""
        limit = Limit(quota=60, window=MINUTE, algorithm=Algorithm.GCRA, burst=20)
        state, at_once = admitted(None, limit, now=NOW, replicas=4, tries=20)
        state, early = admitted(state, limit, now=NOW + 4 * SECOND - 1, replicas=4, tries=2)
        _, later = admitted(state, limit, now=NOW + 4 * SECOND, replicas=4, tries=2)

        assert (5, 0, 1) == (at_once, early, later)

    def test_of_a_calendars_day_is_new_with_the_day(self) -> None:
        """As the limit itself would be."""
        limit = Limit(quota=10, window=DAY, algorithm=Algorithm.FIXED_WINDOW, calendar=Calendar.DAY)
        state, today = admitted(None, limit, now=NOW + DAY - 1, replicas=2, tries=6)
        _, tomorrow = admitted(state, limit, now=NOW + DAY, replicas=2, tries=6)

        assert (5, 5) == (today, tomorrow)

    def test_holds_what_was_consumed_when_the_policy_changes_the_algorithm(self) -> None:
        """Nobody begins anew."""
        state, _ = admitted(None, per_minute(10), now=NOW, replicas=1, tries=9)
        limit = Limit(quota=10, window=MINUTE, algorithm=Algorithm.FIXED_WINDOW)
        _, count = admitted(state, limit, now=NOW, replicas=1, tries=5)

        assert 1 == count


class TestLocalVerdict:
    def test_tells_what_is_left_of_the_share(self) -> None:
        """In terms of the limit, which is what callers know."""
        _, verdict = local_share.decide(
            None, charge(per_minute(20), cost=2), now=NOW, replicas=4, consume=True
        )

        assert (True, 20 - 3, FailureMode.LOCAL) == (
            verdict.admits,
            verdict.used,
            verdict.degraded,
        )

    def test_of_a_cost_above_the_share_says_to_ask_again_soon(self) -> None:
        """It would fit the limit, and the outage may be over by then."""
        _, verdict = local_share.decide(
            None, charge(per_minute(20), cost=6), now=NOW, replicas=4, consume=True
        )

        assert not verdict.admits
        assert NOW + SECOND == verdict.retry_at

    def test_of_a_cost_above_the_limit_says_that_it_never_fits(self) -> None:
        """As Redis would."""
        _, verdict = local_share.decide(
            None, charge(per_minute(20), cost=21), now=NOW, replicas=4, consume=True
        )

        assert not verdict.admits
        assert verdict.retry_at is None


class TestOtherModes:
    def test_open_admits_everything(self) -> None:
        """Also what is above the limit, and tells that nothing is left."""
        _, verdict = local_share.decide(
            None,
            charge(per_minute(5), cost=7, mode=FailureMode.OPEN),
            now=NOW,
            replicas=1,
            consume=True,
        )

        assert (True, 7, None, FailureMode.OPEN) == (
            verdict.admits,
            verdict.used,
            verdict.retry_at,
            verdict.degraded,
        )

    def test_closed_denies_everything_and_says_to_ask_again_soon(self) -> None:
        """Nothing is left, and in a second there may be."""
        asked = charge(per_minute(5), mode=FailureMode.CLOSED)
        again = NOW + SECOND
        _, verdict = local_share.decide(None, asked, now=NOW, replicas=1, consume=True)

        assert Verdict(False, NOW, 5, again, again, FailureMode.CLOSED) == verdict

    @pytest.mark.parametrize("mode", FailureMode)
    def test_a_charge_is_consumed_in_every_mode(self, mode: FailureMode) -> None:
        """It has taken place."""
        state, verdict = local_share.charge(
            None, charge(per_minute(5), cost=9, mode=mode), now=NOW, replicas=1
        )

        assert state is not None
        assert mode is verdict.degraded


class TestSeveralCharges:
    def test_are_admitted_together_or_not_at_all(self) -> None:
        """What one of them denies is consumed from none."""
        local = LocalCounters()
        wide, narrow = per_minute(10), per_minute(1)
        both = [charge(wide, rule="wide"), charge(narrow, rule="narrow", cost=2)]
        decided = local.decide(both, consume=True, now=NOW, replicas=1)
        (alone,) = local.decide(both[:1], consume=False, now=NOW, replicas=1).verdicts

        assert [True, False] == [verdict.admits for verdict in decided.verdicts]
        assert () == decided.consumed
        assert 0 == alone.used

    def test_of_rules_in_shadow_keep_nobody_from_anything(self) -> None:
        """They consume when they admit."""
        local = LocalCounters()
        watched = charge(per_minute(1), rule="watched", cost=2, shadow=True)
        closed = charge(per_minute(9), rule="closed", mode=FailureMode.CLOSED, shadow=True)
        enforced = charge(per_minute(10))
        decided = local.decide([watched, enforced, closed], consume=True, now=NOW, replicas=1)

        assert [False, True, False] == [verdict.admits for verdict in decided.verdicts]
        assert [enforced] == decided.consumed

    def test_that_are_only_looked_at_consume_nothing(self) -> None:
        """A peek has no side effects."""
        local = LocalCounters()
        local.decide([charge(per_minute(1))], consume=False, now=NOW, replicas=1)

        assert 0 == len(local)


class TestMemory:
    def test_is_bounded(self) -> None:
        """Who was asked longest ago goes first, and it is told."""
        dropped: list[None] = []
        local = LocalCounters(most=2, on_drop=lambda: dropped.append(None))
        for subject in ("a", "b", "a", "c"):
            local.decide(
                [charge(per_minute(5), subject=subject)], consume=True, now=NOW, replicas=1
            )

        assert ["a", "c"] == [name.subject for name in local.names()]
        assert 1 == len(dropped)

    def test_forgets_what_has_left_its_window(self) -> None:
        """And keeps what has not."""
        local = LocalCounters()
        local.decide([charge(per_minute(5), subject="early")], consume=True, now=NOW, replicas=1)
        local.decide(
            [charge(per_minute(5), subject="late")], consume=True, now=NOW + MINUTE, replicas=1
        )
        local.drop_empty(NOW + 2 * MINUTE)

        assert ["late"] == [name.subject for name in local.names()]
