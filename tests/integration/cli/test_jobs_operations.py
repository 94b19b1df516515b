"""`mainstay jobs` against a real service: dead letters, schedules, queues and who does the jobs."""

import json
import re
from pathlib import Path

import pytest

from tests.integration.cli.jobs_commands import document, refused, run, said
from tests.integration.sdk_jobs.contract import WORK, Contract, work

NOBODY = "0198f0a0-0000-7000-8000-0123456789ab"
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "order/placed",
    "description": "Somebody has ordered something.",
    "x-mainstay-event": "order/placed",
    "x-mainstay-version": 1,
    "type": "object",
    "required": ["order"],
    "properties": {"order": {"type": "integer"}},
}


def rows(text: str) -> list[list[str]]:
    """Return the cells of a table."""
    return [re.split(" {2,}", line.strip()) for line in text.splitlines()]


async def letters() -> list[str]:
    """Return the ids of the dead letters there are."""
    return [job["job_id"] for job in await document("dead-letters", "list")]


class TestDeadLetters:
    async def test_are_listed_with_why(self, contract: Contract) -> None:
        """The newest first, narrowed by options."""
        first, second = await contract.dead_letters(2)

        listed = await run("dead-letters", "list", "--function", "work")
        none = await run("dead-letters", "list", "--failure", "OSError")

        assert [
            ["job", "function", "died", "why"],
            [second, "work", "just now", "ValueError: no good"],
            [first, "work", "just now", "ValueError: no good"],
        ] == rows(listed.stdout)
        assert (0, "no dead letters\n") == said(none)

    async def test_that_are_named_are_dealt_with_at_once(self, contract: Contract) -> None:
        """And those that were none are counted."""
        first, second = await contract.dead_letters(2)

        replayed = await run("dead-letters", "replay", first, NOBODY)
        discarded = await document("dead-letters", "discard", second)

        assert (0, "replayed 1 dead letter; 1 named no dead letter\n") == said(replayed)
        assert {"discarded": [second]} == discarded
        assert [] == await letters()

    @pytest.mark.parametrize(("verb", "past"), [("replay", "replayed"), ("discard", "discarded")])
    async def test_that_fit_are_dealt_with_when_that_is_meant(
        self, verb: str, past: str, contract: Contract
    ) -> None:
        """Somebody is asked, with how many there are, or says it before."""
        made = await contract.dead_letters(2)

        unanswered = await run("dead-letters", verb, "--all")
        declined = await run("dead-letters", verb, "--function", "work", stdin="n\n")
        left = await letters()
        meant = await run("dead-letters", verb, "--failure", "ValueError", stdin="y\n")
        again = await run("dead-letters", verb, "--all", "--yes")

        assert 2 == unanswered.exit_code
        assert f"{verb} 2 dead letters? [y/N]" in unanswered.stderr
        assert "nobody has answered; --yes does not ask" in unanswered.stderr
        assert (1, True) == (declined.exit_code, "nothing was changed" in declined.stderr)
        assert made[::-1] == left
        assert (0, f"{past} 2 dead letters") == (meant.exit_code, meant.stdout.splitlines()[-1])
        assert (0, f"{past} 0 dead letters\n") == said(again)

    async def test_are_not_meant_without_a_word(self, contract: Contract) -> None:
        """Nor in two ways at once."""
        made = await contract.dead_letters()

        for arguments in ((), (made[0], "--all"), ("--all", "--function", "work")):
            told = refused(await run("dead-letters", "discard", *arguments, "--yes"))
            assert (
                2,
                "error: give ids of dead letters, or options that they fit, or --all",
            ) == told
        assert made == await letters()


class TestSchedules:
    async def test_are_put_listed_and_steered(self, contract: Contract) -> None:
        """Each command says when the next tick is."""
        zone = ("--time-zone", "Asia/Kolkata")
        put = await run(
            "schedules", "put", "nightly", "0 3 * * *", "--event", WORK, *zone,
            "--data", '{"day": "{date}"}',
        )  # fmt: skip
        paused = await run("schedules", "pause", "nightly")
        listed = await run("schedules", "list")
        resumed = await run("schedules", "resume", "nightly")
        whole = await document("schedules", "list")
        deleted = await run("schedules", "delete", "nightly")
        none = await run("schedules", "list")

        due = rf"nightly starts event {WORK} next at \d{{4}}-\d\d-\d\d 21:30:00 UTC, in .*\n"
        assert re.fullmatch(due, put.stdout)
        assert re.fullmatch(due, resumed.stdout)
        assert (0, f"nightly is paused; it does not start event {WORK}\n") == said(paused)
        assert ["nightly", "0 3 * * * (Asia/Kolkata)", f"event {WORK}", "-", "paused"] in (
            rows(listed.stdout)
        )
        assert ({"day": "{date}"}, "latest") == (whole[0]["data"], whole[0]["catch_up"])
        assert (0, "nightly is deleted; jobs that it has started go on\n") == said(deleted)
        assert (0, "no schedules\n") == said(none)

    @pytest.mark.parametrize(
        ("arguments", "status", "expected"),
        [
            ((), 2, "give one of --event and --function"),
            (("--event", "a", "--function", "b"), 2, "give one of --event and --function"),
            (("--event", WORK, "--catch-up", "some"), 2, "there are none, latest, all"),
            (("--event", WORK, "--time-zone", "Mars"), 2, "no IANA time zone"),
            (("--function", "none"), 1, "none"),
        ],
    )
    async def test_that_cannot_be_are_refused(
        self, arguments: tuple[str, ...], status: int, expected: str, contract: Contract
    ) -> None:
        """In a line that says what would be right."""
        told, error = refused(await run("schedules", "put", "n", "0 3 * * *", *arguments))

        assert (status, True) == (told, expected in error), error

    async def test_that_never_tick_are_refused(self, contract: Contract) -> None:
        """The cron is named."""
        never = refused(await run("schedules", "put", "n", "0 0 31 2 *", "--event", WORK))
        missing = refused(await run("schedules", "pause", "n"))

        assert (2, True) == (
            never[0],
            "cron Bad day-of-month; must be as in crontab(5)" in never[1],
        )
        assert (1, True) == (missing[0], "schedule 'n' does not exist" in missing[1])


