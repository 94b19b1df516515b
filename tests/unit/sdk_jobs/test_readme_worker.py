"""The worker in the README of the SDK does what is said of it, and so do the tests of it."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from mainstay.jobs import JobState, Progress, Worker
from mainstay.testing import FunctionRun, Incoming, run_function

README = Path(__file__).parents[3] / "sdk" / "README.md"


def code_of(heading: str) -> str:
    """Return the first Python block below a heading."""
    section = README.read_text().partition(f"## {heading}\n")[2]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def written() -> dict[str, Any]:
    """Return the names that the README's worker module, and its tests, define."""
    names: dict[str, Any] = {"__name__": "readme"}
    for heading in ("Writing a worker", "Testing a function"):
        exec(compile(code_of(heading), str(README), "exec"), names)
    return names


async def run(written: dict[str, Any], path: Path) -> FunctionRun:
    """Run the function for a video at that path, which is approved."""
    payload = {"path": str(path)}
    function = written["worker"].functions["process-video"]
    return await run_function(function, payload, events=[Incoming("video/approved", payload)])


class TestWorkerOfTheReadme:
    async def test_runs_its_steps(self, written: dict[str, Any], tmp_path: Path) -> None:
        """Two steps and a wait, progress in between, and a result."""
        (tmp_path / "a.mp4").write_bytes(b"12345")

        ran = await run(written, tmp_path / "a.mp4")

        assert isinstance(written["worker"], Worker)
        assert (5, ("measure", "transcode", "approval")) == (ran.result["bytes"], ran.step_keys)
        assert (Progress(fraction=0.5, message="transcoding"),) == ran.progress[:1]

    async def test_gives_up_on_an_empty_file(self, written: dict[str, Any], tmp_path: Path) -> None:
        """No retry makes it a video."""
        (tmp_path / "a.mp4").touch()

        ran = await run(written, tmp_path / "a.mp4")

        assert ran.failure is not None
        assert (JobState.DEAD_LETTERED, 1, "the file is empty") == (
            ran.state,
            ran.attempts,
            ran.failure.message,
        )

    async def test_asks_for_its_wait(self, written: dict[str, Any], tmp_path: Path) -> None:
        """The full transcoder is asked again in a minute, four times."""
        (tmp_path / "a.later").write_bytes(b"1")

        ran = await run(written, tmp_path / "a.later")

        assert (5, 4 * 60) == (ran.attempts, ran.slept)


class TestTestsOfTheReadme:
    async def test_pass(self, written: dict[str, Any], tmp_path: Path) -> None:
        """Each of them, as written."""
        tests = [each for name, each in written.items() if name.startswith("test_")]

        for test in tests:
            assert inspect.iscoroutinefunction(test)
            await test(tmp_path)
        assert 2 == len(tests)
