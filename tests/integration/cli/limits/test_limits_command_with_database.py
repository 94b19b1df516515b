"""`mainstay limits` shows and changes what a real service keeps in PostgreSQL."""

from pathlib import Path

import pytest

from tests.integration.cli.limits.limits_commands import (
    CHAT,
    POLICY,
    SOMEBODY,
    SUBJECT,
    Limits,
    document,
    eventually,
)


class TestWithDatabase:
    @pytest.fixture
    def database_url(self, postgres_url: str) -> str:
        """Keep what these commands change."""
        return postgres_url

    async def test_plans_are_assigned_shown_and_removed(self, limits: Limits) -> None:
        """And asked for features; not including one is an exit status."""
        none = await limits("plan", "show", SUBJECT)
        assigned = await limits("plan", "assign", SUBJECT, "pro", "--reason", "paid")
        shown = await limits("plan", "show", SUBJECT)
        includes = await limits("plan", "feature", SUBJECT, "export")
        lacks = await limits("plan", "feature", SUBJECT, "export", "--plan", "basic")
        removed = await limits("plan", "remove", SUBJECT)

        assert f"{SUBJECT} is on no plan\n" == none.stdout == removed.stdout
        assert assigned.stdout.startswith(f"{SUBJECT} is on plan pro since ")
        assert shown.stdout.endswith("; it includes chat, export\n")
        assert (0, "plan pro includes export\n") == (includes.exit_code, includes.stdout)
        assert (3, "plan basic does not include export; pro would\n") == (
            lacks.exit_code,
            lacks.stdout,
        )

    async def test_overrides_are_put_listed_and_deleted(self, limits: Limits) -> None:
        """For one subject on one rule."""
        name = (SUBJECT, "ai_chat")
        put = await limits("override", "put", *name, "9/min", "--for", "7d", "--reason", "a fair")
        listed = await limits("override", "list", "--subject", SUBJECT)
        deleted = await limits("override", "delete", *name)
        again = await limits("override", "delete", *name)
        none = await limits("override", "list")

        assert put.stdout.startswith(f"{SUBJECT} has 9/min under ai_chat until 20")
        assert ["9/min", "a fair"] == [
            fact for fact in ("9/min", "a fair") if fact in listed.stdout
        ]
        assert f"{SUBJECT} has no longer an override under ai_chat\n" == deleted.stdout
        assert (0, f"{SUBJECT} has no override under ai_chat\n") == (again.exit_code, again.stdout)
        assert "no overrides\n" == none.stdout

    async def test_policies_are_shown_put_and_rolled_back(
        self, limits: Limits, tmp_path: Path
    ) -> None:
        """From a file or stdin; what is shown can be put again."""
        shown = await limits("policy", "show")
        first = (await document(limits, "policy", "versions"))[0]["version"]
        changed = POLICY.replace("default: 5/min", "default: 6/min")
        (tmp_path / "new.yaml").write_text(changed)
        checked = await limits("policy", "check", "new.yaml")
        put = await limits(
            *("policy", "put", "new.yaml", "--reason", "more", "--expected-version", str(first))
        )
        late = await limits(
            *("policy", "put", "-", "--reason", "late", "--expected-version", str(first)),
            stdin=POLICY.encode(),
        )
        back = await limits("policy", "rollback", str(first), "--reason", "too much")
        listed = await limits("policy", "versions")
        newest = await document(limits, "policy", "versions", "--limit", "1")

        assert [first + 2] == [each["version"] for each in newest]
        assert POLICY == shown.stdout
        assert "new.yaml would be accepted\n" == checked.stdout
        assert (f"version {first + 1} is in force\n", f"version {first + 2} is in force\n") == (
            put.stdout,
            back.stdout,
        )
        assert 1 == late.exit_code
        assert f"* {first + 2}" in listed.stdout

    async def test_policies_that_are_wrong_are_mistakes(self, limits: Limits) -> None:
        """Line and field of each are named, in a line of its own."""
        wrong = POLICY.replace("default: 5/min", "default: 5/fortnight").encode()
        for command in (("put", "-", "--reason", "x"), ("check", "-"), ("preview", "-")):
            told = await limits("policy", *command, stdin=wrong)

            assert (2, "") == (told.exit_code, told.stdout)
            first, mistake = told.stderr.splitlines()
            assert first in {"error: the policy is refused:", "error: - is refused:"}
            assert "line 8" in mistake
            assert "5/fortnight" in mistake

    async def test_what_a_policy_leaves_without_effect_is_told(
        self, limits: Limits, tmp_path: Path
    ) -> None:
        """Before and after; who was on a plan that is gone learns so."""
        await limits("plan", "assign", SUBJECT, "pro")
        gone = POLICY.replace("  pro: {features: [chat, export]}\n", "")
        (tmp_path / "new.yaml").write_text(gone.replace(", pro: 20/min", ""))
        offline = await limits("policy", "check", "new.yaml")
        online = await limits("policy", "check", "new.yaml", "--online")
        put = await limits("policy", "put", "new.yaml", "--reason", "fewer")
        told = await limits("explain", SUBJECT, CHAT)
        lacks = await limits("plan", "feature", SUBJECT, "chat")

        assert (0, "") == (offline.exit_code, offline.stderr)
        assert (0, 0) == (online.exit_code, put.exit_code)
        assert online.stderr.startswith("warning: ")
        assert "plan pro" in online.stderr
        assert online.stderr == put.stderr
        assert "plan: none (the policy no longer has the plan pro)\n" in told.stdout
        assert 3 == lacks.exit_code
        assert f"having no plan (the policy no longer has the plan of {SUBJECT})" in lacks.stdout

    async def test_a_text_that_was_refused_is_told(self, limits: Limits, tmp_path: Path) -> None:
        """Beside what is in force, on stderr."""
        (tmp_path / "ratelimit.yaml").write_text(POLICY.replace("5/min", "5/fortnight"))
        await eventually(lambda: document(limits, "policy", "show"), lambda told: told["problem"])
        for command in (("list",), ("policy", "versions")):
            told = await limits(*command)

            assert (0, 1) == (told.exit_code, len(told.stderr.splitlines()))
            assert told.stderr.startswith("a newer text was refused: the rate limit policy ")
            assert "is refused: line 8: " in told.stderr

    async def test_evidence_is_listed_and_counted(self, limits: Limits) -> None:
        """Who was denied, how often, by what; whole names, for a pipe may look for them."""
        for _ in range(3):
            await limits("check", SUBJECT, CHAT, "--cost", "3")
        await eventually(
            lambda: document(limits, "violations", "--subject", SUBJECT), lambda told: told
        )
        await eventually(
            lambda: document(limits, "stats"), lambda told: told["total"]["denied"] == 2
        )
        await limits("check", SOMEBODY, CHAT, "--cost", "6")
        await eventually(
            lambda: document(limits, "violations", "--subject", SOMEBODY), lambda told: told
        )
        listed = await limits("violations", "--since", "1h30m")
        none = await limits("violations", "--rule", "api")
        await eventually(
            lambda: document(limits, "stats"), lambda told: told["total"]["denied"] == 3
        )
        counted = await limits("stats")
        of_all = [await limits(command, "--tenant", "*") for command in ("violations", "stats")]

        assert SUBJECT in listed.stdout
        assert SOMEBODY in listed.stdout
        assert "no denials within the last 1 d\n" == none.stdout
        assert "1 checks allowed and 3 denied within the last 1 h." in counted.stdout
        assert "ai_chat" in counted.stdout
        assert [False, False] == ["default" in told.stdout for told in (listed, counted)]
        assert [True, True] == ["default" in told.stdout for told in of_all]

    async def test_a_policy_is_tried_on_recent_traffic(
        self, limits: Limits, tmp_path: Path
    ) -> None:
        """By rule and by subject."""
        (tmp_path / "new.yaml").write_text(POLICY.replace("default: 5/min", "default: 1/min"))
        nothing = await limits("policy", "preview", "new.yaml")
        for _ in range(3):
            await limits("check", SUBJECT, CHAT)
        await eventually(
            lambda: document(limits, "policy", "preview", "new.yaml"),
            lambda told: told["replayed"],
        )
        told = await limits("policy", "preview", "new.yaml", "--window", "5m")

        assert "No traffic was recorded that could be replayed.\n" == nothing.stdout
        assert ["ai_chat", "3", "0", "2"] in [line.split() for line in told.stdout.splitlines()]
        assert [SUBJECT, "ai_chat", "0", "2"] in [line.split() for line in told.stdout.splitlines()]
