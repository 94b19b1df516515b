"""What is kept of a decision, and that all of it is bounded."""

from collections.abc import Sequence
from typing import Any

from prometheus_client import REGISTRY

from services.ratelimit.act import Act
from services.ratelimit.decision import Decision, DenialReason, LimitState, PlanSource, decided
from services.ratelimit.evidence import Evidence
from services.ratelimit.policy import SECOND, FailureMode, Limit, Policy, Rule
from services.ratelimit.tallies import OTHER, Counted, Group, Tallies, Tally
from services.ratelimit.top_subjects import Subject
from services.ratelimit.violations import Violation, Violations
from shared.rpc.call import Tenant

ACME, OTHERS = Tenant("acme"), Tenant("others")
CHAT = Act("user:1", "/chat", "", 1)
LIMIT = Limit(quota=10, window=60 * SECOND, written="10/min")
NOW = 1_760_000_000 * SECOND


def rule(name: str = "chat", *, shadow: bool = False) -> Rule:
    return Rule(name=name, endpoints=("*",), default=(LIMIT,), shadow=shadow)


def state(of: Rule, *, admits: bool, **changes: Any) -> LimitState:
    retry_after = None if admits else SECOND
    made = LimitState(of, LIMIT, admits, 0, NOW + SECOND, NOW, retry_after, None, False)
    return made._replace(**changes)


def decision(*states: LimitState, at: int = NOW, plan: str = "") -> Decision:
    return decided("chat", plan, PlanSource.NONE, states, decided_at=at, policy_version=0)


ALLOWED = decision(state(rule(), admits=True))
DENIED = decision(state(rule(), admits=False))
WATCHED = decision(state(rule(shadow=True), admits=False))


class Kept:
    """Takes evidence over, and who was limited."""

    def __init__(self) -> None:
        self.counted: dict[Group, Tally] = {}
        self.violations: list[Violation] = []
        self.limited_subjects: list[Subject] = []
        self.room = True

    def add(self, counted: Sequence[Counted], violations: Sequence[Violation]) -> None:
        self.counted.update(counted)
        self.violations += violations

    async def write_once(self) -> None:
        pass

    def limited(self, subject: Subject) -> bool:
        self.limited_subjects.append(subject)
        return self.room


class InForce:
    """The policy of a test."""

    def __init__(self, policy: Policy) -> None:
        self.current = policy


class Watch:
    """The evidence of one process, and what became of it."""

    def __init__(self, *, max_groups: int = 100, max_distinct: int = 100) -> None:
        self.kept = Kept()
        self.policies = InForce(Policy([rule()]))
        self.calls = 0
        self.evidence = Evidence(
            policies=self.policies,
            keeper=self.kept,
            top=self.kept,
            request_id=self._request_id,
            tallies=Tallies(max_groups),
            violations=Violations(max_distinct),
        )

    def _request_id(self) -> str:
        self.calls += 1
        return f"call-{self.calls}"

    def see(self, *decisions: Decision, tenant: Tenant = ACME, act: Act = CHAT) -> None:
        for each in decisions:
            self.evidence.record(tenant, act, each)

    def told(self) -> Kept:
        self.evidence.hand_over()
        return self.kept


def sample(rule: str, outcome: str) -> float | None:
    return REGISTRY.get_sample_value(
        "mainstay_ratelimit_decisions_total", {"rule": rule, "outcome": outcome}
    )


class TestCounts:
    def test_are_by_tenant_rule_and_plan(self) -> None:
        """As analytics tell them."""
        watch = Watch()
        watch.see(ALLOWED, ALLOWED, DENIED)
        watch.see(ALLOWED, tenant=OTHERS)
        watch.see(decision(state(rule("video"), admits=True), plan="pro"))

        assert watch.told().counted == {
            Group("acme", "chat", ""): Tally(allowed=2, denied=1),
            Group("others", "chat", ""): Tally(allowed=1),
            Group("acme", "video", "pro"): Tally(allowed=1),
        }

    def test_of_what_is_unlimited_are_allowed(self) -> None:
        """Nobody was asked, and still it was a check."""
        watch = Watch()
        watch.see(decision())

        assert watch.told().counted == {Group("acme", "chat", ""): Tally(allowed=1)}

    def test_of_a_rule_in_shadow_are_allowed_and_shadow_denied(self) -> None:
        """The act went ahead."""
        watch = Watch()
        watch.see(WATCHED)

        assert watch.told().counted == {
            Group("acme", "chat", ""): Tally(allowed=1, shadow_denied=1)
        }

    def test_of_a_rule_in_shadow_are_its_own_beside_another(self) -> None:
        """Where a check is for both."""
        watch = Watch()
        both = state(rule(), admits=True), state(rule("tried", shadow=True), admits=False)
        watch.see(decision(*both))

        assert watch.told().counted == {
            Group("acme", "chat", ""): Tally(allowed=1),
            Group("acme", "tried", ""): Tally(shadow_denied=1),
        }

    def test_without_the_counters_are_degraded_too(self) -> None:
        """Whatever was decided."""
        watch = Watch()
        watch.see(
            decision(state(rule(), admits=True, degraded=FailureMode.OPEN)),
            decision(state(rule(), admits=False, degraded=FailureMode.CLOSED)),
        )

        assert watch.told().counted == {
            Group("acme", "chat", ""): Tally(allowed=1, denied=1, degraded=2)
        }

    def test_of_too_many_tenants_are_one(self) -> None:
        """Callers choose tenants, and memory has an end."""
        watch = Watch(max_groups=2)
        for number in range(5):
            watch.see(ALLOWED, tenant=Tenant(f"tenant-{number}"))

        assert watch.told().counted == {
            Group("tenant-0", "chat", ""): Tally(allowed=1),
            Group("tenant-1", "chat", ""): Tally(allowed=1),
            Group(OTHER, "chat", ""): Tally(allowed=3),
        }

    def test_are_handed_over_once(self) -> None:
        """Then counting begins anew."""
        watch = Watch()
        watch.see(ALLOWED)
        watch.told().counted.clear()

        assert watch.told().counted == {}


