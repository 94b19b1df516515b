"""`mainstay limits` asks a real service, which needs nothing but Redis."""

import re

from tests.integration.cli.limits.limits_commands import (
    CHAT,
    DAILY,
    EVEN,
    SUBJECT,
    Limits,
    document,
)


class TestChecks:
    async def test_consume_and_tell_what_is_left(self, limits: Limits) -> None:
        """The exit status says whether it may be done; a look consumes nothing."""
        looked = await limits("peek", SUBJECT, CHAT, "--cost", "5")
        done = await limits("check", SUBJECT, CHAT, "--cost", "5")
        denied = await limits("check", SUBJECT, CHAT)

        assert "would be allowed by ai_chat (no plan); 5 of 5 per 1 min left\n" == looked.stdout
        assert (0, "allowed by ai_chat (no plan); 0 of 5 per 1 min left\n") == (
            done.exit_code,
            done.stdout,
        )
        assert 3 == denied.exit_code
        assert denied.stdout.startswith("denied by ai_chat (no plan); 0 of 5 per 1 min left; retry")

    async def test_as_json(self, limits: Limits) -> None:
        """With all that the decision says."""
        told = await document(limits, "check", SUBJECT, CHAT, "--plan", "pro")
        free = await document(limits, "check", SUBJECT, "anything")

        assert (True, "pro", 20, 19) == tuple(
            told[name] for name in ("allowed", "plan", "limit", "remaining")
        )
        assert "20" == told["headers"]["x-ratelimit-limit"]
        assert (True, None) == (free["allowed"], free["limit"])

    async def test_tenants_are_apart(self, limits: Limits) -> None:
        """`--tenant` says whose limits."""
        for tenant in ("acme", "other"):
            told = await limits("check", SUBJECT, CHAT, "--cost", "5", "--tenant", tenant)
            assert 0 == told.exit_code


class TestReset:
    async def test_forgets_what_was_consumed(self, limits: Limits) -> None:
        """And says of which rules."""
        await limits("check", SUBJECT, CHAT, "--cost", "5")
        done = await limits("reset", SUBJECT, "--endpoint", CHAT, "--reason", "a complaint")
        again = await limits("reset", SUBJECT, "--all")
        looked = await limits("peek", SUBJECT, CHAT)

        assert f"forgot what {SUBJECT} had consumed under ai_chat\n" == done.stdout
        assert f"{SUBJECT} had consumed nothing there\n" == again.stdout
        assert 0 == looked.exit_code


class TestRules:
    async def test_are_explained(self, limits: Limits) -> None:
        """In sentences."""
        await limits("check", SUBJECT, CHAT, "--plan", "pro")
        told = await limits("explain", SUBJECT, CHAT, "--plan", "pro")

        assert 0 == told.exit_code
        assert "plan: pro (named by the call)\n" in told.stdout
        assert "rule ai_chat by /api/chat, limits from plan, local on failure\n" in told.stdout
        assert "  19 of 20 per 1 min left (sliding window), reset 20" in told.stdout
        assert "  also matching, less specific: *\n" in told.stdout

    async def test_are_listed(self, limits: Limits) -> None:
        """A line for each plan."""
        told = await limits("list")
        text = [line.split() for line in told.stdout.splitlines()]

        assert ["ai_chat", "-", "5/min", "sliding", "window", "/api/chat"] in text
        assert ["pro", "20/min"] in text
        assert ["api", "-", "unlimited", "sliding", "window", "*"] in text

    async def test_say_how_they_count(self, limits: Limits) -> None:
        """With burst and calendar; one in shadow does not deny, and tells what it would."""
        listed = await limits("list")
        rows = [re.split(" {2,}", line.rstrip()) for line in listed.stdout.splitlines()]
        even = await limits("explain", SUBJECT, EVEN)
        daily = await limits("explain", SUBJECT, DAILY)
        done = [await limits("check", SUBJECT, EVEN, "--cost", "2") for _ in range(2)]

        assert ["even (shadow)", "-", "60/min", "gcra, burst 2", EVEN] in rows
        calendar = "fixed window, calendar of Europe/Berlin"
        assert ["daily", "-", "9/d 5/36h", calendar, DAILY] in rows
        assert ["places", "-", "3 at once", "places", EVEN] in rows
        assert "  2 of 60 per 1 min left (gcra, burst 2), reset 20" in even.stdout
        assert "  3 of 3 at once left, reset 20" in even.stdout
        assert "  9 of 9 per calendar day left (fixed window, Europe/Berlin), reset" in daily.stdout
        assert "  5 of 5 per 1 d 12 h left (fixed window), reset" in daily.stdout
        assert [0, 0] == [told.exit_code for told in done]
        assert [False, True] == [
            told.stdout.endswith("; the rule even in shadow would have denied\n") for told in done
        ]
