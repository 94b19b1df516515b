"""What `mainstay limits` prints as tables for people."""

from io import StringIO

import pytest
from rich.console import Console
from rich.table import Table

from cli.limits import listing
from mainstay.ratelimit import (
    Algorithm,
    FailureMode,
    Measure,
    PlanLimits,
    PolicyVersion,
    Preview,
    Rule,
    RulePreview,
    Rules,
    SubjectPreview,
)
from tests.unit.cli.limits_examples import ANALYTICS, LIMITED, LONG, OVERRIDE, VIOLATION, WHEN, WHO


def printed(*parts: str | Table) -> str:
    screen = Console(file=StringIO(), width=80, highlight=False)
    for part in parts:
        screen.print(part)
    assert isinstance(screen.file, StringIO)
    return screen.file.getvalue()


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
