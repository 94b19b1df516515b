"""Runs functions in memory, for unit tests of your own: no service, no network, no waiting.

::

    from mainstay.testing import Incoming, run_function

    async def test_publishes_once_it_is_approved() -> None:
        run = await run_function(
            process_video,
            {"video_id": "42"},
            events=[Incoming("video/approved", {"by": "ann"}, after=3600)],
            children={"transcode": transcode},
            fail_at={"publish": OSError("disk full")},
        )

        assert run.result == {"published": True}
        assert run.attempts == 2
        assert run.slept >= 3600

The function runs as on a worker, with the same code: steps are stored and not run again, waits
suspend it and it runs again from its beginning, failed attempts are tried again after their
backoff, and after the last one what its steps have done is undone. Only time is another: it stands
still while the function works, and passes at once when nothing but time is waited for.

What it leaves out: schemas of events, caps, rates and queues. Time limits of functions and steps
are real time.
"""

from mainstay.testing.clock import FakeClock
from mainstay.testing.faults import WorkerLostError
from mainstay.testing.record import FunctionRun, Incoming, StepRun
from mainstay.testing.run import run_function

__all__ = [
    "FakeClock",
    "FunctionRun",
    "Incoming",
    "StepRun",
    "WorkerLostError",
    "run_function",
]