class TestQueues:
    async def test_are_listed_paused_and_resumed(self, contract: Contract) -> None:
        """With their depths."""
        none = await run("queues", "list")
        worker = await contract.worker()
        for _ in range(3):
            await run("enqueue", "work")
        await worker.take_one()

        paused = await run("queues", "pause", "work")
        listed = await run("queues", "list")
        whole = await document("queues", "list")
        resumed = await run("queues", "resume", "work")
        missing = refused(await run("queues", "pause", "none"))

        assert (0, True) == (none.exit_code, none.stdout.startswith("no queues; "))
        assert (0, "work is paused: 2 ready, 1 running\n") == said(paused)
        heading, row = rows(listed.stdout)
        assert ["queue", "ready", "later", "run", "wait", "dead", "oldest"] == heading[:7]
        assert ["work (paused)", "2", "0", "1", "0", "0"] == row[:6]
        assert (2, True) == (whole[0]["ready"], whole[0]["paused"])
        assert (0, "work goes on: 2 ready, 1 running\n") == said(resumed)
        assert (1, True) == (missing[0], "so it has no queue" in missing[1])


class TestFunctionsAndWorkers:
    async def test_are_listed(self, contract: Contract) -> None:
        """Who does what, and what bounds it; one function is told in full."""
        nobody = [await run(what) for what in ("functions", "workers")]
        await contract.worker(work(concurrency=5, version="v2"), work("another"))

        functions = await run("functions")
        one = await run("functions", "work")
        workers = await run("workers")
        whole = await document("functions", "work")
        missing = refused(await run("functions", "none"))

        assert [0, 0] == [told.exit_code for told in nobody]
        assert ["work", WORK, "3", "5 at once"] in rows(functions.stdout)
        assert ["another", WORK, "3", "-"] in rows(functions.stdout)
        assert ["workers", "1 connected"] in rows(one.stdout)
        assert ["version", "v2, another goes on with its jobs"] in rows(one.stdout)
        (row,) = rows(workers.stdout)[1:]
        assert ["raw-1", "acme", "0", "just now"] == row[:4]
        assert "another, work" == ", ".join(sorted(row[5].split(", ")))
        assert (5, 1) == (whole["concurrency"], whole["workers"])
        assert (1, True) == (missing[0], "none" in missing[1])


class TestSchemas:
    async def test_are_put_from_files_that_name_their_event(
        self, contract: Contract, tmp_path: Path
    ) -> None:
        """Or from stdin; they are listed with what they need."""
        (tmp_path / "order.json").write_text(json.dumps(SCHEMA))

        put = await run("schemas", "put", "order.json")
        piped = await run("schemas", "put", "-", stdin=json.dumps(SCHEMA))
        listed = await run("schemas", "list")
        whole = await document("schemas", "list", "order/placed")
        none = await run("schemas", "list", "no/such")

        assert (0, "order/placed has version 1\n") == said(put) == said(piped)
        assert ["order/placed", "1", "a call", "order"] in rows(listed.stdout)
        assert [WORK, "1", "a file", "-"] in rows(listed.stdout)
        assert [SCHEMA] == [each["schema"] for each in whole]
        assert (0, True) == (none.exit_code, none.stdout.startswith("no such event schemas; "))

    async def test_that_cannot_be_are_refused(self, contract: Contract, tmp_path: Path) -> None:
        """A file that names no event, one that is no JSON, and a change of what is stored."""
        (tmp_path / "order.json").write_text(json.dumps(SCHEMA))
        (tmp_path / "bare.json").write_text('{"type": "object"}')
        (tmp_path / "words.json").write_text("an order")
        (tmp_path / "changed.json").write_text(json.dumps({**SCHEMA, "required": []}))
        await run("schemas", "put", "order.json")

        bare = refused(await run("schemas", "put", "bare.json"))
        words = refused(await run("schemas", "put", "words.json"))
        changed = refused(await run("schemas", "put", "changed.json"))
        wrong = refused(
            await run(
                "schemas", "put", "-", "--event", "a/b", "--version", "1", stdin='{"type": 5}'
            )
        )

        assert (2, True) == (bare[0], "give --event and --version" in bare[1])
        assert (2, True) == (words[0], "FILE is not JSON" in words[1])
        assert (1, True) == (changed[0], "put the next version" in changed[1])
        assert 2 == wrong[0]
