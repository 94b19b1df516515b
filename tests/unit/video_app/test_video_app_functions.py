"""Two functions of the example app in memory, as its own team would test them."""

import pytest

from examples.video_app.catalogue import VideoMetadata
from examples.video_app.fakes.media import FakeMedia
from examples.video_app.fakes.pace import Pace
from examples.video_app.jobs import memberships, videos
from examples.video_app.jobs.memberships import TRIAL, MembershipChange
from examples.video_app.jobs.videos import CHUNKS, Upload
from mainstay.jobs import JobState, Worker
from mainstay.testing import FunctionRun, Incoming, WorkerLostError, run_function

CHUNK_KEYS = {f"chunk-{number}" for number in range(CHUNKS)}
TRIALING = MembershipChange(user_id="42", plan="pro", status="trialing")


class Shelf:
    """A catalogue in memory."""

    def __init__(self) -> None:
        self.videos: dict[str, VideoMetadata] = {}

    async def publish(self, metadata: VideoMetadata) -> str:
        """Show a video."""
        self.videos[metadata.video_id] = metadata
        return metadata.video_id

    async def withdraw(self, video_id: str) -> None:
        """Show it no longer."""
        self.videos.pop(video_id, None)


@pytest.fixture
def shelf() -> Shelf:
    """Provide an empty catalogue."""
    return Shelf()


@pytest.fixture
def worker(shelf: Shelf) -> Worker:
    """Provide a worker that connects to nobody: only its functions are wanted."""
    worker = Worker("nobody:1")
    videos.register(worker, FakeMedia(Pace(speed=10_000)), shelf)
    memberships.register(worker)
    return worker


async def process(
    worker: Worker, video_id: str, *, source: str = "a.mp4", **faults: Exception
) -> FunctionRun:
    """Process a video in memory; `faults` are by the key of a step, with _ for -."""
    return await run_function(
        worker.functions["process-video"],
        Upload(video_id=video_id, source_url=source, duration_seconds=94.0, title="Bridges"),
        fail_at={key.replace("_", "-"): fault for key, fault in faults.items()},
    )


class TestProcessVideo:
    async def test_publishes_what_it_has_made(self, worker: Worker, shelf: Shelf) -> None:
        """Ten chunks between probe and thumbnails, and the result is what viewers get."""
        run = await process(worker, "bridges")

        assert JobState.SUCCEEDED is run.state
        assert ("probe", "thumbnails", "publish", "play") == tuple(
            key for key in run.step_keys if key not in CHUNK_KEYS
        )
        assert CHUNK_KEYS < set(run.step_keys)
        assert run.result["chunks"] == shelf.videos["bridges"].chunks

    async def test_tells_which_chunks_can_be_played(self, worker: Worker) -> None:
        """One more with each, and all of them in the end."""
        run = await process(worker, "bridges")

        reports = [p.partial["chunks_ready"] for p in run.progress if p.message.endswith("chunks")]
        assert list(range(1, CHUNKS + 1)) == [len(ready) for ready in reports]
        assert list(range(CHUNKS)) == reports[-1]

    async def test_keeps_chunks_when_the_worker_is_lost(self, worker: Worker) -> None:
        """Only the thumbnails, which were not stored, are cut in the second attempt."""
        run = await process(worker, "bridges", thumbnails=WorkerLostError())

        assert (JobState.SUCCEEDED, 2) == (run.state, run.attempts)
        assert {1} == {step.attempt for step in run.steps if step.key in CHUNK_KEYS}
        assert {2} == {step.attempt for step in run.steps if step.key == "thumbnails"}

    async def test_takes_back_what_does_not_play(self, worker: Worker, shelf: Shelf) -> None:
        """The catalogue first, then pictures and chunks."""
        run = await process(worker, "stuck-in-the-middle")

        assert (JobState.DEAD_LETTERED, 1) == (run.state, run.attempts)
        assert ("publish", "thumbnails") == run.undone[:2]
        assert CHUNK_KEYS == set(run.undone[2:])
        assert {} == shelf.videos

    async def test_gives_up_on_what_is_no_video(self, worker: Worker) -> None:
        """At once: another try would find the same file."""
        run = await process(worker, "bridges", source="broken.mp4")

        assert run.failure is not None
        assert ("NotAVideoError", 1, ()) == (run.failure.kind, run.attempts, run.step_keys)


class TestGreetMember:
    async def test_reminds_when_a_trial_ends_without_a_decision(self, worker: Worker) -> None:
        """Two weeks pass in no time."""
        run = await run_function(worker.functions["greet-member"], TRIALING)

        assert ["membership-trialing", "trial-has-ended"] == run.result
        assert ["42@members.example"] == run.events[-1].data["to"]
        assert TRIAL.total_seconds() == run.slept

    async def test_does_not_remind_who_has_decided(self, worker: Worker) -> None:
        """A decision of another member is none."""
        decisions = [
            Incoming("membership/updated", {"user_id": user, "status": "active"}, after=after)
            for user, after in (("7", 60.0), ("42", 3600.0))
        ]

        run = await run_function(worker.functions["greet-member"], TRIALING, events=decisions)

        assert (["membership-trialing"], 3600.0) == (run.result, run.slept)
