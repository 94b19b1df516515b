"""`mainstay cache` against a real service."""

import asyncio
import json
import os
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.layout import Layout
from cli.main import app
from cli.run_directory import RunDirectory
from services.cache.app import build
from services.cache.settings import CacheSettings

POLICIES = Path(__file__).parents[3] / "policies"
Cache = Callable[..., Awaitable[Result]]


async def run(*arguments: str, stdin: bytes | None = None) -> Result:
    """Run the command in a thread: it has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["cache", *arguments], input=stdin)


def lines(text: str) -> list[str]:
    return text.splitlines()


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Point at a port where nothing is, away from any suite of this machine."""
    for name, value in Layout.on_free_ports().environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def cache(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cache]:
    """Serve a cache and let the command find it."""
    service = build(
        CacheSettings(redis_url=redis_url, policies_dir=POLICIES, cache_port=0, cache_ops_port=0)
    )
    async with service.running():
        monkeypatch.setenv("MAINSTAY_CACHE_ADDRESS", service.address)
        yield run


class TestGet:
    async def test_prints_the_bytes_and_nothing_else(self, cache: Cache) -> None:
        """Whatever they are: they may go to a file."""
        await cache("set", "video/a/b", "-", stdin=b"\xff\x00\r\n")
        result = await cache("get", "video/a/b")

        assert (0, b"\xff\x00\r\n", "") == (result.exit_code, result.stdout_bytes, result.stderr)

    async def test_tells_about_the_entry_on_stderr(self, cache: Cache) -> None:
        """When it is asked to, and stdout stays as it is."""
        await cache(
            "set", "video/1", "x", "--class", "analytics", "--tag", "a", "--content-type", "text/x"
        )
        result = await cache("get", "video/1", "-v")

        assert "x" == result.stdout
        for fact in ("text/x", "1 bytes", "class analytics", "tags a", "ends "):
            assert fact in result.stderr

    async def test_a_miss_has_a_reason_and_an_exit_status(self, cache: Cache) -> None:
        """Scripts can tell it from an empty value."""
        result = await cache("get", "video/none")

        assert (1, "", "miss: cold\n") == (result.exit_code, result.stdout, result.stderr)

    async def test_as_json(self, cache: Cache) -> None:
        """Text as it is, other bytes as base64, a miss with its reason."""
        await cache("set", "video/1", "grüße", "--ttl", "5m", "--tag", "a")
        await cache("set", "video/2", "-", stdin=b"\xff")
        text, other, miss = [
            json.loads((await cache("get", f"video/{key}", "--json")).stdout) for key in "123"
        ]

        assert (True, "grüße", ["a"]) == (text["found"], text["value"], text["tags"])
        assert (True, "/w==", False) == (other["found"], other["value_base64"], "value" in other)
        assert {"found": False, "reason": "cold"} == miss


class TestSet:
    async def test_takes_a_file(self, cache: Cache, tmp_path: Path) -> None:
        """And says what was written and when it ends."""
        (tmp_path / "value").write_bytes(b"from a file")
        written = await cache("set", "video/1", f"@{tmp_path}/value", "--ttl", "5m")
        result = await cache("get", "video/1")

        assert written.exit_code == 0
        assert written.stdout.startswith("video/1 written: 11 bytes, version ")
        assert " UTC" in written.stdout
        assert "from a file" == result.stdout

    async def test_tenants_are_apart(self, cache: Cache) -> None:
        """`--tenant` says whose entry it is."""
        await cache("set", "video/1", "ours", "--tenant", "acme")
        found = [
            (await cache("get", "video/1", "--tenant", tenant)).stdout
            for tenant in ("acme", "other")
        ]

        assert ["ours", ""] == found


class TestInspect:
    async def test_lists_what_is_known(self, cache: Cache) -> None:
        """In two columns, whole where nobody sits at a terminal, also what looks like markup."""
        tag = "[red]" + "t" * 100
        await cache("set", "video/1", "value", "--class", "video_metadata", "--tag", tag)
        result = await cache("inspect", "video/1")

        assert 0 == result.exit_code
        assert tag in result.stdout
        assert "video_metadata" in result.stdout

    async def test_shows_what_reads_do_not_find(self, cache: Cache) -> None:
        """With the reason."""
        await cache("set", "video/1", "value", "--tag", "a")
        await cache("invalidate", "--tag", "a")
        found = json.loads((await cache("inspect", "video/1", "--json")).stdout)

        assert ("absent", "invalidated_by_tag") == (found["state"], found["miss_reason"])
        assert (["a"], 5) == (found["entry"]["tags"], found["value_bytes"])
        assert "value" not in found["entry"]


class TestInvalidate:
    @pytest.mark.parametrize(
        ("target", "reason"),
        [
            (["--key", "video/u:1"], "invalidated by key"),
            (["--tag", "user:1"], "invalidated by tag"),
            (["--prefix", "video/u:"], "invalidated by prefix"),
            (["--namespace", "video"], "invalidated by namespace"),
        ],
    )
    async def test_every_way(self, cache: Cache, target: list[str], reason: str) -> None:
        """What it meant is not found any more, for this reason; the rest is."""
        await cache("set", "video/u:1", "x", "--tag", "user:1")
        await cache("set", "chat/u:1", "x")
        done = await cache("invalidate", *target)
        gone = await cache("get", "video/u:1")
        other = await cache("get", "chat/u:1")

        assert (0, 0, 1) == (done.exit_code, other.exit_code, gone.exit_code)
        assert done.stdout.startswith("invalidated ")
        assert f"miss: {reason}\n" == gone.stderr

    async def test_by_event(self, cache: Cache) -> None:
        """The answer names the tags that the policy stands for."""
        event = ("--event", "membership.updated")
        done = await cache("invalidate", *event, "--data", "user_id=42")
        missing = await cache("invalidate", *event)
        unknown = await cache("invalidate", "--event", "no.such")

        assert 0 == done.exit_code
        assert "42" in done.stdout
        assert (2, 1) == (missing.exit_code, unknown.exit_code)
        assert "user_id" in missing.stderr
        assert "no.such" in unknown.stderr


