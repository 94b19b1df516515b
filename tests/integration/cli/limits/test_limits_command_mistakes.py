"""`mainstay limits` used wrongly, or where nothing answers."""

from pathlib import Path

import pytest

from tests.integration.cli.limits.limits_commands import CHAT, POLICY, SUBJECT, Limits, run


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["check", "", CHAT], "subject is empty"),
            (["check", SUBJECT, CHAT, "--cost", "0"], "give 1 to 1,000,000"),
            (["check", SUBJECT, CHAT, "--plan", "gold"], "known are basic, pro"),
            (["check", "user:\udcff", CHAT], "is not UTF-8"),
            (["reset", SUBJECT, "--rule", "ai_chat", "--reason", "x" * 501], "at most 500"),
            (["stats", "--window", "90s"], "whole minutes"),
            (["policy", "preview", "-", "--window", "1h"], "15"),
        ],
    )
    async def test_are_one_line_that_names_the_way_out(
        self, limits: Limits, arguments: list[str], said: str
    ) -> None:
        """The service says what is wrong, and the exit status is that of a misuse."""
        told = await limits(*arguments, stdin=POLICY.encode())

        assert (2, "", 1) == (told.exit_code, told.stdout, len(told.stderr.splitlines()))
        assert said in told.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            ["reset", SUBJECT],
            ["reset", SUBJECT, "--all", "--rule", "ai_chat"],
            ["violations", "--since", "yesterday"],
            ["violations", "--since", "0s"],
            ["violations", "--since", "91d"],
            ["stats", "--window", "91d"],
            ["stats", "--window", "0m"],
            ["override", "put", SUBJECT, "ai_chat", "5/min", "--for", "a week", "--reason", "x"],
            ["policy", "put", "no_such_file.yaml", "--reason", "x"],
            ["policy", "check", "no_such_file.yaml"],
            ["policy", "preview", "-", "--window", "soon"],
        ],
    )
    async def test_are_noticed_before_anybody_is_asked(self, arguments: list[str]) -> None:
        """Here nothing runs that could be."""
        told = await run(*arguments)

        assert (2, 1) == (told.exit_code, len(told.stderr.splitlines()))
        assert told.stderr.startswith("error: ")

    async def test_of_a_policy_are_found_without_a_service(self, tmp_path: Path) -> None:
        """Each with its line, in a line of its own."""
        (tmp_path / "good.yaml").write_text(POLICY)
        (tmp_path / "bad.yaml").write_text(POLICY.replace("/min", "/fortnight"))
        good = await run("policy", "check", "good.yaml")
        bad = await run("policy", "check", "bad.yaml")
        first, *mistakes = bad.stderr.splitlines()

        assert (0, "good.yaml would be accepted\n") == (good.exit_code, good.stdout)
        assert (2, "error: bad.yaml is refused:") == (bad.exit_code, first)
        assert ["  line 8: ", "  line 9: ", "  line 9: ", "  line 15:"] == [
            mistake[:10] for mistake in mistakes
        ]

    async def test_what_needs_a_database_says_so(self, limits: Limits) -> None:
        """Where the service has none."""
        told = await limits("plan", "assign", SUBJECT, "pro")

        assert (1, 1) == (told.exit_code, len(told.stderr.splitlines()))
        assert "PostgreSQL" in told.stderr

    async def test_nothing_answers(self) -> None:
        """The line says where it looked and what to do."""
        told = await run("list")

        assert (1, 1) == (told.exit_code, len(told.stderr.splitlines()))
        assert "the rate limits do not answer at 127.0.0.1:" in told.stderr
        assert "MAINSTAY_RATELIMIT_ADDRESS says where it is" in told.stderr
