"""Which of several limits decides, and why."""

from services.ratelimit.decision import DenialReason, LimitState, PlanSource, decided, limit_state
from services.ratelimit.policy import SECOND, FailureMode, Limit, Rule
from services.ratelimit.verdict import Verdict

NEVER = None


def _rule(name: str, *, shadow: bool = False) -> Rule:
    return Rule(name=name, endpoints=("*",), default=(), shadow=shadow)


def _allowing(name: str, *, remaining: int, quota: int = 100, shadow: bool = False) -> LimitState:
    limit = Limit(quota=quota, window=SECOND)
    return LimitState(_rule(name, shadow=shadow), limit, True, remaining, 9, 0, None, None, False)


def _denying(
    name: str,
    *,
    retry_after: int | None,
    shadow: bool = False,
    degraded: FailureMode | None = None,
) -> LimitState:
    limit = Limit(quota=100, window=SECOND)
    rule, impossible = _rule(name, shadow=shadow), retry_after is NEVER and degraded is None
    return LimitState(rule, limit, False, 0, 9, 0, retry_after, degraded, impossible)


def _outcome(*states: LimitState) -> tuple[bool, str, DenialReason | None, int | None]:
    decision = decided("first", "", PlanSource.NONE, states, decided_at=5, policy_version=1)
    return decision.allowed, decision.rule, decision.reason, decision.retry_after


class TestDecidingLimit:
    def test_of_those_that_deny_the_one_to_wait_for_longest(self) -> None:
        """Waiting for another one would be in vain."""
        outcome = _outcome(
            _denying("short", retry_after=5),
            _denying("long", retry_after=70),
            _allowing("open", remaining=1),
        )

        assert outcome == (False, "long", DenialReason.LIMIT, 70)

    def test_one_that_never_admits_comes_before_any_wait(self) -> None:
        """No wait helps, so none is told."""
        outcome = _outcome(_denying("wait", retry_after=70), _denying("never", retry_after=NEVER))

        assert outcome == (False, "never", DenialReason.COST_ABOVE_LIMIT, None)

    def test_when_all_allow_the_one_with_the_smallest_share_left(self) -> None:
        """50 of 1,000 is less than 8 of 10."""
        outcome = _outcome(
            _allowing("large", remaining=50, quota=1_000), _allowing("small", remaining=8, quota=10)
        )

        assert outcome == (True, "large", None, None)

    def test_nothing_to_ask_allows_under_the_name_of_the_rule(self) -> None:
        """Unlimited has no state."""
        assert _outcome() == (True, "first", None, None)


class TestShadow:
    def test_a_rule_in_shadow_never_denies(self) -> None:
        """Alone or beside others."""
        watching = _denying("watching", retry_after=5, shadow=True)

        assert _outcome(watching) == (True, "watching", None, None)
        assert _outcome(watching, _allowing("open", remaining=1)) == (True, "open", None, None)

    def test_it_does_not_hide_one_that_denies(self) -> None:
        """Even when it would make wait longer."""
        outcome = _outcome(
            _denying("watching", retry_after=90, shadow=True), _denying("real", retry_after=5)
        )

        assert outcome == (False, "real", DenialReason.LIMIT, 5)


class TestReason:
    def test_closed_without_counters_is_a_reason_of_its_own(self) -> None:
        """Nothing was used up."""
        outcome = _outcome(_denying("auth", retry_after=NEVER, degraded=FailureMode.CLOSED))

        assert outcome == (False, "auth", DenialReason.STORE_UNAVAILABLE, None)


class TestLimitState:
    def test_what_remains_is_never_below_zero(self) -> None:
        """A limit may have been lowered below what was consumed."""
        verdict = Verdict(False, 1_000, 150, 5_000, 4_000)
        state = limit_state(_rule("api"), Limit(quota=100, window=SECOND), 1, verdict)

        assert (state.remaining, state.reset_after, state.retry_after) == (0, 4_000, 3_000)

    def test_with_a_burst_of_its_own_that_is_what_remains_of(self) -> None:
        """100 a second, 10 at once."""
        verdict = Verdict(True, 1_000, 4, 5_000, None)
        state = limit_state(_rule("api"), Limit(quota=100, window=SECOND, burst=10), 1, verdict)

        assert (state.remaining, state.impossible) == (6, False)
