"""`mainstay jobs` against a real service: jobs are started, looked at and steered."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from tests.integration.cli.jobs_commands import document, refused, run, said
from tests.integration.sdk_jobs.contract import WORK, Contract, work

NOBODY = "0198f0a0-0000-7000-8000-0123456789ab"


async def enqueued(*options: str) -> str:
    """Start a job and return its id."""
    job_id: str = (await document("enqueue", "work", *options))["job_id"]
    return job_id


class TestStarting:
    async def test_events_tells_their_jobs(self, contract: Contract) -> None:
        """One for each function; again with its key it is the same event."""
        await contract.worker(work("one"), work("two"))

        first = await run("send", WORK, '{"n": 1}', "--key", "k")
        again = await run("send", WORK, '{"n": 1}', "--key", "k")
        none = await run("send", "test/follow-up")

        heading, *jobs = first.stdout.splitlines()
        assert re.fullmatch(r"event [0-9a-f-]{36} accepted; its jobs:", heading)
        assert 2 == len(jobs)
        assert [heading.replace(" accepted", " had been accepted before"), *jobs] == (
            again.stdout.splitlines()
        )
        assert none.stdout.endswith("; no function is started by test/follow-up\n")

    async def test_functions_tells_the_job(self, contract: Contract, tmp_path: Path) -> None:
        """With what is written, in a file, or on stdin."""
        await contract.worker()
        (tmp_path / "data.json").write_text('{"n": 2}')

        written = await run("enqueue", "work", '{"n": 1}', "--priority", "5", "--delay", "1h")
        filed = await document("enqueue", "work", "@data.json")
        piped = await document("enqueue", "work", "-", stdin='{"n": 3}')

        match = re.fullmatch(r"job ([0-9a-f-]{36}) enqueued\n", written.stdout)
        assert match is not None
        shown = [await document("show", each["job_id"]) for each in (filed, piped)]
        assert [{"n": 2}, {"n": 3}] == [each["data"] for each in shown]
        assert 5 == (await document("show", match[1]))["priority"]

    @pytest.mark.parametrize(
        ("arguments", "status", "expected"),
        [
            (("send", WORK, "{"), 2, "DATA is not JSON"),
            (("send", WORK, "[1]"), 2, "DATA should be a JSON object, such as '{\"n\": 1}'"),
            (("send", WORK, "@none.json"), 2, "'none.json' cannot be read"),
            (("send", WORK, "--delay", "soon"), 2, "--delay 'soon' should be whole numbers"),
            (("send", "no/such"), 1, "no/such"),
            (("enqueue", "none"), 1, "none"),
            (("enqueue", "work", "--priority", "101"), 2, "priority"),
            (("enqueue", "work", "--priority", str(2**40)), 2, "priority"),
        ],
    )
    async def test_what_cannot_be_is_refused_in_a_line(
        self, arguments: tuple[str, ...], status: int, expected: str, contract: Contract
    ) -> None:
        """That says what to write instead."""
        await contract.worker()

        told, error = refused(await run(*arguments))

        assert (status, True) == (told, error.startswith("error: "))
        assert expected in error


class TestLooking:
    async def test_lists_jobs(self, contract: Contract) -> None:
        """The newest first, narrowed by options, and says when there are more."""
        await contract.worker()
        made = [await enqueued() for _ in range(3)]
        await run("cancel", made[0])

        listed = await run("list")
        two = await run("list", "--limit", "2")
        queued = await document("list", "--state", "queued", "--function", "work", "--since", "1h")
        none = await run("list", "--before", "1h")

        heading, *rows = [line.split() for line in listed.stdout.splitlines()]
        assert ["job", "function", "state", "accepted"] == heading
        assert [(made[2], "queued"), (made[1], "queued"), (made[0], "cancelled")] == [
            (row[0], row[2]) for row in rows
        ]
        assert 3 == len(two.stdout.splitlines())
        assert "there are more than these 2; --limit says how many to list\n" == two.stderr
        assert [made[2], made[1]] == [job["job_id"] for job in queued]
        assert (0, "no such jobs\n") == said(none)

    async def test_shows_a_job_with_its_steps(self, contract: Contract) -> None:
        """In words, and whole as JSON."""
        worker = await contract.worker()
        job_id = await enqueued('{"n": 1}')
        token = (await worker.take_one()).token
        await worker.step(token, "probe", '{"seconds": 3}')
        await worker.report(
            token, progress=worker_pb.ProgressReported(fraction=0.4, message="transcribing")
        )

        text = (await run("show", job_id)).stdout
        whole = await document("show", job_id)

        rows = [re.split(" {2,}", line.rstrip()) for line in text.splitlines()]
        assert ["job", job_id] in rows
        assert ["state", "running at raw-1, attempt 1 of 3, 40%: transcribing"] in rows
        assert ["data", '{"n":1}'] in rows
        assert ["probe", "run", "1", "just now", '{"seconds":3}'] in rows
        assert ("running", {"seconds": 3}, 0.4) == (
            whole["state"],
            whole["steps"][0]["result"],
            whole["progress"]["fraction"],
        )

    async def test_explains_what_does_not_run(self, contract: Contract) -> None:
        """With what would end that."""
        await contract.worker()
        job_id = await enqueued("--delay", "1h")

        told = await run("explain", job_id)
        whole = await document("explain", job_id)

        first, why, *_ = told.stdout.splitlines()
        assert re.fullmatch(rf"{job_id} \(work\): queued, due in 59 min \d+ s", first)
        assert "not due before" in why
        assert ["not_due"] == [each["kind"] for each in whole["hindrances"]]

    async def test_tells_what_does_not_exist(self, contract: Contract) -> None:
        """An id of nothing is a failure, and one that is none a mistake."""
        for command in ("show", "watch", "explain", "retry", "cancel"):
            status, error = refused(await run(command, NOBODY))
            assert (1, f"error: job {NOBODY} does not exist in tenant acme") == (status, error)
            status, error = refused(await run(command, "first"))
            assert (2, True) == (status, "'first' is not a job id" in error)

    async def test_refuses_options_that_mean_nothing(self, contract: Contract) -> None:
        """And names those that there are."""
        status, error = refused(await run("list", "--state", "done"))
        far, long = refused(await run("list", "--since", "9999d"))

        assert (2, 2) == (status, far)
        assert "--state 'done' is none; there are queued, running, retrying" in error
        assert "--since 9999d should be longer than nothing and at most 366d" in long


class TestWatching:
    async def test_prints_a_line_for_each_change(self, contract: Contract) -> None:
        """To a pipe, with the time; the exit status says that all went well."""
        worker = await contract.worker()
        job_id = await enqueued()
        watching = asyncio.create_task(run("watch", job_id, "--timeout", "20s"))
        token = (await worker.take_one()).token
        await worker.report(
            token, progress=worker_pb.ProgressReported(fraction=0.5, message="half")
        )
        await worker.complete(token, '{"chunks": 10}')

        status, text = said(await watching)

        *_, last = text.splitlines()
        assert 0 == status
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC succeeded after \d+ m?s: "
            r'\{"chunks":10\}',
            last,
        )

    async def test_exits_with_3_when_a_job_has_not_succeeded(self, contract: Contract) -> None:
        """Of several, whichever it was; each line names its job."""
        worker = await contract.worker(work(max_attempts=1))
        good, bad = await enqueued(), await enqueued()
        first, second = await worker.take(2)
        await worker.complete(first.token)
        await worker.fail(second.token, kind="OSError", message="gone")

        status, text = said(await run("watch", good, bad))
        cancelled = await enqueued()
        await run("cancel", cancelled)
        stopped = await run("watch", cancelled)

        assert (3, 3) == (status, stopped.exit_code)
        assert {
            f"{good} succeeded after",
            f"{bad} dead letter after attempt 1 of 1: OSError: gone",
        } == {
            told.partition(" UTC ")[2] if "dead" in told else " ".join(told.split()[3:6])
            for told in text.splitlines()
        }

    async def test_prints_whole_jobs_for_programs(self, contract: Contract) -> None:
        """A line of JSON each."""
        await contract.worker()
        job_id = await enqueued()
        await run("cancel", job_id)

        status, text = said(await run("watch", job_id, "--json"))

        assert (3, ["cancelled"]) == (
            status,
            [json.loads(line)["state"] for line in text.splitlines()],
        )

    async def test_gives_up_after_its_time(self, contract: Contract) -> None:
        """Which is a failure to tell, and stops no job."""
        await contract.worker()
        job_id = await enqueued()

        status, error = refused(await run("watch", job_id, "--timeout", "200ms"))

        assert (1, True) == (status, f"job {job_id} has not ended within the time" in error)
        assert "watch again" in error


class TestSteering:
    async def test_cancels_and_retries(self, contract: Contract) -> None:
        """And says where the job stands then."""
        (dead,) = await contract.dead_letters()
        queued = await enqueued()

        cancelled = await run("cancel", queued, "--reason", "a mistake")
        retried = await run("retry", dead)
        again = await run("retry", dead)

        assert (0, f"{queued} (work): cancelled: a mistake\n") == said(cancelled)
        assert f"{dead} (work): retrying after attempt 1 of 2: ValueError: no good, waits" in (
            retried.stdout
        )
        assert (1, True) == (again.exit_code, "only dead letters can be retried" in again.stderr)

    async def test_signals(self, contract: Contract) -> None:
        """With any JSON."""
        worker = await contract.worker()
        job_id = await enqueued()
        token = (await worker.take_one()).token
        await worker.wait_for(token, "reply", signal=worker_pb.SignalWait(name="approved"))
        await worker.suspend(token, "reply")

        told = await run("signal", job_id, "approved", '"by me"')
        shown = await document("show", job_id)

        assert (0, f"{job_id} has the signal approved\n") == said(told)
        assert {"data": "by me"} == shown["steps"][0]["result"]
        assert 2 == (await run("signal", job_id, "approved", "by me")).exit_code


class TestFailures:
    async def test_say_where_nobody_answered(
        self, contract: Contract, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And what to do about it."""
        monkeypatch.setenv("MAINSTAY_JOBS_ADDRESS", "127.0.0.1:1")

        status, error = refused(await run("list"))

        assert 1 == status
        assert "the jobs service does not answer at 127.0.0.1:1" in error
        assert "MAINSTAY_JOBS_ADDRESS says where it is" in error
