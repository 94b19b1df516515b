"""`mainstay limits` against a real service."""

import asyncio
import json
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
  - name: api
    endpoints: ["*"]
    default: unlimited
"""
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
        assert 1 == denied.exit_code
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
        assert "  19 of 20 left per 1 min, reset 20" in told.stdout
        assert "  also matching, less specific: *\n" in told.stdout

    async def test_are_listed(self, limits: Limits) -> None:
        """A line for each plan."""
        told = await limits("list")
        text = [line.split() for line in told.stdout.splitlines()]

        assert ["ai_chat", "-", "5/min", "/api/chat"] in text
        assert ["pro", "20/min"] in text
        assert ["api", "-", "unlimited", "*"] in text


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
        assert (1, "plan basic does not include export; pro would\n") == (
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
        """Line and field are named."""
        wrong = POLICY.replace("default: 5/min", "default: 5/fortnight").encode()
        for command in (("put", "-", "--reason", "x"), ("check", "-"), ("preview", "-")):
            told = await limits("policy", *command, stdin=wrong)

            assert (2, "") == (told.exit_code, told.stdout)
            assert 1 == len(told.stderr.splitlines())
            assert "line 8" in told.stderr
            assert "5/fortnight" in told.stderr

    async def test_evidence_is_listed_and_counted(self, limits: Limits) -> None:
        """Who was denied, how often, by what."""
        for _ in range(3):
            await limits("check", SUBJECT, CHAT, "--cost", "3")
        await eventually(
            lambda: document(limits, "violations", "--subject", SUBJECT), lambda told: told
        )
        await eventually(
            lambda: document(limits, "stats"), lambda told: told["total"]["denied"] == 2
        )
        listed = await limits("violations", "--since", "1h")
        none = await limits("violations", "--rule", "api")
        counted = await limits("stats")

        assert SUBJECT in listed.stdout
        assert "no denials within the last 1 d\n" == none.stdout
        assert "1 checks allowed and 2 denied within the last 1 h." in counted.stdout
        assert "ai_chat" in counted.stdout

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
            ["violations", "--since", "9999999d"],
            ["override", "put", SUBJECT, "ai_chat", "5/min", "--for", "a week", "--reason", "x"],
            ["policy", "put", "no_such_file.yaml", "--reason", "x"],
            ["policy", "preview", "-", "--window", "soon"],
        ],
    )
    async def test_are_noticed_before_anybody_is_asked(self, arguments: list[str]) -> None:
        """Here nothing runs that could be."""
        told = await run(*arguments)

        assert (2, 1) == (told.exit_code, len(told.stderr.splitlines()))
        assert told.stderr.startswith("error: ")

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