class TestViolations:
    def test_say_who_was_denied_what_when_and_why(self) -> None:
        """And by which limit, and in which call."""
        watch = Watch()
        watch.see(DENIED)
        (violation,) = watch.told().violations
        offence = violation.offence

        assert offence == ("acme", "user:1", "chat", "/chat", "", DenialReason.LIMIT, False)
        assert (violation.count, violation.first_at, violation.last_at) == (1, NOW, NOW)
        assert (violation.limit, violation.request_id) == ("10/min", "call-1")

    def test_that_repeat_are_one(self) -> None:
        """With the first call, and the time from the first to the last."""
        watch = Watch()
        for at in (NOW + 5, NOW, NOW + 9):
            watch.see(decision(state(rule(), admits=False), at=at))
        (violation,) = watch.told().violations

        assert (violation.count, violation.first_at, violation.last_at) == (3, NOW, NOW + 9)
        assert violation.request_id == "call-1"

    def test_that_differ_in_anything_are_several(self) -> None:
        """Tenant, subject, rule, endpoint, plan, reason and shadow."""
        watch = Watch()
        watch.see(
            DENIED,
            WATCHED,
            decision(state(rule("video"), admits=False)),
            decision(state(rule(), admits=False), plan="pro"),
            decision(state(rule(), admits=False, impossible=True)),
            decision(state(rule(), admits=False, degraded=FailureMode.CLOSED)),
        )
        watch.see(DENIED, tenant=OTHERS)
        watch.see(DENIED, act=CHAT._replace(subject="user:2"))
        watch.see(DENIED, act=CHAT._replace(endpoint="/talk"))

        assert len(watch.told().violations) == 9

    def test_beyond_the_bound_are_counted_as_dropped(self) -> None:
        """Those that are held already go on counting."""
        watch = Watch(max_distinct=2)
        for number in (1, 2, 3, 4, 1):
            watch.see(DENIED, act=CHAT._replace(subject=f"user:{number}"))
        kept = watch.told()

        assert [violation.count for violation in kept.violations] == [2, 1]
        assert kept.counted[Group("acme", "chat", "")] == Tally(denied=5, dropped=2)


class TestLimitedSubjects:
    def test_are_those_who_were_denied(self) -> None:
        """Not those whom a rule in shadow only watched."""
        watch = Watch()
        watch.see(ALLOWED, WATCHED, DENIED)

        assert watch.told().limited_subjects == [Subject("acme", "chat", "", "user:1")]

    def test_that_cannot_be_counted_are_evidence_that_was_dropped(self) -> None:
        """Whoever reads the figures is told."""
        watch = Watch()
        watch.kept.room = False
        watch.see(DENIED)

        assert watch.told().counted == {Group("acme", "chat", ""): Tally(denied=1, dropped=1)}


class TestMetrics:
    def test_count_by_rule_and_outcome(self) -> None:
        """Shadow denials beside the checks they were part of."""
        watch = Watch()
        names = ("allowed", "denied", "shadow_denied")
        watch.told()
        before = [sample("chat", name) or 0.0 for name in names]
        watch.see(ALLOWED, ALLOWED, DENIED, WATCHED)
        watch.told()
        after = [sample("chat", name) or 0.0 for name in names]

        assert [now - then for now, then in zip(after, before, strict=True)] == [3, 1, 1]

    def test_show_every_rule_of_the_policy_in_force(self) -> None:
        """From the start and after a change: a rate over them has no gap."""
        watch = Watch()
        watch.policies.current = Policy([rule("shown_from_the_start")])
        watch.told()
        first = sample("shown_from_the_start", "denied")
        watch.policies.current = Policy([rule("shown_after_a_change")])
        watch.told()

        assert (first, sample("shown_after_a_change", "shadow_denied")) == (0.0, 0.0)
