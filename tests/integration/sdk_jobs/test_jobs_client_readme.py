"""The jobs in the README of the SDK are started, watched and replayed as it shows."""

import ast
import asyncio
import inspect
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from mainstay.jobs import JobFilter, JobState
from tests.integration.jobs.raw_worker import RawWorker
from tests.integration.sdk_jobs.contract import PATIENCE, Contract, all_of, contract_of, work

README = Path(__file__).parents[3] / "sdk" / "README.md"
POLICIES = README.parents[1] / "policies"
UPLOAD = {
    "video_id": "v-7",
    "creator_id": "c-1",
    "source_url": "https://example.org/v.mp4",
    "duration_seconds": 60,
}


def code() -> CodeType:
    """Return the example, which awaits where it stands."""
    section = README.read_text().partition("## Jobs\n")[2]
    text = section.partition("```python\n")[2].partition("```")[0]
    compiled: CodeType = compile(text, str(README), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return compiled


async def deal_with_both(contract: Contract, worker: RawWorker) -> None:
    """Fail the one that comes, and cancel the one that waits for its time."""
    await worker.fail((await worker.take_one()).token, kind="OSError", message="gone")
    emails = JobFilter(function="send-email")
    while not (waiting := await all_of(contract.jobs.list_jobs(emails))):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    await contract.jobs.cancel_job(waiting[0].job_id)


class TestReadme:
    async def test_does_what_it_says(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two jobs run, one fails and is given new attempts, and a schedule is there."""
        shown: list[tuple[Any, ...]] = []
        async with contract_of(postgres_url, POLICIES) as contract:
            monkeypatch.setenv("MAINSTAY_JOBS_ADDRESS", contract.address)
            names: dict[str, Any] = {"upload": UPLOAD, "show": lambda *what: shown.append(what)}
            worker = await contract.worker(
                work("process-video", "video/upload.completed", max_attempts=1),
                work("send-email", ""),
            )
            example = eval(code(), names)
            assert inspect.isawaitable(example)
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(example, deal_with_both(contract, worker))
            (schedule,) = await all_of(contract.jobs.list_schedules())

        assert "nightly" == schedule.name
        assert ("send-email", JobState.CANCELLED) in {each[:2] for each in shown}
        assert ("process-video", JobState.DEAD_LETTERED) in {each[:2] for each in shown}
        assert "OSError" == shown[-1][1].kind
