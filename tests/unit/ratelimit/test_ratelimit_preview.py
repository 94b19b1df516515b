"""What another policy would have done."""

from collections.abc import Mapping

import pytest

from services.ratelimit.overrides import Override
from services.ratelimit.policy import Policy
from services.ratelimit.policy_file import parse_policy
from services.ratelimit.preview import MAX_SUBJECTS, Preview, Replay, RulePreview, SubjectPreview
from services.ratelimit.traffic import RecordedCheck
from shared.rpc.call import Tenant

ACME = Tenant("acme")
SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND


def _policy(default: str, *, more: str = "", rules: str = "") -> Policy:
    return parse_policy(
        f"version: 1\nlimits:\n{rules}"
        f'  - {{name: api, endpoints: ["*"], default: {default}{more}}}\n',
        "ratelimit.yaml",
    )


class Overrides:
    """Those of a test, under any policy."""

    def __init__(self, written: Mapping[str, str] | None = None) -> None:
        self.written = written or {}

    def find_under(
        self, policy: Policy, tenant: Tenant, rule: str, subject: str
    ) -> Override | None:
        if subject not in self.written:
            return None
        text = self.written[subject]
        return Override(
            tenant=tenant,
            rule=rule,
            subject=subject,
            limits=_policy(text).rules[0].default,
            written=text,
            expires_at=0,
            reason="",
            creator="",
            created_at=0,
            etag="",
        )


def _check(
    subject: str = "ann", *, after: int = 0, endpoint: str = "x", plan: str = "", cost: int = 1
) -> RecordedCheck:
    return RecordedCheck(NOW + after, ACME, subject, endpoint, plan, cost)


def _preview(
    before: Policy,
    after: Policy,
    checks: Mapping[RecordedCheck, int],
    overrides: Mapping[str, str] | None = None,
) -> Preview:
    replay = Replay(before, after, Overrides(overrides))
    for check, count in sorted(checks.items()):
        replay.judge(check, count)
    return replay.preview()


class TestReplay:
    def test_counts_what_each_policy_denies(self) -> None:
        """Ten checks within a minute, of which five or three may pass."""
        preview = _preview(_policy("5/min"), _policy("3/min"), {_check(): 10})

        assert [RulePreview("api", 10, 5, 7)] == preview.rules
        assert [SubjectPreview("ann", "api", 5, 7)] == preview.subjects
        assert 10 == preview.replayed

    def test_lets_time_pass(self) -> None:
        """What was consumed a window ago has left."""
        checks = {_check(after=n * 62 * SECOND): 4 for n in range(3)}
        preview = _preview(_policy("4/min"), _policy("3/min"), checks)

        assert [RulePreview("api", 12, 0, 3)] == preview.rules

    @pytest.mark.parametrize(
        ("limit", "more", "denied"),
        [
            ("3/min", ", algorithm: sliding_window", 7),
            ("60/min", ", algorithm: gcra, burst: 2", 8),
            ("3/d", ", algorithm: fixed_window", 7),
            ("3/s 100/min", "", 7),
            ("100/s 3/min", "", 7),
            ("unlimited", "", 0),
        ],
    )
    def test_judges_by_the_algorithm_of_each_rule(self, limit: str, more: str, denied: int) -> None:
        """And by all of its limits."""
        preview = _preview(_policy("unlimited"), _policy(limit, more=more), {_check(): 10})

        assert [RulePreview("api", 10, 0, denied)] == preview.rules

    def test_consumes_nothing_on_any_limit_when_one_denies(self) -> None:
        """The small limit denies two; the large one has room for what comes later."""
        checks = {_check(): 3, _check(after=2 * SECOND): 1}
        preview = _preview(_policy("unlimited"), _policy("1/s 2/min"), checks)

        assert [RulePreview("api", 4, 0, 2)] == preview.rules

    def test_counts_costs(self) -> None:
        """One that is above the limit never passes."""
        checks = {_check(cost=6): 1, _check(cost=3, after=1): 2}
        preview = _preview(_policy("6/min"), _policy("5/min"), checks)

        assert [RulePreview("api", 3, 2, 2)] == preview.rules

    def test_counts_what_a_rule_in_shadow_would_deny(self) -> None:
        """It is watched before it is let loose, and this is what it would do then."""
        preview = _preview(_policy("5/min"), _policy("1/min", more=", shadow: true"), {_check(): 9})

        assert [RulePreview("api", 9, 4, 8)] == preview.rules
        assert [each.subject for each in preview.subjects] == ["ann"]

    def test_knows_overrides(self) -> None:
        """They stand before either policy."""
        preview = _preview(_policy("5/min"), _policy("1/min"), {_check(): 9}, {"ann": "8/min"})

        assert [RulePreview("api", 9, 1, 1)] == preview.rules

    @pytest.mark.parametrize(("plan", "denied"), [("pro", 0), ("", 8), ("gone", 8)])
    def test_knows_plans(self, plan: str, denied: int) -> None:
        """One that a policy does not have is none."""
        after = _policy("1/min", more=", plans: {pro: 100/min}")
        preview = _preview(_policy("unlimited"), after, {_check(plan=plan): 9})

        assert [RulePreview("api", 9, 0, denied)] == preview.rules

    def test_tells_changes_by_the_new_rules(self) -> None:
        """What one rule covered is judged by two now; those that change most come first."""
        rules = "  - {name: chat, endpoints: [chat], default: 1/min}\n"
        checks = {_check(): 3, _check(endpoint="chat"): 5}
        preview = _preview(_policy("6/min"), _policy("3/min", rules=rules), checks)

        assert [RulePreview("chat", 5, 0, 4), RulePreview("api", 3, 2, 0)] == preview.rules


class TestSubjects:
    def test_are_those_that_are_denied_more_often(self) -> None:
        """The most affected first; who is better off is not named."""
        checks = {_check("ann"): 3, _check("bob"): 9, _check("eve"): 1}
        worse = _preview(_policy("9/min"), _policy("2/min"), checks)
        better = _preview(_policy("2/min"), _policy("9/min"), checks)

        expected = [SubjectPreview("bob", "api", 0, 7), SubjectPreview("ann", "api", 0, 1)]
        assert (expected, []) == (worse.subjects, better.subjects)

    def test_are_not_too_many(self) -> None:
        """An answer has room for some."""
        checks = {_check(f"user:{n}"): 2 for n in range(MAX_SUBJECTS + 20)}
        preview = _preview(_policy("2/min"), _policy("1/min"), checks)

        assert MAX_SUBJECTS == len(preview.subjects)
