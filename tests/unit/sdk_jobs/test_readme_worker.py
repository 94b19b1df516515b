"""The worker in the README of the SDK does what is said of it."""

import re
from pathlib import Path
from typing import Any

import pytest

from mainstay.jobs import JobContext, NonRetryableError, RetryAfterError, Worker
from mainstay.jobs.json_text import encode
from mainstay.jobs.step_threads import StepThreads
from tests.unit.sdk_jobs.recorded_reports import RecordedReports, assigned_job

README = Path(__file__).parents[3] / "sdk" / "README.md"


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """Return the names that the README's worker module defines."""
    section = README.read_text().partition("## Writing a worker")[2]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(found[1], str(README), "exec"), names)
    return names


@pytest.fixture
def reports() -> RecordedReports:
    """Keep what the function reports."""
    return RecordedReports()


def job_for(path: Path, reports: RecordedReports) -> JobContext:
    """Return the job of a video at that path."""
    job = assigned_job(data_json=encode({"path": str(path)}))
    return JobContext.begin(job, reports, StepThreads(1))


class TestWorkerOfTheReadme:
    async def test_runs_its_steps(
        self, written: dict[str, Any], reports: RecordedReports, tmp_path: Path
    ) -> None:
        """Two steps, progress in between, and a result."""
        video = tmp_path / "a.mp4"
        video.write_bytes(b"12345")

        result = await written["process_video"](job_for(video, reports))

        assert isinstance(written["worker"], Worker)
        assert (5, ["measure", "transcode"]) == (result["bytes"], [key for key, _ in reports.steps])
        assert [(0.5, "transcoding")] == reports.progresses

    async def test_gives_up_on_an_empty_file(
        self, written: dict[str, Any], reports: RecordedReports, tmp_path: Path
    ) -> None:
        """No retry makes it a video."""
        (tmp_path / "a.mp4").touch()

        with pytest.raises(NonRetryableError, match="empty"):
            await written["process_video"](job_for(tmp_path / "a.mp4", reports))

    async def test_asks_for_its_wait(
        self, written: dict[str, Any], reports: RecordedReports, tmp_path: Path
    ) -> None:
        """The full transcoder is asked again in a minute."""
        (tmp_path / "a.later").write_bytes(b"1")

        with pytest.raises(RetryAfterError) as caught:
            await written["process_video"](job_for(tmp_path / "a.later", reports))
        assert 60 == caught.value.seconds
