"""What `mainstay limits` prints for people."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from cli.arguments import UsageError
from cli.limits import listing
from cli.limits.explanation import Background, explanation
from cli.limits.options import document, shifted
from cli.limits.sentences import verdict
from mainstay.ratelimit import (
    Algorithm,
    Analytics,
    AppliedRule,
    Counts,
    CountsGroup,
    Decision,
    DenialReason,
    Explanation,
    FailureMode,
    LimitedSubject,
    LimitSource,
    LimitState,
    Measure,
    Override,
    PlanLimits,
    PlanSource,
    PolicyVersion,
    Preview,
    Rule,
    RulePreview,
    Rules,
    SubjectPreview,
    Violation,
)

WHEN = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
# Long, unlike each other, and like markup.
WHO = "[red]" + "s" * 90
LONG = "[red]" + "r" * 90
COUNTS = Counts(allowed=1_234_567, denied=1_234_567, shadow_denied=99_999, degraded=99_999)
OVERRIDE = Override(
    subject=WHO,
    rule=LONG,
    limits="10/s 200/min",
    expire_time=WHEN,
    reason="a trade fair",
    creator="ops",
    create_time=WHEN,
    etag="1",
)
VIOLATION = Violation(
    tenant="globex",
    subject=WHO,
    rule=LONG,
    endpoint=LONG,
    plan=LONG,
    reason=DenialReason.LIMIT,
    shadow=False,
    count=1_234,
    start_time=WHEN,
    end_time=WHEN,
    request_id="r",
    limit="10/s 200/min",
)
ANALYTICS = Analytics(
    groups=(CountsGroup(tenant="globex", rule=LONG, plan=LONG, counts=COUNTS),),
    total=COUNTS,
    top_subjects=(),
    incomplete=False,
)
LIMITED = LimitedSubject(tenant="globex", subject=WHO, rule=LONG, denied=12_345, overcount=2)


def printed(*parts: str | Table) -> str:
    screen = Console(file=StringIO(), width=80, highlight=False)
    for part in parts:
        screen.print(part)
    assert isinstance(screen.file, StringIO)
    return screen.file.getvalue()


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


class TestTables:
    @pytest.mark.parametrize(
        ("table", "facts"),
        [
            (
                listing.rules(
                    Rules(
                        rules=(
                            Rule(
                                name="chat",
                                algorithm=Algorithm.GCRA,
                                measure=Measure.COST,
                                endpoints=("/api/chat", LONG),
                                plan_limits=(
                                    PlanLimits(plan="", limits=("20/min",), tenant_specific=False),
                                    PlanLimits(plan="pro", limits=(), tenant_specific=True),
                                ),
                                on_failure=FailureMode.LOCAL,
                                shadow=True,
                                burst=1_000,
                            ),
                        ),
                        plans=(),
                        policy_version=1,
                    )
                ),
                ("chat (shadow)", "20/min", "pro", "unlimited (own)", "gcra, burst 1,000"),
            ),
            (
                listing.violations([VIOLATION]),
                ("2026-01-31 12:00:00 UTC", "1,234", "[red]ss", "[red]rr", "200/min"),
            ),
            (
                listing.violations([VIOLATION], tenants=True),
                ("2026-01-31 12:00:00 UTC", "1,234", "[red]ss", "[red]rr", "globex"),
            ),
            (listing.analytics(ANALYTICS), ("1,234,567", "99,999", "[red]rr")),
            (
                listing.analytics(ANALYTICS, tenants=True),
                ("1,234,567", "99,999", "[red]rr", "globex"),
            ),
            (listing.top_subjects([LIMITED]), ("≤ 12,345", "[red]ss", "[red]rr")),
            (
                listing.top_subjects([LIMITED], tenants=True),
                ("≤ 12,345", "[red]ss", "[red]rr", "globex"),
            ),
            (
                listing.overrides([OVERRIDE]),
                ("[red]ss", "[red]rr", "10/s 200/min", "2026-01-31 12:00:00 UTC"),
            ),
            (
                listing.versions(
                    [
                        PolicyVersion(
                            version=12,
                            creator=LONG,
                            reason=LONG,
                            create_time=WHEN,
                            in_force=True,
                            digest="d",
                        )
                    ]
                ),
                ("* 12", "2026-01-31 12:00:00 UTC", "[red]rr"),
            ),
        ],
        ids=[
            "rules",
            "violations",
            "violations of tenants",
            "analytics",
            "analytics of tenants",
            "top",
            "top of tenants",
            "overrides",
            "versions",
        ],
    )
    def test_fit_a_terminal(self, table: Table, facts: tuple[str, ...]) -> None:
        """However long the names are, and whatever looks like markup; figures are whole."""
        text = printed(table)

        assert [] == [fact for fact in facts if fact not in text]
        assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
        assert "…" not in text


class TestPreviews:
    def test_tell_who_would_be_denied(self) -> None:
        """By rule and by subject, within a terminal's width."""
        found = Preview(
            rules=(RulePreview(rule=LONG, checks=1_234_567, denied_before=0, denied_after=1_234),),
            subjects=(SubjectPreview(subject=WHO, rule=LONG, denied_before=0, denied_after=1_234),),
            replayed=1_234_567,
            sampled=0.25,
            start_time=WHEN,
        )
        text = printed(*listing.preview(found))

        assert "1,234,567 checks since 2026-01-31 12:00:00 UTC replayed, of 25%" in text
        assert 2 == text.count(" 1,234\n")
        assert "[red]ss" in text
        assert max(len(line.rstrip()) for line in text.splitlines()) <= 80

    def test_of_nothing_say_so(self) -> None:
        """A service that was just started has recorded nothing."""
        found = Preview(rules=(), subjects=(), replayed=0, sampled=1.0, start_time=None)

        assert ["No traffic was recorded that could be replayed."] == list(listing.preview(found))


class TestDocuments:
    def test_are_files(self, tmp_path: Path) -> None:
        """As they are."""
        policy = tmp_path / "policy.yaml"
        policy.write_text("version: 1 # ü\n", encoding="utf-8")

        assert "version: 1 # ü\n" == document(str(policy))

    def test_that_cannot_be_read_are_mistakes(self, tmp_path: Path) -> None:
        """Not there, a directory, or no text."""
        (tmp_path / "bytes").write_bytes(b"\xff")
        for name, said in (("none", "No such file"), (".", "name a file"), ("bytes", "not UTF-8")):
            with pytest.raises(UsageError, match=said):
                document(str(tmp_path / name))


class TestMoments:
    def test_beyond_the_calendar_are_mistakes(self) -> None:
        """A length may be longer than the calendar goes."""
        for span in (timedelta(days=10_000_000), timedelta(days=-10_000_000)):
            with pytest.raises(UsageError, match="--for leads beyond the calendar"):
                shifted(span, "--for")
