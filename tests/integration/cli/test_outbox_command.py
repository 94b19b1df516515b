"""`mainstay jobs outbox` on a real database, with a real jobs service."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from cli.layout import Layout
from cli.main import app
from mainstay.outbox.schema import script
from tests.integration.sdk_jobs.jobs_service import serving, write_policies

PATIENCE = 20.0
SEND = "SELECT mainstay_outbox.send_event('test/work', '{\"n\": 1}')"


async def run(*arguments: str) -> Result:
    """Run the command in a thread: it has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["jobs", "outbox", *arguments])


async def document(*arguments: str) -> Any:
    """Return what a command prints as JSON."""
    return json.loads((await run(*arguments, "--json")).stdout)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Point at ports where nothing is, away from any suite of this machine."""
    for name, value in Layout.on_free_ports().environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def own(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Connect to a database of which the commands know by the variable."""
    monkeypatch.setenv("MAINSTAY_OUTBOX_URL", postgres_url)
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


async def fail_all(own: Any) -> None:
    """Move everything aside, as a relay does."""
    await own.execute(
        "UPDATE mainstay_outbox.messages SET attempts = 1, last_error = 'VALIDATION_FAILED: [no]', "
        "fail_time = now()"
    )


class TestInstall:
    async def test_says_what_it_did(self, own: Any) -> None:
        """And that there was nothing to do."""
        first, second = await run("install"), await run("install")

        assert "installed mainstay_outbox, version 1\n" == first.stdout
        assert "mainstay_outbox is up to date\n" == second.stdout

    async def test_prints_the_sql(self) -> None:
        """Without a database; for the version that is there, only what is missing."""
        whole = await run("install", "--print", "--schema", "mine", "--sender-role", "app")
        nothing = await run("install", "--print", "--after", "1")

        assert script("mine", senders=["app"]) == whole.stdout
        assert "BEGIN;\n\n\nCOMMIT;\n" == nothing.stdout

    async def test_needs_a_database(self) -> None:
        """A command without one makes no sense, nor one for a schema that cannot be."""
        nowhere = await run("install")
        misnamed = await run("install", "--database", "postgresql://h/d", "--schema", "A")

        assert (2, 2) == (nowhere.exit_code, misnamed.exit_code)
        assert "MAINSTAY_OUTBOX_URL" in nowhere.stderr
        assert "'A' cannot be the schema of an outbox" in misnamed.stderr

    async def test_fails_in_one_line(self, postgres_url: str) -> None:
        """What PostgreSQL says is told as it is."""
        gone = await run("install", "--database", "postgresql://x@127.0.0.1:1/none")
        missing = await run("status", "--database", postgres_url)

        assert (1, 1) == (gone.exit_code, missing.exit_code)
        assert 1 == gone.stderr.count("\n") == missing.stderr.count("\n")
        assert "`mainstay jobs outbox install`" in missing.stderr


class TestStatus:
    async def test_tells_what_waits(self, own: Any) -> None:
        """And what failed, and why."""
        await run("install")
        await own.execute(SEND)
        await fail_all(own)
        await own.execute(SEND)
        shown = await run("status")
        told = await document("status")

        assert ["1", "failed", "1"] == [
            word for word in shown.stdout.split() if word in {"1", "failed"}
        ][-3:]
        assert "VALIDATION_FAILED: [no]" in shown.stdout
        assert (1, 1) == (told["status"]["pending"], told["status"]["failed"])
        assert "event" == told["troubled"][0]["kind"]


class TestFailedMessages:
    async def test_are_retried_and_discarded(self, own: Any) -> None:
        """By their ids, or all."""
        await run("install")
        for _ in range(3):
            await own.execute(SEND)
        await fail_all(own)
        done = [
            (await run(*arguments)).stdout
            for arguments in (("retry", "1"), ("discard", "2", "1"), ("retry", "--all"))
        ]
        empty = await run("retry", "--all")
        unclear = [(await run("retry")).exit_code, (await run("retry", "1", "--all")).exit_code]

        assert ["will be tried again: 1\n", "discarded: 2\n", "will be tried again: 3\n"] == done
        assert "no such failed messages\n" == empty.stdout
        assert [2, 2] == unclear


class TestRemove:
    async def test_asks_for_force(self, own: Any) -> None:
        """Where messages would be lost."""
        await run("install")
        await own.execute(SEND)
        refused, forced = await run("remove"), await run("remove", "--force")

        assert (1, 0, "removed mainstay_outbox\n") == (
            refused.exit_code,
            forced.exit_code,
            forced.stdout,
        )
        assert "still holds 1 messages" in refused.stderr


class TestRelay:
    async def test_is_a_process_that_a_signal_ends(
        self, own: Any, postgres_url: str, tmp_path: Path
    ) -> None:
        """It takes what was there and ends well."""
        await run("install")
        await own.execute("LISTEN done")
        await own.execute(
            "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN PERFORM pg_notify('done', ''); RETURN NULL; END$$;"
            "CREATE TRIGGER tell AFTER DELETE ON mainstay_outbox.messages "
            "FOR EACH ROW EXECUTE FUNCTION tell()"
        )
        taken = asyncio.Event()
        await own.add_listener("done", lambda *_news: taken.set())
        await own.execute(SEND)
        async with serving(postgres_url, write_policies(tmp_path / "policies")) as address:
            process = await relay_process(address)
            await asyncio.wait_for(taken.wait(), PATIENCE)
            process.send_signal(signal.SIGTERM)
            said, _nothing = await asyncio.wait_for(process.communicate(), PATIENCE)

        assert (0, f"relaying mainstay_outbox to {address}\n") == (
            process.returncode,
            said.decode(),
        )

    async def test_needs_an_outbox(self, own: Any) -> None:
        """And says how to get one."""
        process = await relay_process("127.0.0.1:1")
        _said, told = await asyncio.wait_for(process.communicate(), PATIENCE)

        assert 1 == process.returncode
        assert told.decode().startswith("error: there is no outbox mainstay_outbox")


async def relay_process(address: str) -> Process:
    """Run the command on the database of the variable; a signal is for a process of its own."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "jobs", "outbox", "relay"),
        env={**os.environ, "MAINSTAY_JOBS_ADDRESS": address},
        cwd=Path(__file__).parents[3],
        stdout=PIPE,
        stderr=PIPE,
    )


class TestHelp:
    @pytest.mark.parametrize(
        "command", ["", "install", "relay", "status", "retry", "discard", "remove"]
    )
    async def test_fits_a_terminal(self, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of 80 columns; nothing is cut off."""
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("TERMINAL_WIDTH", "80")
        shown = await run(*command.split(), "--help")

        assert 0 == shown.exit_code
        assert max(map(len, shown.stdout.splitlines())) <= 80
        assert "…" not in shown.stdout