class TestStats:
    async def test_are_whole_without_a_terminal(self, cache: Cache) -> None:
        """However long the names are; the target and the reasons are told."""
        long = "n" * 64
        for namespace in ("video", long):
            await cache("set", f"{namespace}/1", "x", "--class", "creator_settings")
            for key in "1112":
                await cache("get", f"{namespace}/{key}")
        result = await cache("stats")

        assert 0 == result.exit_code
        assert "75.0% of 8 reads within the last 1 h were hits; the target is 70%." in result.stdout
        assert "video" in result.stdout
        assert "creator_settings" in result.stdout
        assert "cold" in result.stdout
        assert f"\n{long}  creator_settings " in result.stdout

    async def test_as_json(self, cache: Cache) -> None:
        """Of one namespace, with the quotas."""
        for key in "12":
            await cache("set", f"video/{key}", "x")
        await cache("get", "video/1")
        await cache("get", "chat/1")
        arguments = ("stats", "--json", "--namespace", "video", "--window", "24h")
        found: dict[str, Any] = json.loads((await cache(*arguments)).stdout)

        assert (1, 0, 1.0) == tuple(found["total"][name] for name in ("hits", "misses", "hit_rate"))
        assert 0.7 == found["target_hit_rate"]
        assert 2 == {quota["quota"]: quota["used"] for quota in found["quotas"]}["entries"]

    async def test_without_reads(self, cache: Cache) -> None:
        """Nothing is divided by nothing."""
        result = await cache("stats", "--window", "5m")

        assert "No reads within the last 5 min; the target is 70% hits." in result.stdout


class TestAddress:
    async def test_is_that_of_the_suite_that_runs(
        self, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a variable that says otherwise."""
        await cache("set", "video/1", "x")
        running = RunDirectory(tmp_path / "data")
        running.take()
        address = {"MAINSTAY_CACHE_ADDRESS": os.environ["MAINSTAY_CACHE_ADDRESS"]}
        running.write_addresses(address, given=[])
        monkeypatch.delenv("MAINSTAY_CACHE_ADDRESS")
        found = await run("get", "video/1", "--data-dir", str(tmp_path / "data"))
        running.release()

        assert (0, "x") == (found.exit_code, found.stdout)


class TestDocumentation:
    async def test_shows_commands_that_make_sense(self, cache: Cache) -> None:
        """They may find nothing here, but none is misused."""
        readme = (POLICIES.parent / "README.md").read_text(encoding="utf-8")
        shown = [shlex.split(line) for line in re.findall(r"`mainstay cache ([^`]+)`", readme)]

        assert ["inspect", "video/42"] in shown
        assert [] == [words for words in shown if (await cache(*words)).exit_code == 2]

    async def test_the_help_tells_exit_statuses(self) -> None:
        """Scripts depend on them."""
        result = await run("--help")

        assert "status is 1 for a miss" in " ".join(result.stdout.replace("│", " ").split())


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["get", "Bad!/1"], "namespace contains"),
            (["set", "video/1", "x", "--ttl", "400d"], "366 days"),
            (["set", "video/1", "x", "--class", "nope"], "'nope' is unknown; known are"),
            (["stats", "--window", "90s"], "whole minutes, from 1 minute to 24 hours"),
            (["stats", "--class", "nope"], "'nope' is unknown"),
            (["set", "video/1", "@large"], "write at most"),
            (["set", "video/1", "@huge"], "send less at once"),
            (["get", "video/\udcff"], "is not UTF-8; write names, keys and tags in UTF-8"),
            (["stats", "--tenant", "a b"], "write 1 to 64 letters, digits"),
        ],
    )
    async def test_are_one_line_that_names_the_way_out(
        self, cache: Cache, arguments: list[str], said: str, tmp_path: Path
    ) -> None:
        """The service says what is wrong, and the exit status is that of a misuse."""
        (tmp_path / "large").write_bytes(bytes(1_100_000))
        (tmp_path / "huge").write_bytes(bytes(5_000_000))
        result = await cache(*arguments)

        assert (2, "", 1) == (result.exit_code, result.stdout, len(lines(result.stderr)))
        assert said in result.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            ["get", "video"],
            ["set", "video/1", "x", "--ttl", "5x"],
            ["set", "video/1", "x", "--ttl", "5m", "--class", "general"],
            ["set", "video/1", "@/no/such/file"],
            ["invalidate"],
            ["invalidate", "--tag", "a", "--namespace", "b"],
            ["stats", "--window", "soon"],
        ],
    )
    async def test_are_noticed_before_anybody_is_asked(self, arguments: list[str]) -> None:
        """Here nothing runs that could be."""
        result = await run(*arguments)

        assert (2, 1) == (result.exit_code, len(lines(result.stderr)))
        assert result.stderr.startswith("error: ")

    async def test_nothing_answers(self) -> None:
        """The line says where it looked and what to do."""
        result = await run("stats")

        assert (1, 1) == (result.exit_code, len(lines(result.stderr)))
        assert "127.0.0.1:" in result.stderr
        assert "`mainstay up` starts it" in result.stderr
