"""What `mainstay limits` says in sentences: verdicts and explanations."""

import pytest

from cli.limits.explanation import Background, explanation
from cli.limits.sentences import verdict
from mainstay.ratelimit import (
    Algorithm,
    AppliedRule,
    Decision,
    DenialReason,
    Explanation,
    FailureMode,
    LimitSource,
    LimitState,
    Measure,
    PlanSource,
)
from tests.unit.cli.limits_examples import OVERRIDE, WHEN


def state(**changed: object) -> LimitState:
    fields: dict[str, object] = {
        "rule": "chat",
        "limit": 50,
        "window": 60.0,
        "remaining": 49,
        "reset_time": WHEN,
        "algorithm": Algorithm.SLIDING_WINDOW,
        "measure": Measure.COST,
        "admits": True,
        "shadow": False,
        "retry_after": None,
    }
    return LimitState(**{**fields, **changed})  # type: ignore[arg-type]


def decision(**changed: object) -> Decision:
    fields: dict[str, object] = {
        "allowed": True,
        "rule": "chat",
        "plan": "pro",
        "limit": 50,
        "window": 60.0,
        "remaining": 49,
        "reset_time": WHEN,
        "retry_after": None,
        "headers": {},
    }
    return Decision(**{**fields, **changed})  # type: ignore[arg-type]


class TestVerdicts:
    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({}, "allowed by chat (plan pro); 49 of 50 per 1 min left"),
            ({"plan": "", "window": None}, "allowed by chat (no plan); 49 of 50 left"),
            (
                {"limit": None, "window": None, "remaining": None},
                "allowed by chat (plan pro); unlimited",
            ),
            (
                {"shadow_denied_by": ("new", "other")},
                (
                    "allowed by chat (plan pro); 49 of 50 per 1 min left; "
                    "the rule new in shadow would have denied; "
                    "the rule other in shadow would have denied"
                ),
            ),
            (
                {"failure_mode": FailureMode.LOCAL},
                (
                    "allowed by chat (plan pro); 49 of 50 per 1 min left; "
                    "decided without the counters (local)"
                ),
            ),
            (
                {"allowed": False, "remaining": 0, "retry_after": 12.0},
                "denied by chat (plan pro); 0 of 50 per 1 min left; retry in 12 s",
            ),
            (
                {"allowed": False, "reason": DenialReason.COST_ABOVE_LIMIT},
                (
                    "denied by chat (plan pro); 49 of 50 per 1 min left; "
                    "the cost is above the limit and can never pass"
                ),
            ),
            (
                {"allowed": False, "reason": DenialReason.STORE_UNAVAILABLE},
                "denied by chat (plan pro); 49 of 50 per 1 min left; store unavailable",
            ),
        ],
    )
    def test_are_one_line(self, changed: dict[str, object], expected: str) -> None:
        """What was decided, by which rule, what is left, and what to do."""
        assert expected == verdict(decision(**changed))

    def test_of_a_look_are_told_from_those_of_a_check(self) -> None:
        """Nothing was consumed."""
        assert verdict(decision(), would=True).startswith("would be allowed by chat")


class TestExplanations:
    def test_tell_where_limits_come_from(self) -> None:
        """Of each kind of rule, with what is left of each limit."""
        reset = "reset 2026-01-31 12:00:00 UTC"
        budget = state(measure=Measure.MONEY, limit=5_000_000, remaining=4_500_000, shadow=True)
        applied = AppliedRule(
            rule="chat",
            matched="/api/chat",
            also_matching=("/api/*", "*"),
            limit_source=LimitSource.TENANT_PLAN,
            override=None,
            limits=(
                state(),
                budget,
                state(window=None, limit=3, remaining=1),
                state(algorithm=Algorithm.GCRA, burst=1_000),
            ),
            on_failure=FailureMode.LOCAL,
        )
        overridden = AppliedRule(
            rule="exports",
            matched="exports",
            also_matching=(),
            limit_source=LimitSource.OVERRIDE,
            override=OVERRIDE,
            limits=(),
            on_failure=FailureMode.CLOSED,
        )
        found = Explanation(
            plan="pro",
            plan_source=PlanSource.ASSIGNED,
            rules=(applied, overridden),
            policy_version=3,
            degraded=True,
        )

        assert [
            "plan: pro (assigned)",
            "",
            "rule chat by /api/chat, limits from tenant plan, local on failure",
            f"  49 of 50 per 1 min left (sliding window), {reset}",
            f"  $4.50 of $5.00 per 1 min left (sliding window), {reset}, only watched",
            f"  1 of 3 at once left, {reset}",
            f"  49 of 50 per 1 min left (gcra, burst 1,000), {reset}",
            "  also matching, less specific: /api/*, *",
            "",
            (
                "rule exports by exports, limits from override until 2026-01-31 12:00:00 UTC: "
                "a trade fair, closed on failure"
            ),
            "  unlimited",
            "",
            (
                "The counters cannot be reached: what is left is what this replica alone would "
                "allow, by what each rule says of failures."
            ),
        ] == list(explanation(found, Background()))

    @pytest.mark.parametrize(
        ("algorithm", "days", "time_zone", "expected"),
        [
            (Algorithm.FIXED_WINDOW, 1, "UTC", "per calendar day left (fixed window, UTC)"),
            # When clocks are put back.
            (Algorithm.FIXED_WINDOW, 25 / 24, "UTC", "per calendar day left (fixed window, UTC)"),
            (Algorithm.FIXED_WINDOW, 7, "UTC", "per calendar week left (fixed window, UTC)"),
            (Algorithm.FIXED_WINDOW, 28, "UTC", "per calendar month left (fixed window, UTC)"),
            (Algorithm.FIXED_WINDOW, 31, "UTC", "per calendar month left (fixed window, UTC)"),
            (Algorithm.FIXED_WINDOW, 2, "UTC", "per 2 d left (fixed window)"),
            (Algorithm.FIXED_WINDOW, 1, "", "per 1 d left (fixed window)"),
            (Algorithm.SLIDING_WINDOW, 1, "UTC", "per 1 d left (sliding window)"),
        ],
    )
    def test_tell_calendars_from_lengths(
        self, algorithm: Algorithm, days: float, time_zone: str, expected: str
    ) -> None:
        """Where the rule follows one, and the window is about as long as one of its parts."""
        limit = state(algorithm=algorithm, window=days * 86_400)
        applied = AppliedRule(
            rule="chat",
            matched="chat",
            also_matching=(),
            limit_source=LimitSource.DEFAULT,
            override=None,
            limits=(limit,),
            on_failure=FailureMode.LOCAL,
        )
        found = Explanation(
            plan="",
            plan_source=PlanSource.REMOVED,
            rules=(applied,),
            policy_version=3,
            degraded=False,
        )
        known = Background(time_zones={"chat": time_zone}, removed_plan="enterprise")
        plan, *_, told = explanation(found, known)

        assert "plan: none (the policy no longer has the plan enterprise)" == plan
        assert told.startswith(f"  49 of 50 {expected}, reset")
