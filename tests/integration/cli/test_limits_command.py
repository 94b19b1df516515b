"""`mainstay limits` against a real service."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.layout import Layout
from cli.main import app
from services.ratelimit.app import build
from services.ratelimit.settings import RateLimitSettings

SUBJECT, CHAT = "user:42", "/api/chat"
SOMEBODY = f"user:{'x' * 200}"
POLICY = """\
version: 1
plans:
  basic: {features: [chat]}
  pro: {features: [chat, export]}
limits:
  - name: ai_chat
    endpoints: [/api/chat]
    default: 5/min
    plans: {basic: 5/min, pro: 20/min}
  - name: even
    endpoints: [/even]
    algorithm: gcra
    burst: 2
    shadow: true
    default: 60/min
  - name: daily
    endpoints: [/daily]
    algorithm: fixed_window
    time_zone: Europe/Berlin
    default: 9/d 5/36h
  - name: api
    endpoints: ["*"]
    default: unlimited
concurrency:
  - name: places
    endpoints: [/even]
    default: 3
"""
EVEN, DAILY = "/even", "/daily"
PATIENCE = 20.0

Limits = Callable[..., Awaitable[Result]]


async def run(*arguments: str, stdin: bytes | None = None) -> Result:
    """Run the command in a thread: it has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["limits", *arguments], input=stdin)


async def document(limits: Limits, *arguments: str) -> Any:
    """Return what a command prints as JSON."""
    return json.loads((await limits(*arguments, "--json")).stdout)


async def eventually(ask: Callable[[], Awaitable[Any]], enough: Callable[[Any], object]) -> None:
    """Ask until what is recorded in the background is there."""
    async with asyncio.timeout(PATIENCE):
        while not enough(await ask()):  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.1)


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Point at a port where nothing is, away from any suite of this machine."""
    for name, value in Layout.on_free_ports().environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def database_url() -> str | None:
    """Return the PostgreSQL of the service, where a test needs one."""
    return None


@pytest.fixture
async def limits(
    redis_url: str, database_url: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Limits]:
    """Serve rate limits and let the command find them."""
    (tmp_path / "ratelimit.yaml").write_text(POLICY)
    settings = RateLimitSettings.model_validate(
        {
            "redis_url": redis_url,
            "postgres_url": database_url,
            "policies_dir": tmp_path,
            "ratelimit_port": 0,
            "ratelimit_ops_port": 0,
        }
    )
    service = build(settings)
    async with service.running():
        monkeypatch.setenv("MAINSTAY_RATELIMIT_ADDRESS", service.address)
        yield run


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
