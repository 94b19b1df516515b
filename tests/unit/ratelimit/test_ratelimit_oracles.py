"""A counter whose limit has got another algorithm."""

from itertools import permutations

import pytest

from services.ratelimit import oracles
from services.ratelimit.policy import SECOND, Algorithm, Limit

NOW = 1_760_000_000 * SECOND
LIMITS = [
    Limit(quota=10, window=60 * SECOND, algorithm=algorithm)
    for algorithm in Algorithm
    if algorithm is not Algorithm.CONCURRENCY
]


CHANGES = [*permutations(LIMITS, 2)]


def _name(limit: Limit) -> str:
    return limit.algorithm.value


class TestChangedAlgorithm:
    @pytest.mark.parametrize(("before", "after"), CHANGES, ids=_name)
    def test_keeps_what_was_consumed(self, before: Limit, after: Limit) -> None:
        """As if all of it had been consumed now, which is never too late."""
        state, _ = oracles.charge(None, now=NOW, limit=before, cost=7)
        state, admitted = oracles.decide(state, now=NOW, limit=after, cost=3, consume=True)
        _, denied = oracles.decide(state, now=NOW, limit=after, cost=1, consume=True)

        assert [(True, 10), (False, 10)] == [(v.admits, v.used) for v in (admitted, denied)]

    @pytest.mark.parametrize(("before", "after"), CHANGES, ids=_name)
    def test_a_look_converts_nothing(self, before: Limit, after: Limit) -> None:
        """What is only looked at goes on to leave as it would have."""
        state, _ = oracles.charge(None, now=NOW, limit=before, cost=7)
        kept, _ = oracles.decide(state, now=NOW, limit=after, cost=9, consume=True)

        assert kept is state

    @pytest.mark.parametrize(("before", "after"), CHANGES, ids=_name)
    def test_what_has_left_is_not_taken_over(self, before: Limit, after: Limit) -> None:
        """An hour later there is nothing of a minute's limit."""
        state, _ = oracles.charge(None, now=NOW, limit=before, cost=7)
        later = NOW + 3_600 * SECOND
        _, verdict = oracles.decide(state, now=later, limit=after, cost=1, consume=False)

        assert 0 == verdict.used

    @pytest.mark.parametrize(("before", "after"), CHANGES, ids=_name)
    def test_what_was_taken_over_can_be_given_back(self, before: Limit, after: Limit) -> None:
        """It is there as if it had just been consumed."""
        state, _ = oracles.charge(None, now=NOW, limit=before, cost=7)
        _, amount, verdict = oracles.refund(state, now=NOW, limit=after, cost=3, admitted_at=None)

        assert (3, 4) == (amount, verdict.used)
