"""What a wait brought, as the function gets it."""

import pytest

from mainstay.jobs.errors import ResultError
from mainstay.jobs.waits import child_result, received_event, received_signal


class TestTooLarge:
    def test_event(self) -> None:
        """An event that had no room is told by its name, and no retry can help."""
        with pytest.raises(ResultError, match="the event order/paid"):
            received_event({"event_id": "e-1", "name": "order/paid", "too_large": True})

    def test_signal(self) -> None:
        """So is a signal."""
        with pytest.raises(ResultError, match="the signal"):
            received_signal({"too_large": True})

    def test_child(self) -> None:
        """And the result of a job that was invoked."""
        with pytest.raises(ResultError, match="job j-1 of resize"):
            child_result("resize", {"job_id": "j-1", "state": "succeeded", "too_large": True})


class TestInTime:
    def test_timeout(self) -> None:
        """A wait that ended by its timeout brought nothing."""
        assert (None, None) == (received_event(None), received_signal(None))
